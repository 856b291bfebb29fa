"""The API's idea of the time: may run faster, be moved on and, in what it tells, be wrong."""

import time
from datetime import datetime, timezone


class Clock:
    def __init__(self):
        self.scale = 1.0
        self.skew_s = 0.0
        self.base = time.time()
        self.since = time.monotonic()

    def now(self):
        """Seconds since the epoch."""
        return self.base + (time.monotonic() - self.since) * self.scale

    def set_scale(self, scale):
        self.base, self.since = self.now(), time.monotonic()
        self.scale = scale

    def advance(self, seconds):
        self.base += seconds

    def text(self, at=None):
        """As the API writes times, milliseconds and Z."""
        at = (self.now() if at is None else at) + self.skew_s
        return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z"
