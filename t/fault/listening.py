"""Who connects while the runner is out of descriptors, and of memory for its epoll set, is answered later."""

import errno
import os
import resource
import tempfile
import threading
import time

import fault
import tap
from fault import Fault
from rig import Client, Runner

HITS = 4       # attempts of two loops to listen again, one a second each
ANSWER_S = 60


class QuietRunner(Runner):
    is_test = True


def ask(runner, answers):
    client = Client(runner.socket, ANSWER_S)
    try:
        answers.append(client.ask("GET", "/info")[0])
    except OSError as error:
        answers.append(repr(error))
    client.close()


def reaches(count, n):
    until = time.monotonic() + ANSWER_S
    while count() < n and time.monotonic() < until:
        time.sleep(0.01)  # for this there is no event
    return count() >= n


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        faults = Fault(os.path.join(base, "faults"))
        with QuietRunner(base, faults.env()) as runner:
            limits = resource.prlimit(runner.pid, resource.RLIMIT_NOFILE)
            answers = []
            asking = threading.Thread(target=ask, args=(runner, answers))
            which = {"kinds": fault.ASK, "name": "epoll_ctl", "where": "socket:", "thread": "runner-ch"}
            faults.arm(fault.TRACE, **which)
            resource.prlimit(runner.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
            asking.start()
            tap.ok("both loops listen no more", reaches(lambda: faults.count, 2), faults.count)
            faults.arm(fault.FAIL, error=errno.ENOMEM, times=0, **which)
            tap.ok("they try to listen again, and cannot", reaches(lambda: faults.hits, HITS), faults.hits)
            faults.disarm()
            resource.prlimit(runner.pid, resource.RLIMIT_NOFILE, limits)
            asking.join()
            tap.equal("who connected meanwhile is answered", answers, [200])
            ask(runner, answers)
            tap.equal("and who connects now", answers[1:], [200])
    tap.done()


if __name__ == "__main__":
    main()
