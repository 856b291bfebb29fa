"""kill -9 of the runner in the middle of jobs of each type: every job ends once and with the right word, and what the
API believes of a sandbox, what the runner says of it and which processes there are agree afterwards.

From outside: KILLS (25), SEED (a random one; it is told), which repeats the choice of jobs and moments.
"""

import os
import random
import signal
import tempfile
import time

import tap
from census import Census, words_of
from daytona import DaytonaApi
from rig_jobs import JobRunner, local_state, new_id, words

KILLS = int(os.environ.get("KILLS", 25))
SEED = int(os.environ.get("SEED") or random.randrange(1 << 31))

# By the type of job: the calls of a user that lead to it, the call that makes it, where the sandbox is afterwards.
CREATE = ("create", {"snapshot": "tiny"})
STOPPED = [CREATE, ("stop", {})]
SCENARIOS = {
    "create": ([], CREATE, "started"),
    "create, left stopped": ([], ("create", {"snapshot": "tiny", "skipStart": True}), "stopped"),
    "start": (STOPPED, ("start", {}), "started"),
    "stop": ([CREATE], ("stop", {}), "stopped"),
    "stop, forced": ([CREATE], ("stop", {"force": True}), "stopped"),
    "stop of a paused one": ([CREATE, ("pause", {})], ("stop", {}), "stopped"),
    "pause": ([CREATE], ("pause", {}), "paused"),
    "resume": ([CREATE, ("pause", {})], ("start", {}), "started"),
    "destroy": ([CREATE], ("destroy", {}), "destroyed"),
    "destroy of a stopped one": (STOPPED, ("destroy", {}), "destroyed"),
    "resize": (STOPPED, ("resize", {"cpu": 2, "memory": 2}), "stopped"),
    "recover": ([CREATE, ("crash", {})], ("recover", {"skipStart": True}), "stopped"),
    "unknown": ([CREATE], ("dance", {}), "started"),
}


class SyncRunner(JobRunner):
    """It tells of crashes at once."""

    CONFIG = JobRunner.CONFIG.replace("healthcheck_interval: 1s", "healthcheck_interval: 1s, sync_interval: 1s")


def vms_of(runner, id):
    """Pids of the VMMs that run for it."""
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit() and int(pid) != runner.pid:
            line = words_of(pid)
            if line and line[0].startswith(runner.dir) and any(id in word for word in line):
                found.append(int(pid))
    return found


class Kills:
    def __init__(self, api, runner):
        self.api, self.runner = api, runner
        self.random = random.Random(SEED)
        self.seconds = {}    # by scenario: how long its job takes when nothing is killed
        self.states = {}     # of all sandboxes that there should be
        self.wrong = []

    def job_of(self, id, what, args):
        if what == "dance":
            return self.api.add_job("DANCE_SANDBOX", id)
        if what == "create" and args.get("skipStart"):  # it comes from another runner
            self.api.add_sandbox(id, state="stopped", desired="stopped")
        return self.api.user(id, what, **args)

    def crash(self, id):
        [pid] = vms_of(self.runner, id)
        os.kill(pid, signal.SIGKILL)
        self.api.wait(60, sandbox=id, state="error")

    def prepare(self, steps):
        """A sandbox that went through the steps."""
        id = new_id()
        for what, args in steps:
            if what == "crash":
                self.crash(id)
            else:
                self.api.result(self.job_of(id, what, args))
        return id

    def measure(self, name):
        steps, (what, args), _ = SCENARIOS[name]
        id = self.prepare(steps)
        job = self.job_of(id, what, args)
        self.api.wait(60, job=job, status="claimed")
        begin = time.monotonic()
        self.api.wait(60, job=job, status="final")
        self.seconds[name] = time.monotonic() - begin
        self.api.result(job)
        self.remove(id)

    def remove(self, id):
        if self.api.state(id) != "destroyed":
            self.api.do(id, "destroy")

    def restart(self):
        """Sometimes the next runner is killed as well, in its start."""
        kills = 1
        self.runner.end(signal.SIGKILL)
        while self.random.random() < 0.25:
            self.runner.begin()
            time.sleep(self.random.uniform(0, 0.2))
            self.runner.end(signal.SIGKILL)
            kills += 1
        self.runner.launch()
        # The poll of a runner that was killed lives on in the API, and takes the next job away: one of these.
        self.api.add_jobs([{"type": "DESTROY_SANDBOX", "resourceId": new_id()} for _ in range(kills)])
        return kills

    def check(self, what, got, wanted):
        if got != wanted:
            self.wrong.append(f"{what}: {got}, wanted {wanted}")

    def agree(self, id, state, what):
        self.check(f"{what}: state at the API", self.api.state(id), state)
        self.check(f"{what}: state here", local_state(self.runner, id), state)
        self.check(f"{what}: VMMs", len(vms_of(self.runner, id)), 1 if state in ("started", "paused") else 0)

    def kill_in(self, name):
        steps, (what, args), state = SCENARIOS[name]
        id = self.prepare(steps)
        job = self.job_of(id, what, args)
        self.api.wait(60, job=job, status="claimed")
        after = self.random.uniform(0, 1.2 * self.seconds[name])
        time.sleep(after)  # no event: the moment is what is random
        at = self.api.job(job)["status"]
        kills = self.restart()
        ended = self.api.result(job)
        self.runner.wait_idle()
        told = f"{name}, killed {kills} x, first after {after * 1e3:.1f} ms ({at})"
        self.check(f"{told}: the job", (ended["status"], ended.get("errorMessage")),
                   ("COMPLETED", None) if what != "dance" else ("FAILED", "unknown job type: DANCE_SANDBOX"))
        self.check(f"{told}: its words", set(words(self.api, job)), {ended["status"]})
        self.agree(id, state, told)
        if state != "destroyed":
            self.states[id] = state
        if self.wrong:
            with open(self.runner.log.name, errors="replace") as log:
                self.wrong += [line.rstrip() for line in log if id in line]
        return kills

    def kill_all(self, names):
        """Until something is wrong; how often it was killed. Some sandboxes stay while many are killed."""
        n = 0
        for name in names:
            n += self.kill_in(name)
            if len(self.states) > 6 and not self.wrong:
                self.remove_all()
            if self.wrong:
                break
        return n

    def remove_all(self):
        for id, state in self.states.items():
            self.agree(id, state, f"{id}, after more kills")
            if not self.wrong:
                self.remove(id)
        self.states.clear()


def main():
    tap.diag(f"SEED={SEED} KILLS={KILLS}")
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, SyncRunner(base, api) as runner:
            api.wait(60, runner="ready")
            runner.wait_idle()
            empty = Census(runner)
            kills = Kills(api, runner)
            for name in SCENARIOS:
                kills.measure(name)
            order = [name for _ in range(KILLS // len(SCENARIOS) + 1) for name in SCENARIOS][:KILLS]
            kills.random.shuffle(order)
            n = kills.kill_all(order)
            if not kills.wrong:
                kills.remove_all()
            tap.ok(f"{len(order)} jobs, {n} kills: each ended once and rightly, no sandbox is lost or doubled",
                   not kills.wrong, *kills.wrong)
            tap.ok("gotcha 23: a create goes on where one that was killed left off",
                   any(name.startswith("create") for name in order) and not kills.wrong)
            api.wait(60, jobs="final")
            runner.wait_idle()
            tap.equal("nothing is left", Census(runner).difference(empty, ["state/"]), [])
            # A poll whose runner has just been killed may wait on, for all that the API knows.
            tap.equal("the API was asked as it wants to be",
                      [text for text in api.violations() if "a second poll while one waits" not in text], [])
    tap.done()


if __name__ == "__main__":
    main()
