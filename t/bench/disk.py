"""Where machines of the bench have their disks."""

import atexit
import ctypes
import functools
import os
import shutil
import subprocess
import tempfile

from rig import Skip, file_system
from table import DISK, MEMORY

CLONE_NEWNS = 0x20000


EXT4 = (["mkfs.ext4", "-q", "-F"], "loop,noinit_itable")  # with a journal
XFS = (["mkfs.xfs", "-q", "-f"], "loop")


def mount(point, size, kind):
    """A file system in a sparse file, for this process and those that it starts: it goes with the last of them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "no mount namespace")
    with tempfile.NamedTemporaryFile(prefix="rb.", dir=DISK) as image:
        image.truncate(size)
        make, options = kind
        for line in (make + [image.name], ["mount", "--make-rprivate", "/"],
                     ["mount", "-o", options, image.name, point]):
            subprocess.run(line, check=True, stderr=subprocess.PIPE, text=True)


@functools.cache
def disk():
    """A folder below DISK. Not on an ext4 without a journal, if that can be: no host has its sandboxes there, and it passes
    over inodes that were deleted within the last minutes, at some length."""
    if file_system(DISK) != "ext4 (no journal)":
        return DISK
    try:
        return mounted(EXT4)
    except Skip as reason:
        print(f"no journaled file system for the machines' disks: {reason}")
        return DISK


def mounted(kind):
    """A folder below DISK that is a file system of that kind, until this process ends."""
    point = tempfile.mkdtemp(prefix="rb.", dir=DISK)
    try:
        mount(point, shutil.disk_usage(DISK).free // 2, kind)
    except (OSError, subprocess.CalledProcessError) as error:
        os.rmdir(point)
        raise Skip(f"{kind[0][0]}: {getattr(error, 'stderr', None) or error}") from error
    atexit.register(lambda: subprocess.run(["umount", "-l", point]).returncode == 0 and os.rmdir(point))
    return point


def bases():
    """In memory, and on disk."""
    return dict.fromkeys([MEMORY, disk()])
