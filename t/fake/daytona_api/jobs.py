"""Jobs: claimed by polls, listed, answered by status posts, failed when nothing is heard of them."""

import json
import uuid
from collections import deque

STATUSES = ("PENDING", "IN_PROGRESS", "COMPLETED", "FAILED")
FINAL = ("COMPLETED", "FAILED")
NEXT = {"PENDING": ("IN_PROGRESS", "FAILED"), "IN_PROGRESS": FINAL, "COMPLETED": (), "FAILED": ()}
ERROR_MAX = 10000
KEPT_MAX = 1000  # posts, and deliveries, of one job


class ApiError(Exception):
    """A request that is refused: status and message."""


class Job:
    __slots__ = ("id", "type", "status", "resource_type", "resource_id", "payload", "trace", "error", "metadata",
                 "created", "updated", "settled", "posts", "deliveries")

    def __init__(self, id, type, resource_type, resource_id, payload, trace, now):
        self.id = id
        self.type = type
        self.status = "PENDING"
        self.resource_type = resource_type
        self.resource_id = resource_id
        self.payload = payload    # JSON text, or None
        self.trace = trace
        self.error = self.metadata = None
        self.created = self.updated = now
        self.settled = False      # final, and what follows from it is done
        self.posts = []           # every status post, refused ones too
        self.deliveries = []      # when a poll or a list gave it out

    @property
    def is_final(self):
        return self.status in FINAL

    @property
    def key(self):
        """At most one incomplete job may have it."""
        return self.resource_type, self.resource_id, self.type == "CREATE_BACKUP"

    def view(self, clock):
        """As the wire has it: absent what is not set, and never the resultMetadata."""
        shown = {"id": self.id, "type": self.type, "status": self.status, "resourceType": self.resource_type,
                 "resourceId": self.resource_id}
        if self.payload is not None:
            shown["payload"] = self.payload
        if self.trace is not None:
            shown["traceContext"] = self.trace
        if self.error is not None:
            shown["errorMessage"] = self.error
        shown["createdAt"] = clock.text(self.created)
        shown["updatedAt"] = clock.text(self.updated)
        return shown


class Waiter:
    """A poll that found nothing. It lives until its own time is over, whatever becomes of its client."""

    __slots__ = ("limit", "give", "timer", "is_alive")

    def __init__(self, limit, give, is_alive):
        self.limit = limit
        self.give = give
        self.is_alive = is_alive
        self.timer = None


class Jobs:
    def __init__(self, loop, clock, types):
        self.loop = loop
        self.clock = clock
        self.types = types       # x-daytona-jobs
        self.by_id = {}
        self.pending = deque()
        self.in_progress = {}
        self.incomplete = {}
        self.again = []          # to be delivered a second time
        self.waiters = deque()
        self.seq = 0             # orders deliveries and posts of all jobs
        self.on_final = self.on_progress = lambda job: None

    def add(self, type, resource_id, payload=None, trace=None, resource_type=None, id=None):
        """A job in the queue; ApiError 409 when the resource has an incomplete one already."""
        resource_type = resource_type or self.types.get(type, {}).get("resourceType", "SANDBOX")
        if payload is not None and not isinstance(payload, str):
            payload = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
        job = Job(id or str(uuid.uuid4()), type, resource_type, resource_id, payload, trace, self.clock.now())
        if job.key in self.incomplete:
            raise ApiError(409, "An operation is already in progress for this resource")
        if job.id in self.by_id:
            raise ApiError(409, f"job {job.id} exists")
        self.incomplete[job.key] = job.id
        self.by_id[job.id] = job
        self.pending.append(job)
        self.loop.call_soon(self.notify)
        return job

    def deliver_again(self, job):
        self.again.append(job)
        self.loop.call_soon(self.notify)

    def note_delivery(self, job, how):
        self.seq += 1
        job.deliveries.append({"seq": self.seq, "at": self.clock.now(), "by": how})
        del job.deliveries[1:-KEPT_MAX]  # the first of them tells how long it waited

    def claim(self, limit):
        """The oldest that wait, now in progress."""
        claimed, self.again = self.again[:limit], self.again[limit:]
        now = self.clock.now()
        while self.pending and len(claimed) < limit:
            job = self.pending.popleft()
            if job.status != "PENDING":
                continue
            job.status, job.updated = "IN_PROGRESS", now
            self.in_progress[job.id] = job
            claimed.append(job)
        for job in claimed:
            self.note_delivery(job, "poll")
        return claimed

    def poll(self, timeout_s, limit, give, is_alive):
        """Calls give(jobs) now or later, with an empty list when the time is over."""
        jobs = self.claim(limit)
        if jobs:
            give(jobs)
            return
        waiter = Waiter(limit, give, is_alive)
        waiter.timer = self.loop.call_later(timeout_s, self.expire, waiter)
        self.waiters.append(waiter)

    def notify(self):
        """Each poll that waits gets jobs in its turn, those whose clients have gone too."""
        while self.waiters and (self.pending or self.again):
            waiter = self.waiters.popleft()
            waiter.timer.cancel()
            waiter.give(self.claim(waiter.limit))

    def expire(self, waiter):
        self.waiters.remove(waiter)
        waiter.give(self.claim(waiter.limit))

    def forget_waiters(self):
        """What a restart of the API does."""
        for waiter in self.waiters:
            waiter.timer.cancel()
        self.waiters.clear()

    def listed(self, status, page, limit):
        """Newest first; the page's jobs and how many there are."""
        found = self.in_progress if status == "IN_PROGRESS" else self.by_id
        found = [job for job in reversed(found.values()) if status is None or job.status == status]
        shown = found[(page - 1) * limit:page * limit]
        for job in shown:
            if job.status == "IN_PROGRESS":
                self.note_delivery(job, "list")
        return shown, len(found)

    def get(self, id):
        job = self.by_id.get(id)
        if job is None:
            raise ApiError(404, "Job not found")
        return job

    def update(self, job, status, error, metadata):
        """A status post that passed validation."""
        if status != job.status and status not in NEXT[job.status]:
            raise ApiError(409, f"Invalid job status transition from {job.status} to {status} for job {job.id}")
        changed = status != job.status
        error = None if error is None else clip_error(error)
        if error is not None and error != job.error:
            job.error, changed = error, True
        if metadata is not None and metadata != job.metadata:
            job.metadata, changed = metadata, True
        if changed or status in FINAL:
            job.updated = self.clock.now()
        self.set_status(job, status)

    def set_status(self, job, status):
        job.status = status
        if status == "IN_PROGRESS":
            self.in_progress[job.id] = job
            self.on_progress(job)
        elif status in FINAL:
            job.settled = False
            self.in_progress.pop(job.id, None)
            if self.incomplete.get(job.key) == job.id:
                del self.incomplete[job.key]
            self.on_final(job)

    def fail_stale(self):
        """What the API does each minute."""
        now = self.clock.now()
        for job in list(self.in_progress.values()):
            minutes = self.types.get(job.type, {}).get("staleMinutes", 10)
            if now - job.updated > minutes * 60:
                job.error = f"Job timed out - no update received for {minutes} minutes"
                job.updated = now
                self.set_status(job, "FAILED")


def clip_error(text):
    """To the length that is stored: the first line stays, of the rest its end."""
    if len(text) <= ERROR_MAX:
        return text
    first = text.split("\n", 1)[0][:ERROR_MAX // 2]
    return first + "\n...\n" + text[len(first) + 5 - ERROR_MAX:]
