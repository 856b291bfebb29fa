"""Jobs: polled, delivered, gone stale, under load."""

import json

from daytona import Refused
from daytona_tests.common import client_of, raises, same, test


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
