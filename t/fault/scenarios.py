"""What a runner does when it is to crash, and what may be true then."""

import json
import os
import signal
import socket
import subprocess

import fault
from crash_rig import BYSTANDER, ID, Wrong

PATH = f"/sandboxes/{ID}"
BOTH = ("ch", "qemu")
ALL = ("ch", "qemu", "ch-new-tap", "ch-netns")


class Scenario:
    """kinds: of runners that it is for. before: the state that the subject is in; None, here as below: there is none."""

    id = ID  # what is done for this sandbox is what is counted
    expected = ()  # words of the log after the crash
    is_create = False

    def __init__(self, name, kinds, before):
        self.name, self.kinds, self.before = name, kinds, before
        self.state = None  # after the recovery

    def prepare(self, rig):
        rig.prepare(self.before)

    def run(self, rig):
        """The status that the client got, None: it had no answer, or there is no client."""
        raise NotImplementedError

    def part_of(self, trace):
        """The calls at which it is to crash."""
        return trace

    def check(self, rig, status):
        """After the recovery, or where the crash did not come."""
        raise NotImplementedError

    def again(self, rig):
        """What is asked then is answered as if nothing had been."""
        raise NotImplementedError

    def must(self, rig, method, path, body=None):
        status, text = rig.ask(method, path, body)
        if status is None or status >= 300:
            raise Wrong(f"{method} {path} afterwards: {status} {(text or b'').decode(errors='replace')[:400]}")

    def use(self, rig):
        """It can be started, or made."""
        if self.state is None:
            self.must(rig, "POST", "/sandboxes", rig.body())
        else:
            self.must(rig, "POST", PATH + ("/resume" if self.state == "paused" else "/start"), {})
        rig.check(["started"], self.state is not None)


class Asked(Scenario):
    """An operation that a client asks for. undone, done: the states before and after it."""

    def __init__(self, name, method, path, before, done, body=None, again=None, kinds=BOTH, wish=None):
        super().__init__(name, kinds, before)
        self.method, self.path, self.body = method, path, body
        self.is_create = path == "/sandboxes"
        self.undone, self.done = before, done
        self.after_again = again or (lambda state: done)

    def request(self, rig):
        body = rig.body(**self.body) if self.path == "/sandboxes" else self.body or {}
        return rig.ask(self.method, self.path, body)

    def run(self, rig):
        return self.request(rig)[0]

    def check(self, rig, status):
        if status is not None and status >= 300:
            raise Wrong(f"the answer was {status}")
        self.state = rig.check([self.done] if status is not None else [self.done, self.undone], self.before is not None)

    def again(self, rig):
        status, text = self.request(rig)
        if status is None or status >= 300:
            raise Wrong(f"asked again: {status} {(text or b'').decode(errors='replace')[:400]}")
        rig.check([self.after_again(self.state)], self.before is not None)


class Failing(Asked):
    """One that fails, as the VMM ends at once, and is undone."""

    def run(self, rig):
        rig.wish("exit 1 as the test wishes")
        return self.request(rig)[0]

    def check(self, rig, status):
        rig.wish()
        if status is not None and status < 400:
            raise Wrong(f"the answer was {status}")
        self.state = rig.check([self.undone], self.before is not None)


class Resized(Asked):
    """One of one processor that is to have two."""

    def check(self, rig, status):
        super().check(rig, status)
        self.check_cpus(rig, [2] if status is not None else [1, 2])

    def check_cpus(self, rig, wanted):
        with open(rig.path("runner.json")) as file:
            cpus = json.load(file)["cpus"]
        if cpus not in wanted:
            raise Wrong(f"it has {cpus} processors, not {wanted}")

    def again(self, rig):
        super().again(rig)
        self.check_cpus(rig, [2])


class Policy(Asked):
    """A running one that is to reach nothing; where its network cannot, nothing changes but that the record is written."""

    def prepare(self, rig):
        super().prepare(rig)
        self.body = {"networkBlockAll": self.settings(rig)["isEnforced"]}

    def settings(self, rig):
        return json.loads(rig.must("GET", self.path))

    def check(self, rig, status):
        super().check(rig, status)
        found = self.settings(rig)
        if found["networkBlockAll"] not in ([self.body["networkBlockAll"]] if status is not None else [True, False]):
            raise Wrong(f"its settings are {found}")
        if found["isEnforced"] and hasattr(rig.runner, "policies"):
            self.check_force(rig, "block" if found["networkBlockAll"] else "open")

    def check_force(self, rig, wanted):
        with open(os.path.join(rig.runner.policies, ID)) as file:
            text = file.read().strip()
        if text != wanted:
            raise Wrong(f"in force is {text}, and it should be {wanted}")

    def again(self, rig):
        super().again(rig)
        if self.settings(rig)["networkBlockAll"] != self.body["networkBlockAll"]:
            raise Wrong(f"its settings are {self.settings(rig)}")


class Repaired(Asked):
    """One in error, since its VMM died, that is to be stopped again."""

    def prepare(self, rig):
        rig.prepare("started")
        rig.kill_vmm()
        rig.await_state(["error"])


class Ended(Scenario):
    """The VMM dies, and nobody asked."""

    def run(self, rig):
        rig.look_from_here()
        rig.kill_vmm()
        rig.await_log("op=exited id=subject ms=")

    def check(self, rig, status):
        # How it ended is known to its parent only.
        self.state = rig.check(["error", "stopped"] if rig.fault.hits else ["error"], True)

    def again(self, rig):
        self.use(rig)


class Panicked(Scenario):
    """The guest's kernel gives up, and its VMM says so and goes on."""

    def run(self, rig):
        rig.look_from_here()
        rig.say_panic()
        rig.await_log("op=panicked id=subject ms=")

    def check(self, rig, status):
        # What the VMM said and the runner read goes with the runner, until it has begun to act on it.
        has_begun = any(call.name == "pidfd_send_signal" and call.result == 0 for call in rig.fault.trace())
        states = ["error"] if not rig.fault.hits else ["error", "stopped"] if has_begun else ["started"]
        self.state = rig.check(states, True)

    def again(self, rig):
        self.use(rig)


class Recovered(Scenario):
    """The recovery of a sandbox that started, of which the record says `recorded`, by a runner that crashes at it."""

    def __init__(self, name, recorded, states, kinds=BOTH, kills=False, pauses=False):
        super().__init__(name, kinds, "paused" if pauses else "started")
        self.recorded, self.states, self.kills = recorded, states, kills

    def prepare(self, rig):
        rig.prepare(self.before)
        rig.runner.end(signal.SIGKILL)
        rig.set_record(self.recorded)
        if self.kills:
            rig.kill_vmm()

    def run(self, rig):
        rig.look_from_here()
        rig.runner.begin()
        rig.settle()

    def check(self, rig, status):
        self.state = rig.check(self.states, True)

    def again(self, rig):
        self.use(rig)


class TakenOver(Scenario):
    """The recovery of a running sandbox that an older runner left."""

    expected = ("event=reconcile.taken_over", "event=reconcile.no_sweep")

    def __init__(self):
        super().__init__("recover-foreign", ("ch-new-tap",), None)
        self.vmm = None

    def prepare(self, rig):
        rig.runner.end(signal.SIGKILL)
        self.vmm = rig.start_foreign()

    def run(self, rig):
        rig.look_from_here()
        rig.runner.begin()
        rig.settle()

    def check(self, rig, status):
        sandbox = rig.runner.client.call("GET", PATH)
        if sandbox["state"] != "started" or sandbox.get("pid") != self.vmm.pid:
            raise Wrong(f"it is {sandbox}, and was process {self.vmm.pid}")
        if not rig.has_marker():
            raise Wrong("what was on its disk is not there any more")

    def again(self, rig):
        self.must(rig, "POST", PATH + "/pause")
        self.must(rig, "POST", PATH + "/start", {})
        self.check(rig, None)
        rig.remove()
        self.vmm.wait()


class BroughtUp(Scenario):
    """A start on a host on which things are missing and others are left; before anything is recovered."""

    id = ""

    def __init__(self):
        super().__init__("bring-up", BOTH, None)

    def prepare(self, rig):
        rig.runner.end(signal.SIGKILL)
        os.makedirs(rig.path("", "unborn"))
        for at in (rig.path("", "unborn"), rig.path("", BYSTANDER), rig.runner.root):
            with open(os.path.join(at, ".tmp-0123456789abcdef"), "w"):
                pass
        if self.has_bridge():
            ip("tuntap", "add", "tap-orphan", "mode", "tap")
            ip("link", "set", "tap-orphan", "master", "br-t")

    def has_bridge(self):
        return "br-t" in [name for _, name in socket.if_nameindex()]

    def run(self, rig):
        rig.look_from_here()
        rig.runner.begin()
        rig.settle()

    def part_of(self, trace):
        for i, call in enumerate(trace):
            if call.kind == fault.MARK:
                return trace[:i]
        return trace

    def check(self, rig, status):
        self.state = rig.check([None], False)

    def again(self, rig):
        self.use(rig)


class BridgeMade(BroughtUp):
    """The first start on a host, or one after somebody took bridge and rules away."""

    def __init__(self):
        super().__init__()
        self.name, self.kinds = "bridge", ("ch",)

    def prepare(self, rig):
        rig.runner.end(signal.SIGKILL)
        if self.has_bridge():
            ip("link", "del", "br-t")
            subprocess.run(["nft", "flush", "ruleset"], check=True)

    def check(self, rig, status):
        super().check(rig, status)
        if not self.has_bridge():
            return
        address = output("ip", "-o", "-4", "addr", "show", "dev", "br-t", "up")
        if "10.9.0.1/24" not in address:
            raise Wrong("the bridge is not up, or has no address", address)
        tables = output("nft", "list", "tables")
        if tables.count("runner_br_t") != 2:
            raise Wrong("its rules are not there", tables)
        ip("link", "set", "tap-bystander", "master", "br-t")


def output(*words):
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout


def ip(*words):
    output("ip", *words)


SCENARIOS = {scenario.name: scenario for scenario in [
    Asked("create", "POST", "/sandboxes", None, "started", {}, kinds=ALL),
    # Asked for again, it is as it was asked for only when nothing was there: what is there is started (contract 1.5).
    Asked("create-stopped", "POST", "/sandboxes", None, "stopped", {"skipStart": True},
          lambda state: "started" if state else "stopped"),
    Asked("start", "POST", PATH + "/start", "stopped", "started", kinds=ALL),
    Asked("stop", "POST", PATH + "/stop", "started", "stopped"),
    Asked("stop-force", "POST", PATH + "/stop", "started", "stopped", {"force": True}),
    Asked("pause", "POST", PATH + "/pause", "started", "paused"),
    Asked("resume", "POST", PATH + "/resume", "paused", "started"),
    Asked("start-paused", "POST", PATH + "/start", "paused", "started"),
    Asked("stop-paused", "POST", PATH + "/stop", "paused", "stopped"),
    Asked("destroy", "POST", PATH + "/destroy", "started", None, kinds=ALL),
    Asked("delete", "DELETE", PATH, "stopped", None),
    Asked("delete-paused", "DELETE", PATH, "paused", None),
    Failing("create-fails", "POST", "/sandboxes", None, "started", {}, kinds=ALL),
    Failing("start-fails", "POST", PATH + "/start", "stopped", "started"),
    Resized("resize", "POST", PATH + "/resize", "stopped", "stopped", {"cpu": 2}),
    Resized("resize-running", "POST", PATH + "/resize", "started", "started", {"cpu": 2}, kinds=("ch",)),
    Resized("resize-disk", "POST", PATH + "/resize", "stopped", "stopped", {"cpu": 2, "disk": 7}),
    Policy("policy", "POST", PATH + "/network-settings", "started", "started"),
    Repaired("repair", "POST", PATH + "/recover", "error", "stopped",
             {"userId": "u", "osUser": "root", "errorReason": "its VMM ended"}),
    Asked("expand", "POST", PATH + "/recover", "started", "stopped",
          {"userId": "u", "osUser": "root", "errorReason": "no space left on device"}),
    Ended("exited", BOTH, "started"),
    Panicked("panicked", ("ch",), "started"),
    BridgeMade(),
    BroughtUp(),
    Recovered("recover-creating", "creating", [None]),
    Recovered("recover-destroying", "destroying", [None]),
    Recovered("recover-starting", "starting", ["stopped"]),
    Recovered("recover-stopping", "stopping", ["stopped"]),
    Recovered("recover-started", "started", ["started"], kinds=BOTH + ("ch-netns",)),
    Recovered("recover-paused", "started", ["paused"], pauses=True),
    Recovered("recover-dead", "started", ["stopped"], kinds=BOTH + ("ch-netns",), kills=True),
    TakenOver(),
]}
