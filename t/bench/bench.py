#!/usr/bin/env python3
"""make bench: the runner against named references measured in the same run, as a table of ratios.

Rows are chosen by BENCH="network native fake many thousand jobs boot boots proxy memory image disk" (default: all). Others from outside:
CREATES (fake, 300), SECONDS_EACH (many, 10), SANDBOXES (memory, thousand: 1000), ROUNDS (native 40, boot 8), AT_ONCE
(boots, 20), IMAGE_MB (image, "300 1000"), JOB_SANDBOXES and JOB_ROUNDS (jobs: 32, 20), SNAPSHOT (the folder of a `tiny` made by runner-image),
TMPDIR (where machines have their disks, see disk.py). It measures; it does not judge, and is no part of `make check`. On a busy
machine `chrt -f 1 make bench` keeps others out.
"""

import os
import sys

import rows_create
import rows_disk
import rows_image
import rows_jobs
import rows_many
import rows_network
import rows_thousand
from rig import NotUp, Skip
from table import Table, load

ROWS = {"network": rows_network.row_network, "native": rows_create.row_native, "fake": rows_create.row_fake, "many": rows_many.row_many,
        "thousand": rows_thousand.row_thousand, "jobs": rows_jobs.row_jobs, "boot": rows_create.row_boot, "boots": rows_create.row_boots,
        "proxy": rows_many.row_proxy, "memory": rows_many.row_memory, "image": rows_image.row_image, "disk": rows_disk.row_disk}


def main():
    table = Table()
    wanted = os.environ.get("BENCH", "").split() or list(ROWS)
    print(f"{os.cpu_count()} processors, load {load()}")
    for name in wanted:
        if name not in ROWS:
            sys.exit(f"bench: no row '{name}'; there are: {' '.join(ROWS)}")
        try:
            ROWS[name](table)
        except (Skip, NotUp) as reason:
            print(f"{name}: skipped: {reason}")
            table.skip(name, str(reason))
        print(f"load after {name}: {load()}")
        sys.stdout.flush()
    print()
    table.print()


main()
