"""A disk that takes seconds to make results durable: polls and healthchecks go on meanwhile, and no result is told before.

The control: fdatasync of the journal is held up by the library of faults (t/fault/).
"""

import os
import tempfile
import time

import fault
import tap
from daytona import DaytonaApi
from rig_jobs import JobRunner, new_id, wait_for_line

STALL_MS = 5000
TRIES = 5


def posted_at(api, job):
    """When a poll gave it out and when its result came, by the API's clock."""
    told = api.job(job)
    return told["deliveries"][0]["at"], told["posts"][0]["at"]


def go_on(api, runner):
    """A job whose result waits for the disk, those that are done meanwhile, as two healthchecks are, and whether all that was
    over before the disk was done."""
    begin = time.monotonic()
    first = api.add_job("DESTROY_SANDBOX", new_id())
    wait_for_line(runner, "job.completed", first)
    api.wait(60, requests="healthcheck", count=api.counts()["healthcheck"] + 2)
    others = [api.add_job("DESTROY_SANDBOX", new_id()) for _ in range(3)]
    for job in others:
        wait_for_line(runner, "job.completed", job)
    tap.diag(f"the disk takes {STALL_MS} ms; two healthchecks and three jobs took {(time.monotonic() - begin) * 1000:.0f} ms")
    return first, others, api.job(first)["posts"] == []


def check(api, runner, faults):
    faults.arm(fault.STALL, times=0, name="fdatasync", where="jobs.journal", stall_ms=STALL_MS, thread="")
    for _ in range(TRIES):  # on a busy machine all takes as long as the disk
        first, others, is_before = go_on(api, runner)
        tap.equal("all results are told", [api.result(job, 120)["status"] for job in [first, *others]], ["COMPLETED"] * 4)
        for job in (first, *others):
            given, told = posted_at(api, job)
            tap.ok("but none before it is durable", told - given > STALL_MS / 1000 - 0.5, told - given)
        if is_before:
            break
    tap.ok("healthchecks and jobs do not wait for the disk", is_before)
    faults.disarm()


def journal_of(runner):
    with open(os.path.join(runner.dir, "state", "jobs.journal")) as file:
        return file.read()


def check_failure(api, runner, faults):
    """The disk fails: what is not durable then is told all the same, and written when it can be."""
    faults.arm(fault.FAIL, times=0, name="fdatasync", where="jobs.journal", thread="")
    job = api.add_job("DESTROY_SANDBOX", new_id())
    tap.equal("a disk that fails keeps no result from the API", api.result(job)["status"], "COMPLETED")
    tap.ok("the log says that it fails", runner.lines("jobs.journal"))
    faults.disarm()
    until = time.monotonic() + 60
    while f'"told":"{job}"' not in journal_of(runner) and time.monotonic() < until:
        time.sleep(0.05)
    tap.ok("what it did not take is written later", all(f'"{key}":"{job}"' in journal_of(runner) for key in ("job", "told")))


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        faults = fault.Fault(os.path.join(base, "faults"))
        with DaytonaApi(base) as api, JobRunner(base, api, faults.env()) as runner:
            api.wait(60, runner="ready")
            check(api, runner, faults)
            check_failure(api, runner, faults)
        faults.close()
    tap.done()


if __name__ == "__main__":
    main()
