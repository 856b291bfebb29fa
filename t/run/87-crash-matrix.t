#!/bin/sh
# takes: 90 s
# SIGKILL to the runner at each point of each operation: nothing that was acknowledged is lost, nothing else is left.
# t/fault/crash_matrix.py says more, and how one point is run alone.
PYTHONPATH=${top_srcdir:-.}/t/rig exec python3 -B "${top_srcdir:-.}/t/fault/crash_matrix.py"
