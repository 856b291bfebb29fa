#!/usr/bin/env python3
"""Random operations by many clients over a few sandboxes, with VMMs and the runner killed meanwhile, against a model.

From the environment: VMM (fake-qemu, fake-ch; default: one after the other), OPERATIONS, CLIENTS, SANDBOXES, TMPDIR,
SEED (default: for one of the two always the same, for the other a random one, which is printed), HOST_FAULTS (how often
in 1000 operations calls of the runner's own begin to fail, host_faults.py; default: 40 where the seed is a random one
of two, else never), KEEP_LOG (where to keep the
runner's log when something was wrong). VMM=qemu: real guests of the image in the folder SNAPSHOT, with KILLS of the
runner and of VMMs; files are written in them, and read back. Prints TAP.

With the same SEED each client asks for the same, in the same order, and the same goes wrong after as many operations.
Which client is served when is for the threads to say: an interleaving does not come back for certain, only its likes.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time

import reality
import tap
from census import Census
from chaos import PER_1000, Chaos
from clients import ClientThread, Gate
from hosts import ChHost, QemuHost, RealHost, enter_namespace, links_of
from ledger import Ledger
from model import STARTED, Model
from rig import Skip

HOSTS = {"fake-qemu": QemuHost, "fake-ch": ChHost, "qemu": RealHost}
FAKES = ["fake-qemu", "fake-ch"]
SEED = 23            # whose run is the same each time, as far as threads allow
HOST_FAULTS = 40     # in the other
QUIET_FROM = 0.2     # of the operations: afterwards the runner is left alone, and its memory watched
WARM_FROM = 0.6      # by then it has done all that there is to do
RESTS = 5            # how often all is compared with reality on the way
FLAT = 1.05          # what the runner's memory may grow by
MEMORY_FROM = 3000   # operations in the last part: fewer do not warm it up
MEMORY_S = 5         # the runner gives memory back a second after its last work, on a busy machine somewhat later
SOCKETS_KEPT = 42    # 20 pairs for requests, one in use
NETLINK_KEPT = 1     # of netfilter's, by transport/local
REST_S = 60          # until descriptors and threads are given back
FAULTS_SHOWN = 5


class Run:
    def __init__(self, host, seed, n_operations, n_clients, rates, is_real):
        self.host = host
        ids = [f"r{i:02}-{seed}" for i in range(host.n_sandboxes)]
        self.model, self.gate, self.n_operations = Model(ids), Gate(), n_operations
        self.lines = []  # what was not so when all was at rest
        each = n_operations // n_clients
        self.ledger = Ledger(host, self.model) if is_real else None
        shared = host, self.model, self.gate, self.ledger
        self.clients = [ClientThread(i, seed, *shared, each) for i in range(n_clients)]
        self.last = ClientThread("last", seed, *shared, each)  # asks by itself, no thread
        self.chaos = Chaos(seed, *shared, each * n_clients, rates, 0.9 if is_real else QUIET_FROM)

    def warm_up(self):
        """What the first sandbox brings is the runner's own, and what more TAPs bring than are kept idle."""
        self.host.create_many(1 if self.ledger else self.host.n_sandboxes, 2)
        self.host.destroy_all(2)
        return self.census()

    def census(self):
        """With nothing there, and the runner at rest."""
        self.host.status_at_rest()
        return Census(self.host)

    def least_memory(self):
        until = time.monotonic() + MEMORY_S
        least = self.host.status()["rss"]
        while time.monotonic() < until:
            time.sleep(0.2)
            least = min(least, self.host.status()["rss"])
        return least

    def settle(self, when):
        self.chaos.host_faults.disarm()
        self.lines += [f"{when}: {line}" for line in reality.settle(self.host, self.model)]
        if self.ledger:
            for id, one in reality.listed(self.host).items():
                self.ledger.read(self.chaos.talk, id, must_answer=one["state"] == STARTED)

    def clear(self, when):
        """No sandbox is left; the census of that."""
        self.chaos.take_back_all()
        self.settle(when)
        for id in self.ledger.files if self.ledger else ():
            self.ledger.destroy_begins(id)
        self.lines += [f"{when}: {line}" for line in reality.destroy_all(self.host, self.model)]
        self.settle(f"{when}, all destroyed")
        census = self.census()
        if self.n_operations >= MEMORY_FROM:
            census.numbers["rss"] = self.least_memory()
        return census

    def go(self):
        for thread in self.clients + [self.chaos]:
            thread.start()
        stops = [(self.n_operations * (i + 1) // (RESTS + 1), None) for i in range(RESTS)]
        stops.append((int(self.n_operations * WARM_FROM), "quiet"))
        warm = None
        for at, what in sorted(stops, key=lambda stop: stop[0]):
            if not self.gate.await_done(at):
                break
            self.gate.close()
            if what == "quiet":
                warm = self.clear(f"after {at}")
            else:
                self.settle(f"after {at}")
            self.gate.open()
        for client in self.clients:
            client.join()
        self.gate.end()
        self.chaos.join()
        if any(thread.error for thread in self.clients + [self.chaos]):  # there may be no runner any more
            return None, None
        if self.ledger:
            self.keep_one()
        return warm, self.clear("at the end")

    def keep_one(self):
        """By chance alone every guest may be gone before its files are read: one is written to, stopped, started, read."""
        id = sorted(self.model.sandboxes)[0]
        for what in ("destroy", "create", "stop", "start"):
            self.last.operate(what, id)
        self.last.talk.close()

    def tell(self):
        """What happened, in numbers."""
        counts = {}
        for (kind, outcome), n in sorted(self.model.outcomes.items()):
            counts.setdefault(kind, []).append(f"{n} {outcome}")
        for kind, texts in counts.items():
            tap.diag(f"{kind}: {', '.join(texts)}")
        tap.diag(", ".join(f"{action}: {n}" for action, n in self.chaos.counts.items()))
        faults = self.chaos.host_faults
        tap.diag(f"calls of the runner that failed: {faults.n_hit}; " +
                 ", ".join(f"{name}: {n}" for name, n in sorted(faults.at.items())))
        if self.ledger:
            tap.diag(f"files written in guests: {self.ledger.n_written}, read back: {self.ledger.n_read}")


def netlinks():
    """Names of the kernel's sockets for itself, as descriptors have them."""
    with open("/proc/net/netlink") as file:
        return {f"socket:[{line.split()[9]}]" for line in file.readlines()[1:]}


def sockets(host):
    """How many of the runner's descriptors are sockets: of all, of those for the kernel, which transport/local keeps."""
    ours, names = netlinks(), links_of(host.pid)
    return sum(name.startswith("socket:") for name in names), sum(name in ours for name in names)


def no_leftovers(run, before, counts, is_long):
    """Waits for what is closed a moment later; the lines of what is left. Connections within the runner are kept for
    reuse, half a minute long, which only a long run waits for."""
    until = time.monotonic() + REST_S
    n_sockets, n_kernel = counts
    kept = 0 if is_long else SOCKETS_KEPT
    while True:
        now, (n_now, n_kernel_now) = Census(run.host), sockets(run.host)
        lines = now.difference(before)
        if (n_now - n_kernel_now > n_sockets - n_kernel + kept or n_kernel_now > NETLINK_KEPT or
                now.numbers["fds"] - n_now > before.numbers["fds"] - n_sockets):
            lines.append(f"descriptors: {before.numbers['fds']} with {n_sockets} sockets before, {n_kernel} of them "
                         f"for the kernel; {now.numbers['fds']} with {n_now} now, {n_kernel_now} of them")
        if now.numbers["threads"] > before.numbers["threads"]:
            lines.append(f"threads: {before.numbers['threads']} before, {now.numbers['threads']} now")
        if not lines or time.monotonic() > until:
            return lines
        time.sleep(0.2)  # for this there is no event


def judge(run, before, warm, last, is_long):
    model, chaos = run.model, run.chaos
    tap.ok(f"d23: every answer of {run.gate.n_done} operations is one that may be", not model.faults,
           *model.faults[:FAULTS_SHOWN])
    tap.ok("d23: at rest all is as told: processes, TAPs, files, guests", not run.lines, *run.lines[:20])
    tap.ok(f"d23: {len(chaos.statuses)} runners that were told to end did with status 0", not any(chaos.statuses),
           chaos.statuses)
    if last is None:
        return
    lines = no_leftovers(run, *before, is_long)
    tap.ok("d23: nothing is left: TAPs, records, files, processes, cgroups, descriptors, threads", not lines,
           *lines[:20])
    text = f"memory of the runner: {warm.numbers['rss']} KiB warm, {last.numbers['rss']} KiB at the end"
    if is_long:
        tap.ok(f"d23: flat within 5 %: {text}", last.numbers["rss"] <= warm.numbers["rss"] * FLAT)
    else:
        tap.diag(text)


def number(name, default):
    return int(os.environ.get(name, default))


def random_seed():
    return int.from_bytes(os.urandom(3), "big")


def plan():
    """(VMM, seed, host faults) of each run."""
    vmms = os.environ.get("VMM", " ".join(FAKES)).split()
    rate = number("HOST_FAULTS", 0)
    if "SEED" in os.environ:
        return [(vmm, int(os.environ["SEED"]), rate) for vmm in vmms]
    if len(vmms) == 1:
        return [(vmms[0], random_seed(), rate)]
    seeds = [(SEED, rate), (random_seed(), number("HOST_FAULTS", HOST_FAULTS))]
    random.shuffle(seeds)
    return [(vmm, *seed) for vmm, seed in zip(vmms, seeds)]


def try_one(vmm, seed, rate, has_bridge):
    n_operations, n_clients, n_sandboxes = number("OPERATIONS", 1000), number("CLIENTS", 16), number("SANDBOXES", 24)
    tap.diag(f"SEED={seed} VMM={vmm} OPERATIONS={n_operations} CLIENTS={n_clients} SANDBOXES={n_sandboxes} "
             f"HOST_FAULTS={rate}; network: {'bridge' if has_bridge else 'without TAPs'}")
    host = HOSTS[vmm](os.environ.get("TMPDIR", tempfile.gettempdir()), n_sandboxes, has_bridge)
    is_real, rates = vmm == "qemu", dict(PER_1000)
    if rate:
        rates["host fault"] = rate
    if is_real:  # KILLS: half of them of the runner, of which one is told to end
        half = number("KILLS", 4) * 500 / n_operations
        one = 1000 / n_operations
        rates = {"kill a VMM": half, "kill the runner": half - one, "stop the runner": one}
    run = Run(host, seed, n_operations, n_clients, rates, is_real)
    try:
        before = run.warm_up(), sockets(host)
        begin = time.monotonic()
        warm, last = run.go()
        tap.diag(f"in {time.monotonic() - begin:.0f} s")
        run.tell()
        judge(run, before, warm, last, n_operations >= MEMORY_FROM)
        if is_real:
            tap.ok("d23: guests kept files that had to be read back", run.ledger and run.ledger.n_read > 0)
        if tap.failed and "KEEP_LOG" in os.environ:
            shutil.copy(host.log.name, os.environ["KEEP_LOG"])
    finally:
        host.close()


def main():
    runs = plan()
    has_bridge = enter_namespace(are_fake=all(vmm in FAKES for vmm, *_ in runs))
    for run in runs:
        try:
            try_one(*run, has_bridge)
        except Skip as reason:
            tap.skip(reason)
    tap.done()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
