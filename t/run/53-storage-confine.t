#!/bin/sh
# tier: component
# storage/oci: what the program that speaks to registries may do on its host.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/storage exec python3 -B "$t/storage/confine.py"
