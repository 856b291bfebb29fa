#!/bin/sh
# tier: component
# takes: 70 s
# What the API believes of sandboxes, compared with what they are: states that are reported, orphans that are removed.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/sync.py"
