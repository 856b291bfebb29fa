#!/bin/sh
# takes: 20 s
# SIGKILL to the runner, and an error, at each call by which an older runner's sandbox is taken over: see
# t/fault/takeover.py.
command -v qemu-img >/dev/null || { echo "1..0 # SKIP qemu-img is not installed"; exit 0; }
PYTHONPATH=${top_srcdir:-.}/t/rig:${top_srcdir:-.}/t/fault exec python3 -B "${top_srcdir:-.}/t/fault/takeover.py"
