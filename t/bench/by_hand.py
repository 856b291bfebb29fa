"""The machines of a runner made by hand (by-hand.c): the same files, users, cgroup, TAP, VMM, without a runner."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

from rig import BUILD, Client, free_ports

BY_HAND = os.path.join(BUILD, "t/bench/by-hand")
PAUSE_US = 3000  # between two machines of one program

# In ms: its own processor time, and of the wall the whole time to the guest's first sign, and the phases.
Start = namedtuple("Start", "cpu heard host boot ready commit")


def cgroup_of(pid):
    """The folder above the cgroup of a process; None: it has none of its own."""
    with open(f"/proc/{pid}/cgroup") as file:
        path = next((line[3:].strip() for line in file if line.startswith("0::")), "/")
    with open("/proc/self/mounts") as mounts:
        root = next((line.split()[1] for line in mounts if line.split()[2] == "cgroup2"), None)
    return os.path.dirname(root + path) if root and path.count("/") > 1 else None


class ByHand:
    def __init__(self, runner, with_record=False):
        id, _, _ = runner.create()
        self.runner, self.pids, self.numbers = runner, [], itertools.count()
        self.dir = os.path.join(runner.dir, "hand")
        os.makedirs(self.dir)
        sandbox = os.path.join(runner.root, "sandboxes", id)
        for name in ("cloud-init.iso", "runner.json"):
            shutil.copy(os.path.join(sandbox, name), self.dir)
        shutil.copy(os.path.join(runner.root, "sandboxes", self.stopped(), "disk.qcow2"), self.dir)
        with open(os.path.join(sandbox, "runner.json")) as file:
            record = json.load(file)
        with open(os.path.join(sandbox, "vmm.pid")) as file:
            pid = int(file.readline())
        self.is_qemu = record["vmm"]["plugin"] == "qemu"
        self.options = [f"--disk={self.dir}/disk.qcow2", f"--seed={self.dir}/cloud-init.iso",
                        f"--uid={record['vmm']['uid']}"]
        if with_record:
            self.options.append(f"--record={self.dir}/runner.json")
        if cgroup_of(pid):
            self.options.append("--cgroup=" + cgroup_of(pid))
        if not self.is_qemu:
            self.options += self.machine(os.path.join(runner.dir, "run", id + ".sock"), sandbox)
        port = f"127.0.0.1:{record['nic']['forwardPort']}-"
        self.argv = [word.replace(sandbox, "@DIR@").replace(port, "127.0.0.1:@PORT@-") for word in runner.vmm_of(id)]
        self.argv[0] = os.readlink(f"/proc/{pid}/exe")
        runner.destroy_all()

    def stopped(self):
        """A sandbox whose disk no VMM has opened: Cloud Hypervisor marks one as in use, durably, when it is not yet."""
        self.runner.body["skipStart"] = True
        id, _, _ = self.runner.create()
        del self.runner.body["skipStart"]
        return id

    def machine(self, socket, sandbox):
        """The options that say what Cloud Hypervisor is asked for: the same, as it tells it itself."""
        vmm = Client(socket)
        config = vmm.call("GET", "/api/v1/vm.info")["config"]
        vmm.close()
        options = []
        if self.runner.bridge:
            nic = {"id": config["net"][0]["id"], "mac": "@MAC@"}
            del config["net"]
            options += ["--tap=hand", "--bridge=" + self.runner.bridge, "--nic=" + json.dumps(nic)]
        else:
            config["net"][0]["mac"] = "@MAC@"
            options.append("--port=2280")
        return options + ["--config=" + json.dumps(config).replace(sandbox, "@DIR@")]

    def start(self, n=1, pause_us=PAUSE_US):
        """n machines, one after the other."""
        numbers = [next(self.numbers) for _ in range(n)]
        line = [BY_HAND, "--dir=" + self.dir, f"--machines={n}", f"--first={numbers[0]}", f"--pause={pause_us}"]
        if self.is_qemu:
            line.append(f"--port={free_ports(1, 14000 + numbers[0])[0] - numbers[0]}")
        line = self.runner.within() + line + self.options + ["--"] + self.argv
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True)
        starts = []
        for told in done.stdout.splitlines():
            pid, cpu, *phases = map(int, told.split())
            self.pids.append(pid)
            starts.append(Start(cpu / 1e3, sum(phases[:3]) / 1e3, *(us / 1e3 for us in phases)))
        if done.returncode != 0:
            raise RuntimeError(f"a machine by hand does not start: {' '.join(line)}")
        return starts

    def start_all(self, n, each=1):
        """n machines, by programs that run at the same time and make `each` machines; seconds until all are heard."""
        begin = time.monotonic()
        with ThreadPoolExecutor(n // each) as pool:
            list(pool.map(lambda _: self.start(each, 0), range(n // each)))
        return time.monotonic() - begin

    def stop_all(self):
        for pid in self.pids:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            os.close(fd)
        while any(os.path.exists(f"/proc/{pid}") for pid in self.pids):
            time.sleep(0.01)
        self.pids = []
