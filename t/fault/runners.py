"""Runners for the matrices of crashes and faults, and the network that they are in. Each has room for two sandboxes."""

import ctypes
import functools
import os
import subprocess

from rig import BUILD, FAKE_QEMU, Runner, Skip, own_ports
from rig_ch import FAKE as FAKE_CH
from rig_ch import arrange_loopback


class RunnerForTwo(Runner):
    """Of addresses, ports and users there are two: one that leaks is missed by the next sandbox."""

    TIMEOUTS = "{{create: 50s, ready: 40s, start: 50s}}"
    STORAGE = "    storage: none"
    CONFIG = """\
listen: ["unix:{dir}/api.sock"]
api: {{version: 0}}
log: {{level: {level}}}
workers: 8
check_interval: 24h
timeouts: TIMEOUTS
hosts:
  - name: local
    root: {root}
    run_dir: {dir}/run
    uids: 1900000000-1900000001
    transport: {{plugin: local}}
    disk: {{plugin: qcow2}}
STORAGE
{host}
"""
    level = "debug"
    wishes = ()  # of its VMMs, whatever else they do wrong

    def __init__(self, base, env=None):
        self.CONFIG = self.CONFIG.replace("TIMEOUTS", self.TIMEOUTS).replace("STORAGE", self.STORAGE)
        super().__init__(base, env)


class QemuRunner(RunnerForTwo):
    """And with the default storage, whose program it starts: a tenth of all time, if all did."""

    STORAGE = ""

    def arrange(self):
        self.make_snapshot()
        first = own_ports()
        return (f"    vmm: {{plugin: qemu, binary: {self.own_copy(FAKE_QEMU)}, accel: tcg}}\n"
                f"    network: {{plugin: user, first_port: {first}, last_port: {first + 1}}}")


class BridgeRunner(RunnerForTwo):
    """Cloud Hypervisor with a bridge, in the namespace that this process is in; its guests are met there."""

    vmm = "Cloud Hypervisor"
    pool = 1  # TAPs kept for the next sandboxes
    has_netns = False
    last = 3  # of the addresses

    def arrange(self):
        self.make_snapshot()
        return (f"    vmm: {{plugin: cloud-hypervisor, binary: {self.own_copy(FAKE_CH)}, probe: none}}\n"
                "    network: {plugin: bridge, bridge: br-t, address: 10.9.0.1/24, uplink: none, "
                f"pool: {self.pool}, netns: {str(self.has_netns).lower()}}}\n"
                f"    ipam: {{plugin: static-pool, range: 10.9.0.2-10.9.0.{self.last}, gateway: 10.9.0.1/24}}")


class NewTapRunner(BridgeRunner):
    """Each sandbox gets a TAP of its own making."""

    pool = 0


class NetnsRunner(BridgeRunner):
    """Each sandbox gets a network namespace. All guests have the same address: these are where fake ones are met."""

    has_netns = True
    wishes = ("guest-at bystander 10.9.0.2", "guest-at subject 10.9.0.3")

    def arrange(self):
        text = super().arrange()
        with open(os.path.join(self.dir, "cloud-hypervisor.conf"), "w") as file:
            file.write("".join(line + "\n" for line in self.wishes))
        return text


class OneNetnsRunner(NetnsRunner):
    """For one sandbox at a time, whatever it is called."""

    last = 2
    wishes = ("guest-at any 10.9.0.2",)


class LoopbackRunner(RunnerForTwo):
    """Cloud Hypervisor without privileges."""

    vmm = "Cloud Hypervisor"

    def arrange(self):
        return arrange_loopback(self)


def enter_namespace():
    """A network of this process's own, in which both addresses of the pool are met."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) < 0:  # CLONE_NEWNET
        raise Skip("no network namespace: " + os.strerror(ctypes.get_errno()))
    words = [["link", "set", "lo", "up"]] + [["addr", "add", f"10.9.0.{n}/32", "dev", "lo"] for n in (2, 3)]
    for line in words:
        subprocess.run(["ip"] + line, check=True)


@functools.cache
def has_bridge():
    """Whether this machine lets us have one."""
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        return False
    if not os.path.exists(os.path.join(BUILD, "plugins/network/bridge.so")):
        return False
    return subprocess.run(["unshare", "--net", "true"], stderr=subprocess.DEVNULL).returncode == 0
