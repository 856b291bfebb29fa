"""network/bridge on a host that others change: what is lost is told, closed meanwhile, and put right without a guest's doing."""

import json
import socket
import subprocess
import sys

import tap
from network_packets import A_IP, B, B_IP, BLOCK, OPEN, OUT_IP, Net, is_refused, passes
from packets import await_true, mac_of, run

ISOLATED = {"isolated": True, "locked": True, "learning": False, "flood": False}


def told(n):
    return " ".join(n.driver.do("check"))


def mend(n):
    """As core does it."""
    n.driver.do("setup")
    n.driver.do("sweep", "a", "b")
    n.driver.do("policy", "a", OPEN)
    n.driver.do("policy", "b", BLOCK)


def watch(n):
    """The bridge that there is now."""
    n.seen.close()
    n.seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    n.seen.bind((n.bridge, 0))
    n.seen.setblocking(False)
    n.mac = mac_of(n.bridge)


def is_whole(n):
    """A port forwards a moment after it came up; then: out, dialled, apart from its neighbour."""
    def host_reaches(name, address):
        tag = n.tag()
        n.host_says(address, tag)
        return n.places(tag, set()) == {name}
    found = {"out": await_true(lambda: passes_now(n), 20)}
    for name, address in (("a", A_IP), ("b", B_IP)):
        found[name] = await_true(lambda: host_reaches(name, address), 20)
    tag = n.tag()
    n.from_a(A_IP, B_IP, tag, to_mac=B)
    found["apart"] = n.places(tag, set()) == set()
    if not all(found.values()):
        tap.diag(found)
    return all(found.values())


def passes_now(n):
    tag = n.tag()
    n.from_a(A_IP, OUT_IP, tag)
    return "out" in n.places(tag, set())


def flags(port):
    return json.loads(run("bridge", "-j", "-d", "link", "show", "dev", port))[0]


def look(n, name, says, *commands, is_closed=True):
    for command in commands:
        subprocess.run(command, shell=True, check=True)
    tap.ok(f"{name}: told", says in told(n), told(n))
    if is_closed:
        tap.ok(f"{name}: nothing passes", not passes_now(n))
    mend(n)
    watch(n)
    tap.equal(f"{name}: put right, and nothing is told", told(n), "")
    tap.ok(f"{name}: as before", is_whole(n))


def check_lost(n):
    tap.equal("nothing is lost", told(n), "")
    look(n, "both tables", "the rules of table 'bridge runner_br0' are not there; the rules of table 'inet runner_br0'",
         "nft flush ruleset", is_closed=False)
    subprocess.run("nft delete table bridge runner_br0", shell=True, check=True)
    n.driver.do("setup")
    tap.ok("a table that is new: closed until its policy is said", is_refused(n, OUT_IP))
    mend(n)
    look(n, "the bridge", "the bridge br0 is gone", "ip link del br0", is_closed=False)
    found = flags(n.names["a"])
    tap.equal("the port has the flags that it had", {key: found.get(key) for key in ISOLATED}, ISOLATED)
    look(n, "another bridge of the same name", "2 interfaces of guests are not on the bridge br0",
         "ip link del br0 && ip link add br0 type bridge && ip addr add 10.0.0.1/16 dev br0 && ip link set br0 up", is_closed=False)
    look(n, "the bridge is down", "the bridge br0 is down", "ip link set br0 down", is_closed=False)
    look(n, "its address", "the bridge br0 has no more the address 10.0.0.1/16", "ip addr flush dev br0", is_closed=False)
    look(n, "forwarding", "IPv4 forwarding of br0 is off; IPv4 forwarding of out0 is off",
         "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 0 >/proc/sys/net/ipv4/ip_forward")


def check_others(n):
    subprocess.run("nft 'add table ip other; add chain ip other forward { type filter hook forward priority 0; policy drop; }'", shell=True,
                   check=True)
    tap.ok("another's table that drops: told, with its names",
           "the chain 'forward' of table 'ip other', which is not ours, drops" in told(n), told(n))
    tap.ok("(it does)", not passes_now(n))
    for way in ("iifname", "oifname"):
        run("nft", "add", "rule", "ip", "other", "forward", way, "br0", "accept")
    tap.equal("its owner thought of the bridge: nothing is told", told(n), "")
    tap.ok("(and it passes)", passes(n, OUT_IP))
    run("nft", "delete", "table", "ip", "other")


def check_forged(n):
    """A VMM that was taken over gives its TAP the other guest's MAC address."""
    def reached():
        tag = n.tag()
        n.host_says(B_IP, tag)
        return n.places(tag, set())
    run("ip", "link", "set", "dev", n.names["a"], "address", B)
    tap.equal("another's address: its frames reach nobody", reached(), set())
    tap.ok("that is told", f"the VMM of {n.names['a']} has given it the MAC address of the guest behind {n.names['b']}" in told(n),
           told(n))
    mend(n)
    tap.ok("put right: they reach the guest", await_true(lambda: reached() == {"b"}))
    tap.equal("and nothing is told", told(n), "")
    tap.ok("all is as before", is_whole(n))


def main():
    n = Net()
    n.driver.do("policy", "a", OPEN)
    n.driver.do("policy", "b", BLOCK)
    tap.ok("it begins well", is_whole(n))
    check_lost(n)
    check_others(n)
    check_forged(n)
    n.driver.close()
    tap.done()


if __name__ == "__main__":
    sys.exit(main())
