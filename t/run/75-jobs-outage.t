#!/bin/sh
# tier: component
# takes: 20 s
# The API away for a while, and back.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/outage.py"
