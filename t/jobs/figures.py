"""What a healthcheck says of the host, whose counters are files of this test's, by a mount namespace of the runner's."""

import os
import subprocess
import tempfile

import tap
from daytona import DaytonaApi
from rig_jobs import JobRunner

MIB = 1 << 10  # KiB, as /proc/meminfo has it


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


class FramedRunner(JobRunner):
    """Sees a /proc/stat and a /proc/meminfo that the test writes."""

    def __init__(self, base, api):
        self.stat, self.meminfo = os.path.join(base, "stat"), os.path.join(base, "meminfo")
        self.set_ticks(1000, 9000)
        self.set_memory(total=16384, free=8192, huge=0)
        super().__init__(base, api)

    def command(self):
        script = 'mount --bind "$1" /proc/stat && mount --bind "$2" /proc/meminfo && shift 2 && exec "$@"'
        return ["unshare", "-m", "sh", "-c", script, "sh", self.stat, self.meminfo, *super().command()]

    def set_ticks(self, busy, idle):
        write(self.stat, f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 0\n")

    def set_memory(self, total, free, huge):
        """MiB."""
        write(self.meminfo, f"MemTotal: {total * MIB} kB\nMemAvailable: {free * MIB} kB\nHugetlb: {huge * MIB} kB\n")


def shown(api):
    """Of a healthcheck whose figures were read from now on."""
    api.wait(60, requests="healthcheck", count=api.counts()["healthcheck"] + 2)
    return api.call("GET", "/runner")


def check(api, runner):
    runner.set_ticks(1000, 9000)
    load = shown(api)["metrics"]["currentCpuUsagePercentage"]
    tap.ok("until two looks differ, the load stands for it", 0 <= load <= 100, load)
    runner.set_ticks(1750, 9250)
    tap.equal("the processors are as busy as their counters say", shown(api)["metrics"]["currentCpuUsagePercentage"], 75)
    runner.set_ticks(10, 90)
    shown(api)
    runner.set_ticks(20, 180)
    tap.equal("after the host has booted, too", shown(api)["metrics"]["currentCpuUsagePercentage"], 10)

    said = shown(api)["metrics"]
    tap.equal("memory", (said["memoryGiB"], said["currentMemoryUsagePercentage"]), (16, 50))
    runner.set_memory(total=16384, free=8192, huge=4096)
    said = shown(api)["metrics"]
    tap.equal("gotcha 33: huge pages, which no machine here uses, are neither there nor used",
              (said["memoryGiB"], round(said["currentMemoryUsagePercentage"], 2)), (12, 33.33))

    os.rename(runner.root, runner.root + ".away")
    said = shown(api)
    os.rename(runner.root + ".away", runner.root)
    tap.equal("a host that cannot be looked at is as it was seen last", said["metrics"]["memoryGiB"], 12)
    tap.ok("and not an empty one", said["metrics"]["currentDiskUsagePercentage"] > 0, said)


def main():
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        tap.skip_all("no mount namespace can be made here")
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, FramedRunner(base, api) as runner:
            api.wait(60, runner="ready")
            check(api, runner)
    tap.done()


if __name__ == "__main__":
    main()
