#!/bin/sh
# tier: component
# /metrics by the rules of Prometheus, and the dashboard that reads them.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/jobs exec python3 -B "$t/jobs/metrics.py"
