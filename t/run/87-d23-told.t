#!/bin/sh
# What is told of a sandbox has been written before: t/fault/told.py.
PYTHONPATH=${top_srcdir:-.}/t/rig exec python3 -B "${top_srcdir:-.}/t/fault/told.py"
