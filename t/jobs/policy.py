"""What a sandbox may reach: by create, job, start and REST, in the record, at the network, and after kill -9 anywhere.
The network is the one for tests, of which each policy is a file; or the bridge, in a namespace, whose rules are read."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

import tap
from daytona import DaytonaApi, recorded
from runners import enter_namespace, has_bridge
from rig import BUILD, Client, Skip
from rig_ch import FAKE, arrange_loopback
from rig_jobs import JobRunner, create, do, new_id, wait_for_line

DNS = os.path.join(BUILD, "plugins/network/bridge/runner-dns")
UPDATE = "UPDATE_SANDBOX_NETWORK_SETTINGS"
OPEN, CLOSED = "open", "closed"


class PolicyRunner(JobRunner):
    vmm = "Cloud Hypervisor"

    def told(self, policy):
        """How policy() says it."""
        return policy

    def arrange(self):
        return arrange_loopback(self, "names: true, ")

    def set_names(self, value):
        """Of the network: whether it keeps names of domains. Started anew."""
        path = os.path.join(self.dir, "runner.yaml")
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(re.sub("names: (true|false)", f"names: {value}", text))
        self.end(signal.SIGTERM)
        self.launch()
        self.wait_idle()

    def policy(self, id):
        """What is in force, None: it is on no network."""
        try:
            with open(os.path.join(self.policies, id)) as file:
                return file.read().rstrip("\n")
        except FileNotFoundError:
            return None

    def end_others(self):
        """What outlives a runner, beside VMMs."""

    def is_empty(self):
        return [name for name in os.listdir(self.policies) if not name.startswith(".tmp-")] == []

    def record(self, id):
        with open(os.path.join(self.root, "sandboxes", id, "runner.json")) as file:
            return json.load(file)

    def settings(self, id):
        return self.client.call("GET", f"/sandboxes/{id}/network-settings")

    def ask(self, method, path, body=None):
        client = Client(self.socket, 60)
        try:
            status, text = client.ask(method, path, body)
            return status, text.decode()
        finally:
            client.close()

    def await_policy(self, id, policy, seconds=60):
        """Nothing says when the runner has tried again."""
        until = time.monotonic() + seconds
        while self.policy(id) != policy and time.monotonic() < until:
            time.sleep(0.01)
        return self.policy(id)


def ends(api, type, resource, payload=None):
    job = api.result(api.add_job(type, resource, payload))
    return job["status"], job.get("errorMessage")


class BridgeRunner(PolicyRunner):
    """Names of domains are not looked at: what they stand for is in a set that runner-dns fills."""

    CONFIG = PolicyRunner.CONFIG.replace("check_interval: 24h", "check_interval: 1s")

    def arrange(self):
        self.make_snapshot()
        return (f"    vmm: {{plugin: cloud-hypervisor, binary: {self.own_copy(FAKE)}, probe: none}}\n"
                f"    network: {{plugin: bridge, bridge: br-t, address: 10.9.0.1/24, uplink: none, dns: true, dns_program: {DNS}, "
                "dns_upstream: [127.0.0.1]}\n"
                "    ipam: {plugin: static-pool, range: 10.9.0.2-10.9.0.3, gateway: 10.9.0.1/24}")

    def told(self, policy):
        if policy is None or policy.startswith("block"):
            return policy and "block"
        words = policy.split()
        return " ".join(words[:1] + [word for word in words[1:] if word == "restricted" or "/" in word])

    def end_others(self):
        with open(os.path.join(self.root, "network/br-t.pid")) as file:
            os.kill(int(file.readline()), signal.SIGKILL)

    def elements(self, kind, name):
        """Keys of a set's elements, of a map's with what they stand for; None: there is no such thing."""
        done = subprocess.run(["nft", "-j", "list", kind, "bridge", "runner_br_t", name], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        if done.returncode != 0:
            return None
        found = json.loads(done.stdout)["nftables"][1][kind].get("elem", [])
        return [e["elem"]["val"] if isinstance(e, dict) and "elem" in e else e for e in found]

    def policy(self, id):
        try:
            port = self.record(id)["nic"]["name"]
        except FileNotFoundError:
            return None
        if port not in [key["concat"][0] for key in self.elements("set", "ident")]:
            return None
        restricted = ["restricted"] * (port in self.elements("set", "limited"))
        if port in self.elements("set", "open"):  # before a list, which it may have had before
            return " ".join([OPEN] + restricted)
        if port not in [key for key, _ in self.elements("map", "lists")]:
            return "block"
        words = ["list"] + restricted
        elements = self.elements("set", f"s_{port}")
        if not elements and self.may_ask(id) == "none":  # it had a list before, of which the sets are left
            return "block"
        for element in elements:
            prefix = element["prefix"] if isinstance(element, dict) else {"addr": element, "len": 32}
            words.append(f"{prefix['addr']}/{prefix['len']}")
        return " ".join(words)

    def may_ask(self, id):
        """What the forwarder of names is told; None: nothing."""
        try:
            with open(os.path.join(self.root, "network/br-t", self.record(id)["nic"]["address"])) as file:
                return file.read().strip()
        except FileNotFoundError:
            return None

    def is_empty(self):
        return [self.elements(kind, name) for kind, name in
                (("set", "ident"), ("set", "omac"), ("set", "open"), ("set", "limited"), ("map", "lists"))] == [[]] * 5


DONE = ("COMPLETED", None)


def check_recorded(api, runner):
    """In their order, on one sandbox."""
    id = new_id()
    create(api, id)
    tap.equal("s03: of a create that says nothing", runner.policy(id), OPEN)
    expected = ["block", "list 10.0.0.0/8 192.168.1.0/24", "list *.example.org example.com", OPEN]
    for example, wanted in zip(recorded("jobs-" + UPDATE), expected, strict=True):
        tap.equal(f"s03: {UPDATE} as recorded ({example['trigger']})",
                  (ends(api, UPDATE, id, json.loads(example["job"]["payload"])), runner.policy(id)),
                  (DONE, runner.told(wanted)))
    tap.equal("settings that are not readable are told", ends(api, UPDATE, id, {"networkAllowList": "10.0.0.0"}),
              ("FAILED", "networkAllowList: '10.0.0.0' is not an IPv4 network as a.b.c.d/n"))
    tap.equal("and change nothing", runner.policy(id), OPEN)
    do(api, id, "destroy")
    tap.equal("a destroy takes it away", runner.policy(id), None)


# A message, and what is in force then; each on what the one before left (contract 8.1).
STEPS = [
    ({"networkBlockAll": True, "networkAllowList": "1.0.0.0/8"}, "block 1.0.0.0/8"),
    ({}, "block 1.0.0.0/8"),
    ({"networkBlockAll": None, "networkAllowList": None, "domainAllowList": None, "networkLimitEgress": None},
     "block 1.0.0.0/8"),
    ({"networkLimitEgress": True}, "block restricted 1.0.0.0/8"),
    ({"domainAllowList": ""}, "block restricted 1.0.0.0/8"),
    ({"networkAllowList": "2.0.0.0/8"}, "list restricted 2.0.0.0/8"),
    ({"domainAllowList": "a.b"}, "list restricted 2.0.0.0/8 a.b"),
    ({"networkAllowList": ""}, "list restricted a.b"),
    ({"networkLimitEgress": False}, "list a.b"),
    ({"networkBlockAll": False, "networkAllowList": "3.1.2.3/8, 3.0.0.0/9"}, "list 3.0.0.0/8"),
    ({"networkBlockAll": False}, OPEN),
]


def check_fields(api, runner):
    id = new_id()
    create(api, id)
    for message, wanted in STEPS:
        status = runner.ask("POST", f"/sandboxes/{id}/network-settings", message)
        tap.equal(f"s03: by REST, {json.dumps(message)}", (status, runner.policy(id)),
                  ((200, '"Network settings updated"'), runner.told(wanted)))
    runner.ask("POST", f"/sandboxes/{id}/network-settings",
               {"networkBlockAll": True, "networkAllowList": "9.9.9.9/8", "domainAllowList": "B.c", "networkLimitEgress": True})
    tap.equal("what they are now", runner.settings(id),
              {"networkBlockAll": True, "networkAllowList": "9.0.0.0/8", "domainAllowList": "b.c",
               "networkLimitEgress": True, "isEnforced": True})
    tap.equal("a sandbox that is not there", runner.ask("GET", "/sandboxes/none/network-settings")[0], 404)
    do(api, id, "destroy")


def check_create(api, runner):
    base = dict(runner.body, userId="u", osUser="daytona")
    for more, wanted in (({"networkBlockAll": True}, "block"), ({"networkBlockAll": False}, OPEN),
                         ({"networkAllowList": "1.0.0.0/8"}, "list 1.0.0.0/8"), ({"domainAllowList": "*.a.b"}, "list *.a.b"),
                         ({"metadata": {"limitNetworkEgress": "true"}}, "open restricted"),
                         ({"metadata": {"limitNetworkEgress": "false"}}, OPEN)):
        id = new_id()
        tap.equal(f"s03: a create with {json.dumps(more)}", (ends(api, "CREATE_SANDBOX", id, dict(base, id=id, **more)),
                                                        runner.policy(id)), (DONE, runner.told(wanted)))
        do_destroy(api, id)
    id = new_id()
    create(api, id)
    do(api, id, "pause")
    tap.equal("s03: one that is paused", (ends(api, UPDATE, id, {"networkBlockAll": True}), runner.policy(id)), (DONE, "block"))
    do(api, id, "start")
    tap.equal("goes on so", runner.policy(id), "block")
    do(api, id, "destroy")


def do_destroy(api, id):
    api.wait(60, jobs="final")
    if ends(api, "DESTROY_SANDBOX", id) != DONE:
        raise RuntimeError(f"{id} is not destroyed")


def check_stopped(api, runner):
    """Kept, and there from the next start on; a start brings some of it."""
    id = new_id()
    create(api, id)
    do(api, id, "stop")
    tap.equal("a stopped one is on no network", runner.policy(id), None)
    tap.equal("s03: a stopped one is told", ends(api, UPDATE, id, {"networkBlockAll": False, "networkAllowList": "1.0.0.0/8"}), DONE)
    tap.equal("and is on none still", runner.policy(id), None)
    runner.end(signal.SIGKILL)
    runner.launch()
    for metadata, wanted in ((None, "list 1.0.0.0/8"), ({"limitNetworkEgress": "true"}, "list restricted 1.0.0.0/8"),
                             ({"limitNetworkEgress": "", "domainAllowList": ""}, "list restricted 1.0.0.0/8"),
                             ({"domainAllowList": "a.b,C.d"}, "list restricted 1.0.0.0/8 a.b c.d"),
                             ({"limitNetworkEgress": "false"}, "list 1.0.0.0/8 a.b c.d")):
        payload = {} if metadata is None else {"metadata": metadata}
        tap.equal(f"s03: a start with metadata {json.dumps(metadata)}", (ends(api, "START_SANDBOX", id, payload),
                                                                    runner.policy(id)), (DONE, runner.told(wanted)))
        ends(api, "STOP_SANDBOX", id)
    ends(api, UPDATE, id, {"networkBlockAll": True})
    tap.equal("s03: domains of a start end no block", (ends(api, "START_SANDBOX", id, {"metadata": {"domainAllowList": "a.b"}}),
                                                  runner.policy(id)), (DONE, runner.told("block a.b")))
    ends(api, "STOP_SANDBOX", id)
    tap.equal("a start with what nobody could keep", ends(api, "START_SANDBOX", id, {"metadata": {"domainAllowList": ".."}}),
              ("FAILED", "metadata: domainAllowList: '..' is not the name of a domain"))
    do_destroy(api, id)


def check_started(api, runner):
    """A start of one that runs brings what any start brings, and says so when the network does not take it."""
    id = new_id()
    create(api, id)
    for metadata, wanted in (({"limitNetworkEgress": "true"}, "open restricted"),
                             ({"domainAllowList": "a.b"}, "list restricted a.b"), (None, "list restricted a.b"),
                             ({"limitNetworkEgress": "false"}, "list a.b")):
        payload = {} if metadata is None else {"metadata": metadata}
        tap.equal(f"s03: a start of one that runs with metadata {json.dumps(metadata)}",
                  (ends(api, "START_SANDBOX", id, payload), runner.policy(id)), (DONE, runner.told(wanted)))
    tap.equal("the metadata is kept", runner.record(id)["metadata"], {"limitNetworkEgress": "false"})
    tap.equal("what nobody could keep is refused", (ends(api, "START_SANDBOX", id, {"metadata": {"domainAllowList": ".."}}),
                                                    runner.record(id)["metadata"]),
              (("FAILED", "metadata: domainAllowList: '..' is not the name of a domain"), {"limitNetworkEgress": "false"}))
    do_destroy(api, id)


def check_failure(api, runner):
    """The network does not take it: that is told, and is not forgotten."""
    id = new_id()
    create(api, id)
    os.rename(runner.policies, runner.policies + ".away")
    status, text = ends(api, UPDATE, id, {"networkBlockAll": True})
    tap.ok("s03: what is not in force is told", status == "FAILED" and "kept, but not in force yet" in text, text)
    tap.equal("and shown", {key: value for key, value in runner.settings(id).items() if "List" not in key},
              {"networkBlockAll": True, "networkLimitEgress": False, "isEnforced": False})
    tap.equal("s03: the record says what is meant", runner.record(id)["policy"]["isBlocked"], True)
    wait_for_line(runner, "policy.not_applied", id)
    os.rename(runner.policies + ".away", runner.policies)
    tap.equal("s03: it comes into force without anybody's asking", runner.await_policy(id, "block"), "block")
    runner.wait_idle()
    tap.equal("and is shown so", runner.settings(id)["isEnforced"], True)
    os.rename(runner.policies, runner.policies + ".away")
    status, text = ends(api, "START_SANDBOX", id, {"metadata": {"limitNetworkEgress": "true"}})
    os.rename(runner.policies + ".away", runner.policies)
    tap.ok("s03: of a start of one that runs, too", status == "FAILED" and "kept, but not in force yet" in text, text)
    tap.equal("and comes into force", runner.await_policy(id, "block restricted"), "block restricted")
    do_destroy(api, id)


def check_refused(api, runner):
    """A network that could keep names, and is set up not to: what was before holds."""
    id = new_id()
    create(api, id)
    ends(api, UPDATE, id, {"networkAllowList": "1.0.0.0/8"})
    runner.set_names("false")
    status, text = ends(api, UPDATE, id, {"networkBlockAll": False, "domainAllowList": "a.b"})
    tap.equal("s03: what the network cannot keep is refused", (status, text), ("FAILED", "network policy: network/loopback: no names"))
    tap.equal("s03: and what was before holds", (runner.policy(id), runner.record(id)["policy"]["cidrs"], "domains" in runner.record(id)["policy"],
                                                 runner.settings(id)["isEnforced"]), ("list 1.0.0.0/8", "1.0.0.0/8", False, True))
    tap.equal("by REST too", runner.ask("POST", f"/sandboxes/{id}/network-settings", {"domainAllowList": "a.b"})[0], 501)
    status, text = ends(api, "START_SANDBOX", id, {"metadata": {"domainAllowList": "a.b"}})
    tap.equal("s03: by a start of one that runs, of which nothing is kept then",
              (status, text, runner.policy(id), "metadata" in runner.record(id), runner.settings(id)["isEnforced"]),
              ("FAILED", "network policy: network/loopback: no names", "list 1.0.0.0/8", False, True))
    runner.set_names("true")
    do_destroy(api, id)


def check_lost(api, runner):
    """Somebody deletes the rules, and the bridge: the runner notices, and puts that right without a start."""
    ids = [new_id(), new_id()]
    for id in ids:
        create(api, id)
    ends(api, UPDATE, ids[0], {"networkAllowList": "1.0.0.0/8"})
    ends(api, UPDATE, ids[1], {"networkBlockAll": True})
    wanted = ["list 1.0.0.0/8", "block"]

    def counted():
        """Losses, mends, mends that failed."""
        text = runner.client.call("GET", "/metrics", as_text=True)
        return [int(n) for n in re.findall(r"^runner_network_(?:losses|mends)_total\S* (\d+)$", text, re.M)]

    def is_right():
        try:
            ports = [runner.record(id)["nic"]["name"] for id in ids]
            joined = subprocess.run(["ip", "-j", "link", "show", "master", "br-t"], stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL).stdout
            return [runner.policy(id) for id in ids] == wanted and \
                {link["ifname"] for link in json.loads(joined or "[]")} >= set(ports)
        except TypeError:  # there is no table
            return False
    tap.ok("(it begins well)", is_right())
    tap.equal("counted: nothing lost", counted(), [0, 0, 0])
    for name, says, command in (("the rules", "the rules of table", ["nft", "flush", "ruleset"]),
                                ("the bridge", "the bridge br-t is gone", ["ip", "link", "del", "br-t"])):
        before = counted()[1]
        subprocess.run(command, check=True)
        until = time.monotonic() + 60
        while counted()[1] == before and time.monotonic() < until:
            time.sleep(0.05)
        while not is_right() and time.monotonic() < until:
            time.sleep(0.05)
        tap.ok(f"s03: {name} gone: noticed, and put right, each with its policy", is_right())
        wait_for_line(runner, "network.mended", "host=local")
        tap.ok("and told", any(says in line for event in ("plugin.doubtful", "plugin.sick") for line in runner.lines(event)))
    lost, mended, failed = counted()
    tap.ok("counted: lost, mended, none failed", lost >= 2 and mended >= 2 and failed == 0, (lost, mended, failed))
    until = time.monotonic() + 60
    while subprocess.run("ip link del br-t; ip link add br-t type veth peer name br-u", shell=True).returncode != 0 and \
            time.monotonic() < until:  # the runner may have made it anew in between
        time.sleep(0.05)
    wait_for_line(runner, "network.not_mended", "host=local")
    subprocess.run(["ip", "link", "del", "br-t"], check=True)
    until = time.monotonic() + 60
    while not is_right() and time.monotonic() < until:
        time.sleep(0.05)
    tap.ok("s03: what could not be mended is mended as soon as it can", is_right())
    tap.ok("counted: one more lost, some failed", counted()[0] > lost and counted()[2] > 0, counted())
    for id in ids:
        do(api, id, "destroy")


def check_counters(api, runner):
    """What the network counts; on this one a file says it."""
    ids = sorted([new_id(), new_id()])
    for id in ids:
        create(api, id)
    with open(os.path.join(runner.policies, runner.record(ids[0])["nic"]["mac"]), "w") as file:
        file.write("10 20 3 4 5\n")
    lines = runner.client.call("GET", "/metrics", as_text=True).splitlines()
    found = [line.removeprefix("runner_sandbox_network_") for line in lines if line.startswith("runner_sandbox_network_")]
    names = ("receive_bytes", "transmit_bytes", "receive_packets", "transmit_packets", "refused_packets")
    wanted = [f'{name}_total{{host="local",id="{id}"}} {value}' for name, *values in zip(names, (10, 20, 3, 4, 5), (0,) * 5)
              for id, value in zip(ids, values)]
    tap.equal("what each sandbox received, sent, and was refused", found, wanted)
    do(api, ids[1], "stop")
    lines = runner.client.call("GET", "/metrics", as_text=True).splitlines()
    tap.equal("none of one that does not run", [line for line in lines if ids[1] in line], [])
    os.remove(os.path.join(runner.policies, runner.record(ids[0])["nic"]["mac"]))
    for id in ids:
        do(api, id, "destroy")


def check_seed(api, runner):
    id = new_id()
    create(api, id)
    tap.equal("s03: the guest asks the bridge for names", runner.record(id)["nic"]["dns"], "10.9.0.1")
    do(api, id, "destroy")


def check_restart(api, runner):
    """What somebody else has made of the rules meanwhile is put right."""
    id = new_id()
    create(api, id)
    ends(api, UPDATE, id, {"networkBlockAll": True})
    runner.end(signal.SIGKILL)
    with open(os.path.join(runner.policies, id), "w") as file:
        file.write("open\n")
    runner.launch()
    runner.wait_idle()
    tap.equal("s03: a start of the runner puts the rules right", runner.policy(id), "block")
    do(api, id, "destroy")


KILLS = 50


def check_kills(api, runner):
    """Killed while it changes: before, it is one or the other; after its start, what the record says."""
    id = new_id()
    create(api, id)
    policies = {"block": {"networkBlockAll": True}, "list 1.0.0.0/8": {"networkBlockAll": False, "networkAllowList": "1.0.0.0/8"},
                OPEN: {"networkBlockAll": False}}
    names = list(policies)
    before, wrong, told = OPEN, [], 0
    for i in range(KILLS):
        wanted = names[i % len(names)]
        answers = []

        def change():
            try:
                answers.append(runner.ask("POST", f"/sandboxes/{id}/network-settings", policies[wanted])[0])
            except OSError:
                answers.append(None)

        asking = threading.Thread(target=change)
        asking.start()
        time.sleep(i % 10 * 0.0003)  # nothing tells when it is half-way: it is met at many moments
        runner.end(signal.SIGKILL)
        asking.join()
        during = runner.policy(id)
        runner.launch()
        runner.wait_idle()
        after = runner.policy(id)
        kept = {True: "block"}.get(runner.record(id).get("policy", {}).get("isBlocked"),
                                   "list 1.0.0.0/8" if "policy" in runner.record(id) else OPEN)
        told += answers == [200]
        if during not in (before, wanted) or after != kept or after not in (before, wanted) or \
                (answers == [200] and after != wanted):
            wrong.append((i, before, wanted, during, after, kept, answers))
        before = after
    tap.equal(f"s03: killed at {KILLS} moments of a change, of which {told} were answered before", wrong, [])
    do(api, id, "destroy")


COMMON = [check_recorded, check_fields, check_create, check_stopped, check_started]


def main():
    runners = {"loopback": (PolicyRunner, COMMON + [check_failure, check_refused, check_counters, check_restart, check_kills]),
               "bridge": (BridgeRunner, COMMON + [check_seed, check_lost, check_kills])}
    kind, checks = runners[sys.argv[1]]
    if kind is BridgeRunner:
        if not has_bridge():
            raise Skip("no bridge: that needs root, network namespaces and the plugin")
        if not os.path.exists(DNS):
            raise Skip("runner-dns was not built: a library is missing")
        argv = [os.path.join(BUILD, "runner-ch"), "--plugin-dir", os.path.join(BUILD, "plugins"), "--dump-plugin"]
        told = subprocess.run(argv + ["network/bridge"], check=True, stdout=subprocess.PIPE, text=True).stdout
        if "dns_program" not in told:
            raise Skip("this bridge keeps no lists of domains")
        enter_namespace()
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, kind(base, api) as runner:
            api.wait(60, runner="ready")
            for check in checks:
                check(api, runner)
            tap.ok("no policy outlives its sandbox", runner.is_empty())
            runner.end_others()
            # Of a runner that was killed the API may not know yet.
            tap.equal("the API was told what it can read",
                      [text for text in api.violations() if "a second poll while one waits" not in text], [])
    tap.done()


if __name__ == "__main__":
    try:
        main()
    except Skip as reason:
        tap.skip_all(reason)
