"""Recorded requests get the recorded answers."""

from daytona import recorded, recorded_jobs
from daytona_tests.common import HEALTH, METRICS, client_of, replay, same, test, untimed


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
