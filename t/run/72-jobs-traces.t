#!/bin/sh
# tier: component
# Spans of jobs and of their phases.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/traces.py"
