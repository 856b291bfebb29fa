"""The fake Daytona API (t/fake/daytona-api) from Python: a runner is given its url and token, a test the rest."""

import http.client
import json
import os
import subprocess
import tempfile
import threading
import time

from rig import SRC, Client

PROGRAM = os.path.join(SRC, "t/fake/daytona-api")
IDLE_S = 5  # after which the API closes a connection
RECORDED = os.path.join(SRC, "t/fake/daytona_api/recorded")


class Refused(Exception):
    """What the fake says to a call that it does not take: status, message."""


class NotMet(Exception):
    """A condition did not hold in time; what there was instead."""


def recorded(name):
    """Recorded exchanges: "protocol", "healthcheck", "state-sync", or "jobs-TYPE" with jobs as polls gave them out."""
    with open(os.path.join(RECORDED, name + ".json")) as file:
        return json.load(file)


def recorded_jobs():
    """All recorded jobs: trigger, job, and answer, where the recorded runner gave one."""
    names = sorted(name[:-5] for name in os.listdir(RECORDED) if name.startswith("jobs-"))
    return [example for name in names for example in recorded(name)]


class DaytonaApi:
    """The fake in a process of its own, which ends with close() or with this process."""

    def __init__(self, base=None, token_file=None, settings=None, tls=None):
        """tls: paths of "cert", "key" and, when the runner has to have a certificate too, "client-ca"."""
        self.dir = tempfile.TemporaryDirectory(prefix="daytona.", dir=base)
        self.socket = os.path.join(self.dir.name, "control.sock")
        argv = [PROGRAM, "--control", self.socket, "--stay-with-stdin"]
        if token_file:
            argv += ["--token-file", token_file]
        for name, path in (tls or {}).items():
            argv += ["--tls-" + name, path]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{PROGRAM} does not start: {self.process.wait()}")
        told = json.loads(line)
        self.url, self.otlp, self.token = told["url"], told["otlp"], told["token"]
        self.local = threading.local()
        if settings:
            self.set(**settings)

    def call(self, method, path, body=None):
        """One of the calls at the top of t/fake/daytona_api/control.py; Refused when it is not taken."""
        if not hasattr(self.local, "client"):
            self.local.client = Client(self.socket)
        status, text = self.local.client.ask(method, path, body)
        if status >= 300:
            raise Refused(status, json.loads(text).get("message", text.decode()))
        return json.loads(text)

    # ---- jobs and sandboxes ----

    def user(self, id, what, **args):
        """What a user does to a sandbox: "create", "start", ...; the job's id, or None when none is made now."""
        job = self.call("POST", f"/sandboxes/{id}/{what}", args)["job"]
        return job and job["id"]

    def add_job(self, type, resource_id, payload=None, **more):
        """A job as it is, whatever row there is; its id. more: traceContext, resourceType, id."""
        return self.call("POST", "/jobs", {"type": type, "resourceId": resource_id, "payload": payload, **more})["id"]

    def add_jobs(self, jobs):
        """Many at once, each as the body of POST /jobs; their ids."""
        return [job["id"] for job in self.call("POST", "/jobs", jobs)]

    def add_sandbox(self, id, **row):
        return self.call("POST", "/sandboxes", {"id": id, **row})

    def job(self, id):
        return self.call("GET", f"/jobs/{id}")

    def sandbox(self, id):
        return self.call("GET", f"/sandboxes/{id}")

    def state(self, id):
        return self.sandbox(id)["state"]

    def do(self, id, what, timeout=60, **args):
        """user(), and result() of its job."""
        return self.result(self.user(id, what, **args), timeout)

    def result(self, job, timeout=60):
        """The job once it is final and its sandbox is what it makes of it."""
        self.wait(timeout, job=job)
        return self.job(job)

    def answers(self):
        """All status posts that were taken, in their order: sequence number, job, post."""
        jobs = self.call("GET", "/jobs")
        return sorted(((post["seq"], job, post) for job in jobs for post in job["posts"] if post["code"] == 201),
                      key=lambda answer: answer[0])

    def load(self, ids, calls, rounds, timeout=600):
        """Jobs without a pause until each sandbox has gone through the calls so often; how fast, as GET /load says."""
        self.call("POST", "/load", {"ids": ids, "calls": calls, "rounds": rounds})
        self.wait(timeout, load="done")
        return self.call("GET", "/load")

    # ---- waiting and looking ----

    def wait(self, timeout=60, **condition):
        """Until the condition of POST /wait holds; NotMet after `timeout` seconds."""
        try:
            self.call("POST", "/wait", {"timeout": timeout, **condition})
        except Refused as refused:
            if refused.args[0] == 408:
                raise NotMet(condition, self.call("GET", "/")) from None
            raise

    def violations(self):
        return self.call("GET", "/violations")

    def spans(self):
        return self.call("GET", "/spans")

    def requests(self):
        return self.call("GET", "/requests")

    def counts(self):
        return self.call("GET", "/")["requests"]

    # ---- trouble ----

    def fault(self, route, kind, **more):
        """See t/fake/daytona_api/faults.py."""
        self.call("POST", "/faults", {"route": route, "kind": kind, **more})

    def end_faults(self):
        self.call("DELETE", "/faults")

    def outage(self, mode, seconds=None, of="api"):
        """Modes "refuse", "close", "reset", "hang", "up"."""
        self.call("POST", "/outage", {"mode": mode, "seconds": seconds, "of": of})

    def advance(self, seconds):
        """The API's clock goes on, and what the API does by itself is done."""
        self.call("POST", "/clock", {"advance": seconds})

    def set(self, **settings):
        self.call("POST", "/settings", settings)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.dir.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class RunnerClient(http.client.HTTPConnection):
    """Asks the API as a runner does, by TLS with a context for it."""

    def __init__(self, api, token=None, context=None):
        host, _, port = api.url.split("/")[2].partition(":")
        super().__init__(host, int(port), timeout=120)
        self.context = context
        self.used = time.monotonic()
        self.fields = {"Authorization": f"Bearer {token or api.token}", "X-Daytona-Source": "runner"}

    def connect(self):
        super().connect()
        if self.context is not None:
            self.sock = self.context.wrap_socket(self.sock, server_hostname=self.host)

    def ask(self, method, path, body=None, text=None, **fields):
        """Status, headers, and the body as JSON where it is."""
        if self.sock is not None and time.monotonic() - self.used > IDLE_S / 2:
            self.close()
        text = json.dumps(body) if body is not None else text
        headers = {**self.fields, **({"Content-Type": "application/json"} if text is not None else {}), **fields}
        self.request(method, path, text, headers)
        reply = self.getresponse()
        got = reply.read()
        self.used = time.monotonic()
        if got and reply.headers.get_content_type() == "application/json":
            got = json.loads(got)
        return reply.status, reply.headers, got

    def poll(self, timeout=10, limit=100):
        return self.ask("GET", f"/api/jobs/poll?timeout={timeout}&limit={limit}")[2]["jobs"]

    def post(self, id, status, **more):
        """A status post; its status and body."""
        code, _, body = self.ask("POST", f"/api/jobs/{id}/status", {"status": status, **more})
        return code, body
