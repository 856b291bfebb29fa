"""What goes wrong on purpose. A fault names a route, what happens, and how often. The routes: poll list job status
healthcheck me for-runner state other; traces of the collector.

{"route": NAME or "*", "kind": KIND, "count": how often, 1 by default, null for ever, "after": so many go well before,
 "match": text that the target or the body must have in it, and what the kind takes}

The request does not take effect:
  status    answers `status` (500), `message`, `retryAfter` (a number or text for Retry-After), `body` and `contentType`
  html      200 and a page
  garbage   200 and half a JSON text
  huge      200 and `bytes` (64 MiB) of JSON that is no answer
  empty     200 and an empty list, rightly formed
  hang      never answers
  close     ends the connection; `reset`: true by RST
It takes effect:
  delay     after `ms`
  slow      at once, the answer comes after `ms`
  trickle   the answer comes `bytes` (1) every `ms` (10)
  lost      the connection ends in the answer's stead; `reset`: true by RST
  cut-head  it ends within the head
  cut-body  it ends within the body
  partial   of a list only `rows` (1) are there
"""

import json

from .wire import JSON, Reply

BEFORE = ("status", "html", "garbage", "huge", "empty", "hang", "close")
AFTER = ("delay", "slow", "trickle", "lost", "cut-head", "cut-body", "partial")
LISTS = {"poll": {"jobs": []}, "list": {"items": [], "total": 0, "page": 1, "totalPages": 0}}
PAGE = b"<!DOCTYPE html><html><head><title>Daytona</title></head><body><div id=\"root\"></div></body></html>\n"
MESSAGES = {401: "Invalid credentials", 403: "Invalid authentication context", 429: "Too Many Requests",
            500: "An unexpected error occurred.", 503: "Authentication service unavailable"}


def html(status=200):
    return Reply(status, PAGE, "text/html; charset=utf-8")


class Fault:
    def __init__(self, told):
        self.told = told
        self.kind = told.get("kind")
        self.route = told.get("route", "*")
        self.count = told.get("count", 1)
        self.after = told.get("after", 0)
        self.match = told.get("match", "").encode()
        self.hits = 0
        if self.kind not in BEFORE + AFTER:
            raise ValueError(f"no fault {self.kind}; there are {', '.join(BEFORE + AFTER)}")

    def takes(self, request):
        """Whether this request is to suffer it; counts."""
        if self.route not in ("*", request.route) or self.count is not None and self.hits >= self.count:
            return False
        if self.match and self.match not in request.target.encode("latin-1") and self.match not in request.body:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.hits += 1
        return True


class Faults:
    def __init__(self, loop, error):
        self.loop = loop
        self.error = error  # (request, status, message): a Reply as the API words errors
        self.active = []

    def add(self, told):
        self.active.append(Fault(told))
        return self.active[-1]

    def find(self, request):
        for fault in self.active:
            if fault.takes(request):
                return fault
        return None

    def before(self, request, fault, handle):
        """The request ends here, or goes on to handle() with what is to become of its answer."""
        told = fault.told
        if fault.kind in AFTER:
            request.fault = fault
            if fault.kind == "delay":
                self.loop.call_later(told.get("ms", 1000) / 1000, handle, request)
            else:
                handle(request)
        elif fault.kind == "close":
            request.connection.cut(told.get("reset", False))
        elif fault.kind != "hang":
            reply = self.answer(request, fault)
            request.entry["status"] = reply.status
            request.answer(reply)

    def answer(self, request, fault):
        told = fault.told
        if fault.kind == "html":
            return html()
        if fault.kind == "garbage":
            return Reply(200, b'{"jobs": [{"id": "0e1f', JSON)
        if fault.kind == "huge":
            return Reply(200, b'{"jobs": "' + b"x" * (told.get("bytes", 64 << 20) - 12) + b'"}', JSON)
        if fault.kind == "empty":
            return Reply.json(200, LISTS.get(request.route, []))
        status = told.get("status", 500)
        headers = [("Retry-After", told["retryAfter"])] if "retryAfter" in told else []
        if "body" in told:
            return Reply(status, told["body"].encode(), told.get("contentType", JSON), headers)
        return self.error(request, status, told.get("message", MESSAGES.get(status)), headers)

    def send(self, listener, request, reply):
        """An answer on its way to the client."""
        fault = request.fault
        if fault is None or fault.kind == "delay":
            listener.send_plain(request, reply)
            return
        told, connection = fault.told, request.connection
        if fault.kind == "slow":
            self.loop.call_later(told.get("ms", 1000) / 1000, listener.send_plain, request, reply)
        elif fault.kind == "partial":
            listener.send_plain(request, self.partial(reply, told.get("rows", 1)))
        elif fault.kind == "trickle":
            text = listener.head(reply) + reply.body
            self.trickle(listener, request, text, told.get("bytes", 1), told.get("ms", 10) / 1000)
        else:
            text = listener.head(reply) + reply.body
            head = len(text) - len(reply.body)
            cut = {"lost": 0, "cut-head": head // 2, "cut-body": head + len(reply.body) // 2}[fault.kind]
            connection.transport.write(text[:cut])
            connection.cut(told.get("reset", False))

    @staticmethod
    def partial(reply, rows):
        value = json.loads(reply.body)
        if isinstance(value, list):
            value = value[:rows]
        else:
            for key in ("jobs", "items"):
                if key in value:
                    value[key] = value[key][:rows]
        return Reply.json(reply.status, value)

    def trickle(self, listener, request, text, size, pause_s):
        if request.connection.transport.is_closing():
            return
        request.connection.transport.write(text[:size])
        if len(text) > size:
            self.loop.call_later(pause_s, self.trickle, listener, request, text[size:], size, pause_s)
        else:
            request.connection.done(request)
