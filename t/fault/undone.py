"""Operations whose undo fails as well: from the n-th call of a function on all fail, until the operation has failed.
What is left then is dealt with by the runner itself, and the same request again succeeds. (In the fault matrix one call
fails.)
"""

import errno
import functools
import multiprocessing
import json
import os
import signal
import tempfile
import time

import fault
import tap
from census import Census
from fault import Fault
from hosts import QemuHost, enter_namespace
from rig import Skip

CALLS = {"openat": errno.EMFILE, "open": errno.EMFILE, "unlinkat": errno.EIO, "mkdirat": errno.ENOSPC,
         "ioctl": errno.ENOMEM, "pidfd_send_signal": errno.EPERM, "socket": errno.EMFILE, "renameat": errno.EIO}
LATER_S = 60  # until what is left is gone; the runner begins to try again after 250 ms
MOST = 40     # calls of a function
LEFT = "not undone: remove tap"


class Rig:
    def __init__(self, host):
        self.host, self.n = host, 0

    def ask(self, method, path, body=None):
        return self.host.client.ask(method, path, body)

    def must(self, method, path, body=None):
        return self.host.client.call(method, path, body)

    def state(self, id):
        return self.must("GET", f"/sandboxes/{id}")["state"]

    def await_state(self, id, states):
        until = time.monotonic() + LATER_S
        while (state := self.state(id)) not in states and time.monotonic() < until:
            time.sleep(0.02)  # nobody tells when a runner has tried again
        return state

    def create(self, id, **more):
        return "POST", "/sandboxes", dict(self.host.body, id=id, **more)

    def left(self, before):
        return Census(self.host).difference(before)


def fail_from(rig, name, at, request):
    """Whether a call failed, and the answer."""
    rig.host.faults.arm(fault.FAIL, at=at, times=0, kinds=fault.CHANGE | fault.ASK, name=name, error=CALLS[name])
    status, text = rig.ask(*request)
    rig.host.faults.disarm()
    return rig.host.faults.hits > 0, f"{status} {text.decode(errors='replace')}"


def try_create(rig, name, at, before, **more):
    """Lines of what is wrong; None: there are not so many calls."""
    rig.n += 1
    id = f"u{rig.n}"
    is_hit, answer = fail_from(rig, name, at, rig.create(id, **more))
    if not is_hit:
        rig.must("DELETE", f"/sandboxes/{id}")
        return None
    lines = []
    state = rig.await_state(id, {"destroyed", "started", "stopped"})
    if state not in ("destroyed", "started", "stopped"):
        lines.append(f"it stays {state}")
        rig.must("DELETE", f"/sandboxes/{id}")
    status, text = rig.ask(*rig.create(id, **more))
    if status >= 300:
        lines.append(f"the same again: {status} {text.decode(errors='replace')}")
    rig.must("DELETE", f"/sandboxes/{id}")
    lines += rig.left(before)
    return [f"{name} from {at} on: {line}; the answer was {answer}" for line in lines]


def try_start(rig, name, at, before):
    rig.n += 1
    id = f"u{rig.n}"
    rig.must(*rig.create(id, skipStart=True))
    is_hit, answer = fail_from(rig, name, at, ("POST", f"/sandboxes/{id}/start", {}))
    lines = []
    state = rig.await_state(id, {"stopped", "started"})
    if state == "stopped":
        lines += [line for line in Census(rig.host).of(id) if line.split()[0] in ("process", "cgroup", "link")]
    status, text = rig.ask("POST", f"/sandboxes/{id}/start", {})
    if status >= 300:
        lines.append(f"when it is {state}, the same again: {status} {text.decode(errors='replace')}")
    rig.must("DELETE", f"/sandboxes/{id}")
    lines += rig.left(before)
    return [f"{name} from {at} on: {line}; the answer was {answer}" for line in lines] if is_hit else None


def create_stuck(rig):
    """A create whose machine was there and whose TAP stays, for want of sockets. Its sandbox, the answer."""
    for at in range(1, MOST):
        rig.n += 1
        id = f"u{rig.n}"
        rig.host.faults.arm(fault.FAIL, at=at, times=0, kinds=fault.CHANGE | fault.ASK, name="socket",
                            error=errno.EMFILE)
        status, text = rig.ask(*rig.create(id))
        answer = f"{status} {text.decode(errors='replace')}"
        if '"boot: ' in answer and LEFT in answer:
            return id, answer
        rig.host.faults.disarm()
        rig.must("DELETE", f"/sandboxes/{id}")
        rig.await_state(id, {"destroyed"})
    raise RuntimeError(f"no create fails so; the last answer was {answer}")


def outlast(rig, before):
    """A TAP that no try of this runner removes. As walk()."""
    if not rig.host.has_bridge:
        raise Skip("needs root and /dev/net/tun")
    id, answer = create_stuck(rig)
    tries, until = rig.host.faults.hits, time.monotonic() + LATER_S
    while rig.host.faults.hits == tries and time.monotonic() < until:
        time.sleep(0.02)  # nobody tells when a runner tries again
    lines = [] if rig.host.faults.hits > tries else ["nobody tries again"]
    one = rig.must("GET", f"/sandboxes/{id}")
    if one["state"] != "destroying" or LEFT not in one.get("error", ""):
        lines.append(f"it does not say so: {json.dumps(one)}")
    rig.host.end(signal.SIGKILL)
    rig.host.faults.disarm()
    rig.host.launch()
    state = rig.await_state(id, {"destroyed"})
    if state != "destroyed":
        lines.append(f"it stays {state}")
    return 1, [f"{line}; the answer was {answer}" for line in lines + rig.left(before)]


def walk(rig, before, attempt):
    """At how many calls, and lines of what is wrong."""
    n, wrong = 0, []
    for name in CALLS:
        for at in range(1, MOST):
            lines = attempt(rig, name, at, before)
            if lines is None:
                break
            wrong += lines
            n += 1
    return n, wrong


SCENES = {"a create that fails": functools.partial(walk, attempt=try_create),
          "a create that starts nothing, and fails":
              functools.partial(walk, attempt=functools.partial(try_create, skipStart=True)),
          "a start that fails": functools.partial(walk, attempt=try_start),
          "a create that fails until the next runner": outlast}


def run(what, base, results):
    """In a process and a network of its own: most of the time is spent waiting."""
    try:
        results.send(try_all(what, base))
    except Skip as reason:
        results.send((None, str(reason)))
    except Exception as error:  # whatever it is
        results.send((0, [repr(error)]))


def try_all(what, base):
    host = QemuHost(base, 4, enter_namespace(are_fake=True))
    try:
        rig = Rig(host)
        rig.must(*rig.create("first"))
        rig.must("DELETE", "/sandboxes/first")
        host.wait_idle()
        before = Census(host)
        return SCENES[what](rig, before)
    finally:
        host.close()


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        pipes = {what: multiprocessing.Pipe(duplex=False) for what in SCENES}
        processes = [multiprocessing.Process(target=run, args=(what, base, pipes[what][1])) for what in SCENES]
        for process in processes:
            process.start()
        for what, (results, _) in pipes.items():
            n, wrong = results.recv()
            if n is None:
                tap.skip(f"{what}: {wrong}")
                continue
            tap.ok(f"d23: {what}, and its undo with it, at {n} calls: nothing is left", n > 0 and not wrong,
                   *wrong[:8])
        for process in processes:
            process.join()
    tap.done()


if __name__ == "__main__":
    main()
