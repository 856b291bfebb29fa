"""Fault matrix: every call that the runner makes for an operation fails once, with the errors that fit it. Whatever
fails: the answer says which call and why, the state is a documented one, nothing is left, and the same request again
succeeds. That with QEMU, and with Cloud Hypervisor on a bridge, whose TAPs are kept for the next sandbox or made anew.

Which calls there are is asked of the runner: each operation is traced first, and each call found (by its function, and
the how-manieth of that function it is) fails in a run of its own. Calls that change something fail with two errors,
those that only look or wait with one, and those like others once; with FULL=1 all of them with all errors. A runner
with sanitizers has every third of the calls fail, with one error.

    POINT=qemu:create:mkdir#1:ENOSPC     only that one; parts may be left out from the right
"""

import collections
import errno
import http.client
import os
import re
import signal
import tempfile
import time
from typing import NamedTuple

import fault
import tap
from census import Census
from fault import Fault
from fault_checks import SHORT, check_again, check_done, check_failed, check_left, check_record, check_rest, may_be_after
from fault_rig import Rig, Wrong, kinds
from fault_subjects import LIKE, RARE, SUBJECTS
from rig import Skip, is_sanitized
from runners import enter_namespace, has_bridge

FULL = os.environ.get("FULL") == "1"
POINT = os.environ.get("POINT", "")
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
    "clone": "EAGAIN", "memfd": "EMFILE", "pipe": "EMFILE", "if_name": "EMFILE", "": "EIO",
}


class Point(NamedTuple):
    """The how-manieth call of a function. side: of a recovery, which calls those are: ALL, those IN its directory, or
    those that are made FOR it."""

    name: str
    number: int
    side: str

    def __str__(self):
        return f"{self.name}#{self.number}{self.side}"

    def only(self, id):
        return {"where": f"/{id}"} if self.side == IN else {"id": id} if self.side == FOR else {}


ALL, IN, FOR = "", "@directory", "@sandbox"


def errors_of(subject, call):
    name = max((key for key in ERRORS if call.name.startswith(key)), key=len)
    errors = ERRORS[name].split()
    # After a send that failed a VMM is waited for.
    has_two = call.kind == fault.CHANGE and not subject.is_recovery and name != "send" and not is_sanitized()
    return errors if FULL else errors[:2 if has_two else 1]


def one(rig, subject, point, error):
    """A run with this fault. What came of it: "failed" or "harmless", None when the call was not made; Wrong."""
    id = rig.fresh_id()
    rig.runner.wait_idle()
    before = Census(rig.runner)
    subject.prepare(rig, id)
    rig.faults.arm(fault.SHORT if error == SHORT else fault.FAIL, at=point.number, kinds=COUNTED, name=point.name,
                   error=0 if error == SHORT else getattr(errno, error), **point.only(id))
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


def trace_of(rig, subject, side):
    """The calls of the operation, with the points that they are."""
    id = rig.fresh_id()
    subject.prepare(rig, id)
    rig.faults.arm(fault.TRACE, kinds=COUNTED, **Point("", 0, side).only(id))
    status, reply = subject.run(rig, id)
    trace = rig.faults.trace()
    rig.faults.disarm()
    if status >= 300:
        raise Wrong(f"{subject.name} without a fault: {status} {reply}")
    rig.must("DELETE", f"/sandboxes/{id}")
    numbers = collections.Counter()
    for call in trace:
        if call.number == 0:  # traced, as everything is, but not counted
            continue
        numbers[call.name] += 1
        if side != FOR or f"/{id}" not in call.where:  # else it is one of those in its directory
            yield Point(call.name, numbers[call.name], side), call


def is_worth_it(subject, call):
    """Whether its failure is tried at all."""
    if call.name == "write" and "eventfd" in call.where:
        return False  # which does not fail
    # What a recovery asks is much the same in all of them.
    return FULL or call.kind == fault.CHANGE or not subject.is_recovery or subject.name == "recover-started"


def points_of(rig, subject):
    seen = rig.seen[LIKE.get(subject.name, subject.name)]
    others, points = set(seen), []
    for side in (IN, FOR) if subject.is_recovery else (ALL,):
        for point, call in trace_of(rig, subject, side):
            where = call.where.replace(rig.runner.dir, "")
            like = (call.name, call.kind, re.sub(r"\.tmp-[0-9a-f]+|[0-9a-f]{8}|\d+", "*", where))
            if is_worth_it(subject, call) and (
                    FULL or (call.kind == fault.CHANGE or like not in seen) and like not in others):
                points.append((point, call))
            seen.add(like)
    return points[::3] if is_sanitized() and not FULL and not POINT else points


def wanted(*parts):
    """Whether POINT is this, or the beginning of it."""
    asked = POINT.split(":") if POINT else []
    return all(b == a or b.startswith(a + "#") for a, b in zip(asked, parts))


def memory(kind, rig, subject, tally):
    """Each allocation of the operation fails, or some of them: a plugin's is an error, core's ends the runner, whose
    records are good: the next one goes on by them."""
    for _ in range(2):  # the first one makes what is kept
        id = rig.fresh_id()
        subject.prepare(rig, id)
        rig.faults.arm(fault.TRACE, kinds=fault.MEMORY)
        subject.run(rig, id)
        rig.faults.disarm()
        count = rig.faults.count
        rig.must("DELETE", f"/sandboxes/{id}")
    if count == 0:
        tap.skip(f"{kind}, {subject.name}: the allocator of this build cannot be made to fail")
        return
    labels = {f"{kind}:{subject.name}:memory#{number}:ENOMEM": number
              for number in range(1, count + 1, 1 if FULL else count // 12 + 1)}
    tell(f"{kind}, {subject.name}: allocations that fail, of {count}", tally, labels,
         lambda number: one_allocation(rig, subject, number))


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
    is_good = may_be_after(rig, subject, id, state) if outcome == "failed" else state == subject.done
    if not is_good and not (outcome == "ended" and state in subject.after):
        raise Wrong(f"{outcome}, and it is {state}")
    state = check_record(rig, id, state)
    check_rest(rig, id, state, before)
    check_again(rig, subject, id, before)
    rig.must("DELETE", f"/sandboxes/{id}")
    rig.runner.wait_idle()
    check_left(rig, before)
    if outcome == "ended":
        rig.warm_up()
    return outcome if hit else None


def tell(title, tally, labels, run):
    """Runs what is wanted of these, and says what came of it as one test point."""
    began, outcomes, wrong = time.monotonic(), collections.Counter(), []
    for label, what in labels.items():
        if not wanted(*label.split(":")):
            continue
        if "VERBOSE" in os.environ:
            tap.diag(f"{time.monotonic() - began:.2f} {label} {what}")
        try:
            outcomes[run(what)] += 1
        except Wrong as reason:
            outcomes["wrong"] += 1
            wrong.append(f"POINT={label}: {reason}")
    tally.update(outcomes)
    told = [f"{n} {outcome or 'not reached'}" for outcome, n in sorted(outcomes.items(), key=str)]
    tap.ok(f"{title} ({', '.join(told + [f'{time.monotonic() - began:.1f} s'])})", not wrong, *wrong)


def matrix(kind, rig, tally):
    for subject in SUBJECTS:
        if not wanted(kind, subject.name) or subject.name in RARE and not FULL and not POINT:
            continue
        labels = {f"{kind}:{subject.name}:{point}:{error}": (point, error, call.where)
                  for point, call in points_of(rig, subject) for error in errors_of(subject, call)}
        if labels:
            tell(f"{kind}, {subject.name}: faults told, undone, survived", tally, labels,
                 lambda what: one(rig, subject, what[0], what[1]))


def run_kind(kind, runner_class, base, seen, tally):
    faults = Fault(os.path.join(base, "faults." + kind))
    with runner_class(base, faults.env()) as runner:
        rig = Rig(runner, faults, seen)
        matrix(kind, rig, tally)
        for subject in SUBJECTS:
            is_like_others = subject.name not in ("create", "stop", "destroy") or (kind != "qemu" and not FULL)
            if wanted(kind, subject.name) and not is_like_others:
                memory(kind, rig, subject, tally)


def main():
    memory_fs = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where an fsync costs nothing
    tally, seen = collections.Counter(), collections.defaultdict(set)
    if has_bridge():
        enter_namespace()
    else:
        tap.diag("no bridge: that needs root, network namespaces and the plugin")
    with tempfile.TemporaryDirectory(prefix="runner-t.", dir=memory_fs) as base:
        os.chmod(base, 0o711)
        for kind, runner_class in kinds().items():
            if wanted(kind):
                run_kind(kind, runner_class, base, seen, tally)
    tap.diag(f"{sum(tally.values())} faults in {len(SUBJECTS)} operations: " +
             ", ".join(f"{n} {outcome or 'not reached'}" for outcome, n in sorted(tally.items(), key=str)))
    tap.done()


if __name__ == "__main__":
    try:
        main()
    except Skip as reason:
        tap.skip_all(reason)
