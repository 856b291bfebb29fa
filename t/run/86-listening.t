#!/bin/sh
# A runner that has no descriptors, or no memory, for who connects: t/fault/listening.py.
PYTHONPATH=${top_srcdir:-.}/t/rig:${top_srcdir:-.}/t/fault exec python3 -B "${top_srcdir:-.}/t/fault/listening.py"
