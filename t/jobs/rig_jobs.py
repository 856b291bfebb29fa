"""A runner that takes its work from a fake Daytona API."""

import http.client
import os
import signal
import time
import uuid

from rig import Runner


class JobRunner(Runner):
    """With a fake QEMU; `api` is the DaytonaApi it asks."""

    CONFIG = Runner.CONFIG.replace("api: {{version: 0}}\n", """\
state_dir: {dir}/state
domain: 127.0.0.1
api: {{version: 2, url: "@url@", token_file: {dir}/token, healthcheck_interval: 1s}}
""").replace('"unix:{dir}/api.sock"', '"unix:{dir}/api.sock", "127.0.0.1:0"')
    level = "debug"
    is_test = True

    def __init__(self, base, api, env=None):
        self.api = api
        self.CONFIG = self.CONFIG.replace("@url@", api.url)
        super().__init__(base, env)

    def begin(self):
        path = os.path.join(self.dir, "token")
        if not os.path.exists(path):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(self.api.token + "\n")
        super().begin()

    def close(self):
        """With all sandboxes, whoever asked for them."""
        try:
            self.ids = [sandbox["id"] for sandbox in self.client.call("GET", "/sandboxes")["sandboxes"]]
        except (OSError, RuntimeError, http.client.HTTPException):  # it has ended
            pass
        super().close()

    def vmm_pid(self, id):
        with open(os.path.join(self.root, "sandboxes", id, "vmm.pid")) as file:
            return int(file.readline())

    def lines(self, event):
        """Of its log, those with this event."""
        with open(self.log.name, errors="replace") as file:
            return [line for line in file if f"event={event} " in line]


def new_id():
    return str(uuid.uuid4())


def local_state(runner, id):
    return runner.client.call("GET", f"/sandboxes/{id}")["state"]


def words(api, job):
    """What was posted of it, in order."""
    return [post["body"]["status"] for post in api.job(job)["posts"]]


def wait_for_line(runner, event, text, seconds=60):
    until = time.monotonic() + seconds
    while not any(text in line for line in runner.lines(event)):
        if time.monotonic() > until:
            raise RuntimeError(f"no {event} with {text} in the log")
        time.sleep(0.01)


def wait_for_text(runner, text, seconds=60):
    until = time.monotonic() + seconds
    while True:
        with open(runner.log.name, errors="replace") as file:
            if text in file.read():
                return
        if time.monotonic() > until:
            raise RuntimeError(f"no {text!r} in the log")
        time.sleep(0.01)


def wish(runner, *lines):
    """Of all VMs of the runner; none: that they behave."""
    with open(os.path.join(runner.dir, "fake-qemu.conf"), "w") as file:
        file.write("".join(line + "\n" for line in lines))


def crash(runner, id):
    """Its VMM dies, and the runner has noticed."""
    os.kill(runner.vmm_pid(id), signal.SIGKILL)
    while local_state(runner, id) != "error":
        time.sleep(0.01)


STATES = {"create": "started", "start": "started", "stop": "stopped", "pause": "paused", "destroy": "absent"}


def do(api, id, what, timeout=60, **args):
    """What a user does, until the API shows it done; the job."""
    job = api.do(id, what, timeout, **args)
    if job["status"] == "COMPLETED":
        api.wait(timeout, sandbox=id, state=STATES[what])
    return job


def create(api, id, **args):
    return do(api, id, "create", **{"snapshot": "tiny", **args})
