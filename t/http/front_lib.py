"""Raw sockets for both ends, and the driver between them."""
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile

DRIVER = sys.argv[1]
AUTH = b"Authorization: Bearer secret\r\n"
DIR = tempfile.mkdtemp(prefix="rct.")
TESTS = []
COUNT = [0]
PATIENT = "linger_ms=60000"  # an option of Front: else a slow machine is cut off before it has read the answer
PATIENCE = 60  # seconds until a wait counts as failed, on the slowest machine


def test(function):
    TESTS.append(function)
    return function


class Wire:
    """A socket with a buffer; every read ends after PATIENCE."""

    def __init__(self, sock):
        self.sock, self.data = sock, b""
        sock.settimeout(PATIENCE)

    def send(self, data):
        self.sock.sendall(data)
        return self

    def more(self):
        got = self.sock.recv(65536)
        self.data += got
        return bool(got)

    def until(self, mark):
        while mark not in self.data:
            assert self.more(), "end of data before %r: %r" % (mark, self.data)
        at = self.data.index(mark) + len(mark)
        out, self.data = self.data[:at], self.data[at:]
        return out

    def exactly(self, n):
        while len(self.data) < n:
            assert self.more(), "end of data after %d of %d bytes" % (len(self.data), n)
        out, self.data = self.data[:n], self.data[n:]
        return out

    def head(self):
        lines = self.until(b"\r\n\r\n").split(b"\r\n")
        fields = {}
        for line in lines[1:-2]:
            name, value = line.split(b": ", 1) if b": " in line else (line.rstrip(b":"), b"")
            fields.setdefault(name.decode().lower(), []).append(value.decode("latin-1"))
        return lines[0].decode("latin-1"), fields

    def answer(self, has_body=True):
        first, fields = self.head()
        status = int(first.split()[1])
        body = b""
        if has_body and "content-length" in fields:
            body = self.exactly(int(fields["content-length"][0]))
        return status, fields, body

    def rest(self):
        """All until the end; "reset" instead when it was cut."""
        try:
            while self.more():
                pass
        except ConnectionResetError:
            self.close()
            return "reset"
        out, self.data = self.data, b""
        return out

    def ends(self):
        """The peer closed or reset, and sent nothing more."""
        got = self.rest()
        return got in (b"", "reset")

    def close(self, reset=False):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Guest:
    def __init__(self, unix=None):
        if unix:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(unix)
            self.name = "unix:" + unix
        else:
            self.sock = socket.create_server(("127.0.0.1", 0), backlog=200)
            self.name = str(self.sock.getsockname()[1])
        self.sock.listen(200)
        self.sock.settimeout(PATIENCE)

    def accept(self):
        return Wire(self.sock.accept()[0])


class Front:
    def __init__(self, guest, *options, nofile=None, loops=2, conns=0, drain_ms=500):
        COUNT[0] += 1
        self.socket_path = os.path.join(DIR, "front-%d.sock" % COUNT[0])
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))) if nofile else None
        argv = [DRIVER, "-l", "127.0.0.1:0", "-l", "unix:" + self.socket_path, "-t", "secret", "-g", guest.name]
        argv += ["-n", str(loops), "-c", str(conns), "-d", str(drain_ms)]
        for option in options:
            argv += ["-o", option]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=0, preexec_fn=limit)
        self.port = int(self.line().split()[1])
        self.line()

    def line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        assert ready, "the driver says nothing"
        return self.process.stdout.readline().decode().strip()

    def connect(self, rcvbuf=None):
        sock = socket.socket()
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.connect(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Wire(sock)

    def connect_unix(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.socket_path)
        return Wire(sock)

    def ask(self, head, body=b"", auth=AUTH):
        wire = self.connect().send(head.encode() + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + auth +
                                   (b"Content-Length: %d\r\n" % len(body) if body else b"") + b"\r\n" + body)
        answer = wire.answer()
        wire.close()
        return answer

    def metrics(self):
        return json.loads(self.ask("GET /metrics")[2])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            out = self.process.communicate(timeout=2 * PATIENCE)[0].decode()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the driver did not end") from None
        assert self.process.returncode == 0, "the driver ended with %d" % self.process.returncode
        return out


def get(path, more=b"", method=b"GET", auth=AUTH):
    return method + b" " + path + b" HTTP/1.1\r\nHost: h\r\n" + auth + more + b"\r\n"


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"



def sandbox():
    """A sandbox of its own, so that no pooled connection is left from before."""
    COUNT[0] += 1
    return b"/sandboxes/box-%d/toolbox" % COUNT[0]


def same(got, wanted, what=""):
    assert got == wanted, "%s: got %r, wanted %r" % (what, got, wanted)


def exchange(front, guest, request=b"", path=b"/x"):
    """One GET that the guest has received and not yet answered: client, guest, the guest's request head."""
    client = front.connect().send(request or get(sandbox() + path))
    server = guest.accept()
    return client, server, server.head()


def pooled(front, guest):
    """A client whose sandbox has one idle connection in the pool; the guest's end of that."""
    box = sandbox()
    client = front.connect().send(get(box))
    server = guest.accept()
    server.head()
    server.send(OK)
    same(client.answer()[0], 200)
    return client, server, box
