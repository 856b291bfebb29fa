"""What no job brings about: states that are reported, and orphans, which are removed when all evidence agrees and only then."""

import os
import signal
import tempfile
import time
from datetime import datetime

import tap
from daytona import DaytonaApi
from rig import is_sanitized
from rig_jobs import JobRunner, create, do, local_state, new_id

AT_ONCE = 10  # in a pass
GRACE_S = 2
FAST = f"sync_interval: 1s, orphan_grace: {GRACE_S}s, healthcheck_interval: 1s"


class SyncRunner(JobRunner):
    CONFIG = JobRunner.CONFIG.replace("healthcheck_interval: 1s", FAST)


class ReportRunner(JobRunner):
    CONFIG = JobRunner.CONFIG.replace("healthcheck_interval: 1s", FAST + ", orphans: report")


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def passes(api, n):
    """So many more lists of sandboxes were asked for, and the last one's consequences have come."""
    api.wait(60, requests="for-runner", count=api.counts().get("for-runner", 0) + n + 1)


def removals(runner):
    """Each orphan that the log has as removed, and when first: one that is slow to go is found again by the next pass."""
    found = {}
    for line in runner.lines("orphan.removed"):
        id = next(word for word in line.split() if word.startswith("id="))[3:]
        found.setdefault(id, datetime.fromisoformat(line.split()[0]).timestamp())
    return found


def kill_vm(runner, id):
    with open(os.path.join(runner.root, "sandboxes", id, "vmm.pid")) as file:
        os.kill(int(file.readline()), signal.SIGKILL)


def check_states(api, runner):
    crashed, stopped, fine = new_id(), new_id(), new_id()
    for id in (crashed, stopped, fine):
        create(api, id)
    kill_vm(runner, crashed)
    api.wait(60, sandbox=crashed, state="error")
    row = api.sandbox(crashed)
    tap.ok("gotcha 35: a machine that crashed is an error at the API too, with its reason", "VMM" in row["errorReason"], row)
    tap.equal("which can be recovered from", row["recoverable"], True)
    runner.client.call("POST", f"/sandboxes/{stopped}/stop", {})
    api.wait(60, sandbox=stopped, state="stopped")
    tap.ok("one that was stopped by REST is stopped", True)
    runner.client.call("POST", f"/sandboxes/{stopped}/start", {})
    api.wait(60, sandbox=stopped, state="started")
    tap.ok("and started", True)
    tap.equal("another is left alone", (api.state(fine), local_state(runner, fine)), ("started", "started"))
    job = api.do(crashed, "recover")
    api.wait(60, sandbox=crashed, state="started")
    tap.equal("the crashed one is recovered, and starts", (job["status"], local_state(runner, crashed)),
              ("COMPLETED", "started"))
    for id in (crashed, stopped, fine):
        do(api, id, "destroy")


def check_orphans_are_removed(api, runner):
    id, deleted, kept = new_id(), new_id(), new_id()
    for each in (id, deleted, kept):
        create(api, each)
    since = time.time()
    api.call("DELETE", f"/sandboxes/{id}")
    api.call("PATCH", f"/sandboxes/{deleted}", {"state": "error", "desiredState": "destroyed"})
    tap.ok("d17: an orphan is removed", until(lambda: local_state(runner, id) == "destroyed"))
    first = min(removals(runner).values())
    tap.ok("but is left alone in its grace period", first - since > GRACE_S - 0.01, first - since)  # the log tells whole ms
    tap.ok("and so is what its user deleted while it was in error (gotcha 27)",
           until(lambda: local_state(runner, deleted) == "destroyed"))
    tap.equal("the log has both, and no other", set(removals(runner)), {id, deleted})
    tap.equal("what the API has stays", (local_state(runner, kept), api.state(kept)), ("started", "started"))
    do(api, kept, "destroy")


def check_wrong_answers(api, runner):
    ids = [new_id() for _ in range(3)]
    for id in ids:
        create(api, id)
    before = len(runner.lines("orphan.removed"))
    for kind, more in (("empty", {}), ("partial", {"rows": 1}), ("status", {"status": 500}), ("status", {"status": 401}),
                       ("garbage", {}), ("html", {}), ("cut-body", {}), ("status", {"status": 404})):
        api.fault("for-runner", kind, count=None, **more)
        passes(api, 5)  # longer than the grace period
        api.end_faults()
        what = kind if kind != "status" else str(more["status"])
        tap.equal(f"d17: {what} as the list of sandboxes, again and again, removes nothing",
                  ([local_state(runner, id) for id in ids], len(runner.lines("orphan.removed"))),
                  (["started"] * 3, before))
        tap.equal("and changes nothing at the API", [api.state(id) for id in ids], ["started"] * 3)
    for id in ids:
        do(api, id, "destroy")


def check_long_list(api, runner):
    """Of 10 000 sandboxes, of which three are here."""
    ids = [new_id() for _ in range(3)]
    for id in ids:
        create(api, id)
    before = runner.status()["anon"]
    for _ in range(10000):
        api.call("POST", "/sandboxes", {"id": new_id(), "name": "x", "state": "stopped", "desired": "stopped"})
    passes(api, 3)
    growth = runner.status()["anon"] - before
    limit = (512 if is_sanitized() else 24) << 10  # the sanitizer keeps 256 MiB of what was freed
    tap.ok("a list of 10 000 is read, in little memory", not runner.lines("api.bad_answer") and growth < limit,
           f"{growth} KiB more", runner.lines("api.bad_answer")[:1])
    tap.diag(f"{growth} KiB more of private memory after it")
    tap.equal("what is in it stays", [local_state(runner, id) for id in ids], ["started"] * 3)
    api.call("DELETE", f"/sandboxes/{ids[0]}")
    tap.ok("d17: what is not is found out", until(lambda: local_state(runner, ids[0]) == "destroyed"))
    kill_vm(runner, ids[1])
    api.wait(60, sandbox=ids[1], state="error")
    tap.ok("what differs is reported", True)
    runner.client.call("DELETE", f"/sandboxes/{ids[1]}")
    runner.client.call("DELETE", f"/sandboxes/{ids[2]}")


def check_not_taken(api, runner):
    """As many as are looked at in a pass are refused by the API, again and again."""
    refused = [f"{i:08x}" + new_id()[8:] for i in range(AT_ONCE)]
    last = "ffffffff" + new_id()[8:]
    for id in refused + [last]:
        create(api, id)
    for id in refused:
        api.fault("state", "status", status=400, match=id, count=None)
    for id in refused + [last]:
        runner.client.call("POST", f"/sandboxes/{id}/stop", {})
    tap.ok("what the API does not take is in nobody's way", until(lambda: api.state(last) == "stopped"))
    for id in refused + [last]:
        api.call("DELETE", f"/sandboxes/{id}")
    tap.ok("nor are orphans that it contradicts", until(lambda: local_state(runner, last) == "destroyed"))
    tap.equal("which stay", [local_state(runner, id) for id in refused], ["stopped"] * AT_ONCE)
    api.end_faults()
    tap.ok("until it does not any more", until(lambda: runner.client.call("GET", "/sandboxes")["sandboxes"] == []))


def check_report(api, runner):
    id = new_id()
    create(api, id)
    api.call("DELETE", f"/sandboxes/{id}")
    tap.ok("orphans: report: the log has it", until(lambda: runner.lines("orphan.found")))
    tap.equal("and it stays", local_state(runner, id), "started")
    runner.client.call("DELETE", f"/sandboxes/{id}")


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, SyncRunner(base, api) as runner:
            api.wait(60, runner="ready")
            check_states(api, runner)
            check_orphans_are_removed(api, runner)
            check_wrong_answers(api, runner)
            tap.equal("the API was asked as it wants to be", api.violations(), [])
        with DaytonaApi(base) as api, SyncRunner(base, api) as runner:
            api.wait(60, runner="ready")
            check_not_taken(api, runner)
            check_long_list(api, runner)
        with DaytonaApi(base) as api, ReportRunner(base, api) as runner:
            api.wait(60, runner="ready")
            check_report(api, runner)
    tap.done()


if __name__ == "__main__":
    main()
