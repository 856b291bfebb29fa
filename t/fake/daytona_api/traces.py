"""A collector of spans: OTLP over HTTP as JSON."""

import json
import re

from .wire import Reply

SPANS_MAX = 100000
HEX = re.compile("[0-9a-f]+")
NUMBER = re.compile("[0-9]+")


class Broken(Exception):
    """What is no OTLP: where and why."""


def attributes(list):
    """As one object; values are what AnyValue says, integers as numbers."""
    found = {}
    for pair in list:
        kind, value = next(iter(pair["value"].items()))
        if kind == "intValue":
            value = int(value)
        elif kind == "arrayValue":
            value = [next(iter(item.values())) for item in value.get("values", [])]
        found[pair["key"]] = value
    return found


def check_id(span, key, length, needed=True):
    value = span.get(key, "")
    if not needed and value == "":
        return None
    if len(value) != length or not HEX.fullmatch(value) or set(value) == {"0"}:
        raise Broken(f"{key} {value!r} is not {length} lower-case hex digits")
    return value


def check_time(span, key):
    """Nanoseconds, in JSON as text."""
    value = span.get(key)
    if not isinstance(value, str) or not NUMBER.fullmatch(value) or value == "0":
        raise Broken(f"{key} {value!r} is not decimal text")
    return int(value)


def read_span(span, resource, scope):
    begin, end = check_time(span, "startTimeUnixNano"), check_time(span, "endTimeUnixNano")
    if end < begin:
        raise Broken(f"span {span.get('name')!r} ends before it begins")
    if not isinstance(span.get("name"), str) or not span["name"]:
        raise Broken("a span without a name")
    return {"name": span["name"], "traceId": check_id(span, "traceId", 32), "spanId": check_id(span, "spanId", 16),
            "parentSpanId": check_id(span, "parentSpanId", 16, needed=False), "kind": span.get("kind", 0),
            "start": begin, "end": end, "attributes": attributes(span.get("attributes", [])),
            "status": span.get("status", {}), "events": span.get("events", []),
            "traceState": span.get("traceState", ""), "resource": resource, "scope": scope}


def read_all(told):
    found = []
    for of_resource in told["resourceSpans"]:
        resource = attributes(of_resource.get("resource", {}).get("attributes", []))
        for of_scope in of_resource["scopeSpans"]:
            scope = of_scope.get("scope", {}).get("name", "")
            found += [read_span(span, resource, scope) for span in of_scope["spans"]]
    return found


class Collector:
    """Spans in the order of their arrival; a request that is not OTLP is refused and noted."""

    def __init__(self, note, faults, changed):
        self.note = note
        self.faults = faults
        self.changed = changed
        self.spans = []

    def handle(self, request):
        request.route = "traces"
        request.entry = {"fault": None}
        fault = self.faults.find(request)
        if fault is None:
            self.take(request)
        else:
            self.faults.before(request, fault, self.take)

    def take(self, request):
        if request.method != "POST" or request.path != "/v1/traces":
            self.note(request, "no such operation")
            request.answer(Reply.json(404, {"code": 5, "message": "not found"}))
            return
        try:
            if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
                raise Broken("Content-Type is not application/json")
            spans = read_all(json.loads(request.body))
        except (Broken, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            self.note(request, f"not OTLP: {type(error).__name__} {error}")
            request.answer(Reply.json(400, {"code": 3, "message": str(error)}))
            return
        self.spans += spans[:max(0, SPANS_MAX - len(self.spans))]
        request.answer(Reply.json(200, {}))
        self.changed()
