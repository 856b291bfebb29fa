#!/bin/sh
# takes: 70 s
# Every call that the runner makes for an operation fails once, see t/fault/fault_matrix.py; FULL=1: with every
# error that fits.
PYTHONPATH=${top_srcdir:-.}/t/rig exec python3 -B "${top_srcdir:-.}/t/fault/fault_matrix.py"
