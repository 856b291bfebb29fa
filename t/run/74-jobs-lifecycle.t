#!/bin/sh
# tier: component
# A runner that is told what to do by the Daytona API's jobs alone.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/lifecycle.py"
