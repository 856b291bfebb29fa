#!/bin/sh
# A VMM whose answers come too late: t/fault/late.py.
PYTHONPATH=${top_srcdir:-.}/t/rig:${top_srcdir:-.}/t/fault exec python3 -B "${top_srcdir:-.}/t/fault/late.py"
