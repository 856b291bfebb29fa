#!/bin/sh
# tier: component
# Images that take long, as the Daytona API's jobs ask for them.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/pulls.py"
