#!/bin/sh
# tier: component
# Sandboxes in network namespaces of their own, by the REST API: t/fault/netns.py.
PYTHONPATH=${top_srcdir:-.}/t/rig exec python3 -B "${top_srcdir:-.}/t/fault/netns.py"
