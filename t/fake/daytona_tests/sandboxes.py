"""What becomes of sandboxes by the results of their jobs, and what of requests that a runner must not send."""

import json
import uuid

from daytona import Refused, recorded
from daytona_tests.common import client_of, raises, same, test


def finish(api, client, id, status="COMPLETED", **more):
    """Takes the job that waits and answers it; the sandbox's state after that."""
    job = client.poll()[0]
    same(client.post(job["id"], status, **more)[0], 201)
    api.wait(job=job["id"])
    return job, api.state(id)


@test
def life_of_a_sandbox(api):
    client, id = client_of(api), str(uuid.uuid4())
    api.user(id, "create", env={"A": "b"}, cpu=2)
    job, state = finish(api, client, id, resultMetadata='{"daemonVersion":"v1"}')
    example = json.loads(recorded("jobs-CREATE_SANDBOX")[0]["job"]["payload"])
    same(list(json.loads(job["payload"])), list(example))
    same((state, api.sandbox(id)["daemonVersion"]), ("started", "v1"))
    same(raises(Refused, api.user, id, "start").args[0], 400)
    for call, wanted in (("stop", "stopped"), ("start", "started"), ("pause", "paused"), ("start", "started"),
                         ("resize", "started"), ("snapshot", "started")):
        token = api.sandbox(id)["authToken"]
        api.user(id, call, **({"cpu": 4} if call == "resize" else {}))
        same(raises(Refused, api.user, id, call).args, (409, "Sandbox state change in progress"))
        job, state = finish(api, client, id)
        same((call, state), (call, wanted))
        if call == "start":
            payload = json.loads(job["payload"])
            resumed = "metadata" not in payload
            same(payload["authToken"] == token, resumed)
    same(api.sandbox(id)["cpu"], 4)
    api.user(id, "destroy")
    job, state = finish(api, client, id)
    same(("payload" in job, state), (False, "destroyed"))
    same(client.ask("GET", "/api/sandbox/for-runner")[2], [])


@test
def failures(api):
    client = client_of(api)
    for call, before, wanted in (("start", "stopped", "error"), ("stop", "started", "error"),
                                 ("pause", "started", "pausing"), ("resize", "started", "started"),
                                 ("snapshot", "stopped", "stopped"), ("destroy", "started", "error")):
        id = str(uuid.uuid4())
        api.add_sandbox(id, state=before, desired=before)
        api.user(id, call)
        same((call, finish(api, client, id, "FAILED", errorMessage="no way")[1]), (call, wanted))
        same(api.sandbox(id)["errorReason"], "no way" if wanted == "error" else None)
    api.add_sandbox("rec", state="stopped", desired="stopped")
    api.user("rec", "start")
    finish(api, client, "rec", "FAILED", errorMessage='{"errorReason":"no space left on device","recoverable":true}')
    row = api.sandbox("rec")
    same((row["state"], row["errorReason"], row["recoverable"]), ("error", "no space left on device", True))
    api.user("rec", "recover")
    job, _ = finish(api, client, "rec")
    same(job["type"], "RECOVER_SANDBOX")
    job, state = finish(api, client, "rec")
    same((job["type"], state), ("START_SANDBOX", "started"))
    same(api.violations(), [])


@test
def results_that_come_too_late_for_the_user(api):
    client = client_of(api)
    for type, state, desired in (("STOP_SANDBOX", "stopping", "started"), ("START_SANDBOX", "starting", "stopped"),
                                 ("DESTROY_SANDBOX", "destroying", "started"), ("PAUSE_SANDBOX", "started", "started"),
                                 ("RESIZE_SANDBOX", "started", "started")):
        id = str(uuid.uuid4())
        api.add_sandbox(id, state=state, desired=desired)
        for status, more in (("COMPLETED", {}), ("FAILED", {"errorMessage": "no way"})):
            api.add_job(type, id, {"cpu": 7})
            same((type, finish(api, client, id, status, **more)[1]), (type, state))
        same(api.sandbox(id)["cpu"], 1)
    api.add_sandbox("broken", state="resizing")
    api.add_job("RESIZE_SANDBOX", "broken", '{"cpu":')
    same(finish(api, client, "broken")[1], "started")


@test
def forks_and_archives(api):
    client = client_of(api)
    api.add_sandbox("source", state="started", env={"A": "b"})
    api.user("source", "fork", newId="new", name="twin")
    same((api.state("source"), api.state("new")), ("forking", "creating"))
    job, state = finish(api, client, "new")
    same((json.loads(job["payload"]), job["resourceId"]), ({"sourceSandboxId": "source", "newSandboxId": "new"}, "new"))
    same((state, api.state("source"), api.sandbox("new")["env"]), ("started", "started", {"A": "b"}))
    api.add_sandbox("old", state="stopped", desired="stopped")
    api.user("old", "archive")
    finish(api, client, "old")
    job, state = finish(api, client, "old")
    same((job["type"], state, api.sandbox("old")["assigned"]), ("DESTROY_SANDBOX", "archived", False))
    api.user("old", "start")
    job, state = finish(api, client, "old")
    same((job["type"], state), ("INSPECT_SNAPSHOT_IN_REGISTRY", "restoring"))
    ref = job["resourceId"]
    job, state = finish(api, client, "old")
    payload = json.loads(job["payload"])
    same((job["type"], payload["snapshot"], "entrypoint" in payload, state), ("CREATE_SANDBOX", ref, False, "started"))


@test
def results_may_be_dropped(api):
    client = client_of(api)
    api.add_sandbox("one", state="stopped", desired="stopped")
    api.user("one", "start")
    api.set(dropCompletions=1)
    job, state = finish(api, client, "one")
    same(state, "starting")
    same(client.post(job["id"], "COMPLETED")[0], 201)  # once more, which helps
    api.wait(sandbox="one", state="started")
    same([answer[1]["id"] for answer in api.answers()], [job["id"], job["id"]])


@test
def list_for_the_runner(api):
    for id, state, desired in (("a", "started", "started"), ("b", "started", "stopped"), ("c", "stopped", "started"),
                               ("d", "unknown", "started"), ("e", "error", "destroyed"), ("f", "stopped", "stopped"),
                               ("g", "destroyed", "destroyed")):
        api.add_sandbox(id, state=state, desired=desired)
    client = client_of(api)
    ask = lambda query: client.ask("GET", "/api/sandbox/for-runner" + query)[2]
    listed = lambda query: [(row["id"], row["state"]) for row in ask(query)]
    same(listed(""), [("a", "started"), ("b", "stopping"), ("c", "starting"), ("d", "creating"), ("e", "error"),
                      ("f", "stopped")])
    same(listed("?states=started,stopped&skipReconcilingSandboxes=true"), [("a", "started"), ("f", "stopped")])
    same(client.ask("PUT", "/api/sandbox/none/state", {"state": "stopped"})[0], 404)
    same(client.ask("PUT", "/api/sandbox/a/state", {"state": "destroying"})[0], 500)
    api.call("PATCH", "/sandboxes/a", {"pending": True})
    same(client.ask("PUT", "/api/sandbox/a/state", {"state": "stopped"})[0], 409)
    same(api.violations(), [])


@test
def states_do_not_last(api):
    api.add_sandbox("one", state="starting")
    api.advance(240)
    same(api.state("one"), "starting")
    api.advance(61)
    same((api.state("one"), api.sandbox("one")["errorReason"]), ("error", "Timeout while starting sandbox"))


@test
def runner_must_be_ready(api):
    api.set(requireReady=True)
    same(raises(Refused, api.user, "one", "create").args, (400, "No available runners"))
    api.add_sandbox("two", state="stopped", desired="stopped")
    same(api.user("two", "start"), None)
    client = client_of(api)
    same(client.poll(0.2), [])
    same(client.ask("POST", "/api/runners/healthcheck", {"appVersion": "1"})[0], 201)
    same([job["type"] for job in client.poll()], ["START_SANDBOX"])
    api.advance(40)
    same(api.call("GET", "/runner")["state"], "ready")
    api.advance(21)
    same(api.call("GET", "/runner")["state"], "unresponsive")



@test
def violations_are_noted(api):
    client = client_of(api)
    id = api.add_job("STOP_SANDBOX", "one", {})
    client.poll()
    for i in range(2):  # for the polls to find, which would wait long
        api.add_job("STOP_SANDBOX", f"s{i}", {})
    status = f"/api/jobs/{id}/status"
    cases = [("GET", "/api/jobs/poll?timeout=61&limit=1", None, "timeout is out of bounds"),
             ("GET", "/api/jobs/poll?timeout=x&limit=1", None, "timeout is not of type number"),
             ("GET", "/api/jobs?state=1", None, "query parameter state is unknown"),
             ("GET", "/api/jobs?page=1&page=1", None, "query parameter page twice"),
             ("DELETE", "/api/jobs", None, "no such operation"),
             ("GET", "/api/jobs", {}, "a body where none belongs"),
             ("POST", status, {"status": "DONE"}, "body.status has the unknown value"),
             ("POST", status, {"status": "IN_PROGRESS", "resultMetadata": {}}, "body.resultMetadata is not of type"),
             ("POST", status, {"status": "IN_PROGRESS", "progress": 1}, "body.progress is unknown"),
             ("POST", status, {"status": "IN_PROGRESS", "resultMetadata": "1"}, "not the JSON of an object"),
             ("POST", status, {"status": "IN_PROGRESS", "errorMessage": '{"code":1}'}, "errorMessage is JSON"),
             ("POST", "/api/runners/healthcheck", {"appVersion": "1", "metrics": {}}, "body.metrics.cpu is missing"),
             ("POST", "/api/runners/healthcheck", {"appVersion": "1", "serviceHealth": [{}]},
              "body.serviceHealth[0].healthy is missing"),
             ("PUT", "/api/sandbox/one/state", {"state": "bogus"}, "body.state has the unknown value"),
             ("GET", f"/api/jobs?token={api.token}", None, "a secret in the URL"),
             ("POST", status, {"status": "FAILED", "errorMessage": f"key {api.token}"}, "a secret in the body")]
    same(api.violations(), [])
    for method, path, body, wanted in cases:
        api.call("DELETE", "/violations")
        client.ask(method, path, body)
        noted = api.violations()
        if not any(wanted in one for one in noted):
            raise AssertionError(f"{method} {path} {body}: {noted}")
    for fields, wanted in (({"X-Extra": api.token}, "a secret in the header x-extra"),
                           ({"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"}, "traceparent is malformed"),
                           ({"X-Daytona-Source": "me"}, "no X-Daytona-Source")):
        api.call("DELETE", "/violations")
        client.ask("GET", "/api/runners/me", **fields)
        assert wanted in api.violations()[0], api.violations()
