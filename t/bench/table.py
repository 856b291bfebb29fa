"""The table of the bench, and how rows measure."""

import os
import time

from rig import median, quantile

DISK = os.environ.get("TMPDIR", "/var/tmp")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else DISK


def number(name, otherwise):
    """A whole number from outside."""
    return int(os.environ.get(name, otherwise))


class Table:
    def __init__(self):
        self.rows = []

    def add(self, what, reference, value, unit, target="-"):
        """reference: None, or (its name, its value in the same unit)."""
        told, ratio = "-", "-"
        if reference:
            told = f"{reference[1]:.2f} {unit}: {reference[0]}"
            ratio = f"{value / reference[1]:.2f}x" if round(reference[1], 2) > 0 else "-"
        self.rows.append((what, f"{value:.2f} {unit}", told, ratio, target))

    def skip(self, what, reason):
        self.rows.append((what, "skipped", reason, "-", "-"))

    def print(self):
        head = ("what", "runner-ch", "reference", "ratio", "wanted")
        wide = [max(len(row[i]) for row in [head] + self.rows) for i in range(len(head))]
        for row in [head, tuple("-" * n for n in wide)] + self.rows:
            print("  ".join(text.ljust(n) for text, n in zip(row, wide)).rstrip())


class Phases:
    """Milliseconds of each phase of many creates."""

    def __init__(self):
        self.ms = {}

    def collect(self, reply):
        for timing in reply["timings"]:
            self.ms.setdefault(timing["phase"], []).append(timing["ms"])

    def print(self):
        print("  phases, wall ms p50/p99: " +
              ", ".join(f"{name} {median(ms):.2f}/{quantile(ms, .99):.2f}" for name, ms in self.ms.items()))

    def add_rows(self, table, starts):
        """Against those of machines made by hand. What the runner plans before is part of its host phase there, and host is
        both halves of the runner's."""
        ms = dict(self.ms, host=[a + b for a, b in zip(self.ms["begin"], self.ms["host"])])
        for name in ("host", "boot", "ready", "commit"):
            ours, theirs = ms.get(name), [getattr(start, name) for start in starts]
            for q in (.5, .99) if ours and round(median(theirs), 2) > 0 else ():
                table.add(f"  phase {name} p{100 * q:.0f}", ("by hand", quantile(theirs, q)), quantile(ours, q), "ms")


def rounds(n, one, other):
    """Both in turn; what comes second may be slower, or faster, so each does half of the times. The pause is for what
    the kernel still has to tidy up after the one before."""
    for i in range(number("ROUNDS", n)):
        for start in (one, other) if i % 2 == 0 else (other, one):
            time.sleep(0.1)
            start()


def load():
    with open("/proc/loadavg") as file:
        return file.read().split()[0]
