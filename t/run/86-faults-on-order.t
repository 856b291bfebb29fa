#!/bin/sh
# What the tests of crashes and faults are built on: t/fault/fault.so does to the runner what it is told (t/fault/fault.h).
command -v nm >/dev/null || { echo "1..0 # SKIP nm (binutils) is not installed"; exit 0; }
PYTHONPATH=${top_srcdir:-.}/t/rig exec python3 -B "${top_srcdir:-.}/t/fault/smoke.py"
