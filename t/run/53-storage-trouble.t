#!/bin/sh
# takes: 100 s
# tier: component
# storage/oci: registries and networks that go wrong.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/storage exec python3 -B "$t/storage/trouble.py"
