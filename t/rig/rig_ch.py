"""Runners whose VMM is Cloud Hypervisor, the fake one or the real one, and the real one by hand."""

import glob
import json
import os
import shutil

from rig import BUILD, Runner, Skip, own_ports

FAKE = os.path.join(BUILD, "t/fake/cloud-hypervisor")
LOOPBACK = os.path.join(BUILD, "t/plugin/loopback-net.so")
TOY = os.path.join(BUILD, "t/guest/toy")
REAL = shutil.which(os.environ.get("CLOUD_HYPERVISOR", "cloud-hypervisor"))


def plugins_with_loopback(at):
    """A folder of all plugins and of the network for tests."""
    for plugin in glob.glob(os.path.join(BUILD, "plugins/*/*.so")) + [LOOPBACK]:
        kind = "network" if plugin == LOOPBACK else os.path.basename(os.path.dirname(plugin))
        os.makedirs(os.path.join(at, kind), exist_ok=True)
        name = "loopback.so" if plugin == LOOPBACK else os.path.basename(plugin)
        os.symlink(plugin, os.path.join(at, kind, name))
    return at


class FakeRunner(Runner):
    """With the fake Cloud Hypervisor, whose guests are met on loopback."""

    vmm = "Cloud Hypervisor"

    def arrange(self):
        self.make_snapshot()
        self.plugins = plugins_with_loopback(os.path.join(self.dir, "plugins"))
        return (f"    vmm: {{plugin: cloud-hypervisor, binary: {self.own_copy(FAKE)}}}\n"
                "    network: {plugin: loopback}")


def need_native():
    if os.getuid() != 0:
        raise Skip("needs root")
    if REAL is None:
        raise Skip("no cloud-hypervisor in PATH, and CLOUD_HYPERVISOR does not name one")
    for path in ("/dev/kvm", "/dev/net/tun"):
        if not os.path.exists(path):
            raise Skip(f"needs {path}")
    for program in ("ip", "nft", "unshare", "nsenter"):
        if shutil.which(program) is None:
            raise Skip(f"{program} is not installed")
    if not os.path.exists(TOY):
        raise Skip("t/guest/toy was not built: this compiler makes no 32-bit code")


class NativeRunner(Runner):
    """With the real Cloud Hypervisor, the toy guest, and a bridge in a network namespace that goes with it."""

    vmm = "Cloud Hypervisor"
    bridge = "br0"
    # A node of its own: the machine's /dev/kvm may be root's alone, and is not ours to change.
    SHELL = ('mkdir "$1/dev" && mount -t tmpfs none "$1/dev" && mknod -m 0666 "$1/dev/kvm" c 10 232 && '
             'mount --bind "$1/dev/kvm" /dev/kvm && ip link set lo up && shift && exec "$@"')

    def __init__(self, base):
        need_native()
        super().__init__(base)

    def arrange(self):
        at = os.path.join(self.root, "snapshots/toy")
        os.makedirs(at)
        shutil.copy(TOY, os.path.join(at, "vmlinux"))
        with open(os.path.join(at, "disk.raw"), "wb") as file:
            file.truncate(16 << 20)
        with open(os.path.join(at, "manifest.json"), "w") as file:
            json.dump({"schema": 1, "name": "toy", "kernel": "vmlinux", "cmdline": "idle", "ready": "serial",
                       "disk": {"file": "disk.raw", "format": "raw", "sizeBytes": 16 << 20}}, file)
        self.body["snapshot"] = "toy"
        return (f"    vmm: {{plugin: cloud-hypervisor, binary: {REAL}, probe: tiny}}\n"
                "    network: {plugin: bridge, bridge: br0, uplink: none}\n"
                "    ipam: {plugin: static-pool, range: 10.0.0.2-10.0.0.254, gateway: 10.0.0.1/24}")

    def command(self):
        return ["unshare", "-n", "-m", "sh", "-c", self.SHELL, "sh", self.dir] + super().command()

    def within(self):
        """Words before a command that is to run where the runner runs."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt"]


def arrange_loopback(runner, network=""):
    """The host's sections for a runner's arrange(): the fake, on the network of loopback, whose policies are files in
    runner.policies. network: more of that section."""
    runner.make_snapshot()
    binary, port = runner.own_copy(FAKE), own_ports()
    with open(binary + ".port", "w") as file:
        file.write(str(port))
    runner.plugins = plugins_with_loopback(os.path.join(runner.dir, "plugins"))
    runner.policies = os.path.join(runner.dir, "policies")
    os.mkdir(runner.policies)
    return (f"    vmm: {{plugin: cloud-hypervisor, binary: {binary}, probe: none}}\n"
            f"    network: {{plugin: loopback, port: {port}, {network}policies: {runner.policies}}}")
