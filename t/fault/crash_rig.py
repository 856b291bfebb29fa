"""A runner that is to crash, with a sandbox that it happens to and a bystander; what must be true afterwards."""

import http.client
import json
import os
import re
import select
import shutil
import signal
import subprocess
import time

from census import Census, processes
from fault import Fault
from rig import SRC, Client, NotUp

ID = "subject"
BYSTANDER = "bystander"
MARKER_AT = 1 << 20  # in the file of the disk
MARKER = b"what a guest wrote\n"
SECONDS = 60  # for what takes milliseconds


class Wrong(Exception):
    """What was found to be so and must not be."""


def alike(item):
    """The item without what differs from one sandbox to the next."""
    item = re.sub(r"-[0-9a-f]{8}\b", "-*", re.sub(r"^process \d+", "process N", item))
    return re.sub(r"\.tmp-[0-9a-f]{16}", ".tmp-*", item)


# Files that a stopped sandbox has or has not, by how far it came before.
MAY_BE_LEFT = {f"file root/sandboxes/{ID}/{name}" for name in
               ("cloud-init.iso", "vmm", "vmm.log", "serial.log", "serial.log.1", "vmm.pid")}


class CrashRig:
    def __init__(self, kind, base):
        self.fault = Fault(os.path.join(base, f"faults.{os.getpid()}"))
        self.runner = kind(base, self.fault.env())
        self.runner.wait_idle()
        self.create(BYSTANDER)
        self.mark(BYSTANDER)
        self.empty = Census(self.runner)
        self.like = {}
        self.log_at = 0
        for state in ("started", "stopped"):
            self.prepare(state)
            self.like[state] = self.parts()
            self.remove()

    # ---- requests ----

    def ask(self, method, path, body=None):
        """Status and text; None, None when there was no answer."""
        client = Client(self.runner.socket, SECONDS)
        try:
            return client.ask(method, path, body)
        except (OSError, http.client.HTTPException):
            return None, None
        finally:
            client.close()

    def must(self, method, path, body=None, what=""):
        status, text = self.ask(method, path, body)
        if status is None or status >= 300:
            raise Wrong(f"{what or method + ' ' + path}: {status} {(text or b'').decode(errors='replace')[:400]}")
        return text

    def body(self, id=ID, **more):
        return dict(self.runner.body, id=id, **more)

    def create(self, id=ID, **more):
        self.must("POST", "/sandboxes", self.body(id, **more), "the create before")

    def state(self, id=ID):
        return self.runner.client.call("GET", f"/sandboxes/{id}")["state"]

    def await_state(self, states, id=ID):
        until = time.monotonic() + SECONDS
        while self.state(id) not in states:
            if time.monotonic() > until:
                raise Wrong(f"it stays {self.state(id)}, and does not become {' or '.join(map(str, states))}")
            time.sleep(0.003)

    # ---- the sandbox ----

    def path(self, name, id=ID):
        return os.path.join(self.runner.root, "sandboxes", id, name)

    def prepare(self, state):
        """None, stopped, started or paused."""
        if state is None:
            return
        self.create(skipStart=state == "stopped")
        if state == "paused":
            self.must("POST", f"/sandboxes/{ID}/pause")
        self.mark()

    def wish(self, *lines):
        """What the VMMs that are started from now on do wrong."""
        program = next(os.path.join(self.runner.dir, name) for name in ("fake-qemu", "cloud-hypervisor")
                       if os.path.exists(os.path.join(self.runner.dir, name)))
        if lines or self.runner.wishes:
            with open(program + ".conf", "w") as file:
                file.write("".join(line + "\n" for line in self.runner.wishes + lines))
        elif os.path.exists(program + ".conf"):
            os.remove(program + ".conf")

    def set_record(self, state):
        """What the subject's record says of its state."""
        with open(self.path("runner.json"), "r+") as file:
            record = json.load(file)
            file.seek(0)
            json.dump(dict(record, state=state), file)
            file.truncate()

    def mark(self, id=ID):
        with open(self.path("disk.qcow2", id), "r+b") as file:
            file.seek(MARKER_AT)
            file.write(MARKER)

    def has_marker(self, id=ID):
        try:
            with open(self.path("disk.qcow2", id), "rb") as file:
                file.seek(MARKER_AT)
                return file.read(len(MARKER)) == MARKER
        except FileNotFoundError:
            return False

    def vmm_pid(self, id=ID):
        with open(self.path("vmm.pid", id)) as file:
            return int(file.readline())

    def kill_vmm(self):
        """And sees it end."""
        fd = os.pidfd_open(self.vmm_pid())
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        select.select([fd], [], [], SECONDS)
        os.close(fd)

    def say_panic(self):
        """As its VMM says that its guest's kernel panicked."""
        event = {"timestamp": {"secs": 1, "nanos": 0}, "source": "guest", "event": "panic",
                 "properties": {"event": "panic"}}
        with open(self.path("events"), "w") as fifo:
            fifo.write(json.dumps(event, indent=2) + "\n\n")

    def remove(self):
        self.must("DELETE", f"/sandboxes/{ID}", what="the destroy at the end")
        lines = Census(self.runner).difference(self.empty)
        if lines:
            raise Wrong("after the destroy", *lines)

    def start_foreign(self):
        """The subject, as an older runner had left it, running; its VMM."""
        with open(self.path("runner.json", BYSTANDER)) as file:
            bystander = json.load(file)["nic"]["address"]
        os.mkdir(self.path(""))
        shutil.copy(self.path("disk.qcow2", BYSTANDER), self.path("disk.qcow2"))
        address = "10.9.0.3" if bystander == "10.9.0.2" else "10.9.0.2"
        with open(self.path("cloud-init.iso"), "w") as file:  # as much of a seed as a fake guest reads
            file.write(f'cidata {{"schema":1,"id":"{ID}","address":"{address}"}}'.ljust(4096))
        with open(os.path.join(SRC, "t/run/foreign/vm.json")) as file:
            config = file.read()
        for word, text in (("@ROOT@", self.runner.root), ("@DIR@", self.path("").rstrip("/")), ("@ID@", ID),
                           ("@TAP@", "tap-" + ID), ("@MAC@", "02:00:00:00:00:07")):
            config = config.replace(word, text)
        with open(self.path("config.json"), "w") as file:
            file.write(config)
        with open(self.path("ip"), "w") as file:
            file.write(address + "\n")
        for words in (["tuntap", "add", "tap-" + ID, "mode", "tap"], ["link", "set", "tap-" + ID, "master", "br-t", "up"]):
            subprocess.run(["ip"] + words, check=True)
        path = os.path.join(self.runner.dir, "run", ID + ".sock")
        vmm = subprocess.Popen([os.path.join(self.runner.dir, "cloud-hypervisor"), "--api-socket", path],
                               start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        client = Client(path, SECONDS)
        while client.sock is None:
            try:
                client.connect()
            except OSError:  # it does not listen yet, of which there is no event
                client.sock = None
                time.sleep(0.001)
        client.call("PUT", "/api/v1/vm.create", json.loads(config))
        client.call("PUT", "/api/v1/vm.boot")
        client.close()
        return vmm

    # ---- what is there ----

    def parts(self):
        """What there is of the subject; whatever else changed is wrong."""
        census = Census(self.runner)
        lost = sorted(self.empty.items - census.items)
        if lost:
            raise Wrong("the bystander lost", *lost)
        if census.idle_taps > 1:
            raise Wrong(f"{census.idle_taps} idle TAPs")
        return {alike(item) for item in census.items - self.empty.items}

    def check(self, states, had_disk):
        """The subject is in one of these states, and all of it is as it is in that state. Its state."""
        state = self.state()
        state = None if state == "destroyed" else state
        if state not in states:
            raise Wrong(f"it is {state}, not {' or '.join(map(str, states))}")
        parts = self.parts()
        records = {item for item in parts if item.startswith("record ")}
        told = {item.split()[2].rstrip(",") for item in records}
        if told != ({state} if state is not None else set()):
            raise Wrong(f"it is {state}, and the record says so:", *records)
        parts -= records
        if state is None:
            wanted, may = set(), set()
        elif state in ("started", "paused"):
            wanted, may = self.like["started"], MAY_BE_LEFT
        else:
            wanted, may = self.like["stopped"], MAY_BE_LEFT
        wanted = {item for item in wanted if not item.startswith("record ")}
        lines = [f"+ {item}" for item in parts - wanted - may] + [f"- {item}" for item in wanted - parts]
        if lines:
            raise Wrong(f"it is {state}, but", *sorted(lines))
        if had_disk and state is not None and not self.has_marker():
            raise Wrong("what was on its disk is not there any more")
        return state

    def check_bystander(self):
        if self.state(BYSTANDER) != "started" or not self.has_marker(BYSTANDER):
            raise Wrong(f"the bystander is {self.state(BYSTANDER)}")

    # ---- the crash ----

    def await_log(self, text):
        """Until the runner has written that, or died."""
        until = time.monotonic() + SECONDS
        while self.runner.process.poll() is None and not any(text in line for line in self.log_lines()):
            if time.monotonic() > until:
                raise Wrong(f"the log does not come to say '{text}'")
            time.sleep(0.003)

    def look_from_here(self):
        """At the log."""
        self.log_at = os.path.getsize(self.runner.log.name)

    def await_death(self):
        """Whether it died of the fault, as it should."""
        try:
            return self.runner.process.wait(SECONDS) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            return False

    def settle(self):
        """Until nothing is left to do; False: it died before."""
        try:
            self.runner.wait_up()
            self.runner.wait_idle(SECONDS)
            return True
        except (NotUp, OSError, http.client.HTTPException):
            self.runner.client.close()
            if not self.await_death():
                raise
            return False

    def restart(self, expected=()):
        """The next runner, without faults, when it has recovered all. expected: what it may say about what it found."""
        self.fault.disarm()
        self.look_from_here()
        self.runner.begin()
        if not self.settle():
            raise Wrong("the next runner died")
        signs = ("event=op.failed op=recover", "event=reconcile.")
        wrong = [line for line in self.log_lines() if any(sign in line for sign in signs)
                 and not any(event in line for event in expected)]
        if wrong:
            raise Wrong("the recovery", *wrong)

    def log_lines(self):
        """Since the last look or restart."""
        with open(self.runner.log.name, errors="replace") as file:
            file.seek(self.log_at)
            return file.read().splitlines()

    def kill_all(self):
        """Whatever still runs."""
        for item in processes(self.runner) if os.path.isdir(self.runner.dir) else ():
            os.kill(int(item.split()[1].rstrip(":")), signal.SIGKILL)

    def close(self):
        self.fault.disarm()
        if self.runner.process.poll() is not None:
            self.runner.begin()
            self.settle()
        self.runner.ids = [BYSTANDER, ID]
        self.runner.close()
        self.fault.close()
