#!/bin/sh
# A VMM whose answer comes too late, about pauses: t/fault/paused.py.
PYTHONPATH=${top_srcdir:-.}/t/rig:${top_srcdir:-.}/t/fault exec python3 -B "${top_srcdir:-.}/t/fault/paused.py"
