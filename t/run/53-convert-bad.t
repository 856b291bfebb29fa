#!/bin/sh
# Layers of a container image that are not what they should be: refused, with a reason, and nothing left.
command -v python3 >/dev/null || { echo "1..0 # SKIP python3 is not installed"; exit 0; }
PYTHONPATH=${top_srcdir:-.}/t/rig exec python3 -B "${top_srcdir:-.}/t/convert/bad.py"
