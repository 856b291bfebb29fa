#!/bin/sh
# takes: 20 s
# not sanitized: 53-storage-pull.t has good images, 53-convert-bad.t the others
# Layers of a container image to a disk: what is in it, compared with umoci's tree.
command -v python3 >/dev/null || { echo "1..0 # SKIP python3 is not installed"; exit 0; }
PYTHONPATH=${top_srcdir:-.}/t/rig exec python3 -B "${top_srcdir:-.}/t/convert/tree.py"
