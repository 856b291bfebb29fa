"""What goes wrong, on a schedule that the seed makes: at the n-th operation a VMM or the runner is killed, the runner
is told to end, a VMM begins to misbehave."""

import heapq
import os
import random
import select
import signal
import threading

from clients import Talk
from host_faults import HostFaults

# Wishes of the fakes (t/fake/fake-qemu.h, fake-ch.h). Those that make an operation wait for its deadline are rarer.
ANY = ["no-guest", "guest-ms 300", "signal 11", "exit 1 no room", "ignore-powerdown", "powerdown-ms 200"]
QEMU = ["late-exit 1 no memory", "greeting-ms 300", "noise", "big query-status", "silent stop"]
QEMU += [wish.format(command) for command in ("stop", "cont", "system_powerdown", "query-status", "qmp_capabilities")
         for wish in ("refuse {} it does not like that", "cut {}", "garbage {}")]
CH = ["start-ms 300", "boot-ms 300", "guest poweroff 300", "guest panic 300", "guest crash 300", "guest reboot 100",
      "no-shutdown-event", "hang vm.pause", "hang vm.boot"]
CH += [wish.format(call) for call in ("vm.create", "vm.boot", "vm.pause", "vm.resume", "vm.power-button", "vm.info")
       for wish in ("fail {} something is broken", "stall {} 300", "lose {}", "cut {}", "garbage {}", "crash {}",
                    "crash-after {} 6")]
WISHES = {"fake-qemu": ANY + QEMU, "cloud-hypervisor": ANY + CH}

DEATH_S = 60     # from SIGKILL until a process is gone
PER_1000 = {"kill the runner": 3, "stop the runner": 1, "kill a VMM": 30, "wish": 25}


class Chaos(threading.Thread):
    """rates: how often each action comes in 1000 operations. The runner is left alone after a share of them
    (quiet_from, 0 to 1), so that its memory can be watched in the rest."""

    def __init__(self, seed, host, model, gate, ledger, n_operations, rates, quiet_from):
        super().__init__(name="chaos", daemon=True)
        self.random = random.Random(f"{seed}/chaos")
        self.host, self.model, self.gate, self.ledger, self.talk = host, model, gate, ledger, Talk(host)
        self.counts = dict.fromkeys(rates, 0)
        self.statuses = []  # of runners that were told to end
        self.error = None
        self.schedule = []
        for action, rate in rates.items():
            upto = n_operations * (quiet_from if "runner" in action else 1)
            for i in range(max(1, round(n_operations * rate / 1000)) if rate else 0):
                self.plan(self.random.randrange(1, max(2, int(upto))), action, self.random.randrange(1 << 30))
        self.wished = {}
        self.host_faults = HostFaults(host.faults, model)

    def plan(self, at, action, n):
        heapq.heappush(self.schedule, (at, action, n))

    def run(self):
        try:
            while self.schedule:
                at, action, n = heapq.heappop(self.schedule)
                with self.gate.changed:
                    self.gate.changed.wait_for(lambda: self.gate.n_done >= at or self.gate.is_over)
                    if self.gate.is_over:
                        return
                with Pass(self.gate):
                    self.act(action, n)
        except Exception as error:  # whatever it is, the run has failed
            self.error = error
            self.model.fault(self.name, repr(error))
            self.gate.end()

    def act(self, action, n):
        if action == "kill a VMM":
            self.kill_vmm(n)
        elif action == "wish":
            self.wish(n)
        elif action == "take back":
            self.take_back(n)
        elif action == "host fault":
            self.host_faults.arm(n)
            self.counts[action] += 1
            self.plan(self.gate.n_done + 3 + n % 15, "host well", 0)
        elif action == "host well":
            self.host_faults.disarm()
        else:
            self.end_runner(signal.SIGKILL if action == "kill the runner" else signal.SIGTERM, n)
            self.counts[action] += 1

    # ---- VMMs ----

    def kill_vmm(self, n):
        """That of the first sandbox from the n-th on that has one."""
        ids = sorted(self.model.sandboxes)
        for i in range(len(ids)):
            id = ids[(n + i) % len(ids)]
            pid = self.host.pid_in_file(id)
            if pid and self.ledger and self.host.is_up.is_set():
                self.ledger.write(self.talk, id)
            if pid and self.kill(id, pid):
                self.counts["kill a VMM"] += 1
                return

    def kill(self, id, pid):
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            if not self.host.is_vmm(pid, id):  # the number is another's
                return False
            self.model.vmm_dies(id)
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            if not select.select([fd], [], [], DEATH_S)[0]:
                raise RuntimeError(f"process {pid} does not end")
            self.model.vmm_died(id)
            return True
        except (FileNotFoundError, ProcessLookupError):
            return False
        finally:
            os.close(fd)

    def wish(self, n):
        """A VMM started from now on misbehaves, until so many operations are done."""
        wishes, ids = WISHES[os.path.basename(self.host.program)], sorted(self.model.sandboxes)
        id = ids[n % len(ids)]
        if id in self.wished:
            return
        wish = wishes[n // len(ids) % len(wishes)]
        self.model.arm(id, wish)
        self.host.wish(id, [wish])
        self.wished[id] = wish
        self.counts["wish"] += 1
        self.plan(self.gate.n_done + 20 + n % 200, "take back", ids.index(id))

    def take_back(self, n):
        id = sorted(self.model.sandboxes)[n]
        if self.wished.pop(id, None):
            self.host.wish(id, None)
            self.model.disarm(id)

    def take_back_all(self):
        for n in range(len(self.model.sandboxes)):
            self.take_back(n)

    # ---- the runner ----

    def end_runner(self, number, n):
        if self.ledger:
            self.ledger.write(self.talk, sorted(self.model.sandboxes)[n % len(self.model.sandboxes)])
        self.host_faults.disarm()
        self.model.is_draining = number == signal.SIGTERM
        status = self.host.end(number)
        if number == signal.SIGTERM:
            self.statuses.append(status)
        self.model.runner_died()
        self.model.is_draining = False
        for i in range(n % 3):  # while nobody looks
            self.kill_vmm(n // 3 + i)
        self.host.launch()
        if "host fault" in self.counts:
            self.host.wait_hosts()


class Pass:
    """Within the gate, but no operation that counts."""

    def __init__(self, gate):
        self.gate = gate

    def __enter__(self):
        with self.gate.changed:
            self.gate.changed.wait_for(lambda: self.gate.is_open or self.gate.is_over)
            self.gate.n_inside += 1

    def __exit__(self, *_):
        with self.gate.changed:
            self.gate.n_inside -= 1
            self.gate.changed.notify_all()
