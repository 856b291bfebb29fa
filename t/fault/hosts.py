"""Hosts on which random operations are tried: a runner that may be killed and comes back, over VMMs of a kind.

Of addresses, ports and users each host has as many as sandboxes, so that one which is not given back is missed at once.
"""

import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading

from census import all_links
from fault import Fault
from rig import FAKE_QEMU, Runner, Skip, own_ports
from rig_ch import FAKE as FAKE_CH, plugins_with_loopback

NETWORK = "10.77"  # of the test's own namespace
FIRST_UID = 1900000000


def enter_namespace(are_fake):
    """A network namespace for the process and its children; False: not here. Addresses of fake guests are the host's
    own there."""
    import ctypes

    clone_newnet = 0x40000000
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun") or ctypes.CDLL(None).unshare(clone_newnet) != 0:
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if are_fake:
        subprocess.run(["ip", "route", "add", "local", f"{NETWORK}.0.0/16", "dev", "lo"], check=True)
    return True


def links_of(pid):
    """What a process's descriptors stand for; one that it closes meanwhile is left out."""
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return links


class Host(Runner):
    """n_sandboxes is what it has room for. has_bridge: it lies in a namespace of enter_namespace()."""

    CONFIG = """\
listen: ["unix:{dir}/api.sock"]
api: {{version: 0}}
log: {{level: {level}}}
limits: {{queue: 4096}}
check_interval: 24h
timeouts: TIMEOUTS
hosts:
  - name: local
    root: {root}
    run_dir: {dir}/run
    transport: {{plugin: local}}
    disk: {{plugin: qcow2}}
    storage: none
{host}
"""

    TIMEOUTS = "{{create: 20s, start: 20s, stop: 20s, stop_grace: 1s, ready: 10s, request: 10s, drain: 20s}}"
    answer_s = 240  # for some operations, each with its deadline, one after the other
    toolbox_s = 5   # a guest that was paused meanwhile never answers
    toolbox = ("GET", "/toolbox/guest", None)  # a request whose answer says which guest it is of

    def __init__(self, base, n_sandboxes, has_bridge):
        self.n_sandboxes, self.has_bridge = n_sandboxes, has_bridge
        self.is_up = threading.Event()
        self.lives = 0  # how often the runner was launched
        self.life_changed = threading.Condition()
        self.CONFIG = self.CONFIG.replace("TIMEOUTS", self.TIMEOUTS)
        handle, path = tempfile.mkstemp(prefix="rf.", dir=base)
        os.close(handle)
        self.faults = Fault(path)
        super().__init__(base, self.faults.env())

    def install(self):
        """The snapshot and the VMM; the path of that."""
        self.make_snapshot()
        return self.own_copy(self.PROGRAM)

    def guest_of(self, text):
        """The id, and the VMM's process where that is known, that the answer to a toolbox request says."""
        answer = json.loads(text)
        return answer["id"], answer["pid"]

    def arrange(self):
        self.program = self.install()
        each = -(-self.n_sandboxes // len(os.sched_getaffinity(0)))
        return "\n".join([f"    capacity: {{cpu_overcommit: {each}, memory_overcommit: 0, disk_overcommit: 0}}",
                          f"    uids: {FIRST_UID}-{FIRST_UID + self.n_sandboxes - 1}",
                          f"    vmm: {self.vmm_section()}", self.network()])

    def network(self):
        if not self.has_bridge:
            return self.network_without_bridge()
        last = 9 + self.n_sandboxes
        return (f"    network: {{plugin: bridge, bridge: br-random, address: {NETWORK}.0.1/16, uplink: none}}\n"
                f"    ipam: {{plugin: static-pool, range: {NETWORK}.0.10-{NETWORK}.{last // 256}.{last % 256}, "
                f"gateway: {NETWORK}.0.1/16}}")

    # ---- life of the runner ----

    def launch(self):
        super().launch()
        with self.life_changed:
            self.lives += 1
            self.life_changed.notify_all()
        self.is_up.set()

    def wait_hosts(self):
        """Until its hosts are up: what comes before is not to fail."""
        self.client.call("GET", "/sandboxes")

    def end(self, number):
        self.is_up.clear()
        return super().end(number)

    def await_life(self, beyond, seconds):
        """Until the runner was launched more often than that; False: it was not."""
        with self.life_changed:
            return self.life_changed.wait_for(lambda: self.lives > beyond, seconds)

    def close(self):
        self.end(signal.SIGKILL)
        for pid in self.vmm_pids().values():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGKILL)
        super().close()
        self.faults.close()
        os.remove(self.faults.path)

    # ---- what is really there ----

    def directory(self, id):
        return os.path.join(self.root, "sandboxes", id)

    def pid_in_file(self, id):
        """What its pid file says, of a process that may be gone; 0: nothing."""
        try:
            with open(os.path.join(self.directory(id), "vmm.pid")) as file:
                return int(file.readline() or 0)
        except (OSError, ValueError):
            return 0

    def ids_of(self, pid):
        """The sandboxes of which a process is the machine, none or one: it holds the pid file open, removed or not."""
        inside = os.path.join(self.root, "sandboxes") + "/"
        try:
            if os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)") != self.program:
                return set()
            links = links_of(pid)
        except OSError:  # it has just ended, or opened something else
            return set()
        return {link[len(inside):].split("/")[0] for link in links if link.startswith(inside)}

    def is_vmm(self, pid, id):
        return id in self.ids_of(pid)

    def vmm_pids(self):
        """The machines' processes that live, by id."""
        return {id: int(pid) for pid in os.listdir("/proc") if pid.isdigit() for id in self.ids_of(pid)}

    def taps(self):
        """Those of sandboxes."""
        return {name for name, is_idle in all_links().items() if name.startswith("tap-") and not is_idle}

    def wish(self, id, lines):
        """What the VMM that is started next for a sandbox does wrong; None: nothing."""
        path = f"{self.program}.conf.{id}"
        if lines is None:
            os.remove(path)
            return
        with open(path + "~", "w") as file:
            file.write("".join(f"{line}\n" for line in lines))
        os.chmod(path + "~", 0o644)
        os.rename(path + "~", path)


class QemuHost(Host):
    PROGRAM = FAKE_QEMU

    def vmm_section(self):
        return f"{{plugin: qemu, binary: {self.program}, accel: tcg}}"

    def network_without_bridge(self):
        first = own_ports()
        return f"    network: {{plugin: user, first_port: {first}, last_port: {first + self.n_sandboxes - 1}}}"


class RealHost(QemuHost):
    """Real guests of the image in the folder SNAPSHOT."""

    TIMEOUTS = "{{create: 10m, start: 10m, stop: 5m, stop_grace: 60s, ready: 9m, request: 2m, drain: 10m}}"
    answer_s = 1200
    toolbox_s = 60
    toolbox = ("POST", "/toolbox/process/execute", {"command": "hostname"})

    def install(self):
        program, snapshot = shutil.which("qemu-system-x86_64"), os.environ.get("SNAPSHOT")
        if not self.has_bridge or program is None or snapshot is None:
            raise Skip("needs root, /dev/net/tun, qemu-system-x86_64, and a guest image that SNAPSHOT names")
        os.symlink(os.path.abspath(snapshot), os.path.join(self.root, "snapshots/tiny"))
        for verdict in glob.glob(os.path.join(snapshot, "../../accel-qemu.json")):
            shutil.copy(verdict, self.root)
        self.body = {"snapshot": "tiny", "userId": "u", "osUser": "root"}
        return os.path.realpath(program)

    def vmm_section(self):
        return "{plugin: qemu}\n    defaults: {cpus: 1, memory_mb: 256, min_memory_mb: 256, disk_gb: 3}"

    def guest_of(self, text):
        return json.loads(text)["result"].strip(), None


class ChHost(Host):
    PROGRAM = FAKE_CH

    def vmm_section(self):
        self.plugins = plugins_with_loopback(os.path.join(self.dir, "plugins"))
        return f"{{plugin: cloud-hypervisor, binary: {self.program}}}"

    def network_without_bridge(self):
        port = own_ports()
        with open(self.program + ".port", "w") as file:
            file.write(f"{port}\n")
        return f"    network: {{plugin: loopback, port: {port}}}"
