#!/bin/sh
# takes: 20 s
# D27: a hundred creates at once, a thousand, and more than the queue takes; the order of one sandbox's operations.
PYTHONPATH=${top_srcdir:-.}/t/rig exec python3 -B "${top_srcdir:-.}/t/load/bursts.py"
