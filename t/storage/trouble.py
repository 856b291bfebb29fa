"""storage/oci: registries and networks that go wrong. The answer says what, nothing half-made is left, and the next try
works; what came is not fetched again."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import tempfile
import time

import tap
from registries import OCI, Host, Layout, Proxy, Registry, inspect_raw, need

need("docker-registry", "skopeo", "debugfs")
work = tempfile.TemporaryDirectory(prefix="storage-")
tempfile.tempdir = work.name
SIZE = 6 << 20
big = os.urandom(SIZE)
layout = Layout(f"{work.name}/images")
layout.tag(layout.image([{"etc/a": b"first\n"}, {"bin/big": big}], config={"Env": ["A=b"]}), "plain")
registry = Registry()
layout.push("plain", f"{registry.server}/images/plain:1")
manifest = json.loads(inspect_raw(f"{registry.server}/images/plain:1"))
layer = max(manifest["layers"], key=lambda d: d["size"])
IMAGE = "images/plain:1"


def is_layer(request):
    return request.command == "GET" and layer["digest"] in request.path


class Once:
    """A rule for the first n requests for the large layer."""

    def __init__(self, n=1, **change):
        self.left, self.change = n, change

    def __call__(self, request):
        if not is_layer(request) or self.left == 0:
            return None
        self.left -= 1
        return self.change


def says(name, answer, code, *words, retry=None):
    tap.ok(name, answer["code"] == code and all(w in answer["text"] for w in words) and
           retry in (None, answer["retry"]), json.dumps(answer))


def pull(rule, *params, host=None):
    """A pull by way of a proxy that goes wrong; the answer, proxy, host."""
    proxy, host = Proxy(registry, rule), host or Host()
    answer = host.do("pull", f"{proxy.server}/{IMAGE}", None, *params)
    proxy.close()
    return answer, proxy, host


def programs(root):
    return subprocess.run(["pgrep", "-f", f"runner-oci {root}/"], stdout=subprocess.PIPE, text=True).stdout.split()


def await_end(host):
    """Of the processes of an operation that nobody waits for: they end by themselves, soon, and are nobody's children."""
    end = time.monotonic() + 60
    while programs(host.root) and time.monotonic() < end:
        time.sleep(0.02)


def kill(pids):
    """Of which some end when others do."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def part_bytes(host):
    """Of the blob that most has come of; what is whole has another name."""
    sizes = [0]
    for blob in host.blobs():
        with contextlib.suppress(FileNotFoundError):
            sizes.append(os.path.getsize(f"{host.root}/storage/oci/blobs/{blob}") if blob.endswith(".part") else 0)
    return max(sizes)


def check_next(name, host):
    """Nothing half-made, and the next try works."""
    await_end(host)
    tap.equal(f"{name}: no process's files", host.left(), [])
    tap.equal(f"{name}: no disk", os.listdir(host.dir), [])
    answer = host.do("pull", f"{registry.server}/{IMAGE}")
    tap.ok(f"{name}: the next try works", answer["status"] == 0 and host.cat("/bin/big") == big, json.dumps(answer))
    tap.equal(f"{name}: d07: and only whole blobs are there", [b for b in host.blobs() if not is_whole(host, b)], [])
    host.close()


def is_whole(host, name):
    with open(f"{host.root}/storage/oci/blobs/{name}", "rb") as file:
        return name == "sha256-" + hashlib.sha256(file.read()).hexdigest()


def ranges(proxy):
    return [r[2].get("Range") for r in proxy.seen("GET", layer["digest"])]


# ---- what passes ----

answer, proxy, host = pull(Once(3, cut=1 << 20))
tap.ok("cut three times, it goes on from where it was", answer["status"] == 0 and host.cat("/bin/big") == big, json.dumps(answer))
tap.ok("by ranges", ranges(proxy)[0] is None and all(r for r in ranges(proxy)[1:]) and len(ranges(proxy)) == 4, ranges(proxy))
host.close()

answer, proxy, host = pull(Once(1, after=100000, pause=20), "stall=5s")  # the registry itself may take a second
tap.ok("stalled: broken off, and it goes on", answer["status"] == 0 and len(ranges(proxy)) >= 2, json.dumps(answer), ranges(proxy))
host.close()

before = time.monotonic()
answer, proxy, host = pull(Once(2, status=429, headers={"Retry-After": "1"}))
took = time.monotonic() - before
tap.ok("429 with Retry-After is heeded", answer["status"] == 0 and took > 2, json.dumps(answer), took)
host.close()
answer, proxy, host = pull(Once(2, status=503))
tap.ok("503 is tried again", answer["status"] == 0 and len(ranges(proxy)) == 3, json.dumps(answer))
host.close()
refusals = []
answer, proxy, host = pull(lambda r: {"status": 429} if "/manifests/" in r.path and not refusals and not refusals.append(r.path)
                           else None)
tap.ok("429 for the manifest is tried again", answer["status"] == 0, json.dumps(answer))
host.close()

# No ranges: it begins again. Then one that lies about what it gives.
ignoring = Proxy(registry)
ignoring.rule = lambda r: {"cut": 1 << 20} if is_layer(r) and len(ignoring.seen("GET", layer["digest"])) == 1 else \
    (r.headers.__delitem__("Range") if is_layer(r) and r.headers.get("Range") else None)
host = Host()
answer = host.do("pull", f"{ignoring.server}/{IMAGE}")
tap.ok("a server without ranges: from the beginning", answer["status"] == 0 and host.cat("/bin/big") == big, json.dumps(answer))
ignoring.close()
host.close()

# ---- what does not ----

answer, proxy, host = pull(Once(100, status=503, headers={"Retry-After": "0"}))
says("503 for ever", answer, "unreachable", "received unexpected HTTP status: 503", retry=True)
check_next("503 for ever", host)
answer, proxy, host = pull(Once(100, corrupt=12345))
says("another content", answer, "invalid", layer["digest"], "digest")
tap.equal("d07: another content: nothing of it stays", [b for b in host.blobs() if layer["digest"][7:] in b], [])
check_next("another content", host)
answer, proxy, host = pull(Once(100, status=200, body=big[:1000]))
says("less than the manifest says", answer, "invalid", layer["digest"], "1000 bytes")
check_next("less than the manifest says", host)
answer, proxy, host = pull(Once(100, status=200, body=os.urandom(layer["size"] + 1)))
says("more than the manifest says", answer, "invalid", layer["digest"], "more than")
check_next("more than the manifest says", host)
answer, proxy, host = pull(Once(100, status=404, body=b'{"errors":[{"code":"BLOB_UNKNOWN","message":"gone"}]}'))
says("a blob that is not there", answer, "notfound", "BLOB_UNKNOWN")
check_next("a blob that is not there", host)
answer, proxy, host = pull(Once(100, cut=0))
says("cut before the first byte, for ever", answer, "unreachable", layer["digest"], "connection reset by peer", retry=True)
check_next("cut before the first byte, for ever", host)

# What an earlier process left may be wrong: it is fetched once more.
answer, proxy, host = pull(None)
part = f"{host.root}/storage/oci/blobs/sha256-{layer['digest'][7:]}"
os.unlink(part)
with open(part + ".part", "wb") as file:
    file.write(b"x" * 70000)
answer = host.do("pull", f"{registry.server}/{IMAGE}")
tap.ok("a part that is wrong: from the beginning", answer["status"] == 0, json.dumps(answer))
os.truncate(part, 5)
answer = host.do("pull", f"{registry.server}/{IMAGE}")
tap.ok("a blob that was cut on the disk: again", answer["status"] == 0 and host.cat("/bin/big") == big, json.dumps(answer))
with open(part, "r+b") as file:
    file.seek(SIZE // 2)
    was = file.read(1)
    file.seek(SIZE // 2)
    file.write(bytes([was[0] ^ 1]))
answer = host.do("pull", f"{registry.server}/{IMAGE}")
says("a blob that was changed on the disk", answer, "invalid", layer["digest"], retry=True)
check_next("a blob that was changed on the disk", host)
host = Host()
with open(f"{work.name}/disk.raw", "wb") as file:
    file.write(os.urandom(1 << 20))
answer = host.do("push", None, f"{registry.server}/images/disk:1", path=f"{work.name}/disk.raw")
name = max(host.blobs(), key=lambda b: os.path.getsize(f"{host.root}/storage/oci/blobs/{b}"))
with open(f"{host.root}/storage/oci/blobs/{name}", "r+b") as file:
    file.seek(5000)
    file.write(os.urandom(100))
answer = host.do("pull", f"{registry.server}/images/disk:1")
says("a packed disk that was changed on the disk", answer, "invalid", "disk", retry=True)
answer = host.do("pull", f"{registry.server}/images/disk:1")
tap.equal("a packed disk that was changed on the disk: the next try works",
          (answer["status"], subprocess.run(["cmp", f"{work.name}/disk.raw", f"{host.dir}/disk.raw"]).returncode), (0, 0))
host.close()


def manifest_rule(body, media_type=OCI + "manifest.v1+json", **headers):
    return lambda r: {"status": 200, "body": body, "headers": {"Content-Type": media_type, **headers}} \
        if "/manifests/" in r.path else None


def changed(**members):
    return json.dumps({**manifest, **members}).encode()


inner = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
outer = json.dumps({"schemaVersion": 2, "manifests": [{
    "mediaType": OCI + "index.v1+json", "digest": f"sha256:{hashlib.sha256(inner).hexdigest()}", "size": len(inner),
    "platform": {"os": "linux", "architecture": "amd64"}}]}).encode()


def nested(request):
    body = inner if hashlib.sha256(inner).hexdigest() in request.path else outer
    return manifest_rule(body, OCI + "index.v1+json")(request)


HELM = "application/vnd.cncf.helm."
huge = b'{"schemaVersion": 2, "x": "' + b"x" * (100 << 20) + b'"}'
for name, rule, code, words in (
        ("a manifest of 100 MB", manifest_rule(huge), "invalid", ["more than 4194304 bytes"]),
        ("a manifest that is no JSON", manifest_rule(b"<html>"), "invalid", ["manifest"]),
        ("a manifest that is a list", manifest_rule(b"[]"), "invalid", ["manifest"]),
        ("an unknown media type", manifest_rule(b'{"schemaVersion": 2, "mediaType": "application/vnd.x"}', "application/vnd.x"),
         "notsup", ["application/vnd.x"]),
        ("a manifest nested 100 000 deep", manifest_rule(b'{"schemaVersion": 2, "x": ' + b"[" * 100000), "invalid", ["manifest"]),
        ("an index within an index", nested, "notsup", ["linux/amd64"]),
        ("a Helm chart", manifest_rule(changed(config={**manifest["config"], "mediaType": HELM + "config.v1+json"},
                                               layers=[{**layer, "mediaType": HELM + "chart.content.v1.tar+gzip"}])),
         "notsup", ["helm.chart"]),
        ("Docker's schema 1", manifest_rule(b'{"schemaVersion": 1}', "application/vnd.docker.distribution.manifest.v1+json"),
         "notsup", ["schema 1"]),
        ("a layer of an unknown kind", manifest_rule(changed(layers=[{**layer, "mediaType": "text/x"}])), "notsup", ["text/x"]),
        ("a layer that lies elsewhere", manifest_rule(changed(layers=[{**layer, "urls": ["http://127.0.0.1:1/"]}])), "notsup", ["urls"]),
        ("a digest that is a path", manifest_rule(changed(layers=[{**layer, "digest": "sha256:../../../../etc/passwd"}])), "invalid",
         ["digest"]),
        ("a negative size", manifest_rule(changed(layers=[{**layer, "size": -1}])), "invalid", ["size"]),
        ("a size of 2^63", manifest_rule(changed(layers=[{**layer, "size": 2**63}])), "invalid", ["integer"]),
        ("sizes beyond all bounds", manifest_rule(changed(layers=[{**layer, "size": 2**62}, {**layer, "size": 2**62}])), "invalid",
         ["max_image"]),
        ("10 000 layers", manifest_rule(changed(layers=[layer] * 10000)), "invalid", ["10000 layers"]),
        ("no layers", manifest_rule(changed(layers=[])), "notsup", ["no layers"]),
        ("no configuration", manifest_rule(json.dumps({"schemaVersion": 2, "layers": [layer]}).encode()), "invalid", ["configuration"]),
        ("an index of nothing", manifest_rule(b'{"schemaVersion": 2, "manifests": []}', OCI + "index.v1+json"), "notsup", ["linux/amd64"]),
):
    answer, proxy, host = pull(rule)
    says(name, answer, code, *words)
    tap.equal(f"{name}: no blob was asked for", len([r for r in proxy.seen("GET", "/blobs/") if layer["digest"] in r[1]]), 0)
    host.close()
host = Host()
host.do("pull", f"{registry.server}/{IMAGE}")
proxy = Proxy(registry, manifest_rule(changed(layers=[{**layer, "size": layer["size"] - 1}])))
says("a size that is not the blob's", host.do("pull", f"{proxy.server}/{IMAGE}"), "invalid", layer["digest"])
proxy.close()
tap.ok("whose blob stays for those who know it", "sha256-" + layer["digest"][7:] in host.blobs(), host.blobs())
host.close()
proxy = Proxy(registry, manifest_rule(changed(annotations={"a": "b"})))
host = Host()
digest = hashlib.sha256(inspect_raw(f"{registry.server}/{IMAGE}")).hexdigest()
says("another manifest than the digest's", host.do("inspect", f"{proxy.server}/images/plain@sha256:{digest}"), "invalid", digest)
proxy.close()
says("an image larger than max_image", host.do("pull", f"{registry.server}/{IMAGE}", None, "max_image=1M"), "invalid", "max_image")

# ---- sent on ----

WHO = {"ann": "ann's pa55word"}
private = Registry(users=WHO)
subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", f"ann:{WHO['ann']}",
                f"oci:{layout.dir}:plain", f"docker://{private.server}/{IMAGE}"], check=True)
elsewhere = Proxy(registry)  # the same image, and no password asked
proxy = Proxy(private, lambda r: {"status": 307, "headers": {"Location": f"http://{elsewhere.server}{r.path}"}} if "/blobs/" in r.path else None)
answer = host.do("pull", {"ref": f"{proxy.server}/{IMAGE}", "username": "ann", "password": WHO["ann"]})
tap.ok("sent on to another server", answer["status"] == 0, json.dumps(answer))
tap.ok("there nobody's password is told", len(elsewhere.requests) > 0 and
       not any("Authorization" in r[2] for r in elsewhere.requests), elsewhere.requests)
tap.ok("here it is", any("Authorization" in r[2] for r in proxy.seen("GET", "/blobs/")))
for what, to in (("for ever", None), ("to a file", "file:///etc/passwd"), ("to nowhere", "http://")):
    proxy.rule = lambda r, to=to: {"status": 307, "headers": {"Location": to or r.path}} if "/manifests/" in r.path else None
    says(f"sent on {what}", host.do("inspect", {"ref": f"{proxy.server}/{IMAGE}", "username": "ann", "password": WHO["ann"]}),
         "invalid", "redirects", proxy.server)
proxy.rule = lambda r: {"status": 401, "headers": {"Www-Authenticate": 'Bearer realm="http://registry.example.org/t",service="x"'}}
says("a token of another server without TLS", host.do("inspect", {"ref": f"{proxy.server}/{IMAGE}", "username": "ann", "password": WHO["ann"]}),
     "invalid", "registry.example.org")
proxy.rule = lambda r: {"status": 307, "headers": {"Location": "http://registry.example.org/b?signature=s3cret"}} if "/manifests/" in r.path else None
answer = host.do("inspect", {"ref": f"{proxy.server}/{IMAGE}", "username": "ann", "password": WHO["ann"]})
says("sent on to where nobody is asked", answer, "invalid", "registry.example.org/b")
tap.ok("of which the query is not shown", "s3cret" not in answer["text"], answer)
proxy.close()
proxy = Proxy(registry, lambda r: {"status": 202, "headers": {"Location": "http://registry.example.org/u"}} if r.command == "POST" else None)
says("blobs are to be sent where nobody is asked", host.do("copy", f"{registry.server}/{IMAGE}", f"{proxy.server}/images/copy:1"),
     "invalid", "registry.example.org/u")
proxy.close()

# ---- what the registry says ----

def says_this(body, status=403):
    return lambda r: {"status": status, "body": body} if "/manifests/" in r.path else None


ann = {"ref": f"{private.server}/{IMAGE}", "username": "ann", "password": WHO["ann"]}
for name, body, shown in (
        ("its message", b'{"errors":[{"code":"DENIED","message":"not on Sundays"}]}', "403 DENIED: not on Sundays"),
        ("another form of it", b'{"message":"quota exceeded"}', "403 quota exceeded"),
        ("plain text, its first line", b"  upstream is asleep\r\nX-Secret: 1", "403 upstream is asleep)"),
        ("without what steers a terminal", b'{"errors":[{"code":"A","message":"a\\u001b[2Jb\\u009bc\\n\\u202ed"}]}', "A: a\\x1b[2Jb\\xc2\\x9bc\\x0a"),
        ("a page: nothing of it", b"<html><title>Login</title>", "(403)"),
        ("what repeats the password: nothing", json.dumps({"errors": [{"code": "X", "message": f"ann:{WHO['ann']} may not"}]}).encode(), "(403)")):
    proxy = Proxy(private, says_this(body))
    answer = host.do("inspect", {**ann, "ref": f"{proxy.server}/{IMAGE}"})
    says(f"a refusal shows {name}", answer, "denied", shown, f"'{proxy.server}'", f"{proxy.server}/{IMAGE}", "may not do that")
    tap.ok(f"a refusal shows {name}: printable, and no password", answer["text"].isascii() and answer["text"].isprintable() and
           WHO["ann"] not in answer["text"], answer)
    proxy.close()
proxy = Proxy(private, says_this(b'{"errors":[{"code":"' + b"C" * 9000 + b'","message":"' + b"m" * 9000 + b'"}]}', 400))
answer = host.do("inspect", {**ann, "ref": f"{proxy.server}/{IMAGE}"})
says("a message of 9000 bytes is cut", answer, "io", "400", "C" * 200)
tap.ok("to a few", answer["text"].count("C") + answer["text"].count("m") < 230, answer)
proxy.close()
elsewhere.close()
private.close()

# ---- at once, cancelled, killed ----

host.close()
host = Host()
slow = Proxy(registry, lambda r: {"rate": 2 << 20} if is_layer(r) else None)
many = [host.begin("pull", f"{slow.server}/{IMAGE}") for _ in range(5)]
inspected = time.monotonic()
answer = host.do("inspect", f"{registry.server}/{IMAGE}")
inspected = time.monotonic() - inspected
tap.ok("inspect answers in seconds, or at least while pulls run", answer["status"] == 0 and
       (inspected < 5 or any(one.process.poll() is None for one in many)), answer, inspected)
answers = [operation.wait() for operation in many]
tap.ok("five pulls of one image at once", all(a["status"] == 0 for a in answers), answers)
tap.equal("fetch its layer once", len(slow.seen("GET", layer["digest"])), 1)
host.close()

host = Host()
rule, slow.rule = slow.rule, lambda r: {"rate": 128 << 10} if is_layer(r) else None
operation = host.begin("pull", f"{slow.server}/{IMAGE}")
operation.until("fetch")
end = time.monotonic() + 60
while part_bytes(host) <= 100000:
    assert time.monotonic() < end
    time.sleep(0.05)
before = time.monotonic()
operation.cancel()
answer = operation.wait()
says("cancelled in the middle", answer, "cancelled")
tap.ok("at once, not when it has come", time.monotonic() - before < 20, time.monotonic() - before)
slow.rule = rule

await_end(host)
tap.equal("its process has ended", programs(host.root), [])
slow.requests.clear()
tap.equal("and left no files", host.left(), [])
tap.equal("nor a disk", os.listdir(host.dir), [])
answer = host.do("pull", f"{slow.server}/{IMAGE}")
tap.ok("the next goes on from there", answer["status"] == 0 and (ranges(slow)[0] or "").startswith("bytes="), answer, ranges(slow))
host.close()

slow.rule = lambda r: {"rate": 128 << 10} if is_layer(r) else None  # it will not be over before what is done to it
host = Host()
operation = host.begin("pull", f"{slow.server}/{IMAGE}", deadline_ms=1500)
answer = operation.wait()
says("too late", answer, "timeout")
check_next("too late", host)

host = Host()
operation = host.begin("pull", f"{slow.server}/{IMAGE}")
operation.until("fetch")
kill(programs(host.root))
says("the program is killed", operation.wait(), "io", "killed by signal 9")
check_next("the program is killed", host)

host = Host()
operation = host.begin("pull", f"{slow.server}/{IMAGE}")
operation.until("fetch")
operation.process.kill()  # the runner
operation.process.wait()
await_end(host)
tap.equal("the runner is killed: the program ends", programs(host.root), [])
tap.equal("the runner is killed: and takes its files away", host.left(), [])
host.close()
slow.close()

# ---- a registry that goes away; a disk that is full; a cache that is bounded ----

doomed = Registry()
layout.push("plain", f"{doomed.server}/{IMAGE}")
slow = Proxy(doomed, lambda r: doomed.stop() or {"status": 502} if is_layer(r) else None)
host = Host()
says("the registry goes away in the middle", host.do("pull", f"{slow.server}/{IMAGE}"), "unreachable", retry=True)
slow.close()
doomed.close()
check_next("the registry goes away in the middle", host)

host = Host()
if os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", host.root], stderr=subprocess.DEVNULL).returncode == 0:
    answer = host.do("pull", f"{registry.server}/{IMAGE}")
    says("no space for the blobs", answer, "nospace", "No space left on device")
    subprocess.run(["mount", "-o", "remount,size=100m", host.root], check=True)
    answer = host.do("pull", f"{registry.server}/{IMAGE}")
    tap.ok("with space it works", answer["status"] == 0, json.dumps(answer))
    for name in ("kept", "wanted"):  # two of a size
        layout.tag(layout.image([{f"bin/{name}": os.urandom(20 << 20)}]), name)
        layout.push(name, f"{registry.server}/images/{name}:1")

    def used():
        disk = os.statvfs(host.root)
        return (disk.f_blocks - disk.f_bfree) * disk.f_frsize

    before = used()
    host.do("pull", f"{registry.server}/images/kept:1")
    need = used() - before
    os.unlink(f"{host.dir}/disk.raw")
    subprocess.run(["mount", "-o", f"remount,size={used() + need - (10 << 20)}", host.root], check=True)
    answer = host.do("pull", f"{registry.server}/images/wanted:1")
    tap.ok("blobs that are only kept for later make room", answer["status"] == 0, json.dumps(answer))
    layer = json.loads(inspect_raw(f"{registry.server}/images/kept:1"))["layers"][0]["digest"]
    tap.ok("and have gone", layer.replace(":", "-") not in host.blobs(), host.blobs())
    subprocess.run(["umount", "-l", host.root], check=True)  # the kernel forgets the program's view of it a moment later
else:
    tap.skip("a file system of its own needs root", 4)
host.close()

host = Host()
answer = host.do("pull", f"{registry.server}/{IMAGE}", None, "cache=1M")
tap.ok("blobs beyond the cache go", answer["status"] == 0 and
       sum(os.path.getsize(f"{host.root}/storage/oci/blobs/{b}") for b in host.blobs()) <= 1 << 20, host.blobs())
host.close()

# ---- pushing into trouble ----

host = Host()
target = Registry()
for what, rule in (("an upload is cut", lambda r: {"status": 500} if r.command == "PUT" and "/uploads/" in r.path and
                    len(proxy.seen("PUT", "/uploads/")) == 1 else None),
                   ("an upload is refused for a time", lambda r: {"status": 429, "headers": {"Retry-After": "0"}}
                    if r.command == "POST" and len(proxy.seen("POST", "/uploads/")) == 1 else None)):
    proxy = Proxy(target, rule)
    path = what.replace(" ", "-")
    answer = host.do("pull", f"{registry.server}/{IMAGE}", f"{proxy.server}/kept/{path}:1")
    tap.ok(f"{what}: again", answer["status"] == 0, json.dumps(answer))
    tap.equal(f"{what}: the copy", inspect_raw(f"{target.server}/kept/{path}:1"), inspect_raw(f"{registry.server}/{IMAGE}"))
    proxy.close()

# A large blob goes in pieces, of which one that breaks off is sent again, and no other.
PIECE = 32 << 20
large = layout.image([{"bin/large": os.urandom(PIECE + (5 << 20))}])
layout.tag(large, "large")
layout.push("large", f"{registry.server}/images/large:1")
LARGE = f"{registry.server}/images/large:1"
blob = json.loads(inspect_raw(LARGE))["layers"][0]
LAST = f"{PIECE}-{blob['size'] - 1}"


def push_large(name, rule):
    """Answer, and what was sent: ranges of pieces, how often it was begun, asked how far it is, and sent whole."""
    once = []
    proxy = Proxy(target, lambda r: rule(r, once))
    ref = f"{proxy.server}/large/{name}:1"
    answer = host.do("copy", LARGE, ref)
    pieces = [r[2].get("Content-Range") for r in proxy.seen("PATCH", "/uploads/")]
    whole = [r for r in proxy.seen("PUT", "/uploads/") if r[2].get("Content-Length") == str(blob["size"])]
    counts = len(proxy.seen("POST", "/uploads/")), len(proxy.seen("GET", "/uploads/")), len(whole)
    proxy.close()
    raw = target.raw(f"large/{name}", "1")
    return answer, pieces, counts, raw == inspect_raw(LARGE), ref


def at(once, is_it, change):
    """The change, the first time."""
    if not is_it or once:
        return None
    once.append(1)
    return change


def is_piece(request, range_):
    return request.command == "PATCH" and request.headers.get("Content-Range") == range_


def is_end(request):
    return request.command == "PUT" and f"digest=sha256%3A{blob['digest'][7:]}" in request.path


FIRST = f"0-{PIECE - 1}"
answer, pieces, counts, is_same, ref = push_large("plain", lambda r, once: None)
tap.ok("a large blob goes in pieces", answer["status"] == 0 and is_same and pieces == [FIRST, LAST], json.dumps(answer), pieces)
for what, change, asked in (("cut in its body", {"drop": 1 << 20}, (0, 1)),  # libcurl sends it again by itself, or does not
                            ("refused for a time", {"status": 503}, (1,))):
    target.empty()
    answer, pieces, counts, is_same, ref = push_large(what.replace(" ", "-"), lambda r, once: at(once, is_piece(r, LAST), change))
    tap.ok(f"a piece is {what}: it goes on from there", answer["status"] == 0 and is_same and
           pieces == [FIRST, LAST, LAST] and counts in [(2, n, 0) for n in asked], json.dumps(answer), pieces, counts)
for what, is_it, change, expected in (
        ("the answer to a piece is lost: from the beginning, as this registry wants it", lambda r: is_piece(r, LAST), {"lose": True},
         lambda: pieces[:2] == pieces[-2:] == [FIRST, LAST] and counts[0] == 3 and counts[2] == 0),
        ("the answer to the end is lost: it is there", is_end, {"lose": True}, lambda: (pieces, counts[0]) == ([FIRST, LAST], 2)),
        ("a registry that takes no pieces: whole", lambda r: is_piece(r, FIRST), {"status": 405},
         lambda: pieces == [FIRST] and counts[0] == 3 and counts[2] == 1)):
    target.empty()
    answer, pieces, counts, is_same, ref = push_large("once", lambda r, once: at(once, is_it(r), change))
    tap.ok(what, answer["status"] == 0 and is_same and expected(), json.dumps(answer), pieces, counts)
target.empty()
answer, pieces, counts, is_same, ref = push_large("odd", lambda r, once: {"headers": {"Range": "0-99999999999"}} if r.command == "PATCH" else None)
says("a registry that has more than it was sent", answer, "io", "0-99999999999", blob["digest"], ref.split("/")[0])
answer, pieces, counts, is_same, ref = push_large("never", lambda r, once: {"drop": 100} if is_piece(r, LAST) else None)
says("a piece that never comes through", answer, "unreachable", blob["digest"], ref.split("/")[0], retry=True)
tap.ok("is tried for a while", 2 < len(pieces) < 12, pieces)

proxy = Proxy(target, lambda r: {"status": 403} if r.command in ("PUT", "POST") else None)
says("no right to push", host.do("copy", f"{registry.server}/{IMAGE}", f"{proxy.server}/no/right:1"), "denied", "unauthorized", "403",
     f"{proxy.server}/no/right:1", f"{registry.server}/{IMAGE}")
proxy.close()
target.close()
host.close()
registry.close()
tap.done()
