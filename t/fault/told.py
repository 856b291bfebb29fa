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


def check(runner, what):
    """Each state is told after it was written, and every one of them is told."""
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
    tap.ok(f"d23: {what}: nothing is told before it is written", not early, *early[:3])
    tap.ok(f"{what}: there was time to look", len(told) >= len(order) - 1, told)


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        faults = Fault(os.path.join(base, "faults"))
        with SlowRunner(base, faults.env()) as runner:
            runner.client.call("POST", "/sandboxes", dict(runner.body, id="one"))
            faults.arm(fault.STALL, name="fsync", stall_ms=STALL_MS, times=0)
            for what in ("stop", "start", "pause", "resume"):
                check(runner, what)
            faults.disarm()
            runner.client.call("DELETE", "/sandboxes/one")
    tap.done()


if __name__ == "__main__":
    main()
