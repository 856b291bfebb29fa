#!/bin/sh
# tier: component
# runner-dns --keep: its children die, and are followed by others.
exec python3 -B "${top_srcdir:-.}/t/run/dns_keep.py"
