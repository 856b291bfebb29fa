"""What a runner needs whose images come from a shelf (t/plugin/shelf.c), where they can be held up."""

import glob
import hashlib
import json
import os

from rig import BUILD

STORAGE = "storage: {{plugin: shelf, dir: {dir}/shelf}}"  # in place of "storage: none" of CONFIG


class Shelf:
    """Beside a Runner, before it."""

    def arrange(self):
        self.plugins = os.path.join(self.dir, "plugins")
        for plugin in glob.glob(os.path.join(BUILD, "plugins/*/*.so")) + [os.path.join(BUILD, "t/plugin/shelf.so")]:
            kind = "storage" if plugin.endswith("shelf.so") else os.path.basename(os.path.dirname(plugin))
            os.makedirs(os.path.join(self.plugins, kind), exist_ok=True)
            os.symlink(plugin, os.path.join(self.plugins, kind, os.path.basename(plugin)))
        os.makedirs(os.path.join(self.root, "boot"))
        for name, text in (("vmlinux", "\x7fELF"), ("initramfs.img", "initramfs"), ("manifest.json", json.dumps(
                {"schema": 1, "kernel": "vmlinux", "initramfs": "initramfs.img", "cmdline": "console=ttyS0"}))):
            with open(os.path.join(self.root, "boot", name), "w") as file:
                file.write(text)
        return super().arrange()

    def put_on_shelf(self, ref, content=None, is_held=False):
        """An object whose digest follows from the content, by default its ref; held: pulls wait until go(). The digest."""
        at, digest = os.path.join(self.dir, "shelf", ref), hashlib.sha256((content or ref).encode()).hexdigest()
        os.makedirs(at)
        for name, text in (("digest", digest), ("disk.raw", content or ref), *([("hold", "")] if is_held else [])):
            with open(os.path.join(at, name), "w") as file:
                file.write(text)
        os.truncate(os.path.join(at, "disk.raw"), 64 << 20)
        return digest

    def go(self, ref):
        with open(os.path.join(self.dir, "shelf", ref, "hold"), "w") as file:
            file.write("go\n")

    def pulls(self):
        """How many there were so far."""
        return len(glob.glob(os.path.join(self.dir, "shelf/pulls/*")))
