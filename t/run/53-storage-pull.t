#!/bin/sh
# takes: 20 s
# tier: component
# storage/oci with real registries: images to disks, copies, removal, passwords, tokens, TLS.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/storage exec python3 -B "$t/storage/pull.py"
