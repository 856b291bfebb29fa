#!/bin/sh
# takes: 20 s
# Random operations by many clients, with the runner and VMMs killed meanwhile, against a model: t/fault/random_operations.py.
# The whole of it: VMM=fake-ch OPERATIONS=10000 CLIENTS=32 SANDBOXES=60 SEED=1 HOST_FAULTS=40 (calls of the runner fail as well)
PYTHONPATH=${top_srcdir:-.}/t/rig:${top_srcdir:-.}/t/fault exec python3 -B "${top_srcdir:-.}/t/fault/random_operations.py"
