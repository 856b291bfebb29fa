#!/bin/sh
# D8: SIGTERM in the middle of work.
PYTHONPATH=${top_srcdir:-.}/t/rig exec python3 -B "${top_srcdir:-.}/t/load/drain.py"
