"""Rows about images: an image's layers to a disk, against the programs that one would call for it."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time

from oci import BUILD, Blobs, convert, media_type
from rig import Skip
from table import DISK, number

FOLDERS = ["/etc", "/usr/bin", "/usr/include", "/usr/lib/python3", "/usr/share/doc", "/usr/lib/gcc", "/usr/share",
           "/usr/lib/x86_64-linux-gnu"]


def make_image(folder, wanted):
    """A layer a folder of this machine's, as they are packed as a rule, until they have so many bytes."""
    tars, size = [], 0
    for at in FOLDERS:
        if size >= wanted or not os.path.isdir(at):
            continue
        tar = subprocess.run(["tar", "--one-file-system", "-C", "/", "-cf", "-", at[1:]], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, check=False).stdout
        tars.append(tar)
        size += len(subprocess.run(["gzip", "-1"], input=tar, stdout=subprocess.PIPE, check=True).stdout)
    return Blobs(os.path.join(folder, "image")).image(tars, ["gzip"] * len(tars)), size


def fetch(layers, folder):
    """What a pull from a near registry does at least: read, hash, write each blob."""
    os.mkdir(folder)
    for _, path in layers:
        digest = hashlib.sha256()
        with open(path, "rb") as source, open(os.path.join(folder, os.path.basename(path)), "wb") as to:
            while data := source.read(1 << 20):
                digest.update(data)
                to.write(data)
            os.fsync(to.fileno())
    return [(kind, os.path.join(folder, os.path.basename(path))) for kind, path in layers]


def run(*words):
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)


def ours(folder, layers):
    start = time.monotonic()
    blobs = fetch(layers, os.path.join(folder, "blobs"))
    fetched = time.monotonic()
    result = convert(os.path.join(folder, "disk"), blobs)
    if result.code != 0:
        raise RuntimeError(str(result))
    return fetched - start, time.monotonic() - fetched, int(result.values["rss_kb"])


def theirs(folder):
    start = time.monotonic()
    run("skopeo", "copy", "-q", f"oci:{folder}/image:latest", f"oci:{folder}/copy:latest")
    copied = time.monotonic()
    run("umoci", "unpack", "--image", f"{folder}/copy:latest", f"{folder}/bundle")
    unpacked = time.monotonic()
    used = sum(os.lstat(os.path.join(at, name)).st_size + 4096 for at, _, names in os.walk(f"{folder}/bundle/rootfs")
               for name in names)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", f"{folder}/bundle/rootfs", f"{folder}/reference",
        f"{used * 5 // 4 // 1024 + 262144}k")
    return copied - start, unpacked - copied, time.monotonic() - unpacked


def row_image(table):
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program in ("skopeo", "umoci", "mke2fs"):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")
    if os.geteuid() != 0 or not os.path.exists(os.path.join(BUILD, "t/run/check-convert")):
        raise Skip("umoci needs root" if os.geteuid() != 0 else "built without the conversion of images")
    with tempfile.TemporaryDirectory(prefix="bench-image.", dir=DISK) as folder:
        layers, size = make_image(folder, number("IMAGE_MB", 300) << 20)
        reference = theirs(folder)
        fetched, converted, rss_kb = ours(folder, layers)
        print(f"  {size >> 20} MiB in {len(layers)} layers: fetch {fetched:.2f} s, convert {converted:.2f} s; "
              "skopeo copy %.2f s, umoci unpack %.2f s, mke2fs -d %.2f s" % reference)
        table.add(f"image of {size >> 20} MiB, fetched and made a disk", ("skopeo, umoci, mke2fs -d", sum(reference)),
                  fetched + converted, "s", "0.6x")
        table.add("  converted", ("umoci, mke2fs -d", sum(reference[1:])), converted, "s")
        table.add("  memory", None, rss_kb / 1024, "MiB", "64 MiB")
