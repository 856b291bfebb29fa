#!/usr/bin/env python3
"""A small runner for tests of clients: the REST routes of runner-ch over memory, no VM.

usage: fake-runner.py --socket PATH [--token TOKEN-FILE --port-file FILE] [--requests FILE]

Serves the unix socket, and with --token a port of 127.0.0.1 as well, whose number it writes to --port-file. Each request is
written to --requests as a line of JSON. Prints "ready" once it serves; ends when its standard input does. Some ids misbehave on purpose:

  garbage   every reply is 200 with a body that is no JSON       closes   closes the connection without a reply
  nonhttp   answers something that is not HTTP                   short    announces more bytes than it sends
  slow      answers when the test's standard input gets a line   html     500 with an HTML page
  recover   400 with the JSON-in-JSON message of the contract    escape   an error message with terminal escapes
"""
import argparse
import base64
import datetime
import email.parser
import email.policy
import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
import urllib.parse

sandboxes = {}
files = {}  # (id, path) -> [bytes, mode]
lock = threading.Lock()
released = threading.Event()
options = None
token = None


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


class Reply(Exception):
    def __init__(self, status, body, kind="application/json"):
        self.status, self.kind = status, kind
        self.body = body if isinstance(body, bytes) else (json.dumps(body) + "\n").encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "client"

    def log_message(self, *args):
        pass

    def error(self, status, code, message):
        raise Reply(status, {"statusCode": status, "message": message, "code": code, "timestamp": now(),
                             "path": self.path, "method": self.command})

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            body = b""
            while True:
                size = int(self.rfile.readline(), 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return body
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def handle_any(self):
        body = self.read_body()
        if options.requests:
            line = json.dumps({"method": self.command, "path": self.path, "headers": dict(self.headers),
                               "body": body.decode("utf-8", "replace")})
            with lock, open(options.requests, "a") as f:
                f.write(line + "\n")
        try:
            self.route(body)
        except Reply as reply:
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

    do_GET = do_POST = do_DELETE = handle_any

    def route(self, body):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        parts = url.path.split("/")[1:]
        if url.path == "/":
            raise Reply(200, {"status": "ok", "version": "9.8.7"})
        self.check_token()
        if url.path == "/info":
            raise Reply(200, {"appVersion": "9.8.7", "vmm": "qemu 7.2, tcg", "metrics": {}, "capacity": [
                {"host": "local", "resource": "cpus", "allocated": 3, "limit": 16, "has": 2},
                {"host": "local", "resource": "memory", "allocated": 3 << 30, "limit": 7 << 29, "has": 4 << 30},
                {"host": "local", "resource": "disk", "allocated": 0, "limit": None, "has": 20 << 30},
                {"host": "local", "resource": "addresses", "allocated": 3, "limit": 253, "has": None}], "serviceHealth": [
                {"serviceName": "vmm/qemu", "healthy": True},
                {"serviceName": "disk/qcow2", "healthy": False, "errorReason": "disk full"}]})
        if parts[0] != "sandboxes":
            raise Reply(404, b"404 page not found", "text/plain")
        if len(parts) == 1 and self.command == "POST":
            self.create(json.loads(body))
        if len(parts) == 1:
            self.list(query)
        self.misbehave(parts[1])
        if len(parts) > 2 and parts[2] == "toolbox":
            self.toolbox(parts[1], "/".join(parts[3:]), query, body)
        self.sandbox(parts[1], "/".join(parts[2:]), query, body)

    def check_token(self):
        if not isinstance(self.server, socketserver.UnixStreamServer):
            if self.headers.get("Authorization") != "Bearer " + token:
                self.error(401, "UNAUTHORIZED", "unauthorized: invalid token")

    def misbehave(self, id):
        if id == "garbage":
            raise Reply(200, b"{\"state\": sausages", "application/json")
        if id == "html":
            raise Reply(500, b"<html>oops</html>\nsecond line", "text/html")
        if id == "recover":
            self.error(400, "BAD_REQUEST", json.dumps({"errorReason": "no space left on device", "recoverable": True}))
        if id == "escape":
            self.error(500, "INTERNAL_SERVER_ERROR", "bad \x1b[31mred\x07 text\nsecond line")
        if id == "slow":
            released.wait()
        raw = {"closes": b"", "nonhttp": b"SSH-2.0-nope\r\n",
               "short": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"state\":"}
        if id in raw:
            self.wfile.write(raw[id])
            self.wfile.flush()
            self.close_connection = True
            raise ConnectionAbortedError

    def create(self, dto):
        for key in ("id", "userId", "snapshot", "osUser"):
            if not dto.get(key):
                self.error(400, "INVALID_REQUEST_BODY", "invalid body request: %s is required" % key)
        if dto["snapshot"] != "tiny":
            self.error(404, "NOT_FOUND", "not found: snapshot '%s'" % dto["snapshot"])
        self.misbehave(dto["id"])
        with lock:
            sandboxes.setdefault(dto["id"], {
                "id": dto["id"], "name": dto["name"], "state": "stopped" if dto.get("skipStart") else "started",
                "snapshot": dto["snapshot"], "cpus": dto.get("cpuQuota", 1), "memoryGiB": dto.get("memoryQuota", 1),
                "diskGiB": dto.get("storageQuota", 3), "address": "10.0.0.%d" % (len(sandboxes) + 2), "pid": 4242,
                "createdAt": now(), "host": "local"})
        raise Reply(201, {"daemonVersion": "0.1.0", "timings": [{"phase": "disk", "ms": 0.41},
                                                                 {"phase": "ready", "ms": 1200}]})

    def list(self, query):
        with lock:
            found = [dict(s) for s in sandboxes.values()]
            for s in sandboxes.values():  # half a CPU second passes between two readings
                s["ticks"] = s.get("ticks", 0) + 500
        for s in found:
            ticks = s.pop("ticks", 0)
            if query.get("stats") == "true" and s["state"] == "started":
                s.update(cpuMs=ticks, rssBytes=64 << 20)
        raise Reply(200, {"sandboxes": found})

    def sandbox(self, id, rest, query, body):
        with lock:
            s = sandboxes.get(id)
            if self.command == "GET" and rest == "":
                shown = {k: v for k, v in s.items() if k not in ("ticks", "network")} if s else {"state": "destroyed"}
                raise Reply(200, {**shown, "backupState": "NONE", "recoverable": False})
            if self.command == "DELETE" and rest == "" or rest == "destroy":
                sandboxes.pop(id, None)
                raise Reply(200, "Sandbox destroyed")
            if s is None:
                self.error(404, "NOT_FOUND", "not found: sandbox '%s'" % id)
            if rest == "log" and self.command == "GET":
                text = s.get("log", "").encode("latin-1")
                raise Reply(200, text[-int(query["tail"]):] if "tail" in query else text, "text/plain")
            if rest == "network-settings":
                settings = s.setdefault("network", {"networkBlockAll": False, "networkAllowList": "", "domainAllowList": "",
                                                    "networkLimitEgress": False, "isEnforced": True})
                if self.command == "GET":
                    raise Reply(200, settings)
                settings.update(json.loads(body))
                raise Reply(200, "Network settings updated")
            states = {"start": "started", "stop": "stopped", "pause": "paused", "resume": "started"}
            if self.command == "POST" and rest in ("resize", "recover"):
                if rest == "recover" and s["state"] == "started" and json.loads(body) == {}:
                    self.error(409, "CONFLICT", "conflict: cannot recover sandbox '%s': it is started" % id)
                raise Reply(200, "Sandbox resized" if rest == "resize" else "Sandbox recovered")
            if self.command != "POST" or rest not in states:
                raise Reply(404, b"404 page not found", "text/plain")
            if rest == "start" and not isinstance(json.loads(body or b"null"), dict):
                self.error(400, "INVALID_REQUEST_BODY", "invalid body request: EOF")
            if rest == "pause" and s["state"] != "started":
                self.error(409, "CONFLICT", "conflict: sandbox '%s' is %s" % (id, s["state"]))
            s["state"] = states[rest]
        if rest == "start":
            raise Reply(200, {"daemonVersion": "0.1.0", "timings": [{"phase": "boot", "ms": 3}]})
        raise Reply(200, "Sandbox " + states[rest])

    def toolbox(self, id, rest, query, body):
        with lock:
            s = sandboxes.get(id)
        if s is None:
            self.error(404, "NOT_FOUND", "not found: sandbox '%s'" % id)
        if s["state"] != "started":
            self.error(400, "BAD_REQUEST", "bad request: no IP address found. Is the Sandbox started?")
        if rest == "process/execute":
            self.execute(s, json.loads(body))
        path = query.get("path", "")
        if rest == "files/upload":
            head = "Content-Type: %s\r\n\r\n" % self.headers["Content-Type"]
            form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head.encode() + body)
            part = next(p for p in form.iter_parts() if p.get_param("name", header="Content-Disposition") == "file")
            files[id, path] = [part.get_payload(decode=True), "0644"]
            raise Reply(200, {})
        if rest in ("files/download", "files/permissions") and (id, path) not in files:
            self.error(404, "NOT_FOUND", "not found: '%s'" % path)
        if rest == "files/download":
            raise Reply(200, files[id, path][0], "application/octet-stream")
        if rest == "files/permissions":
            files[id, path][1] = query["mode"]
            raise Reply(200, {})
        self.error(501, "NOT_IMPLEMENTED", "not implemented")

    def execute(self, s, request):
        """The command really runs, through a shell as in a guest; 'append TEXT' in the log's stead grows the log."""
        if request["command"].startswith("append "):
            with lock:
                s["log"] = s.get("log", "") + base64.b64decode(request["command"][7:]).decode("latin-1")
            raise Reply(200, {"exitCode": 0, "result": ""})
        if request["command"] == "nonsense":
            raise Reply(200, {"exitCode": "two"})
        done = subprocess.run(["/bin/sh", "-c", request["command"]], cwd=request.get("cwd"), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={**os.environ, **request.get("envs", {})})
        raise Reply(200, {"exitCode": done.returncode, "result": done.stdout.decode("utf-8", "replace")})


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, BrokenPipeError)):
            super().handle_error(request, client_address)


class TcpServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def main():
    global options, token
    parser = argparse.ArgumentParser()
    for name in ("--socket", "--token", "--port-file", "--requests"):
        parser.add_argument(name)
    options = parser.parse_args()
    server = UnixServer(options.socket, Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if options.token:
        with open(options.token) as f:
            token = f.read().strip()
        tcp = TcpServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=tcp.serve_forever, daemon=True).start()
        with open(options.port_file + ".new", "w") as f:
            f.write(str(tcp.server_address[1]))
        os.rename(options.port_file + ".new", options.port_file)
    print("ready", flush=True)
    for _ in sys.stdin:
        released.set()


if __name__ == "__main__":
    main()
