"""Sandboxes whose record a runner that starts cannot read: nobody is given what is theirs, and nothing of them is lost.
What goes by for a moment is read again by the runner itself.
"""

import errno
import json
import os
import signal
import tempfile
import time

import fault
import tap
from census import Census
from hosts import QemuHost, enter_namespace
from reality import record_of

AGAIN_S = 60  # until the runner has read it again; it tries after 0.25 s, and then ever more rarely


class Rig:
    def __init__(self, host):
        self.host = host

    def path(self, id):
        return os.path.join(self.host.directory(id), "runner.json")

    def ask(self, method, path, body=None):
        status, text = self.host.client.ask(method, path, body)
        return status, text.decode(errors="replace")

    def create(self, id, **more):
        return self.ask("POST", "/sandboxes", dict(self.host.body, id=id, **more))

    def look(self, id):
        return self.host.client.call("GET", f"/sandboxes/{id}")

    def await_state(self, id, state):
        until = time.monotonic() + AGAIN_S
        while (now := self.look(id)["state"]) != state and time.monotonic() < until:
            time.sleep(0.02)  # nobody tells when a runner has tried again
        return now

    def restart(self, id, text):
        """With this as the record of a sandbox; what it was."""
        self.host.end(signal.SIGKILL)
        with open(self.path(id)) as file:
            before = file.read()
        self.write(id, text)
        self.host.launch()
        self.host.wait_hosts()
        return before

    def write(self, id, text):
        with open(self.path(id), "w") as file:
            file.write(text)

    def owns(self, id):
        record = record_of(self.host, id)
        return record["nic"]["address"], record["nic"]["name"], record["vmm"]["uid"]


def check_refusals(rig, id, pid):
    """While its record is nonsense."""
    one = rig.look(id)
    tap.ok("it is shown in error", one["state"] == "error", one)
    for what in ("other", "new"):
        status, text = rig.create(what, skipStart=what == "other")
        tap.ok(f"d15: a create ({what}) is refused, with the reason", status == 409 and id in text, status, text)
    for what in ("start", "stop", "pause", "resume", "resize", "recover"):
        status, text = rig.ask("POST", f"/sandboxes/{id}/{what}", {"cpu": 2} if what == "resize" else {})
        tap.ok(f"a {what} of it is refused", status in (409, 500) and "record" in text, status, text)
    with open(rig.path(id)) as file:
        tap.ok("d23: its record is as it was", file.read() == "nonsense\n")
    tap.ok("d23: its machine runs", rig.host.vmm_pids().get(id) == pid, rig.host.vmm_pids(), pid)
    status, text = rig.ask("POST", "/sandboxes/beside/stop", {})
    tap.ok("one beside it stops", status == 200, status, text)
    status, text = rig.ask("POST", "/sandboxes/beside/start", {})
    tap.ok("and starts", status == 200, status, text)


def is_whole(rig, id, pid, owned):
    status, text = rig.ask("GET", f"/sandboxes/{id}/toolbox/guest")
    tap.ok("d23: it is what it was, the same machine", rig.look(id)["state"] == "started" and
           rig.host.vmm_pids().get(id) == pid and rig.owns(id) == owned, rig.look(id), rig.owns(id), owned)
    tap.ok("d23: and its guest answers", status == 200 and json.loads(text)["id"] == id, status, text)


def nobody_has(rig, ids):
    """Two of the sandboxes have the same."""
    owned = [part for id in ids for part in rig.owns(id)]
    tap.ok("d15: addresses, TAPs and users are each of one", len(set(owned)) == len(owned), owned)


def put_right(rig):
    """Nonsense, and then put right by hand: with a request, and without."""
    pid, owned = rig.host.vmm_pids()["one"], rig.owns("one")
    before = rig.restart("one", "nonsense\n")
    check_refusals(rig, "one", pid)
    rig.write("one", before)
    status, text = rig.ask("POST", "/sandboxes/one/recover", {})
    tap.ok("put right, it can be recovered", status == 200, status, text)
    is_whole(rig, "one", pid, owned)
    rig.restart("one", "nonsense\n")
    rig.write("one", before)
    tap.ok("or it is read again by itself", rig.await_state("one", "started") == "started")
    is_whole(rig, "one", pid, owned)
    status, text = rig.create("new")
    tap.ok("then there are creates again", status < 300, status, text)
    nobody_has(rig, ["one", "beside", "new"])


def fail_for_a_while(rig):
    """Its record is well, and cannot be read when the runner starts."""
    pid, owned = rig.host.vmm_pids()["one"], rig.owns("one")
    rig.host.end(signal.SIGKILL)
    rig.host.faults.arm(fault.FAIL, times=3, kinds=fault.ASK | fault.CHANGE, where="one/runner.json", error=errno.EIO)
    rig.host.launch()
    tap.ok("d23: what cannot be read for a while is read again", rig.await_state("one", "started") == "started")
    rig.host.faults.disarm()
    tap.ok("reading failed", rig.host.faults.hits == 3, rig.host.faults.hits)
    is_whole(rig, "one", pid, owned)


def destroy(rig, before):
    """Of nonsense nothing is left, and the same id is good for another."""
    rig.restart("one", "nonsense\n")
    status, text = rig.ask("DELETE", "/sandboxes/one")
    tap.ok("what cannot be read can be destroyed", status == 200, status, text)
    left = [item for item in Census(rig.host).of("one") if item not in before.items]
    tap.ok("d14: its machine, TAP and files are gone", not left, *left)
    status, text = rig.create("one")
    tap.ok("another of its name is made", status < 300, status, text)
    nobody_has(rig, ["one", "beside", "new"])
    for id in ("one", "beside", "new"):
        rig.ask("DELETE", f"/sandboxes/{id}")
    rig.host.wait_idle()
    lines = Census(rig.host).difference(before)
    tap.ok("d23: nothing is left", not lines, *lines)


def run(base):
    host = QemuHost(base, 3, True)
    try:
        rig = Rig(host)
        host.create()
        host.destroy_all()
        host.wait_idle()
        before = Census(host)
        for id in ("one", "beside"):
            tap.ok(f"a create: {id}", rig.create(id)[0] < 300)
        put_right(rig)
        fail_for_a_while(rig)
        destroy(rig, before)
    finally:
        host.close()


def main():
    if enter_namespace(are_fake=True):
        with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
            os.chmod(base, 0o711)
            run(base)
    else:
        tap.skip("a bridge needs root, /dev/net/tun and network namespaces")
    tap.done()


if __name__ == "__main__":
    main()
