"""The operations of the fault matrix: how each is brought about, and what it may end in."""

import json
import os
import signal


def create(rig, id):
    return "POST", "/sandboxes", dict(rig.runner.body, id=id)


def create_stopped(rig, id):
    return "POST", "/sandboxes", dict(rig.runner.body, id=id, skipStart=True)


def post(what, body=None):
    return lambda rig, id: ("POST", f"/sandboxes/{id}/{what}", {} if body is None else body)


def policy(rig, id):
    """To reach nothing, where the network can see to that."""
    return "POST", f"/sandboxes/{id}/network-settings", {"networkBlockAll": rig.has_policies}


class Subject:
    """An operation that a client asks for, on a sandbox that has been through these requests. done: its state
    afterwards; after: those that it may be in when the operation has failed."""

    is_recovery = False

    def __init__(self, name, request, done, after, before=(), is_asked_again=True):
        self.name, self.request, self.done, self.after, self.before = name, request, done, after, before
        self.is_asked_again = is_asked_again  # when it has succeeded
        self.is_gone_on_with = bool(after & {"stopping", "destroying"})  # by the runner itself, a quarter of a second later

    def prepare(self, rig, id):
        for request in self.before:
            rig.must(*request(rig, id))
        rig.runner.wait_idle()

    def run(self, rig, id):
        """Status and reply."""
        return rig.ask(*self.request(rig, id))


class Ended(Subject):
    """Nobody asks: the machine dies."""

    def __init__(self):
        super().__init__("exited", post("start"), "error", set(), [create])

    def run(self, rig, id):
        os.kill(rig.pid_of(id), signal.SIGKILL)
        rig.await_record(id, "error")
        rig.await_state(id, {"error"})  # known a moment later
        return 200, {}


class Recovery(Subject):
    """The runner was killed when the record said this, and comes back. Only calls for this sandbox are looked at. What
    fails once is tried again until it works."""

    is_recovery = True

    def __init__(self, name, recorded, done, before=(create,), is_alive=True):
        super().__init__(name, post("start"), done, set(), before)
        self.recorded, self.is_alive = recorded, is_alive

    def prepare(self, rig, id):
        super().prepare(rig, id)
        rig.runner.end(signal.SIGKILL)
        path = os.path.join(rig.runner.root, "sandboxes", id, "runner.json")
        with open(path) as file:
            record = json.load(file)
        record["state"] = self.recorded
        with open(path, "w") as file:
            json.dump(record, file)
        if not self.is_alive:
            os.kill(rig.pid_of(id), signal.SIGKILL)

    def run(self, rig, id):
        rig.runner.launch()
        if self.done in ("started", "paused"):
            rig.runner.wait_idle()
        else:
            rig.await_record(id, self.done)
        rig.await_state(id, {self.done})
        return 200, {}


SUBJECTS = [
    Subject("create", create, "started", {"destroyed"}),
    Subject("create-stopped", create_stopped, "stopped", {"destroyed"}, is_asked_again=False),  # that would start it
    Subject("start", post("start"), "started", {"stopped"}, [create_stopped]),
    Subject("restart", post("start"), "started", {"stopped"}, [create, post("stop")]),
    Subject("stop", post("stop"), "stopped", {"started", "stopping"}, [create]),
    Subject("stop-force", post("stop", {"force": True}), "stopped", {"started", "stopping"}, [create]),
    Subject("pause", post("pause"), "paused", {"started"}, [create]),
    Subject("resume", post("resume"), "started", {"paused"}, [create, post("pause")]),
    Subject("policy", policy, "started", {"started"}, [create]),
    Subject("destroy", post("destroy"), "destroyed", {"started", "destroying"}, [create]),
    Subject("destroy-stopped", post("destroy"), "destroyed", {"stopped", "destroying"}, [create_stopped]),
    Ended(),
    Recovery("recover-started", "started", "started"),
    Recovery("recover-paused", "paused", "paused", [create, post("pause")]),
    Recovery("recover-dead", "started", "stopped", is_alive=False),
    Recovery("recover-starting", "starting", "stopped"),
    Recovery("recover-stopping", "stopping", "stopped"),
    Recovery("recover-destroying", "destroying", "destroyed"),
    Recovery("recover-creating", "creating", "destroyed"),
]


# What these have in common with others is tried with those.
LIKE = {"restart": "start", "stop-force": "stop", "destroy-stopped": "destroy"}
RARE = {"recover-paused", "recover-starting", "recover-creating"}  # much like others
