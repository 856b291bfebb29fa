"""Sandbox rows: what they show to the runner, what completions of jobs and reports of the runner make of them."""

import json
import secrets
import uuid

from .jobs import ApiError

STATES = ("creating restoring destroyed destroying started stopped starting stopping error build_failed pending_build "
          "building_snapshot unknown pulling_snapshot archived archiving resizing snapshotting forking pausing paused "
          "resuming").split()
FILTERS = ("started", "stopped", "archived", "destroyed", "paused")
# A report of one of these needs the desired state beside it; other combinations the API stores.
NEEDS_DESIRED = {"destroying": "destroyed", "archiving": "archived", "stopping": "stopped", "pausing": "paused"}
# What a row shows that is not yet as desired.
ON_THE_WAY = {("started", "stopped"): "stopping", ("stopped", "started"): "starting",
              ("unknown", "started"): "creating", ("paused", "started"): "resuming",
              ("paused", "stopped"): "stopping", ("started", "paused"): "pausing",
              ("stopped", "archived"): "archiving"}
# How long a row may stay in a state, in seconds of the API's clock, and what becomes of it.
LIMITS = {"creating": (900, "Timeout while creating sandbox"), "starting": (300, "Timeout while starting sandbox"),
          "restoring": (1800, "Timeout while starting sandbox"),
          "pulling_snapshot": (1800, "Timeout while pulling snapshot")}
ORGANIZATION = "45001166-f5b0-4816-a5d1-c87d1e8eb380"


class Row:
    """`shown` is what the runner may see of it."""

    def __init__(self, shown, auth_token, now):
        self.shown = shown
        self.auth_token = auth_token
        self.pending = False        # an operation is on its way
        self.assigned = True        # to the runner
        self.backup_snapshot = None
        self.since = now            # when the state changed last
        self.history = [(now, shown["state"])]

    @property
    def state(self):
        return self.shown["state"]

    @property
    def desired(self):
        return self.shown["desiredState"]

    def view(self):
        state = self.state
        if state != "error" and self.desired == "destroyed" and state != "destroyed":
            state = "destroying"
        return {**self.shown, "state": ON_THE_WAY.get((state, self.desired), state)}


def object_of(text):
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def metadata_of(job):
    """The resultMetadata as an object; an empty one of what is none."""
    return object_of(job.metadata)


def payload_of(job):
    """Likewise."""
    return object_of(job.payload)


class Sandboxes:
    def __init__(self, clock, runner_id, changed):
        self.clock = clock
        self.runner_id = runner_id
        self.changed = changed
        self.rows = {}
        self.snapshots = {}        # ref to {"state", "error"}: the runner's entries
        self.on_recovered = self.on_backed_up = lambda row: None
        self.on_settled = lambda job: None
        self.on_inspected = lambda ref, ok: None
        self.drop_completions = 0  # as many results find their row changed by another and are dropped

    def add(self, id=None, name=None, state="unknown", desired="started", **more):
        """A row; `more` replaces what is shown by default."""
        id = id or str(uuid.uuid4())
        if id in self.rows:
            raise ApiError(409, f"sandbox {id} exists")
        now = self.clock.text()
        shown = {"id": id, "organizationId": ORGANIZATION, "name": name or id, "target": "us", "snapshot": "tiny",
                 "user": "daytona", "env": {}, "cpu": 1, "gpu": 0, "memory": 1, "disk": 3, "public": False,
                 "networkBlockAll": False, "networkAllowList": None, "domainAllowList": None, "labels": {},
                 "volumes": [], "state": state, "desiredState": desired, "errorReason": None, "recoverable": False,
                 "backupState": "None", "autoStopInterval": 0, "autoArchiveInterval": 10080, "autoDeleteInterval": -1,
                 "sandboxClass": "linux-vm", "createdAt": now, "updatedAt": now, "lastActivityAt": now,
                 "daemonVersion": None, "runnerId": self.runner_id,
                 "toolboxProxyUrl": "http://127.0.0.1:54000/toolbox"}
        shown.update(more)
        row = self.rows[id] = Row(shown, secrets.token_urlsafe(24), self.clock.now())
        row.assigned = state not in ("destroyed", "archived")
        return row

    def get(self, id):
        row = self.rows.get(id)
        if row is None:
            raise ApiError(404, f"Sandbox with ID or name {id} not found")
        return row

    def set(self, row, state=None, pending=None, **more):
        if state is not None and state != row.state:
            row.shown["state"] = state
            row.since = self.clock.now()
            row.history.append((row.since, state))
        if pending is not None:
            row.pending = pending
        row.shown.update(more)
        row.shown["updatedAt"] = self.clock.text()
        if row.state in ("destroyed", "archived"):
            row.assigned = False
        self.changed()

    # ---- what the runner asks ----

    def for_runner(self, states, skip_reconciling):
        wanted = None
        if states is not None:
            wanted = [state.strip() for state in states.split(",") if state.strip()]
            for state in wanted:
                if state not in FILTERS:
                    raise ApiError(400, f"State {state} does not have a corresponding desired state")
        found = []
        for row in self.rows.values():
            if not row.assigned or wanted is not None and row.state not in wanted:
                continue
            if skip_reconciling and row.state != row.desired:
                continue
            found.append(row.view())
        return found

    def report(self, id, body):
        """PUT of a state by the runner, validated before."""
        row, state = self.get(id), body["state"]
        if not row.assigned:
            raise ApiError(404, f"Sandbox with ID or name {id} not found")
        if row.state == state:
            return
        if row.state not in ("started", "stopped"):
            raise ApiError(400, "Sandbox is not in a valid state to be updated")
        if row.desired == "destroyed":
            return
        if row.pending:
            raise ApiError(409, "Sandbox state change in progress")
        if NEEDS_DESIRED.get(state, row.desired) != row.desired:
            raise ApiError(500, "An unexpected error occurred.")
        is_error = state == "error"
        more = {"errorReason": body.get("errorReason") if is_error else None,
                "recoverable": bool(is_error and body.get("recoverable"))}
        if state in FILTERS:
            more["desiredState"] = state
        self.set(row, state, **more)

    # ---- what jobs do ----

    def progressed(self, job):
        row = self.rows.get(job.resource_id)
        version = metadata_of(job).get("daemonVersion")
        if row is not None and isinstance(version, str):
            row.shown["daemonVersion"] = version

    def finished(self, job):
        """Also for a result that is posted once more."""
        if self.drop_completions > 0:
            self.drop_completions -= 1
        else:
            self.apply(job, job.status == "COMPLETED")
        job.settled = True
        self.on_settled(job)
        self.changed()

    def apply(self, job, ok):
        if job.resource_type == "SNAPSHOT":
            self.finish_snapshot(job, ok)
            return
        row = self.rows.get(job.resource_id)
        finish = getattr(self, "finish_" + job.type.lower(), None)
        if row is not None and finish is not None:
            finish(row, job, ok)

    def fail(self, row, job):
        """errorMessage: {"errorReason", "recoverable"} as JSON, or text."""
        try:
            told = json.loads(job.error or "")
            reason, recoverable = (told.get("errorReason"), told.get("recoverable", False)) \
                if isinstance(told, dict) else (None, None)
        except ValueError:
            reason, recoverable = job.error, False
        self.set(row, "error", False, errorReason=reason, recoverable=recoverable)

    def settle(self, row, **more):
        """Back to where the user wants it."""
        self.set(row, "started" if row.desired == "started" else "stopped", False, **more)

    def started(self, row, job, ok):
        if row.desired != "started":
            return
        if not ok:
            self.fail(row, job)
            return
        backup = row.shown["backupState"]
        if backup in ("Error", "Completed"):
            backup, row.backup_snapshot = "None", None
        version = metadata_of(job).get("daemonVersion")
        self.set(row, "started", False, errorReason=None, recoverable=False, backupState=backup,
                 daemonVersion=version if isinstance(version, str) else row.shown["daemonVersion"])

    finish_create_sandbox = finish_start_sandbox = started

    def finish_stop_sandbox(self, row, job, ok):
        if row.desired != "stopped":
            return
        if not ok:
            self.fail(row, job)
            return
        row.backup_snapshot = None
        self.set(row, "stopped", False, backupState="None")

    def finish_pause_sandbox(self, row, job, ok):
        if row.state == "pausing" and ok:
            self.set(row, "paused", False)  # after a failure it stays pausing for ever

    def finish_destroy_sandbox(self, row, job, ok):
        if row.desired == "archived" and row.shown["backupState"] == "Completed":
            self.set(row, "archived", False, runnerId=None)
        elif row.desired == "destroyed" and ok:
            self.set(row, "destroyed", False, runnerId=None)
        elif row.desired == "destroyed":
            self.fail(row, job)

    def finish_resize_sandbox(self, row, job, ok):
        if row.state == "resizing":
            asked = payload_of(job)
            self.settle(row, **{key: asked[key] for key in ("cpu", "memory", "disk") if ok and asked.get(key)})

    def finish_snapshot_sandbox(self, row, job, ok):
        if row.state != "snapshotting":
            return
        self.settle(row)
        ref = metadata_of(job).get("ref") or metadata_of(job).get("Ref")
        if ok and ref:
            self.snapshots[ref] = {"state": "ready", "error": None}

    def finish_fork_sandbox(self, row, job, ok):
        source = self.rows.get(payload_of(job).get("sourceSandboxId"))
        if source is not None:
            self.settle(source)
        if ok:
            self.started(row, job, True)
        else:
            self.fail(row, job)

    def finish_create_backup(self, row, job, ok):
        if payload_of(job).get("snapshot") == row.backup_snapshot:
            self.set(row, backupState="Completed" if ok else "Error")
            self.on_backed_up(row)

    def finish_recover_sandbox(self, row, job, ok):
        if not ok:
            self.fail(row, job)
            return
        self.set(row, "stopped", False, errorReason=None, recoverable=False)
        if not payload_of(job).get("skipStart"):
            self.on_recovered(row)

    def finish_snapshot(self, job, ok):
        ref = job.resource_id
        if job.type == "INSPECT_SNAPSHOT_IN_REGISTRY":
            self.on_inspected(ref, ok)
        elif job.type == "REMOVE_SNAPSHOT":
            if ok:
                self.snapshots.pop(ref, None)
        elif job.type in ("BUILD_SNAPSHOT", "PULL_SNAPSHOT"):
            self.snapshots[ref] = {"state": "ready" if ok else "error", "error": None if ok else job.error}

    def sweep(self):
        """States that last too long."""
        now = self.clock.now()
        for row in self.rows.values():
            limit = LIMITS.get(row.state)
            if limit is not None and now - row.since > limit[0]:
                self.set(row, "error", False, errorReason=limit[1], recoverable=False)
