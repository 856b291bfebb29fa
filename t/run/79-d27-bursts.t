#!/bin/sh
# takes: 20 s
# not sanitized: how many at once is no matter of memory; 76-d08-drain.t has twenty
# D27: a hundred creates at once, a thousand, and more than the queue takes; the order of one sandbox's operations.
PYTHONPATH=${top_srcdir:-.}/t/rig exec python3 -B "${top_srcdir:-.}/t/load/bursts.py"
