"""Registries for tests: Debian's docker-registry with users, a server of tokens or TLS, and a proxy before it that goes
wrong as it is told. All on loopback. Images are made here, and brought in by skopeo."""

import atexit
import base64
import contextlib
import crypt
import gzip
import hashlib
import http.client
import http.server
import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.parse

import tap
from rig import own_ports

TOP = os.environ.get("top_builddir", ".")
WAIT_S = 60
ports = itertools.count(own_ports())  # that nobody else takes while a registry is not up, or is down


def need(*programs):
    for name in programs:
        if shutil.which(name) is None:
            tap.skip_all(f"{name} is not installed")
    if not os.path.exists(f"{TOP}/plugins/storage/oci.so"):
        tap.skip_all("storage/oci is not built (a library is missing)")


# ---- servers ----


class Registry:
    """users: {name: password}; tokens: a TokenServer; tls: (certificate, key)."""

    def __init__(self, users=None, tokens=None, tls=None, deletes=True):
        self.port = next(ports)
        self.server = f"127.0.0.1:{self.port}"
        self.dir = tempfile.mkdtemp(prefix="registry-")
        config = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": f"{self.dir}/data"}, "delete": {"enabled": deletes}},
            "http": {"addr": self.server},
        }
        if users:
            with open(f"{self.dir}/users", "w", encoding="ascii") as file:
                for name, password in users.items():
                    salt = crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)
                    file.write(f"{name}:{crypt.crypt(password, salt)}\n")
            config["auth"] = {"htpasswd": {"realm": "here", "path": f"{self.dir}/users"}}
        if tokens:
            config["auth"] = {"token": tokens.settings()}
        if tls:
            config["http"]["tls"] = {"certificate": tls[0], "key": tls[1]}
        with open(f"{self.dir}/config.yml", "w", encoding="ascii") as file:
            json.dump(config, file)  # which is YAML too
        self.start()

    def start(self):
        with open(f"{self.dir}/log", "a", encoding="ascii") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", f"{self.dir}/config.yml"], stdout=log, stderr=log)
        atexit.register(self.process.kill)  # a test that fails early leaves none behind
        end = time.monotonic() + WAIT_S
        while True:  # it does not say when it listens
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                if time.monotonic() > end or self.process.poll() is not None:
                    tap.diag(open(f"{self.dir}/log", encoding="utf-8").read())
                    raise
                time.sleep(0.05)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def empty(self):
        """Has nothing any more, no blob either."""
        self.stop()
        shutil.rmtree(f"{self.dir}/data")
        self.start()

    def close(self):
        self.stop()
        shutil.rmtree(self.dir)

    def raw(self, path, reference):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        types = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json", \
            "application/vnd.docker.distribution.manifest.v2+json"
        connection.request("GET", f"/v2/{path}/manifests/{reference}", headers={"Accept": ", ".join(types)})
        answer = connection.getresponse()
        body = answer.read()
        return body if answer.status == 200 else None


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


def make_certificate(directory, name="127.0.0.1"):
    """A certificate of its own authority, and its key."""
    cert, key = f"{directory}/cert.pem", f"{directory}/key.pem"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=t",
            "-addext", f"subjectAltName=IP:{name}")
    return cert, key


class TokenServer:
    """Gives tokens to `users`, for all that is asked; requests are kept: (path, query, authorization)."""

    def __init__(self, users):
        self.users, self.requests = users, []
        self.dir = tempfile.mkdtemp(prefix="tokens-")
        self.cert, self.key = make_certificate(self.dir)
        self.der = openssl("x509", "-in", self.cert, "-outform", "DER")
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server = f"127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def settings(self):
        return {"realm": f"http://{self.server}/token", "service": "tests", "issuer": "us", "rootcertbundle": self.cert}

    def answer(self, request):
        url = urllib.parse.urlparse(request.path)
        query = urllib.parse.parse_qs(url.query)
        given = request.headers.get("Authorization")
        self.requests.append((url.path, query, given))
        good = [f"Basic {base64.b64encode(f'{n}:{p}'.encode()).decode()}" for n, p in self.users.items()]
        if given not in good:
            body, status = b'{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}', 401
        else:
            body, status = json.dumps({"token": self.token(query.get("scope", []))}).encode(), 200
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def token(self, scopes):
        def part(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=")

        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(self.der).decode()]}
        now = int(time.time())
        claims = {"iss": "us", "sub": "", "aud": "tests", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": str(now),
                  "access": access}
        text = part(json.dumps(head).encode()) + b"." + part(json.dumps(claims).encode())
        return (text + b"." + part(openssl("dgst", "-sha256", "-sign", self.key, data=text))).decode()

    def close(self):
        self.httpd.shutdown()
        shutil.rmtree(self.dir)


class Proxy:
    """Before a registry. rule(request) may return an answer of its own, a dict of any of: status, headers, body; cut (bytes
    of the body, then the connection ends), corrupt (byte at that place), pause (seconds of nothing after `after` bytes),
    rate (bytes a second), hold (an Event, until which half of a MiB or more is kept back); drop (that many bytes of the
    request's body are read, then the connection ends, and nothing is passed on), lose (it is passed on, but not answered).
    requests: (method, path, headers)."""

    def __init__(self, registry, rule=None):
        self.registry, self.rule, self.requests = registry, rule or (lambda request: None), []
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError, OSError):
                    outer.handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args):  # TLS that nobody speaks here
                pass

        self.httpd = Server(("127.0.0.1", 0), Handler)
        self.port = self.httpd.server_port
        self.server = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()

    def seen(self, method, part):
        return [r for r in self.requests if r[0] == method and part in r[1]]

    def handle(self, request):
        with self.lock:
            self.requests.append((request.command, request.path, dict(request.headers)))
            change = self.rule(request) or {}
        length = int(request.headers.get("Content-Length") or 0)
        if "drop" in change:
            request.rfile.read(min(change["drop"], length))
            self.hang_up(request)
            return
        if "status" in change:
            request.rfile.read(length)
            self.send(request, change["status"], change.get("headers", {}), change.get("body", b""), change)
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.registry.port)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "connection")}
        headers["Host"] = self.server
        connection.request(request.command, request.path, request.rfile.read(length) if length else None, headers)
        answer = connection.getresponse()
        body = answer.read()
        if "lose" in change:
            self.hang_up(request)
            return
        keep = {k: v for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding")}
        self.send(request, answer.status, {**keep, **change.get("headers", {})}, body, change)
        connection.close()

    def hang_up(self, request):
        request.connection.shutdown(socket.SHUT_RDWR)
        request.close_connection = True

    def send(self, request, status, headers, body, change):
        headers = {k: v for k, v in headers.items() if k.lower() != "content-length"}
        if "corrupt" in change and len(body) > change["corrupt"]:
            at = change["corrupt"]
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", headers.get("X-Length") or str(change.get("length", len(body))))
        request.end_headers()
        if request.command == "HEAD":
            return
        if "cut" in change:
            request.wfile.write(body[:change["cut"]])
            request.wfile.flush()
            self.hang_up(request)
        elif "pause" in change:
            request.wfile.write(body[:change["after"]])
            request.wfile.flush()
            time.sleep(change["pause"])  # what is tested is that it moves nothing for so long
            request.wfile.write(body[change["after"]:])
        elif "hold" in change and len(body) >= 1 << 20:
            request.wfile.write(body[:len(body) // 2])
            request.wfile.flush()
            change["hold"].wait()
            request.wfile.write(body[len(body) // 2:])
        elif "rate" in change:
            for at in range(0, len(body), change["rate"] // 20):
                request.wfile.write(body[at:at + change["rate"] // 20])
                time.sleep(0.05)
        else:
            request.wfile.write(body)


# ---- images ----

OCI = "application/vnd.oci.image."


def tar_of(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o755
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Layout:
    """An OCI layout in a directory of its own."""

    def __init__(self, directory):
        self.dir = directory
        self.entries = []
        os.makedirs(f"{directory}/blobs/sha256", exist_ok=True)
        with open(f"{directory}/oci-layout", "w", encoding="ascii") as file:
            file.write('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{self.dir}/blobs/sha256/{digest}", "wb") as file:
            file.write(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def image(self, layers, arch="amd64", config=None, media_type="layer.v1.tar+gzip", platform=True):
        """layers: dicts of files; its descriptor."""
        diffs, blobs = [], []
        for files in layers:
            raw = tar_of(files)
            diffs.append("sha256:" + hashlib.sha256(raw).hexdigest())
            blobs.append(self.blob(gzip.compress(raw, 1, mtime=0), OCI + media_type))
        about = {"architecture": arch, "os": "linux", "config": config or {},
                 "rootfs": {"type": "layers", "diff_ids": diffs}}
        manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                    "config": self.blob(json.dumps(about).encode(), OCI + "config.v1+json"), "layers": blobs}
        d = self.blob(json.dumps(manifest).encode(), manifest["mediaType"])
        if platform:
            d["platform"] = {"architecture": arch, "os": "linux"}
        return d

    def index(self, images):
        index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": images}
        return self.blob(json.dumps(index).encode(), index["mediaType"])

    def tag(self, descriptor, name):
        self.entries.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}})
        with open(f"{self.dir}/index.json", "w", encoding="ascii") as file:
            json.dump({"schemaVersion": 2, "manifests": self.entries}, file)
        return descriptor["digest"].removeprefix("sha256:")

    def push(self, name, ref, *options):
        run("skopeo", "copy", "-q", "--all", "--insecure-policy", "--dest-tls-verify=false", *options,
            f"oci:{self.dir}:{name}", f"docker://{ref}")


def run(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stdout}")
    return done.stdout


def inspect_raw(ref):
    return run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{ref}").encode()


# ---- the runner's side ----


class Operation:
    """One operation of the plugin, in a process of its own that is told to cancel by closing `stdin`."""

    def __init__(self, name, request, params=()):
        argv = [f"{TOP}/t/storage/operate", name, json.dumps(request), *params]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.phases = []

    def until(self, phase):
        for line in self.process.stdout:
            self.phases.append(line.strip().removeprefix("progress "))
            if self.phases[-1] == phase:
                return
        raise RuntimeError(f"it ended before {phase}: {self.phases}")

    def cancel(self):
        self.process.stdin.write("x")
        self.process.stdin.flush()

    def wait(self):
        lines = self.process.stdout.read().splitlines()
        self.process.wait()
        self.process.stdin.close()
        self.phases += [line.removeprefix("progress ") for line in lines if line.startswith("progress ")]
        if not lines or not lines[-1].startswith("{"):
            return {"status": -1, "code": f"no answer, exit status {self.process.returncode}", "text": "", "retry": False}
        return json.loads(lines[-1])


class Host:
    """A host's root."""

    def __init__(self, *params):
        self.root = tempfile.mkdtemp(prefix="host-")
        self.params = list(params)
        self.n = 0

    def begin(self, name, source=None, to=None, *params, **more):
        request = {"root": self.root, **more}
        for key, value in (("from", source), ("to", to)):
            if value is not None:
                request[key] = value if isinstance(value, dict) else {"ref": value}
        if name == "pull":
            self.n += 1
            request["dir"] = f"{self.root}/base-{self.n}"
            os.mkdir(request["dir"])
            self.dir = request["dir"]
        return Operation(name, request, [*self.params, *params])

    def do(self, *args, **more):
        return self.begin(*args, **more).wait()

    def blobs(self):
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(f"{self.root}/storage/oci/blobs"))
        return []

    def left(self):
        """What an operation should not leave."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(f"{self.root}/storage/oci/run"))
        return []

    def cat(self, path):
        return subprocess.run(["debugfs", "-R", f"cat {path}", f"{self.dir}/disk.raw"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout

    def close(self):
        shutil.rmtree(self.root)

