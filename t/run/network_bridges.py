"""network/bridge with more sandboxes than a bridge of Linux has ports, by packets: those on the second bridge have what those
on the first have, and no more; who is on which outlives the runner."""

import functools
import json
import os
import subprocess
import sys

import network_lost
import network_names
import network_packets
import tap
from network_packets import A, A_IP, B, B_IP, BLOCK, OPEN, OUT_IP, Net, try_cases
from packets import Driver, Tap, await_true, run

PORTS = 1023  # of a bridge
C, C_IP = "02:00:00:00:00:0c", "10.0.0.4"
D, D_IP = "02:00:00:00:00:0d", "10.0.0.5"


class Bridges(Net):
    """Guest b is on the first bridge, which is full then; guests a and c are on the second."""

    bridge = "br0-2"

    def attach_guests(self):
        self.attach("b", B, B_IP)
        tap.diag("the first bridge is filled; microseconds p50 p99 max: " + " ".join(self.driver.do("fill", PORTS - 1)))
        self.attach("a", A, A_IP)
        self.attach("c", C, C_IP)


def ports(bridge, flag="BROADCAST"):
    """Those with this flag; idle ones are not UP."""
    return [link["ifname"] for link in json.loads(run("ip", "-j", "link", "show", "master", bridge)) if flag in link["flags"]]


def is_on(n, guest, bridge):
    return n.names[guest] in ports(bridge)


def routes():
    return run("ip", "route", "show", "proto", "114")


def check_places(n):
    tap.equal("the first bridge is full", len(ports("br0")), PORTS)
    tap.ok("who comes next is on a second one", is_on(n, "b", "br0") and is_on(n, "a", "br0-2") and is_on(n, "c", "br0-2"))
    tap.equal("whose gateway has the same MAC address", n.mac, network_packets.mac_of("br0"))
    run("sh", "-c", "for b in br0 br0-2; do echo 1 >/proc/sys/net/ipv4/conf/$b/rp_filter; done")
    for name in ("b", "c"):
        n.driver.do("policy", name, OPEN)


def check_cases(n):
    """From the second bridge to the first, on the second, from the first to the second."""
    a, b, c = ("a", A, A_IP), ("b", B, B_IP), ("c", C, C_IP)
    for who, victim, where in ((a, b, "the first bridge's: "), (a, c, "on the second bridge: "), (b, a, "the second bridge's: ")):
        n.who, n.victim = who, victim
        try_cases(n, True, "s02: " + where)
    n.who, n.victim = a, b


def check_control(n):
    """Without rules guests reach others on the other bridge: the cases can fail."""
    for family in ("bridge", "inet"):
        run("nft", "delete", "table", family, "runner_br0")
    for name in n.names.values():
        run("bridge", "link", "set", "dev", name, "isolated", "off", "locked", "off", "learning", "on", "flood", "on")
    wrong, wanted = set(), {"guest to guest, by the host", "another's address", "to the host: gateway"}

    def are_seen():  # each is waited for no longer than where it must not come
        wrong.update(try_cases(n, False))
        return wanted <= wrong
    tap.ok("(control: without rules guests reach those on the other bridge)", await_true(are_seen), wrong)


def check_full(n):
    """What others put on a bridge nobody said: the kernel does."""
    others = [Tap(f"other{i}") for i in range(PORTS)]
    script = "".join(f"link set other{i} master br0\n" for i in range(PORTS))
    subprocess.run(("ip", "-force", "-batch", "-"), input=script, text=True, stderr=subprocess.DEVNULL)  # more than there is room for
    tap.equal("others fill the first bridge", len(ports("br0")), PORTS)
    n.names["d"] = n.driver.do("attach", "d", D, D_IP, "tap-d")[0]  # no idle one, which has its place
    tap.ok("a bridge that others have filled: another is taken", is_on(n, "d", "br0-2"), run("ip", "link", "show", "dev", "tap-d"))
    n.driver.do("detach", "d")
    n.names.pop("d")
    tap.ok("and what the host knew of its guest is forgotten", D_IP not in run("ip", "neigh") and D_IP not in routes())
    for other in others:
        other.close()


def successor(n, *guests):
    n.driver = network_packets.Driver()
    n.driver.do("setup")
    for name, mac, address in guests:
        n.driver.do("adopt", name, n.names[name], mac, address)


def check_killed(n):
    """Two thousand sandboxes, and a runner that is killed while it changes more."""
    tap.diag("and two thousand in all: " + " ".join(n.driver.do("fill", 2000 - PORTS)))
    tap.equal("two thousand sandboxes", (len(ports("br0")), len(ports("br0-2"))), (PORTS, 2000 - PORTS + 2))
    n.driver.begin("come-and-go", 100000)
    network_packets.time.sleep(0.2)
    n.driver.kill()
    successor(n, ("a", A, A_IP), ("b", B, B_IP), ("c", C, C_IP))
    n.driver.do("sweep", "a", "b", "c")
    tap.equal("killed: its successor knows who is where, and the rest is gone", (ports("br0", "UP"), sorted(ports("br0-2", "UP"))),
              ([n.names["b"]], sorted([n.names["a"], n.names["c"]])))
    tap.equal("also from the host's routes", sorted(line.split()[0] for line in routes().splitlines()), [A_IP, B_IP, C_IP])
    for name in ("a", "b"):
        n.driver.do("policy", name, OPEN)
    n.guests.pop("c").close()
    n.driver.do("detach", "c")
    n.names.pop("c")


def check_lost(n):
    """As network_lost.py, of the second bridge."""
    tap.equal("nothing is lost", network_lost.told(n), "")
    for what, says, command in (
            ("it is gone", "the bridge br0-2 is gone", "ip link del br0-2"),
            ("it is down", "the bridge br0-2 is down", "ip link set br0-2 down"),
            ("its address", "the bridge br0-2 has no more the address 10.0.0.1/32", "ip addr flush dev br0-2"),
            ("its forwarding", "IPv4 forwarding of br0-2 is off", "echo 0 >/proc/sys/net/ipv4/conf/br0-2/forwarding"),
            ("its rules", "the rules of table 'inet runner_br0' are not there",
             "nft 'delete element inet runner_br0 bridges { \"br0-2\" }'")):
        network_lost.look(n, "the second bridge: " + what, says, command, is_closed=what == "its forwarding")


def check_end(n):
    for name in ("a", "b"):
        n.guests.pop(name).close()
        n.driver.do("detach", name)
    tap.equal("detached: no route is left", routes(), "")
    tap.ok("nor a neighbour", not any(address in run("ip", "neigh") for address in (A_IP, B_IP, C_IP)))
    tap.ok("the second bridge stays", ports("br0-2") is not None)
    successor(n)
    n.driver.do("sweep")
    n.attach("a", A, A_IP)
    tap.ok("and is the next runner's; the first has room again", is_on(n, "a", "br0"))
    n.driver.do("detach", "a")


def check(n):
    check_places(n)
    network_packets.check_legal(n)
    check_cases(n)
    network_packets.check_outside(n)
    network_packets.check_policies(n)
    network_packets.check_open_connections(n)
    network_packets.check_counters(n)
    network_packets.check_hostile_vmm(n)
    check_killed(n)
    if os.path.exists(network_names.PROGRAM):
        network_names.check(n)
    else:
        tap.skip("runner-dns was not built: a library is missing")
    check_full(n)
    check_lost(n)
    check_control(n)
    n.driver.do("setup")
    check_end(n)
    n.driver.close()


def main():
    if os.path.exists(network_names.PROGRAM):
        network_packets.Driver = functools.partial(Driver, "dns_program=" + os.path.abspath(network_names.PROGRAM),
                                                   "dns_upstream=127.0.0.1:5300")
    try:
        check(Bridges())
    finally:
        network_names.end_forwarders()
    tap.done()


if __name__ == "__main__":
    sys.exit(main())
