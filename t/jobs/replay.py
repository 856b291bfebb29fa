"""All recorded jobs of a real API are given to the runner, first as they are, then with what they expect to be there:
each ends as the contract says. And what else its list of traps ("gotchas") asks of the types that are built."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

import tap
from daytona import DaytonaApi, recorded_jobs
from rig_jobs import JobRunner, crash, create, do, local_state, new_id, wait_for_line, wish, words

NOT_BUILT = ("CREATE_BACKUP", "SNAPSHOT_SANDBOX", "FORK_SANDBOX", "BUILD_SNAPSHOT")
STORAGE = ("PULL_SNAPSHOT", "INSPECT_SNAPSHOT_IN_REGISTRY")
# What a create may ask for and does not get: it is refused, and the text says why. What a network that can does with its
# settings is in policy.py.
NO_POLICY = "network 'user' cannot limit what a sandbox reaches"
REFUSED = {"volumes": "volumes are not supported yet", "networkBlockAll": NO_POLICY, "networkAllowList": NO_POLICY,
           "domainAllowList": NO_POLICY,
           "linkedSandboxId": "linked sandboxes are not supported yet"}


def payload_of(job):
    return json.loads(job["payload"]) if "payload" in job else None


def outcome(api, id):
    """Of a job: its status and error."""
    job = api.result(id)
    return job["status"], job.get("errorMessage")


def ends(api, type, resource, payload=None, **more):
    return outcome(api, api.add_job(type, resource, payload, **more))


def refusal_of(payload):
    """The text that must be in the error of a create for what it asks; None: it is done."""
    return next((text for key, text in REFUSED.items() if payload.get(key)), None)


def record_of(runner, id):
    with open(os.path.join(runner.root, "sandboxes", id, "runner.json")) as file:
        return json.load(file)


def told_token(runner, id, token, seconds=30):
    """Whether its daemon was told this token, which nothing waits for."""
    until = time.monotonic() + seconds
    while (runner.client.call("GET", f"/sandboxes/{id}/toolbox/guest")["init"] or {}).get("token") != token:
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def destroy(api, id):
    api.wait(60, jobs="final")
    assert ends(api, "DESTROY_SANDBOX", id) == ("COMPLETED", None)


# ---- as they are ----

def check_verbatim(api, runner):
    """No sandbox of theirs is there, nor any snapshot."""
    for example in recorded_jobs():
        job, name = example["job"], f"{example['job']['type']} as recorded ({example['trigger']})"
        status, error = ends(api, job["type"], job["resourceId"], job.get("payload"), id=job["id"],
                             resourceType=job["resourceType"])
        if job["type"] in NOT_BUILT:
            tap.equal(f"{name}: not built", (status, error),
                      ("FAILED", f"jobs of type {job['type']} are not supported yet"))
        elif job["type"] in STORAGE:
            tap.ok(f"{name}: this host has no storage", status == "FAILED" and "has no storage" in error, error)
        elif job["type"] in ("PAUSE_SANDBOX", "DESTROY_SANDBOX", "REMOVE_SNAPSHOT"):
            tap.equal(f"{name}: done, since there is none", (status, error), ("COMPLETED", None))
        elif job["type"] == "CREATE_SANDBOX":
            wanted = refusal_of(payload_of(job)) or f"no snapshot '{payload_of(job)['snapshot']}'"
            tap.ok(f"{name}: says why not", status == "FAILED" and wanted in error, error)
            tap.equal("and leaves nothing", local_state(runner, job["resourceId"]), "destroyed")
        else:
            tap.equal(f"{name}: no sandbox", (status, error), ("FAILED", f"no sandbox '{job['resourceId']}'"))


# ---- with what they expect ----

def make(api, runner, state, **more):
    """A sandbox in this state."""
    id = new_id()
    create(api, id, **more)
    if state == "error":
        crash(runner, id)
    elif state != "started":
        do(api, id, {"stopped": "stop", "paused": "pause"}[state])
    return id


def check_create(api, runner, example):
    payload = dict(payload_of(example["job"]), id=new_id(), snapshot="tiny")
    name = f"CREATE_SANDBOX ({example['trigger']})"
    wanted = refusal_of(payload)
    if wanted:
        status, error = ends(api, "CREATE_SANDBOX", payload["id"], payload)
        tap.ok(f"{name}: refused", status == "FAILED" and wanted in error, error)
        for key in REFUSED:
            payload.pop(key, None)
    job = api.result(api.add_job("CREATE_SANDBOX", payload["id"], payload))
    state = "stopped" if payload.get("skipStart") else "started"
    tap.equal(f"{name}: done", (job["status"], local_state(runner, payload["id"])), ("COMPLETED", state))
    if state == "started":
        tap.equal("gotcha 4: its result is text that holds JSON", json.loads(job["resultMetadata"]),
                  {"daemonVersion": "fake"})
    destroy(api, payload["id"])


def check_fitted(api, runner, example):
    job, trigger = example["job"], example["trigger"]
    before, after, text = {"START_SANDBOX": ("stopped", "started", None), "STOP_SANDBOX": ("started", "stopped", None),
                           "PAUSE_SANDBOX": ("started", "paused", None),
                           "DESTROY_SANDBOX": ("started", "destroyed", None),
                           "RECOVER_SANDBOX": ("error", "stopped", None),
                           "RESIZE_SANDBOX": ("stopped", "stopped", None),
                           "UPDATE_SANDBOX_NETWORK_SETTINGS": ("started", "started", None)}[job["type"]]
    if job["type"] == "START_SANDBOX" and "paused" in trigger:
        before = "paused"
    payload = payload_of(job)
    if job["type"] == "UPDATE_SANDBOX_NETWORK_SETTINGS":
        text = refusal_of(payload)
    if job["type"] == "RESIZE_SANDBOX":
        if "started" in trigger:
            before, after, text = "started", "started", "stop it first"  # as QEMU is
    if job["type"] == "RECOVER_SANDBOX" and not payload["skipStart"]:
        after = "started"  # by a job that the API makes of it
    id = make(api, runner, before)
    vm = runner.vmm_pid(id) if before == "paused" else None
    if payload and "sandboxId" in payload:
        payload["sandboxId"] = id
    status, error = ends(api, job["type"], id, payload)
    tap.ok(f"{job['type']} ({trigger}): {text or 'done'}",
           (status, error) == ("COMPLETED", None) if text is None else status == "FAILED" and text in error,
           (status, error))
    api.wait(60, jobs="final")
    tap.equal(f"it is {after}", local_state(runner, id), after)
    if vm is not None:
        tap.equal("gotcha 14: a start without metadata of a paused one goes on with the same machine",
                  (runner.vmm_pid(id), "metadata" in payload), (vm, False))
    if job["type"] == "START_SANDBOX":
        tap.equal(f"gotcha 24: the metadata of START_SANDBOX ({trigger}) is kept",
                  record_of(runner, id).get("metadata"), payload.get("metadata"))
        tap.ok("and the guest's daemon is told the token", told_token(runner, id, payload["authToken"]))
    destroy(api, id)


def check_start(api, runner):
    """What a start brings beside what was recorded."""
    id = make(api, runner, "stopped", authToken="token-of-create")
    tap.equal("without metadata there is none but the create's", "metadata" in record_of(runner, id), False)
    for wrong, text in (({"metadata": {"a": 1}}, "metadata: 'a': expected a string, found an integer"),
                        ({"metadata": "a"}, "metadata: expected an object, found a string"),
                        ({"metadata": {"a": "x" * 20000}}, "metadata: is longer than 16384 bytes"),
                        ({"metadata": {str(n): "" for n in range(65)}}, "metadata: has more than 64 values"),
                        ({"authToken": 7}, "authToken: expected a string, found an integer")):
        tap.equal(f"refused: {text}", ends(api, "START_SANDBOX", id, wrong), ("FAILED", text))
    first = {"organizationId": "o", "limitNetworkEgress": "true", "volumes": '[{"volumeId": "v", "mountPath": "/v"}]'}
    job = api.add_job("START_SANDBOX", id, {"authToken": "token-one", "metadata": first})
    tap.equal("gotcha 6: a boolean as text, volumes as JSON in text", outcome(api, job), ("COMPLETED", None))
    tap.ok("the volumes that are not mounted are in the log",
           any(f"job={job} " in line for line in runner.lines("start.without_volumes")))
    tap.ok("the token is told", told_token(runner, id, "token-one"))
    tap.equal("the metadata kept", record_of(runner, id)["metadata"], first)
    runner.end(signal.SIGKILL)
    runner.launch()
    ends(api, "STOP_SANDBOX", id)
    tap.equal("nothing new brings nothing", (ends(api, "START_SANDBOX", id, {}), record_of(runner, id)["metadata"]),
              (("COMPLETED", None), first))
    ends(api, "STOP_SANDBOX", id)
    runner.client.call("POST", f"/sandboxes/{id}/start?token=token-two", {"organizationId": "p"})
    tap.equal("a start by REST brings the same: its body is the metadata", record_of(runner, id)["metadata"],
              {"organizationId": "p"})
    tap.ok("its query the token", told_token(runner, id, "token-two"))
    job = api.add_job("START_SANDBOX", id, {"authToken": "token-three", "metadata": {"organizationId": "q"}})
    tap.equal("of one that runs, too", (outcome(api, job), record_of(runner, id)["metadata"], told_token(runner, id, "token-three")),
              (("COMPLETED", None), {"organizationId": "q"}, True))
    with open(os.path.join(runner.root, "sandboxes", id, "runner.json")) as record, open(runner.log.name) as log:
        tap.ok("no token is in the record or in the log", "token-" not in record.read() + log.read())
    destroy(api, id)


# ---- traps ----

def init_of(runner, id):
    """What its daemon was told last."""
    return runner.client.call("GET", f"/sandboxes/{id}/toolbox/guest")["init"]


def check_token(api, runner):
    """It is told again by a job whose end nobody kept, and by none where the settings say so."""
    id = make(api, runner, "stopped")
    api.fault("status", "hang", count=None)
    job = api.add_job("START_SANDBOX", id, {"authToken": "token-lost"})
    wait_for_line(runner, "job.completed", job)
    tap.ok("a token is told", told_token(runner, id, "token-lost"))
    runner.client.call("POST", f"/sandboxes/{id}/toolbox/init", {"token": "another"})
    runner.end(signal.SIGKILL)
    shutil.rmtree(os.path.join(runner.dir, "state"))  # as if it had been killed before it kept the outcome
    api.end_faults()
    runner.launch()
    tap.equal("a start that is delivered after it was done is done", outcome(api, job), ("COMPLETED", None))
    tap.ok("and tells the token all the same", told_token(runner, id, "token-lost"))
    runner.end(signal.SIGTERM)
    runner.env["INITIALIZE_DAEMON_TELEMETRY"] = "false"
    runner.launch()
    ends(api, "STOP_SANDBOX", id)
    tap.equal("with init_daemon: false", ends(api, "START_SANDBOX", id, {"authToken": "token-kept"}), ("COMPLETED", None))
    other = make(api, runner, "started", authToken="token-of-create")
    runner.wait_idle()
    tap.equal("neither a start nor a create tells a token", (init_of(runner, id), init_of(runner, other)), (None, None))
    runner.end(signal.SIGTERM)
    del runner.env["INITIALIZE_DAEMON_TELEMETRY"]
    runner.launch()
    destroy(api, other)
    destroy(api, id)


def check_optional(api, runner):
    """Absent, null and empty are the same."""
    base = {"userId": "u", "osUser": "daytona", "snapshot": "tiny", "cpuQuota": 1, "memoryQuota": 1, "storageQuota": 3}
    empty = {"name": "", "env": {}, "registry": {"url": "r", "project": ""}, "entrypoint": [], "volumes": [],
             "networkBlockAll": False, "networkAllowList": "", "domainAllowList": "", "metadata": {}, "authToken": "",
             "otelEndpoint": "", "skipStart": False, "sandboxClass": "", "linkedSandboxId": "", "gpuQuota": 0,
             "organizationId": "", "regionId": "", "fromVolumeId": ""}
    payloads = {"absent": {}, "null": dict.fromkeys(empty), "empty": empty, "unknown": {"later": {"is": ["fine"]}}}
    results = {}
    for what, more in payloads.items():
        id = new_id()
        results[what] = ends(api, "CREATE_SANDBOX", id, {**base, "id": id, **more}), local_state(runner, id)
        destroy(api, id)
    tap.equal("gotcha 5: optional keys of a create that are absent, null or empty, and unknown ones", results,
              dict.fromkeys(payloads, (("COMPLETED", None), "started")))
    for type, before, keys in (("START_SANDBOX", "stopped", ("authToken", "metadata")), ("STOP_SANDBOX", "started", ("force",)),
                               ("RECOVER_SANDBOX", "error", ("userId", "snapshot", "registry", "skipStart"))):
        for payload in (None, {}, dict.fromkeys(keys), {"skipStart": None, "later": 1}):
            id = make(api, runner, before)
            tap.equal(f"gotcha 5: {type} with {json.dumps(payload)}", ends(api, type, id, payload), ("COMPLETED", None))
            destroy(api, id)
    id = make(api, runner, "stopped")
    for payload in ({}, {"cpu": None, "memory": None, "disk": None, "registry": None}, {"cpu": 0, "memory": 0}):
        tap.equal(f"gotcha 5: RESIZE_SANDBOX with {json.dumps(payload)}", ends(api, "RESIZE_SANDBOX", id, payload),
                  ("COMPLETED", None))
    destroy(api, id)


def option(line, name):
    return line[line.index(name) + 1]


def check_units(api, runner):
    id = new_id()
    create(api, id, cpu=2, memory=2, env={"A": "b"})
    line = runner.vmm_of(id)
    tap.ok("gotcha 16: memory is in GiB", "2048M" in option(line, "-m"), option(line, "-m"))
    do(api, id, "stop")
    runner.end(signal.SIGKILL)
    runner.launch()
    tap.equal("gotcha 24: a start that brings nothing", ends(api, "START_SANDBOX", id), ("COMPLETED", None))
    tap.equal("finds all it needs in what was kept", [option(runner.vmm_of(id), name) for name in ("-m", "-smp")],
              [option(line, name) for name in ("-m", "-smp")])
    destroy(api, id)
    payload = dict(runner.body, id=id, userId="00000000-0000-0000-0000-000000000000",
                   organizationId="00000000-0000-0000-0000-000000000000", metadata={"sandboxName": "warm"})
    tap.equal("gotcha 36: a sandbox of the warm pool", ends(api, "CREATE_SANDBOX", id, payload), ("COMPLETED", None))
    destroy(api, id)


def check_errors(api, runner):
    id = make(api, runner, "stopped")
    wish(runner, "exit 1 qemu: No space left on device")
    status, error = outcome(api, api.user(id, "start"))
    wish(runner)
    told = json.loads(error)
    tap.ok("gotcha 13: an error that can be recovered from is JSON of two keys",
           status == "FAILED" and set(told) == {"errorReason", "recoverable"} and told["recoverable"] is True, error)
    row = api.sandbox(id)
    tap.equal("which the API understands", (row["state"], row["errorReason"], row["recoverable"]),
              ("error", told["errorReason"], True))
    wish(runner, "exit 1 {\"broken\": 7}")
    status, error = ends(api, "START_SANDBOX", id)
    wish(runner)
    tap.ok("gotcha 13: any other error is text and no JSON", status == "FAILED" and not error.startswith("{"), error)
    destroy(api, id)


def check_settings(api, runner):
    """Failures of network settings reach no user."""
    id = make(api, runner, "started")
    job = api.add_job("UPDATE_SANDBOX_NETWORK_SETTINGS", id, {"networkBlockAll": True})
    api.result(job)
    wait_for_line(runner, "job.failed", job)
    tap.ok("gotcha 15: network settings that have no effect are in the log as a warning",
           any(f"job={job} " in line and " warn " in line for line in runner.lines("job.failed")))
    destroy(api, id)


def check_limits(_api, runner):
    """The API gives a create up after 30 minutes, a start after 5, anything else after 10."""
    path = os.path.join(runner.dir, "default.yaml")
    with open(path, "w") as file:
        file.write(f'listen: ["unix:{runner.dir}/other.sock"]\n')
    argv = [runner.command()[0], "-c", path, "--plugin-dir", runner.plugins, "--print-config"]
    lines = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    words = [line.split() for line in lines[lines.index("timeouts:") + 1:][:7]]
    minutes = {word[0].rstrip(":"): int(word[1][:-1]) for word in words if word[1].endswith("m")}
    tap.ok("gotcha 10: by default the runner gives up before the API does",
           minutes["create"] <= 10 and minutes["start"] <= 4 and minutes["stop"] <= 4 and minutes["request"] <= 4, words)


def check_health(api, _runner):
    """Of the last healthcheck."""
    api.wait(60, requests="healthcheck", count=api.counts()["healthcheck"] + 1)
    shown = api.call("GET", "/runner")["metrics"]
    tap.ok("gotcha 17: totals are positive, nothing is negative, counts are integers",
           all(shown[key] > 0 for key in ("cpu", "memoryGiB", "diskGiB")) and min(shown.values()) >= 0 and
           all(isinstance(shown[key], int) for key in ("currentSnapshotCount", "currentStartedSandboxes")), shown)
    tap.equal("gotcha 46: no GPU is said to be there, which takes one away that was", shown["gpu"], 0)


def check_idle(api, runner):
    """Connections that the API has closed, or is about to: nothing is asked again because of them."""
    api.set(idleSeconds=0.3)
    lines = len(runner.lines("api.unreachable"))
    for _ in range(3):
        tap.equal("gotcha 46: a job after a pause", ends(api, "DESTROY_SANDBOX", new_id()), ("COMPLETED", None))
        api.wait(60, requests="healthcheck", count=api.counts()["healthcheck"] + 1)  # a second later
    api.set(idleSeconds=5)
    tap.equal("gotcha 46: what closed connections cost is nothing", len(runner.lines("api.unreachable")), lines)


def check_same_word(api, runner):
    """What was posted of each job of all, which is one word."""
    jobs = api.call("GET", "/jobs")
    wrong = [job["id"] for job in jobs if len(set(words(api, job["id"]))) != 1]
    tap.equal(f"gotcha 3: each of {len(jobs)} jobs was told until a 201", wrong, [])


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, JobRunner(base, api) as runner:
            api.wait(60, runner="ready")
            check_verbatim(api, runner)
            for example in recorded_jobs():
                if example["job"]["type"] == "CREATE_SANDBOX":
                    check_create(api, runner, example)
                elif example["job"]["type"] not in NOT_BUILT + STORAGE + ("REMOVE_SNAPSHOT",):
                    check_fitted(api, runner, example)
            for check in (check_start, check_token, check_optional, check_units, check_errors, check_settings, check_limits, check_health, check_idle,
                          check_same_word):
                check(api, runner)
            tap.equal("gotcha 13: the API was told what it can read", api.violations(), [])
    tap.done()


if __name__ == "__main__":
    main()
