"""Rows about the disk of a sandbox: each disk plugin against a plain copy of the image."""

import os
import subprocess
import time

from disk import XFS, mounted
from rig import Runner, median
from table import rounds

IMAGE_MIB = 512
PIECES = 4096  # of an image that was written in no order


class Qcow2(Runner):
    """With an image of random bytes."""

    in_pieces = False

    def make_snapshot(self):
        super().make_snapshot()
        self.image = os.path.join(self.root, "snapshots/tiny/disk.raw")
        piece = IMAGE_MIB * 1024 * 1024 // PIECES
        order = range(PIECES)
        with open(self.image, "r+b") as file:
            for i in [*order[::2], *order[1::2]] if self.in_pieces else order:
                os.pwrite(file.fileno(), os.urandom(piece), i * piece)
                if self.in_pieces:
                    os.fdatasync(file.fileno())  # so that it gets blocks before its neighbours
        manifest = os.path.join(self.root, "snapshots/tiny/manifest.json")
        with open(manifest) as file:
            text = file.read()
        with open(manifest, "w") as file:
            file.write(text.replace(str(64 << 20), str(IMAGE_MIB << 20)))

    def copy(self):
        """As a plain program does it; milliseconds."""
        to = os.path.join(self.root, "copy")
        begin = time.monotonic()
        subprocess.run(["cp", "--reflink=never", self.image, to], check=True)
        os.truncate(to, self.body["storageQuota"] << 30)
        ms = (time.monotonic() - begin) * 1e3
        os.unlink(to)
        os.sync()  # not beside what comes next
        return ms


class Reflink(Qcow2):
    disk = "{plugin: reflink}"


class Pieces(Reflink):
    in_pieces = True


def row_disk(table):
    base = mounted(XFS)
    for kind, what in ((Qcow2, "disk/qcow2"), (Reflink, "disk/reflink"), (Pieces, f"disk/reflink, in {PIECES} pieces")):
        ours, theirs = [], []
        with kind(base) as runner:
            runner.body["skipStart"] = True

            def by_runner():
                ours.append(runner.create()[2])
                runner.destroy_all()
                os.sync()

            rounds(10, lambda: theirs.append(runner.copy()), by_runner)
            table.add(f"create, left stopped, of an image of {IMAGE_MIB} MiB on {runner.fs}, {what}",
                      ("a plain copy of the image", median(theirs)), median(ours), "ms")
