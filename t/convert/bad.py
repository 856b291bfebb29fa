"""Images that are not what they should be: each is refused with a text that names layer and entry, and nothing is left."""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib

import tap
from oci import BUILD, TAR, Layer, convert, fsck, media_type, pack, read_disk

INVALID, NOTFOUND, EXISTS, NOSPACE, CANCELLED, NOTSUP = 1, 2, 3, 5, 8, 10
MEMORY_KB = 64 << 10
GOOD = Layer().add("good", b"good")


class Case:
    """A folder in which a conversion finds its layers and leaves nothing but a disk."""

    def __init__(self, folder):
        self.blobs = os.path.join(folder, "blobs")
        self.out = os.path.join(folder, "out")
        os.mkdir(self.blobs)
        os.mkdir(self.out)
        self.disk = os.path.join(self.out, "disk")

    def blob(self, data, name="bad"):
        path = os.path.join(self.blobs, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def refused(self, name, layers, code, text, *bounds, config=None, disk=None):
        result = convert(disk or self.disk, layers, *bounds, config=config)
        got = result.error or ["", "0", str(result)]
        tap.ok(f"{name}: refused, and why is said", got[1] == str(code) and re.search(text, got[2]),
               f"wanted {code}, {text}", f"got {got}")
        left = os.listdir(os.path.dirname(disk or self.disk))
        tap.equal(f"{name}: nothing is left", left, [])
        for path in left:
            os.unlink(os.path.join(os.path.dirname(disk or self.disk), path))

    def refused_entry(self, name, layer, text, *bounds):
        good = self.blob(pack(GOOD.bytes(), "gzip"), "good")
        bad = self.blob(layer if isinstance(layer, bytes) else layer.bytes())
        self.refused(name, [(media_type("gzip"), good), (TAR, bad)], INVALID, "^layer bad: " + text, *bounds)

    def taken(self, name, layers, *bounds):
        """The listing; the disk is gone afterwards."""
        result = convert(self.disk, layers, *bounds)
        if not tap.ok(f"{name}: taken", result.code == 0, result):
            return {}
        tap.equal(f"{name}: e2fsck finds nothing wrong", fsck(self.disk), "")
        tree = read_disk(self.disk)
        os.unlink(self.disk)
        return tree


def paths(case):
    entry = "entry '%s'.*: "
    case.refused_entry("../", Layer().add("../../etc/passwd", b"x"), entry % r"\.\./\.\./etc/passwd" + "it leads out of the image")
    case.refused_entry("../ in the middle", Layer().add("a/../../x", b"x"), entry % "a/.*" + "it leads out")
    case.refused_entry("../ of a directory", Layer().dir(".."), entry % r"\.\./" + "it leads out")
    case.refused_entry("a whiteout of ../", Layer().add("../.wh.x"), entry % r"\.\./.*" + "it leads out")
    case.refused_entry("hard link to ../", Layer().hard("h", "../../etc/passwd"), entry % "h" + ".*hard link.*leads out")
    case.refused_entry("hard link to what is not there", Layer().hard("h", "/etc/passwd"), entry % "h" + ".*not there")
    case.refused_entry("hard link to a directory", Layer().dir("d").hard("h", "d"), entry % "h" + ".*directory")
    case.refused_entry("links that lead in a circle", Layer().link("a", "b").link("b", "a").add("a/x", b"x"),
                       entry % "a/x" + "more than 40 symbolic links")
    case.refused_entry("a file as a directory", Layer().add("good/x", b"x"), entry % "good/x" + "'good' on its way is no dir")
    case.refused_entry("a root that is a file", Layer().add(".", b"x"), entry % "." + "the root")
    case.refused_entry("a whiteout of nothing", Layer().add("a/../.wh."), entry % "a/.*" + "a whiteout of no name")
    case.refused_entry("a whiteout of ..", Layer().dir("a").add("a/.wh..."), entry % "a/.wh..." + "a whiteout of no name")
    case.refused_entry("a name of 256 bytes", Layer().add("n" * 256, b"x"), entry % "n*" + "a name in it has more than 255")
    case.refused_entry("a path of 5000 bytes", Layer().add("/".join(["d" * 99] * 50), b"x"), entry % ".*" + "it has more than 4096")
    case.refused_entry("300 directories within each other", Layer().dir("d/" * 300), entry % ".*" + "more than 256 dir")
    here = os.path.join(case.blobs, "pwned")
    up = "../" * 30 + case.blobs[1:]
    layer = Layer().add(here + "-1", b"x").link("out", "/").link("up", up).add("out/pwned-2", b"x").add("up/pwned-3", b"x")
    layer.link("victim", here + "-4").add("victim", b"x").link("dir", case.blobs).dir("dir").add("dir/pwned-5", b"x")
    tree = case.taken("absolute names and links that lead out", [(TAR, case.blob(layer.bytes()))])
    tap.ok("they lead to places in the image", {here + "-1", "/pwned-2", case.blobs + "/pwned-3", "/victim", "/dir/pwned-5"} <=
           set(tree), *tree)
    tap.equal("and to none outside", [name for name in os.listdir(case.blobs) + os.listdir("/") if "pwned" in name], [])


def entries(case):
    case.refused_entry("an owner that is none", Layer().add("o", b"x", uid=2**32 - 1), "entry 'o': owner 4294967295")
    case.refused_entry("attributes of 5000 bytes", Layer().add("x", b"x", pax={"SCHILY.xattr.user.a": "v" * 5000}),
                       "entry 'x': its extended attributes have")
    case.refused_entry("100 attributes", Layer().add("x", b"x", pax={f"SCHILY.xattr.user.{i}": "v" for i in range(100)}),
                       "entry 'x': it has more than 64")
    case.refused_entry("an ACL that is none", Layer().add("x", b"x", pax={"SCHILY.xattr.system.posix_acl_access": "abc"}),
                       "entry 'x': its ACL")
    case.refused_entry("an empty link", Layer().link("l", ""), "entry 'l': a symbolic link to 0 bytes")
    case.refused_entry("a link to 5000 bytes", Layer().link("l", "t" * 5000), "entry 'l': a symbolic link to 5000 bytes")
    links = Layer().add("first", b"x")
    for i in range(65001):
        links.hard(f"l{i}", "first")
    case.refused_entry("65002 names of a file", links, "entry 'l64999': more than 65000 hard links")
    many = Layer()
    for i in range(200):
        many.add(f"e{i}")
    case.refused_entry("more entries than are allowed", many, "entry 'e99': the image has more than 100 entries", "entries=100")
    again = Layer()
    for i in range(2000):
        again.add("same")
    case.refused_entry("more of them in all layers", again, "the layers have more than 1000 entries", "entries=100")
    case.refused_entry("a file beyond its bound", Layer().add("f", b"x" * (3 << 20)), "entry 'f': it has more than 2 MiB",
                       f"file={2 << 20}")
    case.refused_entry("all beyond their bound", Layer().add("f", bytes(3 << 20)), ".*the image has more than 2 MiB",
                       f"total={2 << 20}")
    good = case.blob(pack(GOOD.bytes(), "gzip"), "good")
    case.refused("more layers than are allowed", [(media_type("gzip"), good)] * 3, INVALID, "3 layers, more than 2", "layers=2")
    case.refused("a configuration that is none", [(media_type("gzip"), good)], INVALID, "configuration", config=b"{")
    for name, path, text in (("that leads out", "/a/../../b", "it leads out of the image"),
                             ("below a file", "/good/x", "'good' on its way is no directory"),
                             ("of too long a name", "/" + "n" * 256, "a name in it has more than 255"),
                             ("too deep", "/d" * 300, "more than 256 dir")):
        config = json.dumps({"config": {"Volumes": {path: {}}}}).encode()
        case.refused(f"a volume {name}", [(media_type("gzip"), good)], INVALID, f"^volume '{path[:100]}.*: {text}", config=config)


def damage(case):
    layer = Layer()
    for i in range(40):
        layer.add(f"f{i}", os.urandom(20000))
    tar = layer.bytes()
    for packing in ("gzip", "zstd"):
        kind, whole = media_type(packing), pack(tar, packing)
        damaged = bytearray(whole)
        damaged[len(whole) // 2] ^= 0x55
        for name, data, text in (("cut in the middle", whole[:len(whole) // 2], "cut off"),
                                 ("cut at its last byte", whole[:-1], "cut off"), ("empty", b"", "cut off"),
                                 ("damaged", bytes(damaged), f"damaged ({packing}|tar)"),
                                 ("other than its media type says", pack(tar, {"gzip": "zstd", "zstd": "gzip"}[packing]),
                                  f"damaged {packing}"),
                                 ("a plain tar", tar, f"damaged {packing}"),
                                 ("with something behind its end", whole + b"something", f"damaged {packing}|cut off")):
            case.refused(f"{packing}, {name}", [(kind, case.blob(data))], INVALID, f"^layer bad: .*{text}")
        tree = case.taken(f"{packing} in two parts", [(kind, case.blob(pack(tar[:99999], packing) + pack(tar[99999:], packing)))])
        tap.ok("both are read", "/f39" in tree)
    tree = case.taken("gzip with zeros behind its end", [(media_type("gzip"), case.blob(pack(tar, "gzip") + bytes(512)))])
    tap.ok("that is padding", "/f39" in tree)
    for name, data in (("that is cut in a file", tar[:len(tar) // 2]), ("that is text", b"This is no tar. " * 100),
                       ("that is noise", os.urandom(20000)), ("with a wrong sum", tar[:20] + b"x" + tar[21:])):
        case.refused(f"a tar {name}", [(TAR, case.blob(data))], INVALID, "^layer bad: .*damaged tar: ")
    for kind in ("application/vnd.oci.image.layer.v1.tar+bzip2", "application/octet-stream", "", "application/json",
                 "application/vnd.oci.image.layer.v1.ta", "application/vnd.docker.distribution.manifest.v2+json"):
        case.refused(f"media type '{kind}'", [(kind, case.blob(tar))], NOTSUP, "^layer bad: media type")
    tap.ok("parameters of a media type are nothing", case.taken("them", [(TAR + "; a=b", case.blob(tar))]))
    window = subprocess.run(["zstd", "-q", "-c", "--ultra", "-22", "--long=27"], input=tar * 40, stdout=subprocess.PIPE,
                            check=True).stdout
    case.refused("zstd that needs 128 MiB", [(media_type("zstd"), case.blob(window))], INVALID, "needs more than 8 MiB")
    case.refused("a blob that is not there", [(TAR, os.path.join(case.blobs, "none"))], NOTFOUND, "^layer none: ")


def zstd_of_zeros(first, size):
    """A frame of `first` and so many zeros, 4 bytes for 128 KiB (RFC 8878, 3.1.1)."""
    block = 128 << 10
    frame = struct.pack("<IBB", 0xfd2fb528, 0, (20 - 10) << 3)  # a window of 1 MiB
    frame += struct.pack("<I", len(first) << 3)[:3] + first
    repeat = struct.pack("<I", block << 3 | 1 << 1)[:3] + b"\0"
    return frame + repeat * (size // block) + struct.pack("<I", 1)[:3]


def other_content(case):
    """Layers that are not what the configuration says they are, unpacked."""
    def config_of(*tars, **more):
        return json.dumps({"rootfs": dict({"type": "layers", "diff_ids": [
            "sha256:" + hashlib.sha256(tar).hexdigest() for tar in tars]}, **more)}).encode()

    good, other = Layer().add("good", b"good").bytes(), Layer().add("other", os.urandom(3 << 20)).bytes()
    layers = [(media_type("gzip"), case.blob(pack(good, "gzip"), "good")), (media_type("zstd"), case.blob(pack(other, "zstd"), "other")),
              (TAR, case.blob(good, "third"))]
    result = convert(case.disk, layers, "diff_ids=1", config=config_of(good, other, good))
    if tap.ok("layers that are what the configuration says", result.code == 0, result):
        os.unlink(case.disk)
    digest = lambda tar: "sha256:" + hashlib.sha256(tar).hexdigest()
    for i, says in enumerate(((other, other, good), (good, good, good), (good, other, other))):
        tars = (good, other, good)
        case.refused(f"layer {i} is another", layers, INVALID,
                     f"^layer {('good', 'other', 'third')[i]}: (entry '.*': )?unpacked it is {digest(tars[i])}, and "
                     rf"rootfs\.diff_ids\[{i}\] says {digest(says[i])}$", config=config_of(*says))
    case.refused("padding is part of a layer", [(TAR, case.blob(good + bytes(512)))], INVALID, "unpacked it is", config=config_of(good))
    case.refused("fewer are said", layers, INVALID, r"2 rootfs\.diff_ids, and the image 3 layers", config=config_of(good, other))
    case.refused("more are said", layers[:1], INVALID, r"2 rootfs\.diff_ids, and the image 1 layers", config=config_of(good, other))
    case.refused("none are said", layers, INVALID, r"0 rootfs\.diff_ids", config=config_of())
    case.refused("nothing is said", layers, INVALID, r"no rootfs\.diff_ids, and the image 3 layers", "diff_ids=1", config=b"{}")
    for name, ids in (("no digest", ["sha512:" + "a" * 128]), ("too short", ["sha256:" + "a" * 63]),
                      ("in capitals", ["sha256:" + "A" * 64])):
        case.refused(f"a digest that is {name}", layers[:1], INVALID, r"rootfs\.diff_ids\[0\] is no", config=config_of(diff_ids=ids))
    case.refused("a rootfs that is none", layers, INVALID, "rootfs is a", config=b'{"rootfs": []}')


def bombs(case):
    layer = Layer(tarfile.GNU_FORMAT)
    info = tarfile.TarInfo("bomb")
    info.size = 100 << 30
    head = info.tobuf(tarfile.GNU_FORMAT)
    case.refused("zstd, 3 MB that are 100 GB", [(media_type("zstd"), case.blob(zstd_of_zeros(head, info.size)))], INVALID,
                 "^layer bad: entry 'bomb': it grows to more than 200 times its size")
    out, packer = io.BytesIO(), zlib.compressobj(9, zlib.DEFLATED, 31)
    out.write(packer.compress(head))
    for _ in range(1000):
        out.write(packer.compress(bytes(1 << 20)))
    out.write(packer.flush())
    case.refused("gzip, 1 MB that is 1 GB", [(media_type("gzip"), case.blob(out.getvalue()))], INVALID,
                 "^layer bad: entry 'bomb': it grows to more than 200 times its size")
    holes = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "holes", "GNU.sparse.realsize": str(100 << 30)}
    table = f"1\n{50 << 30}\n4\n".encode().ljust(512, b"\0")
    layer = Layer().add("holes", table + b"data", pax=holes)
    result = convert(case.disk, [(TAR, case.blob(layer.bytes()))])
    tap.ok("a hole of 100 GB is none of the content", result.code == 0 and int(result.values["content"]) < 30 << 20, result)
    tap.equal("e2fsck finds nothing wrong", fsck(case.disk), "")
    os.unlink(case.disk)
    case.refused_entry("a file of 2^60 bytes that is a hole", Layer().add(
        "holes", table + b"data", pax=dict(holes, **{"GNU.sparse.realsize": str(1 << 60)})), "entry 'holes': ")


def million(case, n):
    """n empty files in folders of a thousand, packed."""
    path = os.path.join(case.blobs, "bad")
    with gzip.open(path, "wb", 1) as file:
        info = tarfile.TarInfo()
        info.mtime = 1700000000
        info.name = "0" * 8 + "/" + "0" * 8
        head = info.tobuf(tarfile.USTAR_FORMAT)
        rest = sum(head[17:148]) + 8 * ord(" ") + sum(head[156:])
        for i in range(n):
            name = b"%08d/%08d" % (i // 1000, i)
            file.write(name + head[17:148] + b"%06o\0 " % (rest + sum(name)) + head[156:])
        file.write(bytes(1024))
    return path


def sizes(case):
    result = convert(case.disk, [(media_type("gzip"), million(case, 10**6))])
    tap.ok("10^6 empty files: refused, and why is said", result.error and re.search("more than 700000 entries", result.error[2]),
           result)
    tap.equal("10^6 empty files: nothing is left", os.listdir(case.out), [])
    tap.ok("10^6 empty files: the memory is bounded", int(result.values["rss_kb"]) <= MEMORY_KB, result)
    tree = case.taken("10^5 empty files", [(media_type("gzip"), million(case, 10**5))])
    tap.equal("10^5 empty files: all are there", len(tree), 10**5 + 102)


def out_of_space(case, folder):
    small = os.path.join(folder, "small")
    os.mkdir(small)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", small], check=False,
                                           stderr=subprocess.DEVNULL).returncode != 0:
        tap.skip("a small tmpfs cannot be mounted", 3)
        return
    try:
        layer = Layer()
        for i in range(100):
            layer.add(f"f{i}", os.urandom(200000))
        for packing in ("gzip", ""):
            # The configuration lies beside the disk.
            path = case.blob(pack(layer.bytes(), packing))
            case.refused(f"no space in the middle, {packing or 'plain'}", [(media_type(packing), path)], NOSPACE, "No space left",
                         disk=os.path.join(small, "disk"))
        result = convert(os.path.join(small, "disk"), [(TAR, case.blob(GOOD.bytes()))])
        tap.ok("the next one that fits works", result.code == 0, result)
    finally:
        subprocess.run(["umount", small], check=True)


def interrupted(case):
    layer = Layer()
    for i in range(3000):
        layer.add(f"f{i}", os.urandom(5000))
    path = case.blob(pack(layer.bytes(), "gzip"))
    for after in (1, 2, 10, 40):
        case.refused(f"cancelled at question {after}", [(media_type("gzip"), path)], CANCELLED, "cancelled", f"cancel={after}")
    with open(case.disk, "w", encoding="ascii") as file:
        file.write("another's")
    result = convert(case.disk, [(media_type("gzip"), path)])
    tap.ok("what is there is not overwritten", result.error and result.error[1] == str(EXISTS), result)
    with open(case.disk, encoding="ascii") as file:
        tap.equal("it is as it was", file.read(), "another's")
    os.unlink(case.disk)
    tap.ok("the next try works", "/f2999" in case.taken("the same", [(media_type("gzip"), path)]))


def main():
    if not os.path.exists(os.path.join(BUILD, "t/run/check-convert")):
        tap.skip_all("built without the conversion of images")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program in ("e2fsck", "zstd"):
        if not shutil.which(program):
            tap.skip_all(f"{program} is not installed")
    with tempfile.TemporaryDirectory(prefix="runner-convert.") as folder:
        case = Case(folder)
        paths(case)
        entries(case)
        damage(case)
        other_content(case)
        bombs(case)
        interrupted(case)
        out_of_space(case, folder)
        sizes(case)
    tap.done()


if __name__ == "__main__":
    sys.exit(main())
