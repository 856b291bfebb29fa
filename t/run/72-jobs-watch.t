#!/bin/sh
# tier: component
# Signs of life, health, and the runner's registration.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/watch.py"
