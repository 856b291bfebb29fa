"""runner-dns: what it answers, what it tells the packet filter, and what it survives."""

import collections
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "t/rig"))
import tap  # noqa: E402

PROGRAM = os.path.join(os.environ.get("top_builddir", "."), "plugins/network/bridge/runner-dns")
HOST, OPEN, LISTED, FLOODER, BLOCKED, BROKEN = ("10.99.0.1", "10.99.0.2", "10.99.0.3", "10.99.0.4", "10.99.0.5", "10.99.0.6")
SECOND, ELSEWHERE = "10.99.0.10", "10.99.0.11"  # behind interfaces of their own, of which the first has HOST too
A, CNAME, TXT, AAAA, HTTPS, ANY = 1, 5, 16, 28, 65, 255
OK, FORMERR, SERVFAIL, NOTIMP, REFUSED = 0, 1, 2, 4, 5
SECONDS = 20  # for what takes milliseconds


# ---- messages ----

def name_wire(name):
    labels = name if isinstance(name, list) else [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(name, type=A, id=None, size=1232):
    id = random.randrange(65536) if id is None else id
    edns = b"" if size is None else b"\0" + struct.pack(">HHIH", 41, size, 0, 0)
    return struct.pack(">HHHHHH", id, 0x0100, 1, 0, 0, bool(edns)) + name_wire(name) + struct.pack(">HH", type, 1) + edns


def record(name, type, data, ttl=300):
    return name_wire(name) + struct.pack(">HHIH", type, 1, ttl, len(data)) + data


def address_record(name, address, ttl=300):
    return record(name, A, socket.inet_aton(address), ttl)


def reply(query, records=(), rcode=OK, flags=0x8180, id=None):
    end = query.index(b"\0", 12) + 5
    head = struct.pack(">HHHHHH", *struct.unpack(">H", query[:2]) if id is None else (id,), flags | rcode, 1, len(records), 0, 0)
    return head + query[12:end] + b"".join(records)


def read_name(data, at):
    labels, end = [], None
    while data[at]:
        if data[at] >= 192:
            end = end or at + 2
            at = struct.unpack(">H", data[at:at + 2])[0] & 0x3fff
        else:
            labels.append(data[at + 1:at + 1 + data[at]])
            at += 1 + data[at]
    return ".".join(label.decode("latin1") for label in labels), end or at + 1


class Answer:
    def __init__(self, data):
        self.id, flags, n_questions, n, _, _ = struct.unpack(">HHHHHH", data[:12])
        self.rcode, self.is_cut, self.records, self.len = flags & 15, bool(flags & 0x200), [], len(data)
        at = 12
        for _ in range(n_questions):
            self.name, at = read_name(data, at)
            at += 4
        for _ in range(n):
            name, at = read_name(data, at)
            type, _, ttl, length = struct.unpack(">HHIH", data[at:at + 10])
            self.records.append((name, type, ttl, data[at + 10:at + 10 + length]))
            at += 10 + length

    def addresses(self):
        return sorted(socket.inet_ntoa(data) for _, type, _, data in self.records if type == A)


# ---- the server above ----

class Upstream:
    """By UDP and TCP. answers: name to a function of the query and whether it came by TCP, which returns what is sent."""

    def __init__(self, port):
        self.answers, self.seen = {}, []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", port))
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind(("127.0.0.1", port))
        self.tcp.listen(64)
        for serve in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def answer(self, query, by_tcp):
        name = read_name(query, 12)[0].lower()
        type = struct.unpack(">H", query[query.index(b"\0", 12) + 1:][:2])[0]
        made = self.answers.get((name, type)) or self.answers.get(name)
        if made is None:
            return [reply(query, rcode=3)]
        sent = made(query, by_tcp)
        return sent if isinstance(sent, list) else [sent]

    def serve_udp(self):
        while True:
            query, peer = self.udp.recvfrom(4096)
            self.seen.append((read_name(query, 12)[0], struct.unpack(">H", query[:2])[0], peer[1]))
            threading.Thread(target=self.serve_one, args=(query, peer), daemon=True).start()

    def serve_one(self, query, peer):
        for data in self.answer(query, False):
            self.udp.sendto(data, peer)

    def serve_tcp(self):
        while True:
            conn, _ = self.tcp.accept()
            with conn:
                query = conn.recv(4096)[2:]
                for data in self.answer(query, True):
                    conn.sendall(struct.pack(">H", len(data)) + data)


def addresses(*list, ttl=300):
    return lambda query, _: reply(query, [address_record(read_name(query, 12)[0], one, ttl) for one in list])


# ---- the place ----

def run(*words, **more):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **more).stdout


class Place:
    def __init__(self, base):
        if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) < 0:  # CLONE_NEWNET
            skip("no network namespace")
        self.policies = os.path.join(base, "policies")
        os.mkdir(self.policies, 0o700)
        self.log = open(os.path.join(base, "log"), "ab")
        run("ip", "link", "set", "lo", "up")
        self.guests = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        home = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.guests.pid}/ns/net") == home:  # nothing tells that it has left
            time.sleep(0.001)
        run("ip", "link", "add", "br-dns", "type", "veth", "peer", "name", "eth0", "netns", str(self.guests.pid))
        run("ip", "addr", "add", HOST + "/24", "dev", "br-dns")
        run("ip", "link", "set", "br-dns", "up")
        self.in_guests("ip", "link", "set", "lo", "up")
        self.in_guests("ip", "link", "set", "eth0", "up")
        for address in (OPEN, LISTED, FLOODER, BLOCKED, BROKEN):
            self.in_guests("ip", "addr", "add", address + "/24", "dev", "eth0")
        self.in_guests("ip", "addr", "add", "10.98.0.2/32", "dev", "eth0")
        run("ip", "route", "add", "10.98.0.2", "dev", "br-dns")
        run("nft", "add table bridge t; add set bridge t d_a { type ipv4_addr; flags timeout; }; "
                   "add set bridge t plain { type ipv4_addr; }")
        self.home, self.away = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/proc/{self.guests.pid}/ns/net", os.O_RDONLY)
        self.process = None

    def connect(self, name, inside, address):
        """A guest behind an interface of its own, which asks by that one alone."""
        run("ip", "link", "add", name, "type", "veth", "peer", "name", inside, "netns", str(self.guests.pid))
        run("ip", "link", "set", name, "up")
        run("ip", "route", "add", address, "dev", name)
        mac = json.loads(run("ip", "-j", "link", "show", "dev", name))[0]["address"]
        self.in_guests("ip", "link", "set", inside, "up")
        self.in_guests("ip", "addr", "add", address + "/32", "dev", inside)
        self.in_guests("ip", "neigh", "add", HOST, "lladdr", mac, "dev", inside, "nud", "permanent")
        self.in_guests("ip", "rule", "add", "from", address, "table", address.rpartition(".")[2])
        self.in_guests("ip", "route", "add", HOST, "dev", inside, "table", address.rpartition(".")[2])

    def in_guests(self, *words):
        return run("nsenter", f"--net=/proc/{self.guests.pid}/ns/net", *words)

    def socket(self, type=socket.SOCK_DGRAM, source=OPEN):
        """Of a guest; the thread is back afterwards."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.setns(self.away, 0x40000000)
        try:
            made = socket.socket(socket.AF_INET, type)
        finally:
            if libc.setns(self.home, 0x40000000) != 0:
                os._exit(99)
        made.settimeout(SECONDS)
        made.bind((source, 0))
        return made

    def start(self, *more, upstreams=("127.0.0.1:5300", "127.0.0.1:5301")):
        argv = [PROGRAM, "--listen", HOST, "--policies", self.policies]
        for upstream in upstreams:
            argv += ["--upstream", upstream]
        at = os.path.getsize(self.log.name)
        self.process = subprocess.Popen(argv + list(more), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until = time.monotonic() + SECONDS
        while b"ready" not in self.said(at):
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("it does not start: " + self.said(at).decode())
            time.sleep(0.003)

    def said(self, at=0):
        with open(self.log.name, "rb") as file:
            file.seek(at)
            return file.read()

    def allow(self, guest, *names, text=None):
        path = os.path.join(self.policies, guest)
        with open(path + ".new", "w") as file:
            file.write(text if text is not None else "".join(f"{line}\n" for line in ("set t d_a",) + names))
        os.rename(path + ".new", path)

    def ask(self, name, type=A, source=OPEN, seconds=SECONDS, **more):
        query = question(name, type, **more)
        with self.socket(source=source) as udp:
            udp.settimeout(seconds)
            udp.sendto(query, (HOST, 53))
            try:
                data = udp.recv(65535)
            except TimeoutError:
                return None
        if data[:2] != query[:2]:
            raise RuntimeError("an answer to another question")
        return Answer(data)

    def elements(self, set="d_a"):
        """Of a set: addresses, and the seconds that each stays."""
        found = json.loads(run("nft", "-j", "list", "set", "bridge", "t", set))["nftables"][1]["set"].get("elem", [])
        return {e["elem"]["val"]: e["elem"].get("expires") for e in found if isinstance(e, dict)}

    def flush(self):
        run("nft", "flush", "set", "bridge", "t", "d_a")

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)
        self.guests.kill()
        self.guests.wait()


def skip(reason):
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)


# ---- tests ----

def check_open(place, up):
    up.answers["free.example"] = addresses("192.0.2.1", "10.1.2.3")
    up.answers[("free.example", TXT)] = lambda query, _: reply(query, [record("free.example", TXT, b"\5hello")])
    found = place.ask("free.example")
    tap.equal("a guest without a list: a name is resolved", (found.rcode, found.addresses()), (OK, ["10.1.2.3", "192.0.2.1"]))
    tap.equal("and any record", [data for _, _, _, data in place.ask("free.example", TXT).records], [b"\5hello"])
    tap.equal("there is no IPv6", (place.ask("free.example", AAAA).rcode, place.ask("free.example", AAAA).records), (OK, []))
    tap.equal("a name that is not there", place.ask("no.example").rcode, 3)
    tap.equal("all of a server's zone, or all records of a name, is refused",
              [place.ask("free.example", type).rcode for type in (ANY, 251, 252)], [REFUSED] * 3)
    tap.equal("no set is changed", place.elements(), {})
    without = place.ask("free.example", size=None)
    tap.equal("one that knows no EDNS", (without.rcode, len(without.records)), (OK, 2))


def check_listed(place, up):
    place.allow(LISTED, "allowed.example", "*.below.example")
    up.answers["allowed.example"] = addresses("192.0.2.10", "192.0.2.11")
    found = place.ask("Allowed.EXAMPLE", source=LISTED)
    there = place.elements()
    tap.equal("s03: a listed name is resolved", (found.rcode, found.addresses(), found.name),
              (OK, ["192.0.2.10", "192.0.2.11"], "Allowed.EXAMPLE"))
    tap.equal("s03: its addresses may be reached when it is answered", sorted(there), ["192.0.2.10", "192.0.2.11"])
    tap.ok("for as long as the answer holds", all(295 <= seconds <= 306 for seconds in there.values()), there)
    up.answers["a.b.below.example"] = addresses("192.0.2.12", ttl=1)
    tap.equal("s03: a name below", place.ask("a.b.below.example", source=LISTED).addresses(), ["192.0.2.12"])
    tap.ok("for a minute at least", 59 <= place.elements()["192.0.2.12"] <= 66, place.elements())
    refused = ["free.example", "below.example", "x.allowed.example", "allowed.example.org", "xallowed.example", "example",
               "", [b"x.below", b"example"], [b"a", b"x.below.example"], "1.0.0.127.in-addr.arpa", "notbelow.example"]
    seen = len(up.seen)
    tap.equal("s03: other names are refused", [place.ask(name, source=LISTED).rcode for name in refused], [REFUSED] * len(refused))
    tap.equal("and nobody above is asked", len(up.seen), seen)
    tap.equal("nor for what would be no address of a set",
              [(place.ask("allowed.example", type, LISTED).rcode, place.ask("allowed.example", type, LISTED).records)
               for type in (AAAA, HTTPS)], [(OK, [])] * 2)
    tap.equal("nor is anything opened", sorted(place.elements()), ["192.0.2.10", "192.0.2.11", "192.0.2.12"])
    for guest, text in ((BLOCKED, "none\n"), (BROKEN, "nonsense\n")):
        place.allow(guest, text=text)
        tap.equal(f"s03: a list that says {text.strip()}", place.ask("free.example", source=guest).rcode, REFUSED)
    wrong = ["set t d_a\na b\n", "set t\na.b\n", "set t d_a\nfree.example", "none\nfree.example\n", "\n", "set t d_a\n\n",
             "set t d_a\n" + "a.example\n" * 65, "set t d_a\n" + "x" * 9000 + "\n", "set t d_a\nfree.example\n\0\n"]
    answers = []
    for text in wrong:
        place.allow(BROKEN, text=text)
        answers.append(place.ask("free.example", source=BROKEN).rcode)
    tap.equal("s03: lists that are none allow nothing", answers, [REFUSED] * len(wrong))
    place.allow(BROKEN, text="set t d_a\nfree.example\n\n")
    tap.equal("a list with the runner's mark, an empty line, is one", place.ask("free.example", source=BROKEN).rcode, OK)
    place.allow(BROKEN, text="set t d_a\n")
    tap.equal("a list without names is no list", place.ask("free.example", source=BROKEN).rcode, OK)


def check_chains(place, up):
    place.flush()
    up.answers["www.below.example"] = lambda query, _: reply(query, [
        record("www.below.example", CNAME, name_wire("cdn.other.example"), 30), address_record("unrelated.example", "192.0.2.66"),
        record("cdn.other.example", CNAME, name_wire("edge.other.example"), 60),
        address_record("edge.other.example", "192.0.2.20", 90), address_record("www.other.example", "192.0.2.67"),
        record("loop.example", CNAME, name_wire("loop.example"))])
    found = place.ask("www.below.example", source=LISTED)
    tap.equal("a name of another name of another", (found.rcode, [(name, type) for name, type, _, _ in found.records]),
              (OK, [("www.below.example", CNAME), ("cdn.other.example", CNAME), ("edge.other.example", A)]))
    tap.equal("s03: and no address that is of none of these", sorted(place.elements()), ["192.0.2.20"])
    up.answers["ring.below.example"] = lambda query, _: reply(query, [
        record("ring.below.example", CNAME, name_wire("ring2.example")), record("ring2.example", CNAME, name_wire("ring.below.example"))])
    tap.equal("names in a ring end", place.ask("ring.below.example", source=LISTED).addresses(), [])
    private = ["10.0.0.1", "10.99.0.9", "127.0.0.1", "169.254.169.254", "172.16.9.9", "192.168.1.1", "100.64.0.1", "224.0.0.1",
               "255.255.255.255", "0.0.0.0"]
    up.answers["rebind.below.example"] = addresses(*private, "192.0.2.21")
    tap.equal("s03: a listed name is no way to private addresses", place.ask("rebind.below.example", source=LISTED).addresses(),
              ["192.0.2.21"])
    up.answers["private.below.example"] = addresses(*private)
    found = place.ask("private.below.example", source=LISTED)
    tap.equal("s03: nor is it there when there is nothing else", (found.rcode, found.records), (OK, []))
    tap.equal("s03: nor at the packet filter", sorted(place.elements()), ["192.0.2.20", "192.0.2.21"])


def check_times(place, up):
    place.flush()
    ttl = {"seconds": 300}
    up.answers["time.below.example"] = lambda query, by_tcp: addresses("192.0.2.30", ttl=ttl["seconds"])(query, by_tcp)
    def left():
        place.ask("time.below.example", source=LISTED)
        return place.elements()["192.0.2.30"]
    first = left()
    ttl["seconds"] = 10
    second = left()
    tap.ok("an address stays as long as a guest was told", 290 <= second <= first, (first, second))
    ttl["seconds"] = 1000
    tap.ok("and longer, when it is told so", 995 <= left() <= 1006, place.elements())
    ttl["seconds"] = 1 << 30
    found = place.ask("time.below.example", source=LISTED)
    tap.ok("an hour at most, and it is not told more", found.records[0][2] == 3600 and place.elements()["192.0.2.30"] <= 3606,
           (found.records, place.elements()))
    place.flush()
    run("nft", "add element bridge t d_a { 192.0.2.30 timeout 1s }")
    ttl["seconds"] = 5
    while "192.0.2.30" in place.elements():  # nothing else tells that it has expired
        time.sleep(0.05)
    tap.ok("one that has expired is made anew", 59 <= left() <= 66, place.elements())


def check_changes(place, up):
    """The list changes while the server above is asked."""
    place.flush()
    place.allow(LISTED, "slow.example")
    def slow(query, _):
        place.allow(LISTED, "other.example")
        return addresses("192.0.2.40")(query, False)
    up.answers["slow.example"] = slow
    tap.equal("s03: what was allowed when it was asked, and is not when it is answered",
              (place.ask("slow.example", source=LISTED).rcode, place.elements()), (REFUSED, {}))
    for text, what in (("set t nosuch\nallowed.example\n", "there is no such set"), ("set nosuch d_a\nallowed.example\n", "nor table"),
                       ("set t plain\nallowed.example\n", "its set has no time-outs")):
        place.allow(LISTED, text=text)
        found = place.ask("allowed.example", source=LISTED)
        tap.equal(f"s03: {what}: no answer that leads nowhere", (found.rcode, found.records), (SERVFAIL, []))
    tap.ok("and it says so", b"set nosuch of table t: No such file or directory" in place.said(), place.said()[-300:])
    place.allow(LISTED, "allowed.example", "*.below.example")


def check_upstream(place, up, other):
    up.answers["wrong.example"] = lambda query, _: [
        b"", b"\0", query, reply(query, [address_record("wrong.example", "192.0.2.99")], id=struct.unpack(">H", query[:2])[0] ^ 1),
        reply(question("other.example", id=struct.unpack(">H", query[:2])[0]), [address_record("other.example", "192.0.2.98")]),
        reply(query, [address_record("wrong.example", "192.0.2.50")])]
    tap.equal("an answer to another question, or of another number, is none", place.ask("wrong.example").addresses(), ["192.0.2.50"])
    bad = reply(question("bad.example"), [address_record("bad.example", "192.0.2.51")])
    up.answers["bad.example"] = lambda query, _: query[:2] + bad[2:-3]
    tap.equal("an answer that is cut short", place.ask("bad.example").rcode, SERVFAIL)
    many = [f"192.0.{2 + i // 250}.{i % 250 + 1}" for i in range(100)]
    up.answers["long.below.example"] = lambda query, by_tcp: addresses(*many)(query, 0) if by_tcp else reply(query, flags=0x8380)
    found = place.ask("long.below.example", size=None, source=LISTED)
    tap.equal("an answer that the server above gives by TCP only; too long for the guest: cut", (found.rcode, found.is_cut, found.records),
              (OK, True, []) if found.is_cut else (OK, False, found.records))
    with place.socket(socket.SOCK_STREAM, LISTED) as tcp:
        tcp.connect((HOST, 53))
        found = ask_tcp(tcp, "long.below.example")
    tap.equal("by TCP it has what there is room for", (found.rcode, len(found.addresses())), (OK, 32))
    tap.ok("all of which may be reached", set(found.addresses()) <= set(place.elements()))
    up.answers["two.example"] = lambda query, _: []
    other.answers["two.example"] = addresses("192.0.2.52")
    begin = time.monotonic()
    tap.equal("the first server above does not answer: the second", place.ask("two.example").addresses(), ["192.0.2.52"])
    tap.ok("after 1.5 seconds", 1.4 < time.monotonic() - begin < 10, time.monotonic() - begin)
    other.answers["none.example"] = up.answers["none.example"] = lambda query, _: []
    begin = time.monotonic()
    tap.equal("none answers", (place.ask("none.example").rcode, 4 < time.monotonic() - begin < SECONDS), (SERVFAIL, True))
    del up.seen[:]
    for _ in range(64):
        place.ask("free.example", source=BROKEN)
    ids, ports = {id for _, id, _ in up.seen}, {port for _, _, port in up.seen}
    tap.ok("each question above has a number and a port of its own", len(ids) > 55 and len(ports) > 40, (len(ids), len(ports)))


def ask_tcp(tcp, name, type=A):
    query = question(name, type)
    tcp.sendall(struct.pack(">H", len(query)) + query)
    return read_tcp(tcp)


def read_exactly(tcp, n):
    data = b""
    while len(data) < n:
        part = tcp.recv(n - len(data))
        if not part:
            raise ConnectionError("it ended")
        data += part
    return data


def read_tcp(tcp):
    return Answer(read_exactly(tcp, struct.unpack(">H", read_exactly(tcp, 2))[0]))


def check_tcp(place, up):
    up.answers["late.example"] = lambda query, _: (time.sleep(0.2), addresses("192.0.2.60")(query, 0))[1]
    with place.socket(socket.SOCK_STREAM) as tcp:
        tcp.connect((HOST, 53))
        queries = [question("late.example", id=1), question("free.example", id=2), question("no.example", id=3)]
        for byte in b"".join(struct.pack(">H", len(query)) + query for query in queries):
            tcp.sendall(bytes([byte]))
        tap.equal("by TCP: one after another, byte by byte", [read_tcp(tcp).id for _ in queries], [1, 2, 3])
    conns = []
    for _ in range(6):
        conns.append(place.socket(socket.SOCK_STREAM, FLOODER))
        conns[-1].connect((HOST, 53))
    alive = 0
    for conn in conns:
        try:
            alive += ask_tcp(conn, "free.example").rcode == OK
        except (ConnectionError, OSError):
            pass
    tap.equal("a guest has 4 connections at most", alive, 4)
    with place.socket(socket.SOCK_STREAM) as tcp:
        tcp.connect((HOST, 53))
        tap.equal("which are not another's", ask_tcp(tcp, "free.example").rcode, OK)
    for conn in conns:
        conn.close()
    with place.socket(socket.SOCK_STREAM) as tcp:
        tcp.connect((HOST, 53))
        query = question("none.example")
        tcp.sendall(struct.pack(">H", len(query)) + query)
    tap.equal("one that leaves while it is waited for", place.ask("free.example").rcode, OK)


def check_strangers(place):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        udp.sendto(question("free.example"), (HOST, 53))
        try:
            answer = udp.recv(4096)
        except (TimeoutError, ConnectionRefusedError):
            answer = None
    tap.equal("the host itself is no guest", answer, None)
    tap.equal("nor is an address of another network", place.ask("free.example", source="10.98.0.2", seconds=0.5), None)


def check_interfaces(place):
    place.connect("br-dns-2", "eth1", SECOND)
    run("ip", "addr", "add", HOST + "/32", "dev", "br-dns-2")
    place.connect("elsewhere", "eth2", ELSEWHERE)
    place.start()
    tap.equal("one behind another interface with the address is a guest", place.ask("free.example", source=SECOND).rcode, OK)
    place.allow(SECOND, "allowed.example")
    tap.equal("s03: and has its list", [place.ask(name, source=SECOND).rcode for name in ("allowed.example", "free.example")],
              [OK, REFUSED])
    with place.socket(socket.SOCK_STREAM, SECOND) as tcp:
        tcp.connect((HOST, 53))
    tap.equal("one behind an interface without it is none", place.ask("free.example", source=ELSEWHERE, seconds=0.5), None)


def ask_again(place, name):
    """As guests do, when there is no answer within a second."""
    end = time.monotonic() + SECONDS
    while (found := place.ask(name, seconds=1)) is None and time.monotonic() < end:
        pass
    return found


def check_garbage(place):
    rng = random.Random(4711)
    good = question("free.example")
    sent = 0
    with place.socket() as udp:
        udp.setblocking(False)
        for i in range(20000):
            if i % 2:
                data = rng.randbytes(rng.randrange(0, 600))
            else:
                data = bytearray(good)
                for _ in range(rng.randrange(1, 6)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
            try:
                udp.sendto(data, (HOST, 53))
                sent += 1
            except BlockingIOError:
                pass
            if i % 50 == 0:
                time.sleep(0.01)  # so that it is looked at, and not dropped for its rate
    for i in range(50):
        with place.socket(socket.SOCK_STREAM) as tcp:
            tcp.connect((HOST, 53))
            try:
                tcp.sendall(rng.randbytes(rng.randrange(1, 5000)))
            except OSError:
                pass
    time.sleep(2)  # its credit comes back by time
    tap.equal(f"{sent} messages of garbage, and 50 connections", (ask_again(place, "free.example").rcode, place.process.poll()), (OK, None))
    for data, rcode in ((good[:2] + b"\x28\0" + good[4:], NOTIMP), (good[:4] + b"\0\2" + good[6:], FORMERR),
                        (good[:4] + b"\0\0" + good[6:12], FORMERR), (good[:-3], FORMERR),
                        (good[:12] + b"\xc0\x0c" + b"\0\1\0\1", FORMERR)):
        with place.socket() as udp:
            udp.sendto(data, (HOST, 53))
            tap.equal(f"{data[:14].hex()}...: says why not", Answer(udp.recv(512)).rcode, rcode)
    with place.socket() as udp:
        udp.settimeout(0.3)
        udp.sendto(reply(good), (HOST, 53))
        try:
            answer = udp.recv(512)
        except TimeoutError:
            answer = None
        tap.equal("an answer is not answered", answer, None)


def check_flood(place):
    """As fast as one process sends."""
    stop, sent = threading.Event(), [0]

    def flood():
        with place.socket(source=FLOODER) as udp:
            udp.connect((HOST, 53))
            data = question("free.example")
            while not stop.is_set():
                for _ in range(100):
                    try:
                        udp.send(data)
                        sent[0] += 1
                    except OSError:
                        pass

    thread = threading.Thread(target=flood)
    thread.start()
    begin = time.monotonic()
    times, lost = [], 0
    for _ in range(60):
        at = time.monotonic()
        lost += place.ask("free.example", source=BROKEN) is None
        times.append(time.monotonic() - at)
    seconds = time.monotonic() - begin
    stop.set()
    thread.join()
    tap.equal(f"a flood of {sent[0] / seconds:.0f} questions a second by one guest: another has all its answers", lost, 0)
    tap.diag(f"which took {sorted(times)[len(times) // 2] * 1e3:.1f} ms, at most {max(times) * 1e3:.1f} ms")


def check_privileges(place):
    with open(f"/proc/{place.process.pid}/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    tap.equal("of all privileges it has CAP_NET_ADMIN",
              [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")],
              [1 << 12, 1 << 12, 0, 0, 0])
    if is_sanitized():
        return
    tap.equal("and gets no other, nor any system call but a few", (status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
    tap.equal("its root is the folder of lists", os.readlink(f"/proc/{place.process.pid}/root"), place.policies)


def is_sanitized():
    with open(PROGRAM, "rb") as file:
        return b"libasan" in file.read()


def check_restart(place):
    before = place.elements()
    place.end(signal.SIGKILL)
    tap.equal("killed: what may be reached may be still", sorted(place.elements()), sorted(before))
    place.start()
    tap.equal("and the next one goes on", place.ask("allowed.example", source=LISTED).addresses(), ["192.0.2.10", "192.0.2.11"])
    tap.equal("by TCP too", place.in_guests("true"), "")
    with place.socket(socket.SOCK_STREAM) as tcp:
        tcp.connect((HOST, 53))
        tap.equal("at once", ask_tcp(tcp, "free.example").rcode, OK)
    tap.equal("it ends by SIGTERM", place.end(), 0)


def check_command_line(place):
    for argv, text in ((["--listen", "x"], "'x' is not an IPv4 address"), ([], "--listen and --policies are needed"),
                       (["--listen", HOST, "--policies", "/", "--upstream", "x"], "'x' is not an address"),
                       (["--listen", HOST, "--policies", "/", "--upstream", HOST], "it would ask itself"),
                       (["--listen", HOST, "--policies", "/", "--never", "10.0.0.0"], "'10.0.0.0' is not an IPv4 network"),
                       (["--listen", HOST, "--policies", "/", "--port", "0"], "'0' is not a port"),
                       (["--listen", "10.97.0.1", "--policies", "/", "--upstream", "127.0.0.1"], "no interface has the address 10.97.0.1"),
                       (["--listen", HOST, "--policies", "/nosuch", "--upstream", "127.0.0.1"], "/nosuch: No such file")):
        done = subprocess.run([PROGRAM] + argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        tap.ok(f"{' '.join(argv)}: {text}", done.returncode != 0 and text in done.stdout, done.stdout)


def require():
    if os.getuid() != 0:
        skip("needs root")
    for program in ("ip", "nft", "unshare", "nsenter"):
        if shutil.which(program) is None:
            skip(f"{program} is not installed")
    if not os.path.exists(PROGRAM):
        skip("runner-dns was not built: a library is missing")


def main():
    require()
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        place = Place(base)
        try:
            up, other = Upstream(5300), Upstream(5301)
            other.answers = collections.ChainMap({}, up.answers)  # it is asked, too, when the first is late
            place.start()
            check_open(place, up)
            check_listed(place, up)
            check_chains(place, up)
            check_times(place, up)
            check_changes(place, up)
            check_upstream(place, up, other)
            check_tcp(place, up)
            check_strangers(place)
            check_garbage(place)
            check_flood(place)
            check_privileges(place)
            check_restart(place)
            check_interfaces(place)
            check_command_line(place)
            said = [line for line in place.said().decode().splitlines() if "ready" not in line and "set " not in line]
            tap.equal("it has said nothing else", said, [])
        finally:
            place.close()
    tap.done()


if __name__ == "__main__":
    main()
