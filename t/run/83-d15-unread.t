#!/bin/sh
# Records that cannot be read: t/fault/unread.py.
PYTHONPATH=${top_srcdir:-.}/t/rig:${top_srcdir:-.}/t/fault exec python3 -B "${top_srcdir:-.}/t/fault/unread.py"
