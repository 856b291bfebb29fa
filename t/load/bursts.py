"""Bursts (D27): a hundred creates at once, a thousand, more than the queue takes; the order of a sandbox's operations."""

import fcntl
import json
import os
import re
import signal
import tempfile
import time

import tap
from census import Census
from many import Many
from rig import Runner, Skip, quantile

FIRST_PORT = 29000  # beyond those of t/run/lib.sh, which gives out hundreds
LOCK = "/tmp/runner-t.ports.burst"
RETRIES = 200


class BurstRunner(Runner):
    queue = 1024  # the default
    workers = 64

    def __init__(self, base):
        self.CONFIG = Runner.CONFIG.replace("{{queue: 4096}}", f"{{{{queue: {self.queue}}}}}\nworkers: {self.workers}")
        super().__init__(base)

    def user_network(self):
        return f"    network: {{plugin: user, first_port: {FIRST_PORT}, last_port: {FIRST_PORT + 1999}}}"

    def wish(self, id, *lines):
        """What the VM of one sandbox does wrong (t/fake/fake-qemu.h)."""
        with open(os.path.join(self.dir, f"fake-qemu.conf.{id}"), "w") as file:
            file.write("\n".join(lines) + "\n")

    def tasks(self):
        """How many operations run, beside this look at them, and how many wait."""
        lines = self.client.call("GET", "/metrics", as_text=True).splitlines()
        counts = dict(line.split() for line in lines if line.startswith("runner_tasks{"))
        return int(counts['runner_tasks{state="running"}']) - 1, int(counts['runner_tasks{state="waiting"}'])

    def await_tasks(self, *wanted):
        until = time.monotonic() + 120
        while self.tasks() != wanted:
            if time.monotonic() > until:
                raise RuntimeError(f"running and waiting are {self.tasks()}, wanted {wanted}")
            time.sleep(0.003)


class SmallQueue(BurstRunner):
    queue = 100
    workers = 8


def all_of(runner, method, targets):
    many = Many(runner.socket)
    for target in targets:
        many.send(target, method, target)
    return list(many.answers())


def destroy(runner, ids):
    return {answer.status for answer in all_of(runner, "DELETE", [f"/sandboxes/{id}" for id in ids])}


def seen(runner, ids):
    """State, process and port of each, as the runner has them."""
    for sandbox in runner.client.call("GET", "/sandboxes")["sandboxes"]:
        if sandbox["id"] in ids:
            with open(os.path.join(runner.root, "sandboxes", sandbox["id"], "runner.json")) as file:
                yield sandbox["state"], sandbox["pid"], json.load(file)["nic"]["forwardPort"]


def times(answers):
    ms = [answer.ms for answer in answers]
    return f"median {quantile(ms, 0.5):.0f} ms, 99 % {quantile(ms, 0.99):.0f} ms, last {max(ms):.0f} ms"


def burst(runner, n, empty):
    """n creates at once on an idle runner: all of them succeed, none shares anything, nothing is left."""
    ids = [f"burst-{n}-{i:04}" for i in range(n)]
    many = Many(runner.socket)
    for id in ids:
        many.send(id, "POST", "/sandboxes", dict(runner.body, id=id))
    answers = list(many.answers())
    bad = [answer for answer in answers if answer.status != 201]
    tap.ok(f"d27: {n} creates at once all succeed ({times(answers)})", not bad, *bad[:5])
    found = list(seen(runner, set(ids)))
    for i, what in enumerate(("state", "process", "port")):
        values = {sandbox[i] for sandbox in found}
        wanted = 1 if what == "state" else n
        tap.equal(f"d27: {n} creates: each has a {what}" + (" of its own" if wanted == n else ", started"),
                  (len(found), len(values)), (n, wanted))
    tap.equal(f"d27: {n} removals at once all succeed", destroy(runner, ids), {200})
    runner.wait_idle()
    tap.equal(f"d27: {n} creates leave nothing", Census(runner).difference(empty), [])


def refusals(runner, n, empty):
    """More than the queue takes: those are refused at once, and taken later by whoever does as the answer says."""
    ids = {f"crowd-{i:04}" for i in range(n)}
    todo, refused, done = set(ids), [], []
    for _ in range(RETRIES):
        many = Many(runner.socket)
        for id in todo:
            many.send(id, "POST", "/sandboxes", dict(runner.body, id=id))
        answers = list(many.answers())
        refused += [answer for answer in answers if answer.status == 503]
        done += [answer for answer in answers if answer.status != 503]
        todo = {answer.key for answer in answers if answer.status == 503}
        if not todo:
            break
        time.sleep(float(refused[0].head["retry-after"]))  # as the answer says
    tap.ok(f"d27: of {n} creates at once for a queue of {runner.queue} some are refused", refused)
    tap.equal("d27: with Retry-After", {answer.head.get("retry-after", "none") for answer in refused}, {"1"})
    tap.equal("d27: and a reason", {json.loads(answer.body)["message"] for answer in refused},
              {f"service unavailable: the runner is busy: {runner.queue} operations are waiting"})
    slowest = max(answer.ms for answer in done)
    tap.ok("d27: none of them has waited as long as the slowest create", max(a.ms for a in refused) < slowest)
    tap.equal("d27: those that come again succeed", ({answer.status for answer in done}, len(done)), ({201}, n))
    tap.equal("d27: nothing of a refused one stays", len(list(seen(runner, ids))), n)
    for some in (ids_of for ids_of in (sorted(ids)[i:i + runner.queue // 2] for i in range(0, n, runner.queue // 2))):
        destroy(runner, some)
    runner.wait_idle()
    tap.equal("d27: after refusals nothing is left", Census(runner).difference(empty), [])


def pid_of(runner, id):
    with open(os.path.join(runner.root, "sandboxes", id, "vmm.pid")) as file:
        return int(file.readline())


def ended(runner, id):
    """Its operations that were done, in order."""
    with open(runner.log.name, errors="replace") as log:
        return [re.search(r" op=(\S+)", line).group(1) for line in log
                if " event=op.done " in line and f" id={id} " in line]


def order(runner, empty):
    """What is sent to one sandbox in order is done in that order, while others run and hang. The first operation hangs,
    too, until all are sent: each is sent when the runner has the one before. By the runner's log: answers of several
    connections can overtake each other."""
    hanging = [f"hang-{i}" for i in range(3)]
    many = Many(runner.socket)
    for id in hanging:
        runner.wish(id, "no-guest")
        many.send(id, "POST", "/sandboxes", dict(runner.body, id=id))
    runner.await_tasks(len(hanging), 0)
    runner.client.call("POST", "/sandboxes", dict(runner.body, id="box"))
    box = pid_of(runner, "box")
    os.kill(box, signal.SIGSTOP)
    sent = ["pause", "resume", "stop", "start"] * 6 + ["destroy"]
    for i, what in enumerate(sent):
        many.send((i, what), "POST", f"/sandboxes/box/{what}", {"force": True} if what == "stop" else {})
        runner.await_tasks(len(hanging) + 1, i)
    os.kill(box, signal.SIGCONT)
    answered = []
    for answer in many.answers():
        if answer.key in hanging:
            continue
        answered.append((answer.key, answer.status))
        if len(answered) == len(sent):
            for id in hanging:
                os.kill(pid_of(runner, id), signal.SIGKILL)
    tap.equal("d27: operations on one sandbox end in the order in which they came", ended(runner, "box"),
              ["create"] + sent)
    tap.equal("d27: each is answered", sorted(key for key, _ in answered), list(enumerate(sent)))
    tap.equal("d27: and none of them fails", {status for _, status in answered}, {200})
    runner.wait_idle()
    tap.equal("d27: after that nothing is left", Census(runner).difference(empty), [])


def main():
    lock = open(LOCK, "a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        try:
            with BurstRunner(base) as runner:
                runner.client.call("POST", "/sandboxes", dict(runner.body, id="first"))  # makes what all share
                destroy(runner, ["first"])
                runner.wait_idle()
                empty = Census(runner)
                order(runner, empty)
                burst(runner, 100, empty)
                burst(runner, 1000, empty)
            with SmallQueue(base) as runner:
                runner.client.call("POST", "/sandboxes", dict(runner.body, id="first"))
                destroy(runner, ["first"])
                runner.wait_idle()
                refusals(runner, 400, Census(runner))
        except Skip as reason:
            tap.skip_all(reason)
    tap.done()


if __name__ == "__main__":
    main()
