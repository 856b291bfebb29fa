"""Sandboxes in network namespaces by the REST API: two that have the same address inside, stopped and started, over runners
that end and are killed, and over a change of the setting; what is left of them."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import tap
from census import REMOVAL_S, Census
from rig import Client, Skip
from runners import NetnsRunner, enter_namespace, has_bridge

SUBJECT, BYSTANDER = "subject", "bystander"
INSIDE = ("192.0.0.2", "02:00:c0:00:00:02")


def output(*words):
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout


def namespaces(wanted=2):
    """How many there are, once they are as many as they should be: the kernel takes one away in its own time."""
    until = time.monotonic() + REMOVAL_S
    while True:
        found = len(subprocess.run(["ip", "netns", "list-id"], stdout=subprocess.PIPE, text=True).stdout.splitlines())
        if found == wanted or time.monotonic() > until:
            return found
        time.sleep(0.02)  # for this there is no event


def kind(id):
    """Of the interface on the host that is the sandbox's port."""
    link = json.loads(output("ip", "-j", "-d", "link", "show", "dev", "tap-" + id))[0]
    return link["linkinfo"]["info_kind"], link.get("master")


def guest(runner, id):
    return json.loads(runner.client.call("GET", f"/sandboxes/{id}/toolbox/guest", as_text=True))


def vm_mac(runner, id):
    """Of the guest, as its VMM knows it."""
    vmm = Client(os.path.join(runner.dir, "run", id + ".sock"), 20)
    try:
        return vmm.call("GET", "/api/v1/vm.info")["config"]["net"][0]["mac"]
    finally:
        vmm.close()


def create(runner, id):
    return runner.client.call("POST", "/sandboxes", dict(runner.body, id=id))


def state(runner, id):
    return runner.client.call("GET", "/sandboxes/" + id)


def check_made(runner):
    for id in (BYSTANDER, SUBJECT):
        create(runner, id)
    found = {id: state(runner, id) for id in (BYSTANDER, SUBJECT)}
    tap.equal("both have the same address inside", {s["guestAddress"] for s in found.values()}, {INSIDE[0]})
    tap.equal("and addresses of their own outside", sorted(s["address"] for s in found.values()), ["10.9.0.2", "10.9.0.3"])
    tap.equal("their VMMs give them the same MAC address", {vm_mac(runner, id) for id in found}, {INSIDE[1]})
    tap.equal("each answers for itself", [guest(runner, id)["id"] for id in found], list(found))
    tap.equal("two namespaces, of which the ports are veths on the bridge", (namespaces(), kind(SUBJECT), kind(BYSTANDER)),
              (2, ("veth", "br-t"), ("veth", "br-t")))


def check_stopped(runner):
    runner.client.call("POST", f"/sandboxes/{SUBJECT}/stop", {"force": True})
    tap.equal("stopped: its namespace is gone", {item for item in Census(runner).items if "namespace" in item or
                                                 item.startswith("link tap-s")}, {"namespace nsid 0"})
    runner.client.call("POST", f"/sandboxes/{SUBJECT}/start", {})
    tap.equal("started: it is there again, and answers", (namespaces(), guest(runner, SUBJECT)["id"], kind(SUBJECT)[0]),
              (2, SUBJECT, "veth"))


def check_restarted(runner, number, name):
    before = {id: guest(runner, id)["pid"] for id in (BYSTANDER, SUBJECT)}
    runner.end(number)
    tap.equal(f"{name}: both namespaces are there without a runner", namespaces(), 2)
    runner.launch()
    runner.wait_idle()
    tap.equal(f"{name}: the next one finds both",
              {id: (state(runner, id)["state"], guest(runner, id)["pid"]) for id in before},
              {id: ("started", pid) for id, pid in before.items()})


def check_setting(runner):
    """What was made in a namespace stays so; what is made from now on is not."""
    path = os.path.join(runner.dir, "runner.yaml")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("netns: true", "netns: false"))
    check_restarted(runner, signal.SIGTERM, "with another setting")
    runner.client.call("POST", f"/sandboxes/{SUBJECT}/stop", {"force": True})
    runner.client.call("POST", f"/sandboxes/{SUBJECT}/start", {})
    tap.equal("with another setting: started again it has its namespace",
              (state(runner, SUBJECT)["guestAddress"], kind(SUBJECT)[0], namespaces()), (INSIDE[0], "veth", 2))
    runner.client.call("DELETE", "/sandboxes/" + SUBJECT)
    create(runner, SUBJECT)
    tap.equal("one that is made then has none", (state(runner, SUBJECT).get("guestAddress"), kind(SUBJECT)[0]), (None, "tun"))


def main():
    if not has_bridge():
        tap.skip_all("needs root, network namespaces, /dev/net/tun and the plugin")
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        try:
            enter_namespace()
            runner = NetnsRunner(base)
        except Skip as reason:
            tap.skip_all(reason)
        runner.wait_idle()
        empty = Census(runner)
        runner.ids = [BYSTANDER, SUBJECT]
        check_made(runner)
        check_stopped(runner)
        check_restarted(runner, signal.SIGTERM, "ended")
        check_restarted(runner, signal.SIGKILL, "killed")
        check_setting(runner)
        runner.destroy_all()
        tap.equal("destroyed: nothing is left", Census(runner).difference(empty), [])
        runner.close()
    tap.done()


if __name__ == "__main__":
    sys.exit(main())
