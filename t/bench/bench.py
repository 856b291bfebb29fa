#!/usr/bin/env python3
"""make bench: the runner against named references measured in the same run, as a table of ratios.

Rows are chosen by BENCH="fake memory boot many proxy" (default: all). Others from outside: CREATES (fake, 300),
SANDBOXES (memory, 1000), ROUNDS (boot, 8), AT_ONCE (many, 20), SNAPSHOT (the folder of a `tiny` made by runner-image),
TMPDIR (where machines have their disks). It measures; it does not judge, and is no part of `make check`.
"""

import os
import subprocess
import sys
import time

from rig import BUILD, FAKE, SRC, ByHand, Runner, Skip, median, quantile

DISK = os.environ.get("TMPDIR", "/var/tmp")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else DISK


class Table:
    def __init__(self):
        self.rows = []

    def add(self, what, reference, value, unit, target, ratio=None):
        """reference: None, or (its name, its value in the same unit)."""
        self.rows.append((what, f"{value:.2f} {unit}", f"{reference[1]:.2f} {unit}: {reference[0]}" if reference else "-",
                          f"{ratio:.2f}x" if ratio is not None else "-", target))

    def skip(self, what, reason):
        self.rows.append((what, "skipped", reason, "-", "-"))

    def print(self):
        head = ("what", "runner-ch", "reference", "ratio", "wanted")
        wide = [max(len(row[i]) for row in [head] + self.rows) for i in range(len(head))]
        for row in [head, tuple("-" * n for n in wide)] + self.rows:
            print("  ".join(text.ljust(n) for text, n in zip(row, wide)).rstrip())


def print_phases(timings):
    """timings: phase -> its milliseconds."""
    print("  phases, wall ms p50/p99: " +
          ", ".join(f"{name} {quantile(ms, .5):.2f}/{quantile(ms, .99):.2f}" for name, ms in timings.items()))


def collect(timings, reply):
    for timing in reply["timings"]:
        timings.setdefault(timing["phase"], []).append(timing["ms"])


def fake_creates(base):
    """Processor and wall milliseconds of creates one after the other, none removed meanwhile."""
    cpu, wall, timings = [], [], {}
    with Runner(base) as runner:
        for i in range(int(os.environ.get("CREATES", 300)) + 20):
            before = runner.cpu_ms()
            _, reply, ms = runner.create()
            time.sleep(0.003)  # what the runner does after its reply belongs to this create too
            if i < 20:  # pages, caches
                continue
            cpu.append(runner.cpu_ms() - before)
            wall.append(ms)
            collect(timings, reply)
        hand = ByHand(runner, "hand")
        starts = [hand.start(line) for line in hand.prepare(40)]
        hand.stop_all()
        return runner.fs, cpu, wall, timings, median(ms for ms, _ in starts), median(ms for _, ms in starts)


def row_fake(table):
    for base in dict.fromkeys([MEMORY, DISK]):
        fs, cpu, wall, timings, hand_ms, hand_cpu_ms = fake_creates(base)
        what = f"create, fake VMM, root on {fs}"
        print(f"{what}: {len(cpu)} creates, CPU ms p50 {median(cpu):.2f} p90 {quantile(cpu, .9):.2f} "
              f"p99 {quantile(cpu, .99):.2f} max {max(cpu):.2f}, "
              f"wall ms p50 {median(wall):.2f} p99 {quantile(wall, .99):.2f}")
        print_phases(timings)
        reference = ("the starter by hand", hand_cpu_ms)
        table.add(f"{what}: CPU p50", reference, median(cpu), "ms", "-", median(cpu) / hand_cpu_ms)
        table.add(f"{what}: CPU p99", reference, quantile(cpu, .99), "ms", "<= 1 ms", quantile(cpu, .99) / hand_cpu_ms)
        table.add(f"{what}: wall p50", ("fake VMM by hand", hand_ms), median(wall), "ms", "<= 3 ms",
                  median(wall) / hand_ms)


def row_memory(table):
    n = int(os.environ.get("SANDBOXES", 1000))
    with Runner(MEMORY) as runner:
        idle = runner.status()
        runner.create_many(64, 16)
        runner.destroy_all()
        warm = runner.status_at_rest()
        runner.create_many(n, 16)
        full = runner.status_at_rest()
        runner.destroy_all()
        after = runner.status_at_rest()
        for _ in range(1000 // 50):
            runner.create_many(50, 16)
            runner.destroy_all()
        cycled = runner.status_at_rest()
    for name, state in (("idle", idle), ("after 64 creates", warm), (f"{n} live", full), ("all removed", after),
                        ("after 1000 cycles more", cycled)):
        print(f"memory, {name}: RSS {state['rss']} KiB (private {state['anon']}), {state['threads']} threads, "
              f"{state['fds']} descriptors")
    table.add("RSS, idle", None, idle["rss"] / 1024, "MiB", "<= 12 MiB")
    table.add("RSS, all of them removed", ("idle", idle["rss"] / 1024), cycled["rss"] / 1024, "MiB", "<= 12 MiB",
              cycled["rss"] / idle["rss"])
    table.add(f"RSS per sandbox, {n} live", None, (full["rss"] - idle["rss"]) / n, "KiB", "<= 16 KiB")


def find_snapshot():
    places = [os.environ.get("SNAPSHOT"), os.path.join(BUILD, "guest/image/snapshots/tiny"),
              "/var/cache/runner-ch-test/snapshots/tiny", "/var/lib/cloud-hypervisor/snapshots/tiny"]
    for place in places:
        if place and os.path.exists(os.path.join(place, "manifest.json")):
            return place
    raise Skip("no image: runner-image build tiny, or SNAPSHOT=FOLDER of one")


def row_boot(table):
    ours, theirs, timings = [], [], {}
    with Runner(DISK, find_snapshot()) as runner:
        hand = ByHand(runner, "hand")

        def by_hand():
            [line] = hand.prepare(1)
            ms, _ = hand.start(line)
            hand.stop_all()
            theirs.append(ms)

        def by_runner():
            _, reply, ms = runner.create()
            runner.destroy_all()
            ours.append(ms)
            collect(timings, reply)

        for i in range(int(os.environ.get("ROUNDS", 8))):  # what comes second may be slower, or faster
            for start in (by_hand, by_runner) if i % 2 == 0 else (by_runner, by_hand):
                start()
        print(f"create of tiny on {runner.fs}: ms " + " ".join(f"{ms:.0f}" for ms in ours) + "; by hand: ms " +
              " ".join(f"{ms:.0f}" for ms in theirs))
        print_phases(timings)
    table.add("create of tiny to the daemon's answer", ("the same QEMU by hand", median(theirs)), median(ours), "ms",
              "<= 1.15x", median(ours) / median(theirs))


def row_many(table):
    n, ours, theirs = int(os.environ.get("AT_ONCE", 20)), [], []
    with Runner(DISK, find_snapshot()) as runner:
        hand = ByHand(runner, "hand")
        for _ in range(2):
            theirs.append(hand.start_all(hand.prepare(n)))
            hand.stop_all()
            ours.append(runner.create_many(n, n))
            runner.destroy_all()
    print(f"{n} creates of tiny at once: s " + " ".join(f"{s:.1f}" for s in ours) + "; by hand: s " +
          " ".join(f"{s:.1f}" for s in theirs))
    table.add(f"{n} creates of tiny at once, all answer", (f"{n} QEMUs by hand", median(theirs)), median(ours), "s",
              "<= 1.2x", median(ours) / median(theirs))


def row_proxy(table):
    done = subprocess.run(["sh", os.path.join(SRC, "t/bench/proxy.sh")], stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, top_builddir=BUILD))
    print(done.stdout.rstrip())
    if done.returncode == 77:
        raise Skip(done.stdout.strip())
    for line in done.stdout.splitlines():
        if line.startswith("requests/s"):
            nginx, ours = map(float, line.split()[1:3])
            table.add("proxied GET of 1 KiB, one core", ("nginx's proxy", nginx), ours, "1/s", ">= 0.9x", ours / nginx)
            return
    raise Skip(f"proxy.sh failed (status {done.returncode})")


ROWS = {"boot": row_boot, "fake": row_fake, "many": row_many, "proxy": row_proxy, "memory": row_memory}


def main():
    table = Table()
    wanted = os.environ.get("BENCH", "").split() or list(ROWS)
    with open("/proc/loadavg") as load:
        print(f"{os.cpu_count()} processors, load {load.read().split()[0]}")
    for name in wanted:
        if name not in ROWS:
            sys.exit(f"bench: no row '{name}'; there are: {' '.join(ROWS)}")
        try:
            ROWS[name](table)
        except Skip as reason:
            print(f"{name}: skipped: {reason}")
            table.skip(name, str(reason))
        sys.stdout.flush()
    print()
    table.print()


main()
