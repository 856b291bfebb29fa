"""What the API needs to know of a runner that works: that a long job lives, what is healthy; and what the runner looks at of
the API's: what it is registered as."""

import json
import os
import signal
import tempfile
import time

import tap
from daytona import DaytonaApi
from rig_jobs import JobRunner, create, do, new_id, wait_for_line, wish


class WatchRunner(JobRunner):
    """Its first VMM is not installed, which is nothing that prevents work: the second is."""

    CONFIG = JobRunner.CONFIG.replace("healthcheck_interval: 1s", "healthcheck_interval: 1s, heartbeat_interval: 1s").replace("check_interval: 24h", "check_interval: 1s")

    def arrange(self):
        return super().arrange().replace("vmm: {plugin: qemu,", "vmm: [{plugin: cloud-hypervisor, binary: /nonexistent},\n"
                                         "          {plugin: qemu,").replace("accel: tcg}", "accel: tcg}]", 1)


def beats(api, job):
    """What was posted of it while it ran."""
    return [post["body"]["resultMetadata"] for post in api.job(job)["posts"] if post["body"]["status"] == "IN_PROGRESS"]


def wait_for_beats(api, job, n, seconds=60):
    until = time.monotonic() + seconds
    while len(beats(api, job)) < n:
        if time.monotonic() > until:
            raise RuntimeError(f"no {n} signs of life of {job}: {beats(api, job)}")
        time.sleep(0.02)


def wait_for_vmm(runner, id, seconds=60):
    """Its process, which has begun."""
    until = time.monotonic() + seconds
    while True:
        try:
            return runner.vmm_pid(id)
        except (FileNotFoundError, ValueError):
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def check_heartbeat(api, runner):
    """A create that takes two of the API's half hours, of which it is told something within each."""
    id = new_id()
    wish(runner, "greeting-ms 6000")
    job = api.user(id, "create", snapshot="tiny")
    vmm = wait_for_vmm(runner, id)
    os.kill(vmm, signal.SIGSTOP)  # it takes as long as the test wants
    for n in (1, 2, 3):
        wait_for_beats(api, job, n)
        api.advance(20 * 60)
    os.kill(vmm, signal.SIGCONT)
    said = beats(api, job)
    tap.equal("signs of life of a long job differ, or they do not count", len(set(said)), len(said))
    tap.ok("they are text that holds JSON", all(json.loads(text)["heartbeat"] == n + 1 for n, text in enumerate(said)), said)
    tap.equal("the job is not given up", api.result(job)["status"], "COMPLETED")
    wish(runner)
    api.wait(60, sandbox=id, state="started")
    do(api, id, "destroy")
    id = new_id()
    quick = create(api, id)["id"]
    tap.equal("of a short one there are none", beats(api, quick), [])
    do(api, id, "destroy")


def check_health(api, runner):
    api.wait(60, requests="healthcheck", count=api.counts()["healthcheck"] + 2)
    row = api.call("GET", "/runner")
    tap.equal("gotcha 32: a VMM that is missing beside one that works takes no runner out", row["state"], "ready")
    away = runner.root + ".away"
    os.rename(runner.root, away)
    api.wait(60, runner="unresponsive")
    sick = [service for service in api.call("GET", "/runner")["serviceHealth"] if not service["healthy"]]
    os.rename(away, runner.root)
    tap.ok("gotcha 32: a host without its root does, and says why",
           [service["serviceName"] for service in sick] == ["host/local"] and runner.root in sick[0]["errorReason"], sick)
    api.wait(60, runner="ready")
    tap.ok("until it is there again", True)


def health_of(api, name):
    """Of a service, as the API was told last: whether it is healthy, and why not."""
    service = next(service for service in api.call("GET", "/runner")["serviceHealth"] if service["serviceName"] == name)
    return service["healthy"], service.get("errorReason")


def check_plugins(api, runner):
    """What a plugin needs goes away after the start, and comes back."""
    binary = os.path.join(runner.dir, "fake-qemu")
    tap.equal("a plugin that finds all it needs", health_of(api, "vmm/qemu"), (True, None))
    os.rename(binary, binary + ".away")
    api.wait(60, runner="unresponsive")
    healthy, reason = health_of(api, "vmm/qemu")
    tap.ok("gotcha 32: one whose program went away is told, with its reason", not healthy and binary in reason, reason)
    wait_for_line(runner, "plugin.sick", "plugin=qemu")
    os.rename(binary + ".away", binary)
    api.wait(60, runner="ready")
    tap.equal("until it is there again", health_of(api, "vmm/qemu"), (True, None))
    wait_for_line(runner, "plugin.well", "plugin=qemu")
    hung = binary + ".hung"
    with open(hung, "w") as file:
        file.write(f"#!/bin/sh\ntouch {hung}.begun\nexec sleep 300\n")
    os.chmod(hung, 0o755)
    os.rename(binary, binary + ".away")
    os.rename(hung, binary)
    until = time.monotonic() + 60
    while not os.path.exists(hung + ".begun") and time.monotonic() < until:
        time.sleep(0.01)
    begin = time.monotonic()
    api.wait(60, requests="healthcheck", count=api.counts()["healthcheck"] + 2)
    tap.ok("while a check hangs, for a minute, healthchecks go on", os.path.exists(hung + ".begun") and time.monotonic() - begin < 30,
           time.monotonic() - begin)
    os.rename(binary + ".away", binary)
    api.wait(60, runner="ready")


def check_registration(api, runner):
    wait_for_line(runner, "api.registered", "class=linux-vm")
    tap.ok("the API has it as what it must be", not any(" error " in line for line in runner.lines("api.registered")))


def check_wrong_class(api, runner):
    wait_for_line(runner, "api.registered", "class=container")
    tap.ok("gotcha 1: of another class it says so, for nothing it sends could change that",
           any(" error " in line and "linux-vm" in line for line in runner.lines("api.registered")))
    with open(runner.log.name) as log:
        tap.ok("and the key in the answer is in no log", api.token not in log.read())


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, WatchRunner(base, api) as runner:
            api.wait(60, runner="ready")
            for check in (check_registration, check_heartbeat, check_health, check_plugins):
                check(api, runner)
            tap.equal("the API was asked as it wants to be", api.violations(), [])
        with DaytonaApi(base, settings={"sandboxClass": "container"}) as api, JobRunner(base, api) as runner:
            api.wait(60, runner="ready")
            check_wrong_class(api, runner)
    tap.done()


if __name__ == "__main__":
    main()
