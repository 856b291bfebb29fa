"""Rows about many sandboxes at once, and about what the runner keeps of them."""

import os
import subprocess
import time

from by_hand import ByHand
from disk import bases
from rig import BUILD, SRC, Runner, Skip, median
from rig_ch import FakeRunner
from table import MEMORY, number


def cpu_of(runner):
    return runner.cpu_ms(), runner.vmm_cpu_ms(), time.process_time() * 1e3


def shares(runner, before, seconds):
    """Who used the processors, as text. before: runner, VMMs, clients in ms."""
    ms = [b - a for a, b in zip(before, cpu_of(runner))]
    whole = seconds * 1e3 * os.cpu_count()
    return ", ".join(f"{name} {100 * part / whole:.0f} %" for name, part in zip(("runner", "VMMs", "clients"), ms))


def burst(table, base, n):
    """n creates at once, none tried again: one that fails ends the row."""
    with FakeRunner(base) as runner, ByHand(runner, with_record=True) as hand:
        took, theirs = [], []
        for _ in range(3):
            theirs.append(hand.start_all(n, n // os.cpu_count()))
            hand.stop_all()
            before, begin = cpu_of(runner), time.monotonic()
            took.append(runner.create_many(n, n))
            alive = sum(box["state"] == "started" for box in runner.client.call("GET", "/sandboxes")["sandboxes"])
            if alive != n:
                raise RuntimeError(f"{n} creates answered, {alive} sandboxes are started")
            runner.destroy_all()
            print(f"{n} creates at once, root on {runner.fs}: {alive} started, {took[-1]:.2f} s; with their removal, "
                  f"of the processors: {shares(runner, before, time.monotonic() - begin)}")
        what = f"{n} creates at once, fake, root on {runner.fs}: all started in"
        told = f"by hand, {os.cpu_count()} at a time"
        table.add(what, (told, median(theirs) * 1e3), median(took) * 1e3, "ms")
        table.add("  creates per second", (told, n / median(theirs)), n / median(took), "1/s")


def row_many(table):
    for base in bases():
        burst(table, base, 100)
    clients, seconds = 32, number("SECONDS_EACH", 10)
    with FakeRunner(MEMORY) as runner:
        before = cpu_of(runner)
        n, took = runner.cycle_many(clients, seconds)
        print(f"{clients} clients for {took:.1f} s, root on {runner.fs}: {n} sandboxes made and removed; "
              f"of the processors: {shares(runner, before, took)}")
        theirs = []
        with ByHand(runner, with_record=True) as hand:
            for _ in range(3):
                theirs.append(100 / hand.start_all(100, 100 // os.cpu_count()))
                hand.stop_all()
        what = f"jobs of {clients} clients, a create or a destroy each, fake, root on {runner.fs}"
        table.add(what, (f"creates by hand alone, {os.cpu_count()} at a time", median(theirs)), 2 * n / took, "1/s")


def row_memory(table):
    n = number("SANDBOXES", 1000)
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
