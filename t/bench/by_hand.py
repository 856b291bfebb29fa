"""The machines of a runner made by hand (by-hand.c): the same files, users, cgroup, TAP, VMM, without a runner. Who makes
them is resident, and asked as the runner is."""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

from rig import BUILD, Client, cpu_ms_of, exchange, free_ports

BY_HAND = os.path.join(BUILD, "t/bench/by-hand")

# In ms: its own processor time, and of the wall what the asker saw but for the commit, and the phases.
Start = namedtuple("Start", "cpu heard host boot ready commit")


def cgroup_of(pid):
    """The folder above the cgroup of a process; None: it has none of its own."""
    with open(f"/proc/{pid}/cgroup") as file:
        path = next((line[3:].strip() for line in file if line.startswith("0::")), "/")
    with open("/proc/self/mounts") as mounts:
        root = next((line.split()[1] for line in mounts if line.split()[2] == "cgroup2"), None)
    return os.path.dirname(root + path) if root and path.count("/") > 1 else None


def line_length(reply):
    return reply.find(b"\n") + 1 or None


class Program:
    """by-hand, at a socket of its own."""

    def __init__(self, line):
        self.line = line
        self.sock, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(line, stdin=theirs, stdout=theirs)
        self.ask(b"")  # until it is ready

    def ask(self, request):
        try:
            return exchange(self.sock, request, line_length)
        except ConnectionError:
            raise RuntimeError(f"a machine by hand does not start: {' '.join(self.line)}") from None

    def make(self, number, port, pause_s):
        """A machine: its process, and what it took."""
        before = cpu_ms_of(self.process.pid)
        reply, ms = self.ask(b"%d %d\n" % (number, port))
        time.sleep(pause_s)
        cpu = cpu_ms_of(self.process.pid) - before
        pid, *phases = map(int, reply.split())
        host, boot, ready, commit = (us / 1e3 for us in phases)
        return pid, Start(cpu, ms - commit, host, boot, ready, commit)

    def close(self):
        self.sock.close()
        self.process.wait()


class ByHand:
    """Its machines end with it; its user closes it before the runner."""

    def __init__(self, runner, with_record=False):
        id, _, _ = runner.create()
        self.runner, self.programs, self.pids, self.numbers = runner, [], {}, itertools.count()
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
        self.cgroup = cgroup_of(pid)
        if self.cgroup:
            self.options.append("--cgroup=" + self.cgroup)
        if not self.is_qemu:
            self.options += self.machine(os.path.join(runner.dir, "run", id + ".sock"), sandbox)
        port = f"127.0.0.1:{record['nic']['forwardPort']}-"
        self.argv = [word.replace(sandbox, "@DIR@").replace(port, "127.0.0.1:@PORT@-") for word in runner.vmm_of(id)]
        self.argv[0] = os.readlink(f"/proc/{pid}/exe")
        runner.destroy_all()
        self.port = 0 if runner.bridge else 2280
        self.start()  # pays for the pages of the program
        self.stop_all()

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
        return options + ["--config=" + json.dumps(config).replace(sandbox, "@DIR@")]

    def have_programs(self, n):
        while len(self.programs) < n:
            line = [BY_HAND, "--dir=" + self.dir] + self.options + ["--"] + self.argv
            self.programs.append(Program(self.runner.within() + line))

    def places(self, n):
        """A number and the port of its daemon for each of n machines."""
        numbers = list(itertools.islice(self.numbers, n))
        ports = free_ports(n, 14000 + numbers[0]) if self.is_qemu else [self.port] * n
        return list(zip(numbers, ports))

    def make(self, program, places, pause_s):
        starts = []
        for number, port in places:
            self.pids[number], start = program.make(number, port, pause_s)
            starts.append(start)
        return starts

    def start(self, n=1, pause_s=0):
        """n machines, one after the other, with a pause after each."""
        self.have_programs(1)
        return self.make(self.programs[0], self.places(n), pause_s)

    def start_all(self, n, each=1):
        """n machines, by programs that run at the same time and make `each` machines; seconds until all are heard."""
        programs, places = n // each, self.places(n)
        self.have_programs(programs)
        begin = time.monotonic()
        with ThreadPoolExecutor(programs) as pool:
            list(pool.map(lambda i: self.make(self.programs[i], places[i::programs], 0), range(programs)))
        return time.monotonic() - begin

    def stop_all(self):
        for pid in self.pids.values():
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            os.close(fd)
        while any(os.path.exists(f"/proc/{pid}") for pid in self.pids.values()):
            time.sleep(0.01)
        for number in self.pids if self.cgroup else ():
            os.rmdir(f"{self.cgroup}/hand-{number}")
        self.pids = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop_all()
        for program in self.programs:
            program.close()
