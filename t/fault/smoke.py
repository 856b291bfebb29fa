"""Whether faults on order come as ordered, and whether every system call of the runner's can be one."""

import errno
import glob
import http.client
import os
import re
import signal
import subprocess
import tempfile

import fault
import tap
from census import Census, cgroup_dir, cgroups
from fault import Fault
from rig import BUILD, Runner

# System calls that are not wrapped, since no worker makes them for an operation, or since they cannot fail, or since
# their failure has no meaning.
NOT_WRAPPED = set("""accept4 close exit_group getcwd getpid getppid getuid geteuid umask setsid shutdown socketpair
    access exit getrusage gettimeofday clock_gettime getpeername getsockname""".split())


def names(option, path):
    text = subprocess.run(["nm", "-D", option, path], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in text.splitlines()}


def check_names():
    """What the compiled program and its plugins import of libc, as far as it is the name of a system call."""
    calls = set()
    for header in glob.glob("/usr/include/*/asm/unistd_64.h"):
        with open(header) as file:
            calls |= set(re.findall(r"__NR_(\w+)", file.read()))
    imported = set()
    for path in [os.path.join(BUILD, "runner-ch")] + glob.glob(os.path.join(BUILD, "plugins/*/*.so")):
        imported |= names("--undefined-only", path)
    left = (imported & calls) - names("--defined-only", fault.LIBRARY) - NOT_WRAPPED
    tap.ok("every system call of the runner and its plugins can be made to fail", calls and not left,
           f"wrap them in t/fault/calls.c, or name them in t/fault/smoke.py: {sorted(left)}")


class FaultyRunner(Runner):
    level = "debug"
    is_test = True


def ask(runner, method, path, body=None):
    """Status and body; None, None when there was no answer."""
    try:
        return runner.client.ask(method, path, body)
    except (OSError, http.client.HTTPException):
        runner.client.close()
        return None, None


def create(runner, id):
    return ask(runner, "POST", "/sandboxes", dict(runner.body, id=id))


def check_trace(runner, faults):
    create(runner, "first")  # what all sandboxes share is made: the cgroup above theirs
    ask(runner, "DELETE", "/sandboxes/first")
    faults.arm(fault.TRACE, kinds=fault.CHANGE, traced=fault.MARK | fault.WAIT)
    tap.equal("a create that is only traced", create(runner, "traced")[0], 201)
    trace = faults.trace()
    made = {(call.name, os.path.basename(call.where)) for call in trace}
    for call in (("mkdirat", "traced"), ("renameat", "runner.json"), ("ftruncate", "disk.qcow2"), ("openat", "vmm.pid"),
                 ("bind", "traced.sock")):
        tap.ok(f"its trace has {call[0]} of {call[1]}", call in made, sorted(made))
    phases = [call.where.split("phase=")[1].split()[0] for call in trace if call.kind == fault.MARK]
    tap.equal("and its phases", phases[:2] + phases[-1:], ["admit", "image", "commit"])
    tap.ok("it waits, too", any(call.kind == fault.WAIT for call in trace))
    tap.equal("what is counted has numbers", [call.number for call in trace if call.kind == fault.CHANGE],
              list(range(1, faults.count + 1)))
    before = [call.name for call in trace if call.kind == fault.CHANGE]
    ask(runner, "DELETE", "/sandboxes/traced")
    faults.arm(fault.TRACE)
    create(runner, "traced")
    tap.equal("a second create has the same", [call.name for call in faults.trace()], before)
    ask(runner, "DELETE", "/sandboxes/traced")


def check_failures(runner, faults, empty):
    faults.arm(fault.FAIL, name="mkdirat", where="/sandboxes/", error=errno.ENOSPC)
    status, text = create(runner, "fails")
    tap.equal("a directory that cannot be made fails the create", status, 400)
    tap.ok("which says why", b"No space left" in (text or b""), text)
    tap.equal("it was that call", faults.hit.name, "mkdirat")
    faults.arm(fault.SHORT, where="/.tmp-", times=0)
    tap.equal("writes that are short are gone on with", create(runner, "fails")[0], 201)
    tap.ok("there were some", faults.hits > 3, faults.hits)
    faults.arm(fault.LOSE, name="fsync", error=errno.EIO)
    status, text = ask(runner, "POST", "/sandboxes/fails/stop")
    tap.equal("an fsync that fails in the end fails the stop", (status, b"Input/output error" in text), (500, True))
    faults.arm(fault.STALL, name="fsync", stall_ms=50)
    tap.equal("a late fsync is no fault", ask(runner, "DELETE", "/sandboxes/fails")[0], 200)
    faults.disarm()
    runner.wait_idle()
    tap.equal("nothing is left", Census(runner).difference(empty), [])


def check_crash(runner, faults, empty):
    faults.arm(fault.CRASH_BEFORE, name="bind", where="orphan.sock")
    tap.equal("the runner dies before the VMM begins", create(runner, "orphan")[0], None)
    tap.equal("by SIGKILL", runner.process.wait(60), -signal.SIGKILL)
    tap.equal("at that call", (faults.hit.name, os.path.basename(faults.hit.where)), ("bind", "orphan.sock"))
    runner.launch()
    runner.wait_up()
    runner.wait_idle()
    tap.equal("the next one leaves nothing", Census(runner).difference(empty), [])


def check_cgroup(runner, faults):
    """Of a runner that has started no process yet."""
    if cgroup_dir(runner.root) is None or os.geteuid() != 0:
        tap.skip("a cgroup later, where none could be made once: needs root and cgroup2")
        return
    faults.arm(fault.FAIL, name="mkdirat", where="/runner-ch", error=errno.ENOSPC)
    create(runner, "without")
    tap.equal("a cgroup cannot be made", (faults.hits, list(cgroups(runner.root))), (1, []))
    faults.disarm()
    create(runner, "with")
    tap.equal("the next sandbox has one all the same", len(list(cgroups(runner.root))), 1)
    for id in ("with", "without"):
        ask(runner, "DELETE", f"/sandboxes/{id}")


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        check_names()
        faults = Fault(os.path.join(base, "faults"))
        with FaultyRunner(base, faults.env()) as runner:
            runner.wait_idle()
            empty = Census(runner)
            check_trace(runner, faults)
            check_failures(runner, faults, empty)
            check_crash(runner, faults, empty)
            check_cgroup(runner, faults)
    tap.done()


if __name__ == "__main__":
    main()
