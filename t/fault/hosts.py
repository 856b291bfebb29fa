"""Hosts on which random operations are tried: a runner that may be killed and comes back, over VMMs of a kind.

Of addresses, ports and users each host has as many as sandboxes, so that one which is not given back is missed at once.
"""

import glob
import os
import signal
import socket
import subprocess
import threading

from rig import BUILD, FAKE_QEMU, Runner, own_ports
from rig_ch import FAKE as FAKE_CH, LOOPBACK

NETWORK = "10.77"  # of the test's own namespace
FIRST_UID = 1900000000


def enter_namespace():
    """A network namespace for the process and its children, where guests' addresses are the host's own; False: no."""
    import ctypes

    clone_newnet = 0x40000000
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun") or ctypes.CDLL(None).unshare(clone_newnet) != 0:
        return False
    for words in ("link set lo up", f"route add local {NETWORK}.0.0/16 dev lo"):
        subprocess.run(["ip"] + words.split(), check=True)
    return True


class Host(Runner):
    """n_sandboxes is what it has room for. has_bridge: it lies in a namespace of enter_namespace()."""

    CONFIG = """\
listen: ["unix:{dir}/api.sock"]
api: {{version: 0}}
log: {{level: {level}}}
limits: {{queue: 4096}}
timeouts: {{create: 20s, start: 20s, stop: 20s, stop_grace: 1s, ready: 10s, request: 10s, drain: 20s}}
hosts:
  - name: local
    root: {root}
    run_dir: {dir}/run
    transport: {{plugin: local}}
    disk: {{plugin: qcow2}}
{host}
"""

    def __init__(self, base, n_sandboxes, has_bridge):
        self.n_sandboxes, self.has_bridge = n_sandboxes, has_bridge
        self.is_up = threading.Event()
        self.lives = 0  # how often the runner was launched
        self.life_changed = threading.Condition()
        super().__init__(base)

    def arrange(self):
        self.make_snapshot()
        self.program = self.own_copy(self.PROGRAM)
        os.chmod(self.program, 0o755)
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
            os.kill(pid, signal.SIGKILL)
        super().close()

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

    def vmm_pids(self):
        """The machines' processes that live, by id: each holds its pid file open, removed or not."""
        pids, inside = {}, os.path.join(self.root, "sandboxes") + "/"
        for path in glob.glob("/proc/[0-9]*/exe"):
            try:
                if os.readlink(path).removesuffix(" (deleted)") != self.program:
                    continue
                at = os.path.dirname(path)
                links = [os.readlink(f"{at}/fd/{fd}") for fd in os.listdir(f"{at}/fd")]
            except OSError:
                continue
            for id in {link[len(inside):].split("/")[0] for link in links if link.startswith(inside)}:
                pids[id] = int(path.split("/")[2])
        return pids

    def taps(self):
        """Those of sandboxes; the idle ones that network/bridge keeps have another prefix."""
        return {name for _, name in socket.if_nameindex() if name.startswith("tap-")}

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


class ChHost(Host):
    PROGRAM = FAKE_CH

    def vmm_section(self):
        self.plugins = os.path.join(self.dir, "plugins")
        for plugin in glob.glob(os.path.join(BUILD, "plugins/*/*.so")) + [LOOPBACK]:
            kind = "network" if plugin == LOOPBACK else os.path.basename(os.path.dirname(plugin))
            os.makedirs(os.path.join(self.plugins, kind), exist_ok=True)
            name = "loopback.so" if plugin == LOOPBACK else os.path.basename(plugin)
            os.symlink(plugin, os.path.join(self.plugins, kind, name))
        return f"{{plugin: cloud-hypervisor, binary: {self.program}}}"

    def network_without_bridge(self):
        port = own_ports()
        with open(self.program + ".port", "w") as file:
            file.write(f"{port}\n")
        return f"    network: {{plugin: loopback, port: {port}}}"
