#!/bin/sh
# tier: component
# The same on the bridge: by its rules. Needs root.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs:$t/fault exec python3 -B "$t/jobs/policy.py" bridge
