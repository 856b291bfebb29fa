#!/usr/bin/env python3
"""make bench: the runner against named references measured in the same run, as a table of ratios.

Rows are chosen by BENCH="native fake many boot boots proxy memory" (default: all). Others from outside: CREATES (fake,
300), SECONDS_EACH (many, 10), SANDBOXES (memory, 1000), ROUNDS (native 24, boot 8), AT_ONCE (boots, 20), SNAPSHOT (the
folder of a `tiny` made by runner-image),
TMPDIR (where machines have their disks). It measures; it does not judge, and is no part of `make check`.
"""

import itertools
import os
import subprocess
import sys
import time

from rig import BUILD, SRC, ByHand, RealRunner, Runner, Skip, median, quantile
from rig_ch import FakeRunner, NativeByHand, NativeRunner

DISK = os.environ.get("TMPDIR", "/var/tmp")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else DISK


class Table:
    def __init__(self):
        self.rows = []

    def add(self, what, reference, value, unit, target):
        """reference: None, or (its name, its value in the same unit)."""
        told, ratio = "-", "-"
        if reference:
            told, ratio = f"{reference[1]:.2f} {unit}: {reference[0]}", f"{value / reference[1]:.2f}x"
        self.rows.append((what, f"{value:.2f} {unit}", told, ratio, target))

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


def rounds(n, one, other):
    """Both in turn; what comes second may be slower, or faster, so each does half of the times. The rest is for what the
    kernel still has to tidy up after the one before."""
    for i in range(int(os.environ.get("ROUNDS", n))):
        for start in (one, other) if i % 2 == 0 else (other, one):
            time.sleep(0.1)
            start()


def fake_creates(kind, base):
    """Processor and wall milliseconds of creates one after the other, none removed meanwhile."""
    cpu, wall, timings, starts = [], [], {}, []
    with kind(base) as runner:
        for i in range(int(os.environ.get("CREATES", 300)) + 20):
            before = runner.cpu_ms()
            _, reply, ms = runner.create()
            time.sleep(0.003)  # what the runner does after its reply belongs to this create too
            if i < 20:  # pages, caches
                continue
            cpu.append(runner.cpu_ms() - before)
            wall.append(ms)
            collect(timings, reply)
        if kind is Runner:
            hand = ByHand(runner, "hand")
            starts = [hand.start(line) for line in hand.prepare(40)]
            hand.stop_all()
        return runner.fs, cpu, wall, timings, starts


def row_fake(table):
    for kind, base in itertools.product([Runner, FakeRunner], dict.fromkeys([MEMORY, DISK])):
        fs, cpu, wall, timings, starts = fake_creates(kind, base)
        what = f"create, fake {kind.vmm}, root on {fs}"
        print(f"{what}: {len(cpu)} creates, CPU ms p50 {median(cpu):.2f} p90 {quantile(cpu, .9):.2f} "
              f"p99 {quantile(cpu, .99):.2f} max {max(cpu):.2f}, "
              f"wall ms p50 {median(wall):.2f} p99 {quantile(wall, .99):.2f}")
        print_phases(timings)
        if starts:
            by_hand_ms, by_hand_cpu = (median(column) for column in zip(*starts))
            starter, vmm = ("the starter by hand", by_hand_cpu), ("the same by hand", by_hand_ms)
        else:
            starter = vmm = None
        table.add(f"{what}: CPU p50", starter, median(cpu), "ms", "-")
        table.add(f"{what}: CPU p99", starter, quantile(cpu, .99), "ms", "<= 1 ms")
        table.add(f"{what}: wall p50", vmm, median(wall), "ms", "<= 3 ms")


def row_native(table):
    for base in dict.fromkeys([MEMORY, DISK]):
        output, answer, theirs, timings = [], [], [], {}
        with NativeRunner(base) as runner:
            hand = NativeByHand(runner)

            def by_hand():
                theirs.append(hand.start(hand.prepare())[0])
                hand.stop_all()

            def by_runner():
                _, reply, ms = runner.create()
                runner.destroy_all()
                collect(timings, reply)
                answer.append(ms)
                output.append(ms - timings["commit"][-1])

            rounds(24, by_hand, by_runner)
            what = f"create of the toy, root on {runner.fs}"
        print(f"{what}: ms " + " ".join(f"{ms:.0f}" for ms in output) + "; by hand: ms " +
              " ".join(f"{ms:.0f}" for ms in theirs))
        print_phases(timings)
        reference = ("the same Cloud Hypervisor by hand", median(theirs))
        table.add(f"{what}: to its first output", reference, median(output), "ms", "<= 1.10x")
        table.add(f"{what}: to the reply", reference, median(answer), "ms", "-")


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
    table.add("RSS, all of them removed", ("idle", idle["rss"] / 1024), cycled["rss"] / 1024, "MiB", "<= 12 MiB")
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
    with RealRunner(DISK, find_snapshot()) as runner:
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

        rounds(8, by_hand, by_runner)
        print(f"create of tiny on {runner.fs}: ms " + " ".join(f"{ms:.0f}" for ms in ours) + "; by hand: ms " +
              " ".join(f"{ms:.0f}" for ms in theirs))
        print_phases(timings)
    table.add("create of tiny to the daemon's answer", ("the same QEMU by hand", median(theirs)), median(ours), "ms",
              "<= 1.15x")


def row_boots(table):
    n, ours, theirs = int(os.environ.get("AT_ONCE", 20)), [], []
    with RealRunner(DISK, find_snapshot()) as runner:
        hand = ByHand(runner, "hand")
        for _ in range(2):
            theirs.append(hand.start_all(hand.prepare(n)))
            hand.stop_all()
            ours.append(runner.create_many(n, n))
            runner.destroy_all()
    print(f"{n} creates of tiny at once: s " + " ".join(f"{s:.1f}" for s in ours) + "; by hand: s " +
          " ".join(f"{s:.1f}" for s in theirs))
    table.add(f"{n} creates of tiny at once, all answer", (f"{n} QEMUs by hand", median(theirs)), median(ours), "s",
              "<= 1.2x")


def shares(runner, before, seconds):
    """Who used the processors, as text. before: runner, VMMs, clients in ms."""
    ms = [b - a for a, b in zip(before, cpu_of(runner))]
    whole = seconds * 1e3 * os.cpu_count()
    return ", ".join(f"{name} {100 * part / whole:.0f} %" for name, part in zip(("runner", "VMMs", "clients"), ms))


def cpu_of(runner):
    return runner.cpu_ms(), runner.vmm_cpu_ms(), time.process_time() * 1e3


def burst(table, base, n):
    """n creates at once, none tried again: one that fails ends the row."""
    with FakeRunner(base) as runner:
        took = []
        for _ in range(3):
            before, begin = cpu_of(runner), time.monotonic()
            took.append(runner.create_many(n, n))
            alive = sum(box["state"] == "started" for box in runner.client.call("GET", "/sandboxes")["sandboxes"])
            if alive != n:
                raise RuntimeError(f"{n} creates answered, {alive} sandboxes are started")
            runner.destroy_all()
            print(f"{n} creates at once, root on {runner.fs}: {alive} started, {took[-1]:.2f} s; with their removal, "
                  f"of the processors: {shares(runner, before, time.monotonic() - begin)}")
        what = f"{n} creates at once, fake, root on {runner.fs}: all started in"
        table.add(what, None, median(took) * 1e3, "ms", "-")
        table.add("  creates per second", None, n / median(took), "1/s", "-")


def row_many(table):
    for base in dict.fromkeys([MEMORY, DISK]):
        burst(table, base, 100)
    clients, seconds = 32, float(os.environ.get("SECONDS_EACH", 10))
    with FakeRunner(MEMORY) as runner:
        before = cpu_of(runner)
        n, took = runner.cycle_many(clients, seconds)
        print(f"{clients} clients for {took:.1f} s, root on {runner.fs}: {n} sandboxes made and removed; "
              f"of the processors: {shares(runner, before, took)}")
        what = f"jobs (create, destroy) of {clients} clients, fake, root on {runner.fs}"
        table.add(what, None, 2 * n / took, "1/s", "-")


def row_proxy(table):
    done = subprocess.run(["sh", os.path.join(SRC, "t/bench/proxy.sh")], stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, top_builddir=BUILD))
    print(done.stdout.rstrip())
    if done.returncode == 77:
        raise Skip(done.stdout.strip())
    for line in done.stdout.splitlines():
        if line.startswith("requests/s"):
            nginx, ours = map(float, line.split()[1:3])
            table.add("proxied GET of 1 KiB, one core", ("nginx's proxy", nginx), ours, "1/s", ">= 0.9x")
            return
    raise Skip(f"proxy.sh failed (status {done.returncode})")


ROWS = {"native": row_native, "fake": row_fake, "many": row_many, "boot": row_boot, "boots": row_boots,
        "proxy": row_proxy, "memory": row_memory}


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
