#!/bin/sh
# tier: races
# Many clients at once at one runner, under the thread sanitizer.
PYTHONPATH=${top_srcdir:-.}/t/rig exec python3 -B "${top_srcdir:-.}/t/races/races.py"
