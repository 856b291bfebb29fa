#!/bin/sh
# tier: component
# takes: 15 s
# An image is removed while others are about to use it, each held up in turn.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig exec python3 -B "$t/fault/image_races.py"
