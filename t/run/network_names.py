"""A list of domains by packets: what a guest asks runner-dns for it may reach, from the answer on; nothing else."""

import contextlib
import functools
import glob
import os
import signal
import socket
import sys
import time

import dns
import network_packets
import tap
from network_packets import A, A_IP, B, B_IP, ELSEWHERE, GATEWAY, LISTED, OPEN, OUT_IP, Net, Sender, is_refused, passes
from packets import Driver, await_true, eth, ip, udp

PROGRAM = os.path.join(os.environ.get("top_builddir", "."), "plugins/network/bridge/runner-dns")
SECONDS = 20


def send_query(n, name, query, mac, address, to=GATEWAY):
    n.send(name, eth(n.mac, mac, 0x800, ip(address, to, udp(query, 4000, 53))))


def ask(n, what, name="a", mac=A, address=A_IP, seconds=SECONDS):
    """What the guest is answered; None: nothing."""
    query = dns.question(what)
    send_query(n, name, query, mac, address)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for frame in n.guests[name].frames():
            data = frame[42:]
            if frame[12:14] == b"\x08\0" and frame[23] == 17 and frame[34:36] == b"\0\x35" and data[:2] == query[:2]:
                return dns.Answer(data)
        time.sleep(0.001)
    return None


def forwarders():
    """Who keeps it up, and who serves, which is the child."""
    pids = [int(path.split("/")[2]) for path in glob.glob("/proc/[0-9]*/cmdline") if is_ours(path)]
    return sorted(pids, key=lambda pid: parent_of(pid) in pids)


def parent_of(pid):
    """0: it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def end_forwarders():
    """How many there were. With its keeper the one that serves is killed by the kernel."""
    pids = forwarders()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def is_ours(path):
    """A runner-dns of this namespace."""
    try:
        with open(path, "rb") as file:
            mine = file.read().startswith(os.path.abspath(PROGRAM).encode() + b"\0")
        return mine and os.readlink(path.replace("cmdline", "ns/net")) == os.readlink("/proc/self/ns/net")
    except OSError:
        return False


def main():
    params = ("dns_program=" + os.path.abspath(PROGRAM), "dns_upstream=127.0.0.1:5300")
    network_packets.Driver = functools.partial(Driver, *params)
    n = Net()
    try:
        check(n)
    finally:
        end_forwarders()
    tap.done()


def count_connections():
    with open("/proc/sys/net/netfilter/nf_conntrack_count") as file:
        return int(file.read())


def check_many(n, up):
    """Whose name is listed says what it stands for; and each question may make an entry in the kernel's table of connections."""
    n.driver.do("policy", "a", LISTED, "*.many.example")
    for i in range(256):
        up.answers[f"n{i}.many.example"] = dns.addresses(*(f"198.18.{i}.{j}" for j in range(32)))
    rcodes, i = [], 0
    end = time.monotonic() + 180
    while i < 256 and dns.SERVFAIL not in rcodes and time.monotonic() < end:
        found = ask(n, f"n{i}.many.example", seconds=1)
        if found is not None:  # else it asked too often
            rcodes.append(found.rcode)
            i += 1
    tap.equal("s03: as many addresses as may be reached by names", (rcodes.count(dns.OK), rcodes[-1]), (4096 // 32, dns.SERVFAIL))
    tap.ok("of which those that are in the answers are", passes(n, "198.18.0.31") and is_refused(n, "198.18.250.1"))
    def are_many():  # a busy kernel drops what comes faster than it takes it up
        for port in range(5000):
            n.send("a", eth(n.mac, A, 0x800, ip(A_IP, GATEWAY, udp(b"?", 10000 + port, 53))))
        return count_connections() > 4000
    tap.ok("no more connections to the forwarder than to the outside", await_true(are_many) and count_connections() < 4400,
           count_connections())
    n.driver.do("policy", "a", network_packets.BLOCK)  # which forgets them


def check(n):
    up = dns.Upstream(5300)
    up.answers["allowed.example"] = dns.addresses(OUT_IP)
    up.answers["other.example"] = dns.addresses(ELSEWHERE)
    n.driver.do("policy", "b", OPEN)
    tap.ok("the neighbour is open", await_true(lambda: Sender(n, "b", B, B_IP).reaches_out()))
    n.driver.do("policy", "a", LISTED, "allowed.example")
    tap.ok("s03: before it has asked, a guest reaches nothing", is_refused(n, OUT_IP))
    found = ask(n, "allowed.example")
    tap.equal("s03: a listed name is resolved", found and found.addresses(), [OUT_IP])
    tap.ok("s03: and can be reached from the answer on", passes(n, OUT_IP))
    tap.ok("s03: nothing else", is_refused(n, ELSEWHERE))
    found = ask(n, "other.example")
    tap.equal("s03: another name is refused", found and found.rcode, dns.REFUSED)
    tap.ok("s03: and is not reached", is_refused(n, ELSEWHERE))
    found = ask(n, "other.example", "b", B, B_IP)
    tap.equal("an open neighbour resolves any name", found and found.addresses(), [ELSEWHERE])
    tap.ok("s03: which opens nothing for the guest", is_refused(n, ELSEWHERE))
    tap.equal("s03: in the neighbour's name it asks nothing",
              ask(n, "other.example", "a", A, B_IP, 0.5) or ask(n, "other.example", "a", B, B_IP, 0.5), None)
    query = dns.question("allowed.example")
    send_query(n, "a", query, A, A_IP, ELSEWHERE)
    tap.equal("s03: nor another server", n.places(query[12:], set()), set())
    serving = forwarders()[-1]
    os.kill(serving, signal.SIGKILL)
    tap.ok("who serves is killed: another comes by itself", await_true(lambda: ask(n, "allowed.example", seconds=1) is not None)
           and serving not in forwarders())
    found = ask(n, "other.example")
    tap.ok("s03: with the same list", found and found.rcode == dns.REFUSED and passes(n, OUT_IP) and is_refused(n, ELSEWHERE))
    n.driver.do("policy", "a", network_packets.BLOCK)
    found = ask(n, "allowed.example")
    tap.ok("s03: who is blocked asks for nothing", found and found.rcode == dns.REFUSED and is_refused(n, OUT_IP))
    n.driver.do("policy", "a", LISTED, "allowed.example")
    tap.ok("a list anew: it asks, and reaches", ask(n, "allowed.example") and passes(n, OUT_IP))
    tap.ok("s03: all of runner-dns is killed: what was open is open, and no more",
           end_forwarders() == 2 and passes(n, OUT_IP) and is_refused(n, ELSEWHERE))
    n.driver.kill()
    n.driver = network_packets.Driver()
    n.driver.do("setup")
    for name, mac, address in (("a", A, A_IP), ("b", B, B_IP)):
        n.driver.do("adopt", name, n.names[name], mac, address)
    tap.ok("the next runner starts another", await_true(lambda: ask(n, "allowed.example", seconds=1) is not None))
    n.driver.do("policy", "a", LISTED, "allowed.example")
    tap.ok("s03: the same list again: what was open is open", passes(n, OUT_IP))
    n.driver.do("policy", "a", LISTED, "other.example")
    tap.ok("s03: another list: what was open is not", is_refused(n, OUT_IP))
    found = ask(n, "allowed.example")
    tap.equal("s03: nor resolved", found and found.rcode, dns.REFUSED)
    check_many(n, up)
    n.driver.do("policy", "a", OPEN)
    # Behind thousands of connections a question may be lost; guests ask again, too.
    tap.ok("open again: all names are", await_true(lambda: (found := ask(n, "allowed.example", seconds=1)) is not None and
                                                   found.addresses() == [OUT_IP]))
    tap.ok("and all addresses", passes(n, OUT_IP) and passes(n, ELSEWHERE))


if __name__ == "__main__":
    sys.exit(main())
