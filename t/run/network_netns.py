"""network/bridge with a namespace for each sandbox, by packets: two guests that have the same addresses; who they are
outside, what they may not do, and what is left of them."""

import functools
import os
import socket
import struct
import sys
import time

import dns
import network_lost
import network_packets as base
import tap
from network_packets import (A, A_IP, B, B_IP, BLOCK, ELSEWHERE, GATEWAY, LISTED, OPEN, OUT, OUT_IP, QUIET, Net)
from packets import Driver, Queue, arp, await_true, checksum, eth, ip, run, udp

ME, ME_IP, ROUTER, ROUTER_IP = "02:00:c0:00:00:02", "192.0.0.2", "02:00:c0:00:00:01", "192.0.0.1"
UPLINK_IP = "203.0.113.1"
PROGRAM = os.path.abspath(os.path.join(os.environ.get("top_builddir", "."), "plugins/network/bridge/runner-dns"))
# A frame of the priority tag's is one without, to a host: what comes out is the guest's own.
HARMLESS = {"VLAN 0, as oneself"}


class Clones(Net):
    """Both guests have the same addresses; the queues of their TAPs are had from the driver, as a VMM has them."""

    def queue(self, name):
        return Queue(self.driver.process.pid, int(self.driver.do("dial", name)[0]))

    def says(self, name, to, tag, **ports):
        self.send(name, eth(ROUTER, ME, 0x800, ip(ME_IP, to, udp(tag, **ports))))

    def reaches_out(self, name, to=OUT_IP):
        tag = self.tag()
        self.says(name, to, tag)
        return "out" in self.places(tag, {"out"})

    def is_refused(self, name, to):
        tag = self.tag()
        self.says(name, to, tag)
        return self.places(tag, set()) == set()

    def frame(self, name, tag, seconds=20):
        """The frame with this tag that comes to a guest, or to the outside; None: none."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for frame in (self.out if name == "out" else self.guests[name]).frames():
                if tag in frame:
                    return frame
            time.sleep(0.001)
        return None


def veths():
    return [line.split()[1] for line in run("ip", "-o", "link", "show", "type", "veth").splitlines()]


def is_whole(frame):
    """The checksums of the packet's head and of its UDP or ICMP are right."""
    head, body = frame[14:34], frame[34:14 + struct.unpack("!H", frame[16:18])[0]]
    if checksum(head) != 0:
        return False
    if head[9] == 17:
        if body[6:8] == b"\0\0":
            return False
        body = head[12:20] + struct.pack("!HH", 17, len(body)) + body
    return checksum(body + bytes(len(body) % 2)) == 0


def udp_whole(source, to, tag, from_port, to_port):
    """With its checksum."""
    bare = struct.pack("!HHHH", from_port, to_port, 8 + len(tag), 0) + tag
    total = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack("!HH", 17, len(bare)) + bare
    return bare[:6] + struct.pack("!H", checksum(total + bytes(len(total) % 2))) + bare[8:]


def icmp(kind, code, rest):
    bare = struct.pack("!BBH", kind, code, 0) + rest
    return struct.pack("!BBH", kind, code, checksum(bare + bytes(len(bare) % 2))) + rest


def check_closed(n):
    n.driver.do("policy", "b", OPEN)
    tap.ok("a clone that is open reaches the outside", await_true(lambda: n.reaches_out("b")))
    tap.ok("its twin without a policy does not", n.is_refused("a", OUT_IP))


def check_legal(n):
    n.driver.do("policy", "a", OPEN)
    n.driver.do("policy", "b", OPEN)
    for name in ("a", "b"):
        tap.ok(f"clone {name} reaches the outside", await_true(functools.partial(n.reaches_out, name)))
    for name, address in (("a", A_IP), ("b", B_IP)):
        tag = n.tag()
        n.host_says(address, tag)
        tap.equal(f"{address} is clone {name}, and no other", n.places(tag, {name}), {name})
        tag = n.tag()
        n.says(name, GATEWAY, tag, from_port=2280)
        n.service.settimeout(20)
        data, sender = n.service.recvfrom(65536)
        n.service.setblocking(False)
        tap.ok(f"what clone {name} replies is {address}'s", tag in data and sender[0] == address, sender)
        n.send(name, eth("ff:ff:ff:ff:ff:ff", ME, 0x806, arp(1, ME, ME_IP, "00:00:00:00:00:00", ROUTER_IP, b"")))
        answer = n.frame(name, socket.inet_aton(ROUTER_IP) + bytes.fromhex(ME.replace(":", "")))
        tap.ok(f"clone {name} finds its gateway, at the same MAC address", answer is not None and answer[6:12].hex(":") == ROUTER)
        echo = n.tag()
        n.send(name, eth(ROUTER, ME, 0x800, ip(ME_IP, ROUTER_IP, icmp(8, 0, b"\0\1\0\1" + echo), protocol=1)))
        tap.ok("which answers a ping", n.frame(name, echo) is not None)


def check_translation(n):
    tag = n.tag()
    n.send("a", eth(ROUTER, ME, 0x800, ip(ME_IP, OUT_IP, udp_whole(ME_IP, OUT_IP, tag, 3400, 5000))))
    out = n.frame("out", tag)
    tap.ok("checksums are right outside", out is not None and is_whole(out), out)
    back = n.tag()
    n.send("out", eth(n.out_mac, OUT, 0x800, ip(OUT_IP, UPLINK_IP, udp_whole(OUT_IP, UPLINK_IP, back, 5000, 3400))))
    found = n.frame("a", back)
    tap.ok("a reply comes to the clone that asked, at its own address, whole",
           found is not None and is_whole(found) and found[30:34] == socket.inet_aton(ME_IP) and
           found[:12].hex(":") == ME + ":" + ROUTER, found)
    tap.ok("and to no other", n.frame("b", back, QUIET) is None)
    tag = n.tag()
    body = udp_whole(ME_IP, OUT_IP, tag.ljust(2400, b"."), 3401, 5000)
    whole = ip(ME_IP, OUT_IP, body)
    for start, end, more in ((0, 1480, 0x2000), (1480, len(body), 0)):
        head = whole[:2] + struct.pack("!HHH", 20 + end - start, 7, more | start // 8) + whole[8:10] + b"\0\0" + whole[12:20]
        n.send("a", eth(ROUTER, ME, 0x800, head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body[start:end]))
    out = n.frame("out", tag)
    tap.ok("a packet in pieces goes out in pieces", out is not None and out[26:30] == socket.inet_aton(UPLINK_IP), out)


def check_errors(n):
    """What ICMP says is about a packet as the other side knows it."""
    tag = n.tag()
    n.says("a", OUT_IP, tag, from_port=3402)
    sent = n.frame("out", tag)
    n.send("out", eth(n.out_mac, OUT, 0x800, ip("203.0.113.50", UPLINK_IP, icmp(3, 4, struct.pack("!HH", 0, 1400) + sent[14:42]), protocol=1)))
    found = n.frame("a", socket.inet_aton(ME_IP) + socket.inet_aton(OUT_IP))
    tap.ok("a packet was too large: the guest is told, of a packet of its own",
           found is not None and found[23] == 1 and found[34:36] == b"\3\4" and is_whole(found), found)
    tag = n.tag()
    n.send("out", eth(n.out_mac, OUT, 0x800, ip(OUT_IP, UPLINK_IP, udp(tag, 5000, 3402))))
    reply = n.frame("a", tag)
    n.send("a", eth(ROUTER, ME, 0x800, ip(ME_IP, OUT_IP, icmp(3, 3, bytes(4) + reply[14:42]), protocol=1)))
    found = n.frame("out", socket.inet_aton(OUT_IP) + socket.inet_aton(UPLINK_IP))
    tap.ok("nobody listens there: the outside is told, of a packet of its own",
           found is not None and found[23] == 1 and found[34:36] == b"\3\3" and is_whole(found), found)


def wrongs(n):
    """The cases of network_packets, of a guest that has these addresses."""
    who, n.who = n.who, ("a", ME, ME_IP)
    n.mac, mac = ROUTER, n.mac
    try:
        for name, make, where in base.cases(n):
            if name not in HARMLESS:
                yield name, make, where
        own = lambda mac, source, to, router=ROUTER: lambda t: eth(router, mac, 0x800, ip(source, to, udp(t)))
        everywhere = {"b", "out", "bridge", "host"}
        yield "the address that it has outside", own(ME, A_IP, OUT_IP), everywhere
        yield "both that it has outside", own(A, A_IP, OUT_IP), everywhere
        yield "past its gateway, to the bridge's", own(ME, ME_IP, OUT_IP, mac), everywhere
        yield "to itself, outside", own(ME, ME_IP, A_IP), everywhere
        yield "to its gateway", own(ME, ME_IP, ROUTER_IP), everywhere
        yield "to its twin's address, which is its own", own(ME, ME_IP, ME_IP), everywhere
        yield "a multicast of the wire", own(ME, ME_IP, "224.0.0.1", "01:00:5e:00:00:01"), everywhere
    finally:
        n.mac = mac
        n.who = who


def try_wrongs(n, note):
    """The names of those that got somewhere."""
    got = []
    for name, make, where in wrongs(n):
        tag = n.tag()
        n.send("a", make(tag))
        found = n.places(tag, set()) & where
        if found:
            got.append(name)
        if note:
            tap.equal("s02: " + name, found, set())
    return got


def check_policies(n):
    n.driver.do("policy", "a", BLOCK)
    tap.ok("s03: blocked: nothing goes out", n.is_refused("a", OUT_IP))
    tap.ok("and its twin is not", n.reaches_out("b"))
    tag = n.tag()
    n.host_says(A_IP, tag)
    tap.equal("blocked: the host reaches it", n.places(tag, {"a"}), {"a"})
    n.driver.do("policy", "a", LISTED, "203.0.113.96/30")
    tap.ok("s03: a list", n.reaches_out("a") and n.is_refused("a", ELSEWHERE) and n.reaches_out("b", ELSEWHERE))
    n.driver.do("policy", "a", OPEN)
    tag = n.tag()
    n.says("a", OUT_IP, tag, from_port=3403)
    n.places(tag, {"out"})
    n.driver.do("policy", "a", LISTED, ELSEWHERE + "/32")
    tag = n.tag()
    n.send("out", eth(n.out_mac, OUT, 0x800, ip(OUT_IP, UPLINK_IP, udp(tag, 5000, 3403))))
    tap.equal("s03: what was open is cut", n.places(tag, set()) & {"a", "b"}, set())
    n.driver.do("policy", "a", OPEN)
    before = [int(word) for word in n.driver.do("counters", "a")]
    n.reaches_out("a")
    n.is_refused("a", "192.168.7.7")
    def told():
        return [y - x for x, y in zip(before, map(int, n.driver.do("counters", "a")))]
    tap.ok("counters: two sent, one of them refused", await_true(lambda: told()[2:5:2] == [2, 1]), told())


def check_rate(n):
    """By queues, which the port has as it had them without a namespace: what is more waits or is dropped."""
    n.driver.do("rate", "a", 50000, 0)
    begin, tags = time.monotonic(), []
    for _ in range(400):
        tags.append(n.tag())
        n.says("a", OUT_IP, tags[-1].ljust(972, b"."))
    out = b"".join(n.out.frames())
    while time.monotonic() < begin + 1:
        out += b"".join(n.out.frames())
        time.sleep(0.01)
    at_most = 100 + 50 * (time.monotonic() - begin)
    came = sum(tag in out for tag in tags)
    tap.ok("rates: 50 kB a second, of 400 kB at once", 5 <= came <= at_most, (came, at_most))
    n.driver.do("policy", "a", OPEN)


def check_names(n):
    """runner-dns knows who asks."""
    up = dns.Upstream(5300)
    up.answers["allowed.example"] = dns.addresses(OUT_IP)
    n.driver.do("policy", "a", LISTED, "allowed.example")
    tap.ok("s03: a list of names: before it has asked, it reaches nothing", n.is_refused("a", OUT_IP))
    query = dns.question("allowed.example")

    def is_answered():
        n.says("a", GATEWAY, query, from_port=4000, to_port=53)
        return n.frame("a", query[:2] + b"\x81", 1) is not None
    tap.ok("s03: the name is resolved", await_true(is_answered))
    tap.ok("s03: and can be reached then", n.reaches_out("a") and n.is_refused("a", ELSEWHERE))
    n.driver.do("policy", "b", LISTED, "other.example")
    n.says("b", GATEWAY, query, from_port=4000, to_port=53)
    answer = n.frame("b", query[:2] + b"\x81")
    tap.ok("s03: its twin, of another list, is refused it", answer is not None and answer[45] & 15 == dns.REFUSED, answer)
    n.driver.do("policy", "a", OPEN)
    n.driver.do("policy", "b", OPEN)


def check_lost(n):
    """The rules and the bridge go: noticed, and put right as core does it, from outside of the namespaces."""
    def told():
        return " ".join(n.driver.do("check"))
    n.driver.do("policy", "a", OPEN)
    n.driver.do("policy", "b", BLOCK)
    for what, says, command in (("the rules", "the rules of table 'bridge runner_br0'", ("nft", "flush", "ruleset")),
                                ("the bridge", "the bridge br0 is gone", ("ip", "link", "del", "br0"))):
        run(*command)
        tap.ok(f"{what} gone: told", says in told(), told())
        n.driver.do("setup")
        n.driver.do("sweep", "a", "b")
        network_lost.watch(n)
        tap.ok(f"{what} made again: closed until the policy is said", n.is_refused("b", OUT_IP))
        n.driver.do("policy", "a", OPEN)
        n.driver.do("policy", "b", BLOCK)
        tap.equal(f"{what}: nothing is told any more", told(), "")
        tap.ok(f"{what}: the open clone is out, the blocked one is not, nor is its twin reached",
               await_true(lambda: n.reaches_out("a")) and n.is_refused("b", OUT_IP) and n.is_refused("a", B_IP))
        for name, address in (("a", A_IP), ("b", B_IP)):
            def is_dialled():
                tag = n.tag()
                n.host_says(address, tag)
                return n.places(tag, set()) == {name}
            tap.ok(f"{what}: the host reaches clone {name}", await_true(is_dialled))


def send_each(n):
    """A legal packet, and illegal ones; their tags."""
    legal, illegal = n.tag(), [n.tag() for _ in range(3)]
    n.says("a", OUT_IP, legal)
    n.says("a", ELSEWHERE, illegal[0])
    n.send("a", eth(ROUTER, ME, 0x800, ip(B_IP, OUT_IP, udp(illegal[1]))))
    n.send("a", eth(ROUTER, A, 0x800, ip(A_IP, OUT_IP, udp(illegal[2]))))
    return legal, illegal


flood = functools.partial(base.flood, send=send_each)
flood_beside = functools.partial(base.flood_beside, send=send_each)


def check_flood(n):
    n.driver.do("policy", "a", LISTED, "203.0.113.0/24")
    for what, words in (("300 changes of its policy", ("change", 300, "a", "203.0.113.0/25", "203.0.113.64/26")),
                        ("300 neighbours that come and go", ("come-and-go", 300))):
        sent, lost, leaked, times = flood_beside(n, words, 30)
        tap.ok(f"during {what}: nothing lost, nothing leaked", base.is_right(sent, lost, leaked) and sent > 30,
               f"{sent} sent, {lost} lost, {leaked} leaked")
        tap.diag(f"{what}: microseconds p50 p99 max: {' '.join(times)}")
    tap.ok("none of them is left", await_true(lambda: len(veths()) == 2), veths())


def check_hostile(n):
    """Of a VMM that was taken over: its TAP's address is the victim's, and the bridge never sees that."""
    n.guests["a"].pretend(B)
    tag = n.tag()
    n.host_says(B_IP, tag)
    tap.equal("a VMM that takes the victim's MAC address gets nothing of it", n.places(tag, {"b"}), {"b"})
    n.guests["a"].pretend(ROUTER)


def check_kill(n, params):
    n.driver.do("attach", "half", "02:00:00:00:00:0c", "10.0.0.4")
    tap.equal("a third is there, which no VMM has taken yet", len(veths()), 3)
    n.driver.begin("change", 100000, "a", "203.0.113.0/25", "203.0.113.64/26")
    flood(n, base.after(0.5))
    n.driver.kill()
    sent, lost, leaked = flood(n, base.after(0.5), least=10)
    tap.ok("a runner that was killed: its sandboxes' namespaces live on, and its rules", base.is_right(sent, lost, leaked),
           (sent, lost, leaked))
    tap.ok("that of the third is gone with it", await_true(lambda: len(veths()) == 2), veths())
    n.driver = Driver(*params)
    n.driver.do("setup")
    n.driver.do("adopt", "a", n.names["a"], A, A_IP)
    n.driver.do("policy", "a", OPEN)
    n.driver.do("sweep", "a")
    tap.ok("its successor finds one and removes what no record names", await_true(lambda: len(veths()) == 1) and
           n.names["a"] in veths()[0] and n.reaches_out("a"), veths())
    tag = n.tag()
    n.says("b", OUT_IP, tag)
    tap.equal("whose guest reaches nothing", n.places(tag, set()) - {"b"}, set())


def check_again(n):
    """A sandbox that is stopped, and started again under the same name while the kernel still removes what was there."""
    for _ in range(10):
        n.guests.pop("a").close()
        n.driver.do("detach", "a")
        n.driver.do("attach", "a", A, A_IP)
        n.guests["a"] = n.queue("a")
        n.driver.do("policy", "a", OPEN)
    tap.ok("stopped and started ten times: it reaches the outside", await_true(lambda: n.reaches_out("a")))
    tap.ok("and is there once", await_true(lambda: len(veths()) == 1), veths())


def check_control(n):
    """Without the rules, here and there, some of it gets somewhere: the cases can fail."""
    for family in ("bridge", "inet"):
        run("nft", "delete", "table", family, "runner_br0")
    for name in n.names.values():
        run("bridge", "link", "set", "dev", name, "isolated", "off", "locked", "off", "learning", "on", "flood", "on",
            "mcast_flood", "on", "bcast_flood", "on")
    got = try_wrongs(n, False)
    tap.ok(f"(control: without the host's rules {len(got)} get somewhere)", len(got) >= 6, got)
    tap.diag(", ".join(got))
    n.guests["a"].inside("nft", "delete", "table", "ip", "runner")
    more = try_wrongs(n, False)
    tap.ok(f"(control: nor those of the namespace: {len(more)})", len(set(more) - set(got)) >= 6, more)
    tap.diag(", ".join(sorted(set(more) - set(got))))


def check_end(n):
    n.guests.pop("a").close()
    n.driver.do("setup")
    n.driver.do("detach", "a")
    table = run("nft", "list", "table", "bridge", "runner_br0")
    tap.ok("detached: no element is left", "tap-" not in table.replace('"tap-*"', ""), table)
    tap.ok("nor a neighbour", A_IP not in run("ip", "neigh"))
    tap.ok("nor an interface", await_true(lambda: veths() == []), veths())


def main():
    params = ("netns=true", "dns=true", "dns_program=" + PROGRAM, "dns_upstream=127.0.0.1:5300")
    base.Driver = functools.partial(Driver, *params)
    n = Clones()
    try:
        check(n, params)
    finally:
        n.driver.close()
        import network_names
        network_names.end_forwarders()
    tap.done()


def check(n, params):
    check_closed(n)
    check_legal(n)
    check_translation(n)
    check_errors(n)
    try_wrongs(n, True)
    base.check_outside(n)
    check_policies(n)
    check_lost(n)
    check_rate(n)
    check_names(n)
    check_flood(n)
    check_hostile(n)
    check_kill(n, params)
    check_again(n)
    n.driver.do("attach", "b", B, B_IP)
    n.guests["b"].close()
    n.guests["b"] = n.queue("b")
    n.driver.do("policy", "b", OPEN)
    tap.ok("both again", await_true(lambda: n.reaches_out("b")))
    check_control(n)
    n.guests.pop("b").close()
    n.driver.do("setup")
    n.driver.do("detach", "b")
    check_end(n)


if __name__ == "__main__":
    sys.exit(main())
