#!/bin/sh
# tier: component
# What a healthcheck says of its host.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/figures.py"
