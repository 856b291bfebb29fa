"""What /metrics says: by the rules of Prometheus, and all that the dashboard looks for."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import uuid

import tap
from daytona import DaytonaApi
from rig import SRC
from rig_jobs import JobRunner, create, do

SAMPLE = re.compile(r"([a-z_]+)(\{[a-z]+=\"[^\"]*\"(?:,[a-z]+=\"[^\"]*\")*\})? (\S+)$")
SUFFIXES = ("_bucket", "_sum", "_count")
NOT_UNITS = re.compile("_(ms|us|millis|minutes|hours|kb|kib|mb|mib|gb|gib|percent)(_|$)")


def families(text):
    """name -> (type, samples as (name, labels, value)); a fault is an exception."""
    found, name = {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            if name in found or len(line.split()) < 4:
                raise ValueError(f"twice, or without help: {line}")
        elif line.startswith("# TYPE "):
            if line.split()[2] != name:
                raise ValueError(f"not behind its HELP: {line}")
            found[name] = (line.split()[3], [])
        else:
            match = SAMPLE.match(line)
            base = match and next((match[1][:-len(end)] for end in SUFFIXES
                                   if match[1].endswith(end) and found[name][0] == "histogram"), match[1])
            if not match or base != name:
                raise ValueError(f"no sample of {name}: {line}")
            found[name][1].append((match[1], match[2] or "", float(match[3])))
    return found


def check_rules(found):
    tap.equal("counters end in _total, and nothing else does",
              [name for name, (type, _) in found.items() if (type == "counter") != name.endswith("_total")], [])
    tap.equal("units are base units", [name for name in found if NOT_UNITS.search(name)], [])
    twice = [sample for _, samples in found.values() for sample in samples
             if len([other for other in samples if other[:2] == sample[:2]]) > 1]
    tap.equal("no sample is there twice", twice, [])


def check_histogram(found):
    samples = found["runner_operation_seconds"][1]
    creates = [value for name, labels, value in samples if name.endswith("_bucket") and 'op="create"' in labels]
    tap.equal("buckets add up", creates, sorted(creates))
    count = next(value for name, labels, value in samples if name.endswith("_count") and 'op="create"' in labels)
    tap.equal("the last one has all of them", (creates[-1], count), (2, 2))
    total = next(value for name, labels, value in samples if name.endswith("_sum") and 'op="create"' in labels)
    tap.ok("they took some time", 0 < total < 60, total)


def check_dashboard(found):
    with open(os.path.join(SRC, "conf/grafana-dashboard.json")) as file:
        dashboard = json.load(file)
    exprs = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = {name for expr in exprs for name in re.findall(r"\b((?:runner|process)_[a-z_]+)", expr)}
    known = set(found) | {name + "_bucket" for name, (type, _) in found.items() if type == "histogram"}
    tap.equal("all that the dashboard looks for is there", sorted(names - known), [])
    tap.ok("it looks for something", len(names) > 15, names)


def check_promtool(text):
    program = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if program is None:
        tap.skip("promtool (Debian: prometheus) is not installed")
        return
    done = subprocess.run([program, "check", "metrics"], input=text, text=True, capture_output=True)
    tap.equal("promtool has nothing to say", (done.returncode, done.stdout + done.stderr), (0, ""))


def main():
    with tempfile.TemporaryDirectory(prefix="runner-t.") as base:
        os.chmod(base, 0o711)
        with DaytonaApi(base) as api, JobRunner(base, api) as runner:
            api.wait(60, runner="ready")
            first, second = str(uuid.uuid4()), str(uuid.uuid4())
            create(api, first)
            create(api, second)
            do(api, first, "destroy")
            text = runner.client.call("GET", "/metrics", as_text=True)
            found = families(text)
            check_rules(found)
            check_histogram(found)
            value = {name + labels: value for _, samples in found.values() for name, labels, value in samples}
            tap.equal("a sandbox runs", value['runner_sandboxes{state="started"}'], 1)
            tap.equal("three jobs were done", value['runner_jobs_total{result="completed"}'], 3)
            tap.ok("of which process", value["process_open_fds"] > 5 and value["process_resident_memory_bytes"] > 1 << 20)
            tap.ok("of which version", any(name.startswith("runner_build_info{version=") for name in value))
            check_dashboard(found)
            check_promtool(text)
    tap.done()


if __name__ == "__main__":
    main()
