"""Spans of jobs, as a collector gets them: whose children they are, and that nothing waits for it."""

import os
import signal
import tempfile
import time
import uuid

import tap
from daytona import DaytonaApi
from rig_jobs import JobRunner, create, do

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class TraceRunner(JobRunner):
    def __init__(self, base, api):
        self.CONFIG = self.CONFIG.replace("log: ", f"otlp: {{{{endpoint: '{api.otlp}', traces: true, "
                                          "headers: 'x-tenant=a%20b'}}\nlog: ")
        super().__init__(base, api)


def spans_of(api, trace, name, count=1):
    """Those of this trace, once there are `count` of that name."""
    api.wait(60, span=name, count=count)
    return {span["name"]: span for span in api.spans() if span["traceId"] == trace}


def metric(runner, line):
    text = runner.client.call("GET", "/metrics", as_text=True)
    return int(next(row.split()[1] for row in text.splitlines() if row.startswith(line)))


def check_create(api, runner):
    id = str(uuid.uuid4())
    job = create(api, id, traceContext={"traceparent": f"00-{TRACE}-{PARENT}-01"})["id"]
    spans = spans_of(api, TRACE, "update_job_status")
    root = spans["execute_CREATE_SANDBOX"]
    tap.equal("a job's span is below the one that it came with", root["parentSpanId"], PARENT)
    attributes = root["attributes"]
    tap.equal("it says which job", [attributes.get(key) for key in ("job.id", "job.type", "job.status", "resource.id")],
              [job, "CREATE_SANDBOX", "COMPLETED", id])
    phases = ("queue", "admit", "disk", "host", "boot", "ready", "commit")
    tap.equal("each phase is below it", [spans.get(name, {}).get("parentSpanId") for name in phases],
              [root["spanId"]] * len(phases))
    tap.equal("so is the word to the API", (spans["update_job_status"]["parentSpanId"], spans["update_job_status"]["kind"]),
              (root["spanId"], 3))
    tap.ok("phases lie within the job", all(root["start"] <= spans[name]["start"] <= spans[name]["end"] <= root["end"]
                                            for name in phases))
    now = time.time() * 1e9
    tap.ok("the times are those of the wall", now - 300e9 < root["start"] < now + 1e9, root["start"])
    tap.equal("of this service", root["resource"].get("service.name"), "daytona-runner")
    do(api, id, "destroy")


def check_failure(api, runner):
    trace = TRACE[::-1]
    api.result(api.add_job("DANCE", str(uuid.uuid4()), traceContext={"traceparent": f"00-{trace}-{PARENT}-01"}))
    span = spans_of(api, trace, "execute_DANCE")["execute_DANCE"]
    tap.equal("a failure is one", (span["status"].get("code"), span["status"].get("message"), span["attributes"]["job.status"]),
              (2, "unknown job type: DANCE", "FAILED"))
    api.result(api.add_job("WALTZ", str(uuid.uuid4())))
    api.wait(60, span="execute_WALTZ", count=1)
    span = next(span for span in api.spans() if span["name"] == "execute_WALTZ")
    tap.equal("without a parent it begins a trace", span["parentSpanId"], None)


def check_collector_away(api, runner):
    """More jobs than its queue has room for, while nobody takes spans."""
    api.outage("hang", of="otlp")
    jobs = api.add_jobs([{"type": "TANGO", "resourceId": str(uuid.uuid4())} for _ in range(3000)])
    begin = time.monotonic()
    api.wait(120, job=jobs)
    tap.ok("jobs do not wait for the collector", True, f"{time.monotonic() - begin:.1f} s")
    tap.ok("what does not fit is dropped and counted", metric(runner, 'runner_spans_total{result="dropped"}') > 0)
    sent = metric(runner, 'runner_spans_total{result="sent"}')
    api.outage("up", of="otlp")
    api.wait(60, span="execute_TANGO", count=1000)
    tap.ok("the others arrive when it is back", metric(runner, 'runner_spans_total{result="sent"}') > sent)


def check_end(api, runner):
    job = api.add_job("SAMBA", str(uuid.uuid4()))
    api.result(job)
    runner.end(signal.SIGTERM)
    tap.ok("a runner that stops sends what it has", any(span["name"] == "execute_SAMBA" for span in api.spans()))
    runner.launch()


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, TraceRunner(base, api) as runner:
            api.wait(60, runner="ready")
            for check in (check_create, check_failure, check_collector_away, check_end):
                check(api, runner)
            tap.equal("nothing was asked wrongly", api.violations(), [])
            with open(runner.log.name) as log:
                tap.ok("the log has the trace of a job", f"trace={TRACE}" in log.read())
    tap.done()


if __name__ == "__main__":
    main()
