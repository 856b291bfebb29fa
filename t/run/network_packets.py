"""network/bridge by packets: two guests, a host, the outside; each case with the rules and without them."""

import os
import re
import socket
import sys
import time

import tap
from packets import (BROADCAST, Driver, Tap, arp, await_true, eth, ip, ip6, mac_of, run, source_route, udp, vlan)

A, B, OUT = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:99"
A_IP, B_IP, GATEWAY, OUT_IP, ELSEWHERE = "10.0.0.2", "10.0.0.3", "10.0.0.1", "203.0.113.99", "198.51.100.9"
OPEN, BLOCK, LISTED, RESTRICTED = 0, 1, 2, 4
CHANGES = int(os.environ.get("RUNNER_TEST_CHANGES", "1000"))  # beside which nothing may be lost, or leak
QUIET = 0.06  # how long a packet that must not come is waited for
LATE = 3  # seconds until one that must come is lost, where that may be


class Net:
    """A namespace with the bridge, its two guests' TAPs, an uplink, and sockets of the host."""

    bridge = "br0"  # of guest a

    def __init__(self):
        self.out = Tap("out0")
        with open("/proc/sys/net/ipv4/conf/all/accept_source_route", "w") as file:
            file.write("1")  # as some administrator may have it
        for line in ("link set lo up", "addr add 203.0.113.1/24 dev out0", "link set out0 up",
                     f"route add default via {OUT_IP}", f"neigh replace {OUT_IP} lladdr {OUT} dev out0 nud permanent"):
            run("ip", *line.split())
        self.driver = Driver()
        self.driver.do("setup")
        self.driver.do("sweep")
        self.names = {}
        self.attach_guests()
        self.guests = {name: self.queue(name) for name in self.names}
        self.mac = mac_of("br0")
        self.out_mac = mac_of("out0")
        self.service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.service.bind(("0.0.0.0", 5000))
        self.service.setblocking(False)
        self.seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.seen.bind((self.bridge, 0))
        self.seen.setblocking(False)
        self.number = 0
        self.who, self.victim = ("a", A, A_IP), ("b", B, B_IP)  # of the cases

    def attach(self, name, mac, address):
        self.names[name] = self.driver.do("attach", name, mac, address)[0]

    def attach_guests(self):
        self.attach("a", A, A_IP)
        self.attach("b", B, B_IP)

    def queue(self, name):
        return Tap(self.names[name])

    def tag(self):
        self.number += 1
        return b"<%08d>" % self.number

    def host_has(self, tag):
        try:
            while True:
                if tag in self.service.recv(65536):
                    return True
        except BlockingIOError:
            return False

    def bridge_has(self, tag):
        """What comes up to the host by the bridge, as itself or under a tag of a VLAN."""
        found = False
        try:
            while True:
                data, address = self.seen.recvfrom(65536)
                found |= tag in data and address[2] != socket.PACKET_OUTGOING
        except BlockingIOError:
            return found

    def places(self, tag, wanted):
        """Where it appeared. What must come is waited for. The last look is after the end, however late this is."""
        found, is_over = set(), False
        end = time.monotonic() + (QUIET if not wanted else 20)
        while not is_over:
            is_over = time.monotonic() >= end
            for name, guest in list(self.guests.items()) + [("out", self.out)]:
                if any(tag in frame for frame in guest.frames()):
                    found.add(name)
            if self.host_has(tag):
                found.add("host")
            if self.bridge_has(tag):
                found.add("bridge")
            if wanted and found >= wanted:
                break
            time.sleep(0.002)
        return found

    def send(self, name, frame):
        (self.out if name == "out" else self.guests[name]).send(frame)

    def from_a(self, source, to, tag, mac=A, to_mac=None, **ports):
        self.send("a", eth(to_mac or self.mac, mac, 0x800, ip(source, to, udp(tag, **ports))))

    def host_says(self, to, tag, port=2280):
        self.service.sendto(tag, (to, port))


def cases(n):
    """What a guest does wrong, guest a unless others are said: name, frame for a tag, places in which it is looked for."""
    (_, A, A_IP), (victim, B, B_IP) = n.who, n.victim
    everywhere = {victim, "out", "bridge", "host"}
    beyond = {victim, "out", "host"}  # what is said to the gateway comes to the bridge, and the host's rules decide

    def packet(case, source, to, mac=A, to_mac=None, where=everywhere, **ports):
        return case, lambda t: eth(to_mac or n.mac, mac, 0x800, ip(source, to, udp(t, **ports))), where

    def frame(case, kind, body, mac=A, to_mac=None):
        return case, lambda t: eth(to_mac or n.mac, mac, kind, body(t)), everywhere

    def ask(case, operation, mac, address, to, inner=None, to_mac=BROADCAST, kind=1):
        return frame(case, 0x806, lambda t: arp(operation, inner or mac, address, BROADCAST, to, t, kind), mac, to_mac)

    def routed(name, hop, kind=131):
        return name, lambda t: eth(n.mac, A, 0x800, ip(A_IP, GATEWAY, udp(t), options=source_route(hop, kind))), beyond

    own = lambda t: ip(A_IP, OUT_IP, udp(t))
    forged = lambda t: ip(B_IP, OUT_IP, udp(t))
    return [
        packet("another's MAC", A_IP, OUT_IP, mac=B),
        packet("the gateway's MAC", A_IP, OUT_IP, mac=n.mac),
        packet("nobody's MAC", A_IP, OUT_IP, mac="02:00:00:00:00:77"),
        packet("a MAC of many", A_IP, OUT_IP, mac="03:00:00:00:00:0a"),
        packet("another's address", B_IP, OUT_IP),
        packet("the gateway's address", GATEWAY, OUT_IP),
        packet("the uplink's address", "203.0.113.1", OUT_IP),
        packet("an address of nowhere", "192.0.2.77", OUT_IP),
        packet("address 0.0.0.0", "0.0.0.0", OUT_IP),
        packet("address 127.0.0.1", "127.0.0.1", OUT_IP),
        packet("another's MAC and address", B_IP, OUT_IP, mac=B),
        packet("a DHCP server's answer", A_IP, "255.255.255.255", to_mac=BROADCAST, from_port=67, to_port=68),
        packet("a DHCP server's answer, outside", A_IP, OUT_IP, from_port=67, to_port=68),
        ask("ARP: the gateway is here", 2, A, GATEWAY, B_IP, to_mac=B),
        ask("ARP: the gateway is here, to all", 2, A, GATEWAY, GATEWAY),
        ask("ARP: the victim is here", 2, A, B_IP, GATEWAY, to_mac=n.mac),
        ask("ARP: the victim is here, to all", 1, A, B_IP, B_IP),
        ask("ARP: another MAC within", 2, A, A_IP, GATEWAY, inner=B, to_mac=n.mac),
        ask("ARP: a probe", 1, A, "0.0.0.0", B_IP),
        ask("ARP: a question for the victim", 1, A, A_IP, B_IP),
        ask("ARP: another kind of hardware", 1, A, A_IP, GATEWAY, kind=6),
        frame("RARP", 0x8035, lambda t: arp(3, A, A_IP, A, A_IP, t), to_mac=BROADCAST),
        frame("IPv6: a packet", 0x86dd, ip6, to_mac="33:33:00:00:00:01"),
        frame("IPv6: a router's advertisement", 0x86dd, lambda t: ip6(t, 58), to_mac="33:33:00:00:00:01"),
        frame("VLAN 5, as oneself", 0x8100, lambda t: vlan(5, 0x800, own(t))),
        frame("VLAN 0, as oneself", 0x8100, lambda t: vlan(0, 0x800, own(t))),
        frame("VLAN 0, as another", 0x8100, lambda t: vlan(0, 0x800, forged(t))),
        frame("VLAN 5, as another", 0x8100, lambda t: vlan(5, 0x800, forged(t))),
        frame("QinQ, as another", 0x88a8, lambda t: vlan(5, 0x8100, vlan(6, 0x800, forged(t)))),
        frame("a frame of LLC", 0x26, lambda t: b"\x42\x42\x03" + t),
        frame("LLDP", 0x88cc, lambda t: t, to_mac=BROADCAST),
        frame("PPPoE", 0x8863, lambda t: t, to_mac=BROADCAST),
        frame("an experimental type", 0x88b5, lambda t: t, to_mac=B),
        frame("IPv6 that says it is IPv4", 0x800, ip6),
        packet("guest to guest", A_IP, B_IP, to_mac=B),
        packet("guest to guest, by the host", A_IP, B_IP),
        packet("guest to guest, to all", A_IP, "10.0.255.255", to_mac=BROADCAST),
        packet("guest to guest, to many", A_IP, "224.0.0.251", to_mac="01:00:5e:00:00:fb"),
        packet("guest to guest, the outside's address", A_IP, OUT_IP, to_mac=B),
        packet("to the host: gateway", A_IP, GATEWAY, where=beyond),
        packet("to the host: uplink", A_IP, "203.0.113.1", where=beyond),
        packet("to the host: to all", A_IP, "255.255.255.255", to_mac=BROADCAST),
        packet("to the host: 127.0.0.1", A_IP, "127.0.0.1"),
        *(packet(f"to the host, as a frame of the link ({last:02x})", A_IP, to, to_mac=f"01:80:c2:00:00:{last:02x}", where=beyond)
          for last in (0, 2, 3, 14, 15) for to in (GATEWAY, "203.0.113.1")),
        packet("a frame of the link, as another", B_IP, GATEWAY, mac=B, to_mac="01:80:c2:00:00:0e"),
        packet("a frame of the link, to the outside", A_IP, OUT_IP, to_mac="01:80:c2:00:00:0e"),
        routed("a source route: to a private network", "192.168.7.7"),
        routed("a strict source route: to a private network", OUT_IP, 137),
        routed("a source route: to the neighbour", B_IP),
        packet("to metadata", A_IP, "169.254.169.254"),
        packet("to a private network", A_IP, "192.168.7.7"),
        packet("to another private network", A_IP, "172.16.7.7"),
    ]


def try_cases(n, note, prefix="s02: "):
    """The names of those that got somewhere."""
    wrong = []
    for name, make, where in cases(n):
        tag = n.tag()
        n.send(n.who[0], make(tag))
        found = n.places(tag, set()) & where
        if found:
            wrong.append(name)
        if note:
            tap.equal(prefix + name, found, set())
    return wrong


def passes(n, to, source=A_IP):
    tag = n.tag()
    n.from_a(source, to, tag)
    return n.places(tag, {"out"}) >= {"out"}


def is_refused(n, to):
    tag = n.tag()
    n.from_a(A_IP, to, tag)
    return n.places(tag, set()) == set()


def check_legal(n):
    n.driver.do("policy", "a", OPEN)
    n.driver.do("policy", "b", OPEN)

    def is_up():  # a port forwards a moment after its TAP was opened
        tag = n.tag()
        n.from_a(A_IP, OUT_IP, tag)
        time.sleep(0.05)
        return "out" in n.places(tag, set())
    tap.ok("a guest reaches the outside", await_true(is_up))
    tag = n.tag()
    n.send("a", eth(BROADCAST, A, 0x806, arp(1, A, A_IP, BROADCAST, GATEWAY, tag)))
    tap.ok("and asks for the gateway", "bridge" in n.places(tag, {"bridge"}))
    for name, address in (("a", A_IP), ("b", B_IP)):
        def is_dialled():
            tag = n.tag()
            n.host_says(address, tag)
            return n.places(tag, set()) == {name}
        tap.ok(f"the host reaches guest {name}, and it alone", await_true(is_dialled))
    tag = n.tag()
    n.from_a(A_IP, GATEWAY, tag, from_port=2280)
    tap.ok("which replies", "host" in n.places(tag, {"host"}))


def check_outside(n):
    tag = n.tag()
    n.send("out", eth(n.out_mac, OUT, 0x800, ip(OUT_IP, A_IP, udp(tag))))
    tap.equal("nothing unasked comes in", n.places(tag, set()) & {"a", "b"}, set())


def reply(n, port, source=OUT_IP):
    """The outside answers what guest a sent from that port."""
    tag = n.tag()
    n.send("out", eth(n.out_mac, OUT, 0x800, ip(source, "203.0.113.1", udp(tag, 5000, port))))
    return tag


def check_policies(n):
    d = n.driver
    d.do("policy", "a", BLOCK)
    tap.ok("s03: blocked: nothing goes out", is_refused(n, OUT_IP))
    tag = n.tag()
    n.host_says(A_IP, tag)
    tap.equal("blocked: the host reaches it", n.places(tag, {"a"}), {"a"})
    tap.ok("blocked: its neighbour is not", Sender(n, "b", B, B_IP).reaches_out())
    d.do("policy", "a", LISTED, "203.0.113.96/30")
    tap.ok("s03: a list: what is in it", passes(n, OUT_IP))
    tap.ok("a list: what is beside it", is_refused(n, "203.0.113.100") and is_refused(n, "203.0.113.95"))
    tap.ok("a list: what is elsewhere", is_refused(n, ELSEWHERE))
    d.do("policy", "a", LISTED, "0.0.0.0/0")
    tap.ok("a list of everything: private networks are closed all the same",
           passes(n, OUT_IP) and is_refused(n, "192.168.7.7") and is_refused(n, "169.254.169.254"))
    d.do("policy", "a", LISTED)
    tap.ok("an empty list", is_refused(n, OUT_IP))
    d.do("policy", "a", BLOCK | LISTED, "203.0.113.0/24")
    tap.ok("blocked wins over a list", is_refused(n, OUT_IP))
    d.do("policy", "a", RESTRICTED)
    tap.ok("restricted, without a setting that says to where: as others", passes(n, OUT_IP) and passes(n, ELSEWHERE))


def check_changes_of_kind(n):
    """Each kind of policy behind each other: a list leaves chains and sets behind that must not matter."""
    kinds = {"open": ((OPEN,), True, True), "blocked": ((BLOCK,), False, False),
             "a list": ((LISTED, OUT_IP + "/32"), True, False), "another list": ((LISTED, ELSEWHERE + "/32"), False, True),
             "restricted": ((RESTRICTED,), True, True), "a list, restricted": ((LISTED | RESTRICTED, OUT_IP + "/32"), True, False)}
    for before in kinds:
        for after, (policy, out, elsewhere) in kinds.items():
            n.driver.do("policy", "a", *kinds[before][0])
            n.driver.do("policy", "a", *policy)
            right = [passes(n, to) if may else is_refused(n, to) for to, may in ((OUT_IP, out), (ELSEWHERE, elsewhere))]
            tap.equal(f"{before}, then {after}", right, [True, True])
    n.driver.do("policy", "a", LISTED, OUT_IP + "/32")
    run("nft", "delete", "table", "bridge", "runner_br0")
    n.driver.do("setup")
    tap.ok("the table was lost: closed", is_refused(n, OUT_IP))
    n.driver.do("policy", "a", LISTED, OUT_IP + "/32")
    tap.ok("and the same list is in force again", passes(n, OUT_IP) and is_refused(n, ELSEWHERE))
    run("nft", "delete", "table", "bridge", "runner_br0")
    n.driver.do("setup")
    n.driver.do("policy", "a", BLOCK)
    tap.ok("lost, then blocked", is_refused(n, OUT_IP))
    n.driver.do("policy", "b", OPEN)


class Sender:
    def __init__(self, n, name, mac, address):
        self.n, self.name, self.mac, self.address = n, name, mac, address

    def reaches_out(self):
        tag = self.n.tag()
        self.n.send(self.name, eth(self.n.mac, self.mac, 0x800, ip(self.address, OUT_IP, udp(tag))))
        return "out" in self.n.places(tag, {"out"})


def check_open_connections(n):
    """What was allowed and is no longer does not pass, in neither direction."""
    for name, port, policy in (("blocked", 3100, (BLOCK,)), ("a list without it", 3101, (LISTED, ELSEWHERE + "/32"))):
        n.driver.do("policy", "a", OPEN)
        tag = n.tag()
        n.from_a(A_IP, OUT_IP, tag, from_port=port)
        n.places(tag, {"out"})
        tap.equal(f"{name}: before, the reply comes", n.places(reply(n, port), {"a"}) & {"a", "b"}, {"a"})
        n.driver.do("policy", "a", *policy)
        tap.equal(f"{name}: the reply comes no more", n.places(reply(n, port), set()) & {"a", "b"}, set())
        tap.ok(f"{name}: nor goes anything", is_refused(n, OUT_IP))
    check_forgotten(n)


def check_forgotten(n):
    """Who was blocked has no connections any more, when it is open again; its neighbour keeps its own."""
    flows = {"a": (A, A_IP, 3150), "b": (B, B_IP, 3151)}
    n.driver.do("policy", "a", OPEN)
    for name, (mac, address, port) in flows.items():
        tag = n.tag()
        n.send(name, eth(n.mac, mac, 0x800, ip(address, OUT_IP, udp(tag, port))))
        n.places(tag, {"out"})
        tap.equal(f"a connection of {name}", n.places(reply(n, port), {name}) & {"a", "b"}, {name})
    n.driver.do("policy", "a", BLOCK)
    n.driver.do("policy", "a", OPEN)
    tap.equal("the one that was blocked is forgotten", n.places(reply(n, 3150), set()) & {"a", "b"}, set())
    tap.equal("its neighbour's is not", n.places(reply(n, 3151), {"b"}) & {"a", "b"}, {"b"})


def check_kept_connections(n):
    """What both allow is not disturbed: even what the outside says before the guest speaks again comes through."""
    def speaks(port):
        n.driver.do("policy", "a", OPEN)
        tag = n.tag()
        n.from_a(A_IP, OUT_IP, tag, from_port=port)
        return n.places(tag, {"out"}) >= {"out"}
    before = speaks(3210)
    n.driver.do("policy", "a", LISTED, OUT_IP + "/32")
    tap.equal("a list that has it: the reply comes", (before, n.places(reply(n, 3210), {"a"}) & {"a", "b"}), (True, {"a"}))
    n.driver.do("policy", "a", LISTED, OUT_IP + "/32", ELSEWHERE + "/32")
    tap.equal("a longer list: the reply comes", n.places(reply(n, 3210), {"a"}) & {"a", "b"}, {"a"})
    n.driver.do("policy", "a", LISTED)
    n.driver.do("policy", "a", LISTED, OUT_IP + "/32")
    tap.equal("(control: an empty list between, with which connections are forgotten: it does not)",
              n.places(reply(n, 3210), set()) & {"a", "b"}, set())
    n.driver.do("policy", "a", OPEN)


def check_cut_later(n):
    """Connections that a list no longer allows are forgotten by the next look; those that it allows are not."""
    def comes(port, source=OUT_IP, wanted=True):
        return n.places(reply(n, port, source), {"a"} if wanted else set()) & {"a", "b"} == {"a"}
    n.driver.do("policy", "a", OPEN)
    for port, to in ((3220, OUT_IP), (3221, ELSEWHERE)):
        tag = n.tag()
        n.from_a(A_IP, to, tag, from_port=port)
        n.places(tag, {"out"})
    n.driver.do("policy", "a", LISTED, OUT_IP + "/32")
    n.driver.do("policy", "a", OPEN)
    n.driver.do("check")
    tap.ok("a list for a moment: both connections go on", comes(3220) and comes(3221, ELSEWHERE))
    n.driver.do("policy", "a", LISTED, OUT_IP + "/32")
    n.driver.do("check")
    tap.ok("a list, and a look: what it allows goes on", comes(3220))
    n.driver.do("policy", "a", OPEN)
    tap.ok("the other is forgotten", comes(3220) and not comes(3221, ELSEWHERE, False))


def check_hostile_vmm(n):
    """Its TAP's own address becomes the victim's: the bridge then believes that the victim is there."""
    n.guests["a"].pretend(B)
    tag = n.tag()
    n.host_says(B_IP, tag)
    found = n.places(tag, set())
    tap.ok("a VMM that takes the victim's MAC gets nothing of it", "a" not in found, found)


def tags_of(*taps):
    """Of all frames that have come to these."""
    return {tag for one in taps for frame in one.frames() for tag in re.findall(rb"<\d{8}>", frame)}


def send_each(n):
    """A legal packet, and illegal ones; their tags."""
    legal, illegal = n.tag(), [n.tag() for _ in range(3)]
    n.from_a(A_IP, OUT_IP, legal)
    n.from_a(A_IP, ELSEWHERE, illegal[0])
    n.from_a(B_IP, OUT_IP, illegal[1])
    n.from_a(A_IP, OUT_IP, illegal[2], mac=B)
    return legal, illegal


def after(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def flood(n, is_over, send=send_each, least=0):
    """Legal and illegal packets in turn until it is over, and so many were sent: how many of the first that were, how many of
    them were lost, how many of the second came through. What a busy kernel takes up later is waited for."""
    legal, illegal, came = set(), set(), set()
    while not is_over() or len(legal) < least:
        good, bad = send(n)
        legal.add(good)
        illegal.update(bad)
        came |= tags_of(n.out, n.guests["b"])
    end = time.monotonic() + LATE
    while not legal <= came and time.monotonic() < end:
        time.sleep(0.002)
        came |= tags_of(n.out, n.guests["b"])
    return len(legal), len(legal - came), len(illegal & came)


def flood_beside(n, words, enough, send=send_each):
    """As flood(), beside that command; again, where a busy machine let that alone run. Its times are of the last one."""
    total, end = [0, 0, 0], time.monotonic() + 60
    while total[0] <= enough and time.monotonic() < end:
        n.driver.begin(*words)
        total = [a + b for a, b in zip(total, flood(n, n.driver.is_done, send))]
        times = n.driver.end()
    return *total, times


def may_lose():
    """Before Linux 6.17 a packet that looks for a range at the moment in which the ranges change may miss it."""
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2]) < (6, 17)


def is_right(sent, lost, leaked):
    if lost > 0 and may_lose():
        tap.diag(f"{lost} of {sent} lost, as kernels before 6.17 do")
    return leaked == 0 and (lost == 0 or may_lose())


def check_flood(n):
    d = n.driver
    d.do("policy", "a", LISTED, "203.0.113.0/24")
    for what, words in ((f"{CHANGES} changes of its policy", ("change", CHANGES, "a", "203.0.113.0/25", "203.0.113.64/26")),
                        (f"{CHANGES} neighbours that come and go", ("come-and-go", CHANGES))):
        sent, lost, leaked, times = flood_beside(n, words, 100)
        tap.ok(f"during {what}: nothing lost, nothing leaked", is_right(sent, lost, leaked) and sent > 100,
               f"{sent} sent, {lost} lost, {leaked} leaked")
        tap.diag(f"{what}: {sent} legal and {3 * sent} illegal packets; microseconds p50 p99 max: {' '.join(times)}")


def check_kill(n):
    """A runner that is killed while it changes things; its successor."""
    n.driver.begin("change", 100000, "a", "203.0.113.0/25", "203.0.113.64/26")
    flood(n, after(0.5))
    n.driver.kill()
    sent, lost, leaked = flood(n, after(0.5), least=10)
    tap.ok("a runner that was killed: its rules go on", is_right(sent, lost, leaked), (sent, lost, leaked))
    n.driver = Driver()
    n.driver.begin("setup")
    sent, lost, leaked = flood(n, n.driver.is_done, least=1)
    n.driver.end()
    tap.ok("its successor's start changes nothing", is_right(sent, lost, leaked), (sent, lost, leaked))
    n.driver.do("adopt", "a", n.names["a"], A, A_IP)
    n.driver.begin("policy", "a", LISTED, "203.0.113.0/24")
    sent, lost, leaked = flood(n, n.driver.is_done)
    n.driver.end()
    tap.ok("nor does its saying the same again", is_right(sent, lost, leaked), (sent, lost, leaked))
    n.guests.pop("b").close()
    n.driver.do("sweep", "a")
    table = run("nft", "list", "table", "bridge", "runner_br0")
    tap.ok("what no record names is gone", n.names["b"] not in table and B_IP not in table and n.names["a"] in table,
           table)
    tap.ok("from the host's memory too", B_IP not in run("ip", "neigh") and A_IP in run("ip", "neigh"))
    n.names["b"] = n.driver.do("attach", "b", B, B_IP)[0]
    n.guests["b"] = Tap(n.names["b"])


def check_counters(n):
    n.driver.do("policy", "a", OPEN)
    before = [int(word) for word in n.driver.do("counters", "a")]
    tag = n.tag()
    n.from_a(A_IP, OUT_IP, tag, from_port=3200)
    n.places(tag, {"out"})
    n.places(reply(n, 3200), {"a"})
    is_refused(n, "192.168.7.7")
    def told():
        return [b - a for a, b in zip(before, map(int, n.driver.do("counters", "a")))]
    tap.ok("counters: one received, two sent, one of them refused", await_true(lambda: told()[:5:2] == [1, 2, 1]), told())


def check_others(n):
    """A table as Docker's, which drops what it does not accept; and what doctor says of it (diagnose-rules.c)."""
    n.driver.do("policy", "a", OPEN)
    for line in ("add table ip filter", "add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }",
                 "add chain ip filter DOCKER-USER", "add rule ip filter FORWARD jump DOCKER-USER"):
        run("nft", line)
    tag = n.tag()
    n.from_a(A_IP, OUT_IP, tag)
    tap.equal("somebody's forward chain that drops: nothing goes out", n.places(tag, {"bridge"}) | n.places(tag, set()), {"bridge"})
    for way in ("iifname", "oifname"):
        run("nft", f"insert rule ip filter DOCKER-USER {way} br0 accept")
    tag = n.tag()
    n.from_a(A_IP, OUT_IP, tag, from_port=3400)
    tap.ok("with what doctor says it does", n.places(tag, {"out"}) >= {"out"})
    tap.equal("and the reply comes", n.places(reply(n, 3400), {"a"}) & {"a"}, {"a"})
    tap.ok("and a neighbour is reached no more than before", is_refused(n, B_IP))
    run("nft", "delete table ip filter")


def burst(n, count, send, to, least):
    """How many of so many packets of 1 000 bytes, at once, come to that TAP, and how many seconds that took. So many must
    come, and are waited for."""
    begin, tags, came, n_came = time.monotonic(), {n.tag() for _ in range(count)}, set(), -1
    for tag in tags:
        send(tag.ljust(972, b"."))
        came |= tags_of(to)
    while len(came & tags) not in (count, n_came) or (n_came < least and time.monotonic() < begin + LATE):
        n_came = len(came & tags)
        time.sleep(QUIET)
        came |= tags_of(to)
    return len(came & tags), time.monotonic() - begin


def burst_out(n, count, least):
    return burst(n, count, lambda data: n.from_a(A_IP, OUT_IP, data, from_port=3300), n.out, least)


def burst_in(n, count, least):
    return burst(n, count, lambda data: n.host_says(A_IP, data), n.guests["a"], least)


def check_rate(n):
    """Where the kernel has no queues for it (network_rates.py): a second's worth passes at once; what is more is dropped until
    time has passed."""
    n.driver.do("lack", "tbf")
    n.driver.do("rate", "a", 50000, 100000)
    for way, how, kb in (("sent", burst_out, 50), ("received", burst_in, 100)):
        came, seconds = how(n, 400, 0.8 * kb)
        tap.ok(f"rates: {kb} kB a second, of 400 kB at once, {way}", 0.8 * kb <= came <= kb * (2 + seconds), (came, seconds))
    n.driver.do("policy", "a", OPEN)
    tap.equal("rates: and without them", (burst_out(n, 400, 400)[0], burst_in(n, 400, 400)[0]), (400, 400))


def check_setting(n):
    """Another runner's settings: restricted means something, a private network is open."""
    n.driver.close()
    n.driver = Driver("restricted=198.51.100.0/24", "allow_private=192.168.0.0/16")
    n.driver.do("setup")
    n.driver.do("adopt", "a", n.names["a"], A, A_IP)
    tap.ok("other settings, other rules: closed until the policy is said", is_refused(n, ELSEWHERE))
    n.driver.do("policy", "a", RESTRICTED)
    tap.ok("restricted: to where the setting says", passes(n, ELSEWHERE) and is_refused(n, OUT_IP))
    n.driver.do("policy", "a", RESTRICTED | LISTED, "198.51.100.0/29", "203.0.113.0/24")
    tap.ok("restricted, with a list: what is in it, and where the setting says",
           is_refused(n, ELSEWHERE) and is_refused(n, OUT_IP) and passes(n, "198.51.100.1"))
    n.driver.do("policy", "a", OPEN)
    tap.ok("a private network that is allowed", passes(n, "192.168.7.7") and is_refused(n, "172.16.7.7"))
    tap.ok("which one's neighbours are not", is_refused(n, B_IP))


def check_control(n):
    """Without the rules most of it gets somewhere: the cases can fail."""
    for family in ("bridge", "inet"):
        run("nft", "delete", "table", family, "runner_br0")
    for name in n.names.values():
        run("bridge", "link", "set", "dev", name, "isolated", "off", "locked", "off", "learning", "on", "flood", "on",
            "mcast_flood", "on", "bcast_flood", "on")
    wrong = try_cases(n, False)
    total = len(cases(n))
    tap.ok(f"(control: without rules and port flags {len(wrong)} of {total} cases get somewhere)", len(wrong) >= 30,
           sorted({name for name, _, _ in cases(n)} - set(wrong)))
    tap.diag("which get nowhere without rules: " + ", ".join(name for name, _, _ in cases(n) if name not in wrong))
    n.guests["a"].pretend(B)
    tag = n.tag()
    n.host_says(B_IP, tag)
    tap.ok("(control: and the hostile VMM gets what is the victim's)", "a" in n.places(tag, {"a"}))


def check_closed(n):
    """Before core has said a policy. Its port is open when that of a neighbour is."""
    n.driver.do("policy", "b", OPEN)
    tap.ok("the neighbour is open", await_true(lambda: Sender(n, "b", B, B_IP).reaches_out()))
    tap.ok("a sandbox without a policy reaches nothing", is_refused(n, OUT_IP))


def check_end(n, links):
    n.driver.do("setup")
    n.driver.do("adopt", "b", n.names["b"], B, B_IP)
    for name in ("a", "b"):
        n.guests.pop(name).close()
        n.driver.do("detach", name)
    table = run("nft", "list", "table", "bridge", "runner_br0")
    tap.ok("detached: no element, set or chain is left", "tap-" not in table.replace('"tap-*"', ""), table)
    tap.ok("nor a neighbour", A_IP not in run("ip", "neigh") and B_IP not in run("ip", "neigh"))
    tap.ok("nor an interface but those that are kept",
           await_true(lambda: len([line for line in run("ip", "-o", "link").splitlines()
                                   if ": tap-" not in line or ",UP" in line]) == links))


def main():
    n = Net()
    links = 3  # lo, out0, br0
    check_closed(n)
    check_legal(n)
    try_cases(n, True)
    check_outside(n)
    check_policies(n)
    check_changes_of_kind(n)
    check_open_connections(n)
    check_kept_connections(n)
    check_cut_later(n)
    check_counters(n)
    check_others(n)
    check_rate(n)
    check_flood(n)
    check_kill(n)
    check_hostile_vmm(n)
    check_setting(n)
    check_control(n)
    check_end(n, links)
    tap.done()


if __name__ == "__main__":
    sys.exit(main())
