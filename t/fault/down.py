"""A host that does not come up when the runner starts: it is tried again, and its sandboxes are taken over then."""

import errno
import os
import signal
import tempfile
import time

import fault
import tap
from fault import Fault
from rig import Skip
from runners import LoopbackRunner

SECONDS = 60  # until it has been tried again


def await_answer(runner, path):
    until = time.monotonic() + SECONDS
    while (answer := runner.client.ask("GET", path))[0] != 200 and time.monotonic() < until:
        time.sleep(0.05)  # nobody tells when a runner has tried again
    return answer


def pid_of(runner, id):
    with open(os.path.join(runner.root, "sandboxes", id, "vmm.pid")) as file:
        return int(file.readline())


def check(runner, faults):
    runner.client.call("POST", "/sandboxes", dict(runner.body, id="one"))
    pid = pid_of(runner, "one")
    runner.end(signal.SIGTERM)
    faults.arm(fault.FAIL, kinds=fault.CHANGE | fault.ASK, where=runner.root + "/sandboxes", error=errno.EIO, times=0)
    runner.launch()
    status, text = runner.client.ask("GET", "/sandboxes/one")
    tap.equal("a host whose records cannot be read is down, and says why", (status, b"Input/output error" in text),
              (500, True))
    health = runner.client.call("GET", "/info")["serviceHealth"]
    tap.ok("which its health tells", any("Input/output error" in str(service) for service in health), health)
    faults.disarm()
    tap.equal("it is tried again", await_answer(runner, "/sandboxes/one")[0], 200)
    tap.equal("what runs there is known", [(one["id"], one["state"]) for one in
                                           runner.client.call("GET", "/sandboxes")["sandboxes"]], [("one", "started")])
    tap.equal("as the same process", pid_of(runner, "one"), pid)
    runner.client.call("POST", "/sandboxes/one/stop")
    runner.client.call("POST", "/sandboxes", dict(runner.body, id="two"))
    for id in ("one", "two"):
        runner.client.call("DELETE", f"/sandboxes/{id}")
    tap.ok("and all goes on", True)


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        faults = Fault(os.path.join(base, "control"))
        try:
            with LoopbackRunner(base, faults.env()) as runner:
                check(runner, faults)
        except Skip as reason:
            tap.skip_all(reason)
    tap.done()


if __name__ == "__main__":
    main()
