"""Users who want the next thing as soon as they have the last one: jobs without a pause, for measurements."""

from .jobs import ApiError

QUANTILES = (0.5, 0.9, 0.99, 1.0)


def quantiles(seconds):
    """In milliseconds, by name: p50, ... p100."""
    ordered = sorted(seconds)
    return {f"p{q * 100:g}": ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1000 for q in QUANTILES if ordered}


class Load:
    """One at a time: each sandbox goes through the calls, in turn and again and again."""

    def __init__(self, user, clock):
        self.user = user
        self.clock = clock
        self.left = {}         # calls to go, by sandbox
        self.clear()
        user.sandboxes.on_settled = self.go_on

    def clear(self):
        self.calls, self.begin, self.end = [], None, None
        self.done, self.failed = 0, []
        self.delivered, self.answered = [], []

    def start(self, ids, calls, rounds):
        if self.left:
            raise ApiError(409, "a load is running")
        self.clear()
        self.calls = calls
        self.left = dict.fromkeys(ids, len(calls) * rounds)
        self.begin = self.clock.now()
        for id in ids:
            self.next(id)

    def next(self, id):
        at = -self.left[id] % len(self.calls)
        self.user.call(self.calls[at], id, {})

    def go_on(self, job):
        """A job of some sandbox has taken effect."""
        id = job.resource_id
        if id not in self.left:
            return
        self.done += 1
        if job.deliveries:
            self.delivered.append(job.deliveries[0]["at"] - job.created)
            self.answered.append(job.updated - job.created)
        self.left[id] -= 1
        if job.status == "FAILED":
            self.failed.append({"sandbox": id, "type": job.type, "errorMessage": job.error})
            del self.left[id]
        elif self.left[id] == 0:
            del self.left[id]
        else:
            self.next(id)
        if not self.left:
            self.end = self.clock.now()

    def view(self):
        seconds = (self.end or self.clock.now()) - self.begin if self.begin else 0
        return {"running": len(self.left), "done": self.done, "failed": self.failed, "seconds": seconds,
                "perSecond": self.done / seconds if seconds else 0,
                "deliveredMs": quantiles(self.delivered), "answeredMs": quantiles(self.answered)}
