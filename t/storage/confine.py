"""storage/oci: what runner-oci may do on its host, looked at from outside while it works, and tried from inside."""

import json
import os
import socket
import stat
import subprocess
import tempfile
import threading

import tap
from registries import TOP, Host, Layout, Proxy, Registry, need

need("docker-registry", "skopeo", "pgrep")
work = tempfile.TemporaryDirectory(prefix="storage-")
tempfile.tempdir = work.name
UID = 1900065536
ROOT = os.geteuid() == 0
SANITIZED = b"__asan_init" in open(f"{TOP}/plugins/storage/runner-oci", "rb").read()
layout = Layout(f"{work.name}/images")
layout.tag(layout.image([{"bin/big": os.urandom(4 << 20)}]), "plain")
registry = Registry()
layout.push("plain", f"{registry.server}/images/plain:1")


def fields(pid, name):
    with open(f"/proc/{pid}/{name}", encoding="ascii") as file:
        return {line.split(":")[0]: line.split(":")[1].split() for line in file if ":" in line}


def limits(pid):
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        return {line[:25].strip(): line[26:].split()[:2] for line in file}


def mounts(pid):
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
        return {line.split()[4]: line.split()[5].split(",") for line in file}


# ---- while it works ----

go = threading.Event()
slow = Proxy(registry, lambda r: {"hold": go} if r.command == "GET" and "/blobs/" in r.path else None)
host = Host()
operation = host.begin("pull", f"{slow.server}/images/plain:1", None, "max_layers=100", "memory=256M")
operation.until("fetch")
watcher, worker = subprocess.run(["pgrep", "-f", f"runner-oci {host.root}/"], stdout=subprocess.PIPE, text=True).stdout.split()
if fields(watcher, "status")["PPid"] == [worker]:  # their numbers have begun anew between them
    watcher, worker = worker, watcher
status = fields(worker, "status")
tap.equal("it has no capability, and gets none", {k: status[k] for k in ("CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs")},
          {**{k: ["0" * 16] for k in ("CapInh", "CapPrm", "CapEff", "CapAmb")}, "NoNewPrivs": ["1"]})
if SANITIZED:
    tap.skip("a sanitizer needs more system calls and address space", 2)
else:
    tap.equal("its system calls are filtered", status["Seccomp"], ["2"])
    tap.equal("its address space is bounded", limits(worker)["Max address space"], [str((256 << 20) + (2 << 30))] * 2)
found = limits(worker)
tap.equal("no core, files, threads are bounded", [found[k] for k in ("Max core file size", "Max open files", "Max processes")],
          [["0", "0"], ["164", "164"], ["4096", "4096"]])
tap.ok("and the bytes of a file", found["Max file size"][1].isdigit(), found["Max file size"])
tap.equal("the process that watches has no capability", fields(watcher, "status")["CapEff"], ["0" * 16])
if ROOT:
    tap.equal("it is a user of its own, in no group", (status["Uid"], status["Gid"], status["Groups"]), ([str(UID)] * 4, [str(UID)] * 4, []))
    tap.equal("of whose bounding set nothing is left", status["CapBnd"], ["0" * 16])
    seen = mounts(worker)
    blobs = f"{host.root}/storage/oci/blobs"
    tap.equal("of the host's files it may write its own alone", sorted(p for p, o in seen.items() if "ro" not in o), sorted([blobs, host.dir]))
    tap.ok("there no devices, programs, other users", all({"nosuid", "nodev", "noexec"} <= set(seen[p]) for p in (blobs, host.dir)), seen)
    tap.ok("it sees nothing of other parts", not any(p.startswith(("/home", "/root", "/var", "/run/runner", *([] if SANITIZED else ["/proc"]))) for p in seen), seen)
else:
    tap.skip("only root can give it a user of its own", 5)
go.set()
answer = operation.wait()
tap.equal("so it works", (answer["status"], stat.S_IMODE(os.stat(f"{host.dir}/disk.raw").st_mode)), (0, 0o444))
slow.close()

# Its blobs were root's, when an earlier program made them.
if ROOT:
    for name in [".", *host.blobs()]:
        os.chown(f"{host.root}/storage/oci/blobs/{name}", 0, 0)
    proxy = Proxy(registry)
    answer = host.do("pull", f"{proxy.server}/images/plain:1")
    tap.equal("blobs of root's are used", (answer["status"], len(proxy.seen("GET", "/blobs/"))), (0, 0))
    proxy.requests.clear()
    for name in host.blobs():
        os.chown(f"{host.root}/storage/oci/blobs/{name}", 0, 0)
    answer = host.do("pull", f"{proxy.server}/images/plain:1")
    tap.equal("those that cannot be read are fetched again", (answer["status"], len(proxy.seen("GET", "/blobs/"))), (0, 2))
    answer = host.do("pull", f"{proxy.server}/images/plain:1", None, "uid=0")
    tap.equal("uid: 0", (answer["status"], os.stat(f"{host.dir}/disk.raw").st_uid), (0, 0))
    proxy.close()
else:
    tap.skip("only root can give it a user of its own", 3)
host.close()

# ---- tried ----

listener = socket.socket(socket.AF_UNIX)
listener.bind(f"{work.name}/socket")
os.chmod(f"{work.name}/socket", 0o777)
listener.listen()
tcp = socket.create_server(("127.0.0.1", 0))
os.chmod(work.name, 0o755)


def confined(uid, *without):
    """What it could do: {name: "ok" or the error}, and what the host cannot."""
    own, outside = tempfile.mkdtemp(prefix="own-"), f"{work.name}/outside"
    with open(outside, "w", encoding="ascii") as file:
        file.write("x")
    os.chmod(outside, 0o666)
    argv = [f"{TOP}/t/storage/confined", *(a for name in without for a in ("--without", name)), str(uid), own, outside,
            f"{work.name}/socket", str(tcp.getsockname()[1])]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    tap.ok(f"uid {uid} {' '.join(without)}: it could be tried", done.returncode == 0, done)
    return dict(line for line in lines if line[0] != "gap"), [line[1] for line in lines if line[0] == "gap"]


MAY = {"own-create", "own-rename", "own-at-bound", "system-read", "tcp", "thread"}
LANDLOCK = {"system-write", "outside-create", "outside-read", "outside-write", "outside-remove", "rename-out"}
if SANITIZED:
    tap.skip("a sanitizer needs more system calls", 1)
else:
    done, gaps = confined(UID if ROOT else 0)
    tap.equal("what is outside is as it was", (sorted(n for n in os.listdir(work.name) if n.startswith("outside")),
                                               os.path.getsize(f"{work.name}/outside")), (["outside"], 1))
    tap.equal("it may do this and nothing else", {n for n, r in done.items() if r == "ok"}, MAY)
    tap.equal("no more gaps than those of who is not root", gaps, [] if ROOT else ["it sees all files, and runs as the runner's user: only root can change that"])
    for name, errors in (("own-beyond-bound", {"EFBIG"}), ("large-memory", {"ENOMEM"}), ("outside-read", {"ENOENT"} if ROOT else {"EACCES"}),
                         ("fork", {"EPERM"}), ("execute", {"EPERM"}), ("unix", {"EPERM"}), ("packets", {"EPERM"}), ("outside-truncate", {"EPERM"})):
        tap.ok(f"{name}: refused as it should be", done[name] in errors, done[name])
    done, gaps = confined(0, "unshare")
    tap.equal("as the runner's user, with all files in sight: the same", {n for n, r in done.items() if r == "ok"}, MAY)
    tap.equal("by landlock", {n: done[n] for n in LANDLOCK if done[n] not in ("EACCES", "EXDEV")}, {})
    tap.ok("which says so", any("runner's user" in gap for gap in gaps) and any("sees all files" in gap for gap in gaps), gaps)
    done, gaps = confined(0, "unshare", "landlock_create_ruleset")
    tap.ok("without landlock: it is told", any(gap.startswith("no landlock: ") for gap in gaps), gaps)
    tap.ok("and landlock it was that refused", done["outside-read"] == "ok", done)
    done, gaps = confined(0, "seccomp")
    tap.ok("without seccomp: it is told", any(gap.startswith("no filter of system calls: ") for gap in gaps), gaps)
    tap.ok("and the filter it was that refused", done["fork"] == "ok" and done["unix"] in ("ok", "ENOENT"), done)
    if ROOT:
        done, gaps = confined(UID, "landlock_create_ruleset")
        tap.equal("a user of its own without landlock: the same", {n for n, r in done.items() if r == "ok"}, MAY)
        done, gaps = confined(UID, "unshare")
        tap.ok("without namespaces: it is told", any(gap.startswith("it sees all files: ") for gap in gaps), gaps)
        tap.ok("and landlock refuses", done["outside-read"] == "EACCES" and done["outside-write"] == "EACCES", done)
    else:
        tap.skip("only root can give it a user of its own", 4)

# ---- told ----

wrapper = f"{work.name}/wrapper"
with open(wrapper, "w", encoding="ascii") as file:
    file.write(f'#!/bin/sh\nexec {os.path.abspath(TOP)}/t/storage/confined --without landlock_create_ruleset --exec '
               f'{os.path.abspath(TOP)}/plugins/storage/runner-oci "$@"\n')
os.chmod(wrapper, 0o755)
host = Host()
answer = host.do("inspect", f"{registry.server}/images/plain:1", None, f"program={wrapper}")
tap.ok("without landlock it works, and the log says what is missing", answer["status"] == 0 and
       "storage.unconfined" in answer["log"] and "no landlock" in answer["log"], json.dumps(answer))
host.close()
registry.close()
tap.done()
