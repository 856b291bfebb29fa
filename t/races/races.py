"""Many clients at once at one runner, for the thread sanitizer to look at: operations that cross each other on a few
sandboxes, looks at all of them, requests to guests, clients that go away, VMMs that are killed, the runner's own end
and start. What is asserted is little, since any answer of the API may come: tests of what must come are elsewhere."""

import http.client
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time

import tap
from rig import BUILD, Client, Runner
from rig_ch import FakeRunner

CLIENTS, SANDBOXES = 12, 6
SECONDS = float(os.environ.get("RACES_SECONDS", "6"))
SEED = int(os.environ.get("RACES_SEED", str(random.randrange(1 << 32))))


class QemuRunner(Runner):
    is_test = True


class ChRunner(FakeRunner):
    is_test = True


def vmm_pid(runner, id):
    try:
        with open(os.path.join(runner.root, "sandboxes", id, "vmm.pid")) as file:
            return int(file.readline())
    except (OSError, ValueError):
        return 0


class Crowd:
    """Clients, each a thread with a random sequence of its own."""

    def __init__(self, runner):
        self.runner = runner
        self.ids = [f"race-{i}" for i in range(SANDBOXES)]
        self.until = time.monotonic() + SECONDS
        self.lock = threading.Lock()
        self.statuses = {}
        self.unanswered = 0
        self.strange = []

    def note(self, what, status, text):
        with self.lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status not in KNOWN:
                self.strange.append(f"{what}: {status} {text[:200]}")

    def ask(self, client, method, path, body=None):
        try:
            self.note(f"{method} {path}", *client.ask(method, path, body))
        except (OSError, http.client.HTTPException):  # it is being ended, or started
            client.close()
            with self.lock:
                self.unanswered += 1
            time.sleep(0.01)  # until it is there again

    def leave(self, method, path, text=""):
        """Asks and goes away without hearing the answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(self.runner.socket)
                sock.send(f"{method} {path} HTTP/1.1\r\nHost: r\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            except OSError:
                pass

    def kill_vmm(self, id):
        pid = vmm_pid(self.runner, id)
        try:
            fd = os.pidfd_open(pid) if pid > 0 else -1
        except OSError:
            return
        if fd >= 0 and vmm_pid(self.runner, id) == pid:  # else the number may be another's by now
            try:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if fd >= 0:
            os.close(fd)

    def step(self, client, dice):
        at = "/sandboxes/" + (id := dice.choice(self.ids))
        ask = lambda *words: self.ask(client, *words)
        dice.choices([
            lambda: ask("POST", "/sandboxes", dict(self.runner.body, id=id)),
            lambda: ask("POST", at + "/start", {}),
            lambda: ask("POST", at + "/stop", {"force": dice.random() < 0.7}),
            lambda: ask("POST", at + "/pause"),
            lambda: ask("POST", at + "/resume"),
            lambda: ask("DELETE", at),
            lambda: ask("GET", at),
            lambda: ask("GET", "/sandboxes?stats=true"),
            lambda: ask("GET", dice.choice(["/", "/info", "/metrics", "/sandboxes", at + "/log?tail=100"])),
            lambda: ask("GET", at + dice.choice(["/toolbox/version", "/toolbox/nothing", "/proxy/2280/version"])),
            lambda: self.leave("POST", at + dice.choice(["/start", "/stop", "/toolbox/files/upload"]), "{}"),
            lambda: self.leave("GET", at + "/toolbox/version"),
            lambda: self.kill_vmm(id),
        ], [12, 4, 4, 3, 3, 6, 6, 4, 6, 10, 2, 2, 1])[0]()

    def one(self, number):
        dice = random.Random(SEED * CLIENTS + number)
        client = Client(self.runner.socket)
        while time.monotonic() < self.until:
            self.step(client, dice)
        client.close()

    def run(self, *between):
        """All clients; meanwhile these calls, spread over the time."""
        threads = [threading.Thread(target=self.one, args=(i,)) for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for call in between:
            time.sleep(SECONDS / (len(between) + 1))
            call()
        for thread in threads:
            while thread.is_alive():
                self.wake()
                thread.join(1)

    def wake(self):
        """Who was to be answered by a guest that was paused meanwhile waits until it goes on, however long."""
        client = Client(self.runner.socket)
        for id in self.ids:
            self.ask(client, "POST", f"/sandboxes/{id}/resume")
        client.close()


KNOWN = {200, 201, 202, 204, 400, 404, 409, 422, 500, 502, 503, 504}


def restart(runner, number, wanted):
    status = runner.end(number)
    tap.equal(f"{runner.vmm}: it ends by signal {number}", status, wanted)
    runner.launch()


def race(kind, base):
    with kind(base) as runner:
        crowd = Crowd(runner)
        crowd.run(lambda: restart(runner, signal.SIGTERM, 0), lambda: restart(runner, signal.SIGKILL, -signal.SIGKILL))
        tap.diag(f"{runner.vmm}: {sum(crowd.statuses.values())} answers {dict(sorted(crowd.statuses.items()))}, "
                 f"{crowd.unanswered} without one")
        met = crowd.statuses.get(409, 0) + crowd.statuses.get(400, 0)
        tap.ok(f"{runner.vmm}: operations did cross each other",
               met and crowd.statuses.get(201) and crowd.statuses.get(200), crowd.statuses)
        tap.ok(f"{runner.vmm}: every answer is one of the API's", not crowd.strange, "\n".join(crowd.strange[:10]))
        runner.ids = crowd.ids
        runner.destroy_all()
        runner.wait_idle()
        tap.equal(f"{runner.vmm}: nothing is left", runner.client.call("GET", "/sandboxes")["sandboxes"], [])
        tap.equal(f"{runner.vmm}: it ends", runner.end(signal.SIGTERM), 0)
        runner.launch()  # close() ends one
    tap.diag(f"RACES_SEED={SEED}")


# What runner-plugin-check needs to know for each, as in t/run/52-plugin-check.t.
PLUGINS = {  # answers of the host, values of its parameters
    "disk/qcow2": ([], []),
    "disk/reflink": ([], []),
    "ipam/static-pool": ([], ["range=10.0.0.2-10.0.1.80", "gateway=10.0.0.1/23"]),
    "network/user": ([], []),
    "network/bridge": (["RUN:[ip][-j][link]=[]"], []),
    "transport/local": ([], []),
    "vmm/qemu": (["RUN:[--version]=QEMU emulator version 7.2.22"], ["accel=tcg", "firmware=seabios"]),
    "vmm/cloud-hypervisor": (["STAT:/dev/kvm=", "RUN:[--version]=cloud-hypervisor v53.0"], ["probe=none"]),
}


def call_at_once(plugin, answers, values):
    words = [os.path.join(BUILD, "runner-plugin-check"), "--only", "parallel"]
    for answer in answers:
        words += ["--answer", answer]
    done = subprocess.run(words + [os.path.join(BUILD, "plugins", plugin + ".so")] + values,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    tap.equal(f"{plugin} is called by threads at once", done.returncode, 0)
    if done.returncode != 0:
        tap.diag(done.stdout)


def main():
    with open(os.path.join(BUILD, "runner-ch"), "rb") as file:
        if b"__tsan_init" not in file.read():
            tap.skip_all("needs a build with --enable-sanitizers=thread: ./check races")
    for plugin, (answers, values) in PLUGINS.items():
        call_at_once(plugin, answers, values)
    with tempfile.TemporaryDirectory(prefix="races.") as base:
        os.chmod(base, 0o711)
        for kind in (QemuRunner, ChRunner):
            race(kind, base)
    tap.done()


main()
