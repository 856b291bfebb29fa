"""What heads may say: refused by the front, passed on, or kept for itself."""

import json
import re
import select
import time

from front_lib import AUTH, OK, PATIENCE, Front, get, same, sandbox, test


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
