#!/bin/sh
# takes: 40 s
# tier: component
# Jobs while the API is away, slow or wrong, and while the runner is killed.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/trouble.py"
