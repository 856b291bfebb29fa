"""Connections: pieces, faults, outages, TLS, the clock; spans; and what a test waits for."""

import email.utils
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from datetime import datetime

from daytona import DaytonaApi, NotMet, Refused, RunnerClient
from daytona_tests.common import client_of, raises, same, test


def raw(api):
    connection = socket.create_connection(("127.0.0.1", int(api.url.split(":")[2].split("/")[0])), timeout=60)
    head = f"Host: h\r\nAuthorization: Bearer {api.token}\r\nX-Daytona-Source: runner\r\n".encode()
    return connection, head


def read_until(connection, text):
    got = b""
    while text not in got:
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {got!r}"
        got += piece
    return got


@test
def requests_in_pieces(api):
    id = api.add_job("STOP_SANDBOX", "one", {})
    same(len(client_of(api).poll()), 1)
    connection, head = raw(api)
    me = b"GET /api/runners/me HTTP/1.1\r\n" + head + b"\r\n"
    connection.sendall(me + me[:40])
    read_until(connection, b"}")
    connection.sendall(me[40:])
    read_until(connection, b"}")
    post = f"POST /api/jobs/{id}/status HTTP/1.1\r\n".encode() + head + b"Content-Type: application/json\r\n"
    connection.sendall(post + b"Content-Length: 22\r\nExpect: 100-continue\r\n\r\n")
    same(read_until(connection, b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n")
    connection.sendall(b'{"status":"COMPLETED"}')
    assert b"HTTP/1.1 201 Created" in read_until(connection, b"}")
    connection.sendall(post + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"sta\r\n11\r\ntus\":\"COMPLETED\"")
    connection.sendall(b"}\r\n0\r\n\r\n")
    assert b"HTTP/1.1 201 Created" in read_until(connection, b"}")
    connection.sendall(b"nonsense\r\n\r\n")
    assert b"HTTP/1.1 400" in read_until(connection, b"}")
    same(connection.recv(1), b"")
    connection.close()
    same(api.violations(), [])


@test
def idle_connections_are_closed(api):
    api.set(idleSeconds=0.3)
    connection, head = raw(api)
    connection.sendall(b"GET /api/jobs/poll?timeout=0.6 HTTP/1.1\r\n" + head + b"\r\n")
    read_until(connection, b"[]}")  # waiting for an answer is not idleness
    same(connection.recv(1), b"")
    connection.close()


@test
def without_the_prefix(api):
    client = client_of(api)
    status, headers, body = client.ask("GET", "/jobs/poll?timeout=0.2")
    same((status, headers.get_content_type(), b"<html>" in body), (200, "text/html", True))


@test
def faults_that_answer(api):
    client = client_of(api)
    id = api.add_job("STOP_SANDBOX", "one", {})
    for status, message in ((500, "An unexpected error occurred."), (401, "Invalid credentials"), (502, None)):
        api.fault("poll", "status", status=status)
        code, _, body = client.ask("GET", "/api/jobs/poll?timeout=0.2")
        same((code, body["statusCode"], body["message"]), (status, status, message))
    api.fault("poll", "status", status=429, retryAfter=7, count=2, after=1)
    same([len(client.poll()), *[client.ask("GET", "/api/jobs/poll?timeout=0.2")[1]["Retry-After"] for _ in range(3)]],
         [1, "7", "7", None])
    same([fault["hits"] for fault in api.call("GET", "/faults")], [1, 1, 1, 2])
    api.fault("*", "html", match="runners/me")
    same(client.ask("GET", "/api/jobs")[0], 200)
    same(client.ask("GET", "/api/runners/me")[1].get_content_type(), "text/html")
    api.fault("me", "huge", bytes=1 << 20)
    connection, head = raw(api)
    connection.sendall(b"GET /api/runners/me HTTP/1.1\r\n" + head + b"\r\n")
    same(len(read_until(connection, b'"}').partition(b"\r\n\r\n")[2]), 1 << 20)
    connection.close()
    api.fault("me", "garbage")
    raises(ValueError, client.ask, "GET", "/api/runners/me")
    api.add_sandbox("one", state="started")
    api.add_sandbox("two", state="started")
    api.fault("for-runner", "empty")
    api.fault("for-runner", "partial", rows=1)
    same([len(client.ask("GET", "/api/sandbox/for-runner")[2]) for _ in range(3)], [0, 1, 2])
    same(api.job(id)["status"], "IN_PROGRESS")


@test
def faults_of_the_connection(api):
    ids = api.add_jobs([{"type": "STOP_SANDBOX", "resourceId": f"s{i}"} for i in range(5)])
    same(len(client_of(api).poll()), 5)
    broken = (http.client.HTTPException, ConnectionError)
    for id, (kind, more, status) in zip(ids, (("close", {}, "IN_PROGRESS"), ("lost", {}, "COMPLETED"),
                                              ("lost", {"reset": True}, "COMPLETED"), ("cut-body", {}, "COMPLETED"))):
        api.fault("status", kind, match=id, **more)
        raises(broken, client_of(api).post, id, "COMPLETED")
        same((kind, api.job(id)["status"]), (kind, status))
    api.fault("me", "cut-head")
    connection, head = raw(api)
    connection.sendall(b"GET /api/runners/me HTTP/1.1\r\n" + head + b"\r\n")
    got = b"".join(iter(lambda: connection.recv(65536), b""))
    same((got[:15], b"\r\n\r\n" in got), (b"HTTP/1.1 200 OK", False))
    connection.close()
    client = client_of(api)
    for kind in ("delay", "slow", "trickle"):
        api.fault("job", kind, ms=100, bytes=200)
        begin = time.monotonic()
        same(client.ask("GET", f"/api/jobs/{ids[0]}")[0], 200)
        assert time.monotonic() - begin >= 0.1, kind
    api.fault("me", "hang")
    client.request("GET", "/api/runners/me", None, client.fields)
    client.sock.settimeout(0.3)
    raises(TimeoutError, client.getresponse)
    same([request["fault"] for request in api.requests() if "fault" in request],
         ["close", "lost", "lost", "cut-body", "cut-head", "delay", "slow", "trickle", "hang"])


@test
def outages(api):
    client = client_of(api)
    client.request("GET", "/api/jobs/poll?timeout=60", None, client.fields)
    api.wait(polling=True)
    api.outage("refuse")
    raises(ConnectionError, client.getresponse)
    raises(ConnectionRefusedError, client_of(api).ask, "GET", "/api/runners/me")
    id = api.add_job("STOP_SANDBOX", "one", {})
    api.outage("up")
    client = client_of(api)
    same([job["id"] for job in client.poll()], [id])  # no poll of before is there to take it
    for mode in ("close", "reset"):
        api.outage(mode)
        raises((ConnectionError, http.client.HTTPException), client.ask, "GET", "/api/runners/me")
        client.close()
        raises((ConnectionError, http.client.HTTPException), client.ask, "GET", "/api/runners/me")
        client.close()
        api.outage("up")
        same(client.ask("GET", "/api/runners/me")[0], 200)
    api.outage("hang")
    client.request("GET", "/api/runners/me", None, client.fields)
    api.outage("up")
    raises((ConnectionError, http.client.HTTPException), client.getresponse)
    client.close()
    api.outage("refuse", seconds=0.2)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            same(client.ask("GET", "/api/runners/me")[0], 200)
            break
        except ConnectionRefusedError:
            client.close()
            time.sleep(0.02)
    else:
        raise AssertionError("the outage does not end")


@test
def tls_with_certificates(api):
    """One certificate, which signs itself, is server, client, and authority."""
    if shutil.which("openssl") is None:
        return "openssl is not installed"
    with tempfile.TemporaryDirectory() as at:
        cert, key = os.path.join(at, "cert.pem"), os.path.join(at, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", cert,
                        "-keyout", key], check=True, stderr=subprocess.DEVNULL)
        with DaytonaApi(tls={"cert": cert, "key": key, "client-ca": cert}) as secure:
            same(secure.url[:18], "https://127.0.0.1:")
            context = ssl.create_default_context(cafile=cert)
            stranger = RunnerClient(secure, context=context)
            raises((ssl.SSLError, ConnectionError), stranger.ask, "GET", "/api/runners/me")
            context.load_cert_chain(cert, key)
            client = RunnerClient(secure, context=context)
            same(client.ask("GET", "/api/runners/me")[0], 200)
            secure.fault("me", "lost", reset=True)
            raises((OSError, http.client.HTTPException), client.ask, "GET", "/api/runners/me")
            secure.outage("refuse")
            secure.outage("up")
            client.close()
            same(client.ask("GET", "/api/runners/me")[0], 200)
    return None


@test
def clock_may_be_wrong(api):
    api.call("POST", "/clock", {"skew": -86400})
    _, headers, me = client_of(api).ask("GET", "/api/runners/me")
    for told in (email.utils.parsedate_to_datetime(headers["Date"]), datetime.fromisoformat(me["createdAt"])):
        assert abs(time.time() - 86400 - told.timestamp()) < 600, told
    api.call("POST", "/clock", {"skew": 0, "scale": 3600})
    api.add_job("STOP_SANDBOX", "one", {})
    id = client_of(api).poll()[0]["id"]
    api.wait(job=id, status="FAILED", timeout=30)



def span(**more):
    return {"name": "execute_STOP_SANDBOX", "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
            "parentSpanId": "00f067aa0ba902b7", "kind": 1, "startTimeUnixNano": "1700000000000000000",
            "endTimeUnixNano": "1700000001000000000",
            "attributes": [{"key": "job.id", "value": {"stringValue": "j"}},
                           {"key": "n", "value": {"intValue": "7"}}], **more}


@test
def spans_are_kept(api):
    def export(*spans, **fields):
        host = api.otlp.split("//")[1]
        client = http.client.HTTPConnection(host, timeout=60)
        body = {"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "r"}}]},
                                   "scopeSpans": [{"scope": {"name": "runner"}, "spans": list(spans)}]}]}
        client.request("POST", "/v1/traces", json.dumps(body), {"Content-Type": "application/json", **fields})
        status = client.getresponse().status
        client.close()
        return status
    same(export(span(), span(spanId="1111111111111111", parentSpanId="b7ad6b7169203331")), 200)
    api.wait(span="execute_STOP_SANDBOX", count=2)
    first, second = api.spans()
    same((first["attributes"], first["resource"], second["parentSpanId"]),
         ({"job.id": "j", "n": 7}, {"service.name": "r"}, first["spanId"]))
    same(api.violations(), [])
    for wrong in (span(traceId="0" * 32), span(spanId="B7AD6B7169203331"), span(endTimeUnixNano=17),
                  span(endTimeUnixNano="1"), span(name="")):
        same(export(wrong), 400)
    same(export(span(), **{"Content-Type": "application/x-protobuf"}), 400)
    same((len(api.violations()), len(api.spans())), (6, 2))
    api.fault("traces", "status", status=503, retryAfter=1)
    same([export(span()) for _ in range(2)], [503, 200])
    api.outage("refuse", of="otlp")
    raises(ConnectionRefusedError, export, span())
    same(client_of(api).ask("GET", "/api/runners/me")[0], 200)


@test
def waits_end(api):
    raises(NotMet, api.wait, 0.1, requests="me", count=1)
    client_of(api).ask("GET", "/api/runners/me")
    api.wait(requests="me", count=1)
    api.add_sandbox("one", state="started")
    api.wait(sandbox="one", state="started")
    api.call("DELETE", "/sandboxes/one")
    api.wait(sandbox="one", state="absent")
    same(raises(Refused, api.wait, job="none").args[0], 404)
    same(raises(Refused, api.call, "POST", "/wait", {}).args[0], 400)
    same(raises(Refused, api.user, "one", "dance").args[0], 404)
