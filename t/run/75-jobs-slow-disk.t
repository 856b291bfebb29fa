#!/bin/sh
# tier: component
# A slow disk holds up no job but what it is to keep.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/slow_disk.py"
