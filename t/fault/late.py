"""A VMM that pauses a machine, lets it go on, or makes it larger after nobody waits for its answer any more: what the
runner says is what the machine does, what its host promised it stays promised, and every request leads on.
"""

import errno
import os
import tempfile
import time

import fault
import tap
from fault import Fault
from rig import Skip
from runners import LoopbackRunner

SECONDS = 30  # until the runner has found out


class HurriedRunner(LoopbackRunner):
    TIMEOUTS = "{{create: 30s, ready: 20s, start: 30s, stop: 5s, request: 500ms}}"


class Scene:
    """A sandbox whose VMM has these wishes (t/fake/fake-ch.h), and a runner that can be kept from speaking to it."""

    def __init__(self, runner, faults, id, *wishes):
        self.runner, self.faults, self.id = runner, faults, id
        with open(os.path.join(runner.dir, f"cloud-hypervisor.conf.{id}"), "w") as file:
            file.write("".join(line + "\n" for line in wishes))
        runner.client.call("POST", "/sandboxes", dict(runner.body, id=id))

    def ask(self, what, body=None):
        status, text = self.runner.client.ask("POST", f"/sandboxes/{self.id}/{what}", body)
        return status, text.decode(errors="replace")

    def ask_once(self, what):
        """What comes after the first call of its VMM fails, until disarm()."""
        self.faults.arm(fault.FAIL, at=2, times=0, kinds=fault.CHANGE | fault.ASK, name="connect", error=errno.ENOMEM,
                        id=self.id)
        return self.ask(what)

    def look(self):
        return self.runner.client.call("GET", f"/sandboxes/{self.id}")

    def state(self):
        return self.look()["state"]

    def await_state(self, state):
        until = time.monotonic() + SECONDS
        while (now := self.state()) != state and time.monotonic() < until:
            time.sleep(0.02)  # nobody tells when a runner has asked again
        return now

    def answers(self):
        return self.runner.client.ask("GET", f"/sandboxes/{self.id}/toolbox/version")[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.faults.disarm()
        self.runner.client.call("DELETE", f"/sandboxes/{self.id}")


def check_pause_taken_back(scene):
    status, text = scene.ask("pause")
    tap.equal("d06: a pause that comes too late fails", (status, "does not answer vm.pause" in text), (408, True))
    tap.equal("d06: and is taken back: it is started, as it says", (scene.state(), scene.answers()), ("started", 200))


def check_pause_found_out(scene):
    status, text = scene.ask_once("pause")
    tap.equal("d06: one that cannot be taken back says so", (status, "may be left paused" in text), (408, True))
    scene.faults.disarm()
    tap.equal("d06: and is found out", scene.await_state("paused"), "paused")
    tap.equal("d06: a resume leads on", (scene.ask("resume")[0], scene.state(), scene.answers()), (200, "started", 200))


def check_resume_found_out(scene):
    scene.ask("pause")
    status, text = scene.ask_once("resume")
    tap.equal("d06: a resume that comes too late, and cannot be taken back", (status, "may be left running" in text),
              (408, True))
    scene.faults.disarm()
    tap.equal("d06: is found out", scene.await_state("started"), "started")
    tap.equal("d06: it runs", scene.answers(), 200)


def check_unknown(scene):
    tap.equal("d06: a pause of which nobody knows", scene.ask_once("pause")[0], 408)
    tap.equal("d06: while that is so, it says what it said", scene.state(), "started")
    scene.faults.disarm()
    until = time.monotonic() + SECONDS
    while scene.ask("resume")[0] != 200 and time.monotonic() < until:
        pass  # its VMM does not answer yet
    tap.equal("d06: a resume does not take its word for it", (scene.state(), scene.answers()), ("started", 200))


def resize(scene):
    """The status, whether it is said that it may be done, and how many processors it counts as."""
    status, text = scene.ask("resize", {"cpu": 2})
    return status, "may have some of it" in text, scene.look()["cpus"]


def check_resize_too_late(scene):
    tap.equal("d06: a machine that grows too late counts as large as it may be", resize(scene), (408, True, 2))
    tap.equal("d06: and the same again succeeds", resize(scene), (200, False, 2))


def check_resize_refused(scene):
    tap.equal("d06: one that does not grow counts as it did", resize(scene), (500, False, 1))


SCENES = {"late-pause": (check_pause_taken_back, "stall vm.pause 1500 1"),
          "lost-pause": (check_pause_found_out, "stall vm.pause 1500 1"),
          "lost-resume": (check_resume_found_out, "stall vm.resume 1500 1"),
          "unknown": (check_unknown, "stall vm.pause 1500 1"),
          "late-resize": (check_resize_too_late, "stall vm.resize 1500 1"),
          "no-resize": (check_resize_refused, "fail vm.resize no")}


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        faults = Fault(os.path.join(base, "control"))
        try:
            with HurriedRunner(base, faults.env()) as runner:
                for id, (check, wish) in SCENES.items():
                    with Scene(runner, faults, id, wish) as scene:
                        check(scene)
        except Skip as reason:
            tap.skip_all(reason)
    tap.done()


if __name__ == "__main__":
    main()
