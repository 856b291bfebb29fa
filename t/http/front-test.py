"""Raw bytes in, raw bytes out: each test speaks for the client and for the guest. TAP on stdout."""
import ctypes
import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from front_lib import (AUTH, DIR, DRIVER, OK, PATIENCE, TESTS, Front, Guest, Wire, exchange, get, pooled, same, sandbox,
                       test)


@test
def path_bytes_are_untouched(front, guest):
    cases = [(b"/a%2Fb/../c//d;x?q=%zz&a=[1]|\"\\^", None), (b"", b"/"), (b"?x", b"/?x"), (b"//a", b"//a"),
             (b"/%61b%2Fc%20d/./", None), (b"/\xc3\xa9", None), (b"/", b"/")]
    for sent, wanted in cases:
        client, server, (line, _) = exchange(front, guest, get(sandbox() + sent))
        same(line.encode("latin-1"), b"GET " + (sent if wanted is None else wanted) + b" HTTP/1.1")
        server.send(OK)
        same(client.answer()[0], 200)
    status, _, body = front.ask("GET /sandboxes/box-1/toolboxx")
    same((status, body), (404, b"404 page not found"))


@test
def ports_and_prefixes(front, guest):
    for path, line, host in ((b"/sandboxes/box/proxy/8080/a/b?c", "GET /a/b?c HTTP/1.1", "guest:8080"),
                             (b"/sandboxes/prefixed/proxy/81", "GET /via/81/ HTTP/1.1", "guest:81"),
                             (b"/sandboxes/prefixed/proxy/81/x", "GET /via/81/x HTTP/1.1", "guest:81")):
        client, server, (got, fields) = exchange(front, guest, get(path))
        same((got, fields["host"]), (line, [host]))
        server.send(OK)
        same(client.answer()[0], 200)
        server.close()
    for port in ("0", "65536", "08", "x", "8080x", "", "-1"):
        status, _, body = front.ask("GET /sandboxes/box/proxy/%s/" % port)
        same((port, status, json.loads(body)["code"]), (port, 400, "BAD_REQUEST"))


@test
def four_pipelined(front, guest):
    box = sandbox()
    post = b"POST " + box + b"/3 HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Content-Length: 4\r\n\r\nbody"
    client = front.connect().send(get(box + b"/1") + get(b"/info") + get(box + b"/2") + post)
    server = guest.accept()
    for path, body in (("/1", b""), ("/2", b""), ("/3", b"body")):
        line, fields = server.head()
        same(line.split()[1], path)
        same(server.exactly(len(body)), body)
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + path.encode())
        same(client.answer()[2], path.encode())
        if path == "/1":
            same(client.answer()[2], b'"ok"')
    client.send(get(b"/info"))
    same(client.answer()[0], 200)


@test
def chunked_byte_by_byte(front, guest):
    box = sandbox()
    body = b"5;ext=\"a\"\r\nhello\r\n0A \r\n0123456789\r\n0\r\nTrailer-A: b\r\n\r\n"
    client = front.connect()
    for byte in b"POST " + box + b" HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Transfer-Encoding: chunked\r\n\r\n" + body:
        client.send(bytes([byte]))
    client.send(get(box + b"/next"))
    server = guest.accept()
    _, fields = server.head()
    same(fields["transfer-encoding"], ["chunked"])
    same(server.exactly(len(body)), body)
    answer = b"3\r\nabc\r\n0\r\nSum: 1\r\n\r\n"
    for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n" + answer:
        server.send(bytes([byte]))
    same(server.head()[0], "GET /next HTTP/1.1")
    server.send(OK)
    status, fields = client.head()
    same(fields["trailer"], ["Sum"])
    same(client.exactly(len(answer)), answer)
    same(client.answer()[2], b"ok")


@test
def answers_without_body(front, guest):
    box = sandbox()
    client = front.connect().send(get(box, method=b"HEAD"))
    server = guest.accept()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    same(client.answer(has_body=False)[1]["content-length"], ["1000"])
    for head in (b"204 No Content\r\n", b"304 Not Modified\r\nContent-Length: 9\r\n"):
        client.send(get(box))
        server.head()
        server.send(b"HTTP/1.1 " + head + b"\r\n")
        same(client.answer(has_body=False)[0], int(head[:3]))
    client.send(get(box))
    server.head()
    server.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK)
    same([client.answer(has_body=False)[0] for _ in range(2)], [102, 103])
    same(client.answer()[2], b"ok")


@test
def interim_answers_without_end(front, guest):
    client, server, _ = exchange(front, guest)
    server.sock.settimeout(PATIENCE)
    try:
        for _ in range(64):
            server.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)
    except (BrokenPipeError, ConnectionResetError):
        pass
    statuses = []
    while not statuses or statuses[-1] < 200:
        statuses.append(client.answer()[0])
    same((len(statuses) < 200, statuses[-1]), (True, 502))


@test
def upgrade_only_when_asked(front, guest):
    client, server, _ = exchange(front, guest)
    server.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    same(client.answer()[0], 502)
    box = sandbox()
    upgrade = b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    client = front.connect().send(get(box, upgrade))
    server = guest.accept()
    _, fields = server.head()
    same((fields["connection"], fields["upgrade"]), (["Upgrade"], ["websocket"]))
    server.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    same(client.answer()[0], 403)
    client.send(get(box + b"/after"))
    same(server.head()[0], "GET /after HTTP/1.1")
    server.send(OK)
    same(client.answer()[2], b"ok")


@test
def guest_breaks_before_the_head_is_whole(front, guest):
    for part in (b"", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\nContent-", b"garbage\r\n\r\n", b"SSH-2.0-x\r\n",
                 b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                 b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                 b"HTTP/1.1 200 OK\r\nContent-Length: 1,1\r\n\r\na", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"):
        client, server, _ = exchange(front, guest)
        server.send(part)
        server.close()
        status, fields, body = client.answer()
        same((part, status, body), (part, 502, b""))


@test
def guest_breaks_in_the_body(front, guest):
    for part in (b"Content-Length: 10\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
                 b"Transfer-Encoding: chunked\r\n\r\n2\r\nabX"):
        client, server, _ = exchange(front, guest)
        server.send(b"HTTP/1.1 200 OK\r\n")
        server.send(part[:part.index(b"\r\n\r\n") + 4])
        client.head()
        server.send(part[part.index(b"\r\n\r\n") + 4:])
        server.close()
        same((part, client.rest()), (part, "reset"))
    client, server, _ = exchange(front, guest)
    server.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    server.close()
    same(client.head()[1]["connection"], ["close"])
    same(client.rest(), b"all of it")


@test
def stale_pooled_connection(front, guest):
    client, server, box = pooled(front, guest)
    client.send(get(box + b"/again"))
    server.head()
    server.close(reset=True)
    server = guest.accept()
    same(server.head()[0], "GET /again HTTP/1.1")
    server.send(OK)
    same(client.answer()[0], 200)
    client.send(b"POST " + box + b" HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Content-Length: 1\r\n\r\na")
    server.head()
    server.close(reset=True)
    same(client.answer()[0], 502)
    client, server, box = pooled(front, guest)
    client.send(get(box))
    server.head()
    server.send(b"H")
    server.close()
    same(client.answer()[0], 502, "a byte of the answer came: no replay")


@test
def idle_pooled_connection_closed_by_guest(front, guest):
    client, server, box = pooled(front, guest)
    server.sock.shutdown(socket.SHUT_WR)
    assert server.ends(), "the front closes it"
    client.send(b"POST " + box + b" HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Content-Length: 1\r\n\r\na")
    server = guest.accept()
    server.head()
    server.send(OK)
    same(client.answer()[0], 200)


@test
def bytes_on_an_idle_connection_are_no_answer(front, guest):
    client, server, box = pooled(front, guest)
    server.send(OK)
    assert server.ends()
    client.send(get(box + b"/fresh"))
    server = guest.accept()
    same(server.head()[0], "GET /fresh HTTP/1.1")
    server.send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
    same(client.answer()[0], 201)


@test
def answer_behind_the_answer_is_dropped(front, guest):
    client, server, box = pooled(front, guest)
    client.send(get(box))
    server.head()
    server.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    same(client.answer()[2], b"ok")
    client.send(get(box))
    server = guest.accept()
    server.head()
    server.send(OK)
    same(client.answer()[2], b"ok")


PATIENT = "linger_ms=60000"  # else a slow machine is cut off before it has read the answer


def early_413(front, guest):
    client = front.connect()
    size = 50 << 20

    def upload():
        try:
            client.sock.sendall(b"POST " + sandbox() + b" HTTP/1.1\r\nHost: h\r\n" + AUTH +
                                b"Content-Length: %d\r\n\r\n" % size)
            block = bytes(1 << 20)
            for _ in range(50):
                client.sock.sendall(block)
        except OSError:
            pass

    thread = threading.Thread(target=upload)
    thread.start()
    server = guest.accept()
    server.head()
    server.exactly(100000)
    server.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    server.close()
    status, fields, body = client.answer()
    same((status, body, fields.get("connection")), (413, b"big", ["close"]))
    thread.join()
    client.close()


@test
def early_413_reaches_the_uploader(front, guest):
    patient = Front(guest, PATIENT)
    for _ in range(20):
        early_413(patient, guest)
    patient.stop()


@test
def early_413_from_a_unix_guest(front, guest):
    guest = Guest(os.path.join(DIR, "guest.sock"))
    other = Front(guest, PATIENT)
    for _ in range(20):
        early_413(other, guest)
    other.stop()


@test
def late_upload_is_drained(front, guest):
    patient = Front(guest, PATIENT)
    client = patient.connect().send(b"POST " + sandbox() + b" HTTP/1.1\r\nHost: h\r\n" + AUTH +
                                  b"Content-Length: 1000\r\n\r\nabc")
    server = guest.accept()
    server.head()
    server.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    same(client.answer()[0], 413)
    for _ in range(3):
        client.send(bytes(300))  # to a closed socket, the second would fail
    same(client.rest(), b"")
    client.close()
    patient.stop()


@test
def expect_passes_through(front, guest):
    box = sandbox()
    head = b"POST " + box + b" HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    client = front.connect().send(head)
    server = guest.accept()
    same(server.head()[1]["expect"], ["100-continue"])
    assert not select.select([client.sock], [], [], 0.05)[0], "the front answered Expect itself"
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    same(client.answer(has_body=False)[0], 100)
    client.send(b"abc")
    same(server.exactly(3), b"abc")
    server.send(OK)
    same(client.answer()[0], 200)
    client.send(head)
    server.head()
    server.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
    status, fields, _ = client.answer()
    same((status, fields["connection"]), (417, ["close"]))
    assert client.ends()


BAD_HEADS = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Content-Length: 5\r\nContent-Length: 5",
    b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length: -5",
    b"Content-Length: 12345678901234567890", b"Content-Length:", b"Content-Length: 0x5", b"Content-Length: 5 5",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding:", b"A: b\r\n folded", b"A: b\x00c", b"A: b\rc", b"A: b\x01c",
    b" A: b", b": b", b"A b", b"Host: other"]
BAD_LINES = [b"GET  HTTP/1.1", b"GET\t/ HTTP/1.1", b"G(T / HTTP/1.1", b"GET / HTTP/2.0", b"GET /", b"GET /\x00 HTTP/1.1",
             b"CONNECT h:80 HTTP/1.1", b"GET * HTTP/1.1", b"GET x HTTP/1.1", b"GET ftp://h/ HTTP/1.1",
             b"GET http:// HTTP/1.1", b"PRI * HTTP/2.0"]


@test
def bad_heads_are_400(front, guest):
    before = front.metrics()["dials"]
    box = sandbox()
    for lines in BAD_HEADS:
        client = front.connect().send(get(box, lines + b"\r\n", method=b"POST"))
        status, fields, body = client.answer()
        same((lines, status, json.loads(body)["statusCode"]), (lines, 400, 400))
        assert client.ends(), "%r: the connection stays" % lines
    for line in BAD_LINES:
        client = front.connect().send(line + b"\r\nHost: h\r\n" + AUTH + b"\r\n")
        same((line, client.answer()[0]), (line, 400))
        assert client.ends()
    client = front.connect().send(b"GET " + box + b" HTTP/1.1\r\n" + AUTH + b"\r\n")
    same(client.answer()[0], 400, "no Host")
    client = front.connect().send(b"POST " + box + b" HTTP/1.0\r\n" + AUTH + b"Transfer-Encoding: chunked\r\n\r\n")
    same(client.answer()[0], 400, "chunked in HTTP/1.0")
    same(front.metrics()["dials"], before, "dials")


@test
def bad_chunks_are_400(front, guest):
    for chunks in (b"5\nhello\r\n", b"-1\r\n", b"0x5\r\nhello\r\n", b"12345678901234567\r\n", b"5\r\nhelloX", b"\r\n",
                   b";x\r\n", b"5\r\nhello\n", b"5;a\x00\r\n", b"G\r\n", b"0\r\nA: b\n\r\n"):
        box = sandbox()
        client = front.connect().send(b"POST " + box + b" HTTP/1.1\r\nHost: h\r\n" + AUTH +
                                      b"Transfer-Encoding: chunked\r\n\r\n")
        server = guest.accept()
        server.head()
        client.send(chunks)
        status, _, body = client.answer()
        same((chunks, status, json.loads(body)["code"]), (chunks, 400, "BAD_REQUEST"))
        assert server.rest() is not None
        server.close()
        assert client.ends()


@test
def hop_by_hop_headers_stay(front, guest):
    more = (b"Connection: X-Named, close-not, host, content-length\r\nX-Named: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\n"
            b"Proxy-Connection: a\r\nProxy-Authorization: b\r\nX-Kept: \t v \r\nUpgrade: h2c\r\nContent-Length: 2\r\n")
    client = front.connect().send(get(sandbox(), more, method=b"POST") + b"hi")
    server = guest.accept()
    _, fields = server.head()
    same(fields, {"host": ["guest:2280"], "x-kept": ["v"], "content-length": ["2"], "x-forwarded-for": ["127.0.0.1"]})
    server.send(b"HTTP/1.1 200 Very OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-End: 2\r\n"
                b"Content-Length: 0\r\n\r\n")
    line, fields = client.head()
    same(line, "HTTP/1.1 200 Very OK")
    same(fields, {"x-end": ["2"], "content-length": ["0"]})


@test
def authorization_stays_only_when_used_here(front, guest):
    runner = b"X-Daytona-Authorization: Bearer secret\r\n"
    for auth, wanted in ((AUTH, None), (runner, None), (runner + b"Authorization: Basic abc\r\n", ["Basic abc"]),
                         (b"X-Daytona-Authorization: \r\n" + AUTH, None)):
        client = front.connect().send(get(sandbox(), b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n",
                                          auth=auth))
        server = guest.accept()
        _, fields = server.head()
        same(fields.get("authorization"), wanted)
        same(fields.get("x-daytona-authorization"), None)
        same(fields["x-forwarded-for"], ["1.2.3.4, 5.6.7.8, 127.0.0.1"])
        server.send(OK)
        same(client.answer()[0], 200)
    client = front.connect_unix().send(get(sandbox(), auth=b"Authorization: Basic abc\r\n"))
    server = guest.accept()
    same(server.head()[1].get("authorization"), ["Basic abc"])
    server.send(OK)
    same(client.answer()[0], 200)


@test
def every_request_shows_the_token(front, guest):
    required, form, invalid = (b"unauthorized: authorization header required",
                               b"unauthorized: invalid authorization header format", b"unauthorized: invalid token")
    cases = [(b"", required), (b"Authorization:\r\n", required), (b"Authorization: secret\r\n", form),
             (b"Authorization: bearer secret\r\n", form), (b"Authorization: Bearer\r\n", form),
             (b"Authorization: Bearer a b\r\n", form), (b"Authorization: Bearer secre\r\n", invalid),
             (b"Authorization: Bearer secrets\r\n", invalid), (b"Authorization: Bearer \r\n", form),
             (b"X-Daytona-Authorization: Bearer x\r\n" + AUTH, invalid), (AUTH + AUTH, form)]
    before = front.metrics()["dials"]
    for auth, message in cases:
        for path in ("/info", "/nope", "/sandboxes/..", "/sandboxes/box/toolbox/x", "/sandboxes/NO/toolbox"):
            status, _, body = front.ask("GET " + path, auth=auth)
            error = json.loads(body)
            same((auth, status, error["code"], error["message"]), (auth, 401, "UNAUTHORIZED", message.decode()))
            same(list(error), ["statusCode", "message", "code", "timestamp", "path", "method"])
            same((error["statusCode"], error["path"], error["method"]), (401, path, "GET"))
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", error["timestamp"]), error["timestamp"]
    same(front.metrics()["dials"], before, "dials")
    same(json.loads(front.ask("GET /", auth=b"")[2])["status"], "ok")
    same(front.ask("POST /", auth=b"", body=b"x")[0], 401)
    client = front.connect().send(get(b"/info", auth=b"") + get(b"/info"))
    same([client.answer()[0] for _ in range(2)], [401, 200], "one connection, each request by itself")


@test
def what_needs_no_token_has_no_body(front, guest):
    for body in (b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"):
        client = front.connect().send(b"GET / HTTP/1.1\r\nHost: h\r\n" + body + b"\r\n")
        same(client.answer()[0], 401 if body else 200)


@test
def large_heads_are_refused(front, guest):
    client = front.connect().send(get(b"/info", b"A: " + b"x" * 33000 + b"\r\n"))
    same(client.answer()[0], 431)
    assert client.ends()
    client = front.connect().send(get(b"/info", b"A: b\r\n" * 99))
    same(client.answer()[0], 431)
    client = front.connect().send(get(b"/info", b"A: b\r\n" * 98))
    same(client.answer()[0], 200)
    client = front.connect().send(b"GET /" + b"x" * 40000)
    same(client.answer()[0], 431, "no end in sight")


@test
def slow_heads_are_cut(front, guest):
    other = Front(guest, "head_ms=1500", "idle_ms=700")
    client = other.connect().send(b"GET / HT")
    start = time.monotonic()
    while not select.select([client.sock], [], [], 0.05)[0]:
        client.send(b"x")
        assert time.monotonic() - start < PATIENCE, "still open"
    assert time.monotonic() - start > 1.4
    same(client.answer()[0], 408)
    client = other.connect().send(get(b"/info"))
    same(client.answer()[0], 200)
    assert client.ends(), "an idle connection ends"
    other.stop()


def closes_at_once(server):
    """Soon, that is; the front's own patience with a guest is longer."""
    start = time.monotonic()
    return server.ends() and time.monotonic() - start < 20


@test
def client_leaves(front, guest):
    for reset in (False, True):
        client, server, _ = exchange(front, guest)
        client.close(reset)
        assert closes_at_once(server), "while the guest thinks"
        client, server, _ = exchange(front, guest)
        server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        client.until(b"a\r\n")
        client.close(reset)
        assert closes_at_once(server), "while it streams"
        client = front.connect().send(b"POST " + sandbox() + b" HTTP/1.1\r\nHost: h\r\n" + AUTH +
                                      b"Content-Length: 1000\r\n\r\nabc")
        server = guest.accept()
        server.head()
        server.exactly(3)
        client.close(reset)
        assert closes_at_once(server), "in mid upload"


def descriptors(pid):
    return os.listdir("/proc/%d/fd" % pid)


def watched(pid):
    """What the epoll sets of a process have in them, closed or not."""
    n = 0
    for fd in descriptors(pid):
        if "eventpoll" in os.readlink("/proc/%d/fd/%s" % (pid, fd)):
            with open("/proc/%d/fdinfo/%s" % (pid, fd)) as file:
                n += sum(line.startswith("tfd:") for line in file)
    return n


def copy_of(pidfd, fd):
    """What a child of the process has from its fork to its exec."""
    copy = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, int(fd), 0)  # pidfd_getfd
    if copy < 0:
        raise PermissionError(ctypes.get_errno(), "pidfd_getfd")
    return copy


def becomes(wanted, look):
    """For what has no event to wait for."""
    end = time.monotonic() + PATIENCE
    while look() != wanted and time.monotonic() < end:
        time.sleep(0.01)
    return look() == wanted


@test
def copies_of_closed_connections_are_not_heard(front, guest):
    other = Front(guest, loops=1)
    pid, pidfd = other.process.pid, os.pidfd_open(other.process.pid)
    first = other.connect().send(get(b"/info"))  # with a connection within, for reuse
    same(first.answer()[0], 200)
    before, n_before = descriptors(pid), watched(pid)
    client = other.connect().send(get(b"/info"))
    same(client.answer()[0], 200)
    try:
        copies = [copy_of(pidfd, fd) for fd in descriptors(pid) if fd not in before]
    except PermissionError as error:
        return str(error)
    assert copies, "no new descriptor for a new connection"
    client.close()
    assert becomes(len(before), lambda: len(descriptors(pid))), "the connection is closed"
    same(watched(pid), n_before, "watched")
    for fd in copies + [pidfd]:
        os.close(fd)
    other.stop()
    return None


@test
def events_come_at_once(front, guest):
    client, server, _ = exchange(front, guest)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    client.head()
    medians = []
    while len(medians) < 20 and min(medians, default=1) > 0.02:  # a busy machine is given more tries
        times = []
        for _ in range(20):
            start = time.monotonic()
            server.send(b"data: x\n\n")
            client.until(b"\n\n")
            times.append(time.monotonic() - start)
        medians.append(sorted(times)[10])
    assert medians[-1] < 0.02, "medians %r s" % medians


def tunnel(front, guest, first=b""):
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"
    client = front.connect().send(get(sandbox(), upgrade) + first)
    server = guest.accept()
    same(server.head()[1]["sec-websocket-key"], ["k"])
    server.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: a\r\n\r\nhello")
    status, fields, _ = client.answer(has_body=False)
    same((status, fields["upgrade"], fields["connection"], fields["sec-websocket-accept"]),
         (101, ["websocket"], ["Upgrade"], ["a"]))
    same(client.exactly(5), b"hello")
    return client, server


@test
def tunnel_carries_both_ways(front, guest):
    client, server = tunnel(front, guest, b"early")
    same(server.exactly(5), b"early")
    assert front.metrics()["upgraded"] >= 1
    data = os.urandom(1 << 20)
    thread = threading.Thread(target=lambda: client.send(data))
    thread.start()
    same(hashlib.sha256(server.exactly(1 << 20)).digest(), hashlib.sha256(data).digest())
    thread.join()
    client.sock.shutdown(socket.SHUT_WR)
    same(server.rest(), b"")
    server.send(b"still here")
    same(client.exactly(10), b"still here")
    server.close()
    same(client.rest(), b"")
    client, server = tunnel(front, guest)
    client.close(reset=True)
    assert server.ends()


@test
def client_that_does_not_read(front, guest):
    client = front.connect(rcvbuf=65536).send(get(sandbox()))
    server = guest.accept()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
    server.sock.setblocking(False)
    sent, block, idle_since = 0, bytes(1 << 20), time.monotonic()
    while time.monotonic() - idle_since < 0.5:
        try:
            sent += server.sock.send(block)
            idle_since = time.monotonic()
            assert sent < 40 << 20, "the guest is not stopped"
        except BlockingIOError:
            select.select([], [server.sock], [], 0.1)
    client.close()
    server.close()


@test
def large_bodies_are_whole(front, guest):
    data = os.urandom(1 << 20) * 24
    digest = hashlib.sha256(data).digest()
    for size, split in ((len(data), 65536), (len(data), 1000003)):
        client = front.connect()
        head = b"PUT " + sandbox() + b" HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Content-Length: %d\r\n\r\n" % size
        thread = threading.Thread(target=lambda c=client, h=head: c.sock.sendall(h + data))
        thread.start()
        server = guest.accept()
        server.head()
        same(hashlib.sha256(server.exactly(size)).digest(), digest, "upload")
        thread.join()

        def download(server=server, split=split):
            server.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, size, split):
                part = data[at:at + split]
                server.sock.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            server.sock.sendall(b"0\r\n\r\n")

        thread = threading.Thread(target=download)
        thread.start()
        client.head()
        got = hashlib.sha256()
        while True:
            n = int(client.until(b"\r\n"), 16)
            if n == 0:
                break
            got.update(client.exactly(n))
            client.until(b"\r\n")
        thread.join()
        same(got.digest(), digest, "download")


@test
def small_requests_beside_a_download(front, guest):
    """One loop: an endless download must not starve the others."""
    other = Front(guest, loops=1)
    big = other.connect().send(get(sandbox()))
    server = guest.accept()
    server.head()
    stop = threading.Event()

    def feed():
        block = bytes(1 << 20)
        try:
            server.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not stop.is_set():
                server.sock.sendall(block)
        except OSError:
            pass

    def drink():
        try:
            while big.sock.recv(1 << 20):
                pass
        except OSError:
            pass

    threads = [threading.Thread(target=feed), threading.Thread(target=drink)]
    for thread in threads:
        thread.start()
    client, times = other.connect(), []
    for _ in range(50):
        start = time.monotonic()
        client.send(get(b"/info"))
        same(client.answer()[0], 200)
        times.append(time.monotonic() - start)
    stop.set()
    threads[0].join()
    server.close()
    threads[1].join()
    big.close()
    assert sorted(times)[25] < 2, "median %f s" % sorted(times)[25]
    other.stop()


@test
def descriptors_run_out(front, guest):
    other = Front(guest, nofile=40, loops=2)
    held = [other.connect() for _ in range(60)]

    def cpu():
        with open("/proc/%d/stat" % other.process.pid) as f:
            return sum(int(n) for n in f.read().rsplit(")", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")

    before, start = cpu(), time.monotonic()
    select.select([], [], [], 1)
    used = (cpu() - before) / (time.monotonic() - start)
    assert used < 0.3, "%.0f %% CPU with the descriptors used up" % (used * 100)
    for wire in held[:40]:
        wire.close()
    status = 503
    while status == 503:  # until those are closed there as well
        status = held[59].send(get(b"/", auth=b"")).answer()[0]
        assert time.monotonic() - start < PATIENCE
    same(status, 200, "one that had to wait")
    for wire in held:
        wire.close()
    other.stop()


@test
def connections_are_limited(front, guest):
    """Clients over the limit wait in the backlog, whichever loop would have taken them, and come in as others leave."""
    for conns, loops in ((3, 2), (1, 4)):
        other = Front(guest, loops=loops, conns=conns)
        held = []
        for _ in range(conns):
            held.append(other.connect().send(get(b"/")))
            same(held[-1].answer()[0], 200, "one within the limit")
        waiting = [other.connect().send(get(b"/")), other.connect_unix().send(get(b"/"))]
        ready, _, _ = select.select([wire.sock for wire in waiting], [], [], 1.5)  # longer than accepting pauses
        same(ready, [], "none over the limit is answered")
        while waiting:
            held.pop(0).close()
            ready, _, _ = select.select([wire.sock for wire in waiting], [], [], PATIENCE)
            same(len(ready), 1, "one takes the place of one that left")
            held.append(next(wire for wire in waiting if wire.sock in ready))
            waiting.remove(held[-1])
            same(held[-1].answer()[0], 200)
        for wire in held:
            wire.close()
        other.stop()


@test
def clients_without_the_token_make_way(front, guest):
    other = Front(guest, loops=1, conns=4)
    known = other.connect().send(get(b"/"))
    same(known.answer()[0], 200)
    held = [other.connect().send(b"GET /" if i % 2 else get(b"/", auth=b"")) for i in range(12)]
    for connect in (other.connect, other.connect_unix, other.connect):
        client = connect().send(get(b"/metrics"))
        same(client.answer()[0], 200)
    same(known.send(get(b"/")).answer()[0], 200, "one that has shown it stays")
    for wire in held:
        wire.close()
    other.stop()


@test
def rest_bodies(front, guest):
    same(front.ask("POST /sandboxes", b'{"id":"abc"}')[::2], (201, b'{"id":"abc"}'))
    for body, why in ((b"", "empty"), (b"{", ""), (b"[1]", "array"), (b"{\"id\":1}", "id:"), (b'{"a":1,"a":2}', "a"),
                      (b"[" * 100000, ""), (b'{"id":"\\u0000"}', "")):
        status, _, answer = front.ask("POST /sandboxes", body)
        error = json.loads(answer)
        same((body[:20], status, error["code"]), (body[:20], 400, "INVALID_REQUEST_BODY"))
        assert error["message"].startswith("invalid body request: ") and why in error["message"], error["message"]
    for body in (b"", b"{", b'{"force":true}', b"[]"):
        same(front.ask("POST /sandboxes/abc/stop", body)[0], 200)
    status, _, body = front.ask("POST /sandboxes/abc/start", b"{}")
    error = json.loads(body)
    same((status, error["code"]), (400, "BAD_REQUEST"))
    same(json.loads(error["message"]), {"errorReason": "write '/x': No space left on device - you may attempt a "
                                                       "recovery action", "recoverable": True})
    same(front.ask("GET /sandboxes/abc/log?x=1&tail=1%2B%41+b")[2], b"1+A b")
    same(front.ask("GET /sandboxes/abc/log?tail=%00")[2], b"all")


@test
def rest_bodies_too_large(front, guest):
    client = front.connect().send(get(b"/sandboxes", b"Content-Length: 1048577\r\n", method=b"POST"))
    status, _, body = client.answer()
    same((status, json.loads(body)["path"], json.loads(body)["method"]), (413, "/sandboxes", "POST"))
    patient = Front(guest, PATIENT)
    client = patient.connect().send(get(b"/sandboxes", b"Transfer-Encoding: chunked\r\n", method=b"POST"))
    try:
        for _ in range(200):
            client.send(b"2000\r\n" + bytes(8192) + b"\r\n")
    except OSError:
        pass
    status, _, body = client.answer()
    same((status, json.loads(body)["path"], json.loads(body)["method"]), (413, "/sandboxes", "POST"))
    client.close()
    patient.stop()
    body = b'{"id":"%s"}' % (b"x" * 1000000)
    same(front.ask("POST /sandboxes", body)[2], body)


@test
def rest_paths(front, guest):
    for path in ("/sandboxes/..", "/sandboxes/.", "/sandboxes/%2e%2e", "/sandboxes/ABC", "/sandboxes/" + "a" * 64,
                 "/sandboxes/a%00", "/sandboxes/a_b"):
        status, _, body = front.ask("GET " + path)
        same((path, status, json.loads(body)["code"]), (path, 400, "BAD_REQUEST"))
    for path in ("/sandboxes/A/toolbox/", "/sandboxes//toolbox", "/sandboxes/../toolbox/x", "/sandboxes/%61/proxy/1/"):
        same((path, front.ask("GET " + path)[0]), (path, 400))
    for what in ("GET /nope", "PUT /sandboxes", "GET /sandboxes/", "GET /sandboxes/a/b/c", "GET /sandboxes/../x",
                 "POST /info", "GET //", "GET /sandboxes/" + "a" * 300):
        same((what, *front.ask(what)[::2]), (what, 404, b"404 page not found"))
    for what in ("POST /sandboxes/abc/backup", "POST /snapshots/build"):
        status, _, body = front.ask(what)
        same((what, status, json.loads(body)["code"]), (what, 501, "NOT_IMPLEMENTED"))


@test
def absolute_targets(front, guest):
    for target in (b"http://h/info", b"HTTPS://h:1/info?x"):
        client = front.connect().send(get(target))
        same(client.answer()[2], b'"ok"')
    client = front.connect().send(get(b"http://x" + sandbox() + b"/p"))
    server = guest.accept()
    same(server.head()[0], "GET /p HTTP/1.1")
    client.close()


@test
def http_1_0_clients(front, guest):
    client = front.connect().send(b"GET " + sandbox() + b"/x HTTP/1.0\r\n" + AUTH + b"Connection: keep-alive\r\n\r\n")
    server = guest.accept()
    same(server.head()[0], "GET /x HTTP/1.0")
    server.send(b"HTTP/1.0 200 OK\r\n\r\nbytes")
    server.close()
    same(client.answer()[1]["connection"], ["close"])
    same(client.rest(), b"bytes")
    client = front.connect().send(b"GET /info HTTP/1.0\r\n" + AUTH + b"\r\n")
    assert client.rest().endswith(b'"ok"')


@test
def dial_failures(front, guest):
    status, _, body = front.ask("GET /sandboxes/missing/toolbox/x?y")
    error = json.loads(body)
    same((status, error["code"], error["path"]), (404, "NOT_FOUND", "/sandboxes/missing/toolbox/x"))
    status, _, body = front.ask("POST /sandboxes/stopped/toolbox", b"x")
    error = json.loads(body)
    same((status, error["code"]), (400, "BAD_REQUEST"))
    assert error["message"].endswith("Is the Sandbox started?")
    same(front.ask("GET /sandboxes/refused/toolbox")[::2], (502, b""))
    other = Front(guest, "dial_ms=1000", "response_ms=200")
    same(other.ask("GET /sandboxes/hang/toolbox")[::2], (504, b""))
    client, server, _ = exchange(other, guest)
    same(client.answer()[0], 504, "no answer in time")
    other.stop()


@test
def rest_client_leaves(front, guest):
    client = front.connect_unix().send(get(b"/sandboxes/abc/pause", method=b"POST"))
    same(front.line(), "held abc")
    client.close()
    same(front.line(), "gone abc")
    client = front.connect_unix().send(get(b"/sandboxes/abd/pause", method=b"POST"))
    same(front.line(), "held abd")
    same(front.ask("POST /sandboxes/abd/resume")[2], b'"resumed"')
    same(client.answer()[2], b'"paused"')


@test
def forgotten_sandbox(front, guest):
    other, box = Front(guest, loops=1), sandbox()
    client, busy, _ = exchange(other, guest, get(box))
    second, idle, _ = exchange(other, guest, get(box))
    idle.send(OK)
    same(second.answer()[0], 200)
    same(other.ask("DELETE " + box.decode().replace("/toolbox", ""))[0], 200)
    assert busy.ends() and idle.ends()
    same(client.answer()[0], 502)
    other.stop()


@test
def drain_lets_requests_finish(front, guest):
    other = Front(guest, loops=1, drain_ms=PATIENCE * 1000)
    idle = other.connect().send(get(b"/info"))
    same(idle.answer()[0], 200)
    client, server, _ = exchange(other, guest)
    other.process.send_signal(signal.SIGTERM)
    assert idle.ends(), "an idle connection ends"
    server.send(OK)
    status, fields, body = client.answer()
    same((status, body, fields["connection"]), (200, b"ok", ["close"]))
    same(other.line(), "drained")
    same(other.process.wait(PATIENCE), 0)
    assert not os.path.exists(other.socket_path), "its socket is removed"


@test
def drain_ends(front, guest):
    other = Front(guest)
    client, server, _ = exchange(other, guest)
    other.process.send_signal(signal.SIGTERM)
    same(other.line(), "cut")
    same(client.rest(), "reset")
    same(other.process.wait(PATIENCE), 0)


@test
def held_rest_request_at_the_end(front, guest):
    other = Front(guest)
    client = other.connect().send(get(b"/sandboxes/abc/pause", method=b"POST"))
    same(other.line(), "held abc")
    other.process.send_signal(signal.SIGTERM)
    same(other.line(), "cut")
    assert other.line() in ("gone abc", ""), "word of the client's end, unless the owed answer came first"
    rest = client.rest()
    assert rest == "reset" or rest.endswith(b'"paused"'), rest
    same(other.process.wait(PATIENCE), 0)


@test
def half_closed_tunnel_that_breaks(front, guest):
    client, server = tunnel(front, guest)
    client.sock.shutdown(socket.SHUT_WR)
    same(server.rest(), b"")
    client.close(reset=True)
    start = time.monotonic()
    while front.metrics()["upgraded"] > 0:
        assert time.monotonic() - start < PATIENCE, "the tunnel stays"


@test
def ipv6(front, guest):
    if not os.path.exists("/proc/net/if_inet6") or not open("/proc/net/if_inet6").read():
        return "no IPv6 here"
    process = subprocess.Popen([DRIVER, "-l", "[::1]:0", "-g", guest.name, "-t", "secret"], stdout=subprocess.PIPE)
    port = int(process.stdout.readline().split()[1])
    wire = Wire(socket.create_connection(("::1", port))).send(get(sandbox()))
    server = guest.accept()
    same(server.head()[1]["x-forwarded-for"], ["::1"])
    server.send(OK)
    same(wire.answer()[0], 200)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    return None


@test
def unix_sockets(front, guest):
    same(os.stat(front.socket_path).st_mode & 0o777, 0o600)
    client = front.connect_unix().send(get(b"/info", auth=b""))
    same(client.answer()[0], 200, "the peer's uid is enough")

    def start(path):
        process = subprocess.run([DRIVER, "-l", "unix:" + path, "-g", guest.name], stderr=subprocess.PIPE,
                                 timeout=PATIENCE, stdout=subprocess.DEVNULL)
        return process.returncode, process.stderr.decode()

    code, message = start(front.socket_path)
    assert code == 1 and "in use" in message, message
    path = os.path.join(DIR, "file")
    open(path, "w").close()
    code, message = start(path)
    assert code == 1 and "no socket" in message, message
    stale = os.path.join(DIR, "stale.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(stale)
    process = subprocess.Popen([DRIVER, "-l", "unix:" + stale, "-g", guest.name], stdout=subprocess.PIPE)
    same(process.stdout.readline(), b"port 0\n", "a stale socket is replaced")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    going = os.path.join(DIR, "going.sock")
    with socket.socket(socket.AF_UNIX) as unix, socket.socket() as tcp:
        unix.bind(going)
        tcp.bind(("127.0.0.1", 0))
        for sock, address in ((unix, "unix:" + going), (tcp, "127.0.0.1:%d" % tcp.getsockname()[1])):
            sock.listen()
            process = subprocess.Popen([DRIVER, "-l", address, "-g", guest.name], stdout=subprocess.PIPE)
            assert select.select([sock], [], [], PATIENCE)[0], "it does not look who is there"
            sock.close()
            same(process.stdout.readline()[:5], b"port ", "a socket that goes is waited for")
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
    for address in ("unix:x", "127.0.0.1", "127.0.0.1:x", "localhost:1", "[::1:1", "127.0.0.1:65536", "unix:/" + "a" * 200):
        process = subprocess.run([DRIVER, "-l", address], stderr=subprocess.PIPE, timeout=PATIENCE)
        assert process.returncode == 1 and address.removeprefix("unix:") in process.stderr.decode(), address


@test
def other_users_are_refused(front, guest):
    if os.geteuid() != 0:
        return "needs root"
    os.chmod(DIR, 0o711)
    os.chmod(front.socket_path, 0o666)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            wire = front.connect_unix().send(get(b"/info"))
            os.write(write, str(wire.answer()[0]).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    same(os.read(read, 100), b"401")
    os.close(read)
    return None


def main():
    guest = Guest()
    front = Front(guest)
    failed = 0
    print("1..%d" % (len(TESTS) + 1), flush=True)
    for number, function in enumerate(TESTS, 1):
        name = function.__name__.replace("_", " ")
        try:
            skipped = function(front, guest)
            print("ok %d - %s%s" % (number, name, " # SKIP " + skipped if skipped else ""), flush=True)
        except (AssertionError, OSError, ValueError, KeyError, IndexError) as error:
            failed += 1
            print("not ok %d - %s" % (number, name))
            print("# %s: %s" % (type(error).__name__, str(error).replace("\n", "\n# ")[:2000]), flush=True)
            if front.process.poll() is not None:
                print("Bail out! the driver ended with %d" % front.process.returncode)
                return 1
            front.process.terminate()  # what a failed test left behind is not the next one's
            guest = Guest()
            front = Front(guest)
    out = front.stop()
    clean = "drained" in out or "cut" in out
    print("%s %d - the driver ends when told" % ("ok" if clean else "not ok", len(TESTS) + 1))
    return 1 if failed or not clean else 0


try:
    STATUS = main()
finally:
    shutil.rmtree(DIR, ignore_errors=True)
sys.exit(STATUS)
