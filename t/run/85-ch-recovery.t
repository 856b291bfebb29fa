#!/bin/bash
# The tests of recovery (83-recovery.t) with the fake Cloud Hypervisor.
RUNNER_TEST_VMM=cloud-hypervisor exec bash "${top_srcdir:-.}/t/run/83-recovery.t"
