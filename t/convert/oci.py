"""Container images for tests of their conversion: layers by Python's tar writer, OCI layouts, conversions, listings."""

import gzip
import hashlib
import io
import json
import os
import stat
import struct
import subprocess
import tarfile
import zlib

BUILD = os.environ.get("top_builddir", ".")
CHECK = os.path.join(BUILD, "t/run/check-convert")
LIST = os.path.join(BUILD, "t/run/ext4-list")
TAR = "application/vnd.oci.image.layer.v1.tar"
CONFIG = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]}}


class Layer:
    """A tar that is written entry by entry."""

    def __init__(self, format=tarfile.PAX_FORMAT):
        self.file = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.file, mode="w", format=format, encoding="utf-8", errors="surrogateescape")

    def add(self, name, data=None, kind=tarfile.REGTYPE, mode=0o644, uid=0, gid=0, mtime=1700000000, target="", dev=(0, 0),
            pax=None):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, gid, mtime
        info.linkname, (info.devmajor, info.devminor) = target, dev
        info.pax_headers = pax or {}
        info.size = len(data or b"")
        self.tar.addfile(info, io.BytesIO(data or b""))
        return self

    def dir(self, name, mode=0o755, **more):
        return self.add(name, kind=tarfile.DIRTYPE, mode=mode, **more)

    def link(self, name, target, **more):
        return self.add(name, kind=tarfile.SYMTYPE, mode=0o777, target=target, **more)

    def hard(self, name, target, **more):
        return self.add(name, kind=tarfile.LNKTYPE, target=target, **more)

    def bytes(self):
        self.tar.close()
        return self.file.getvalue()


def pack(tar, packing):
    if packing == "gzip":
        return gzip.compress(tar, 1, mtime=0)
    if packing == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=tar, stdout=subprocess.PIPE, check=True).stdout
    return tar


def media_type(packing):
    return TAR + (f"+{packing}" if packing else "")


class Blobs:
    """Blobs in a folder, an OCI layout when it was finished."""

    def __init__(self, path):
        self.path = path
        os.makedirs(os.path.join(path, "blobs/sha256"))

    def file(self, digest):
        return os.path.join(self.path, "blobs", digest.replace(":", "/"))

    def put(self, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        with open(self.file(digest), "wb") as file:
            file.write(data)
        return {"digest": digest, "size": len(data)}

    def image(self, tars, packings, config=None):
        """An image "latest" of tars; its layers as (media type, path)."""
        layers = [dict(self.put(pack(tar, packing)), mediaType=media_type(packing)) for tar, packing in zip(tars, packings)]
        self.finish(dict(config or CONFIG, rootfs={"type": "layers", "diff_ids": [
            "sha256:" + hashlib.sha256(tar).hexdigest() for tar in tars]}), layers)
        return [(layer["mediaType"], self.file(layer["digest"])) for layer in layers]

    def finish(self, config, layers):
        """Makes these the image "latest"."""
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
                    "config": dict(self.put(json.dumps(config).encode()),
                                   mediaType="application/vnd.oci.image.config.v1+json")}
        entry = dict(self.put(json.dumps(manifest).encode()), mediaType=manifest["mediaType"],
                     annotations={"org.opencontainers.image.ref.name": "latest"})
        for name, value in (("index.json", {"schemaVersion": 2, "manifests": [entry]}),
                            ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
            with open(os.path.join(self.path, name), "w", encoding="utf-8") as file:
                json.dump(value, file)


class Result:
    def __init__(self, run):
        self.code, self.stderr = run.returncode, run.stderr
        lines = run.stdout.splitlines()
        self.error = lines[-1].split(" ", 2) if lines and lines[-1].startswith("error ") else None
        self.values = dict(line.split(" ", 1) for line in lines if " " in line)

    def __str__(self):
        return f"exit status {self.code}, {self.error or self.values}, {self.stderr}"


def convert(disk, layers, *bounds, config=None, prefix=()):
    """layers: (media type, path). The driver's Result."""
    path = disk + ".config"
    with open(path, "wb") as file:
        file.write(config if config is not None else json.dumps(CONFIG).encode())
    words = [word for layer in layers for word in layer]
    run = subprocess.run([*prefix, CHECK, *bounds, disk, path, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, errors="replace", check=False)
    os.unlink(path)
    return Result(run)


def fsck(disk):
    """What e2fsck finds wrong: nothing, as a rule."""
    run = subprocess.run(["e2fsck", "-fn", disk], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return "" if run.returncode == 0 else run.stdout


def escape(name):
    """As ext4-list has it."""
    return "".join(chr(c) if 0x20 <= c < 0x7f and c != 0x5c else f"\\x{c:02x}" for c in name)


def acl(text):
    """ACLs as programs see them, of what is on the disk: ids where there are none, too."""
    name, _, value = text.partition("=")
    if not name.startswith("system.posix_acl_"):
        return text
    data, result = bytes.fromhex(value)[4:], struct.pack("<I", 2)
    while data:
        length = 8 if data[0] in (2, 8) else 4
        result += data[:4] + (data[4:8] if length == 8 else b"\xff" * 4)
        data = data[length:]
    return f"{name}={result.hex()}"


def read_disk(disk):
    """Path to (mode, uid, gid, size, mtime, device, content, xattrs, first of its names)."""
    text = subprocess.run([LIST, disk], stdout=subprocess.PIPE, text=True, check=True).stdout
    rows = sorted(line.split("\t") for line in text.splitlines())
    names = {}
    for row in rows:
        names.setdefault(row[7], row[0])
    return {row[0]: (int(row[1], 8), *row[2:7], row[8], tuple(sorted(map(acl, row[9].split()))), names[row[7]]) for row in rows}


def content(path, info):
    if stat.S_ISLNK(info.st_mode):
        return escape(os.readlink(path))
    if not stat.S_ISREG(info.st_mode):
        return ""
    crc = 0
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            crc = zlib.crc32(data, crc)
    return f"{crc:08x}"


def read_tree(root):
    """The same of a folder."""
    entries, names = {}, {}
    root = os.fsencode(root)
    paths = [root]
    for folder, folders, files in os.walk(root):
        paths += [os.path.join(folder, name) for name in folders + files]
    for path in sorted(paths, key=lambda path: escape(path[len(root):])):
        info = os.lstat(path)
        name = escape(path[len(root):])
        xattrs = [f"{escape(os.fsencode(x))}={os.getxattr(path, x, follow_symlinks=False).hex()}"
                  for x in os.listxattr(path, follow_symlinks=False) if x != "security.selinux"]
        is_file, is_device = stat.S_ISREG(info.st_mode), stat.S_IFMT(info.st_mode) in (stat.S_IFCHR, stat.S_IFBLK)
        device = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}" if is_device else "0:0"
        entries[name] = (info.st_mode, str(info.st_uid), str(info.st_gid), str(info.st_size if is_file else 0),
                         "%d.%09d" % divmod(info.st_mtime_ns, 10**9), device, content(path, info), tuple(sorted(xattrs)),
                         names.setdefault(info.st_ino, name))
    return entries
