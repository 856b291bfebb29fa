"""Rows about network/bridge by itself, in a network namespace: changes of a policy, and what the rules cost a packet."""

import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../run"), os.path.join(HERE, "../rig")]

PACKETS, ROUNDS = 2000, 15


def packet_us(n, frame):
    """Microseconds from a guest's write to what the outside has read, the fastest of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(PACKETS):
            n.guests["a"].send(frame)
            for _ in n.out.frames():
                pass
        best = min(best, (time.perf_counter() - begin) / PACKETS * 1e6)
    return best


def measure():
    import network_packets as net
    from packets import eth, ip, run, udp

    n = net.Net()
    n.driver.do("policy", "a", net.OPEN)
    net.await_true(lambda: net.passes(n, net.OUT_IP))
    frame = eth(n.mac, net.A, 0x800, ip(net.A_IP, net.OUT_IP, udp(b"bench")))
    n.driver.do("fill", 1000)
    n.driver.do("come-and-go", 1)  # so that there is an idle TAP
    told = {"change": n.driver.do("change", 1000, "a", "203.0.113.0/25", "203.0.113.64/26"),
            "first": n.driver.do("first", 300, "203.0.113.0/25"),
            "block": n.driver.do("block", 300, "a", "203.0.113.0/25"), "come": n.driver.do("come-and-go", 300)}
    n.driver.do("policy", "a", net.LISTED, "203.0.113.0/25")
    told["listed"] = packet_us(n, frame)
    n.driver.do("policy", "a", net.OPEN)
    told["open"] = packet_us(n, frame)
    run("nft", "delete", "table", "bridge", "runner_br0")
    told["bare"] = packet_us(n, frame)
    print(json.dumps(told))


def row_network(table):
    from rig import Skip

    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        raise Skip("needs root and /dev/net/tun")
    done = subprocess.run(["unshare", "-n", sys.executable, "-B", os.path.abspath(__file__)], stdout=subprocess.PIPE,
                          check=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    for what, key, wanted in (("a list changed, 1 000 sandboxes with lists", "change", "<= 1 ms"),
                              ("a first list", "first", "<= 1 ms"),
                              ("blocked, and with a list again, in turn", "block", "<= 1 ms"),
                              ("attached with an idle TAP, opened, detached, TAP kept", "come", "<= 1 ms")):
        for name, us in zip(("p50", "p99"), told[key]):
            table.add(f"{what}: {name}", None, float(us) / 1e3, "ms", wanted if name == "p99" else "-")
    for what, key in (("open", "open"), ("with a list", "listed")):
        table.add(f"a guest's packet to the outside, {what}", ("without the bridge table", told["bare"]), told[key], "us")


if __name__ == "__main__":
    measure()
