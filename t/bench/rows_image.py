"""Rows about images: from a registry to a disk, against the programs that one would call for it; what a create of an image
that is here costs, and what of a registry it asks."""

import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time

from oci import CONFIG, Blobs, media_type
from registries import Registry
from rig import BUILD, Runner, Skip, median
from table import DISK, Phases, number

LAYERS = 8
PACKED = 3  # times as large as it is packed, at most


# ---- an image ----


def paths_of(folder):
    """Of this machine's, folders before what is in them."""
    for at, folders, files in os.walk(folder):
        folders.sort()
        yield at, 0
        for name in sorted(files):
            path = os.path.join(at, name)
            yield path, os.lstat(path).st_size


def layers_of(paths, size):
    """Lists of paths, so many bytes each."""
    part, have = [], 0
    for path, n in paths:
        part.append(path)
        have += n
        if have >= size:
            yield part
            part, have = [], 0
    yield part


def digest_of(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def add_layer(blobs, paths, work):
    """A layer as they are packed as a rule; its descriptor, and the digest of what is in it."""
    tar, packed = os.path.join(work, "tar"), os.path.join(work, "gz")
    with open(tar, "wb") as out:
        subprocess.run(["tar", "-C", "/", "--no-recursion", "--null", "-T", "-", "-c"],
                       input=b"\0".join(os.fsencode(path[1:]) for path in paths), stdout=out, stderr=subprocess.DEVNULL)
    with open(packed, "wb") as out:
        subprocess.run(["gzip", "-n", "-1", "-c", tar], stdout=out, check=True)
    inner, digest = digest_of(tar), digest_of(packed)
    os.unlink(tar)
    size = os.path.getsize(packed)
    os.rename(packed, blobs.file(digest))
    return {"mediaType": media_type("gzip"), "digest": digest, "size": size}, inner


def make_image(folder, wanted):
    """Of the files of this machine, in an OCI layout, until they have so many bytes packed; its bytes, its layers."""
    blobs = Blobs(os.path.join(folder, "image"))
    layers, inner, size = [], [], 0
    for paths in layers_of(itertools.chain(paths_of("/etc"), paths_of("/usr")), wanted * PACKED // LAYERS):
        if size >= wanted:
            break
        layer, digest = add_layer(blobs, paths, folder)
        layers.append(layer)
        inner.append(digest)
        size += layer["size"]
    blobs.finish(dict(CONFIG, rootfs={"type": "layers", "diff_ids": inner}), layers)
    return size, len(layers)


# ---- the runner ----


class ImageRunner(Runner):
    """With images out of registries, and a kernel for them that a fake QEMU takes."""

    CONFIG = Runner.CONFIG.replace("storage: none", "storage: {{plugin: oci}}")

    def arrange(self):
        os.makedirs(os.path.join(self.root, "boot"))
        for name in ("vmlinux", "initramfs.img"):
            with open(os.path.join(self.root, "boot", name), "w") as file:
                file.write("\x7fELF " + name)
        with open(os.path.join(self.root, "boot/manifest.json"), "w") as file:
            json.dump({"schema": 1, "kernel": "vmlinux", "initramfs": "initramfs.img", "cmdline": "console=ttyS0"}, file)
        return super().arrange()

    def peak_of(self, pid):
        """Of a process that is a child of the runner, its peak of memory in KiB; else 0."""
        try:
            with open(f"/proc/{pid}/status") as file:
                found = dict(line.split(":", 1) for line in file)
        except OSError:
            return 0
        is_ours = int(found["PPid"]) == self.pid or int(pid) == self.pid
        return int(found["VmHWM"].split()[0]) if is_ours and "VmHWM" in found else 0

    def pull(self, ref):
        """Seconds of the whole, of each phase, and the most memory in KiB of all of its processes, each at its peak."""
        self.client.close()  # an idle connection ends by itself
        phases, peaks, begin = {}, {}, time.monotonic()
        self.client.call("POST", "/snapshots/pull", {"snapshot": ref})
        last = begin
        while True:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                if peak := self.peak_of(pid):
                    peaks[pid] = max(peak, peaks.get(pid, 0))
            busy = [x for x in self.client.call("GET", "/snapshots")["snapshots"] if "state" in x]
            now = time.monotonic()
            if not busy:
                break
            if busy[0]["state"] == "error":
                raise RuntimeError(busy[0]["message"])
            phases[busy[0]["phase"]] = phases.get(busy[0]["phase"], 0) + now - last
            last = now
            time.sleep(0.01)
        own = peaks.pop(str(self.pid))
        return now - begin, phases, own + max(peaks.values(), default=0)


# ---- the others ----


def run(*words):
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)


def theirs(folder, ref):
    """Seconds of each."""
    at = [time.monotonic()]
    run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", f"docker://{ref}", f"oci:{folder}/copy:latest")
    at.append(time.monotonic())
    run("umoci", "unpack", "--image", f"{folder}/copy:latest", f"{folder}/bundle")
    at.append(time.monotonic())
    used = sum(os.lstat(os.path.join(where, name)).st_size + 4096 for where, _, names in os.walk(f"{folder}/bundle/rootfs")
               for name in names)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", f"{folder}/bundle/rootfs", f"{folder}/reference",
        f"{used * 5 // 4 // 1024 + 262144}k")
    at.append(time.monotonic())
    for name in ("copy", "bundle"):
        shutil.rmtree(f"{folder}/{name}")
    os.unlink(f"{folder}/reference")
    return [end - begin for begin, end in zip(at, at[1:])]


def requests_of(registry):
    """What it was asked for so far: its log of accesses."""
    with open(f"{registry.dir}/log", encoding="utf-8") as log:
        return [match[1] for line in log if (match := re.search(r'"((?:GET|HEAD) /v2/[^ ]+)', line))]


# ---- rows ----


def row_sizes(table, runner, registry, folder):
    for wanted in map(int, os.environ.get("IMAGE_MB", "300 1000").split()):
        work = os.path.join(folder, str(wanted))
        os.mkdir(work)
        size, layers = make_image(work, wanted << 20)
        ref = f"{registry.server}/bench/{wanted}:1"
        run("skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", f"oci:{work}/image:latest", f"docker://{ref}")
        shutil.rmtree(f"{work}/image")
        reference = theirs(work, ref)
        took, phases, peak_kb = runner.pull(ref)
        print(f"  {size >> 20} MiB in {layers} layers: " + ", ".join(f"{name} {s:.2f} s" for name, s in phases.items()) +
              "; skopeo copy %.2f s, umoci unpack %.2f s, mke2fs -d %.2f s" % tuple(reference))
        what = f"image of {size >> 20} MiB, from a registry to a disk"
        table.add(what, ("skopeo, umoci, mke2fs -d", sum(reference)), took, "s", "<= 0.6x")
        table.add("  memory at most, runner and runner-oci", None, peak_kb / 1024, "MiB", "<= 64 MiB")
    return ref


def row_requests(table, runner, registry, ref):
    """Of the same again: by tag, by a tag that moves, by digest."""
    digest = runner.client.call("GET", f"/snapshots/info?snapshot={ref}")["hash"]
    run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{ref}",
        f"docker://{ref.rpartition(':')[0]}:latest")
    by_digest, moving = ref.rpartition(":")[0] + "@sha256:" + digest, ref.rpartition(":")[0] + ":latest"
    for what, again in (("tag", ref), ("digest", by_digest), (":latest", moving)):
        counts = []
        for _ in range(2):
            before = len(requests_of(registry))
            runner.body["snapshot"] = again
            runner.create()
            counts.append(len(requests_of(registry)) - before)
        runner.destroy_all()
        table.add(f"create by {what}, the second: requests to the registry", None, counts[1], "", "<= 1")
    before = len(requests_of(registry))
    runner.pull(moving)
    asked = requests_of(registry)[before:]
    print(f"  pull of {moving} again: {', '.join(asked)}")
    table.add("pull of :latest again: requests to the registry", None, len(asked), "", "<= 1")


def row_cached(table, runner, ref):
    ms, phases = {"tiny": [], ref: []}, {"tiny": Phases(), ref: Phases()}
    for i in range(2 * number("CREATES", 300)):
        which = list(ms)[i % 2]
        runner.body["snapshot"] = which
        _, reply, took = runner.create()
        if i >= 20:
            ms[which].append(took)
            phases[which].collect(reply)
        if i % 20 == 19:
            runner.destroy_all()
            time.sleep(0.1)
    runner.destroy_all()
    for which, of in phases.items():
        print(f"  creates of {which}:")
        of.print()
    table.add("create of an image that is here, fake QEMU: wall p50", ("a create of tiny", median(ms["tiny"])),
              median(ms[ref]), "ms", "1x")


def row_image(table):
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program in ("skopeo", "umoci", "mke2fs", "docker-registry"):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")
    if os.geteuid() != 0 or not os.path.exists(os.path.join(BUILD, "plugins/storage/oci.so")):
        raise Skip("umoci needs root" if os.geteuid() != 0 else "built without storage/oci")
    with tempfile.TemporaryDirectory(prefix="bench-image.", dir=DISK) as folder:
        tempfile.tempdir = folder
        registry = Registry()
        try:
            with ImageRunner(folder) as runner:
                runner.body["storageQuota"] = 50
                ref = row_sizes(table, runner, registry, folder)
                row_requests(table, runner, registry, ref)
                row_cached(table, runner, ref)
        finally:
            registry.close()
            tempfile.tempdir = None
