"""What a runner has left on its machine: two censuses are compared, and the difference reads as lines."""

import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import time

SIOCGIFFLAGS, IFF_UP = 0x8913, 1
IDLE = re.compile(r"tap-[0-9a-f]{6}-\d+")  # the name of a TAP that is kept, and then of a sandbox
REMOVAL_S = 60  # of interfaces, on the slowest machine


def tree(top, name):
    """Every path below top but top itself, under that name."""
    for at, dirs, files in os.walk(top):
        for entry in dirs + files:
            yield f"file {name}{os.path.join(at, entry)[len(top):]}"


def records(root):
    """What the records on disk say; what is none says so."""
    at = os.path.join(root, "sandboxes")
    for id in os.listdir(at) if os.path.isdir(at) else ():
        try:
            with open(os.path.join(at, id, "runner.json")) as file:
                record = json.load(file)
            vmm = record["vmm"]
            yield (f"record {id}: {record['state']}, uid {vmm.get('uid')}, cgroup {vmm.get('cgroup')}, "
                   f"address {record.get('nic', {}).get('address')}")
        except FileNotFoundError:
            yield f"record {id}: none"
        except (OSError, ValueError, KeyError) as error:
            yield f"record {id}: {error!r}"


def command_line(pid):
    """Its beginning, as the kernel has it. Thousands are looked at, so that it matters how."""
    try:
        fd = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY)
    except OSError:  # it has just ended
        return b""
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""
    finally:
        os.close(fd)


def words_of(pid):
    return [word.decode(errors="replace") for word in command_line(pid).split(b"\0")[:-1]]


def processes(runner):
    """What runs by a program in the runner's folder, or in its cgroups: its VMMs."""
    programs = {os.path.join(runner.dir, name).encode() for name in os.listdir(runner.dir)}
    for pid in os.listdir("/proc"):
        if pid.isdigit() and int(pid) != runner.pid:
            program = command_line(pid).split(b"\0", 1)[0]
            if program in programs:
                yield f"process {pid}: {os.path.basename(program).decode()}"


def cgroup_dir(root):
    """Where transport/local puts the cgroups of a host with this root, or None."""
    with open("/proc/self/mounts") as mounts:
        points = [line.split()[1] for line in mounts if line.split()[2] == "cgroup2"]
    hash = 14695981039346656037
    for byte in root.encode():
        hash = (hash ^ byte) * 1099511628211 % (1 << 64)
    return os.path.join(points[0], "runner-ch", f"{hash:016x}") if points else None


def cgroups(root):
    at = cgroup_dir(root)
    if at is None or not os.path.isdir(at):
        return
    for name in os.listdir(at):
        if os.path.isdir(os.path.join(at, name)):
            yield f"cgroup {name}"


def links(runner):
    """Once those are gone that transport/local removes together, a moment after nobody has them any more."""
    until = time.monotonic() + REMOVAL_S
    while True:
        names = all_links(runner)
        if not any(name.startswith("tapd-") for name in names) or time.monotonic() > until:
            return names
        time.sleep(0.02)  # for this there is no event


def is_up(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, SIOCGIFFLAGS, struct.pack("16s24x", name.encode()))
        except OSError:  # it has just gone
            return False
    return bool(struct.unpack("16xH22x", answer)[0] & IFF_UP)


def all_links(runner=None):
    """Interfaces where the runner runs, by name: whether it is a TAP that network/bridge keeps for the next sandboxes,
    which is down."""
    within = runner.within() if hasattr(runner, "within") else []
    if not within:
        return {name: bool(IDLE.fullmatch(name)) and not is_up(name) for _, name in socket.if_nameindex()}
    lines = subprocess.run(within + ["ip", "-o", "link"], stdout=subprocess.PIPE, text=True, check=True)
    names = [(line.split()[1].rstrip(":").split("@")[0], line) for line in lines.stdout.splitlines()]
    return {name: bool(IDLE.fullmatch(name)) and ",UP" not in line for name, line in names}


def namespaces(runner, names):
    """Of sandboxes: those that the kernel knows by their veths. One whose TAP is closed goes in its own time."""
    until = time.monotonic() + REMOVAL_S
    while getattr(runner, "has_netns", False):
        lines = subprocess.run(["ip", "netns", "list-id"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True).stdout  # it complains of one that goes meanwhile
        found = [" ".join(line.split()[:2]) for line in lines.splitlines()]
        if len(found) <= sum(name.startswith("tap-") for name in names) or time.monotonic() > until:
            return {"namespace " + name for name in found}
        time.sleep(0.02)  # for this there is no event
    return set()


def tap_names(root):
    """What the records on disk say, by id."""
    at, names = os.path.join(root, "sandboxes"), {}
    for id in os.listdir(at) if os.path.isdir(at) else ():
        try:
            with open(os.path.join(at, id, "runner.json")) as file:
                names[id] = json.load(file).get("nic", {}).get("name")
        except (OSError, ValueError, AttributeError):
            pass
    return names


class Census:
    """items: a set of lines. numbers: descriptors, threads and memory of the runner, which are no sums of items."""

    def __init__(self, runner):
        names = links(runner)
        owners = {name: id for id, name in tap_names(runner.root).items()}
        self.idle_taps = sum(names.values())
        self.items = set(tree(runner.root, "root")) | set(tree(os.path.join(runner.dir, "run"), "run"))
        self.items |= set(records(runner.root)) | set(processes(runner)) | set(cgroups(runner.root))
        self.items |= {f"link of {owners[name]}" if name in owners else f"link {name}"
                       for name, is_idle in names.items() if not is_idle} | namespaces(runner, names)
        try:
            self.numbers = runner.status()
        except OSError:  # it does not run
            self.numbers = {}

    def of(self, id):
        """Items that name this sandbox; a TAP that no record names may have 11 characters of its id."""
        return {item for item in self.items if id in item or item.startswith("link tap-" + id[:11])}

    def difference(self, before, but=()):
        """Lines: + what is here and was not before, - what was; without items that have one of these in them."""
        def lines(sign, items):
            return [f"{sign} {item}" for item in sorted(items) if not any(text in item for text in but)]
        return lines("+", self.items - before.items) + lines("-", before.items - self.items)
