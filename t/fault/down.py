"""A host that does not come up when the runner starts: it is tried again, and its sandboxes are taken over then. And one
on which the ends of processes cannot be watched: that is tried again, less and less often. And one whose VMM has been
taken out of the configuration: what that ran can be ended.
"""

import datetime
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


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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


def await_lines(runner, event, n):
    """The seconds at which these lines of the log were written."""
    until = time.monotonic() + SECONDS
    while True:
        with open(runner.log.name, errors="replace") as log:
            times = [line.split()[0] for line in log if f"event={event} " in line]
        if len(times) >= n or time.monotonic() > until:
            return [datetime.datetime.fromisoformat(text.rstrip("Z")).timestamp() for text in times]
        time.sleep(0.05)


def check_unwatched(runner, faults):
    runner.client.call("POST", "/sandboxes", dict(runner.body, id="three"))
    runner.end(signal.SIGTERM)
    faults.arm(fault.FAIL, kinds=fault.CHANGE | fault.ASK, name="epoll_ctl", error=errno.ENOSPC, times=0)
    runner.launch()
    at = await_lines(runner, "reaper.watch_failed", 8)  # two a try: its end, its words
    tap.ok("a process that cannot be watched is tried again, and again later", len(at) >= 8 and at[6] - at[4] > 0.9, at)
    faults.disarm()
    runner.wait_idle()
    os.kill(pid_of(runner, "three"), signal.SIGKILL)
    until = time.monotonic() + SECONDS
    while runner.client.call("GET", "/sandboxes/three")["state"] == "started" and time.monotonic() < until:
        time.sleep(0.05)
    tap.ok("then its end is noticed", runner.client.call("GET", "/sandboxes/three")["state"] in ("error", "stopped"))
    runner.client.call("DELETE", "/sandboxes/three")


def check_vmm_gone(runner):
    ids = ("runs", "stops", "stopped", "starts")
    for id in ids:
        runner.client.call("POST", "/sandboxes", dict(runner.body, id=id))
    for id in ids[2:]:
        runner.client.call("POST", f"/sandboxes/{id}/stop")
    pids = {id: pid_of(runner, id) for id in ids[:2]}
    runner.end(signal.SIGTERM)
    for id in ids:
        path = os.path.join(runner.root, "sandboxes", id, "runner.json")
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(text.replace('"plugin":"cloud-hypervisor"', '"plugin":"gone"'))
    runner.launch()
    runner.wait_idle()
    tap.equal("what a VMM runs that is not configured any more goes on", [is_alive(pids[id]) for id in pids],
              [True, True])
    tap.equal("one is stopped", runner.client.ask("POST", "/sandboxes/stops/stop", {"force": True})[0], 200)
    tap.equal("a stopped one starts by another VMM", runner.client.ask("POST", "/sandboxes/starts/start", {})[0], 200)
    tap.equal("all are removed", [runner.client.ask("DELETE", f"/sandboxes/{id}")[0] for id in ids], [200] * 4)
    runner.wait_idle()
    tap.equal("nothing is left of them", [os.listdir(at) for at in (os.path.join(runner.root, "sandboxes"),
                                                                    os.path.join(runner.dir, "run"))] +
              [is_alive(pid) for pid in pids.values()], [[], [], False, False])


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        faults = Fault(os.path.join(base, "control"))
        try:
            with LoopbackRunner(base, faults.env()) as runner:
                check(runner, faults)
                check_unwatched(runner, faults)
                check_vmm_gone(runner)
        except Skip as reason:
            tap.skip_all(reason)
    tap.done()


if __name__ == "__main__":
    main()
