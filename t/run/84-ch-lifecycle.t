#!/bin/bash
# takes: 15 s
# The list of lifecycle tests (80-lifecycle.t) with the fake Cloud Hypervisor.
RUNNER_TEST_VMM=cloud-hypervisor exec bash "${top_srcdir:-.}/t/run/80-lifecycle.t"
