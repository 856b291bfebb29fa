"""One request through the proxy and its answer back: paths, bodies, pooled connections, early answers."""

import json
import os
import select
import socket
import threading

from front_lib import AUTH, DIR, OK, PATIENCE, PATIENT, Front, Guest, exchange, get, pooled, same, sandbox, test


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
