#!/bin/sh
# Operations that fail while their undo fails as well: t/fault/undone.py.
PYTHONPATH=${top_srcdir:-.}/t/rig:${top_srcdir:-.}/t/fault exec python3 -B "${top_srcdir:-.}/t/fault/undone.py"
