"""Images that take long, by jobs: what the API is told meanwhile, and what comes of what it asks for too soon (trap 34)."""

import json
import os
import signal
import tempfile
import time

import tap
from daytona import DaytonaApi
from rig_jobs import JobRunner, local_state, new_id
from rig_shelf import STORAGE, Shelf

DRAIN_S = 120
REF, SOURCE = "in.example:5000/daytona/daytona-{}:daytona", "reg.example/team/app:1"


class ShelfRunner(Shelf, JobRunner):
    """A create may take 5 s, an image much longer."""

    CONFIG = JobRunner.CONFIG.replace("storage: none", STORAGE).replace("create: 20m", f"create: 5s, drain: {DRAIN_S}s") \
        .replace("healthcheck_interval: 1s", "healthcheck_interval: 1s, heartbeat_interval: 1s")


def told_of(api, job):
    """What was said of a job while it ran."""
    return [json.loads(post["body"]["resultMetadata"]) for post in api.job(job)["posts"]
            if post["body"]["status"] == "IN_PROGRESS"]


def wait_for_words(api, job, count):
    """Until so many signs of life of it came that say how far its image is, which is fetched."""
    while len(words := [told for told in told_of(api, job) if told.get("pull", {}).get("phase") == "fetch"]) < count:
        api.wait(60, posts=len(api.answers()) + 1)
    return words


def registry(server):
    return {"url": server, "project": "daytona", "username": "u", "password": "p"}


def check_pull(api, runner):
    ref = REF.format(runner.put_on_shelf(SOURCE, is_held=True))
    payload = {"snapshot": SOURCE, "registry": registry("reg.example"), "destinationRegistry": registry("in.example:5000"),
               "destinationRef": ref, "sandboxClass": "linux-vm"}
    job = api.add_job("PULL_SNAPSHOT", ref, payload)
    words = wait_for_words(api, job, 2)
    tap.equal("a long pull says how far it is", [(word["pull"]["doneBytes"], word["pull"]["totalBytes"]) for word in words[:2]],
              [(1 << 19, 1 << 20)] * 2)
    tap.ok("each time something else, else the API does not count it", len({json.dumps(word) for word in words}) == len(words), words)
    api.call("POST", "/clock", {"advance": 660})
    again = api.add_job("PULL_SNAPSHOT", ref + "-again", payload)  # the API's own check of this is what makes the trap
    wait_for_words(api, again, 1)
    tap.equal("gotcha 34: asked for again after 10 minutes, it is fetched once", runner.pulls(), 1)
    runner.go(SOURCE)
    tap.equal("and both are told", [api.result(job)["status"], api.result(again)["status"]], ["COMPLETED"] * 2)
    return ref, payload


def check_removal(api, runner, ref, payload):
    """What the API sends when it has lost patience: a removal of what has just come."""
    id, other = new_id(), new_id()
    create = {"snapshot": ref, "registry": payload["destinationRegistry"]}
    tap.equal("a sandbox of it", api.do(id, "create", payload=create)["status"], "COMPLETED")
    tap.equal("gotcha 34: the fresh ref is removed", api.result(api.add_job("REMOVE_SNAPSHOT", ref))["status"], "COMPLETED")
    tap.equal("its sandbox goes on", local_state(runner, id), "started")
    before = runner.pulls()
    tap.equal("gotcha 34: and the next create of it fetches what it needs by itself",
              (api.do(other, "create", payload=create)["status"], local_state(runner, other)), ("COMPLETED", "started"))
    tap.equal("which is nothing: the base was still here", runner.pulls(), before)
    for each in (id, other):
        api.do(each, "destroy")
    api.result(api.add_job("REMOVE_SNAPSHOT", ref))
    api.result(api.add_job("REMOVE_SNAPSHOT", SOURCE))
    id = new_id()
    tap.equal("gotcha 34: without the base as well", api.do(id, "create", payload=create)["status"], "COMPLETED")
    tap.equal("from where its copy is", runner.pulls(), before + 1)
    api.do(id, "destroy")


def check_create(api, runner):
    """Longer than a create may take."""
    slow, id, gone = "reg.example/slow:1", new_id(), new_id()
    runner.put_on_shelf(slow, is_held=True)
    job = api.user(id, "create", snapshot=slow)
    unwanted = api.user(gone, "create", snapshot=slow)
    words = wait_for_words(api, job, 7)
    tap.ok("a create waits for its image, however long a create may take, and says so",
           words[6]["seconds"] >= 6, words)
    tap.equal("a look at the runner shows it", local_state(runner, id), "pulling_snapshot")
    tap.ok("it waits on", not runner.lines("op.failed"), runner.lines("op.failed"))
    wait_for_words(api, unwanted, 1)
    runner.client.call("POST", f"/sandboxes/{gone}/destroy")
    ended = api.result(unwanted)
    tap.ok("a sandbox that is destroyed meanwhile does not wait for its image",
           ended["status"] == "FAILED" and "is being destroyed" in ended["errorMessage"], ended)
    tap.equal("the other one does", (local_state(runner, id), api.job(job)["status"]), ("pulling_snapshot", "IN_PROGRESS"))
    runner.go(slow)
    tap.equal("and starts", (api.result(job)["status"], local_state(runner, id)), ("COMPLETED", "started"))


def check_term(api, runner):
    """SIGTERM while an image is fetched, for a pull and for a create: neither holds up the runner, nor fails."""
    slow, id = "reg.example/stopped:1", new_id()
    digest = runner.put_on_shelf(slow, is_held=True)
    pull = api.add_job("PULL_SNAPSHOT", slow, {"snapshot": slow, "registry": registry("reg.example")})
    create = api.user(id, "create", snapshot=slow)
    for job in (pull, create):
        wait_for_words(api, job, 1)  # they bring other accounts, so that the one waits for the other
    began = time.monotonic()
    tap.equal("SIGTERM while an image is fetched: exit 0", runner.end(signal.SIGTERM), 0)
    tap.ok("long before a drain's time is over", time.monotonic() - began < DRAIN_S / 2, time.monotonic() - began)
    tap.equal("the API is not told that it failed", [api.job(job)["status"] for job in (pull, create)], ["IN_PROGRESS"] * 2)
    runner.go(slow)
    runner.launch()
    answer = api.result(pull)
    tap.equal("the next runner fetches it", (answer["status"], json.loads(answer["resultMetadata"])["hash"]),
              ("COMPLETED", digest))
    tap.equal("and makes the sandbox", (api.result(create)["status"], local_state(runner, id)), ("COMPLETED", "started"))


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, ShelfRunner(base, api) as runner:
            api.wait(60, runner="ready")
            ref, payload = check_pull(api, runner)
            check_removal(api, runner, ref, payload)
            check_create(api, runner)
            check_term(api, runner)
            tap.equal("no rule of the API was broken", api.violations(), [])
    tap.done()


if __name__ == "__main__":
    main()
