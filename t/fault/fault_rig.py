"""Runners that faults can be made in, and what is asked of them."""

import json
import os
import re
import subprocess
import time

from census import Census, records, tap_names
from runners import BridgeRunner, LoopbackRunner, NewTapRunner, OneNetnsRunner, QemuRunner, has_bridge

TIMEOUTS = "{{create: 30s, ready: 20s, start: 30s, stop: 20s, stop_grace: 1s, request: 20s}}"


class Wrong(Exception):
    """What is not as it should be."""


def kinds():
    """Runners by the names that POINT has for them. What two have in common is tried with the first."""
    with_bridge = {"ch": BridgeRunner, "ch-new-tap": NewTapRunner, "ch-netns": OneNetnsRunner}
    classes = {"qemu": QemuRunner, **(with_bridge if has_bridge() else {"ch": LoopbackRunner})}
    return {name: type(name, (each,), {"TIMEOUTS": TIMEOUTS}) for name, each in classes.items()}


class Rig:
    def __init__(self, runner, faults, seen):
        """seen: calls that have failed, by the kind of operation."""
        self.runner, self.faults, self.seen, self.n = runner, faults, seen, 0
        self.parts = self.tap = None  # of a sandbox that runs
        self.has_policies = False     # whether its network can limit what a sandbox reaches
        runner.wait_idle()
        self.warm_up()

    def ask(self, method, path, body=None):
        status, text = self.runner.client.ask(method, path, body)
        try:
            return status, json.loads(text)
        except ValueError:
            raise Wrong(f"{method} {path}: {status} with a body that is no JSON: {text[:200]}") from None

    def must(self, method, path, body=None):
        status, reply = self.ask(method, path, body)
        if status >= 300:
            raise Wrong(f"{method} {path} without a fault: {status} {reply.get('message')}")
        return reply

    def state(self, id):
        return self.must("GET", f"/sandboxes/{id}")["state"]

    def warm_up(self):
        """Makes what all sandboxes share and the runner keeps, and looks what one has."""
        self.must("POST", "/sandboxes", dict(self.runner.body, id="first"))
        self.parts, self.tap = self.parts_of(Census(self.runner), "first"), self.tap_of("first")
        self.has_policies = self.must("GET", "/sandboxes/first/network-settings")["isEnforced"]
        self.must("DELETE", "/sandboxes/first")
        self.runner.wait_idle()

    def fresh_id(self):
        self.n += 1
        return f"f{self.n}"

    def await_state(self, id, states, seconds=60):
        until = time.monotonic() + seconds
        while self.state(id) not in states:
            if time.monotonic() > until:
                raise Wrong(f"after {seconds} s it is {self.state(id)}, not {' or '.join(sorted(states))}")
            time.sleep(0.003)

    def is_gone_on_with(self, id, seconds=60):
        """Whether the runner has done again, by itself, what had failed: its log says so a moment after the state."""
        until, line = time.monotonic() + seconds, f" event=op.done op=recover id={id} "
        while True:
            with open(self.runner.log.name, errors="replace") as log:
                if any(line in told for told in log):
                    return True
            if time.monotonic() > until:
                return False
            time.sleep(0.01)

    def await_record(self, id, state, seconds=60):
        """By the disk: nobody asks the runner, which would make calls of its own."""
        until = time.monotonic() + seconds
        def said():
            mine = [item for item in records(self.runner.root) if item.startswith(f"record {id}:")]
            return [item.split(": ")[1].split(",")[0] for item in mine]
        while said() != ([] if state == "destroyed" else [state]):
            if time.monotonic() > until:
                raise Wrong(f"after {seconds} s its record says {said()}, not {state}")
            time.sleep(0.003)

    def pid_of(self, id):
        """0: it has none."""
        try:
            with open(os.path.join(self.runner.root, "sandboxes", id, "vmm.pid")) as file:
                return int(file.readline() or 0)
        except FileNotFoundError:
            return 0

    # ---- what is there ----

    def parts_of(self, census, id):
        """What a sandbox has outside its directory: kinds of things, the same for all that run."""
        parts = {item.split()[0] for item in census.of(id)} - {"file", "record"}
        if any(item.startswith(f"process {self.pid_of(id)}:") for item in census.items):
            parts.add("process")
        return parts

    def tap_of(self, id):
        """What the kernel says of its TAP, without what differs from one to the next; None: it has none."""
        name = tap_names(self.runner.root).get(id)
        if f"link of {id}" not in Census(self.runner).items:
            return None
        text = subprocess.run(["ip", "-d", "-o", "link", "show", "dev", name], stdout=subprocess.PIPE, text=True,
                              check=True).stdout
        state = re.search(r"<([^>]*)>.* master (\S+)", text)
        users = re.search(r" user (\S+)", text)
        return (sorted(state[1].split(",")), state[2], "isolated on" in text, bool(users)) if state else text
