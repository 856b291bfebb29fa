"""Whether what the runner says of its sandboxes is so: processes, TAPs, files, guests."""

import json
import os
import time

from model import DONE, FAILED, ON_THE_WAY, PAUSED, STARTED

REST_S = 120  # until all is at rest that nobody asks any more
PAUSE_S = 0.05


def listed(host):
    return {one["id"]: one for one in host.client.call("GET", "/sandboxes")["sandboxes"]}


def is_at_rest(host, sandboxes):
    if any(one["state"] in ON_THE_WAY for one in sandboxes.values()):
        return False
    running = {id for id, one in sandboxes.items() if one["state"] in (STARTED, PAUSED)}
    return running == set(host.vmm_pids())


def await_rest(host):
    """The list of sandboxes, once nothing is under way and every end of a process has been noticed; or after REST_S as
    it is then: what is not so is told by check()."""
    until = time.monotonic() + REST_S
    while True:
        host.client.close()  # it may have been idle for too long
        host.wait_idle(REST_S)
        sandboxes = listed(host)
        if is_at_rest(host, sandboxes) or time.monotonic() > until:
            return sandboxes
        time.sleep(PAUSE_S)  # for this there is no event


def record_of(host, id):
    with open(os.path.join(host.directory(id), "runner.json")) as file:
        return json.load(file)


def check_one(host, id, one, pid, taps):
    """Lines about one sandbox that is there."""
    record = record_of(host, id)
    runs = one["state"] in (STARTED, PAUSED)
    tap = record["nic"]["name"] if record["nic"]["kind"] == "tap" else None
    if record["state"] != one["state"]:
        yield f"told as {one['state']}, its record says {record['state']}"
    if runs and pid is None:
        yield f"told as {one['state']}, it has no process"
    if runs and one.get("pid") != pid:
        yield f"told with process {one.get('pid')}, it is {pid}"
    if runs and tap and tap not in taps:
        yield f"its {tap} is not there"
    if runs:
        return
    if pid is not None:
        yield f"told as {one['state']}, it has process {pid}"
    if tap and tap in taps:
        yield f"told as {one['state']}, it has {tap}"
    if os.path.exists(os.path.join(host.dir, "run", f"{id}.sock")):
        yield f"told as {one['state']}, it has a socket"


def check_guest(host, id, pid):
    """Of one that runs and does not misbehave."""
    method, path, body = host.toolbox
    status, text = host.client.ask(method, f"/sandboxes/{id}{path}", body)
    if status != 200 or host.guest_of(text) not in ((id, pid), (id, None)):
        yield f"its guest says {status} {text[:300]}, where process {pid} runs"


def tap_names(host, sandboxes):
    """What their records say."""
    return {record_of(host, id)["nic"]["name"] for id in sandboxes}


def check(host, model, sandboxes):
    """Lines: what is not as told. The host is at rest, but for machines that misbehave: one may end meanwhile."""
    known = tap_names(host, sandboxes)
    pids, taps, lines = host.vmm_pids(), host.taps(), []
    for id, one in sandboxes.items():
        if model.sandboxes[id].is_tainted and one["state"] in (STARTED, PAUSED):
            continue  # it may end at any time, and its guest be deaf
        found = list(check_one(host, id, one, pids.get(id), taps))
        if not found and one["state"] == STARTED:
            found = list(check_guest(host, id, pids[id]))
        lines += [f"{id}: {line}" for line in found]
    lines += [f"{id}: there is none, but process {pids[id]}" for id in pids.keys() - sandboxes.keys()]
    lines += [f"{id}: there is none, but its directory" for id in os.listdir(os.path.join(host.root, "sandboxes"))
              if id not in sandboxes]
    addresses = [one["address"] for one in sandboxes.values() if host.has_bridge]
    if len(set(addresses)) != len(addresses):
        lines.append(f"addresses are given twice: {sorted(addresses)}")
    known |= tap_names(host, sandboxes)
    lines += [f"{tap} is nobody's" for tap in taps - known]
    return lines


def settle(host, model):
    """With nobody asking: waits for rest, tells the model, compares. Lines."""
    sandboxes = await_rest(host)
    model.settle({id: one["state"] for id, one in sandboxes.items()})
    return check(host, model, sandboxes)


def destroy_all(host, model):
    """Lines: what could not be destroyed."""
    lines = []
    for id in model.sandboxes:
        op = model.begin(id, "destroy")
        status, text = host.client.ask("DELETE", f"/sandboxes/{id}")
        model.answer(op, DONE if status == 200 else FAILED)
        if status != 200:
            lines.append(f"{id}: DELETE: {status} {text[:300]}")
    return lines
