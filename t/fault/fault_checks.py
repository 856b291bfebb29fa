"""What must be true after a fault."""

import errno
import json
import os
import signal

import fault
from census import Census
from fault_rig import Wrong

SHORT = "SHORT"  # in place of an error: half of the bytes are transferred

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
    elif status not in {"ETIMEDOUT": (500, 408), "EADDRINUSE": (409,), "EBUSY": (500, 409)}.get(error, (500,)):
        raise Wrong(f"its status is {status}: {text}")


def check_watched(rig, id):
    """That the end of its machine is noticed."""
    os.kill(rig.pid_of(id), signal.SIGKILL)
    rig.await_state(id, {"error", "stopped"})


def check_record(rig, id, state):
    """That the disk says what the runner says. The state, which is another when what failed was done again meanwhile."""
    while True:
        records = [item for item in Census(rig.runner).of(id) if item.startswith(f"record {id}: ")]
        said = [item.split(": ")[1].split(",")[0] for item in records]
        if said == ([] if state == "destroyed" else [state]) or (state, said) == ("destroying", ["none"]):
            return state
        before, state = state, rig.state(id)
        if state == before:
            raise Wrong(f"its state is {state}, its record says {said}")


def check_rest(rig, id, state, before):
    """What has no machine has nothing that a machine has, and the others have all of it."""
    parts = rig.parts_of(Census(rig.runner), id)
    if state in ("stopped", "destroyed", "error") and parts:
        raise Wrong(f"left when it is {state}: {parts}")
    if state in ("started", "paused") and parts | {"cgroup"} != rig.parts | {"cgroup"}:  # one can do without a cgroup
        raise Wrong(f"it is {state} and has {parts}, not {rig.parts}")
    if state in ("started", "paused") and rig.tap_of(id) != rig.tap:
        raise Wrong(f"it is {state}, its TAP {rig.tap_of(id)}, not {rig.tap}")
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


def may_be_after(rig, subject, id, state):
    """Whether it may be in this state after the operation failed; seen late, it has been done again."""
    return state in subject.after or (state == subject.done and subject.is_gone_on_with and rig.is_gone_on_with(id))


def check_failed(rig, subject, id, before, answer, error, hit):
    """Told, undone, and what was before is as it was."""
    status, reply = answer
    check_answer(status, reply, error, hit)
    state = rig.state(id)
    if not may_be_after(rig, subject, id, state):
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
