"""Many requests under way at once, by one thread: each on a connection of its own, answered in any order."""

import json
import selectors
import socket
import time
from collections import namedtuple

Answer = namedtuple("Answer", "key status head body ms at")  # at: how many were answered before it


class Broken(Exception):
    """No whole answer came."""


def parse(raw):
    """Status, headers and body, or None when there is more to come."""
    head, mark, body = raw.partition(b"\r\n\r\n")
    if not mark:
        return None
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    if len(body) < int(headers["content-length"]):
        return None
    return int(lines[0].split()[1]), headers, body


class Many:
    """Requests to the unix socket at path."""

    def __init__(self, path):
        self.path = path
        self.selector = selectors.DefaultSelector()
        self.n_open = self.n_answered = 0

    def send(self, key, method, target, body=None):
        """Begins one; key is what its answer is known by."""
        text = b"" if body is None else json.dumps(body).encode()
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(self.path)
        peer.sendall(f"{method} {target} HTTP/1.1\r\nHost: runner\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {len(text)}\r\n\r\n".encode() + text)
        peer.setblocking(False)
        self.selector.register(peer, selectors.EVENT_READ, [key, bytearray(), time.monotonic()])
        self.n_open += 1

    def answers(self, seconds=300):
        """Until all have been answered, as they come. A connection that ends early is an answer of status 0."""
        until = time.monotonic() + seconds
        while self.n_open > 0:
            ready = self.selector.select(until - time.monotonic())
            if not ready:
                raise Broken(f"{self.n_open} requests have no answer after {seconds} s")
            for entry, _ in ready:
                answer = self._read(entry)
                if answer is not None:
                    yield answer

    def _read(self, entry):
        key, raw, began = entry.data
        try:
            part = entry.fileobj.recv(65536)
        except ConnectionError:
            part = b""
        raw += part
        parsed = parse(bytes(raw)) if part else (0, {}, bytes(raw))
        if parsed is None:
            return None
        self.selector.unregister(entry.fileobj)
        entry.fileobj.close()
        self.n_open -= 1
        self.n_answered += 1
        return Answer(key, *parsed, (time.monotonic() - began) * 1e3, self.n_answered)
