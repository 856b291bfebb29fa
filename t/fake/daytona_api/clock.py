"""The API's idea of the time: may run faster, be moved on and, in what it tells, be wrong."""

import time


class Clock:
    def __init__(self):
        self.scale = 1.0
        self.skew_s = 0.0
        self.base = time.time()
        self.since = time.monotonic()
        self.second = (0, "")  # the last one that was written

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
        ms = int(((self.now() if at is None else at) + self.skew_s) * 1000)
        if ms // 1000 != self.second[0]:
            self.second = (ms // 1000, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)))
        return f"{self.second[1]}.{ms % 1000:03d}Z"
