"""The other side, for tests: HTTP with JSON over a unix socket.

GET  /                       addresses, tokens, counts of requests by route, jobs by status
GET  /jobs, /jobs/ID         jobs with payload, result, deliveries and every status post in its order
POST /jobs                   a job {"type", "resourceId", "payload", "traceContext", "resourceType", "id"}, or a list
POST /jobs/ID/deliver        the next poll gets it once more
GET  /sandboxes, /sandboxes/ID
POST /sandboxes              a row {"id", "name", "state", "desired", ...}, without any job
PATCH /sandboxes/ID          changes a row: {"state", "desiredState", "pending", ...}
DELETE /sandboxes/ID         forgets a row
POST /sandboxes/ID/CALL      what a user does: create start stop pause destroy resize backup archive recover snapshot
                             fork network-settings; arguments in the body, "payload" goes over what the API would send
GET  /snapshots, /runner, /requests, /violations, /spans
DELETE /violations, /requests, /spans
POST /load                   {"ids", "calls", "rounds"}: each sandbox goes through the calls so often without a pause;
                             GET shows how many jobs are done, how fast, and milliseconds from the making of a job
                             to its delivery and to its result
POST /faults                 see faults.py; GET shows them with hits, DELETE ends all
POST /outage                 {"mode": "refuse" | "close" | "reset" | "hang" | "up", "seconds": until it is up again,
                             "of": "api" | "otlp"}; "refuse" of the api forgets the polls that wait, as a restart does
POST /clock                  {"scale", "advance": seconds, "skew": seconds, of times told and of Date}
POST /settings               see DEFAULTS in main.py, "token": the runner's
POST /wait                   {"timeout": seconds, CONDITION}: 200 when it holds, 408 when it does not in time
     "job": ID or list, "status": by default "settled", final and what follows from it is done; also "final", "claimed",
     no longer pending, or one of the API's; "jobs": "final", all there are
     "sandbox": ID, "state": S or "absent"; "runner": state; "polling": true, a poll with a living client waits
     "requests": route, "count": N in all; "posts": N status posts taken; "span": name, "count"
     "load": "done"
"""

import json

from .jobs import FINAL, STATUSES, ApiError
from .wire import Reply


def job_view(job, clock):
    return {**job.view(clock), "status": job.status, "resultMetadata": job.metadata, "posts": job.posts,
            "deliveries": job.deliveries}


def row_view(row):
    return {**row.shown, "pending": row.pending, "assigned": row.assigned, "authToken": row.auth_token,
            "history": row.history}


class Control:
    def __init__(self, fake):
        self.fake = fake
        self.waits = []        # conditions with what answers them
        self.is_scheduled = False

    def changed(self):
        """Something did: the waits are looked at once, soon."""
        if self.waits and not self.is_scheduled:
            self.is_scheduled = True
            self.fake.loop.call_soon(self.look)

    def look(self):
        self.is_scheduled = False
        for wait in list(self.waits):
            if wait.holds():
                wait.end(200)

    # ---- requests ----

    def handle(self, request):
        try:
            body = json.loads(request.body) if request.body else {}
            parts = request.path.strip("/").split("/")
            name = f"{request.method.lower()}_{parts[0].replace('-', '_') or 'root'}"
            handler = getattr(self, name, None)
            if handler is None:
                raise ApiError(404, f"no {request.method} {request.path}; see control.py")
            value = handler(request, parts[1:], body)
            if value is not None:
                request.answer(Reply.json(200, value))
        except ApiError as refused:
            request.answer(Reply.json(refused.args[0], {"message": refused.args[1]}))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            request.answer(Reply.json(400, {"message": f"{type(error).__name__}: {error}"}))

    def get_root(self, _request, _parts, _body):
        fake = self.fake
        by_status = {}
        for job in fake.jobs.by_id.values():
            by_status[job.status] = by_status.get(job.status, 0) + 1
        return {**fake.addresses, "token": fake.runner.token, "userToken": fake.runner.user_token,
                "requests": fake.api.counts, "jobs": by_status, "connections": len(fake.api_listener.connections),
                "polling": self.is_polling(), "violations": len(fake.api.schema.violations)}

    def get_jobs(self, _request, parts, _body):
        fake = self.fake
        if parts:
            return job_view(fake.jobs.get(parts[0]), fake.clock)
        return [job_view(job, fake.clock) for job in fake.jobs.by_id.values()]

    def post_jobs(self, _request, parts, body):
        jobs = self.fake.jobs
        if len(parts) == 2 and parts[1] == "deliver":
            jobs.deliver_again(jobs.get(parts[0]))
            return {}
        add = lambda told: jobs.add(told["type"], told["resourceId"], told.get("payload"), told.get("traceContext"),
                                    told.get("resourceType"), told.get("id")).view(self.fake.clock)
        return [add(told) for told in body] if isinstance(body, list) else add(body)

    def get_sandboxes(self, _request, parts, _body):
        rows = self.fake.sandboxes
        return row_view(rows.get(parts[0])) if parts else [row_view(row) for row in rows.rows.values()]

    def post_sandboxes(self, _request, parts, body):
        rows = self.fake.sandboxes
        if len(parts) == 2:
            job = self.fake.user.call(parts[1], parts[0], body)
            self.changed()
            return {"job": job.view(self.fake.clock) if job else None,
                    "sandbox": row_view(rows.get(parts[0] if parts[1] != "fork" or job is None else job.resource_id))}
        row = rows.add(**body)
        self.changed()
        return row_view(row)

    def patch_sandboxes(self, _request, parts, body):
        row = self.fake.sandboxes.get(parts[0])
        for key in ("assigned", "backup_snapshot", "auth_token"):
            if key in body:
                setattr(row, key, body.pop(key))
        self.fake.sandboxes.set(row, **body)
        return row_view(row)

    def delete_sandboxes(self, _request, parts, _body):
        self.fake.sandboxes.get(parts[0])
        del self.fake.sandboxes.rows[parts[0]]
        self.changed()
        return {}

    def get_snapshots(self, _request, _parts, _body):
        return self.fake.sandboxes.snapshots

    def get_runner(self, _request, _parts, _body):
        runner = self.fake.runner
        return {**runner.view(), "serviceHealth": runner.service_health, "metrics": runner.metrics,
                "reports": runner.reports}

    def get_requests(self, _request, _parts, _body):
        return list(self.fake.api.requests)

    def delete_requests(self, _request, _parts, _body):
        self.fake.api.requests.clear()
        self.fake.api.counts.clear()
        return {}

    def get_violations(self, _request, _parts, _body):
        return self.fake.api.schema.violations

    def delete_violations(self, _request, _parts, _body):
        self.fake.api.schema.violations.clear()
        return {}

    def get_spans(self, _request, _parts, _body):
        return self.fake.collector.spans

    def delete_spans(self, _request, _parts, _body):
        self.fake.collector.spans.clear()
        return {}

    def get_load(self, _request, _parts, _body):
        return self.fake.load.view()

    def post_load(self, _request, _parts, body):
        self.fake.load.start(body["ids"], body["calls"], body.get("rounds", 1))
        return {}

    def get_faults(self, _request, _parts, _body):
        return [{**fault.told, "hits": fault.hits} for fault in self.fake.api.faults.active]

    def post_faults(self, _request, _parts, body):
        for told in body if isinstance(body, list) else [body]:
            self.fake.api.faults.add(told)
        return {}

    def delete_faults(self, _request, _parts, _body):
        self.fake.api.faults.active.clear()
        return {}

    def post_outage(self, request, _parts, body):
        """Answered once the mode is as asked."""
        outage = self.fake.set_mode(body.get("of", "api"), body["mode"], body.get("seconds"))
        self.fake.spawn(outage, lambda: request.answer(Reply.json(200, {})))

    def post_clock(self, _request, _parts, body):
        clock = self.fake.clock
        if "scale" in body:
            clock.set_scale(float(body["scale"]))
        if "skew" in body:
            clock.skew_s = self.fake.api_listener.skew_s = float(body["skew"])
        if "advance" in body:
            clock.advance(float(body["advance"]))
        self.fake.sweep()
        return {"now": clock.text()}

    def post_settings(self, _request, _parts, body):
        for key, value in body.items():
            self.fake.set(key, value)
        return self.fake.settings

    def post_wait(self, request, _parts, body):
        wait = Wait(self, request, body)
        if wait.holds():
            wait.end(200)

    # ---- what is waited for ----

    def is_polling(self):
        return any(waiter.is_alive() for waiter in self.fake.jobs.waiters)

    def condition(self, told):
        """A function that says whether it holds."""
        fake = self.fake
        if "job" in told:
            ids = told["job"] if isinstance(told["job"], list) else [told["job"]]
            jobs = [fake.jobs.get(id) for id in ids]
            status = told.get("status", "settled")
            if status == "settled":
                return lambda: all(job.settled for job in jobs)
            wanted = FINAL if status == "final" else STATUSES[1:] if status == "claimed" else (status,)
            return lambda: all(job.status in wanted for job in jobs)
        if told.get("jobs") == "final":
            return lambda: not fake.jobs.incomplete
        if "sandbox" in told:
            return lambda: self.state_of(told["sandbox"]) == told["state"]
        if "runner" in told:
            return lambda: fake.runner.state == told["runner"]
        if "requests" in told:
            return lambda: fake.api.counts[told["requests"]] >= told.get("count", 1)
        if "posts" in told:
            return lambda: fake.api.posts_taken >= told["posts"]
        if "span" in told:
            return lambda: sum(span["name"] == told["span"] for span in fake.collector.spans) >= told.get("count", 1)
        if told.get("load") == "done":
            return lambda: not fake.load.left
        if told.get("polling"):
            return self.is_polling
        raise ApiError(400, "no such condition; see control.py")

    def state_of(self, id):
        row = self.fake.sandboxes.rows.get(id)
        return row.state if row is not None and row.assigned else "absent"


class Wait:
    def __init__(self, control, request, told):
        self.control = control
        self.request = request
        self.holds = control.condition(told)
        self.timer = control.fake.loop.call_later(float(told.get("timeout", 60)), self.end, 408)
        control.waits.append(self)

    def end(self, status):
        self.timer.cancel()
        self.control.waits.remove(self)
        self.request.answer(Reply.json(status, {"met": status == 200}))
