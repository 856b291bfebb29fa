"""Checks requests against the OpenAPI description beside this file: what a runner should not send is a violation, also
where the API would take it."""

import json
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = {"string": str, "object": dict, "array": list, "boolean": bool}
VIOLATIONS_MAX = 1000
TRACEPARENT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
EXAMPLE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Schema:
    def __init__(self):
        with open(os.path.join(HERE, "openapi.json")) as file:
            self.api = json.load(file)
        self.jobs = self.api["x-daytona-jobs"]
        self.operations = {}  # by route
        self.violations = []
        self.secrets = []     # bytes that have no place but in Authorization
        self.wants_source = True

    def operation(self, method, path):
        return self.api["paths"].get(path, {}).get(method.lower())

    def note(self, request, what):
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(f"{request.method} {request.target}: {what}")

    def check(self, request, path):
        """`path` is the route's in the description, or None of one that is not there. Returns the body as JSON."""
        self.check_secrets(request)
        self.check_headers(request)
        operation = self.operation(request.method, path) if path else None
        if operation is None:
            self.note(request, "no such operation")
            return self.parse(request)
        self.check_query(request, operation.get("parameters", []))
        schema = operation.get("requestBody")
        if schema is None:
            if request.body:
                self.note(request, "a body where none belongs")
            return None
        body = self.parse(request)
        self.check_value(request, "body", body, schema["content"]["application/json"]["schema"])
        return body

    def parse(self, request):
        if not request.body:
            return None
        try:
            return json.loads(request.body)
        except (ValueError, RecursionError):
            self.note(request, "the body is not JSON")
            raise ValueError from None

    def check_headers(self, request):
        headers = request.headers
        if headers.is_good:
            return
        before = len(self.violations)
        if "host" not in headers:
            self.note(request, "no Host")
        if not TRACEPARENT.fullmatch(headers.get("traceparent", EXAMPLE)):
            self.note(request, "traceparent is malformed")
        if self.wants_source and headers.get("x-daytona-source") != "runner":
            self.note(request, "no X-Daytona-Source: runner")
        if request.body and headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            self.note(request, "Content-Type is not application/json")
        for secret in self.secrets:
            for name, value in headers.items():
                if secret.decode() in value and (name != "authorization" or value != "Bearer " + secret.decode()):
                    self.note(request, f"a secret in the header {name}")
        headers.is_good = len(self.violations) == before

    def check_secrets(self, request):
        for secret in self.secrets:
            if secret in request.target.encode("latin-1"):
                self.note(request, "a secret in the URL")
            if secret in request.body:
                self.note(request, "a secret in the body")

    def check_query(self, request, parameters):
        known = {parameter["name"]: parameter["schema"] for parameter in parameters if parameter["in"] == "query"}
        seen = set()
        for name, text in request.query:
            if name not in known or name in seen:
                self.note(request, f"query parameter {name} {'twice' if name in seen else 'is unknown'}")
                continue
            seen.add(name)
            self.check_value(request, name, self.from_text(text, known[name].get("type")), known[name])

    @staticmethod
    def from_text(text, type):
        if type == "number":
            try:
                return float(text)
            except ValueError:
                return text
        return {"true": True, "false": False}.get(text, text) if type == "boolean" else text

    def check_value(self, request, where, value, schema):
        if "$ref" in schema:
            schema = self.api["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        for part in schema.get("allOf", ()):
            self.check_value(request, where, value, part)
        type = schema.get("type")
        if type == "number":
            good = isinstance(value, (int, float)) and not isinstance(value, bool)
        else:
            good = type is None or isinstance(value, TYPES[type])
        if not good:
            self.note(request, f"{where} is not of type {type}")
            return
        if "enum" in schema and value not in schema["enum"]:
            self.note(request, f"{where} has the unknown value {str(value)[:100]!r}")
        if "minimum" in schema and value < schema["minimum"] or "maximum" in schema and value > schema["maximum"]:
            self.note(request, f"{where} is out of bounds: {value}")
        if type == "object" and "properties" in schema:
            self.check_members(request, where, value, schema)
        if type == "array":
            for i, item in enumerate(value):
                self.check_value(request, f"{where}[{i}]", item, schema.get("items", {}))

    def check_members(self, request, where, value, schema):
        for key in schema.get("required", ()):
            if key not in value:
                self.note(request, f"{where}.{key} is missing")
        for key, member in value.items():
            if key not in schema["properties"]:
                self.note(request, f"{where}.{key} is unknown")
            else:
                self.check_value(request, f"{where}.{key}", member, schema["properties"][key])

    def check_result(self, request, job, body):
        """resultMetadata and errorMessage of a status post: what the API reads, and nothing that it misreads."""
        metadata, error = body.get("resultMetadata"), body.get("errorMessage")
        if isinstance(metadata, str):
            self.check_metadata(request, job, metadata)
        if isinstance(error, str):
            try:
                told = json.loads(error)
            except ValueError:
                told = None
            if told is not None and (not isinstance(told, dict) or set(told) != {"errorReason", "recoverable"}):
                self.note(request, "errorMessage is JSON, but not errorReason and recoverable")
        if body.get("status") == "FAILED" and not error:
            self.note(request, "FAILED without an errorMessage")

    def check_metadata(self, request, job, metadata):
        """Keys that nobody reads may be there."""
        try:
            found = json.loads(metadata)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            self.note(request, "resultMetadata is not the JSON of an object")
            return
        for key, type in self.jobs.get(job.type, {}).get("result", {}).items():
            if key in found:
                self.check_value(request, f"resultMetadata.{key}", found[key], {"type": type})
