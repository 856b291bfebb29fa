#!/bin/sh
# The fake Cloud Hypervisor against the list of what the real one answers (46-ch-differential-real.t).
# tier: component
top=${top_builddir:-.}
exec "$top/t/run/check-ch" "$top/t/fake/cloud-hypervisor" "${top_srcdir:-.}/t/run/ch-cases.txt" "$top/t/guest/toy" fake
