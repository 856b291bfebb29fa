"""Rows about jobs of the Daytona API, the fake one: how many a second, and how soon after its delivery one begins."""

import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from daytona import DaytonaApi
from disk import bases
from rig import Client, cpu_ms_of, quantile
from rig_ch import FakeRunner
from rig_jobs import JobRunner
from table import number

PAIRS = {"START/STOP pairs": ["stop", "start"], "PAUSE/START pairs (no process is made)": ["pause", "start"]}


class JobBench(JobRunner, FakeRunner):
    """Driven by jobs, with the fake Cloud Hypervisor."""

    level = "info"
    is_test = False


class TracedBench(JobBench):
    def __init__(self, base, api):
        self.CONFIG = self.CONFIG.replace("log: ", f"otlp: {{{{endpoint: '{api.otlp}', traces: true}}}}\nlog: ")
        super().__init__(base, api)


def cpu_of(api, runner):
    """Milliseconds of the runner, of its VMMs that have ended, of the fake API, of the clients here."""
    return runner.cpu_ms(), runner.vmm_cpu_ms(), cpu_ms_of(api.process.pid), time.process_time() * 1e3


def shares(api, runner, before, seconds):
    whole = seconds * 1e3 * os.cpu_count()
    parts = zip(("runner", "VMMs", "fake API", "clients"), before, cpu_of(api, runner))
    return ", ".join(f"{name} {100 * (b - a) / whole:.0f} %" for name, a, b in parts)


def make(api, runner, n):
    """Sandboxes that run."""
    ids = [str(uuid.uuid4()) for _ in range(n)]
    for job in [api.user(id, "create", snapshot="tiny") for id in ids]:
        done = api.result(job, 600)
        if done["status"] != "COMPLETED":
            raise RuntimeError(done["errorMessage"])
    return ids


def remove(api, ids):
    for job in [api.user(id, "destroy") for id in ids]:
        api.result(job, 600)


def by_rest(runner, ids, calls, rounds):
    """The same by keep-alive clients, one a sandbox; operations a second."""
    def one(id):
        client = Client(runner.socket)
        for _ in range(rounds):
            for call in calls:
                client.call("POST", f"/sandboxes/{id}/{call}", {})
        client.close()
    begin = time.monotonic()
    with ThreadPoolExecutor(len(ids)) as pool:
        list(pool.map(one, ids))
    return len(ids) * len(calls) * rounds / (time.monotonic() - begin)


def throughput(table, base, name, calls, n, rounds):
    with DaytonaApi(base) as api, JobBench(base, api) as runner:
        ids = make(api, runner, n)
        api.load(ids, calls, 2)  # pages, caches
        before = cpu_of(api, runner)
        load = api.load(ids, calls, rounds)
        if load["failed"]:
            raise RuntimeError(load["failed"][0])
        told = shares(api, runner, before, load["seconds"])
        before, begin = cpu_of(api, runner), time.monotonic()
        theirs = by_rest(runner, ids, calls, rounds)
        print(f"{name} of {n} sandboxes, root on {runner.fs}: {load['done']} jobs, {load['perSecond']:.0f}/s; of the "
              f"processors: {told}; by REST {theirs:.0f}/s: {shares(api, runner, before, time.monotonic() - begin)}")
        remove(api, ids)
    table.add(f"jobs: {name}, root on {runner.fs}, jobs", ("REST, a keep-alive client a sandbox", theirs), load["perSecond"], "1/s",
              "2000 1/s" if "STOP" in name else "-")


def refused(table, base, n):
    """Jobs without any operation: what the poll, the journal and the word to the API cost alone."""
    with DaytonaApi(base) as api, JobBench(base, api) as runner:
        api.wait(60, polling=True)
        before, begin = cpu_of(api, runner), time.monotonic()
        api.add_jobs([{"type": "DANCE", "resourceId": str(uuid.uuid4())} for _ in range(n)])
        api.wait(600, jobs="final")
        seconds = time.monotonic() - begin
        print(f"{n} jobs without an operation, root on {runner.fs}: {n / seconds:.0f}/s; of the processors: "
              f"{shares(api, runner, before, seconds)}")
    table.add(f"jobs: of an unknown type, no operation, root on {runner.fs}", None, n / seconds, "1/s")


def latencies(api, jobs):
    """Milliseconds from each job's delivery by a poll to the begin of its operation's first phase."""
    spans = api.spans()
    job_of = {span["spanId"]: span["attributes"]["job.id"] for span in spans if "job.id" in span["attributes"] and
              span["name"].startswith("execute_")}
    begun = {job_of[span["parentSpanId"]]: span["start"] / 1e6 for span in spans
             if span["name"] == "admit" and span["parentSpanId"] in job_of}
    return [begun[job] - api.job(job)["deliveries"][0]["at"] * 1e3 for job in jobs if job in begun]


def latency(table, base, n):
    """One job at a time."""
    with DaytonaApi(base) as api, TracedBench(base, api) as runner:
        [id] = make(api, runner, 1)
        jobs = [api.do(id, ("pause", "start")[i % 2])["id"] for i in range(n)]
        api.wait(60, span="execute_PAUSE_SANDBOX", count=n // 2)
        api.wait(60, span="execute_START_SANDBOX", count=n // 2)
        ms = latencies(api, jobs)
        remove(api, [id])
    if len(ms) < n * 0.9:
        raise RuntimeError(f"{len(ms)} of {n} jobs have spans")
    print(f"from a job's delivery to its operation's begin, root on {runner.fs}, {len(ms)} jobs: ms p50 {quantile(ms, .5):.2f} "
          f"p90 {quantile(ms, .9):.2f} p99 {quantile(ms, .99):.2f} max {max(ms):.2f}")
    table.add(f"jobs: delivery to the operation's begin, root on {runner.fs}, p50", None, quantile(ms, .5), "ms")
    table.add("  p99", None, quantile(ms, .99), "ms", "<= 2 ms")


def row_jobs(table):
    n, rounds = number("JOB_SANDBOXES", 32), number("JOB_ROUNDS", 20)
    for base in bases():
        for name, calls in PAIRS.items():
            throughput(table, base, name, calls, n, rounds)
        refused(table, base, 4000)
        latency(table, base, 400)
