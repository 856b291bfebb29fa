#!/bin/sh
# tier: component
# runner-dns in a network namespace, with a guest's side of a link, a packet filter, and a server above that is scripted.
exec python3 -B "${top_srcdir:-.}/t/run/dns.py"
