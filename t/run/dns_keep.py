"""runner-dns --keep: whoever serves may die at any moment, and another serves; lists and what is open stay."""

import os
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "t/run"))
import dns  # noqa: E402
import tap  # noqa: E402
from dns import LISTED, OK, OPEN, REFUSED, SECONDS, SERVFAIL  # noqa: E402


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def await_state(path, begin):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            with open(path, encoding="utf-8") as file:
                said = file.read()
        except FileNotFoundError:
            said = ""
        if said.startswith(begin):
            return True
        time.sleep(0.01)
    tap.diag(f"{path} says {said!r}")
    return False


def is_gone(pid):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                if file.read().split(")")[1].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def check_death(place, up, state):
    keeper = place.process.pid
    up.answers["kept.example"] = dns.addresses("192.0.2.40")
    up.answers["later.example"] = dns.addresses("192.0.2.41")
    place.allow(LISTED, "kept.example", "later.example")
    tap.ok("it says that it serves", await_state(state, "serving 0 "))
    tap.equal("a listed name is resolved", place.ask("kept.example", source=LISTED).rcode, OK)
    for n in range(1, 5):
        [child] = children(keeper)
        os.kill(child, signal.SIGKILL)
        tap.ok(f"killed: another serves ({n})", await_state(state, f"serving {n} ") and children(keeper) not in ([], [child]))
    tap.equal("what was open is open", sorted(place.elements()), ["192.0.2.40"])
    tap.equal("the list holds: another name of it", place.ask("later.example", source=LISTED).addresses(), ["192.0.2.41"])
    tap.equal("and no other", place.ask("free.example", source=LISTED).rcode, REFUSED)
    tap.ok("it has the same process above", place.process.poll() is None)


def check_waits(place, state):
    """One that cannot serve is tried ever more rarely; then it serves again."""
    dns.run("ip", "addr", "del", dns.HOST + "/24", "dev", "br-dns")
    [child] = children(place.process.pid)
    os.kill(child, signal.SIGKILL)
    tap.ok("its address is gone: it says so", await_state(state, "down "))
    at = place.said().count(b"another in")
    time.sleep(3)
    tried = place.said().count(b"another in") - at
    tap.ok("and is not tried all the time", tried <= 7, tried)
    dns.run("ip", "addr", "add", dns.HOST + "/24", "dev", "br-dns")
    tap.ok("back, it serves", await_state(state, "serving "))
    tap.equal("and answers", place.ask("kept.example", source=LISTED).rcode, OK)


def check_resolv_conf(place, base, state):
    path = os.path.join(base, "resolv.conf")

    def write(text):
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(path + ".new", path)
    place.end()
    write("search example.org\n")
    place.start("--keep", state, "--resolv-conf", path, upstreams=())
    began = time.monotonic()
    tap.equal("no server is named: that is answered at once", place.ask("kept.example", source=OPEN).rcode, SERVFAIL)
    tap.ok("(at once)", time.monotonic() - began < 4)
    write(f"nameserver {dns.HOST}\n; nameserver 192.0.2.1\nnameserver 127.0.0.1\n")

    def answers():
        found = place.ask("kept.example", source=OPEN, seconds=1)
        return found is not None and found.rcode == OK
    end = time.monotonic() + SECONDS
    while not answers() and time.monotonic() < end:
        time.sleep(0.05)
    tap.ok("one is named: it is asked; we ourselves are not", answers())


def check_end(place):
    keeper = place.process.pid
    [child] = children(keeper)
    tap.equal("it ends by SIGTERM", place.end(), 0)
    tap.ok("and so does who served", is_gone(child))
    place.start("--keep", os.path.join(place.policies, "../state"))
    [child] = children(place.process.pid)
    place.end(signal.SIGKILL)
    tap.ok("killed, it takes who served with it", is_gone(child))


def main():
    dns.require()
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        place, state = dns.Place(base), os.path.join(base, "state")
        try:
            up = dns.Upstream(5300)
            up53 = dns.Upstream(53)
            up53.answers = up.answers
            place.start("--keep", state)
            check_death(place, up, state)
            check_waits(place, state)
            check_resolv_conf(place, base, state)
            check_end(place)
        finally:
            place.close()
    tap.done()


if __name__ == "__main__":
    main()
