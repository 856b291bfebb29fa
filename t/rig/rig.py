"""A runner in a folder of its own, requests to it, its cost, VMMs started by hand: for the bench and for long tests."""

import fcntl
import functools
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

SRC = os.path.abspath(os.environ.get("top_srcdir", "."))
BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
FAKE_QEMU = os.path.join(BUILD, "t/fake/fake-qemu")
GIB = 1 << 30
IDLE_S = 75  # after which the runner ends a connection (core/http/server.c)


@functools.cache
def is_sanitized():
    """By the address sanitizer: all takes twice the time."""
    with open(os.path.join(BUILD, "runner-ch"), "rb") as file:
        return b"libasan" in file.read()


class Skip(Exception):
    """What this machine lacks: why a row has no figures, or a test is not run."""


class NotUp(RuntimeError):
    """A runner that does not come up: no reason to skip a test."""


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * q))]


median = statistics.median


def file_system(path):
    """The type of the file system that path is on; of an ext4 also whether it has a journal, and is in a file."""
    best, kind = "", "?"
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, point, fs = line.split()[:3]
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, fs
    if kind != "ext4":
        return kind
    number = os.stat(path).st_dev
    device = os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))
    try:
        with open(f"/proc/fs/ext4/{device}/options") as options:
            journal = "journal" if "\ndata=" in options.read() else "no journal"
    except FileNotFoundError:
        return kind
    return f"ext4 ({journal}{', loop' if device.startswith('loop') else ''})"


def free_ports(n, first=14000):
    """n ports of 127.0.0.1 that nobody listens at."""
    ports = []
    for port in range(first, 32000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == n:
            return ports
    raise Skip("no free ports")


owned = []  # files whose locks this process holds


def own_ports():
    """The first of a hundred ports on 127.0.0.1 that no other test on this machine is given while this process lives:
    as own_ports of t/run/lib.sh."""
    for i in range(90):
        n = (os.getpid() + i) % 90
        try:
            file = open(f"/tmp/runner-t.ports.{n}", "a")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another's
            continue
        owned.append(file)
        return 20000 + n * 100
    raise Skip("no ports are free: /tmp/runner-t.ports.* are all locked")


def exchange(sock, request, length):
    """The reply to a request, and the milliseconds until it was there. length(): of the whole reply, from what has come of
    it; None: not known yet."""
    begin = time.monotonic_ns()
    sock.sendall(request)
    reply, end = bytearray(), None
    while end is None or len(reply) < end:
        part = sock.recv(1 << 16)
        ms = (time.monotonic_ns() - begin) / 1e6
        if not part:
            raise ConnectionError(f"no reply to {request[:60]!r}: the connection ended")
        reply += part
        if end is None:
            end = length(reply)
    return bytes(reply), ms


def cpu_ms_of(pid):
    """The processor time of a process, of all threads that it has or had."""
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e6


class Client(http.client.HTTPConnection):
    """Keep-alive HTTP over a unix socket."""

    def __init__(self, path, seconds=None):
        """seconds: how long an answer may take."""
        super().__init__("runner")
        self.path, self.seconds = path, seconds
        self.used = 0  # when; of a connection

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.seconds)
        self.sock.connect(self.path)
        self.used = time.monotonic()

    def renew(self):
        """A connection that the runner may have ended by now is not used again."""
        if self.sock is not None and time.monotonic() - self.used > IDLE_S / 2:
            self.close()
        self.used = time.monotonic()

    def ask(self, method, path, body=None):
        """The status and the body as it came."""
        self.renew()
        text = None if body is None else json.dumps(body)
        self.request(method, path, text, {"Content-Type": "application/json"})
        reply = self.getresponse()
        return reply.status, reply.read()

    @staticmethod
    def judge(method, path, status, text):
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {text.decode(errors='replace')}")

    def call(self, method, path, body=None, as_text=False):
        """What a request that must succeed answers."""
        status, text = self.ask(method, path, body)
        self.judge(method, path, status, text)
        if as_text:
            return text.decode()
        return json.loads(text) if text else None

    @staticmethod
    def reply_length(reply):
        """Of a whole reply, once its head is there."""
        at = reply.find(b"\r\n\r\n")
        if at < 0:
            return None
        told = re.search(rb"\r\ncontent-length: *(\d+)", reply[:at + 2], re.I)
        return at + 4 + (int(told[1]) if told else 0)

    def timed(self, method, path, body=None):
        """The body of its answer, and the milliseconds until it was there, without what http.client takes, nor reading it:
        after a wait that takes Python 0.2 ms."""
        text = "" if body is None else json.dumps(body)
        request = (f"{method} {path} HTTP/1.1\r\nHost: runner\r\nContent-Type: application/json\r\n"
                   f"Content-Length: {len(text)}\r\n\r\n{text}").encode()
        self.renew()
        if self.sock is None:
            self.connect()
        reply, ms = exchange(self.sock, request, self.reply_length)
        body = reply.partition(b"\r\n\r\n")[2]
        self.judge(method, path, int(reply.split(None, 2)[1]), body)
        return body, ms


USER_NETWORK = "    network: {{plugin: user, first_port: {}, last_port: {}}}"


class Runner:
    """A runner in a folder below `base` with a fake QEMU. Its kinds say otherwise in arrange() and command()."""

    vmm = "QEMU"
    bridge = None  # of its guests' TAPs
    disk = "{plugin: qcow2}"
    CONFIG = """\
listen: ["unix:{dir}/api.sock"]
api: {{version: 0}}
log: {{level: {level}}}
check_interval: 24h
limits: {{queue: 4096}}
timeouts: {{create: 20m, ready: 15m, start: 20m}}
hosts:
  - name: local
    root: {root}
    run_dir: {dir}/run
    capacity: {{cpu_overcommit: 0, memory_overcommit: 0, disk_overcommit: 0}}
    transport: {{plugin: local}}
    disk: {disk}
    storage: none
{host}
"""
    level = "info"  # of its log
    is_test = False  # it may run beside others: only a hundred ports

    def __init__(self, base, env=None):
        self.env = dict(os.environ, **(env or {}))
        self.dir = tempfile.mkdtemp(prefix="rb.", dir=base)
        os.chmod(self.dir, 0o711)  # VMMs run as users of their own
        self.root = os.path.join(self.dir, "root")
        self.socket = os.path.join(self.dir, "api.sock")
        self.fs = file_system(self.dir)
        self.plugins = os.path.join(BUILD, "plugins")
        self.body = {"snapshot": "tiny", "userId": "bench", "osUser": "root", "cpuQuota": 1, "memoryQuota": 1,
                     "storageQuota": 3}
        self.ids = []
        os.makedirs(os.path.join(self.root, "snapshots"))
        os.makedirs(os.path.join(self.dir, "run"))
        with open(os.path.join(self.dir, "runner.yaml"), "w") as file:
            file.write(self.CONFIG.format(dir=self.dir, root=self.root, level=self.level, disk=self.disk, host=self.arrange()))
        self.log = open(os.path.join(self.dir, "runner.log"), "ab")
        self.client = Client(self.socket)
        self.launch()

    def begin(self):
        """Starts the process."""
        self.client.close()
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env=self.env)
        self.pid = self.process.pid

    def launch(self):
        """Again, too: after end()."""
        self.begin()
        self.wait_up()

    def end(self, number):
        """By that signal; the exit status. Its VMMs go on."""
        self.process.send_signal(number)
        return self.process.wait()

    def arrange(self):
        """Makes what it needs; the host's plugins, as lines of YAML."""
        self.make_snapshot()
        return f"    vmm: {{plugin: qemu, binary: {self.own_copy(FAKE_QEMU)}, accel: tcg}}\n" + self.user_network()

    def user_network(self):
        first = own_ports() if self.is_test else 11000  # where no test is
        return USER_NETWORK.format(first, first + (99 if self.is_test else 2999))

    def command(self):
        argv = [os.path.join(BUILD, "runner-ch"), "-c", os.path.join(self.dir, "runner.yaml")]
        return argv + ["--plugin-dir", self.plugins]

    def own_copy(self, program):
        """Of a VMM, where its users can reach it, with wishes of its own."""
        if not os.path.exists(program):
            raise Skip(f"{program} is not built")
        return shutil.copy(program, self.dir)

    def make_snapshot(self):
        at = os.path.join(self.root, "snapshots/tiny")
        os.makedirs(at)
        for name in ("vmlinux", "initramfs.img"):
            with open(os.path.join(at, name), "w") as file:
                file.write("\x7fELF " + name)  # a kernel for those who look
        with open(os.path.join(at, "disk.raw"), "wb") as file:
            file.truncate(64 << 20)
        with open(os.path.join(at, "manifest.json"), "w") as file:
            json.dump({"schema": 1, "name": "tiny", "version": "1", "arch": "x86_64", "kernel": "vmlinux",
                       "initramfs": "initramfs.img", "cmdline": "console=ttyS0 quiet", "daemon": True,
                       "disk": {"file": "disk.raw", "format": "raw", "sizeBytes": 64 << 20}}, file)

    def wait_up(self):
        """Until it answers; its hosts may not be up yet, nor what they had recovered."""
        until = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < until:
            try:
                self.client.call("GET", "/info")
                return
            except OSError:
                self.client.close()
                time.sleep(0.003)
        with open(self.log.name) as log:
            raise NotUp("the runner does not come up: " + log.read()[-300:].strip())

    def wait_idle(self, seconds=60):
        """Until it has nothing to do: what was asked is done, and after its start all is recovered."""
        until = time.monotonic() + seconds
        while True:
            metrics, _ = self.client.timed("GET", "/metrics")  # asked often: http.client would take most of the time
            tasks = dict(re.findall(rb'^runner_tasks\{state="(\w+)"\} (\d+)', metrics, re.M))
            if (tasks[b"running"], tasks[b"waiting"]) == (b"1", b"0"):
                return  # but for this look
            if time.monotonic() > until:
                raise RuntimeError(f"the runner is busy after {seconds} s: {tasks}")
            time.sleep(0.003)

    def create(self, client=None):
        """A sandbox; its id, the reply, the milliseconds it took."""
        id = str(uuid.uuid4())
        text, ms = (client or self.client).timed("POST", "/sandboxes", dict(self.body, id=id))
        self.ids.append(id)
        return id, json.loads(text), ms

    def create_many(self, n, at_once):
        """n creates, at_once of them at a time; seconds until all have answered."""
        def one(_):
            client = Client(self.socket)
            try:
                self.create(client)
            finally:
                client.close()
        begin = time.monotonic()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(one, range(n)))
        return time.monotonic() - begin

    def cycle_many(self, clients, seconds):
        """Creates and destroys without a pause by so many clients; how many sandboxes, and in how many seconds."""
        end = time.monotonic() + seconds
        def one(_):
            client, n = Client(self.socket), 0
            while time.monotonic() < end:
                id, _, _ = self.create(client)
                client.call("DELETE", "/sandboxes/" + id)
                n += 1
            client.close()
            return n
        begin = time.monotonic()
        with ThreadPoolExecutor(clients) as pool:
            n = sum(pool.map(one, range(clients)))
        self.ids = []
        return n, time.monotonic() - begin

    def destroy_all(self, at_once=16):
        def one(id):
            client = Client(self.socket)
            try:
                client.call("DELETE", "/sandboxes/" + id)
            finally:
                client.close()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(one, self.ids))
        self.ids = []

    def within(self):
        """Words before a command that is to run where the runner runs."""
        return []

    def cpu_ms(self):
        return cpu_ms_of(self.pid)

    def vmm_cpu_ms(self):
        """Of its VMMs that have ended."""
        with open(f"/proc/{self.pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
        return (int(words[13]) + int(words[14])) * 1e3 / os.sysconf("SC_CLK_TCK")

    def status(self):
        """RSS and private memory in KiB, threads, descriptors."""
        with open(f"/proc/{self.pid}/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        number = lambda key: int(lines[key].split()[0])
        return {"rss": number("VmRSS"), "anon": number("RssAnon"), "threads": number("Threads"),
                "fds": len(os.listdir(f"/proc/{self.pid}/fd"))}

    def status_at_rest(self):
        """The same, once the runner has given back what it needed for its work (core/pool-worker.c)."""
        time.sleep(1.5)
        return self.status()

    def vmm_of(self, id):
        """The command line of a sandbox's VMM."""
        with open(os.path.join(self.root, "sandboxes", id, "vmm.pid")) as file:
            pid = int(file.readline())
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [word.decode() for word in file.read().split(b"\0")[:-1]]

    def close(self):
        try:
            self.destroy_all()
        except (OSError, RuntimeError, http.client.HTTPException):
            pass
        self.end(signal.SIGTERM)
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class RealRunner(Runner):
    """With the real QEMU and the snapshot in a folder."""

    def __init__(self, base, snapshot):
        self.snapshot = snapshot
        super().__init__(base)

    def arrange(self):
        os.symlink(os.path.abspath(self.snapshot), os.path.join(self.root, "snapshots/tiny"))
        return "    vmm: {plugin: qemu, accel: auto}\n" + self.user_network()
