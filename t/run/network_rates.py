"""network/bridge: limits of bandwidth, by TCP of a guest that has a network of its own, in a namespace behind its TAP."""

import ctypes
import fcntl
import multiprocessing
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

import tap
from packets import Driver, Tap, await_true, mac_of, run

A, A_IP, GATEWAY, OUT_IP = "02:00:00:00:00:0a", "10.0.0.2", "10.0.0.1", "203.0.113.99"
B, B_IP = "02:00:00:00:00:0b", "10.0.0.3"
TUNSETOFFLOAD, OFFLOADS = 0x400454d0, 1 | 2 | 4 | 8
CLONE_NEWNET = 0x40000000
MBIT = 125000
WARM, LONG = 0.5, 2.5  # seconds: until a flow is at its rate, and how long it is then looked at
LEAST, TRIES = 0.9, 20
forks = multiprocessing.get_context("fork")


class Namespace:
    def __init__(self):
        self.process = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        self.path = f"/proc/{self.process.pid}/ns/net"
        mine = os.readlink("/proc/self/ns/net")
        await_true(lambda: os.readlink(self.path) != mine)

    def run(self, line):
        run("nsenter", "--net=" + self.path, "ip", *line.split())

    def start(self, function, *args):
        def child():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            fd = os.open(self.path, os.O_RDONLY)
            if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) < 0:
                raise OSError(ctypes.get_errno(), "setns")
            function(*args)
        process = forks.Process(target=child, daemon=True)
        process.start()
        return process

    def close(self):
        self.process.kill()
        self.process.wait()


def pump(port, link):
    """What a VMM does: from the one to the other, segments that are not cut yet included."""
    other = {port.fd: link.fd, link.fd: port.fd}
    while True:
        for fd in select.select(list(other), [], [])[0]:
            try:
                os.write(other[fd], os.read(fd, 1 << 17))
            except (BlockingIOError, OSError):
                pass  # as a network card does with what it has no room for


class Net:
    def __init__(self):
        self.outside, self.guest = Namespace(), Namespace()
        run("ip", *f"link add out0 type veth peer name in0 netns {self.outside.process.pid}".split())
        for line in ("link set lo up", "addr add 203.0.113.1/24 dev out0", "link set out0 up", f"route add default via {OUT_IP}"):
            run("ip", *line.split())
        for line in (f"addr add {OUT_IP}/24 dev in0", "link set in0 up"):
            self.outside.run(line)
        self.driver = Driver("uplink=out0")
        self.driver.do("setup")
        self.driver.do("sweep")
        self.attach()
        link = Tap("g0")
        fcntl.ioctl(link.fd, TUNSETOFFLOAD, OFFLOADS)
        run("ip", "link", "set", "g0", "netns", str(self.guest.process.pid))
        for line in (f"link set g0 address {A}", f"addr add {A_IP}/16 dev g0", "link set g0 up", f"route add default via {GATEWAY}",
                     f"neigh replace {GATEWAY} lladdr {mac_of('br0')} dev g0"):
            self.guest.run(line)
        self.link = link
        self.plug()

    def attach(self):
        self.name = self.driver.do("attach", "a", A, A_IP)[0]
        self.driver.do("policy", "a", 0)

    def plug(self):
        self.port = Tap(self.name)
        self.pump = forks.Process(target=pump, args=(self.port, self.link), daemon=True)
        self.pump.start()

    def unplug(self):
        self.pump.kill()
        self.pump.join()
        self.port.close()

    def close(self):
        self.unplug()
        self.driver.close()
        self.outside.close()
        self.guest.close()


def send_on(conn):
    data = bytes(1 << 16)
    try:
        while True:
            conn.sendall(data)
    except OSError:
        pass


def count_on(conn, seconds, counted):
    """Puts when how much had come, from the first byte on, ten times a second."""
    conn.recv(1)
    start, n, told = time.monotonic(), 1, []
    while True:
        now = time.monotonic() - start
        if len(told) * 0.1 <= now:
            told.append((now, n))
        if now >= seconds:
            break
        if select.select([conn], [], [], 0.1)[0]:
            n += len(conn.recv(1 << 20))
    counted.put(told)


def serve(is_up, seconds, counted, listens):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((OUT_IP, 5001))
    listener.listen()
    listens.set()
    conn, _ = listener.accept()
    count_on(conn, seconds, counted) if is_up else send_on(conn)


def connect(is_up, seconds, counted):
    conn = socket.create_connection((OUT_IP, 5001), 60)
    conn.settimeout(None)
    send_on(conn) if is_up else count_on(conn, seconds, counted)


class Flow:
    """TCP to the outside, or from there; as fast as it gets."""

    def __init__(self, n, is_up, seconds):
        self.counted = forks.Queue()
        listens = forks.Event()
        self.ends = [n.outside.start(serve, is_up, seconds, self.counted, listens)]
        listens.wait(60)
        self.ends.append(n.guest.start(connect, is_up, seconds, self.counted))

    def end(self):
        self.told = self.counted.get(timeout=120)
        for process in self.ends:
            process.kill()
            process.join()
        return self

    def rate(self, start=WARM, end=1e9):
        """Mbit/s that came between the two."""
        within = [(when, n) for when, n in self.told if start <= when <= end]
        return (within[-1][1] - within[0][1]) / (within[-1][0] - within[0][0]) / MBIT


def is_about(got, asked):
    return LEAST * asked <= got <= 1.05 * asked


def rate_of(n, is_up, wanted, seconds=LONG, is_limit=True):
    """The rate of a flow; where that is less than wanted, since the machine had other things to do, or more, by what it had
    not taken up when it was first looked at, of another one."""
    for _ in range(TRIES):
        got = Flow(n, is_up, WARM + seconds).end().rate()
        if is_about(got, wanted) or (got > wanted and not is_limit):
            break
        tap.diag(f"{got:.2f} Mbit/s: once more")
    return got


def tc(what):
    return [line for line in run("tc", *what.split()).splitlines() if line]


def queues():
    """Of limits alone."""
    return [line for line in tc("qdisc show") if ("tbf" in line or "ingress" in line) and "dev tapd-" not in line]


def ifbs():
    """But for those that go."""
    names = [line.split()[1] for line in run("ip", "-o", "link", "show", "type", "ifb").splitlines()]
    return [name for name in names if not name.startswith("tapd-")]


def check_rates(n):
    for asked in (10, 100):
        n.driver.do("rate", "a", asked * MBIT, asked * MBIT)
        for is_up, way in ((True, "sent"), (False, "received")):
            got = rate_of(n, is_up, asked)
            tap.ok(f"{asked} Mbit/s, {way}", is_about(got, asked), f"{got:.2f}")
            tap.diag(f"{asked} Mbit/s asked, {way}: {got:.2f}")


def check_change(n):
    for is_up, way in ((True, "sent"), (False, "received")):
        for _ in range(TRIES):
            n.driver.do("rate", "a", 10 * MBIT, 10 * MBIT)
            flow = Flow(n, is_up, 2 * (WARM + LONG))
            time.sleep(WARM + LONG)
            n.driver.do("rate", "a", 40 * MBIT, 40 * MBIT)
            flow.end()
            before, after = flow.rate(end=WARM + LONG), flow.rate(2 * WARM + LONG)
            if before < 15 and is_about(after, 40):
                break
        tap.ok(f"a connection that is open, {way}: 10, then 40 Mbit/s", before < 15 and is_about(after, 40),
               f"{before:.2f}, {after:.2f}")
    n.driver.do("rate", "a", 0, 40 * MBIT)
    tap.ok("one way alone", not ifbs() and len(queues()) == 1, (ifbs(), queues()))
    got = rate_of(n, True, 70, 1, is_limit=False)
    tap.ok("the other has no limit", got > 60, f"{got:.2f}")
    n.driver.do("policy", "a", 0)
    got = rate_of(n, False, 70, 1, is_limit=False)
    tap.ok("without limits", got > 60 and not queues(), f"{got:.2f}")


def check_end(n):
    n.driver.do("rate", "a", 10 * MBIT, 10 * MBIT)
    tap.ok("a limit has its queues", len(queues()) == 3 and len(ifbs()) == 1, (queues(), ifbs()))
    n.unplug()
    n.driver.do("detach", "a")
    tap.ok("nothing is left of it at an idle TAP", not queues() and not ifbs() and ": tap-" in run("ip", "-o", "link"),
           (queues(), ifbs()))
    n.attach()
    n.plug()
    tap.ok("nor when that is used again", not queues())
    n.driver.do("rate", "a", 10 * MBIT, 10 * MBIT)
    n.driver.do("attach", "b", B, B_IP)
    n.driver.do("rate", "b", 10 * MBIT, 10 * MBIT)
    n.driver.kill()
    got = rate_of(n, True, 10)
    tap.ok("a runner that was killed: its limits go on", is_about(got, 10), f"{got:.2f}")
    n.driver = Driver("uplink=out0")
    n.driver.do("setup")
    n.driver.do("adopt", "a", n.name, A, A_IP)
    n.driver.do("sweep", "a")
    tap.equal("what no record names is gone", ifbs(), [f"ifb-{struct.unpack('!I', socket.inet_aton(A_IP))[0]:08x}:"])
    n.driver.do("rate", "a", 20 * MBIT, 20 * MBIT)
    got = rate_of(n, True, 20)
    tap.ok("what its successor says holds", is_about(got, 20), f"{got:.2f}")
    n.driver.do("policy", "a", 0)
    tap.ok("also that there is no limit", not queues() and not ifbs(), (queues(), ifbs()))


def check_lack(n):
    """A kernel that has not all of it: the rules do what is left. Both ways of one sandbox."""
    for lacks, wanted in (("tbf", (0, 0, ["rates", "rates_in"])), ("ifb", (1, 0, ["rates"])), ("u32", (1, 0, ["rates"])),
                          ("mirred", (1, 0, ["rates"])), ("nothing", (3, 1, []))):
        n.driver.close()
        n.driver = Driver("uplink=out0")
        n.driver.do("lack", lacks)
        n.driver.do("setup")
        n.driver.do("adopt", "a", n.name, A, A_IP)
        n.driver.do("rate", "a", 10 * MBIT, 10 * MBIT)
        rules = [name for name in ("rates", "rates_in") if n.name in run("nft", "list", "map", "bridge", "runner_br0", name)]
        tap.equal(f"a kernel that lacks {lacks}", (len(queues()), len(ifbs()), rules), wanted)
    tap.ok("nothing is left of what was tried", "rsh" not in run("ip", "-o", "link"))
    n.driver.do("policy", "a", 0)
    tap.ok("nor of a limit, a moment later", await_true(lambda: not run("ip", "-o", "link", "show", "type", "ifb")))


def check_default(n):
    n.driver.close()
    n.driver = Driver("uplink=out0", "rx_mbit=20", "tx_mbit=10")
    n.driver.do("setup")
    n.driver.do("adopt", "a", n.name, A, A_IP)
    n.driver.do("policy", "a", 0)
    got = [rate_of(n, True, 10), rate_of(n, False, 20)]
    tap.ok("a setting for all: 10 Mbit/s sent, 20 received", is_about(got[0], 10) and is_about(got[1], 20), got)


def main():
    n = Net()
    try:
        tap.ok("a guest reaches the outside", Flow(n, True, WARM).end().told)
        check_rates(n)
        check_change(n)
        check_end(n)
        check_default(n)
        check_lack(n)
    finally:
        n.close()
    tap.done()


if __name__ == "__main__":
    sys.exit(main())
