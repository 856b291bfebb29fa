"""storage/oci: what a reference stands for, images made disks, kept elsewhere byte for byte, removed; who may."""

import hashlib
import http.client
import json
import os
import subprocess
import tempfile

import tap
from registries import Host, Layout, Proxy, Registry, TokenServer, inspect_raw, make_certificate, need, run

need("docker-registry", "skopeo", "debugfs", "openssl")
work = tempfile.TemporaryDirectory(prefix="storage-")
tempfile.tempdir = work.name
big = os.urandom(3 << 20)
layout = Layout(f"{work.name}/images")
about = {"Env": ["A=b"], "Cmd": ["/bin/run"], "WorkingDir": "/srv"}
plain = layout.image([{"etc/a": b"first\n"}, {"bin/big": big, "etc/b": b"second\n"}], config=about)
arm = layout.image([{"etc/a": b"arm\n"}], arch="arm64")
for name, descriptor in (("plain", plain), ("arm", arm), ("both", layout.index([arm, plain])),
                         ("others", layout.index([arm]))):
    layout.tag(descriptor, name)
plain_hex = plain["digest"].removeprefix("sha256:")
registry = Registry()
at = registry.server
for name in ("plain", "arm", "both", "others"):
    layout.push(name, f"{at}/images/{name}:1")
layout.push("plain", f"{at}/images/docker:1", "--format", "v2s2")
host = Host()


def says(name, answer, code, *words):
    tap.ok(name, answer["code"] == code and all(w in answer["text"] for w in words), json.dumps(answer))


# ---- what a reference stands for ----

total = sum(d["size"] for d in [json.loads(inspect_raw(f"{at}/images/plain:1"))["config"],
                                *json.loads(inspect_raw(f"{at}/images/plain:1"))["layers"]])
answer = host.do("inspect", f"{at}/images/plain:1")
tap.equal("gotcha 18: inspect: digest without its algorithm, and size of the blobs", (answer.get("digest"), answer.get("size")), (plain_hex, total))
for what, ref in (("a digest", f"images/plain@{plain['digest']}"), ("gotcha 20: a digest as the API writes it", f"images/plain:{plain['digest']}"),
                  ("a tag and a digest", f"images/plain:1@{plain['digest']}"), ("an index: the image for us", "images/both:1")):
    answer = host.do("inspect", f"{at}/{ref}")
    tap.equal(f"inspect: {what}", answer.get("digest"), plain_hex)
docker_raw = inspect_raw(f"{at}/images/docker:1")
answer = host.do("inspect", f"{at}/images/docker:1")
tap.equal("inspect: Docker's schema 2", answer.get("digest"), hashlib.sha256(docker_raw).hexdigest())
says("inspect: no such tag", host.do("inspect", f"{at}/images/plain:2"), "notfound", "images/plain:2")
says("inspect: no such image", host.do("inspect", f"{at}/images/none:1"), "notfound")
says("inspect: an index without us", host.do("inspect", f"{at}/images/others:1"), "notsup", "linux/arm64")
says("inspect: an image for others", host.do("inspect", f"{at}/images/arm:1"), "notsup", "linux/arm64")
for ref in ("UPPER/a:1", f"{at}/a/../b:1", f"{at}/a:ta/g", f"{at}/a@sha256:12", "", f"{at}/a:b c", f"{at}/{'a' * 300}:1"):
    says(f"inspect: '{ref[:40]}' is no reference", host.do("inspect", ref), "invalid")
says("inspect: nobody there", host.do("inspect", "127.0.0.1:1/a/b:1"), "unreachable", "ECONNREFUSED")
library = Registry()
layout.push("plain", f"{library.server}/library/tiny:12")
for ref in ("tiny:12", "docker.io/tiny:12", "docker.io/library/tiny:12", "index.docker.io/tiny:12"):
    answer = host.do("inspect", ref, None, f"mirror={library.server}")
    tap.equal(f"gotcha 20 gotcha 42: inspect: '{ref}' is Docker Hub's, here of its mirror", answer.get("digest"), plain_hex)
library.close()

# ---- a disk, and a copy ----

answer = host.do("pull", f"{at}/images/both:1", f"{at}/daytona/daytona-x:daytona")
tap.ok("pull of an index, kept elsewhere too", answer["status"] == 0, json.dumps(answer))
tap.equal("its digest is the image's", answer.get("digest"), plain_hex)
tap.equal("the disk has the files", (host.cat("/etc/a"), host.cat("/etc/b"), host.cat("/bin/big") == big),
          (b"first\n", b"second\n", True))
tap.equal("the disk can be read by all", os.stat(f"{host.dir}/disk.raw").st_mode & 0o777, 0o444)
image = json.loads(answer.get("image", "{}"))
tap.equal("how it wants to be run", (image.get("env"), image.get("workdir"), image.get("cmd")),
          ({"A": "b"}, "/srv", ["/bin/run"]))
tap.ok("sizes", answer.get("disk_bytes") == os.path.getsize(f"{host.dir}/disk.raw") and
       0 < answer["content_bytes"] < answer["disk_bytes"], json.dumps(answer))
tap.equal("the copy is the same, byte for byte", inspect_raw(f"{at}/daytona/daytona-x:daytona"),
          inspect_raw(f"{at}/images/plain:1"))
run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", f"docker://{at}/daytona/daytona-x:daytona",
    f"dir:{work.name}/copy")
tap.ok("and all blobs of it are there", True)
answer = host.do("pull", f"{at}/images/docker:1", f"{at}/daytona/docker:daytona")
tap.equal("Docker's schema 2 too", inspect_raw(f"{at}/daytona/docker:daytona"), docker_raw)
tap.equal("nothing is left but blobs", (host.left(), len(host.blobs()) >= 3), ([], True))

other = Registry()
proxy = Proxy(registry)
fresh = Host()
answer = fresh.do("inspect", f"{proxy.server}/images/plain:1")
tap.equal("an inspection leaves nothing", (answer.get("digest"), fresh.blobs()), (plain_hex, []))
proxy.requests.clear()
answer = fresh.do("pull", f"{proxy.server}/images/plain:1", f"{other.server}/kept/plain:1")
tap.equal("a copy in another registry", inspect_raw(f"{other.server}/kept/plain:1"), inspect_raw(f"{at}/images/plain:1"))
tap.equal("each blob comes once", len(proxy.seen("GET", "/blobs/")), 3)
for what in "inspect", "pull":
    proxy.requests.clear()
    answer = fresh.do(what, f"{proxy.server}/images/plain:1")
    tap.equal(f"the next {what} asks for the manifest alone", (answer["status"], [r[:2] for r in proxy.requests]),
              (0, [("GET", "/v2/"), ("GET", "/v2/images/plain/manifests/1")]))
answer = fresh.do("pull", f"{proxy.server}/images/both:1")
proxy.requests.clear()
answer = fresh.do("inspect", f"{proxy.server}/images/both:1")
tap.equal("of an index the index alone", (answer.get("digest"), [r[1] for r in proxy.requests]),
          (plain_hex, ["/v2/", "/v2/images/both/manifests/1"]))
with open(f"{fresh.root}/storage/oci/blobs/sha256-{plain_hex}", "r+b") as file:
    file.write(b"X")
proxy.requests.clear()
answer = fresh.do("inspect", f"{proxy.server}/images/both:1")
tap.equal("what is kept of it and is damaged is asked for", (answer.get("digest"), len(proxy.requests)), (plain_hex, 3))
answer = fresh.do("pull", f"{proxy.server}/images/both:1")
proxy.requests.clear()
answer = fresh.do("inspect", f"{proxy.server}/images/both:1")
tap.equal("and mended by the next pull", (answer.get("digest"), len(proxy.requests)), (plain_hex, 2))
proxy.requests.clear()
answer = fresh.do("copy", f"{proxy.server}/images/plain:1", f"{proxy.server}/again/plain:2")
tap.ok("copy on one server moves nothing", answer["status"] == 0 and not proxy.seen("GET", "/blobs/") and
       not proxy.seen("PUT", "/blobs/") and len(proxy.seen("POST", "mount=")) == 3, json.dumps(answer), proxy.requests)
tap.equal("and it is there", inspect_raw(f"{at}/again/plain:2"), inspect_raw(f"{at}/images/plain:1"))
proxy.requests.clear()
answer = fresh.do("copy", f"{proxy.server}/images/plain:1", f"{proxy.server}/again/plain:2")
tap.ok("what is there is not written again", answer["status"] == 0 and not proxy.seen("PUT", "") and
       not proxy.seen("POST", ""), proxy.requests)
answer = fresh.do("copy", f"{at}/images/plain:1", f"{other.server}/copied/plain:1")
tap.equal("copy to another server", inspect_raw(f"{other.server}/copied/plain:1"), inspect_raw(f"{at}/images/plain:1"))
fresh.close()

# ---- a disk as an image ----

disk = f"{work.name}/disk.raw"
with open(disk, "wb") as file:
    file.write(os.urandom(300000))
    file.seek(64 << 20)
    file.write(b"the end of it" * 1000)
    file.truncate((200 << 20) + 512)
ref = f"{at}/kept/disk:1"
answer = host.do("push", None, ref, path=disk, image='{"env": {"A": "b"}, "entrypoint": ["/bin/run"]}')
tap.ok("push of a disk", answer["status"] == 0 and 300000 < answer["size"] < 400000, json.dumps(answer))
tap.equal("its digest is the manifest's", hashlib.sha256(registry.raw("kept/disk", "1")).hexdigest(), answer.get("digest"))
head = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}  # as the API asks before it deletes one
connection = http.client.HTTPConnection("127.0.0.1", registry.port)
connection.request("HEAD", "/v2/kept/disk/manifests/1", headers=head)
tap.equal("the API finds it", connection.getresponse().status, 200)
connection.close()
fresh = Host()
pulled = fresh.do("pull", ref, f"{at}/kept/again:1")
tap.ok("it is pulled again", pulled["status"] == 0 and pulled["disk_bytes"] == (200 << 20) + 512, json.dumps(pulled))
tap.equal("and is the same", subprocess.run(["cmp", disk, f"{fresh.dir}/disk.raw"]).returncode, 0)
tap.ok("with its holes", os.stat(f"{fresh.dir}/disk.raw").st_blocks * 512 < 2 << 20, os.stat(f"{fresh.dir}/disk.raw"))
image = json.loads(pulled.get("image", "{}"))
tap.equal("and how it wants to be run", (image.get("env"), image.get("entrypoint")), ({"A": "b"}, ["/bin/run"]))
again = host.do("push", None, ref, path=disk, image='{"env": {"A": "b"}, "entrypoint": ["/bin/run"]}')
tap.equal("the same disk is the same image", again.get("digest"), answer.get("digest"))
says("no such disk", host.do("push", None, ref, path=f"{work.name}/none"), "notfound", "none")
says("a disk of another format", host.do("push", None, ref, path=disk, format="qcow2"), "notsup", "qcow2")
tap.equal("nothing is left of what was packed", [b for b in host.blobs() if "new" in b], [])
fresh.close()

# ---- removal ----

answer = host.do("remove", f"{at}/daytona/docker:daytona")
tap.ok("remove", answer["status"] == 0 and registry.raw("daytona/docker", "daytona") is None, json.dumps(answer))
answer = host.do("remove", f"{at}/daytona/docker:daytona")
tap.ok("remove again", answer["status"] == 0, json.dumps(answer))
layout.push("plain", f"{at}/two/names:1")
layout.push("plain", f"{at}/two/names:2")
answer = host.do("remove", f"{at}/two/names:1")
tap.ok("a name does not take another with it", answer["code"] in ("ok", "notsup") and
       registry.raw("two/names", "2") is not None, json.dumps(answer))
kept = Registry(deletes=False)
layout.push("plain", f"{kept.server}/a/b:1")
says("a registry that removes nothing", host.do("remove", f"{kept.server}/a/b:1"), "notsup", "deletion")
kept.close()

# ---- who may ----

WHO = {"ann": "ann's pa55word: \"x\""}


def who(ref, name="ann", password=WHO["ann"], **more):
    return {"ref": ref, "username": name, "password": password, **more}


def check_who(what, server, path="priv/plain"):
    ref = f"{server}/{path}:1"
    run("skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", f"ann:{WHO['ann']}",
        f"oci:{layout.dir}:plain", f"docker://{ref}")
    answer = host.do("inspect", who(ref))
    tap.equal(f"{what}: with the password", answer.get("digest"), plain_hex)
    says(f"{what}: a wrong password", host.do("inspect", who(ref, password="guessed")), "denied", "unauthorized")
    says(f"{what}: nobody", host.do("inspect", ref), "denied", "unauthorized")
    says(f"{what}: gotcha 19: an empty name is nobody", host.do("inspect", who(ref, name="", password="")), "denied", "unauthorized")
    says(f"{what}: it is for another server", host.do("inspect", who(ref, server="registry.example.org")), "denied")
    answer = host.do("inspect", who(ref, server=f"https://{server}/some/where"))
    tap.equal(f"{what}: it is for this server", answer.get("digest"), plain_hex)
    answer = host.do("pull", who(ref), who(f"{server}/{path}-copy:1"))
    tap.ok(f"{what}: pull and keep", answer["status"] == 0, json.dumps(answer))
    answer = host.do("copy", who(ref), who(f"{server}/{path}-mounted:1"))
    tap.ok(f"{what}: copy", answer["status"] == 0, json.dumps(answer))
    answer = host.do("remove", who(f"{server}/{path}-copy:1"))
    tap.ok(f"{what}: remove", answer["status"] == 0, json.dumps(answer))


basic = Registry(users=WHO)
check_who("basic", basic.server)
basic.close()
tokens = TokenServer(WHO)
bearer = Registry(tokens=tokens)
check_who("token", bearer.server)
tap.ok("a token is asked for what is done", any("repository:priv/plain:pull" in q.get("scope", []) and
                                                q.get("service") == ["tests"] for _, q, _ in tokens.requests))
bearer.close()
tokens.close()
found = subprocess.run(["grep", "-rlF", "pa55word", host.root], stdout=subprocess.PIPE, text=True)
tap.equal("s08: no file of the host has the password", found.stdout, "")

# ---- TLS ----

cert, key = make_certificate(work.name)
secure = Registry(tls=(cert, key))
layout.push("plain", f"{secure.server}/a/b:1")
says("a certificate of nobody known", host.do("inspect", f"{secure.server}/a/b:1"), "unreachable", "certificate")
answer = host.do("inspect", f"{secure.server}/a/b:1", None, f"ca_file={cert}")
tap.equal("TLS with ca_file", answer.get("digest"), plain_hex)
secure.close()

for thing in (proxy, other, registry, host):
    thing.close()
tap.done()
