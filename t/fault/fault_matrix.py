"""Fault matrix: every call that the runner makes for an operation fails once, with the errors that fit it. Whatever
fails: the answer says which call and why, the state is a documented one, nothing is left, and the same request again
succeeds.

Which calls there are is asked of the runner: each operation is traced first, and each call found (by its function, and
the how-manieth of that function it is) fails in a run of its own. Calls that change something fail with two errors,
those that only look or wait with one, and those like others once; with FULL=1 all of them with all errors.

    POINT=create:mkdir#1:ENOSPC     only that one; parts may be left out from the right
"""

import collections
import errno
import http.client
import json
import os
import re
import signal
import tempfile
import time

import fault
import tap
from census import Census, records
from fault import Fault
from rig import Runner, Skip

FULL = os.environ.get("FULL") == "1"
POINT = os.environ.get("POINT", "")
SHORT = "SHORT"  # in place of an error: half of the bytes are transferred
COUNTED = fault.CHANGE | fault.ASK

# What a function may fail with, the most likely first; by the beginning of its name.
ERRORS = {
    "open": "EMFILE ENOSPC EIO EPERM EDQUOT ENOMEM", "pwrite": "ENOSPC SHORT EIO EDQUOT", "write": "ENOSPC EIO EDQUOT",
    "read": "EIO", "pread": "EIO SHORT", "copy_file_range": "ENOSPC EIO", "fsync": "EIO ENOSPC", "fdatasync": "EIO",
    "ftruncate": "ENOSPC EIO", "fchmod": "EPERM EIO", "chmod": "EPERM EIO", "fchown": "EPERM EIO",
    "rename": "ENOSPC EIO EPERM", "link": "ENOSPC EPERM", "unlink": "EIO EPERM", "mkdir": "ENOSPC EDQUOT EPERM EIO",
    "rmdir": "EBUSY EIO", "mkfifo": "ENOSPC", "stat": "EIO ENOMEM", "lstat": "EIO", "fstat": "EIO", "opendir": "EMFILE",
    "fdopendir": "ENOMEM", "readdir": "EIO", "flock": "ENOLCK", "fcntl": "EMFILE", "ioctl": "EPERM EBUSY",
    "socket": "EMFILE ENOMEM", "bind": "EADDRINUSE EACCES ENOMEM", "listen": "EADDRINUSE",
    "connect": "ECONNREFUSED ETIMEDOUT", "setsockopt": "ENOMEM", "getsockopt": "ENOMEM", "send": "EPIPE ECONNRESET",
    "poll": "ENOMEM", "epoll": "ENOMEM", "eventfd": "EMFILE", "inotify": "EMFILE ENOSPC", "getrandom": "ENOSYS",
    "pidfd_open": "EMFILE", "pidfd_send": "EPERM", "kill": "EPERM", "wait": "EINVAL", "execve": "ENOMEM EACCES",
    "vfork": "EAGAIN ENOMEM", "pthread_create": "EAGAIN", "setsid": "EPERM", "chdir": "EACCES", "dup2": "EMFILE",
    "setrlimit": "EPERM", "getrlimit": "EINVAL", "prctl": "EINVAL", "set": "EAGAIN EPERM", "capset": "EPERM",
    "clone": "EAGAIN", "memfd": "EMFILE", "pipe": "EMFILE", "if_name": "ENODEV", "": "EIO",
}


class Wrong(Exception):
    """What is not as it should be."""


def errors_of(subject, call):
    name = max((key for key in ERRORS if call.name.startswith(key)), key=len)
    errors = ERRORS[name].split()
    return errors if FULL else errors[:2 if call.kind == fault.CHANGE and not subject.is_recovery else 1]


def create(rig, id):
    return "POST", "/sandboxes", dict(rig.runner.body, id=id)


def create_stopped(rig, id):
    return "POST", "/sandboxes", dict(rig.runner.body, id=id, skipStart=True)


def post(what, body=None):
    return lambda rig, id: ("POST", f"/sandboxes/{id}/{what}", {} if body is None else body)


class Subject:
    """An operation that a client asks for, on a sandbox that has been through these requests. done: its state
    afterwards; after: those that it may be in when the operation has failed."""

    is_recovery = False

    def __init__(self, name, request, done, after, before=(), is_asked_again=True):
        self.name, self.request, self.done, self.after, self.before = name, request, done, after, before
        self.is_asked_again = is_asked_again  # when it has succeeded

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
        return 200, {}


class Recovery(Subject):
    """The runner was killed when the record said this, and comes back. Only calls for this sandbox are looked at. What
    cannot be read is an error that says so, and is read at the next start; anything else is tried again until it works.
    """

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
            if rig.state(id) != self.done:
                rig.await_state(id, {"error"})
                rig.faults.disarm()
                rig.runner.end(signal.SIGKILL)
                rig.runner.launch()
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
    Subject("policy", post("network-settings", {"networkBlockAll": False}), "started", {"started"}, [create]),
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


# What they have in common is tried once.
LIKE = {"restart": "start", "stop-force": "stop", "destroy-stopped": "destroy"}
RARE = {"recover-paused", "recover-starting", "recover-creating"}  # much like others


class Rig:
    """A runner that faults can be made in, and what is asked of it."""

    def __init__(self, runner, faults):
        self.runner, self.faults, self.n = runner, faults, 0
        self.seen = collections.defaultdict(set)  # calls that have failed, by the kind of operation

    def ask(self, method, path, body=None):
        status, text = self.runner.client.ask(method, path, body)
        try:
            return status, json.loads(text)
        except ValueError:
            raise Wrong(f"{method} {path}: {status} with a body that is no JSON: {text[:200]}") from None

    def must(self, method, path, body=None):
        status, reply = self.ask(method, path, body)
        if status >= 300:
            raise Wrong(f"{method} {path} without a fault: {status} {reply.get('message')}")
        return reply

    def state(self, id):
        return self.must("GET", f"/sandboxes/{id}")["state"]

    def warm_up(self):
        """Makes what all sandboxes share and the runner keeps."""
        self.must(*create(self, "first"))
        self.must("DELETE", "/sandboxes/first")
        self.runner.wait_idle()

    def fresh_id(self):
        self.n += 1
        return f"f{self.n}"

    def await_state(self, id, states, seconds=60):
        until = time.monotonic() + seconds
        while self.state(id) not in states:
            if time.monotonic() > until:
                raise Wrong(f"after {seconds} s it is {self.state(id)}, not {' or '.join(sorted(states))}")
            time.sleep(0.003)

    def await_record(self, id, state, seconds=60):
        """By the disk: nobody asks the runner, which would make calls of its own."""
        until = time.monotonic() + seconds
        def said():
            mine = [item for item in records(self.runner.root) if item.startswith(f"record {id}:")]
            return [item.split(": ")[1].split(",")[0] for item in mine]
        while said() != ([] if state == "destroyed" else [state]):
            if time.monotonic() > until:
                raise Wrong(f"after {seconds} s its record says {said()}, not {state}")
            time.sleep(0.003)

    def pid_of(self, id):
        with open(os.path.join(self.runner.root, "sandboxes", id, "vmm.pid")) as file:
            return int(file.readline())


# The words of an error, where the runner says it in others: that a VMM has gone, and those of libisofs.
SAID_AS = {"EPIPE": "closed the connection", "ECONNRESET": "closed the connection",
           "EAGAIN": "Cannot create a needed thread"}

SAID_FOR = {"vmm.pid": "the pid file"}


def name_in(where):
    """What of a path is to be in the text of an error: its last component, or the folder's of what has a name later."""
    parts = where.rstrip("/").split("/")
    return parts[-2] if parts[-1].startswith(".tmp-") and len(parts) > 1 else parts[-1]


def check_answer(status, reply, error, hit):
    """Of an operation that failed with this error."""
    text = reply.get("message", "")
    number = errno.EIO if error == SHORT else getattr(errno, error)  # no more of it can be written
    words = os.strerror(number)
    is_space = error in ("ENOSPC", "EDQUOT")
    if error == SHORT and name_in(hit.where) != "vmm.pid":
        raise Wrong(f"a short transfer is an error: {status} {text}")
    if words.lower() not in text.lower() and SAID_AS.get(error, words) not in text:
        raise Wrong(f"the text does not say '{words}': {status} {text}")
    if hit.kind == fault.CHANGE and hit.where.startswith("/") and "/proc/" not in hit.where and not any(
            name in text for name in (name_in(hit.where), SAID_FOR.get(name_in(hit.where), name_in(hit.where)))):
        raise Wrong(f"the text does not name '{name_in(hit.where)}': {status} {text}")
    if is_space:
        try:
            inner = json.loads(text)
        except ValueError:
            raise Wrong(f"a full disk is not told as the contract says: {status} {text}") from None
        if status != 400 or inner.get("recoverable") is not True:
            raise Wrong(f"a full disk is not recoverable: {status} {text}")
    elif status not in ((500, 408) if error == "ETIMEDOUT" else (409,) if error == "EADDRINUSE" else (500,)):
        raise Wrong(f"its status is {status}: {text}")


def check_watched(rig, id):
    """That the end of its machine is noticed."""
    os.kill(rig.pid_of(id), signal.SIGKILL)
    rig.await_state(id, {"error", "stopped"})


def check_record(rig, id, state):
    """That the disk says what the runner says."""
    records = [item for item in Census(rig.runner).of(id) if item.startswith(f"record {id}: ")]
    said = [item.split(": ")[1].split(",")[0] for item in records]
    if said != ([] if state == "destroyed" else [state]) and (state, said) != ("destroying", ["none"]):
        raise Wrong(f"its state is {state}, its record says {said}")


def check_rest(rig, id, state, before):
    """What has no machine has nothing that a machine has."""
    left = [item for item in Census(rig.runner).of(id) if item.split()[0] in ("process", "cgroup", "link")]
    if state in ("stopped", "destroyed", "error") and left:
        raise Wrong(f"left when it is {state}: {left}")
    if state == "destroyed":
        check_left(rig, before)


def check_left(rig, before):
    left = Census(rig.runner).difference(before)
    if left:
        raise Wrong(f"left: {left}")


def check_state(rig, id, state, before):
    """Record, what is there, and whether what runs is watched and answers."""
    check_record(rig, id, state)
    check_rest(rig, id, state, before)
    if state == "started":
        check_watched(rig, id)
        rig.must("POST", f"/sandboxes/{id}/start", {})


def check_failed(rig, subject, id, before, answer, error, hit):
    """Told, undone, and what was before is as it was."""
    status, reply = answer
    check_answer(status, reply, error, hit)
    state = rig.state(id)
    if state not in subject.after:
        raise Wrong(f"the state is {state}, not {' or '.join(sorted(subject.after))}: {status} {reply.get('message')}")
    check_state(rig, id, state, before)


def check_done(rig, subject, id, before):
    state = rig.state(id)
    if state != subject.done:
        raise Wrong(f"it succeeded and is {state}")
    check_state(rig, id, state, before)


def check_again(rig, subject, id, before):
    """The same without a fault."""
    status, reply = rig.ask(*subject.request(rig, id))
    if status >= 300:
        raise Wrong(f"the same again without a fault: {status} {reply.get('message')}")
    state = "started" if subject.request(rig, id)[1].endswith("/start") else subject.done
    if rig.state(id) != state:
        raise Wrong(f"the same again without a fault: it is {rig.state(id)}")
    check_rest(rig, id, state, before)


def one(rig, subject, point, error):
    """A run with this fault. What came of it: "failed" or "harmless", None when the call was not made; Wrong."""
    id = rig.fresh_id()
    rig.runner.wait_idle()
    before = Census(rig.runner)
    subject.prepare(rig, id)
    name, number = point
    rig.faults.arm(fault.SHORT if error == SHORT else fault.FAIL, at=number, kinds=COUNTED, name=name,
                   where=f"/{id}" if subject.is_recovery else "",
                   error=0 if error == SHORT else getattr(errno, error))
    try:
        answer = subject.run(rig, id)
    finally:
        hit = rig.faults.hit
        rig.faults.disarm()
    is_failed = answer[0] >= 300
    try:
        if is_failed and hit is None:
            raise Wrong(f"it failed without a fault: {answer}")
        if is_failed:
            check_failed(rig, subject, id, before, answer, error, hit)
        else:
            check_done(rig, subject, id, before)
        if is_failed or subject.is_asked_again and not (subject.is_recovery and subject.done == "destroyed"):
            check_again(rig, subject, id, before)
        rig.must("DELETE", f"/sandboxes/{id}")
        rig.runner.wait_idle()
        check_left(rig, before)
    except Wrong as wrong:
        rig.ask("DELETE", f"/sandboxes/{id}")
        raise Wrong(f"{hit.name} of {hit.where}: {wrong}" if hit else f"no call: {wrong}") from None
    return None if hit is None else "failed" if is_failed else "harmless"


def points_of(rig, subject):
    """The calls of the operation, as (function, how-manieth), with what they were."""
    id = rig.fresh_id()
    subject.prepare(rig, id)
    rig.faults.arm(fault.TRACE, kinds=COUNTED, where=f"/{id}" if subject.is_recovery else "")
    status, reply = subject.run(rig, id)
    trace = rig.faults.trace()
    rig.faults.disarm()
    if status >= 300:
        raise Wrong(f"{subject.name} without a fault: {status} {reply}")
    rig.must("DELETE", f"/sandboxes/{id}")
    family = LIKE.get(subject.name, subject.name)
    others = set(rig.seen[family])
    numbers, seen, points = collections.Counter(), rig.seen[family], []
    for call in trace:
        if subject.is_recovery and f"/{id}" not in call.where:
            continue
        numbers[call.name] += 1
        if call.name == "write" and "eventfd" in call.where:
            continue  # which does not fail
        if subject.is_recovery and call.kind != fault.CHANGE and not FULL:
            continue
        like = (call.name, call.kind, re.sub(r"\.tmp-[0-9a-f]+|[0-9a-f]{8}|\d+", "*", call.where))
        if FULL or (call.kind == fault.CHANGE or like not in seen) and like not in others:
            points.append(((call.name, numbers[call.name]), call))
        seen.add(like)
    return points


class FaultyRunner(Runner):
    is_test = True
    CONFIG = Runner.CONFIG.replace("{{create: 20m, ready: 15m, start: 20m}}",
                                   "{{create: 30s, ready: 20s, start: 30s, stop: 20s, stop_grace: 1s, request: 20s}}")


def wanted(*parts):
    """Whether POINT is this, or the beginning of it."""
    asked = POINT.split(":") if POINT else []
    return all(b == a or b.startswith(a + "#") for a, b in zip(asked, parts))


def memory(rig, subject, tally):
    """Each allocation of the operation fails, or some of them: a plugin's is an error, core's ends the runner, whose
    records are good: the next one goes on by them."""
    rig.warm_up()
    for _ in range(2):  # the first one makes what is kept
        id = rig.fresh_id()
        subject.prepare(rig, id)
        rig.faults.arm(fault.TRACE, kinds=fault.MEMORY)
        subject.run(rig, id)
        rig.faults.disarm()
        count = rig.faults.count
        rig.must("DELETE", f"/sandboxes/{id}")
    if count == 0:
        tap.skip(f"{subject.name}: the allocator of this build cannot be made to fail")
        return
    outcomes, wrong = collections.Counter(), []
    for number in range(1, count + 1, 1 if FULL else count // 12 + 1):
        label = f"{subject.name}:memory#{number}:ENOMEM"
        if wanted(*label.split(":")):
            try:
                outcomes[one_allocation(rig, subject, number)] += 1
            except Wrong as reason:
                wrong.append(f"{label}: {reason}")
    tally.update(outcomes)
    told = ", ".join(f"{n} {outcome or 'not reached'}" for outcome, n in sorted(outcomes.items(), key=str))
    tap.ok(f"{subject.name}: allocations that fail, of {count} ({told})", not wrong, *wrong)


def one_allocation(rig, subject, number):
    id = rig.fresh_id()
    rig.runner.wait_idle()
    before = Census(rig.runner)
    subject.prepare(rig, id)
    rig.faults.arm(fault.FAIL, at=number, kinds=fault.MEMORY, error=errno.ENOMEM)
    try:
        status, reply = subject.run(rig, id)
        outcome = "failed" if status >= 300 else "harmless"
        hit = rig.faults.hit
        rig.faults.disarm()
        rig.runner.wait_idle()
    except (OSError, http.client.HTTPException):
        outcome = "ended"
        hit = rig.faults.hit
        rig.faults.disarm()
    if outcome == "ended":
        status = rig.runner.process.wait(60)
        rig.runner.launch()
        rig.runner.wait_idle()
        if status != -signal.SIGABRT:
            raise Wrong(f"the runner ended with {status}, at {hit}")
    state = rig.state(id)
    if state not in (subject.after if outcome == "failed" else {subject.done} if outcome == "harmless" else
                     subject.after | {subject.done}):
        raise Wrong(f"{outcome}, and it is {state}")
    check_record(rig, id, state)
    check_rest(rig, id, state, before)
    check_again(rig, subject, id, before)
    rig.must("DELETE", f"/sandboxes/{id}")
    rig.runner.wait_idle()
    check_left(rig, before)
    if outcome == "ended":
        rig.warm_up()
    return outcome if hit else None

def matrix(rig, tally):
    for subject in SUBJECTS:
        if not wanted(subject.name) or subject.name in RARE and not FULL and not POINT:
            continue
        began = time.monotonic()
        outcomes, wrong = collections.Counter(), []
        for point, call in points_of(rig, subject):
            for error in errors_of(subject, call):
                label = f"{subject.name}:{point[0]}#{point[1]}:{error}"
                if not wanted(*label.split(":")):
                    continue
                if "VERBOSE" in os.environ:
                    tap.diag(f"{time.monotonic() - began:.2f} {label} {call.where}")
                try:
                    outcomes[one(rig, subject, point, error)] += 1
                except Wrong as reason:
                    wrong.append(f"{label}: {reason}")
        tally.update(outcomes)
        told = ", ".join(f"{n} {outcome or 'not reached'}" for outcome, n in sorted(outcomes.items(), key=str))
        told += f"; {time.monotonic() - began:.1f} s"
        tap.ok(f"{subject.name}: faults told, undone, survived ({told})", not wrong, *wrong)


def main():
    memory_fs = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where an fsync costs nothing
    with tempfile.TemporaryDirectory(prefix="runner-t.", dir=memory_fs) as base:
        os.chmod(base, 0o711)
        faults = Fault(os.path.join(base, "faults"))
        try:
            with FaultyRunner(base, faults.env()) as runner:
                rig = Rig(runner, faults)
                runner.wait_idle()
                rig.warm_up()
                tally = collections.Counter()
                matrix(rig, tally)
                for subject in SUBJECTS:
                    if subject.name in ("create", "stop", "destroy") and wanted(subject.name):
                        memory(rig, subject, tally)
                if not POINT:
                    tap.diag(f"{sum(tally.values())} faults in {len(SUBJECTS)} operations: " + ", ".join(
                        f"{n} {outcome or 'not reached'}" for outcome, n in sorted(tally.items(), key=str)))
        except Skip as reason:
            tap.skip_all(reason)
    tap.done()


if __name__ == "__main__":
    main()
