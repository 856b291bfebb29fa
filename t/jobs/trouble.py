"""The API away, slow, wrong or repeating itself, and the runner killed: every job ends once, with the right word."""

import os
import signal
import tempfile
import threading
import time

import tap
from daytona import DaytonaApi
from rig import Client
from rig_jobs import JobRunner, create, do, new_id, wait_for_line, wait_for_text, wish, words

OP_ENDS = ("op.done", "op.failed")
QUEUE = 8


class SmallRunner(JobRunner):
    CONFIG = JobRunner.CONFIG.replace("queue: 4096", f"queue: {QUEUE}")


def runs_of(runner, job):
    """How many operations were made of it."""
    return sum(f"job={job} " in line for event in OP_ENDS for line in runner.lines(event))


def stop_job(api, id):
    """Of a sandbox that is there already, or not: a job that ends soon."""
    return api.add_job("DESTROY_SANDBOX", id)


# ---- answers that do not come, or come wrong ----

def check_status_answers(api, runner):
    for kind, more, count in (("status", {"status": 500}, 3), ("status", {"status": 503}, 3), ("close", {}, 3),
                              ("lost", {}, 1), ("garbage", {}, 1), ("cut-head", {}, 1), ("cut-body", {}, 1),
                              ("status", {"status": 429, "retryAfter": 1}, 1), ("html", {}, 1)):
        api.fault("status", kind, count=count, **more)
        job = stop_job(api, new_id())
        what = kind if kind != "status" else str(more["status"])
        tap.equal(f"{count} x {what} for a status: told all the same", api.result(job)["status"], "COMPLETED")
        api.end_faults()


def check_poll_answers(api, runner):
    for kind, more in (("status", {"status": 500}), ("status", {"status": 401}), ("html", {}), ("garbage", {}),
                       ("huge", {}), ("close", {}), ("status", {"status": 503, "retryAfter": 1})):
        for route in ("poll", "list"):
            api.fault(route, kind, count=1, **more)
        api.add_job("DESTROY_SANDBOX", new_id())  # wakes the poll that waits
        job = stop_job(api, new_id())
        what = kind if kind != "status" else str(more["status"])
        tap.equal(f"{'gotcha 2: ' if kind == 'html' else ''}{what} for a poll and a list: goes on", api.result(job)["status"], "COMPLETED")
        api.end_faults()


def check_lost_poll(api, runner):
    for kind in ("lost", "cut-head", "cut-body"):
        api.fault("poll", kind, count=2)
        jobs = [stop_job(api, new_id()) for _ in range(3)]
        done = [api.result(job)["status"] for job in jobs]
        tap.equal(f"gotcha 9: jobs that went with a {kind} poll are found", done, ["COMPLETED"] * 3)
        api.end_faults()
    polls = [int(request["target"].partition("timeout=")[2].partition("&")[0]) for request in api.requests()
             if request["route"] == "poll"]
    tap.ok("gotcha 40: polls are short", max(polls) <= 15, polls)
    begin = time.monotonic()
    api.wait(60, requests="list", count=api.counts()["list"] + 2)
    tap.ok("gotcha 40: and after a broken one the list is asked for every few seconds", time.monotonic() - begin < 30)


def check_duplicates(api, runner):
    id = new_id()
    job = create(api, id)["id"]
    api.call("POST", f"/jobs/{job}/deliver")
    other = stop_job(api, new_id())
    api.result(other)
    tap.equal("delivered twice, done once", (runs_of(runner, job), set(words(api, job))), (1, {"COMPLETED"}))
    do(api, id, "destroy")


def check_stale(api, runner):
    api.fault("status", "status", status=500, count=None)
    job = stop_job(api, new_id())
    wait_for_line(runner, "job.completed", job)
    api.advance(3600)
    tap.equal("the API gave it up", api.job(job)["status"], "FAILED")
    api.end_faults()
    wait_for_line(runner, "job.not_wanted", job)
    other = stop_job(api, new_id())
    tap.equal("gotcha 12: a 4xx is the last word", (api.result(other)["status"], len(runner.lines("job.not_wanted"))),
              ("COMPLETED", 1))


# ---- the runner's end ----

def check_kill_in_job(api, runner):
    id = new_id()
    wish(runner, "greeting-ms 1000")
    job = api.user(id, "create", snapshot="tiny")
    wait_for_line(runner, "op.phase", f"phase=boot id={id}")
    runner.end(signal.SIGKILL)
    wish(runner)
    runner.launch()
    tap.equal("killed in a create: it is done by the next runner", api.result(job)["status"], "COMPLETED")
    tap.equal("once", words(api, job), ["COMPLETED"])
    tap.equal("and runs", runner.client.call("GET", f"/sandboxes/{id}")["state"], "started")
    api.wait(60, sandbox=id, state="started")
    do(api, id, "destroy")


def check_kill_before_telling(api, runner):
    id = new_id()
    create(api, id)
    api.fault("status", "hang", count=None)
    job = api.user(id, "stop")
    wait_for_line(runner, "job.completed", job)
    failed = api.add_job("DANCE", new_id())
    wait_for_line(runner, "job.failed", failed)
    runner.end(signal.SIGKILL)
    api.end_faults()
    runner.launch()
    tap.equal("killed with a result untold: the next runner tells it", api.result(job)["status"], "COMPLETED")
    tap.equal("an error word for word", api.result(failed)["errorMessage"], "unknown job type: DANCE")
    tap.equal("nothing is done again", runs_of(runner, job), 1)
    api.wait(60, sandbox=id, state="stopped")
    do(api, id, "destroy")


def check_term(api, runner):
    id = new_id()
    wish(runner, "greeting-ms 500")
    job = api.user(id, "create", snapshot="tiny")
    wait_for_line(runner, "op.phase", f"phase=boot id={id}")
    tap.equal("SIGTERM in a create: exit 0", runner.end(signal.SIGTERM), 0)
    tap.equal("after it was done and told", words(api, job), ["COMPLETED"])
    wish(runner)
    runner.launch()
    api.wait(60, runner="ready")
    do(api, id, "destroy")


def check_term_with_more(api, runner):
    """The poll of a runner that stops stays open, and brings another job."""
    id, other = new_id(), new_id()
    create(api, other)
    wish(runner, "greeting-ms 1000")
    job = api.user(id, "create", snapshot="tiny")
    wait_for_line(runner, "op.phase", f"phase=boot id={id}")
    api.wait(60, polling=True)  # again, as the create came by the one before
    polls = api.counts()["poll"]
    runner.process.send_signal(signal.SIGTERM)
    wait_for_text(runner, "event=runner.draining\n")
    late = api.user(other, "stop")
    tap.equal("SIGTERM, and a job that comes then: exit 0", runner.process.wait(), 0)
    tap.equal("what ran was told", words(api, job), ["COMPLETED"])
    tap.equal("of the other nothing was said", (words(api, late), api.counts()["poll"] - polls), ([], 0))
    wish(runner)
    runner.launch()
    tap.equal("the next runner does it", api.result(late)["status"], "COMPLETED")
    api.wait(60, sandbox=other, state="stopped")
    for each in (id, other):
        do(api, each, "destroy")


def check_full(api, runner):
    """As many operations as there may be are under way, of REST clients."""
    ids, kept = [new_id() for _ in range(QUEUE)], new_id()
    create(api, kept)
    wish(runner, "no-guest")
    asking = [threading.Thread(target=Client(runner.socket).ask, args=("POST", "/sandboxes", dict(runner.body, id=id)))
              for id in ids]
    for thread in asking:
        thread.start()
    for id in ids:
        wait_for_line(runner, "op.phase", f"phase=ready id={id}")
    tap.equal("a full queue refuses REST clients", runner.client.ask("POST", f"/sandboxes/{kept}/stop", {})[0], 503)
    job = api.result(api.user(kept, "stop"))
    tap.equal("but no job fails for it", (job["status"], job.get("errorMessage")), ("COMPLETED", None))
    tap.equal("all the while", [thread.is_alive() for thread in asking], [True] * QUEUE)
    wish(runner)
    for id in ids:
        os.kill(runner.vmm_pid(id), signal.SIGKILL)
    for thread in asking:
        thread.join()


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, JobRunner(base, api) as runner:
            api.wait(60, runner="ready")
            for check in (check_status_answers, check_poll_answers, check_lost_poll, check_duplicates, check_stale,
                          check_kill_in_job, check_kill_before_telling, check_term, check_term_with_more):
                begin = time.monotonic()
                check(api, runner)
                tap.diag(f"{check.__name__}: {time.monotonic() - begin:.1f} s")
            with open(runner.log.name) as log:
                tap.ok("no token in the log", api.token not in log.read())
        with DaytonaApi(base) as api, SmallRunner(base, api) as runner:
            api.wait(60, runner="ready")
            check_full(api, runner)
    tap.done()


if __name__ == "__main__":
    main()
