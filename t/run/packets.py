"""Frames of pretended guests, and a namespace with a bridge under test. For tests run by unshare -n as root."""

import atexit
import ctypes
import fcntl
import functools
import os
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time

TUNSETIFF, TUNSETVNETHDRSZ, SIOCSIFHWADDR, SIOCGIFHWADDR = 0x400454ca, 0x400454d8, 0x8924, 0x8927
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 2, 0x1000, 0x4000
VNET = 12
SIOCGSKNS, SYS_PIDFD_GETFD = 0x894c, 438
BROADCAST = "ff:ff:ff:ff:ff:ff"


def mac_bytes(text):
    return bytes(int(part, 16) for part in text.split(":"))


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def eth(to, source, kind, body):
    return mac_bytes(to) + mac_bytes(source) + struct.pack("!H", kind) + body


def ip(source, to, body, protocol=17, ttl=64, options=b""):
    size = 20 + len(options)
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | size // 4, 0, size + len(body), 0, 0, ttl, protocol, 0, socket.inet_aton(source),
                       socket.inet_aton(to)) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def source_route(hop, kind=131):
    """An option of IPv4: from the destination on to that one."""
    return bytes([kind, 7, 4]) + socket.inet_aton(hop) + b"\0"


def udp(tag, from_port=3000, to_port=5000):
    return struct.pack("!HHHH", from_port, to_port, 8 + len(tag), 0) + tag


def ip6(tag, kind=17, to="ff02::1"):
    body = (bytes([134, 0, 0, 0]) if kind == 58 else struct.pack("!HHHH", 1, 2, 8 + len(tag), 0)) + tag
    return struct.pack("!IHBB", 0x60000000, len(body), kind, 255) + socket.inet_pton(socket.AF_INET6, "fe80::7") + \
        socket.inet_pton(socket.AF_INET6, to) + body


def arp(operation, mac, address, to_mac, to_address, tag, kind=1):
    return struct.pack("!HHBBH", kind, 0x800, 6, 4, operation) + mac_bytes(mac) + socket.inet_aton(address) + \
        mac_bytes(to_mac) + socket.inet_aton(to_address) + tag


def vlan(number, kind, body):
    return struct.pack("!HH", number, kind) + body


class Tap:
    """A queue of a TAP, as a VMM has it. It is made when it is not there, and then goes with the descriptor."""

    def __init__(self, name):
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(self.fd, TUNSETVNETHDRSZ, struct.pack("i", VNET))

    def send(self, frame):
        os.write(self.fd, bytes(VNET) + frame.ljust(60, b"\0"))

    def frames(self):
        """All that have come."""
        while True:
            try:
                yield os.read(self.fd, 65536)[VNET:]
            except BlockingIOError:
                return

    def pretend(self, mac):
        """What a VMM may do that was taken over: the address of the host's end is changed."""
        fcntl.ioctl(self.fd, SIOCSIFHWADDR, struct.pack("16sH6s16x", b"", 1, mac_bytes(mac)))

    def close(self):
        os.close(self.fd)


class Queue(Tap):
    """A queue that another process has open, of a TAP that is elsewhere."""

    def __init__(self, pid, number):
        libc = ctypes.CDLL(None, use_errno=True)
        pidfd = os.pidfd_open(pid)
        self.fd = libc.syscall(SYS_PIDFD_GETFD, pidfd, number, 0)
        os.close(pidfd)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        os.set_blocking(self.fd, False)

    def inside(self, *argv, **options):
        """Runs a program in the network namespace of the TAP."""
        netns = fcntl.ioctl(self.fd, SIOCGSKNS)
        try:
            return run("nsenter", f"--net=/proc/self/fd/{netns}", *argv, pass_fds=(netns,), **options)
        finally:
            os.close(netns)


def mac_of(name):
    """/sys may be another namespace's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking, SIOCGIFHWADDR, struct.pack("16s24x", name.encode()))
    return ":".join(f"{byte:02x}" for byte in answer[18:24])


def run(*argv, **options):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


@functools.cache
def root():
    """Of the host, for all drivers of this test, one after another."""
    at = tempfile.mkdtemp(prefix="runner-t.")
    os.chmod(at, 0o755)
    atexit.register(shutil.rmtree, at, True)
    return at


class Driver:
    """t/run/network-driver: the plugin as a runner uses it."""

    def __init__(self, *params):
        path = os.path.join(os.environ.get("top_builddir", "."), "t/run/network-driver")
        self.process = subprocess.Popen([path, *params], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, NETWORK_DRIVER_ROOT=root()))

    def begin(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def is_done(self):
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def end(self):
        answer = self.process.stdout.readline().split()
        if not answer or answer[0] != "ok":
            raise RuntimeError(" ".join(answer) or "the driver has ended")
        return answer[1:]

    def do(self, *words):
        self.begin(*words)
        return self.end()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def await_true(what, seconds=60):
    """Until it is so; whether it was."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
