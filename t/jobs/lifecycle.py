"""A sandbox's life by jobs alone: each kind of job, what it leaves, and what the API is told."""

import os
import tempfile

import tap
from census import Census
from daytona import DaytonaApi
from rig_jobs import JobRunner, crash, create, do, local_state, new_id

NOT_BUILT = ("CREATE_BACKUP", "SNAPSHOT_SANDBOX", "FORK_SANDBOX", "BUILD_SNAPSHOT")


def check_life(api, runner):
    id = new_id()
    job = create(api, id)
    tap.equal("a create is completed", (job["status"], job.get("errorMessage")), ("COMPLETED", None))
    tap.ok("and tells the daemon's version, as JSON in a string", '"daemonVersion":"fake"' in job["resultMetadata"])
    for what, state in (("stop", "stopped"), ("start", "started"), ("pause", "paused"), ("start", "started"),
                        ("stop", "stopped"), ("start", "started")):
        job = do(api, id, what)
        tap.equal(f"{what}: done, here too", (job["status"], local_state(runner, id)), ("COMPLETED", state))
    told = [len(job["posts"]) for job in api.call("GET", "/jobs")]
    tap.equal("all of it is told once, but a resume, which is told again where nothing follows it soon",
              (told[:4] + told[5:], told[4] in (1, 2)), ([1] * 6, True))
    do(api, id, "pause")
    resume = do(api, id, "start")["id"]
    api.wait(60, posts=sum(told) + 3)
    tap.equal("once more, since the API may lose the first word",
              [post["body"]["status"] for post in api.job(resume)["posts"]], ["COMPLETED"] * 2)
    tap.equal("destroy", do(api, id, "destroy")["status"], "COMPLETED")
    tap.equal("gotcha 22: so is that of what is not there", api.result(api.add_job("DESTROY_SANDBOX", id))["status"],
              "COMPLETED")


def failure(api, type, resource, payload=None, **more):
    job = api.result(api.add_job(type, resource, payload, **more))
    return job["status"], job.get("errorMessage")


def check_failures(api, runner):
    id = new_id()
    tap.equal("an unknown type", failure(api, "DANCE_SANDBOX", id), ("FAILED", "unknown job type: DANCE_SANDBOX"))
    for type in NOT_BUILT:
        tap.equal(f"{type} is not built, and says so", failure(api, type, id, {}),
                  ("FAILED", f"jobs of type {type} are not supported yet"))
    tap.equal("a create without a payload", failure(api, "CREATE_SANDBOX", id), ("FAILED", "payload is required"))
    status, text = failure(api, "CREATE_SANDBOX", id, {"id": "../../etc"})
    tap.ok("an id that is none names its field", status == "FAILED" and text.startswith("id: must match"), text)
    status, text = failure(api, "STOP_SANDBOX", "../../etc")
    tap.ok("nor is a resource", status == "FAILED" and "resourceId" in text, text)
    tap.equal("a stop of what is not there", failure(api, "STOP_SANDBOX", id), ("FAILED", f"no sandbox '{id}'"))
    tap.equal("gotcha 39: a pause never fails", failure(api, "PAUSE_SANDBOX", id, {"sandboxId": id})[0], "COMPLETED")
    tap.ok("but the log has it", runner.lines("job.forgiven"))


def check_change(api, runner):
    id = new_id()
    create(api, id)
    job = api.do(id, "resize", cpu=2)
    tap.ok("a running machine is not resized yet", "stop it first" in job.get("errorMessage", ""), job)
    do(api, id, "stop")
    job = api.do(id, "resize", cpu=2, memory=2)
    tap.equal("a stopped one is", (job["status"], job.get("errorMessage")), ("COMPLETED", None))
    do(api, id, "start")
    words = runner.vmm_of(id)
    tap.ok("and starts with two CPUs", words[words.index("-smp") + 1].split(",")[0] in ("2", "cpus=2"), words)
    crash(runner, id)
    payload = {"snapshot": "the name of one", "errorReason": "it crashed", "skipStart": True}
    job = api.result(api.add_job("RECOVER_SANDBOX", id, payload))
    tap.equal("gotcha 41: recovered from what is stored", (job["status"], local_state(runner, id)),
              ("COMPLETED", "stopped"))
    check_full(api, runner, id)
    tap.equal("destroy", api.result(api.add_job("DESTROY_SANDBOX", id))["status"], "COMPLETED")


def disk_mib(runner, id):
    """As its image says."""
    with open(os.path.join(runner.root, "sandboxes", id, "disk.qcow2"), "rb") as file:
        file.seek(24)
        return int.from_bytes(file.read(8), "big") >> 20


def check_full(api, runner, id):
    """Its disk is full, says the API: a twentieth more each time, a tenth in all, each time once."""
    was = disk_mib(runner, id)
    step = was // 20
    payload = {"snapshot": "the name of one", "errorReason": "disk quota exceeded - you may attempt a recovery action",
               "backupErrorReason": None, "skipStart": True}
    job = api.result(api.add_job("RECOVER_SANDBOX", id, payload))
    tap.equal("RECOVER_SANDBOX of a full one: a twentieth more", (job["status"], disk_mib(runner, id)), ("COMPLETED", was + step))
    api.call("POST", f"/jobs/{job['id']}/deliver")
    job = api.result(api.add_job("RECOVER_SANDBOX", id, payload))
    tap.equal("though it was delivered twice, a tenth by the next", (job["status"], disk_mib(runner, id)), ("COMPLETED", was + 2 * step))
    job = api.result(api.add_job("RECOVER_SANDBOX", id, payload))
    tap.ok("and no more", job["status"] == "FAILED" and "storage cannot be further expanded" in job["errorMessage"] and
           not job["errorMessage"].startswith("{"), job)
    tap.equal("it is stopped", (local_state(runner, id), disk_mib(runner, id)), ("stopped", was + 2 * step))


def check_skip_start(api, runner):
    id = new_id()
    api.add_sandbox(id, state="creating", desired="stopped")
    payload = dict(runner.body, id=id, skipStart=True, more="unknown keys are fine", registry=None, volumes=[])
    tap.equal("create, left stopped", api.result(api.add_job("CREATE_SANDBOX", id, payload))["status"], "COMPLETED")
    tap.equal("it is stopped", local_state(runner, id), "stopped")
    tap.equal("destroy", api.result(api.add_job("DESTROY_SANDBOX", id))["status"], "COMPLETED")


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, JobRunner(base, api) as runner:
            api.wait(60, runner="ready")
            tap.ok("the runner is healthy as soon as it is up", True)
            shown = api.call("GET", "/runner")
            tap.equal("the proxy is told where it is", shown["proxyUrl"].rpartition(":")[0], "http://127.0.0.1")
            runner.wait_idle()
            empty = Census(runner)
            check_life(api, runner)
            check_failures(api, runner)
            check_change(api, runner)
            check_skip_start(api, runner)
            runner.wait_idle()
            tap.equal("nothing is left", Census(runner).difference(empty, ["state/"]), [])
            tap.equal("the API was asked as it wants to be", api.violations(), [])
            with open(runner.log.name) as log:
                tap.ok("no token in the log", api.token not in log.read())
    tap.done()


if __name__ == "__main__":
    main()
