"""REST requests, and the server itself: its listeners, its end, who may connect."""

import json
import os
import select
import signal
import socket
import subprocess
import time

from front_lib import AUTH, DIR, DRIVER, OK, PATIENCE, PATIENT, Front, Wire, exchange, get, same, sandbox, test
from front_streams import tunnel


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
