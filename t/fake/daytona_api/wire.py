"""HTTP/1.1 for many small requests: one asyncio protocol a connection, answers by callback, listeners that can fail."""

import asyncio
import json
import socket
import struct
import time
from urllib.parse import parse_qsl

HEAD_MAX = 64 << 10
HEADS_MAX = 1000
BODY_MAX = 16 << 20
JSON = "application/json; charset=utf-8"
REASONS = {200: "OK", 201: "Created", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
           404: "Not Found", 408: "Request Timeout", 409: "Conflict", 413: "Payload Too Large",
           429: "Too Many Requests", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
           502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}
to_json = json.JSONEncoder(separators=(",", ":")).encode


class BadRequest(Exception):
    """What is no HTTP: the status to answer before the connection is closed."""


class Reply:
    """status, body in bytes, further headers as pairs."""

    __slots__ = ("status", "body", "content_type", "headers")

    def __init__(self, status, body=b"", content_type=None, headers=()):
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers

    @classmethod
    def json(cls, status, value, headers=()):
        return cls(status, to_json(value).encode(), JSON, headers)


class Headers(dict):
    """By names in small letters. A client sends much the same ones all the time, so they are kept and not changed."""

    def __init__(self, text):
        super().__init__()
        self.is_good = False  # found to be what they should be, see schema.py
        for line in text.split("\r\n") if text else ():
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not name or name != name.strip():
                raise BadRequest(400)
            value = value.strip()
            self[name] = f"{self[name]}, {value}" if name in self else value

    def body_length(self):
        """In bytes; -1: chunked."""
        coding, length = self.get("transfer-encoding"), self.get("content-length", "0")
        if coding is not None:
            if coding.lower() != "chunked" or "content-length" in self:
                raise BadRequest(400)
            return -1
        if not length.isascii() or not length.isdigit():
            raise BadRequest(400)
        if int(length) > BODY_MAX:
            raise BadRequest(413)
        return int(length)


class Request:
    """A whole request. `answer` may come at any time, once; of a client that has gone it is dropped."""

    __slots__ = ("connection", "method", "target", "path", "query", "headers", "body", "route", "arg", "fault", "entry",
                 "answered")

    def __init__(self, connection, method, target, headers):
        self.connection = connection
        self.method = method
        self.target = target
        self.path, _, query = target.partition("?")
        self.query = parse_qsl(query, keep_blank_values=True) if query else []
        self.headers = headers
        self.body = b""
        self.route = self.arg = self.fault = self.entry = None
        self.answered = False

    def param(self, name):
        """The last of that name in the query, or None."""
        found = None
        for key, value in self.query:
            if key == name:
                found = value
        return found

    def answer(self, reply):
        if self.answered:
            return
        self.answered = True
        self.connection.listener.send(self, reply)


class Connection(asyncio.Protocol):
    def __init__(self, listener):
        self.listener = listener
        self.transport = None
        self.buffer = bytearray()
        self.request = None   # the one whose head is read, or that waits for its answer
        self.missing = 0      # bytes of its body; -1: chunked
        self.waiting = False  # for the answer
        self.looping = False
        self.idle_until = None
        self.timer = None

    def connection_made(self, transport):
        self.transport = transport
        self.listener.connections.add(self)
        if self.listener.mode in ("refuse", "close", "reset"):  # refuse: it was accepted just before
            self.cut(self.listener.mode != "close")

    def connection_lost(self, _):
        self.listener.connections.discard(self)
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data):
        if self.listener.mode == "hang":
            return
        self.buffer += data
        self.idle_until = None
        self.go_on()

    def go_on(self):
        if self.looping:
            return
        self.looping = True
        try:
            while self.buffer and not self.waiting and not self.transport.is_closing():
                request = self.parse()
                if request is None:
                    break
                self.waiting = True
                self.listener.handle(request)
        except BadRequest as bad:
            self.write(Reply.json(bad.args[0], {"statusCode": bad.args[0], "message": REASONS[bad.args[0]]}))
            self.transport.close()
        self.looping = False

    def parse(self):
        """The next request once all of it is there."""
        if self.request is None and not self.parse_head():
            return None
        request = self.request
        if self.missing < 0:
            request.body = self.unchunk()
            if request.body is None:
                return None
        else:
            if len(self.buffer) < self.missing:
                return None
            request.body = bytes(self.buffer[:self.missing])
            del self.buffer[:self.missing]
        self.request = None
        return request

    def parse_head(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0 or end > HEAD_MAX:
            if len(self.buffer) > HEAD_MAX:
                raise BadRequest(431)
            return False
        line, _, fields = self.buffer[:end].decode("latin-1").partition("\r\n")
        del self.buffer[:end + 4]
        words = line.split(" ")
        if len(words) != 3 or words[2] != "HTTP/1.1":
            raise BadRequest(400)
        headers = self.listener.seen.get(fields)
        if headers is None:
            headers = Headers(fields)
            if len(self.listener.seen) >= HEADS_MAX:
                self.listener.seen.clear()
            self.listener.seen[fields] = headers
        self.missing = headers.body_length()
        self.request = Request(self, words[0], words[1], headers)
        if headers.get("expect", "").lower() == "100-continue" and len(self.buffer) < abs(self.missing):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def unchunk(self):
        """A whole chunked body, or None as long as it is not all there."""
        body, at = bytearray(), 0
        while True:
            end = self.buffer.find(b"\r\n", at)
            if end < 0:
                return None
            try:
                size = int(bytes(self.buffer[at:end]).split(b";")[0], 16)
            except ValueError:
                raise BadRequest(400) from None
            if size < 0 or len(body) + size > BODY_MAX:
                raise BadRequest(413)
            at = end + 2
            if size == 0:
                break
            if len(self.buffer) < at + size + 2:
                return None
            body += self.buffer[at:at + size]
            at += size + 2
        end = self.buffer.find(b"\r\n", at)  # no trailers are expected
        if end < 0:
            return None
        del self.buffer[:end + 2]
        return bytes(body)

    def write(self, reply):
        self.transport.write(self.listener.head(reply) + reply.body)

    def done(self, request):
        """The answer is out; the next request, or idleness until it comes."""
        self.waiting = False
        if request.headers.get("connection", "").lower() == "close":
            self.transport.close()
        elif self.buffer:
            self.go_on()
        elif self.listener.idle_s is not None:
            self.idle_until = self.listener.loop.time() + self.listener.idle_s
            if self.timer is None:
                self.timer = self.listener.loop.call_later(self.listener.idle_s, self.on_idle)

    def on_idle(self):
        self.timer = None
        if self.idle_until is None:
            return
        left = self.idle_until - self.listener.loop.time()
        if left > 0:
            self.timer = self.listener.loop.call_later(left, self.on_idle)
        else:
            self.transport.close()

    def cut(self, reset=False):
        """Ends the connection at once; what was written before a reset may be lost."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        else:
            self.transport.close()


class Listener:
    """An address with its connections. Modes: "up"; "refuse": nobody listens; "close", "reset": each connection is
    ended at once; "hang": what comes is read and nothing answered."""

    def __init__(self, loop, handle, sock, idle_s=None, tls=None):
        self.loop = loop
        self.handle = handle
        self.sock = sock           # bound as long as the process lives; it listens unless it is to refuse
        self.idle_s = idle_s
        self.tls = tls             # an SSLContext, or None
        self.skew_s = 0
        self.mode = "up"
        self.server = None
        self.connections = set()
        self.seen = {}             # header lines of requests, parsed
        self.second = 0
        self.heads = {}            # of replies, but for the length, in this second
        self.send = self.send_plain

    async def open(self):
        self.sock.listen(1024)
        self.server = await self.loop.create_server(lambda: Connection(self), sock=self.sock.dup(), backlog=1024,
                                                    ssl=self.tls)

    async def set_mode(self, mode):
        if mode == self.mode:
            return
        before, self.mode = self.mode, mode
        for connection in list(self.connections):
            if mode in ("refuse", "close", "reset") or before == "hang":
                connection.cut(mode != "close")
        if mode == "refuse":
            self.server.close()
            port = self.sock.getsockname()[1]
            self.sock.close()
            self.sock = loopback_socket(port)  # the port stays its own, and connecting to it is refused
        elif before == "refuse":
            await self.open()

    def head(self, reply):
        second = int(time.time() + self.skew_s)
        if second != self.second:
            self.second = second
            self.heads.clear()
        key = reply.status, reply.content_type, tuple(reply.headers)
        head = self.heads.get(key)
        if head is None:
            head = self.heads[key] = self.make_head(reply)
        return head + b"%d\r\n\r\n" % len(reply.body)

    def make_head(self, reply):
        lines = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Unknown')}"]
        if reply.content_type is not None:
            lines.append(f"Content-Type: {reply.content_type}")
        lines += [f"{name}: {value}" for name, value in reply.headers]
        lines += [time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime(self.second)), "Connection: keep-alive"]
        if self.idle_s is not None:
            lines.append(f"Keep-Alive: timeout={max(1, round(self.idle_s))}")
        return ("\r\n".join(lines) + "\r\nContent-Length: ").encode("latin-1")

    def send_plain(self, request, reply):
        connection = request.connection
        if connection.transport.is_closing() or self.mode == "hang":
            return
        connection.write(reply)
        connection.done(request)


def loopback_socket(port=0):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


def unix_socket(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.setblocking(False)
    return sock
