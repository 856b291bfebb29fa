"""Rows about a runner that has a thousand sandboxes: what looks at them cost, its rest, its restart."""

import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
from datetime import datetime, timezone

from rig import Client, Runner, median, quantile
from table import MEMORY, number

LOOKS = 60
REST_SECONDS = 10


class StaticServer:
    """nginx with one worker, which serves one reply from a file over a unix socket."""

    def __init__(self, body):
        self.dir = tempfile.mkdtemp(prefix="rbn.", dir=MEMORY)
        os.chmod(self.dir, 0o755)
        with open(os.path.join(self.dir, "reply"), "wb") as file:
            file.write(body)
        temp = " ".join(f"{kind}_temp_path {self.dir}/{kind};" for kind in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(os.path.join(self.dir, "nginx.conf"), "w") as file:
            file.write(f"daemon off; worker_processes 1; pid {self.dir}/pid; error_log {self.dir}/log;\n"
                       f"events {{}}\nhttp {{ access_log off; {temp}\n"
                       f"server {{ listen unix:{self.dir}/socket; root {self.dir}; }} }}\n")
        self.process = subprocess.Popen(["nginx", "-p", self.dir, "-e", f"{self.dir}/log", "-c",
                                         f"{self.dir}/nginx.conf"])
        self.client = Client(os.path.join(self.dir, "socket"))
        while self.process.poll() is None and not os.path.exists(self.client.path):
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def look(table, what, client, path, target):
    """One request many times, and the same bytes from a file of nginx in turn."""
    _, body = client.ask("GET", path)
    ours, theirs = [], []
    if shutil.which("nginx") is None:
        ours = [client.timed("GET", path)[1] for _ in range(LOOKS)]
    else:
        with StaticServer(body) as server:
            for _ in range(LOOKS):
                ours.append(client.timed("GET", path)[1])
                theirs.append(server.client.timed("GET", "/reply")[1])
    print(f"{what}: {len(body)} bytes, ms p50 {median(ours):.2f} p99 {quantile(ours, .99):.2f}")
    reference = ("the same bytes from a file, by nginx", median(theirs)) if theirs else None
    table.add(what + ": p50", reference, median(ours), "ms", target)


def switches(pid):
    """How often all threads of a process have been switched away from, of their own will or not."""
    n = 0
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(path) as file:
            n += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
    return n


def rest(table, runner, what):
    time.sleep(2)  # the pool gives memory back a second after its last task
    before = switches(runner.pid)
    time.sleep(REST_SECONDS)
    table.add(f"wakeups at rest, {what}", None, (switches(runner.pid) - before) / REST_SECONDS, "1/s", "<= 1")


def last_adopted(path, start, n):
    """The wall clock when the log, from `start` bytes on, told the end of the last of n recoveries."""
    while True:
        with open(path) as log:
            log.seek(start)
            told = [line for line in log if "event=op.done" in line and "op=recover" in line]
        if len(told) >= n:
            when = datetime.strptime(told[n - 1].split()[0], "%Y-%m-%dT%H:%M:%S.%fZ")
            return when.replace(tzinfo=timezone.utc).timestamp()
        time.sleep(0.05)


def read_all(pattern):
    """Milliseconds that a program takes to read the files."""
    begin = time.monotonic()
    subprocess.run(["cat"] + glob.glob(pattern), stdout=subprocess.DEVNULL, check=True)
    return (time.monotonic() - begin) * 1e3


def adopt(table, runner, n):
    ours, theirs = [], []
    for _ in range(3):
        runner.end(signal.SIGKILL)
        start, begin = os.path.getsize(runner.log.name), time.time()
        runner.begin()
        ours.append((last_adopted(runner.log.name, start, n) - begin) * 1e3)
        runner.wait_up()
        theirs.append(read_all(os.path.join(runner.root, "sandboxes/*/runner.json")))
        alive = sum(box["state"] == "started" for box in runner.client.call("GET", "/sandboxes")["sandboxes"])
        if alive != n:
            raise RuntimeError(f"{alive} of {n} sandboxes are started after a restart")
    print(f"{n} fake VMs after kill -9 of the runner: ms from exec to the last adopted " +
          " ".join(f"{ms:.0f}" for ms in ours))
    table.add(f"adoption of {n} fake VMs after kill -9", ("cat of their records", median(theirs)), median(ours), "ms",
              "<= 1000 ms")


def row_thousand(table):
    n = number("SANDBOXES", 1000)
    with Runner(MEMORY) as runner:
        rest(table, runner, "no sandbox")
        runner.create_many(n, 16)
        rest(table, runner, f"{n} sandboxes")
        look(table, f"GET /sandboxes, {n} of them", runner.client, "/sandboxes", "<= 5 ms")
        look(table, f"GET /metrics, {n} sandboxes", runner.client, "/metrics", "<= 10 ms")
        look(table, "GET of one sandbox", runner.client, "/sandboxes/" + runner.ids[0], "-")
        adopt(table, runner, n)
