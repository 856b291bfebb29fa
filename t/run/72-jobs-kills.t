#!/bin/sh
# tier: component
# takes: 20 s
# kill -9 of the runner in the middle of jobs of each type.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/kills.py"
