"""Faults on order in a runner that was started with t/fault/fault.so preloaded; t/fault/fault.h has the same layout."""

import errno
import mmap
import os
import struct
from collections import namedtuple

from rig import BUILD

LIBRARY = os.path.join(BUILD, "t/fault/fault.so")
MAGIC = 0x464C5431
OFF, TRACE, FAIL, LOSE, SHORT, STALL, CRASH_BEFORE, CRASH_AFTER = range(8)
CHANGE, ASK, WAIT, MEMORY, MARK, LOG = (1 << bit for bit in range(6))

TRACE_MAX = 8192
HEAD = struct.Struct("=IIIIIIQQ16s24s216s64sQIIII")
CALL = struct.Struct("=QIi24s216s")
MODE_AT = 4
COUNT_AT = struct.calcsize("=IIIIIIQQ16s24s216s64s")
SIZE = HEAD.size + CALL.size * (1 + TRACE_MAX)

Call = namedtuple("Call", "number kind result name where")


def text_of(raw):
    return raw.split(b"\0", 1)[0].decode(errors="replace")


class Fault:
    """Of one runner after the other. What is armed stays armed until disarm(), or until it made the runner crash."""

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.truncate(SIZE)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), SIZE)
        self.words = memoryview(self.memory).cast("I")
        self.arm(OFF)

    def env(self):
        """What a runner needs in its environment."""
        env = {"LD_PRELOAD": LIBRARY, "FAULT_CONTROL": self.path}
        asan = os.environ.get("ASAN_OPTIONS", "")
        env["ASAN_OPTIONS"] = asan + (":" if asan else "") + "verify_asan_link_order=0"
        return env

    def arm(self, mode, at=1, times=1, kinds=CHANGE, traced=0, name="", where="", error=errno.EIO, stall_ms=0,
            thread="worker", id="", is_traced=True):
        """From the at-th counted call on so many of them (0: all) are hit. Counted are those of these kinds, made by a
        thread whose name begins so, of this function, with this in their path, for this sandbox (the log has to be at
        level debug); "" is any. Not traced, it costs the runner no memory."""
        self.words[1] = OFF
        HEAD.pack_into(self.memory, 0, MAGIC, OFF, kinds, traced, error, stall_ms, at, times, thread.encode(),
                       name.encode(), where.encode(), id.encode(), 0, 0, 0, 0, not is_traced)
        self.memory[HEAD.size:HEAD.size + CALL.size] = bytes(CALL.size)
        self.words[1] = mode

    def disarm(self):
        """What was counted and traced stays."""
        self.words[1] = OFF

    @property
    def count(self):
        """How many calls were counted."""
        return struct.unpack_from("=Q", self.memory, COUNT_AT)[0]

    @property
    def hits(self):
        return struct.unpack_from("=QII", self.memory, COUNT_AT)[2]

    @property
    def hit(self):
        """The first call that was hit, or None."""
        return self._call(HEAD.size) if self.hits > 0 else None

    def trace(self):
        """The calls, in order; result is an errno, 0, or -1: it did not return (yet)."""
        n = struct.unpack_from("=QI", self.memory, COUNT_AT)[1]
        return [self._call(HEAD.size + CALL.size * (1 + i)) for i in range(min(n, TRACE_MAX))]

    def _call(self, at):
        number, kind, result, name, where = CALL.unpack_from(self.memory, at)
        return Call(number, kind, result, text_of(name), text_of(where))

    def close(self):
        self.words.release()
        self.memory.close()
