"""Rows about one create: fake VMMs, the real Cloud Hypervisor, the real QEMU."""

import itertools
import os
import time

from by_hand import ByHand
from disk import bases, disk
from rig import BUILD, RealRunner, Runner, Skip, median, quantile
from rig_ch import FakeRunner, NativeRunner
from table import Phases, number, rounds

CHUNK = 30  # creates, then so many machines by hand
PAUSE_S = 0.003  # in which caches get cold


def fake_creates(runner, hand, pause_s):
    """Creates one after the other, none removed meanwhile, and as many by hand between them: the same system calls. The
    runner's processor and wall milliseconds, its phases, what it was by hand. What the runner does after a reply belongs to
    that create when there is a pause, else to the next."""
    cpu, wall, phases, starts = [], [], Phases(), []
    for i in range(20 + number("CREATES", 300)):
        if i >= 20 and (i - 20) % CHUNK == 0:
            starts += hand.start(CHUNK, pause_s)[1:]
            hand.stop_all()
            time.sleep(0.1)
        before = runner.cpu_ms()
        _, reply, ms = runner.create()
        time.sleep(pause_s)
        if i < 20 or (i - 20) % CHUNK == 0:  # pages, caches
            continue
        cpu.append(runner.cpu_ms() - before)
        wall.append(ms)
        phases.collect(reply)
    return cpu, wall, phases, starts


def add_cpu(table, what, cpu, starts, wanted):
    theirs, told = [start.cpu for start in starts], "the same system calls by hand"
    table.add(f"{what}: CPU p50", (told, median(theirs)), median(cpu), "ms")
    table.add(f"{what}: CPU p99", (told, quantile(theirs, .99)), quantile(cpu, .99), "ms", wanted)


def row_fake(table):
    for kind, base in itertools.product([Runner, FakeRunner], bases()):
        with kind(base) as runner, ByHand(runner, with_record=True) as hand:
            cpu, wall, phases, starts = fake_creates(runner, hand, 0)
            runner.destroy_all()
            cold, _, _, cold_starts = fake_creates(runner, hand, PAUSE_S)
            what = f"create, fake {kind.vmm}, root on {runner.fs}"
        print(f"{what}: {len(cpu)} creates, CPU ms p50 {median(cpu):.2f} p90 {quantile(cpu, .9):.2f} "
              f"p99 {quantile(cpu, .99):.2f} max {max(cpu):.2f}, "
              f"wall ms p50 {median(wall):.2f} p99 {quantile(wall, .99):.2f}")
        phases.print()
        add_cpu(table, what, cpu, starts, "<= 1 ms")
        add_cpu(table, "  after pauses of 3 ms (caches are cold)", cold, cold_starts, "-")
        whole = [start.heard + start.commit for start in starts]
        table.add(f"{what}: wall p50", ("the same system calls by hand", median(whole)), median(wall), "ms", "<= 3 ms")
        phases.add_rows(table, starts)


def row_native(table):
    for base in bases():
        output, answer, asked, starts, phases = [], [], [], [], Phases()
        with NativeRunner(base) as runner, ByHand(runner) as hand:
            def by_hand():
                starts.extend(hand.start())
                hand.stop_all()

            def by_runner():
                _, reply, ms = runner.create()
                runner.destroy_all()
                phases.collect(reply)
                answer.append(ms)
                output.append(ms - phases.ms["commit"][-1])
                time.sleep(0.1)
                asked.append(runner.client.timed("GET", "/")[1])

            rounds(40, by_hand, by_runner)
            what = f"create of the toy, root on {runner.fs}"
        theirs = [start.heard for start in starts]
        print(f"{what}: ms " + " ".join(f"{ms:.0f}" for ms in output) + "; by hand: ms " +
              " ".join(f"{ms:.0f}" for ms in theirs))
        phases.print()
        reference = ("by hand: a small C program, resident, asked over a unix socket too", median(theirs))
        table.add(f"{what}: to its first output", reference, median(output), "ms", "<= 1.10x")
        table.add("  the fastest tenth of them", (reference[0], quantile(theirs, .1)), quantile(output, .1), "ms")
        table.add("  of which any request takes", None, median(asked), "ms")
        table.add(f"{what}: to the reply, the record being durable", reference, median(answer), "ms")
        phases.add_rows(table, starts)


def find_snapshot():
    places = [os.environ.get("SNAPSHOT"), os.path.join(BUILD, "guest/image/snapshots/tiny"),
              "/var/cache/runner-ch-test/snapshots/tiny", "/var/lib/cloud-hypervisor/snapshots/tiny"]
    for place in places:
        if place and os.path.exists(os.path.join(place, "manifest.json")):
            return place
    raise Skip("no image: runner-image build tiny, or SNAPSHOT=FOLDER of one")


def row_boot(table):
    ours, theirs, phases = [], [], Phases()
    with RealRunner(disk(), find_snapshot()) as runner, ByHand(runner) as hand:
        def by_hand():
            [start] = hand.start()
            hand.stop_all()
            theirs.append(start.heard)

        def by_runner():
            _, reply, ms = runner.create()
            runner.destroy_all()
            ours.append(ms)
            phases.collect(reply)

        rounds(8, by_hand, by_runner)
        print(f"create of tiny on {runner.fs}: ms " + " ".join(f"{ms:.0f}" for ms in ours) + "; by hand: ms " +
              " ".join(f"{ms:.0f}" for ms in theirs))
        phases.print()
    table.add("create of tiny to the daemon's answer", ("the same QEMU by hand", median(theirs)), median(ours), "ms",
              "<= 1.15x")


def row_boots(table):
    n, ours, theirs = number("AT_ONCE", 20), [], []
    with RealRunner(disk(), find_snapshot()) as runner, ByHand(runner) as hand:
        for _ in range(2):
            theirs.append(hand.start_all(n))
            hand.stop_all()
            ours.append(runner.create_many(n, n))
            runner.destroy_all()
    print(f"{n} creates of tiny at once: s " + " ".join(f"{s:.1f}" for s in ours) + "; by hand: s " +
          " ".join(f"{s:.1f}" for s in theirs))
    table.add(f"{n} creates of tiny at once, all answer", (f"{n} QEMUs by hand", median(theirs)), median(ours), "s",
              "<= 1.2x")
