#!/bin/sh
# tier: component
# Network settings: what each field means, that they are kept, and that no failure and no kill loses them.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs:$t/fault exec python3 -B "$t/jobs/policy.py" loopback
