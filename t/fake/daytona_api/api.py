"""The routes that a runner calls."""

from collections import Counter, deque

from .faults import Faults, html
from .jobs import KEPT_MAX, STATUSES, ApiError
from .sandboxes import STATES
from .wire import REASONS, Reply

VERSION = "0.190.0"
REQUESTS_MAX = 20000
# Route names, by which faults and counts go, and their paths in the description.
FIXED = {("GET", "/api/jobs/poll"): ("poll", "/jobs/poll"), ("GET", "/api/jobs"): ("list", "/jobs"),
         ("POST", "/api/runners/healthcheck"): ("healthcheck", "/runners/healthcheck"),
         ("GET", "/api/runners/me"): ("me", "/runners/me"),
         ("GET", "/api/sandbox/for-runner"): ("for-runner", "/sandbox/for-runner")}
POLL_TIMEOUT_S, POLL_TIMEOUT_MAX_S, POLL_LIMIT, POLL_LIMIT_MAX = 30, 60, 10, 100


def find_route(method, path):
    """Name, path in the description, and the id within it."""
    found = FIXED.get((method, path))
    if found is not None:
        return (*found, None)
    parts = path.split("/")
    if len(parts) == 5 and parts[:3] == ["", "api", "jobs"] and parts[4] == "status" and method == "POST":
        return "status", "/jobs/{jobId}/status", parts[3]
    if len(parts) == 4 and parts[:3] == ["", "api", "jobs"] and method == "GET":
        return "job", "/jobs/{jobId}", parts[3]
    if len(parts) == 5 and parts[:3] == ["", "api", "sandbox"] and parts[4] == "state" and method == "PUT":
        return "state", "/sandbox/{sandboxId}/state", parts[3]
    return "other", None, None


def positive(text, name, default, most=None):
    """A number of a query, as the API checks those of lists."""
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ApiError(400, f"{name} must not be less than 1")
    if most is not None and int(text) > most:
        raise ApiError(400, f"{name} must not be greater than {most}")
    return int(text)


def cut_to(text, default, most):
    """A number of a poll: nonsense and 0 are the default, what is too big is cut."""
    try:
        return min(float(text), most) or default
    except (TypeError, ValueError):
        return default


class Api:
    def __init__(self, loop, clock, jobs, sandboxes, runner, schema, settings, changed):
        self.loop = loop
        self.clock = clock
        self.jobs = jobs
        self.sandboxes = sandboxes
        self.runner = runner
        self.settings = settings
        self.changed = changed
        self.schema = schema
        self.schema.secrets = [runner.token.encode(), runner.user_token.encode()]
        self.faults = Faults(loop, self.error)
        self.requests = deque(maxlen=REQUESTS_MAX)
        self.counts = Counter()
        self.seq = 0
        self.posts_taken = 0
        self.handlers = {"poll": self.poll, "list": self.list, "job": self.job, "status": self.status,
                         "healthcheck": self.healthcheck, "me": self.me, "for-runner": self.for_runner,
                         "state": self.state, "other": self.other}
        self.results = deque()  # that are still to take effect, with their times
        jobs.on_final = self.later
        jobs.on_progress = sandboxes.progressed

    def later(self, job):
        """The API answers first and then does what follows, in order."""
        self.results.append((self.loop.time() + self.settings["completionMs"] / 1000, job))
        if len(self.results) == 1:
            self.loop.call_at(self.results[0][0], self.follow)

    def follow(self):
        """What goes wrong within is the result's alone."""
        try:
            while self.results and self.results[0][0] <= self.loop.time():
                self.sandboxes.finished(self.results[0][1])
                self.results.popleft()
        except Exception:
            self.results.popleft()
            raise
        finally:
            if self.results:
                self.loop.call_at(self.results[0][0], self.follow)

    # ---- a request from its arrival to its answer ----

    def handle(self, request):
        request.route, path, request.arg = find_route(request.method, request.path)
        self.note_request(request)
        try:
            body = self.schema.check(request, path)
        except ValueError:
            request.answer(Reply.json(400, {"message": "Invalid JSON in request body", "error": "Bad Request",
                                            "statusCode": 400}))
            return
        fault = self.faults.find(request)
        if fault is None:
            self.perform(request, body)
        else:
            request.entry["fault"] = fault.kind
            self.faults.before(request, fault, lambda request: self.perform(request, body))
        self.changed()

    def note_request(self, request):
        self.seq += 1
        self.counts[request.route] += 1
        request.entry = {"seq": self.seq, "at": self.clock.now(), "route": request.route, "method": request.method,
                         "target": request.target, "status": None}
        self.requests.append(request.entry)

    def perform(self, request, body):
        try:
            if not request.path.startswith("/api/"):
                self.no_prefix(request)
                return
            self.runner.authenticate(request)
            self.handlers[request.route](request, body)
        except ApiError as refused:
            self.answer(request, self.error(request, *refused.args))

    def no_prefix(self, request):
        """The dashboard answers what it does not know with its page; an API without it fails."""
        if self.settings["dashboard"]:
            request.answer(html())
        else:
            self.answer(request, self.error(request, 500, "An unexpected error occurred."))

    def error(self, request, status, message, headers=()):
        value = {"path": request.target, "timestamp": self.clock.text(), "statusCode": status,
                 "error": REASONS.get(status, "Error"), "message": message}
        return Reply.json(status, value, headers)

    def answer(self, request, reply):
        request.entry["status"] = reply.status
        if request.path.startswith("/api/"):
            reply.headers = [("X-Daytona-Api-Version", VERSION), *reply.headers]
        request.answer(reply)

    # ---- jobs ----

    def poll(self, request, _):
        timeout_s = cut_to(request.param("timeout"), POLL_TIMEOUT_S, POLL_TIMEOUT_MAX_S)
        timeout_s = max(0.0, min(timeout_s, self.settings["pollMaxSeconds"]))
        limit = max(1, int(cut_to(request.param("limit"), POLL_LIMIT, POLL_LIMIT_MAX)))
        is_alive = lambda: not request.connection.transport.is_closing()
        if any(waiter.is_alive() for waiter in self.jobs.waiters):
            self.schema.note(request, "a second poll while one waits")
        self.jobs.poll(timeout_s, limit, lambda jobs: self.give(request, jobs), is_alive)

    def give(self, request, jobs):
        request.entry["jobs"] = [job.id for job in jobs]
        self.answer(request, Reply.json(200, {"jobs": [job.view(self.clock) for job in jobs]}))
        self.changed()

    def list(self, request, _):
        status = request.param("status")
        if status is not None and status not in STATUSES:
            raise ApiError(400, f"status must be one of the following values: {', '.join(STATUSES)}")
        page, limit = positive(request.param("page"), "page", 1), positive(request.param("limit"), "limit", 100, 200)
        jobs, total = self.jobs.listed(status, page, limit)
        value = {"items": [job.view(self.clock) for job in jobs], "total": total, "page": page,
                 "totalPages": -(-total // limit)}
        self.answer(request, Reply.json(200, value))

    def job(self, request, _):
        self.answer(request, Reply.json(200, self.jobs.get(request.arg).view(self.clock)))

    def status(self, request, body):
        body = body if isinstance(body, dict) else {}
        job = self.jobs.by_id.get(request.arg)
        post = {"seq": self.next_seq(), "at": self.clock.now(), "body": body, "code": None}
        if job is not None:
            job.posts.append(post)
            del job.posts[:-KEPT_MAX]
            self.schema.check_result(request, job, body)
        try:
            self.check_status(body)
            job = self.jobs.get(request.arg)
            self.jobs.update(job, body["status"], body.get("errorMessage"), body.get("resultMetadata"))
        except ApiError as refused:
            post["code"] = refused.args[0]
            raise
        post["code"] = 201
        self.posts_taken += 1
        self.answer(request, Reply.json(201, job.view(self.clock)))

    def next_seq(self):
        self.jobs.seq += 1
        return self.jobs.seq

    @staticmethod
    def check_status(body):
        wrong = []
        if body.get("status") not in STATUSES:
            wrong.append(f"status must be one of the following values: {', '.join(STATUSES)}")
        for key in ("errorMessage", "resultMetadata"):
            if body.get(key) is not None and not isinstance(body[key], str):
                wrong.append(f"{key} must be a string")
        if wrong:
            raise ApiError(400, ", ".join(wrong))

    # ---- the runner ----

    def healthcheck(self, request, body):
        body = body if isinstance(body, dict) else {}
        if not isinstance(body.get("appVersion"), str):
            raise ApiError(400, "appVersion must be a string")
        for key in ("domain", "apiUrl", "proxyUrl"):
            if body.get(key) is not None and not isinstance(body[key], str):
                raise ApiError(400, f"{key} must be a string")
        services = body.get("serviceHealth")
        if services is not None and not (isinstance(services, list) and all(isinstance(s, dict) for s in services)):
            raise ApiError(400, "serviceHealth must be an array")
        self.runner.health(body)
        self.answer(request, Reply(201))

    def me(self, request, _):
        self.answer(request, Reply.json(200, self.runner.view()))

    # ---- sandboxes ----

    def for_runner(self, request, _):
        skip = request.param("skipReconcilingSandboxes") == "true"
        self.answer(request, Reply.json(200, self.sandboxes.for_runner(request.param("states"), skip)))

    def state(self, request, body):
        body = body if isinstance(body, dict) else {}
        if body.get("state") not in STATES:
            raise ApiError(400, f"state must be one of the following values: {', '.join(STATES)}")
        self.sandboxes.report(request.arg, body)
        self.answer(request, Reply(200))

    def other(self, request, _):
        """Routes of users are not for runners' keys; others are none."""
        parts = request.path.split("/")
        if parts[2] in ("sandbox", "snapshots", "runners", "organizations"):
            raise ApiError(403, "Invalid authentication context")
        raise ApiError(404, f"Cannot {request.method} {request.path}")
