#!/bin/sh
# tier: component
# What holds of every storage: push, inspect, pull, copy, remove, of a registry and of a directory.
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/storage exec python3 -B "$t/storage/any.py"
