"""SIGKILL to the runner, and an error, at every call by which a sandbox of an older runner is taken over.

The machine is a fake Cloud Hypervisor started by hand. Whatever happens to the runner, it goes on as it was; the older
files stay as they are; the next start, or recover, ends the take-over; and then destroy leaves nothing.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import fault
import tap
from fault import Fault
from rig import SRC, Client, is_sanitized
from runners import LoopbackRunner

ID = "older-1"
SECONDS = 60
SANITIZED_STEP = 3


class Host:
    """A runner that is not always there, and one sandbox of another."""

    def __init__(self, base):
        self.fault = Fault(os.path.join(base, "faults"))
        self.runner = LoopbackRunner(base, self.fault.env())
        self.runner.end(signal.SIGKILL)
        self.dir = os.path.join(self.runner.root, "sandboxes", ID)
        self.socket = os.path.join(self.runner.dir, "run", ID + ".sock")
        self.vmm = None

    def text(self, name):
        with open(os.path.join(SRC, "t/run/foreign", name)) as file:
            text = file.read()
        mac = "02" + "".join(f":{byte:02x}" for byte in hashlib.sha256(ID.encode()).digest()[:5])
        for word, value in (("ROOT", self.runner.root), ("DIR", self.dir), ("ID", ID), ("TAP", "tap-" + ID[:11]),
                            ("MAC", mac)):
            text = text.replace(f"@{word}@", value)
        return text

    def leave(self, runs):
        """What the older runner left."""
        os.makedirs(self.dir)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b",
                        os.path.join(self.runner.root, "snapshots/tiny/disk.raw"),
                        os.path.join(self.dir, "disk.qcow2"), "1G"], check=True)
        for name, text in (("config.json", self.text("vm.json")), ("ip", "127.9.9.9\n"),
                           ("cloud-init.iso", "seed".ljust(2048))):
            with open(os.path.join(self.dir, name), "w") as file:
                file.write(text)
        self.vmm = self.boot() if runs else None
        self.before = self.files()

    def boot(self):
        vmm = subprocess.Popen([os.path.join(self.runner.dir, "cloud-hypervisor"), "--api-socket", self.socket],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client, until = Client(self.socket, SECONDS), time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                client.call("GET", "/api/v1/vmm.ping")
                break
            except OSError:
                client.close()
                time.sleep(0.003)
        client.call("PUT", "/api/v1/vm.create", json.loads(self.text("vm.json")))
        client.call("PUT", "/api/v1/vm.boot")
        client.close()
        return vmm

    def files(self):
        """Of the older runner, as they are now."""
        found = {}
        for name in ("config.json", "ip", "cloud-init.iso", "disk.qcow2"):
            with open(os.path.join(self.dir, name), "rb") as file:
                found[name] = hashlib.sha256(file.read()).hexdigest()
        return found

    def sandbox(self):
        return self.runner.client.call("GET", f"/sandboxes/{ID}")

    def settle(self):
        """Starts a runner and waits until it has looked; False: it died of it."""
        self.runner.begin()
        try:
            self.runner.wait_up()
            self.runner.wait_idle(SECONDS)
            return True
        except Exception:
            if self.runner.process.poll() is None and self.fault.hits == 0:
                raise
            self.runner.process.wait(SECONDS)
            return False

    def check(self, what):
        """That it is taken over, and that nothing happened to it."""
        found, wanted = self.sandbox(), "started" if self.vmm else "stopped"
        faults = []
        if found["state"] != wanted:
            faults.append(f"it is {found['state']}: {found.get('error')}")
        if self.vmm and (self.vmm.poll() is not None or found.get("pid") != self.vmm.pid):
            faults.append(f"its process was {self.vmm.pid} and is {found.get('pid')}")
        if self.files() != self.before:
            faults.append("its files have changed")
        left = [name for name in os.listdir(self.dir) if name.startswith(".tmp-")]
        if left:
            faults.append(f"left over: {left}")
        self.runner.client.call("DELETE", f"/sandboxes/{ID}")
        if self.vmm:
            self.vmm.wait(SECONDS)
        if os.path.exists(self.dir) or [name for name in os.listdir(os.path.dirname(self.socket)) if ID in name]:
            faults.append("destroy left something")
        self.runner.end(signal.SIGKILL)
        if faults:
            tap.diag(f"{what}: " + "; ".join(faults))
        return not faults


def killed(host, runs, side, number):
    """Whether the point was come to, and whether all was well."""
    host.leave(runs)
    host.fault.arm(side, at=number, id=ID)
    if host.settle():
        host.fault.disarm()
        return False, host.check("no fault")
    hit = host.fault.hit
    host.fault.disarm()
    is_alive = host.vmm is None or host.vmm.poll() is None
    host.settle()
    return True, host.check(f"killed at {hit.name} {hit.where}") and is_alive


def refused(host, runs, number):
    """A call fails: it is taken over all the same, or an error that recover mends."""
    host.leave(runs)
    host.fault.arm(fault.FAIL, at=number, id=ID, kinds=fault.CHANGE | fault.ASK)
    host.settle()
    hits, hit = host.fault.hits, host.fault.hit
    host.fault.disarm()
    if hits > 0 and host.sandbox()["state"] == "error":
        host.runner.client.ask("POST", f"/sandboxes/{ID}/recover", {})
    return hits > 0, host.check(f"{hit.name} {hit.where} failed" if hits else "no fault")


def walk(name, one):
    """All points, one after the other; with sanitizers one of so many."""
    number, points, bad = 1, 0, 0
    while True:
        is_hit, is_good = one(number)
        bad += not is_good
        if not is_hit:
            break
        points += 1
        number += SANITIZED_STEP if is_sanitized() else 1
    tap.ok(f"{name}: {points} points", points > 1 and bad == 0, f"{bad} are wrong")


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        host = Host(base)
        for runs in (True, False):
            what = "a running one" if runs else "a stopped one"
            walk(f"{what}: killed before each change", lambda n: killed(host, runs, fault.CRASH_BEFORE, n))
            walk(f"{what}: killed after each change", lambda n: killed(host, runs, fault.CRASH_AFTER, n))
            walk(f"{what}: each call fails once", lambda n: refused(host, runs, n))
        host.runner.launch()
        host.runner.close()
        host.fault.close()
    tap.done()


if __name__ == "__main__":
    sys.exit(main())
