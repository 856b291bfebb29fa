"""SIGKILL to the runner at every point of every operation, and what is true when the next one has recovered.

A point is where the host has been changed by the operation, or an event has been waited for, since the point before:
the list is taken from a run in which calls are only traced. Where nothing was changed between two calls, or two phases,
a crash at the one is a crash at the other. What power loss would do beyond that (a disk that forgets what was not
synced) is not simulated; but each record must be synced before it gets its name, and the name before anything follows.

    FULL=1    every call that changes or awaits anything and every phase, before and after it
    POINT=ch:create:37:before    only this one; ch, ch:create or :create: only these
    JOBS=N    so many runners at a time (one more than there are processors)
"""

import os
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import fault
import tap
from crash_rig import BYSTANDER, ID, CrashRig, Wrong
from rig import BUILD, Skip, is_sanitized
from runners import BridgeRunner, LoopbackRunner, NetnsRunner, NewTapRunner, QemuRunner, enter_namespace, has_bridge
from scenarios import SCENARIOS

FULL = os.environ.get("FULL", "0") == "1"
COUNTED = fault.CHANGE | (fault.MARK | fault.WAIT if FULL else 0)
TRACED = fault.MARK | fault.WAIT
BEFORE, AFTER = "before", "after"
SYNCS = ("fsync", "fdatasync")
FILLS = ("write", "pwrite", "fchmod", "fchown", "ftruncate")
SANITIZED_STEP = 4  # one point of so many: what is lost at a point does not depend on how the runner was built
WITH_BRIDGE_ONLY = {("take_over", "take_over")}  # older runners had no other network


def is_unseen(call):
    """What is not synced is lost when power is, not when the runner is; and a file without a name is read by nobody,
    whatever is in it: that there is one counts."""
    return call.name in SYNCS or (call.name in FILLS and os.path.basename(call.where).startswith(".tmp-"))


def points_of(trace):
    """(number, side, what it is) of all points that differ."""
    points, moved = [], True
    for call in trace:
        if not FULL and is_unseen(call):
            continue
        if call.number == 0:
            moved = moved or call.kind == fault.WAIT
            continue
        what = f"{call.name} {call.where}"
        if moved or FULL:
            points.append((call.number, BEFORE, what))
        moved = call.result < 0  # it has not returned: what it began goes on by itself
        if call.result == 0 or (FULL and call.result > 0):
            points.append((call.number, AFTER, what))
    return points


def run_point(rig, scenario, number, side):
    """Whether the point was come to."""
    scenario.prepare(rig)
    rig.fault.arm(fault.CRASH_BEFORE if side == BEFORE else fault.CRASH_AFTER, at=number, kinds=COUNTED, traced=TRACED,
                  id=scenario.id)
    status = scenario.run(rig)
    is_hit = rig.fault.hits > 0
    if is_hit and not rig.await_death():
        raise Wrong("the runner did not die of it")
    if is_hit:
        rig.restart(scenario.expected)
    rig.fault.disarm()
    scenario.check(rig, status)
    scenario.again(rig)
    rig.check_bystander()
    rig.remove()
    return is_hit


def trace_of(rig, scenario):
    scenario.prepare(rig)
    rig.fault.arm(fault.TRACE, kinds=COUNTED, traced=TRACED, id=scenario.id)
    status = scenario.run(rig)
    rig.settle()
    rig.fault.disarm()
    trace = scenario.part_of(rig.fault.trace())
    check_synced(scenario, [call for call in trace if call.kind == fault.CHANGE])
    scenario.check(rig, status)
    scenario.again(rig)
    rig.remove()
    return trace


def check_synced(scenario, changes):
    """All records but the first one of a create, which is worth nothing yet."""
    records = [i for i, call in enumerate(changes) if call.name == "renameat" and call.where.endswith("/runner.json")]
    for i in records[1 if scenario.is_create else 0:]:
        around = [(call.name, os.path.basename(call.where)[:5]) for call in changes[i - 1:i + 2]]
        if around != [("fsync", ".tmp-"), ("renameat", "runne"), ("fsync", ID[:5])]:
            raise Wrong("a record is not durable", *changes[i - 1:i + 2])


def phases_of(trace):
    """(operation, phase) of the lines that tell of one."""
    words = [dict(word.split("=", 1) for word in call.where.split()) for call in trace if call.kind == fault.MARK]
    return {(line["op"], line["phase"]) for line in words if line.get("id") != BYSTANDER}


class Result:
    def __init__(self, kind, name):
        self.kind, self.name = kind, name
        self.points, self.missed, self.wrong, self.phases, self.seconds = 0, [], [], set(), 0


def new_rig(kind, base):
    kinds = {"qemu": QemuRunner, "ch": LoopbackRunner}
    if has_bridge():
        enter_namespace()
        kinds = {"qemu": QemuRunner, "ch": BridgeRunner, "ch-new-tap": NewTapRunner, "ch-netns": NetnsRunner}
    return CrashRig(kinds[kind], base)


def run_scenario(kind, name, only, base):
    """All points of one operation. After one that went wrong the next begins with another runner in another folder."""
    scenario, result, begin = SCENARIOS[name], Result(kind, name), time.monotonic()
    rig = new_rig(kind, base)
    points = []
    try:
        trace = trace_of(rig, scenario)
        result.phases = phases_of(trace)
        points = [point for point in points_of(trace) if only is None or [str(point[0]), point[1]] == only]
        if is_sanitized() and only is None and not FULL:
            points = points[len(name) % SANITIZED_STEP::SANITIZED_STEP]
    except Exception as error:
        result.wrong.append((f"{kind}:{name}", "traced only", told(error, rig)))
    for number, side, what in points:
        where = f"{kind}:{name}:{number}:{side}"
        result.points += 1
        try:
            if not run_point(rig, scenario, number, side):
                result.missed.append(where)
        except Exception as error:
            result.wrong.append((where, what, told(error, rig)))
            give_up(rig)
            rig = new_rig(kind, base)
    give_up(rig)
    result.seconds = time.monotonic() - begin
    return result


def told(error, rig):
    lines = [str(arg) for arg in error.args] if isinstance(error, Wrong) else traceback.format_exc().splitlines()
    hit = [f"hit: {rig.fault.hit.name} {rig.fault.hit.where}"] if rig.fault.hits else []
    return lines + hit + ["the log since the restart:"] + ["  " + line for line in rig.log_lines()[-25:]]


def give_up(rig):
    """Whatever state it is in."""
    try:
        rig.close()
    except Exception as error:
        print(f"# the end of a runner: {error!r}", file=sys.stderr)
    rig.kill_all()


def listed_phases():
    text = subprocess.run([os.path.join(BUILD, "runner-ch"), "--list-operations"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    return {(line.split()[0], phase) for line in text.splitlines() for phase in line.split()[1:]}


def base_dir():
    """In memory, where that is: the disk is not what is tried."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def kinds_for(scenario):
    """Those that can be here; with sanitizers each scenario once."""
    kinds = [kind for kind in scenario.kinds if kind not in ("ch-new-tap", "ch-netns") or has_bridge()]
    return [kind for kind in kinds if kind == "qemu"] or kinds[:1] if is_sanitized() else kinds


def main():
    kind, name, *only = os.environ.get("POINT", ":").split(":")
    tasks = [(k, s.name) for s in SCENARIOS.values() for k in kinds_for(s) if kind in ("", k) and name in ("", s.name)]
    results = []
    if not has_bridge():
        tap.diag("no bridge: that needs root, network namespaces and the plugin")
    with tempfile.TemporaryDirectory(prefix="runner-t.", dir=base_dir()) as base:
        os.chmod(base, 0o711)
        jobs = int(os.environ.get("JOBS", os.cpu_count() + 1))
        with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
            running = [pool.submit(run_scenario, *task, only or None, base) for task in tasks]
            for future in as_completed(running):
                results.append(future.result())
                tell(results[-1])
    tap.ok("points were come to", sum(r.points for r in results) > 0)
    if not os.environ.get("POINT"):
        listed, met = listed_phases(), set().union(*(r.phases for r in results))
        tap.equal("every phase of every operation is among them",
                  sorted(listed - met - (set() if has_bridge() else WITH_BRIDGE_ONLY)), [])
        tap.equal("and runner-ch --list-operations has all that were met", sorted(met - listed), [])
    tap.diag(f"{sum(r.points for r in results)} points of {len(results)} operations, "
             f"{sum(len(r.missed) for r in results)} not come to, {sum(len(r.wrong) for r in results)} wrong")
    tap.done()


def tell(result):
    details = [line for where, what, lines in result.wrong for line in [f"POINT={where} ({what})"] + lines]
    tap.ok(f"{result.kind}, {result.name}: {result.points} points, {result.seconds:.1f} s, nothing is lost or left",
           not result.wrong, *details)
    if result.missed:
        tap.diag("not come to: " + " ".join(result.missed))
    # Calls that come in another order, or not every time, shift the numbers by a few.
    tap.ok("nearly all of them were come to", len(result.missed) <= 4 + result.points // 20)


if __name__ == "__main__":
    try:
        main()
    except Skip as reason:
        tap.skip_all(reason)
