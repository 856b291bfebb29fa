"""SIGTERM in the middle of work (D8): every machine lives on, every operation ends or is undone, every client is told,
and the next start has nothing to guess."""

import json
import os
import signal
import tempfile
import time

import tap
from census import Census
from many import Many
from rig import Runner, Skip

DRAIN_S = 10
BOUND_S = 60  # what core/main.c adds at most, on the slowest machine


class DrainRunner(Runner):
    is_test = True
    CONFIG = Runner.CONFIG.replace("start: 20m", f"start: 20m, drain: {DRAIN_S}s").replace(
        "limits", "workers: 20\nlimits")  # so many creates run at once, the others have not begun

    def wish(self, id, *lines):
        """What the VM of one sandbox does wrong (t/fake/fake-qemu.h)."""
        with open(os.path.join(self.dir, f"fake-qemu.conf.{id}"), "w") as file:
            file.write("\n".join(lines) + "\n")

    def state(self, id):
        return self.client.call("GET", f"/sandboxes/{id}")["state"]

    def record(self, id):
        with open(os.path.join(self.root, "sandboxes", id, "runner.json")) as file:
            return json.load(file)

    def pid_of(self, id):
        with open(os.path.join(self.root, "sandboxes", id, "vmm.pid")) as file:
            return int(file.readline())

    def await_all(self, ids, check):
        until = time.monotonic() + 120
        for id in ids:
            while not check(id):
                if time.monotonic() > until:
                    raise RuntimeError(f"waiting for {id} in vain")
                time.sleep(0.003)

    def has_pid(self, id):
        try:
            return self.pid_of(id) > 0
        except (OSError, ValueError):
            return False

    def is_removed(self, id):
        """Or is about to be, which nothing but its end stops any more."""
        try:
            return self.record(id)["state"] == "destroying"
        except FileNotFoundError:
            return True

    def halt(self, ids):
        """Their machines, each as soon as it is there."""
        left, until = set(ids), time.monotonic() + 120
        while left:
            for id in [id for id in left if self.has_pid(id)]:
                os.kill(self.pid_of(id), signal.SIGSTOP)
                left.remove(id)
            if time.monotonic() > until:
                raise RuntimeError(f"waiting for machines of {left} in vain")
            time.sleep(0.003)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def messages(answers):
    return {json.loads(answer.body).get("message") for answer in answers}


def creates(runner):
    """Creates are on their way, twenty of them under way; what became of each."""
    running = [f"running-{i}" for i in range(4)]
    quick = [f"quick-{i}" for i in range(10)]
    hanging = [f"hanging-{i}" for i in range(10)]
    waiting = [f"waiting-{i}" for i in range(8)]
    for id in running:
        runner.client.call("POST", "/sandboxes", dict(runner.body, id=id))
    pids = {id: runner.pid_of(id) for id in running}
    runner.client.call("POST", f"/sandboxes/{running[0]}/stop", {})
    many = Many(runner.socket)
    for id in quick:
        runner.wish(id, "guest-ms 2000")
    for id in hanging:
        runner.wish(id, "no-guest")
    for id in quick + hanging:
        many.send(id, "POST", "/sandboxes", dict(runner.body, id=id))
    runner.halt(quick)  # one that were ready would make place for another
    runner.await_all(hanging, runner.has_pid)
    for id in waiting:
        many.send(id, "POST", "/sandboxes", dict(runner.body, id=id))
    many.send("looks", "GET", "/sandboxes")
    begin = time.monotonic()
    runner.process.send_signal(signal.SIGTERM)
    for id in quick:
        os.kill(runner.pid_of(id), signal.SIGCONT)
    answers = {answer.key: answer for answer in many.answers()}
    status = runner.process.wait(120)
    seconds = time.monotonic() - begin
    tap.equal("d08: SIGTERM during 20 creates: exit status 0", status, 0)
    tap.ok(f"d08: within its deadline ({seconds:.1f} s, of which {DRAIN_S} s for work under way)",
           seconds < DRAIN_S + BOUND_S)

    def of(ids):
        return {answers[id].status for id in ids}
    tap.equal("d08: creates that end in time succeed", of(quick), {201})
    tap.equal("d08: the clients of those that do not are told", of(hanging), {503})
    said = messages(answers[id] for id in hanging)
    tap.ok("d08: with the reason", all("the runner is stopping" in text for text in said), said)
    tap.equal("d08: so are those of creates that had not begun", of(waiting), {503})
    tap.equal("d08: told when to come again", {answers[id].head.get("retry-after") for id in waiting + hanging}, {"1"})
    tap.equal("d08: machines live on", [is_alive(pids[id]) for id in running[1:]], [True] * 3)
    tap.equal("d08: those of the creates too", [is_alive(runner.pid_of(id)) for id in quick], [True] * 10)
    recorded = {id: runner.record(id)["state"] for id in os.listdir(os.path.join(runner.root, "sandboxes"))}
    tap.equal("d08: what is recorded", recorded,
              {running[0]: "stopped"} | {id: "started" for id in running[1:] + quick})
    before = {id: runner.pid_of(id) for id in running[1:] + quick}
    runner.launch()
    runner.wait_idle()
    tap.equal("d08: after the restart all are as they were", {id: runner.state(id) for id in running + quick},
              {running[0]: "stopped"} | {id: "started" for id in running[1:] + quick})
    tap.equal("d08: the same processes", {id: runner.pid_of(id) for id in before}, before)
    for id in hanging:
        runner.wish(id, "guest-ms 0")
    for id in hanging + waiting:
        many.send(id, "POST", "/sandboxes", dict(runner.body, id=id))
    tap.equal("d08: the creates that were refused succeed then", {answer.status for answer in many.answers()}, {201})
    return running + quick + hanging + waiting


def others(runner, ids):
    """Operations on sandboxes that are there: what is not done yet is recorded, and the next start does it."""
    stopping, pausing, removing, starting = ids[1:4], ids[4:6], ids[6:8], ids[:1]
    many = Many(runner.socket)
    for id in stopping + removing:
        runner.wish(id, "ignore-powerdown")
    pids = [runner.pid_of(id) for id in stopping + pausing]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # they will not hear the button, nor SIGTERM
    runner.wish(starting[0], "no-guest")
    for id in stopping:
        many.send(id, "POST", f"/sandboxes/{id}/stop", {})
    for id in pausing:
        many.send(id, "POST", f"/sandboxes/{id}/pause")
    for id in removing:
        many.send(id, "DELETE", f"/sandboxes/{id}")
    many.send(starting[0], "POST", f"/sandboxes/{starting[0]}/start", {})
    runner.await_all(stopping, lambda id: runner.record(id)["state"] == "stopping")
    runner.await_all(starting, lambda id: runner.record(id)["state"] == "starting")
    runner.await_all(removing, runner.is_removed)
    tap.equal("d08: SIGTERM during stops, pauses, removals, a start: exit status 0", runner.end(signal.SIGTERM), 0)
    answers = {answer.key: answer for answer in many.answers()}
    tap.equal("d08: each of their clients has an answer", {id: answers[id].status for id in answers if
                                                          answers[id].status not in (200, 503)}, {})
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
    runner.launch()
    runner.wait_idle()
    tap.equal("d08: the stops are done", {runner.state(id) for id in stopping}, {"stopped"})
    tap.equal("d08: the removals, too", {runner.state(id) for id in removing}, {"destroyed"})
    tap.equal("d08: the start is undone", runner.state(starting[0]), "stopped")
    tap.ok("d08: the paused ones run or are paused", {runner.state(id) for id in pausing} <= {"started", "paused"})


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        try:
            with DrainRunner(base) as runner:
                runner.client.call("POST", "/sandboxes", dict(runner.body, id="first"))  # makes what all share
                runner.client.call("DELETE", "/sandboxes/first")
                runner.wait_idle()
                empty = Census(runner)
                ids = creates(runner)
                others(runner, ids)
                for id in ids:
                    runner.client.call("DELETE", f"/sandboxes/{id}")
                runner.wait_idle()
                tap.equal("d08: nothing is left of all of them", Census(runner).difference(empty), [])
        except Skip as reason:
            tap.skip_all(reason)
    tap.done()


if __name__ == "__main__":
    main()
