"""What holds of every storage: a disk that was pushed is pulled again, copied, and removed by its name alone. Of a registry that
wants a password, with Debian's docker-registry, and of a directory (t/plugin/shelf.c)."""

import json
import os
import subprocess
import tempfile

import tap
from registries import TOP, Host, Registry, need

need("docker-registry")
if not os.path.exists(f"{TOP}/t/plugin/shelf.so"):
    tap.skip_all("t/plugin/shelf.so is not built")
work = tempfile.TemporaryDirectory(prefix="storage-")
tempfile.tempdir = work.name


def make_disk(name):
    path = f"{work.name}/{name}.raw"
    with open(path, "wb") as file:
        file.write(os.urandom(200000))
        file.truncate(1 << 20)
    return path


def is_same(a, b):
    return subprocess.run(["cmp", "-s", a, b]).returncode == 0


def check(name, place, params=(), **more):
    """place(TEXT): the object of that name."""
    host = Host(*params)

    def do(operation, source=None, to=None, **also):
        return host.do(operation, source, to, **also, **more)

    one, two = make_disk(f"{name}-one"), make_disk(f"{name}-two")
    tap.equal(f"{name}: nothing is there", do("inspect", place("kept/disk:1"))["code"], "notfound")
    pushed = do("push", None, place("kept/disk:1"), path=one, image='{"env": {"A": "b"}}')
    tap.ok(f"{name}: push", pushed["status"] == 0 and len(pushed["digest"]) == 64 and pushed["size"] > 0, json.dumps(pushed))
    found = do("inspect", place("kept/disk:1"))
    tap.equal(f"{name}: inspect: what push said", [found.get(k) for k in ("digest", "size")], [pushed.get(k) for k in ("digest", "size")])
    pulled = do("pull", place("kept/disk:1"))
    tap.ok(f"{name}: pull: the same disk", pulled["status"] == 0 and is_same(one, f"{host.dir}/{pulled['disk']}"), json.dumps(pulled))
    tap.equal(f"{name}: pull: how it is run", json.loads(pulled.get("image") or "{}").get("env"), {"A": "b"})
    tap.equal(f"{name}: pull: of that object", pulled.get("digest"), pushed.get("digest"))
    copied = do("copy", place("kept/disk:1"), place("again/disk:2"))
    tap.equal(f"{name}: copy: the same object", copied.get("digest"), pushed.get("digest"))
    pulled = do("pull", place("again/disk:2"))
    tap.ok(f"{name}: copy: the same disk", pulled["status"] == 0 and is_same(one, f"{host.dir}/{pulled['disk']}"), json.dumps(pulled))
    replaced = do("push", None, place("kept/disk:1"), path=two)
    tap.ok(f"{name}: push under a name that is taken: another object", replaced["status"] == 0 and
           replaced["digest"] != pushed["digest"] == do("inspect", place("again/disk:2")).get("digest"), json.dumps(replaced))
    again = do("push", None, place("kept/disk:1"), path=two)
    tap.equal(f"{name}: push of the same: the same object", again.get("digest"), replaced.get("digest"))
    removed = do("remove", place("kept/disk:1"))
    tap.ok(f"{name}: remove", removed["status"] == 0 and do("inspect", place("kept/disk:1"))["code"] == "notfound", json.dumps(removed))
    tap.equal(f"{name}: remove: no other name", do("inspect", place("again/disk:2")).get("digest"), pushed.get("digest"))
    tap.equal(f"{name}: remove of what is absent", [do("remove", place(n))["status"] for n in ("kept/disk:1", "no/such:1")], [0, 0])
    tap.equal(f"{name}: push of no disk", do("push", None, place("kept/disk:1"), path=f"{work.name}/none")["code"], "notfound")
    tap.equal(f"{name}: push of another format", do("push", None, place("kept/disk:1"), path=one, format="vdi")["code"], "notsup")
    tap.equal(f"{name}: after which nothing is there", do("inspect", place("kept/disk:1"))["code"], "notfound")
    tap.equal(f"{name}: nothing is left of the operations", host.left(), [])
    host.close()


registry = Registry(users={"ann": "pa55word"})
check("registry", lambda text: {"ref": f"{registry.server}/{text}", "username": "ann", "password": "pa55word"})
answer = Host().do("push", None, f"{registry.server}/kept/disk:1", path=make_disk("nobody"))
tap.ok("registry: push by nobody", answer["code"] == "denied" and registry.server in answer["text"], json.dumps(answer))
registry.close()
check("directory", lambda text: text, [f"dir={work.name}/shelf"], plugin="../t/plugin/shelf")
tap.done()
