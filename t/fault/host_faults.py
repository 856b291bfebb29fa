"""What may go wrong with calls of the runner's to its host: of one function at a time, chosen by a number."""

import errno
import random

import fault

# Functions that operations make use of, and what they may fail with on a host that is in trouble.
CALLS = {
    "openat": "EMFILE ENOSPC EIO ENOMEM EDQUOT", "openat2": "EMFILE EIO", "open": "EMFILE EIO", "pwrite": "ENOSPC EIO",
    "write": "ENOSPC EIO", "read": "EIO", "fsync": "EIO ENOSPC", "fdatasync": "EIO", "ftruncate": "ENOSPC EIO",
    "renameat": "ENOSPC EIO", "renameat2": "ENOSPC EIO", "mkdirat": "ENOSPC EDQUOT", "mkdir": "ENOSPC",
    "fchown": "EPERM", "fchmod": "EIO", "fstatat": "EIO ENOMEM", "fstat": "EIO", "fdopendir": "ENOMEM",
    "readdir": "EIO",
    "socket": "EMFILE ENOMEM", "connect": "ETIMEDOUT", "sendmsg": "ENOMEM", "send": "EPIPE", "recv": "ECONNRESET",
    "ioctl": "EPERM EBUSY ENOMEM", "poll": "ENOMEM", "epoll_create1": "EMFILE", "epoll_ctl": "ENOMEM",
    "eventfd": "EMFILE", "inotify_init1": "EMFILE", "inotify_add_watch": "ENOSPC", "pidfd_open": "EMFILE",
    "memfd_create": "EMFILE", "pipe2": "EMFILE", "vfork": "EAGAIN ENOMEM", "clone": "EAGAIN", "execve": "ENOMEM EACCES",
    "flock": "ENOLCK", "if_nametoindex": "EMFILE", "unlinkat": "EIO EPERM", "linkat": "ENOSPC",
}
POINTS = [(name, error) for name, errors in CALLS.items() for error in errors.split()]
TIMES = [1, 1, 1, 2, 5]  # how many calls fail in a row


class HostFaults:
    """Armed, calls of the runner's workers fail. One thread at a time."""

    def __init__(self, faults, model):
        self.faults, self.model = faults, model
        self.is_armed, self.n_armed, self.n_hit = False, 0, 0
        self.at = {}  # how often each was hit

    def arm(self, n):
        self.disarm()
        choice = random.Random(n)
        name, error = choice.choice(POINTS)
        times, at = choice.choice(TIMES), choice.randrange(1, 8)
        self.text = f"{name} fails with {error}, {times} times from the next but {at - 1} on"
        self.model.host_fails(self.text)
        # That an eventfd, by which threads wake each other, takes no more is nothing that a host does.
        kinds = fault.CHANGE if name == "write" else fault.CHANGE | fault.ASK
        self.faults.arm(fault.FAIL, at=at, times=times, kinds=kinds, name=name,
                        error=getattr(errno, error), is_traced=False)
        self.is_armed = True
        self.n_armed += 1

    def disarm(self):
        if not self.is_armed:
            return
        self.faults.disarm()
        self.is_armed = False
        self.n_hit += self.faults.hits
        hit = self.faults.hit
        if hit:
            self.at[hit.name] = self.at.get(hit.name, 0) + 1
        self.model.host_is_well(f"{hit.name} {hit.where}" if hit else "no call failed")
