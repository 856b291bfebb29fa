"""The tree of a converted image equals the one that umoci unpacks, in every odd corner; e2fsck has nothing to say."""

import json
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib

import tap
from oci import BUILD, CONFIG, Blobs, Layer, convert, fsck, media_type, pack, read_disk, read_tree

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
    (1, 7, 0xffffffff), (2, 5, 70000), (4, 5, 0xffffffff), (8, 4, 12), (16, 7, 0xffffffff), (32, 4, 0xffffffff)))
NS = {"mtime": "1700000001.123456789"}


def xattr(**more):
    return {"SCHILY.xattr." + name.replace("__", "."): value if isinstance(value, str)
            else value.decode("utf-8", "surrogateescape") for name, value in more.items()}


def first():
    layer = Layer(tarfile.GNU_FORMAT)
    layer.dir("./", mode=0o751).dir("usr/").dir("usr/lib/").dir("usr/bin").dir("tmp", mode=0o1777).dir("etc")
    layer.link("lib", "usr/lib").link("absolute", "/usr/lib").link("up", "../../../../etc").link("loop", "loop")
    layer.add("usr/bin/su", b"#!su", mode=0o4755).add("usr/bin/wall", b"wall", mode=0o2755)
    layer.add("etc/secret", b"s" * 4095, mode=0o000, uid=70000, gid=100000)
    layer.add("etc/old", b"o", mtime=0).add("etc/late", b"l", mtime=2**31 + 5).add("etc/later", b"l", mtime=2**33)
    for size in (0, 1, 4096, 4097, 65536, 1000003):
        layer.add(f"etc/size-{size}", random.Random(size).randbytes(size))
    layer.add("etc/" + "n" * 255, b"long").add("/".join(["deep"] * 60) + "/end", b"end")
    layer.add("/etc/absolute-name", b"a").add("./etc//dots/../dotted", b"d")
    for length in (1, 59, 60, 99, 400):
        layer.link(f"link-{length}", "t" * length)
    layer.hard("usr/bin/su-too", "usr/bin/su").hard("usr/bin/su-three", "./usr/bin/su-too").hard("lib-hard", "lib")
    for i, name in enumerate(("tab\there", "new\nline", " blank", "-x", "...", "back\\slash", "wh.name", "bad\udcff\udcfename")):
        layer.add("etc/" + name, bytes([i]))
    layer.dir("dev").add("dev/null", kind=tarfile.CHRTYPE, mode=0o666, dev=(1, 3))
    layer.add("dev/sda", kind=tarfile.BLKTYPE, dev=(8, 0)).add("dev/big", kind=tarfile.CHRTYPE, dev=(300, 70000))
    layer.add("dev/fifo", kind=tarfile.FIFOTYPE)
    return layer


def attributes():
    layer = Layer()
    big = xattr(user__big="x" * 3000, user__small="1")
    layer.add("nfd-e\u0301", b"1").add("nfc-\u00e9", b"2").add("p" * 120 + "\u212b", b"3").add("bad-\udcff", b"4")
    layer.link("link-nfd", "e\u0301").add("ns", b"n", pax=NS).dir("ns-dir", pax=NS).link("ns-link", "x", pax=NS)
    layer.add("before", b"b", pax={"mtime": "-1000.5"}).add("owner", b"o", uid=3000000000, gid=4000000000)
    layer.add("cap", b"c", mode=0o755, pax=xattr(security__capability=CAPABILITY))
    layer.add("acl", b"a", mode=0o774, pax=xattr(system__posix_acl_access=ACL))
    layer.dir("acl-dir", mode=0o775, pax=xattr(system__posix_acl_default=ACL, user__a="1"))
    layer.add("many", b"m", pax=xattr(**{f"user__n{i}": "v" * i for i in range(40)}))
    layer.add("big", b"b", pax=big).hard("big-too", "big").dir("big-dir", pax=big)
    layer.add("empty", b"e", pax=xattr(user__empty="", trusted__t="1")).add("dev", kind=tarfile.CHRTYPE, dev=(1, 3),
                                                                              pax=xattr(trusted__t="2"))
    layer.add("equals", b"e", pax=xattr(**{"user__a=b": "c=d\ne"}))
    return layer


def whiteouts_below():
    layer = Layer(tarfile.USTAR_FORMAT)
    for folder in ("gone", "opaque", "opaque-late", "kept", "kept/sub", "becomes-file", "becomes-link", "empties",
                   "lib64", "swap", "swap/deep", "touched"):
        layer.dir(f"w/{folder}", mode=0o700)
        layer.add(f"w/{folder}/one", b"1" * 5000).add(f"w/{folder}/two", b"2")
    layer.add("w/file", b"f" * 9000).add("w/becomes-dir", b"d" * 9000).link("w/link-becomes-dir", "kept")
    layer.add("w/linked", b"l" * 9000).hard("w/linked-too", "w/linked").add("w/again", b"1").add("w/never", b"n")
    return layer.hard("w/outside", "w/gone/one")


def whiteouts():
    layer = Layer()
    layer.add("w/.wh.gone").add("w/.wh.file").add("w/.wh.not-there").add("not/there/.wh.at-all")
    layer.add("w/opaque/.wh..wh..opq").add("w/opaque/three", b"3")
    layer.add("w/opaque-late/three", b"3").add("w/opaque-late/.wh..wh..opq")
    layer.add("w/kept/one", b"new").add("w/kept/.wh.one").add("w/kept/sub/.wh.two").add("w/.wh..wh.aufs", b"")
    layer.add("w/touched/new", b"n").add("w/.wh.touched")
    layer.add("w/becomes-file", b"file").link("w/becomes-link", "kept")
    layer.dir("w/becomes-dir").add("w/becomes-dir/in", b"i").dir("w/link-becomes-dir", mode=0o711)
    layer.add("w/empties/.wh.one").add("w/empties/.wh.two").dir("w/empties", mode=0o555, uid=5)
    layer.add("w/linked", b"other").hard("w/never-too", "w/never").add("w/again", b"2").add("w/again", b"3")
    layer.add("lib/through-link", b"t").add("absolute/through-absolute", b"t").add("up/through-up", b"t")
    layer.add("not/made/before", b"n").add("w/.wh.swap").dir("w/swap").add("w/swap/only", b"o")
    return layer.hard("hard-through-link", "lib/through-link").dir("big-dir", mode=0o700)


def more():
    layer = Layer()
    return layer.add("w/file", b"again").add("w/gone/back", b"back").add("w/.wh.again").add("w/swap/.wh..wh..opq")


def sparse(folder):
    """What GNU tar makes of files with holes, in the ways it knows; the first is strange to umoci."""
    result = []
    for i, options in enumerate((["--format=gnu"], ["--format=posix", "--sparse-version=0.0"],
                                 ["--format=posix", "--sparse-version=0.1"], ["--format=posix", "--sparse-version=1.0"])):
        path = os.path.join(folder, f"holes-{i}")
        with open(path, "wb") as file:
            for at in (0, 1 << 20, (1 << 20) + 8192, 50 << 20):
                file.seek(at)
                file.write(b"data%d" % at * 1000)
            for piece in range(2000):  # more than an inode, and than a block of extents, has room for
                file.seek((60 << 20) + piece * 12288)
                file.write(b"%d" % piece)
            file.truncate(200 << 20)
        result.append(subprocess.run(["tar", "-C", folder, "--sparse", *options, "--owner=0", "--group=0", "-cf", "-",
                                      f"holes-{i}"], stdout=subprocess.PIPE, check=True).stdout)
    return result + [Layer().add(".wh.holes-1").bytes()]


def large():
    """More than an extent, and than the blocks between two copies of the superblock."""
    layer = Layer(tarfile.GNU_FORMAT)
    piece = random.Random(1).randbytes(1 << 20)
    return layer.add("large", piece * 300).add("large-2", piece * 3 + b"1")


def compare(name, disk, tree, times_differ=()):
    got, wanted = read_disk(disk), read_tree(tree)
    got.pop("/lost+found", None)
    bad = []
    for path in sorted(set(got) | set(wanted)):
        a, b = got.get(path), wanted.get(path)
        if path in times_differ and a and b:
            a, b = a[:4] + a[5:], b[:4] + b[5:]
        if a != b:
            bad.append(f"{path}: disk {a}, umoci {b}")
    return tap.ok(name, not bad, *bad[:20])


def unpack(folder, blobs):
    bundle = os.path.join(folder, "bundle")
    run = subprocess.run(["umoci", "unpack", "--image", f"{blobs}:latest", bundle], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, check=False)
    return os.path.join(bundle, "rootfs") if tap.ok("umoci unpacks it", run.returncode == 0, run.stdout) else None


def check_mount(folder, disk, tree, times_differ):
    """The kernel reads the same."""
    at = os.path.join(folder, "mnt")
    os.mkdir(at)
    run = subprocess.run(["mount", "-o", "loop,ro", disk, at], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, check=False)
    if run.returncode != 0:
        tap.skip(f"no file system can be mounted here: {run.stdout.strip()}", 1)
        return
    try:
        got, wanted = read_tree(at), read_tree(tree)
        got.pop("/lost+found")
        bad = [path for path in set(got) | set(wanted) if path not in times_differ and got.get(path) != wanted.get(path)]
        tap.ok("the kernel finds the same in it", not bad, *[f"{path}: {got.get(path)}, {wanted.get(path)}" for path in bad])
    finally:
        subprocess.run(["umount", at], check=True)


def check_nobody(folder, disk, layers):
    """Owners, devices and trusted attributes need no privilege."""
    os.chmod(folder, 0o755)
    at = os.path.join(folder, "nobody")
    os.mkdir(at)
    os.chown(at, 65534, 65534)
    result = convert(os.path.join(at, "disk"), layers,
                     prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"))
    if result.code == 126 or "Permission denied" in result.stderr:
        tap.skip("another user cannot run what was built here", 1)
        return
    tap.ok("a user without any privilege makes the same",
           result.code == 0 and subprocess.run(["cmp", disk, os.path.join(at, "disk")], check=False).returncode == 0, result)
    shutil.rmtree(at)


def check_odd(folder):
    tars = [layer.bytes() for layer in (first(), attributes(), whiteouts_below(), whiteouts(), more(), large())]
    tars[5:5] = [Layer().bytes(), *sparse(folder)[1:]]
    layers = Blobs(os.path.join(folder, "oci")).image(tars, ["gzip"] * 5 + [""] * (len(tars) - 5))
    mixed = [(media_type(packing), os.path.join(folder, f"layer-{i}"))
             for i, packing in enumerate(["", "zstd", "gzip"] * 4)][:len(tars)]
    for tar, (kind, path) in zip(tars, mixed):
        with open(path, "wb") as file:
            file.write(pack(tar, kind.partition("+")[2]))
    disk, again, other = (os.path.join(folder, name) for name in ("disk", "again", "other"))
    for path, blobs in ((disk, layers), (again, layers), (other, mixed)):
        result = convert(path, blobs)
        tap.ok(f"the image of all oddities converts: {os.path.basename(path)}", result.code == 0, result)
        tap.equal("e2fsck finds nothing wrong", fsck(path), "")
    tap.ok("twice the same, byte for byte", subprocess.run(["cmp", disk, again], check=False).returncode == 0)
    tap.ok("however the layers are packed", subprocess.run(["cmp", disk, other], check=False).returncode == 0)
    check_nobody(folder, disk, layers)
    result = convert(os.path.join(folder, "third"), layers)
    tap.equal("init is none", json.loads(result.values["json"])["init"], "")
    tap.ok("the disk is sparse", os.stat(disk).st_blocks * 512 < int(result.values["content"]) + (1 << 20),
           f"{os.stat(disk).st_blocks * 512} bytes, content {result.values['content']}")
    tree = unpack(folder, os.path.join(folder, "oci"))
    # No layer says when, or umoci changes it late.
    made = ["", "/not", "/not/made", *("/deep" * n for n in range(1, 61)), "/w", "/w/gone", "/w/touched"]
    if tree:
        compare("the tree is umoci's", disk, tree, made)
        check_mount(folder, disk, tree, made)
    check_grown(folder, disk)


def said(*words):
    run = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return "" if run.returncode == 0 else f"{words[0]}: {run.stdout}"


def check_grown(folder, disk):
    """What happens to a sandbox's disk: it grows and is written to. The journal's room, too, is there at once."""
    copy, at = os.path.join(folder, "grown"), os.path.join(folder, "grown-mnt")
    shutil.copyfile(disk, copy)
    os.truncate(copy, 100 << 30)
    os.mkdir(at)
    tap.equal("it grows to 100 GiB", said("resize2fs", copy) or fsck(copy), "")
    if said("mount", "-o", "loop", copy, at):
        tap.skip("no file system can be mounted here", 3)
        return
    try:
        shutil.rmtree(os.path.join(at, "w"))
        os.makedirs(os.path.join(at, "etc", "new"))
        for i in range(3000):
            with open(os.path.join(at, "etc", "new", f"file-{i}"), "w", encoding="ascii") as file:
                file.write("x" * i)
        for i in range(300):
            os.link(os.path.join(at, "etc", "size-1"), os.path.join(at, "etc", f"l{i}"))
            os.rename(os.path.join(at, "etc", "new", f"file-{i}"), os.path.join(at, "many-names-" * 10 + str(i)))
        os.setxattr(os.path.join(at, "big"), "user.big", b"another" * 300)
        with open(os.path.join(at, "large"), "r+b") as file:
            file.truncate(100 << 20)
            file.seek(400 << 20)
            file.write(b"end")
        tap.ok("it has the room", shutil.disk_usage(at).free > 95 << 30, shutil.disk_usage(at))
    finally:
        tap.equal("it can be written to", said("umount", at), "")
    tap.equal("e2fsck finds nothing wrong afterwards", fsck(copy), "")
    os.unlink(copy)


def check_removed(folder):
    """What a later layer removes is not on the disk either."""
    layers, disk, marker = [], os.path.join(folder, "removed"), b"to be removed " * 400000
    for i, layer in enumerate((Layer().add("secret", marker), Layer().add(".wh.secret"))):
        layers.append((media_type(""), os.path.join(folder, f"removed-{i}")))
        with open(layers[-1][1], "wb") as file:
            file.write(layer.bytes())
    convert(disk, layers)
    tap.ok("a file that a layer removed takes no room", os.stat(disk).st_blocks * 512 < len(marker), os.stat(disk))
    with open(disk, "rb") as file:
        tap.ok("and cannot be read from the disk", marker[:4000] not in file.read())
    os.unlink(disk)


def check_gnu_sparse(folder):
    path, disk = os.path.join(folder, "sparse.tar"), os.path.join(folder, "sparse")
    with open(path, "wb") as file:
        file.write(sparse(folder)[0])
    result = convert(disk, [(media_type(""), path)])
    with open(os.path.join(folder, "holes-0"), "rb") as file:
        wanted = f"{zlib.crc32(file.read()):08x}"
    tap.equal("holes as GNU tar had them first", read_disk(disk)["/holes-0"][6], wanted)
    tap.ok("they are none on the disk", int(result.values["content"]) < 30 << 20, result)


def check_volumes(folder):
    """Directories that the image's configuration says are volumes, where nothing is."""
    layer = Layer().dir("kept", mode=0o700, uid=7, gid=8).add("kept/in", b"i").add("file", b"f").link("out", "/../led/to")
    layer.dir("led").link("nowhere", "no/where").dir("run", mode=0o711)
    volumes = ("/var/lib/data/", "/kept", "/file", "/out/in", "/nowhere", "relative/../volume", "/run/\u00e9", "/")
    config = json.dumps(dict(CONFIG, config=dict(CONFIG["config"], Volumes=dict.fromkeys(volumes, {})))).encode()
    path, disk, again = (os.path.join(folder, name) for name in ("volumes.tar", "volumes", "volumes-again"))
    with open(path, "wb") as file:
        file.write(layer.bytes())
    result = convert(disk, [(media_type(""), path)], config=config)
    tap.ok("an image with volumes converts", result.code == 0, result)
    tap.equal("e2fsck finds nothing wrong", fsck(disk), "")
    tree = read_disk(disk)
    made = {"/var", "/var/lib", "/var/lib/data", "/led/to", "/led/to/in", "/no", "/no/where", "/volume", "/run/\\xc3\\xa9"}
    tap.equal("they are there, and the directories above them", set(tree) - {"", "/lost+found", "/kept", "/kept/in", "/file",
                                                                           "/out", "/led", "/nowhere", "/run"}, made)
    tap.equal("0755, root's", {tree[name][:3] for name in made & set(tree)}, {(stat.S_IFDIR | 0o755, "0", "0")})
    tap.equal("what is there stays as it is", [tree[name][:3] for name in ("/kept", "/file", "/run")],
              [(stat.S_IFDIR | 0o700, "7", "8"), (stat.S_IFREG | 0o644, "0", "0"), (stat.S_IFDIR | 0o711, "0", "0")])
    convert(again, [(media_type(""), path)], config=config)
    tap.ok("twice the same, byte for byte", subprocess.run(["cmp", disk, again], check=False).returncode == 0)


def check_init(folder):
    def init_of(*build):
        layer = Layer()
        for step in build:
            step(layer)
        path, disk = os.path.join(folder, "init.tar"), os.path.join(folder, "init")
        with open(path, "wb") as file:
            file.write(layer.bytes())
        result = convert(disk, [(media_type(""), path)])
        os.unlink(disk)
        return json.loads(result.values["json"])["init"]

    def systemd(layer):
        layer.link("lib", "usr/lib").link("sbin", "usr/sbin").dir("usr/sbin").add("usr/lib/systemd/systemd", b"ELF")

    tap.equal("/sbin/init -> systemd", init_of(systemd, lambda l: l.link("sbin/init", "/lib/systemd/systemd")), "systemd")
    tap.equal("/lib/systemd/systemd alone", init_of(systemd), "systemd")
    tap.equal("another init beside it", init_of(systemd, lambda l: l.add("sbin/init", b"ELF")), "")
    tap.equal("a link to nowhere", init_of(lambda l: l.link("sbin/init", "../lib/systemd/systemd")), "")


def check_config(folder):
    def json_of(text):
        result = convert(os.path.join(folder, "config"), [], config=text if isinstance(text, bytes) else json.dumps(text).encode())
        if os.path.exists(os.path.join(folder, "config")):
            os.unlink(os.path.join(folder, "config"))
        return json.loads(result.values["json"]) if not result.error else result.error[2]

    tap.equal("a configuration", json_of(dict(CONFIG, config={
        "User": "a:b", "Env": ["A=1", "B=x=y", "A=2", "novalue", "=x", "E="], "WorkingDir": "/w", "Entrypoint": ["/e", ""],
        "Cmd": ["c"], "Labels": {"x": "y"}})), {"user": "a:b", "env": {"B": "x=y", "A": "2", "E": ""}, "workdir": "/w",
                                                "entrypoint": ["/e", ""], "cmd": ["c"], "init": ""})
    tap.equal("one that says nothing", json_of({"config": None}), {"init": ""})
    for name, text, wanted in (("no JSON", b"{", "the image's configuration: "), ("no object", b"[]", "it is no object"),
                               ("a Cmd that is a string", {"config": {"Cmd": "x"}}, "Cmd is"),
                               ("a number in Env", {"config": {"Env": [1]}}, "Env has"),
                               ("a list of volumes", {"config": {"Volumes": ["/a"]}}, "Volumes is an array, not an object"),
                               ("a volume without a name", {"config": {"Volumes": {"": {}}}}, "a path of 0 bytes"),
                               ("a volume of 5000 bytes", {"config": {"Volumes": {"/a" * 2500: {}}}}, "a path of 5000 bytes"),
                               ("257 volumes", {"config": {"Volumes": {f"/{i}": {} for i in range(257)}}}, "more than 256 paths"),
                               ("2 MiB", b" " * (2 << 20), "more than 1048576 bytes")):
        got = json_of(text)
        tap.ok(f"a configuration that is {name}", isinstance(got, str) and wanted in got, got)


def main():
    if not os.path.exists(os.path.join(BUILD, "t/run/check-convert")):
        tap.skip_all("built without the conversion of images")
    for program in ("umoci", "e2fsck", "zstd"):
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            tap.skip_all(f"{program} is not installed")
    if os.geteuid() != 0:
        tap.skip_all("umoci keeps owners and devices only for root")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    with tempfile.TemporaryDirectory(prefix="runner-convert.") as folder:
        check_odd(folder)
        check_removed(folder)
        check_gnu_sparse(folder)
        check_init(folder)
        check_volumes(folder)
        check_config(folder)
    tap.done()


if __name__ == "__main__":
    sys.exit(main())
