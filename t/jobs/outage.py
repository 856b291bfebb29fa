"""The API away while jobs end: no result is lost, each sandbox's come in the order in which they were had, and what waits
to be told is no more than that.

From outside: JOBS (12) sandboxes with two jobs each, OUTAGE (2) seconds.
"""

import os
import tempfile
import time

import tap
from daytona import DaytonaApi
from rig_jobs import JobRunner, create, do, new_id, wish

JOBS = int(os.environ.get("JOBS", 12))
OUTAGE_S = float(os.environ.get("OUTAGE", 2))
GROWTH_MAX_KIB = 16 << 10  # of private memory: what waits is some KiB; allocators and sanitizers keep more


BEGINS, ENDS = ("job.begin",), ("job.completed", "job.failed")


def told(runner, events):
    """Job and sandbox of each of these events in the log, in their order."""
    found = []
    with open(runner.log.name, errors="replace") as log:
        for line in log:
            if any(f"event={event} " in line for event in events):
                fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
                found.append((fields["job"], fields["resource"]))
    return found


def wait_for(runner, events, jobs, seconds=120):
    """Until the log has one of them for each of the jobs."""
    until = time.monotonic() + seconds
    while missing := jobs - {job for job, _ in told(runner, events)}:
        if time.monotonic() > until:
            raise RuntimeError(f"no {' or '.join(events)} of {missing}")
        time.sleep(0.05)


def by_sandbox(pairs, wanted):
    """The jobs of each sandbox among those that are wanted."""
    found = {}
    for job, id in pairs:
        if job in wanted:
            found.setdefault(id, []).append(job)
    return found


def check_outage(api, runner, ids, mode, what, state):
    """Two jobs of each: one that is done, and beside it one that is not built."""
    lines = len(runner.lines("api.unreachable"))
    api.fault("status", "close", count=None)  # until the API is away nothing is told either
    done = [api.user(id, what) for id in ids]
    failed = api.add_jobs([{"type": "CREATE_BACKUP", "resourceId": id, "payload": {}} for id in ids])
    jobs = set(done + failed)
    wait_for(runner, BEGINS, jobs)
    begin = time.monotonic()
    api.outage(mode)
    api.end_faults()
    wait_for(runner, ENDS, jobs)
    tap.equal(f"{mode}: the API has heard of none", {api.job(job)["status"] for job in jobs}, {"IN_PROGRESS"})
    before = runner.status()["anon"]
    time.sleep(max(0.0, OUTAGE_S - (time.monotonic() - begin)))  # no event: the outage lasts
    growth = runner.status()["anon"] - before
    tap.ok(f"{mode}: it is not said again and again", len(runner.lines("api.unreachable")) <= lines + 1)
    api.outage("up")
    up = time.monotonic()
    api.wait(120, job=done + failed)
    seconds = time.monotonic() - up
    tap.equal(f"gotcha 47: {mode}: all {len(jobs)} results arrive", [api.job(job)["status"] for job in done + failed],
              ["COMPLETED"] * len(done) + ["FAILED"] * len(failed))
    heard = [(job["id"], job["resourceId"]) for _, job, _ in api.answers()]
    tap.equal(f"{mode}: in order for each sandbox", by_sandbox(heard, jobs), by_sandbox(told(runner, ENDS), jobs))
    tap.ok(f"{mode}: memory is bounded", growth <= GROWTH_MAX_KIB, f"{growth} KiB more")
    tap.diag(f"{mode}: away for {up - begin:.1f} s; private memory {before} KiB, {growth} KiB more at its end; "
             f"all was told {seconds:.2f} s after it")
    for id in ids:
        api.wait(60, sandbox=id, state=state)


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, JobRunner(base, api) as runner:
            api.wait(60, runner="ready")
            ids = [new_id() for _ in range(JOBS)]
            for id in ids:
                create(api, id)
            ms = int(OUTAGE_S * 250)  # so operations end while it is away
            for mode, what, state in (("refuse", "stop", "stopped"), ("close", "start", "started"),
                                      ("hang", "stop", "stopped")):
                wish(runner, f"powerdown-ms {ms}", f"greeting-ms {ms}")
                check_outage(api, runner, ids, mode, what, state)
                wish(runner)
            for id in ids:
                do(api, id, "destroy")
            runs = [line for event in ("op.done", "op.failed") for line in runner.lines(event)]
            tap.equal("no operation was done twice", len(runs), len(ids) * 5)
            tap.equal("the API was asked as it wants to be", api.violations(), [])
    tap.done()


if __name__ == "__main__":
    main()
