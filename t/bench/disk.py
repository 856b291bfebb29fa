"""Where machines of the bench have their disks."""

import atexit
import ctypes
import functools
import os
import shutil
import subprocess
import tempfile

from rig import file_system
from table import DISK, MEMORY

CLONE_NEWNS = 0x20000


def mount(point, size):
    """An ext4 with a journal, in a sparse file, for this process and those that it starts: it goes with the last of them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "no mount namespace")
    with tempfile.NamedTemporaryFile(prefix="rb.", dir=DISK) as image:
        image.truncate(size)
        for line in (["mkfs.ext4", "-q", "-F", image.name], ["mount", "--make-rprivate", "/"],
                     ["mount", "-o", "loop,noinit_itable", image.name, point]):
            subprocess.run(line, check=True, stderr=subprocess.PIPE, text=True)


@functools.cache
def disk():
    """A folder below DISK. Not on an ext4 without a journal, if that can be: no host has its sandboxes there, and it passes
    over inodes that were deleted within the last minutes, at some length."""
    if file_system(DISK) != "ext4 (no journal)":
        return DISK
    point = tempfile.mkdtemp(prefix="rb.", dir=DISK)
    try:
        mount(point, shutil.disk_usage(DISK).free // 2)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no journaled file system for the machines' disks: {getattr(error, 'stderr', None) or error}")
        os.rmdir(point)
        return DISK
    atexit.register(lambda: subprocess.run(["umount", "-l", point]).returncode == 0 and os.rmdir(point))
    return point


def bases():
    """In memory, and on disk."""
    return dict.fromkeys([MEMORY, disk()])
