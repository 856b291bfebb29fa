"""The runner's own record: keys, health reports, the score that schedules sandboxes."""

import math
import secrets
import uuid

from .jobs import ApiError

UNRESPONSIVE_S = 60
METRICS = ("currentCpuLoadAverage currentCpuUsagePercentage currentMemoryUsagePercentage currentDiskUsagePercentage "
           "currentAllocatedCpu currentAllocatedMemoryGiB currentAllocatedDiskGiB currentSnapshotCount "
           "currentStartedSandboxes cpu memoryGiB diskGiB gpu").split()
INTEGERS = ("currentSnapshotCount", "currentStartedSandboxes")
GPUS = (("h100", "H100"), ("rtx pro 6000", "RTX-PRO-6000"))
# Value, weight, optimum, critical point; then threshold and steepness of what is punished.
WEIGHTS = (("cpu", 0.25, 0, 100), ("memory", 0.4, 0, 100), ("disk", 0.4, 0, 100), ("allocatedCpu", 0.03, 100, 500),
           ("allocatedMemory", 0.03, 100, 500), ("allocatedDisk", 0.03, 100, 500), ("started", 0.1, 0, 100))
PENALTIES = (("cpu", 90, 0.15), ("memory", 75, 0.15), ("disk", 75, 0.15), ("load", 0.7, 0.1))


def score(metrics):
    """Availability from 0 to 100; parts that cannot be computed are left out."""
    get = lambda key: metrics.get(key) or 0
    if any(get(key) < 0 for key in METRICS):
        return 0
    values = {"cpu": get("currentCpuUsagePercentage"), "memory": get("currentMemoryUsagePercentage"),
              "disk": get("currentDiskUsagePercentage"), "started": get("currentStartedSandboxes"),
              "load": get("currentCpuLoadAverage")}
    for name, part, total in (("allocatedCpu", "currentAllocatedCpu", "cpu"),
                              ("allocatedMemory", "currentAllocatedMemoryGiB", "memoryGiB"),
                              ("allocatedDisk", "currentAllocatedDiskGiB", "diskGiB")):
        values[name] = get(part) / get(total) * 100 if get(total) > 0 else 0
    distance = lambda to: math.sqrt(sum(weight * ((values[name] - points[to]) / 100) ** 2
                                        for name, weight, *points in WEIGHTS))
    result = distance(1) / (distance(0) + distance(1))
    for name, threshold, steepness in PENALTIES:
        if values[name] >= threshold:
            result *= math.exp(-steepness * (values[name] - threshold))
    return round(result * 100)


class Runner:
    def __init__(self, clock, name, sandbox_class, changed):
        self.clock = clock
        self.changed = changed
        self.id = str(uuid.uuid4())
        self.name = name
        self.sandbox_class = sandbox_class
        self.token = "dtn_" + secrets.token_hex(32)
        self.user_token = "dtn_" + secrets.token_hex(32)  # valid, of another kind
        self.state = "initializing"
        self.on_ready = lambda: None
        self.metrics = {}
        self.score = 0
        self.gpu_type = None
        self.row = {"domain": None, "apiUrl": None, "proxyUrl": None, "appVersion": None}
        self.service_health = None
        self.last_checked = None
        self.created = self.updated = clock.now()
        self.reports = []        # bodies of the last health reports that were taken

    def authenticate(self, request):
        """ApiError unless the key is the runner's."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind == "Bearer" and token == self.token:
            return
        if kind == "Bearer" and token == self.user_token:
            raise ApiError(403, "Invalid authentication context")
        raise ApiError(401, "Invalid credentials")

    def health(self, body):
        """A report that passed validation; one that the database refuses changes nothing."""
        metrics = body.get("metrics")
        if isinstance(metrics, dict):
            known = {key: metrics[key] for key in METRICS if metrics.get(key) is not None}
            for key, value in known.items():
                if not is_number(value) or key in INTEGERS and value != int(value):
                    raise ApiError(500, "An unexpected error occurred.")
            self.metrics.update(known)
            self.score = score(known)  # what is missing counts as 0 here
            self.set_gpu(metrics.get("gpuType"))
        self.service_health = body.get("serviceHealth")
        for key in self.row:
            self.row[key] = body.get(key) or self.row[key]
        self.last_checked = self.updated = self.clock.now()
        self.reports = self.reports[-99:] + [body]
        sick = any(not service.get("healthy") for service in self.service_health or [])
        self.set_state("unresponsive" if sick else "ready")
        self.changed()

    def set_gpu(self, name):
        for word, type in GPUS:
            if name and word in name.lower():
                self.gpu_type = type

    def set_state(self, state):
        self.state, before = state, self.state
        if state == "ready" and before != "ready":
            self.on_ready()

    def sweep(self):
        if self.state == "ready" and self.clock.now() - self.last_checked > UNRESPONSIVE_S:
            self.set_state("unresponsive")
            self.changed()

    def view(self):
        """RunnerFull, the key in clear included."""
        get = lambda key: self.metrics.get(key, 0)
        text = self.clock.text
        return {"id": self.id, "domain": self.row["domain"], "apiUrl": self.row["apiUrl"],
                "proxyUrl": self.row["proxyUrl"], "cpu": get("cpu"), "memory": get("memoryGiB"),
                "disk": get("diskGiB"), "gpu": get("gpu"), "gpuType": self.gpu_type,
                "sandboxClass": self.sandbox_class, "runnerClass": "container",
                **{key: get(key) for key in METRICS if key.startswith("current") and key != "currentCpuLoadAverage"},
                "availabilityScore": self.score, "region": "us", "name": self.name, "state": self.state,
                "lastChecked": text(self.last_checked) if self.last_checked else None, "unschedulable": False,
                "tags": [], "createdAt": text(self.created), "updatedAt": text(self.updated), "version": "2",
                "apiVersion": "2", "appVersion": self.row["appVersion"], "apiKey": self.token, "regionType": "shared"}


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
