"""What a look is told of a sandbox is in its record already: a runner that is killed then does not take it back."""

import json
import os
import tempfile
import threading

import fault
import tap
from fault import Fault
from rig import Client, Runner

STALL_MS = 500
TRIES = 10  # at a time to look: a test that stands still for a second sees nothing of it
ORDER = {"start": ["stopped", "starting", "started"], "stop": ["started", "stopping", "stopped"],
         "pause": ["started", "paused"], "resume": ["paused", "started"]}


class SlowRunner(Runner):
    is_test = True


def recorded(runner):
    with open(os.path.join(runner.root, "sandboxes/one/runner.json")) as file:
        return json.load(file)["state"]


def ask(runner, what):
    client = Client(runner.socket)
    client.call("POST", f"/sandboxes/one/{what}", {})
    client.close()


def watch(runner, what):
    """Asks, and looks meanwhile; the states that were told, and lines of those that were told too early."""
    order, told, early = ORDER[what], set(), []
    asking = threading.Thread(target=ask, args=(runner, what))
    asking.start()
    while asking.is_alive():
        state = runner.client.call("GET", "/sandboxes/one")["state"]
        written = recorded(runner)
        told.add(state)
        if order.index(state) > order.index(written):
            early.append(f"told {state}, written {written}")
    asking.join()
    return told, early


def check(runner, faults, what, back):
    """Each state is told after it was written, and every one of them is told. back: what undoes it, for another try."""
    told, early = watch(runner, what)
    for _ in range(TRIES):
        if len(told) >= len(ORDER[what]) - 1:
            break
        faults.disarm()
        ask(runner, back)
        stall(faults)
        told, more = watch(runner, what)
        early += more
    tap.ok(f"d23: {what}: nothing is told before it is written", not early, *early[:3])
    tap.ok(f"{what}: there was time to look", len(told) >= len(ORDER[what]) - 1, told)


def stall(faults):
    faults.arm(fault.STALL, name="fsync", stall_ms=STALL_MS, times=0)


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        faults = Fault(os.path.join(base, "faults"))
        with SlowRunner(base, faults.env()) as runner:
            runner.client.call("POST", "/sandboxes", dict(runner.body, id="one"))
            stall(faults)
            for what, back in (("stop", "start"), ("start", "stop"), ("pause", "resume"), ("resume", "pause")):
                check(runner, faults, what, back)
            faults.disarm()
            runner.client.call("DELETE", "/sandboxes/one")
    tap.done()


if __name__ == "__main__":
    main()
