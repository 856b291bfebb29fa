"""An image is removed while others are about to use it: whichever comes first, no sandbox and no name is without its base.

One of the two is held up (STALL) at a call between its look and what it does by it, and the other one runs meanwhile.
"""

import json
import os
import tempfile
import threading
import time
import urllib.parse

import fault
import tap
from rig import Client, Runner
from rig_shelf import STORAGE, Shelf

STALL_MS = 1500


class ShelfRunner(Shelf, Runner):
    """On a disk without room for any image: what nobody uses goes with each pull."""

    CONFIG = Runner.CONFIG.replace("storage: none", STORAGE).replace("disk_overcommit: 0", "disk_overcommit: 0, disk_reserve: 100T")
    level = "debug"
    is_test = True

    def ask(self, method, path, body=None):
        """On a connection of its own; its status and text."""
        client = Client(self.socket, 60)
        try:
            return client.ask(method, path, body)
        finally:
            client.close()

    def pull(self, ref):
        """200 or 422. What was fetched may be gone before anybody looks: the next image takes its place."""
        before = len(self.ends_of(ref))
        self.ask("POST", "/snapshots/pull", {"snapshot": ref})
        until = time.monotonic() + 60
        while (status := self.status_of(ref)) not in (200, 422) and len(self.ends_of(ref)) == before:
            if time.monotonic() > until:
                raise RuntimeError(f"pull of {ref}: {status} after a minute")
            time.sleep(0.01)
        return status if status in (200, 422) else self.ends_of(ref)[-1]

    def ends_of(self, ref):
        """Of all fetches of that name that its log tells of."""
        ends = {"event=image.fetched": 200, "event=image.failed": 422}
        with open(self.log.name, errors="replace") as file:
            return [ends[word] for line in file if f" ref={ref} " in line for word in line.split() if word in ends]

    def status_of(self, ref):
        return self.ask("GET", f"/snapshots/info?snapshot={urllib.parse.quote(ref)}")[0]

    def remove(self, ref):
        return self.ask("POST", f"/snapshots/remove?snapshot={urllib.parse.quote(ref)}")[0]

    def tag(self, ref, other):
        return self.ask("POST", "/snapshots/tag", {"sourceImage": ref, "targetImage": other})[0]

    def make(self, id, ref):
        return self.ask("POST", "/sandboxes", dict(self.body, id=id, snapshot=ref, skipStart=True))[0]

    def base_of(self, id):
        """Whether the base of its disk is there."""
        try:
            with open(os.path.join(self.root, "sandboxes", id, "runner.json")) as file:
                return os.path.exists(json.load(file)["disk"]["backingPath"])
        except FileNotFoundError:
            return False


class Asked:
    """A request in a thread of its own."""

    def __init__(self, call, *args):
        self.answer = None
        self.thread = threading.Thread(target=self.run, args=(call, *args))
        self.thread.start()

    def run(self, call, *args):
        self.answer = call(*args)

    def end(self):
        self.thread.join()
        return self.answer


def held_up(faults, where, name, call, *args):
    """Begins that, and comes back once it is held up at the call of that name with that in its path."""
    faults.arm(fault.STALL, kinds=fault.CHANGE | fault.ASK, name=name, where=where, stall_ms=STALL_MS)
    asked = Asked(call, *args)
    until = time.monotonic() + 60
    while faults.hits == 0:
        if time.monotonic() > until:
            raise RuntimeError(f"nothing was held up at {name} of {where}")
        time.sleep(0.001)
    return asked


def check(name, runner, faults, where, call, slow, other, sandbox=None):
    """slow: a request that is held up at that call; other: the one that comes meanwhile. Both succeed, each a request of the
    runner's with its arguments. sandbox: it must have its base then."""
    held = held_up(faults, where, call, *slow)
    answer = other[0](*other[1:])
    order = "before" if held.thread.is_alive() else "after"
    tap.ok(f"{name}: both are answered well", held.end() in (200, 201) and answer in (200, 201), held.answer, answer)
    tap.diag(f"the other one was answered {order} the one that was held up")
    faults.disarm()
    if sandbox is not None:
        tap.ok(f"{name}: the sandbox has its base", runner.base_of(sandbox))


def bring(runner, name):
    """An image; its ref and its digest."""
    digest = runner.put_on_shelf(f"{name}:1")
    runner.pull(f"{name}:1")
    return f"{name}:1", digest


def check_creates(runner, faults):
    ref, digest = bring(runner, "a")
    check("removal while a create looks at its image", runner, faults, f"bases/{digest}", "",
          (runner.make, "a", ref), (runner.remove, ref), "a")
    ref, _ = bring(runner, "b")
    check("removal while a create has found its image", runner, faults, "boot/manifest.json", "openat",
          (runner.make, "b", ref), (runner.remove, ref), "b")
    ref, _ = bring(runner, "c")
    check("removal while a create has said in its record what it has found", runner, faults, "sandboxes/c", "mkdirat",
          (runner.make, "c", ref), (runner.remove, ref), "c")
    for other in ("other:1", "other:2"):
        runner.put_on_shelf(other)
    ref, _ = bring(runner, "d")
    check("eviction while a create has found its image", runner, faults, "boot/manifest.json", "openat",
          (runner.make, "d", ref), (runner.pull, "other:1"), "d")
    ref, _ = bring(runner, "e")
    check("create while a removal takes the base away", runner, faults, "bases/.old-", "renameat",
          (runner.remove, ref), (runner.make, "e", ref), "e")
    ref, _ = bring(runner, "f")
    check("create while a removal takes the name away", runner, faults, "snapshots/f:1", "unlinkat",
          (runner.remove, ref), (runner.make, "f", ref), "f")
    ref, _ = bring(runner, "i")
    check("create while an eviction takes the name away", runner, faults, "snapshots/i:1", "unlinkat",
          (runner.pull, "other:2"), (runner.make, "i", ref), "i")


def check_names(runner, faults):
    """Of a base that is here: a new name comes while the last one goes."""
    digests = [runner.put_on_shelf(ref, content="g") for ref in ("g:1", "g:2")]
    runner.pull("g:1")
    check("removal of a base's last name while a pull gives it another", runner, faults, f"bases/{digests[0]}", "openat",
          (runner.pull, "g:2"), (runner.remove, "g:1"))
    before = runner.pulls()
    tap.equal("then it is a sandbox's", (runner.make("g", "g:2"), runner.base_of("g"), runner.pulls()), (201, True, before))
    ref, digest = bring(runner, "h")
    check("removal of a base's last name while a tag gives it another", runner, faults, f"bases/{digest}", "openat",
          (runner.tag, ref, "h:2"), (runner.remove, ref))
    tap.equal("then it is a sandbox's", (runner.make("h", "h:2"), runner.base_of("h")), (201, True))


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        faults = fault.Fault(os.path.join(base, "faults"))
        with ShelfRunner(base, faults.env()) as runner:
            check_creates(runner, faults)
            check_names(runner, faults)
        faults.close()
    tap.done()


main()
