"""Clients: each a thread with a random stream of its own, which makes requests and lets the model judge the answers."""

import http.client
import json
import random
import select
import threading
import time

import model as m
from rig import Client

LIFE_S = 300  # until a runner that is ended is there again

# Operations and how often they come.
WEIGHTS = {"create": 14, "create skipStart": 3, "start": 12, "stop": 8, "stop force": 5, "pause": 8, "resume": 8,
           "destroy": 3, "delete": 4, "get": 14, "list": 2, "toolbox": 14, "wrong": 4, "figures": 1}
ROUTES = {"start": ("POST", "/start", {}), "stop": ("POST", "/stop", None),
          "stop force": ("POST", "/stop", {"force": True}), "pause": ("POST", "/pause", None),
          "resume": ("POST", "/resume", None), "destroy": ("POST", "/destroy", None),
          "delete": ("DELETE", "", None), "get": ("GET", "", None)}
KINDS = {"create skipStart": "create", "stop force": "stop", "delete": "destroy"}

# Looked for on the host, whose calls may fail: 500 then.
ABSENT = '{"id": "never", "snapshot": "absent", "userId": "u", "osUser": "root"}'
# Requests that must change nothing: all are answered with 4xx, or 501 for what is not built.
WRONG = [
    ("POST", "/sandboxes", "{"), ("POST", "/sandboxes", "[]"), ("POST", "/sandboxes", ""), ("POST", "/sandboxes", "{}"),
    ("POST", "/sandboxes", '{"id": "../up", "snapshot": "tiny", "userId": "u", "osUser": "root"}'),
    ("POST", "/sandboxes", '{"id": "never", "snapshot": "../tiny", "userId": "u", "osUser": "root"}'),
    ("POST", "/sandboxes", ABSENT),
    ("POST", "/sandboxes", '{"id": "never", "snapshot": "tiny", "userId": "u", "osUser": "root", "cpuQuota": -1}'),
    ("POST", "/sandboxes", '{"id": "never", "snapshot": "tiny", "userId": "u", "osUser": "root", "memoryQuota": 1e99}'),
    ("POST", "/sandboxes", '{"id": "never", "snapshot": "tiny", "userId": "u", "osUser": "root", "gpuQuota": 1}'),
    ("POST", "/sandboxes", '{"id": "never", "snapshot": 7, "userId": "u", "osUser": "root"}'),
    ("POST", "/sandboxes/{id}/start", ""), ("POST", "/sandboxes/{id}/start", "[1"),
    ("POST", "/sandboxes/{id}/dance", "{}"), ("POST", "/sandboxes/{id}/resize", "["),
    ("GET", "/sandboxes/{id}/log?tail=-1", None), ("GET", "/sandboxes/%2e%2e/log", None),
    ("POST", "/sandboxes/UPPER/stop", None), ("POST", "/sandboxes/never/stop", None), ("DELETE", "/sandboxes", None),
    ("GET", "/sandboxes/never/toolbox/version", None), ("GET", "/nowhere", None), ("TRACE", "/sandboxes", None),
]


class Gate:
    """Work is done in passes; closed, it lets nobody begin one and tells when none is under way."""

    def __init__(self):
        self.changed = threading.Condition()
        self.is_open, self.n_inside, self.n_done, self.is_over = True, 0, 0, False

    def __enter__(self):
        with self.changed:
            self.changed.wait_for(lambda: self.is_open or self.is_over)
            self.n_inside += 1
            return not self.is_over

    def __exit__(self, *_):
        with self.changed:
            self.n_inside -= 1
            self.n_done += 1
            self.changed.notify_all()

    def close(self):
        with self.changed:
            self.is_open = False
            self.changed.wait_for(lambda: self.n_inside == 0)

    def open(self):
        with self.changed:
            self.is_open = True
            self.changed.notify_all()

    def end(self):
        """No more passes."""
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def await_done(self, n):
        """Until so many passes were made; False: there will not be so many."""
        with self.changed:
            self.changed.wait_for(lambda: self.n_done >= n or self.is_over)
            return not self.is_over


class Lost(Exception):
    """The runner has ended before it answered."""


class Silent(Exception):
    """No answer in time, or half of one."""


class Talk:
    """A connection to the runner, whichever runs."""

    def __init__(self, host):
        self.host, self.http, self.life = host, None, 0

    def ready(self):
        """A connection to a runner that lives."""
        while True:
            if not self.host.is_up.wait(LIFE_S):
                raise RuntimeError("no runner came up")
            if self.http is not None and self.http.sock is not None and self.life == self.host.lives:
                return
            self.close()
            self.life = self.host.lives
            self.http = Client(self.host.socket)
            try:
                self.http.connect()
                return
            except OSError:  # it has just ended
                self.close()
                if not self.host.await_life(self.life, LIFE_S):
                    raise RuntimeError("the runner refuses connections") from None

    def close(self):
        if self.http is not None:
            self.http.close()
        self.http = None

    def await_answer(self, seconds, may_be_silent):
        until = time.monotonic() + self.host.answer_s
        while not select.select([self.http.sock], [], [], seconds)[0]:
            if may_be_silent() or time.monotonic() > until:
                raise TimeoutError

    def ask(self, method, path, text, seconds, is_toolbox=False, may_be_silent=lambda: True):
        """After ready(): the status and the body. Only a toolbox request may be cut off by a runner that goes on.
        may_be_silent: asked after so many seconds: whether the answer may stay away, or the machine is slow."""
        headers = {"Content-Type": "application/json"} if text is not None else {}
        try:
            self.http.sock.settimeout(seconds)
            self.http.request(method, path, text, headers)
            self.await_answer(seconds, may_be_silent)
            reply = self.http.getresponse()
            return reply.status, reply.read()
        except TimeoutError:
            self.close()
            raise Silent(f"no answer in {seconds} s") from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if is_toolbox and self.host.lives == self.life and self.host.is_up.is_set():
                raise Silent(f"cut off: {error!r}") from None
            if not self.host.await_life(self.life, LIFE_S):
                raise Silent(f"cut off by a runner that goes on: {error!r}") from None
            raise Lost(repr(error)) from None


def outcome_of(status, text):
    """In the model's words."""
    if status in (200, 201):
        return m.DONE
    return {404: m.MISSING, 400: m.REFUSED, 409: m.REFUSED, 408: m.FAILED, 500: m.FAILED, 502: m.FAILED, 504: m.FAILED,
            503: m.BUSY}.get(status, f"status {status}")


class ClientThread(threading.Thread):
    def __init__(self, number, seed, host, model, gate, ledger, n_operations):
        super().__init__(name=f"client {number}", daemon=True)
        self.random = random.Random(f"{seed}/client/{number}")
        self.host, self.model, self.gate, self.ledger, self.n_operations = host, model, gate, ledger, n_operations
        self.talk = Talk(host)
        self.ids = sorted(model.sandboxes)
        self.error = None

    def run(self):
        try:
            for _ in range(self.n_operations):
                what, id, n = self.choose()
                with self.gate as may:
                    if not may:
                        return
                    self.talk.ready()
                    self.do(what, id, n)
        except Exception as error:  # whatever it is, the run has failed
            self.error = error
            self.model.fault(self.name, repr(error))
            self.gate.end()
        finally:
            self.talk.close()

    def choose(self):
        """From its stream alone, whatever the others do: what, with which sandbox, a number for more. A few sandboxes
        are everybody's favourites, so that requests meet."""
        what = self.random.choices(list(WEIGHTS), WEIGHTS.values())[0]
        favourites = self.ids[: max(1, len(self.ids) // 12)]
        id = self.random.choice(favourites if self.random.random() < 0.2 else self.ids)
        return what, id, self.random.randrange(1 << 30)

    def do(self, what, id, n):
        if what == "list":
            self.do_list()
        elif what == "wrong":
            self.do_wrong(*WRONG[n % len(WRONG)], id)
        elif what == "figures":
            self.expect_ok("GET", ("/info", "/metrics")[n % 2])
        else:
            self.operate(what, id)

    def operate(self, what, id):
        kind = KINDS.get(what, what)
        self.before(kind, id)
        while (op := self.model.begin(id, kind, what == "create skipStart")) is None:
            id = self.ids[(self.ids.index(id) + 1) % len(self.ids)]  # where fewer are
            self.before(kind, id)
        if kind == "create":
            body = dict(self.host.body, id=id)
            if what != kind:
                body["skipStart"] = True
            method, path = "POST", "/sandboxes"
        else:
            method, path, body = self.host.toolbox if what == "toolbox" else ROUTES[what]
            path = f"/sandboxes/{id}{path}"
        try:
            status, text = self.talk.ask(method, path, None if body is None else json.dumps(body),
                                         *((self.host.toolbox_s, True, op.may_be_silent) if kind == "toolbox" else
                                           (self.host.answer_s,)))
        except Lost:
            self.model.answer(op, m.LOST)
            return
        except Silent as error:
            self.model.answer(op, m.FAILED if kind == "toolbox" else "silence", str(error))
            return
        self.judge(op, kind, id, status, text)
        self.after(kind, id)

    def before(self, kind, id):
        """What is written in a guest before it is stopped ... Then a connection to the runner that lives now: an
        operation that begins goes to that one or to none, never to the one after it."""
        if self.ledger and kind == "stop":
            self.ledger.write(self.talk, id)
        if self.ledger and kind == "destroy":
            self.ledger.destroy_begins(id)
        self.talk.ready()

    def after(self, kind, id):
        """... is there when it runs again."""
        if self.ledger and kind == "destroy":
            self.ledger.destroy_ends(id)
        if self.ledger and kind in ("create", "start", "resume"):
            self.ledger.read(self.talk, id)

    def judge(self, op, kind, id, status, text):
        outcome, note = outcome_of(status, text), ""
        if outcome == m.DONE and kind == "get":
            outcome = json.loads(text)["state"]
        elif outcome == m.DONE and kind == "toolbox" and (who := self.host.guest_of(text)[0]) != id:
            self.model.fault(id, f"{op}: the answer is of the guest {who}")
        elif outcome != m.DONE:
            note = f"{status} {text[:400].decode(errors='replace')}"
        self.model.answer(op, outcome, note)

    def do_list(self):
        """A look at each sandbox."""
        ops = {id: self.model.begin(id, "get") for id in self.ids}
        try:
            status, text = self.talk.ask("GET", "/sandboxes", None, self.host.answer_s)
        except (Lost, Silent) as error:
            for op in ops.values():
                self.model.answer(op, m.LOST if isinstance(error, Lost) else "silence", str(error))
            return
        states = {}
        if status == 200:
            states = {one["id"]: one["state"] for one in json.loads(text)["sandboxes"]}
        for id, op in ops.items():
            outcome = states.get(id, m.NONE) if status == 200 else outcome_of(status, text)
            self.model.answer(op, outcome, f"list {status}")

    def do_wrong(self, method, path, text, id):
        try:
            status, answer = self.talk.ask(method, path.format(id=id), text, self.host.answer_s)
        except Lost:
            return
        is_host_failed = text is ABSENT and status == 500
        if not (400 <= status < 500 or status == 501 or is_host_failed or (status == 503 and self.model.is_draining)):
            self.model.fault(id, f"{method} {path} {text}: {status} {answer[:300]}")

    def expect_ok(self, method, path):
        try:
            status, answer = self.talk.ask(method, path, None, self.host.answer_s)
        except Lost:
            return
        if status != 200 and not (status == 503 and self.model.is_draining):
            self.model.fault(self.name, f"{method} {path}: {status} {answer[:300]}")
