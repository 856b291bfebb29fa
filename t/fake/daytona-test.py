"""The fake Daytona API: recorded requests get the recorded answers, and what it is told to do wrong goes wrong. TAP."""

import email.utils
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from daytona import DaytonaApi, NotMet, Refused, RunnerClient, recorded, recorded_jobs

TESTS = []
HEALTH = {"appVersion": "v0.0.1", "domain": "127.0.0.1", "apiUrl": "http://127.0.0.1:53003",
          "proxyUrl": "http://127.0.0.1:53003"}
METRICS = {"currentCpuLoadAverage": 0.1, "currentCpuUsagePercentage": 5.5, "currentMemoryUsagePercentage": 20.25,
           "currentDiskUsagePercentage": 30.0, "currentAllocatedCpu": 1, "currentAllocatedMemoryGiB": 1,
           "currentAllocatedDiskGiB": 3, "currentSnapshotCount": 1, "currentStartedSandboxes": 1, "cpu": 64,
           "memoryGiB": 256, "diskGiB": 1000}
TIMES = ("timestamp", "createdAt", "updatedAt")


def test(function):
    TESTS.append(function)
    return function


def same(got, wanted):
    if got != wanted:
        raise AssertionError(f"got    {got!r}\nwanted {wanted!r}")


def raises(kind, call, *args, **more):
    try:
        call(*args, **more)
    except kind as error:
        return error
    raise AssertionError(f"{call} does not raise {kind}")


def untimed(value):
    """Times differ from run to run; that they are there does not."""
    if isinstance(value, dict):
        return {key: "TIME" if key in TIMES else untimed(member) for key, member in value.items()}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def client_of(api, key="runner"):
    told = api.call("GET", "/")
    return RunnerClient(api, {"runner": told["token"], "user": told["userToken"], "wrong": "dtn_wrong"}[key])


def replay(api, exchange, body):
    text = body if isinstance(body, str) else None
    status, headers, reply = client_of(api, exchange["key"]).ask(
        exchange["method"], exchange["path"], None if text is not None else body, text)
    same((exchange["note"], status), (exchange["note"], exchange["status"]))
    return headers, reply.decode() if isinstance(reply, bytes) else reply


# ---- as recorded ----

@test
def protocol_as_recorded(api):
    api.set(dashboard=False)  # the recorded API had none
    job = recorded("protocol")[0]["reply"]["items"][0]
    api.add_job(job["type"], job["resourceId"], job["payload"], id=job["id"])
    same(len(client_of(api).poll()), 1)
    for exchange in recorded("protocol"):
        headers, reply = replay(api, exchange, exchange.get("body"))
        same((exchange["note"], untimed(reply)), (exchange["note"], untimed(exchange["reply"])))
        if "/api/" in exchange["path"] and exchange["body" if "body" in exchange else "path"] != "{":
            same(headers["X-Daytona-Api-Version"], "0.190.0")
        same(headers["Keep-Alive"], "timeout=5")


@test
def heartbeat_moves_updated_only_with_news(api):
    id = api.add_job("STOP_SANDBOX", "one", {})
    client = client_of(api)
    first = client.poll()[0]["updatedAt"]
    api.advance(1)
    same(client.post(id, "IN_PROGRESS")[1]["updatedAt"], first)
    moved = client.post(id, "IN_PROGRESS", resultMetadata='{"progress":1}')[1]["updatedAt"]
    assert moved > first
    api.advance(1)
    same(client.post(id, "IN_PROGRESS", resultMetadata='{"progress":1}')[1]["updatedAt"], moved)


@test
def health_as_recorded(api):
    for exchange in recorded("healthcheck"):
        body = exchange["body"]
        if "over" in body:
            services = {"serviceHealth": body["serviceHealth"]} if "serviceHealth" in body else {}
            body = {**HEALTH, **services, "metrics": {**METRICS, **body["over"]}}
        _, reply = replay(api, exchange, body)
        same(untimed(reply), untimed(exchange["reply"]))
        runner = api.call("GET", "/runner")
        row = {"state": runner["state"], "availabilityScore": runner["availabilityScore"], "cpu": runner["cpu"],
               "memoryGiB": runner["memory"], "diskGiB": runner["disk"], "gpu": runner["gpu"],
               "gpuType": runner["gpuType"], "domain": runner["domain"], "serviceHealth": runner["serviceHealth"]}
        same((exchange["note"], row), (exchange["note"], exchange["row"]))


@test
def state_sync_as_recorded(api):
    exchanges = {exchange["note"]: exchange for exchange in recorded("state-sync")}
    for row in exchanges["everything assigned to this runner (shortened to three rows here)"]["reply"]:
        api.add_sandbox(row["id"], state=row["state"], desired=row["desiredState"])
    for note, exchange in exchanges.items():
        id = exchange["path"].split("/")[3] if exchange["method"] == "PUT" else None
        if id and id not in [row["id"] for row in api.call("GET", "/sandboxes")]:
            api.add_sandbox(id, state="started")
        _, reply = replay(api, exchange, exchange.get("body"))
        if isinstance(exchange["reply"], dict):
            same((note, sorted(reply)), (note, sorted(exchange["reply"])))
            if exchange["status"] >= 400:
                same((note, reply["message"]), (note, exchange["reply"]["message"]))
        elif "for-runner" in exchange["path"] and "states" not in exchange["path"]:
            same((note, [sorted(row) for row in reply]), (note, [sorted(row) for row in exchange["reply"]]))
            same((note, [(row["id"], row["state"]) for row in reply]),
                 (note, [(row["id"], row["state"]) for row in exchange["reply"]]))
        if id:
            row = api.sandbox(id)
            same((note, {key: row[key] for key in exchange["row"]}), (note, exchange["row"]))


@test
def jobs_as_recorded(api):
    client = client_of(api)
    for example in recorded_jobs():
        job = example["job"]
        api.add_job(job["type"], job["resourceId"], job.get("payload"), id=job["id"])
        delivered = client.poll()[0]
        same(list(delivered), list(job))
        same(untimed(delivered), untimed(job))
        answer = example.get("answer", {"status": "COMPLETED"})
        more = {"errorMessage": answer["errorMessage"]} if "errorMessage" in answer else {}
        code, reply = client.post(job["id"], answer["status"], **more)
        same((code, untimed(reply)), (201, untimed({**job, "status": answer["status"], **more})))
    same(api.call("POST", "/wait", {"jobs": "final"}), {"met": True})


# ---- jobs ----

@test
def poll_waits_and_wakes(api):
    client = client_of(api)
    client.request("GET", "/api/jobs/poll?timeout=60", None, client.fields)
    api.wait(polling=True)
    id = api.add_job("STOP_SANDBOX", "one", {})
    same([job["id"] for job in json.loads(client.getresponse().read())["jobs"]], [id])
    same(client.poll(0.2), [])
    api.call("DELETE", "/violations")
    client.request("GET", "/api/jobs/poll?timeout=60", None, client.fields)
    api.wait(polling=True)
    same((client_of(api).poll(1), len(api.violations())), ([], 1))  # two at once
    second = api.add_job("STOP_SANDBOX", "two", {})
    same([job["id"] for job in json.loads(client.getresponse().read())["jobs"]], [second])
    ids = api.add_jobs([{"type": "STOP_SANDBOX", "resourceId": f"s{i}"} for i in range(5)])
    same([job["id"] for job in client.poll(0.2, 2)], ids[:2])
    same([job["id"] for job in client.poll(0.2)], ids[2:])


@test
def abandoned_poll_swallows_the_next_job(api):
    client = client_of(api)
    client.request("GET", "/api/jobs/poll?timeout=60", None, client.fields)
    api.wait(polling=True)
    client.close()
    second = client_of(api)
    second.request("GET", "/api/jobs/poll?timeout=60", None, second.fields)
    api.wait(requests="poll", count=2)
    id, other = api.add_job("STOP_SANDBOX", "one", {}), api.add_job("STOP_SANDBOX", "two", {})
    api.wait(job=[id, other], status="IN_PROGRESS")
    same([job["id"] for job in json.loads(second.getresponse().read())["jobs"]], [other])
    same(api.violations(), [])
    status, _, found = second.ask("GET", "/api/jobs?status=IN_PROGRESS&page=1&limit=100")
    same((status, [job["id"] for job in found["items"]], found["total"]), (200, [other, id], 2))


@test
def one_incomplete_job_a_resource(api):
    api.add_job("STOP_SANDBOX", "one", {})
    same(raises(Refused, api.add_job, "START_SANDBOX", "one", {}).args[0], 409)
    backup = api.add_job("CREATE_BACKUP", "one", {"snapshot": "s"})
    same(raises(Refused, api.add_job, "CREATE_BACKUP", "one", {"snapshot": "s"}).args[0], 409)
    client = client_of(api)
    client.poll()
    client.post(backup, "COMPLETED")
    api.add_job("CREATE_BACKUP", "one", {"snapshot": "s"})


@test
def stale_jobs_fail(api):
    stop = api.add_job("STOP_SANDBOX", "one", {})
    create = api.add_job("CREATE_SANDBOX", "two", {})
    client = client_of(api)
    client.poll()
    api.advance(9 * 60)
    client.post(stop, "IN_PROGRESS", resultMetadata='{"progress":1}')
    api.advance(9 * 60)
    same((api.job(stop)["status"], api.job(create)["status"]), ("IN_PROGRESS", "IN_PROGRESS"))
    api.advance(2 * 60)
    same((api.job(stop)["status"], api.job(stop)["errorMessage"]),
         ("FAILED", "Job timed out - no update received for 10 minutes"))
    code, reply = client.post(stop, "COMPLETED")
    same((code, reply["message"]),
         (409, f"Invalid job status transition from FAILED to COMPLETED for job {stop}"))
    same(client.post(create, "COMPLETED")[0], 201)
    same([post["code"] for post in api.job(stop)["posts"]], [201, 409])


@test
def pages_of_jobs(api):
    ids = api.add_jobs([{"type": "STOP_SANDBOX", "resourceId": f"s{i}"} for i in range(5)])
    client = client_of(api)
    _, _, page = client.ask("GET", "/api/jobs?page=2&limit=2")
    same(([job["id"] for job in page["items"]], page["total"], page["page"], page["totalPages"]),
         ([ids[2], ids[1]], 5, 2, 3))
    same(client.ask("GET", "/api/jobs?limit=0")[0], 400)
    same(client.ask("GET", "/api/jobs?status=DONE")[0], 400)


@test
def load_without_a_pause(api):
    """A runner that answers at once; one sandbox fails and is left out from then on."""
    api.set(completionMs=0)
    for id in ("one", "two", "bad"):
        api.add_sandbox(id, state="started")
    client = client_of(api)
    api.call("POST", "/load", {"ids": ["one", "two", "bad"], "calls": ["stop", "start"], "rounds": 5})
    same(raises(Refused, api.call, "POST", "/load", {"ids": ["one"], "calls": ["stop"]}).args[0], 409)
    types = []
    while api.call("GET", "/load")["running"]:
        for job in client.poll(1):
            if job["resourceId"] == "one":
                types.append(job["type"])
            bad = job["resourceId"] == "bad"
            client.post(job["id"], "FAILED" if bad else "COMPLETED", **({"errorMessage": "no"} if bad else {}))
    told = api.call("GET", "/load")
    same((types, told["done"], [failed["sandbox"] for failed in told["failed"]]),
         (["STOP_SANDBOX", "START_SANDBOX"] * 5, 21, ["bad"]))
    same(sorted(told["deliveredMs"]), ["p100", "p50", "p90", "p99"])
    assert told["deliveredMs"]["p100"] <= told["answeredMs"]["p100"]


@test
def delivered_twice(api):
    id = api.add_job("STOP_SANDBOX", "one", {})
    client = client_of(api)
    same(len(client.poll()), 1)
    api.call("POST", f"/jobs/{id}/deliver")
    same([job["id"] for job in client.poll()], [id])
    same([delivery["by"] for delivery in api.job(id)["deliveries"]], ["poll", "poll"])


# ---- sandboxes ----

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


# ---- violations ----

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


# ---- the wire ----

def raw(api):
    connection = socket.create_connection(("127.0.0.1", int(api.url.split(":")[2].split("/")[0])), timeout=60)
    head = f"Host: h\r\nAuthorization: Bearer {api.token}\r\nX-Daytona-Source: runner\r\n".encode()
    return connection, head


def read_until(connection, text):
    got = b""
    while text not in got:
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {got!r}"
        got += piece
    return got


@test
def requests_in_pieces(api):
    id = api.add_job("STOP_SANDBOX", "one", {})
    same(len(client_of(api).poll()), 1)
    connection, head = raw(api)
    me = b"GET /api/runners/me HTTP/1.1\r\n" + head + b"\r\n"
    connection.sendall(me + me[:40])
    read_until(connection, b"}")
    connection.sendall(me[40:])
    read_until(connection, b"}")
    post = f"POST /api/jobs/{id}/status HTTP/1.1\r\n".encode() + head + b"Content-Type: application/json\r\n"
    connection.sendall(post + b"Content-Length: 22\r\nExpect: 100-continue\r\n\r\n")
    same(read_until(connection, b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n")
    connection.sendall(b'{"status":"COMPLETED"}')
    assert b"HTTP/1.1 201 Created" in read_until(connection, b"}")
    connection.sendall(post + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"sta\r\n11\r\ntus\":\"COMPLETED\"")
    connection.sendall(b"}\r\n0\r\n\r\n")
    assert b"HTTP/1.1 201 Created" in read_until(connection, b"}")
    connection.sendall(b"nonsense\r\n\r\n")
    assert b"HTTP/1.1 400" in read_until(connection, b"}")
    same(connection.recv(1), b"")
    connection.close()
    same(api.violations(), [])


@test
def idle_connections_are_closed(api):
    api.set(idleSeconds=0.3)
    connection, head = raw(api)
    connection.sendall(b"GET /api/jobs/poll?timeout=0.6 HTTP/1.1\r\n" + head + b"\r\n")
    read_until(connection, b"[]}")  # waiting for an answer is not idleness
    same(connection.recv(1), b"")
    connection.close()


@test
def without_the_prefix(api):
    client = client_of(api)
    status, headers, body = client.ask("GET", "/jobs/poll?timeout=0.2")
    same((status, headers.get_content_type(), b"<html>" in body), (200, "text/html", True))


@test
def faults_that_answer(api):
    client = client_of(api)
    id = api.add_job("STOP_SANDBOX", "one", {})
    for status, message in ((500, "An unexpected error occurred."), (401, "Invalid credentials"), (502, None)):
        api.fault("poll", "status", status=status)
        code, _, body = client.ask("GET", "/api/jobs/poll?timeout=0.2")
        same((code, body["statusCode"], body["message"]), (status, status, message))
    api.fault("poll", "status", status=429, retryAfter=7, count=2, after=1)
    same([len(client.poll()), *[client.ask("GET", "/api/jobs/poll?timeout=0.2")[1]["Retry-After"] for _ in range(3)]],
         [1, "7", "7", None])
    same([fault["hits"] for fault in api.call("GET", "/faults")], [1, 1, 1, 2])
    api.fault("*", "html", match="runners/me")
    same(client.ask("GET", "/api/jobs")[0], 200)
    same(client.ask("GET", "/api/runners/me")[1].get_content_type(), "text/html")
    api.fault("me", "huge", bytes=1 << 20)
    connection, head = raw(api)
    connection.sendall(b"GET /api/runners/me HTTP/1.1\r\n" + head + b"\r\n")
    same(len(read_until(connection, b'"}').partition(b"\r\n\r\n")[2]), 1 << 20)
    connection.close()
    api.fault("me", "garbage")
    raises(ValueError, client.ask, "GET", "/api/runners/me")
    api.add_sandbox("one", state="started")
    api.add_sandbox("two", state="started")
    api.fault("for-runner", "empty")
    api.fault("for-runner", "partial", rows=1)
    same([len(client.ask("GET", "/api/sandbox/for-runner")[2]) for _ in range(3)], [0, 1, 2])
    same(api.job(id)["status"], "IN_PROGRESS")


@test
def faults_of_the_connection(api):
    ids = api.add_jobs([{"type": "STOP_SANDBOX", "resourceId": f"s{i}"} for i in range(5)])
    same(len(client_of(api).poll()), 5)
    broken = (http.client.HTTPException, ConnectionError)
    for id, (kind, more, status) in zip(ids, (("close", {}, "IN_PROGRESS"), ("lost", {}, "COMPLETED"),
                                              ("lost", {"reset": True}, "COMPLETED"), ("cut-body", {}, "COMPLETED"))):
        api.fault("status", kind, match=id, **more)
        raises(broken, client_of(api).post, id, "COMPLETED")
        same((kind, api.job(id)["status"]), (kind, status))
    api.fault("me", "cut-head")
    connection, head = raw(api)
    connection.sendall(b"GET /api/runners/me HTTP/1.1\r\n" + head + b"\r\n")
    got = b"".join(iter(lambda: connection.recv(65536), b""))
    same((got[:15], b"\r\n\r\n" in got), (b"HTTP/1.1 200 OK", False))
    connection.close()
    client = client_of(api)
    for kind in ("delay", "slow", "trickle"):
        api.fault("job", kind, ms=100, bytes=200)
        begin = time.monotonic()
        same(client.ask("GET", f"/api/jobs/{ids[0]}")[0], 200)
        assert time.monotonic() - begin >= 0.1, kind
    api.fault("me", "hang")
    client.request("GET", "/api/runners/me", None, client.fields)
    client.sock.settimeout(0.3)
    raises(TimeoutError, client.getresponse)
    same([request["fault"] for request in api.requests() if "fault" in request],
         ["close", "lost", "lost", "cut-body", "cut-head", "delay", "slow", "trickle", "hang"])


@test
def outages(api):
    client = client_of(api)
    client.request("GET", "/api/jobs/poll?timeout=60", None, client.fields)
    api.wait(polling=True)
    api.outage("refuse")
    raises(ConnectionError, client.getresponse)
    raises(ConnectionRefusedError, client_of(api).ask, "GET", "/api/runners/me")
    id = api.add_job("STOP_SANDBOX", "one", {})
    api.outage("up")
    client = client_of(api)
    same([job["id"] for job in client.poll()], [id])  # no poll of before is there to take it
    for mode in ("close", "reset"):
        api.outage(mode)
        raises((ConnectionError, http.client.HTTPException), client.ask, "GET", "/api/runners/me")
        client.close()
        raises((ConnectionError, http.client.HTTPException), client.ask, "GET", "/api/runners/me")
        client.close()
        api.outage("up")
        same(client.ask("GET", "/api/runners/me")[0], 200)
    api.outage("hang")
    client.request("GET", "/api/runners/me", None, client.fields)
    api.outage("up")
    raises((ConnectionError, http.client.HTTPException), client.getresponse)
    client.close()
    api.outage("refuse", seconds=0.2)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            same(client.ask("GET", "/api/runners/me")[0], 200)
            break
        except ConnectionRefusedError:
            client.close()
            time.sleep(0.02)
    else:
        raise AssertionError("the outage does not end")


@test
def tls_with_certificates(api):
    """One certificate, which signs itself, is server, client, and authority."""
    if shutil.which("openssl") is None:
        return "openssl is not installed"
    with tempfile.TemporaryDirectory() as at:
        cert, key = os.path.join(at, "cert.pem"), os.path.join(at, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", cert,
                        "-keyout", key], check=True, stderr=subprocess.DEVNULL)
        with DaytonaApi(tls={"cert": cert, "key": key, "client-ca": cert}) as secure:
            same(secure.url[:18], "https://127.0.0.1:")
            context = ssl.create_default_context(cafile=cert)
            stranger = RunnerClient(secure, context=context)
            raises((ssl.SSLError, ConnectionError), stranger.ask, "GET", "/api/runners/me")
            context.load_cert_chain(cert, key)
            client = RunnerClient(secure, context=context)
            same(client.ask("GET", "/api/runners/me")[0], 200)
            secure.fault("me", "lost", reset=True)
            raises((OSError, http.client.HTTPException), client.ask, "GET", "/api/runners/me")
            secure.outage("refuse")
            secure.outage("up")
            client.close()
            same(client.ask("GET", "/api/runners/me")[0], 200)
    return None


@test
def clock_may_be_wrong(api):
    api.call("POST", "/clock", {"skew": -86400})
    _, headers, me = client_of(api).ask("GET", "/api/runners/me")
    for told in (email.utils.parsedate_to_datetime(headers["Date"]), datetime.fromisoformat(me["createdAt"])):
        assert abs(time.time() - 86400 - told.timestamp()) < 600, told
    api.call("POST", "/clock", {"skew": 0, "scale": 3600})
    api.add_job("STOP_SANDBOX", "one", {})
    id = client_of(api).poll()[0]["id"]
    api.wait(job=id, status="FAILED", timeout=30)


# ---- spans, and what a test asks ----

def span(**more):
    return {"name": "execute_STOP_SANDBOX", "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
            "parentSpanId": "00f067aa0ba902b7", "kind": 1, "startTimeUnixNano": "1700000000000000000",
            "endTimeUnixNano": "1700000001000000000",
            "attributes": [{"key": "job.id", "value": {"stringValue": "j"}},
                           {"key": "n", "value": {"intValue": "7"}}], **more}


@test
def spans_are_kept(api):
    def export(*spans, **fields):
        host = api.otlp.split("//")[1]
        client = http.client.HTTPConnection(host, timeout=60)
        body = {"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "r"}}]},
                                   "scopeSpans": [{"scope": {"name": "runner"}, "spans": list(spans)}]}]}
        client.request("POST", "/v1/traces", json.dumps(body), {"Content-Type": "application/json", **fields})
        status = client.getresponse().status
        client.close()
        return status
    same(export(span(), span(spanId="1111111111111111", parentSpanId="b7ad6b7169203331")), 200)
    api.wait(span="execute_STOP_SANDBOX", count=2)
    first, second = api.spans()
    same((first["attributes"], first["resource"], second["parentSpanId"]),
         ({"job.id": "j", "n": 7}, {"service.name": "r"}, first["spanId"]))
    same(api.violations(), [])
    for wrong in (span(traceId="0" * 32), span(spanId="B7AD6B7169203331"), span(endTimeUnixNano=17),
                  span(endTimeUnixNano="1"), span(name="")):
        same(export(wrong), 400)
    same(export(span(), **{"Content-Type": "application/x-protobuf"}), 400)
    same((len(api.violations()), len(api.spans())), (6, 2))
    api.fault("traces", "status", status=503, retryAfter=1)
    same([export(span()) for _ in range(2)], [503, 200])
    api.outage("refuse", of="otlp")
    raises(ConnectionRefusedError, export, span())
    same(client_of(api).ask("GET", "/api/runners/me")[0], 200)


@test
def waits_end(api):
    raises(NotMet, api.wait, 0.1, requests="me", count=1)
    client_of(api).ask("GET", "/api/runners/me")
    api.wait(requests="me", count=1)
    api.add_sandbox("one", state="started")
    api.wait(sandbox="one", state="started")
    api.call("DELETE", "/sandboxes/one")
    api.wait(sandbox="one", state="absent")
    same(raises(Refused, api.wait, job="none").args[0], 404)
    same(raises(Refused, api.call, "POST", "/wait", {}).args[0], 400)
    same(raises(Refused, api.user, "one", "dance").args[0], 404)


def main():
    """Each with an API of its own, which starts while the one before runs."""
    wanted = sys.argv[1:]
    tests = [function for function in TESTS if not wanted or function.__name__ in wanted]
    print(f"1..{len(tests)}")
    failed = 0
    starter = ThreadPoolExecutor(1)
    started = [starter.submit(DaytonaApi)]
    for i, function in enumerate(tests, 1):
        if i < len(tests):
            started.append(starter.submit(DaytonaApi))
        try:
            with started.pop(0).result() as api:
                skipped = function(api)
            print(f"ok {i} - {function.__name__}" + (f" # SKIP {skipped}" if skipped else ""), flush=True)
        except Exception:
            failed += 1
            print(f"not ok {i} - {function.__name__}")
            print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()), end="", flush=True)
    return 1 if failed else 0


sys.exit(main())
