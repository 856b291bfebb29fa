#!/bin/sh
# tier: component
# All jobs that were recorded of a real API, replayed.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/replay.py"
