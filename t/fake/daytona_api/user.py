"""What users and the API's own cron do: rows are moved and jobs made of it, with the payloads that the API sends."""

import secrets

from .jobs import ApiError
from .sandboxes import ORGANIZATION
from .wire import to_json

REGISTRY = {"project": "daytona", "url": "localhost:55000", "username": "admin", "password": "password"}


class User:
    """Each call returns the job, or None for one that waits until the runner is ready (setting requireReady)."""

    def __init__(self, jobs, sandboxes, runner, settings):
        self.jobs = jobs
        self.sandboxes = sandboxes
        self.runner = runner
        self.settings = settings
        self.postponed = []
        sandboxes.on_recovered = lambda row: self.start(row, {})
        sandboxes.on_backed_up = self.go_on_archiving
        sandboxes.on_inspected = self.go_on_restoring
        self.restored = {}  # by the ref of the backup: the row
        runner.on_ready = self.catch_up
        self.calls = {"create": self.create, "start": self.start, "stop": self.stop, "pause": self.pause,
                      "destroy": self.destroy, "resize": self.resize, "backup": self.backup, "archive": self.archive,
                      "recover": self.recover, "snapshot": self.snapshot, "fork": self.fork,
                      "network-settings": self.network_settings}

    def call(self, what, id, args):
        if what == "create":
            return self.create(self.sandboxes.rows.get(id), {**args, "id": id})
        if what not in self.calls:
            raise ApiError(404, f"no call {what}; there are {', '.join(self.calls)}")
        return self.calls[what](self.sandboxes.get(id), args)

    def job(self, type, row, payload, args, when_ready=False):
        """`args` may have a traceContext, an id for the job, and `payload` to put over what the API would send."""
        if payload is not None:
            payload = {**payload, **args.get("payload", {})}
        make = lambda: self.jobs.add(type, row.shown["id"], payload, args.get("traceContext"), id=args.get("jobId"))
        if when_ready and self.settings["requireReady"] and self.runner.state != "ready":
            self.postponed.append(make)
            return None
        return make()

    def catch_up(self):
        postponed, self.postponed = self.postponed, []
        for make in postponed:
            make()

    @staticmethod
    def expect(row, *states):
        if row.pending:
            raise ApiError(409, "Sandbox state change in progress")
        if row.state == "error" and "error" not in states:
            raise ApiError(400, "Sandbox is in an errored state")
        if row.state not in states:
            raise ApiError(400, f"Sandbox is {row.state}, not {' or '.join(states)}")

    @staticmethod
    def metadata(row, with_name):
        shown = row.shown
        found = {"organizationId": shown["organizationId"], "organizationName": "Personal",
                 "limitNetworkEgress": "false"}
        if with_name:
            found["sandboxName"] = shown["name"]
            return found
        if shown["volumes"]:
            found["volumes"] = to_json(shown["volumes"])  # text in the text of the payload
        if shown["domainAllowList"]:
            found["domainAllowList"] = shown["domainAllowList"]
        return found

    def create(self, row, args):
        """A row that is there already is used as it is: that of a restore, or one that a test has made."""
        shown_args = {key: args[key] for key in ("name", "snapshot", "cpu", "gpu", "memory", "disk", "env", "volumes",
                                                 "networkBlockAll", "networkAllowList", "domainAllowList", "user")
                      if key in args}
        skip_start = bool(args.get("skipStart"))
        if self.settings["requireReady"] and self.runner.state != "ready":
            raise ApiError(400, "No available runners")
        if row is None:
            row = self.sandboxes.add(args.get("id"), desired="stopped" if skip_start else "started", **shown_args)
        if args.get("linkedSandboxId"):
            row.shown["linkedSandboxId"] = args["linkedSandboxId"]
        payload = self.create_payload(row, args.get("registry", REGISTRY), skip_start)
        job = self.job("CREATE_SANDBOX", row, payload, args)
        self.sandboxes.set(row, "creating" if not skip_start else None, not skip_start, runnerId=self.runner.id)
        row.assigned = True
        return job

    def create_payload(self, row, registry, skip_start=False):
        shown = row.shown
        payload = {"id": shown["id"], "name": shown["name"], "userId": shown["organizationId"],
                   "snapshot": shown["snapshot"], "osUser": shown["user"], "cpuQuota": shown["cpu"],
                   "gpuQuota": shown["gpu"], "memoryQuota": shown["memory"], "storageQuota": shown["disk"],
                   "env": shown["env"], "registry": registry, "entrypoint": None, "volumes": shown["volumes"],
                   "networkBlockAll": shown["networkBlockAll"], "networkAllowList": shown["networkAllowList"],
                   "domainAllowList": shown["domainAllowList"], "metadata": self.metadata(row, True),
                   "authToken": row.auth_token}
        if skip_start:
            payload["skipStart"] = True
        payload.update(organizationId=ORGANIZATION, regionId=shown["target"])
        if "linkedSandboxId" in shown:
            payload["linkedSandboxId"] = shown["linkedSandboxId"]
        payload["sandboxClass"] = shown["sandboxClass"]
        return payload

    def start(self, row, args):
        self.expect(row, "stopped", "paused", "archived")
        if row.state == "archived":
            return self.restore(row, args)
        if row.state == "paused":
            payload, state = {"authToken": row.auth_token}, "resuming"  # no metadata, the old token
        else:
            row.auth_token = secrets.token_urlsafe(24)
            payload, state = {"authToken": row.auth_token, "metadata": self.metadata(row, False)}, "starting"
        job = self.job("START_SANDBOX", row, payload, args, when_ready=True)
        self.sandboxes.set(row, state, True, desiredState="started")
        return job

    def restore(self, row, args):
        """The backup is inspected first; the create that follows has no entrypoint."""
        ref = row.backup_snapshot
        job = self.jobs.add("INSPECT_SNAPSHOT_IN_REGISTRY", ref, {"snapshot": ref, "registry": REGISTRY},
                            args.get("traceContext"))
        self.restored[ref] = row
        self.sandboxes.set(row, "restoring", True, desiredState="started")
        return job

    def go_on_restoring(self, ref, ok):
        row = self.restored.pop(ref, None)
        if row is None:
            return
        if not ok:
            self.sandboxes.set(row, "error", False, errorReason=f"Snapshot {ref} failed to inspect in registry")
            return
        row.auth_token, row.assigned = secrets.token_urlsafe(24), True
        payload = {**self.create_payload(row, REGISTRY), "snapshot": ref}
        del payload["entrypoint"]
        self.job("CREATE_SANDBOX", row, payload, {})
        self.sandboxes.set(row, runnerId=self.runner.id)

    def stop(self, row, args):
        self.expect(row, "started", "paused")
        job = self.job("STOP_SANDBOX", row, {"force": True} if args.get("force") else {}, args, when_ready=True)
        self.sandboxes.set(row, "stopping", True, desiredState="stopped")
        return job

    def pause(self, row, args):
        self.expect(row, "started")
        job = self.job("PAUSE_SANDBOX", row, {"sandboxId": row.shown["id"]}, args)
        self.sandboxes.set(row, "pausing", True, desiredState="paused")
        return job

    def destroy(self, row, args):
        """Of an errored one no job is ever made: it is the runner that finds out."""
        name = f"DESTROYED_{row.shown['name']}_{int(self.sandboxes.clock.now() * 1000)}"
        if row.state in ("error", "build_failed"):
            self.sandboxes.set(row, desiredState="destroyed", name=name)
            return None
        self.expect(row, "started", "stopped", "paused")
        job = self.job("DESTROY_SANDBOX", row, None, args, when_ready=True)
        self.sandboxes.set(row, "destroying", True, desiredState="destroyed", name=name)
        return job

    def resize(self, row, args):
        self.expect(row, "started", "stopped")
        asked = {key: args[key] for key in ("cpu", "memory", "disk") if key in args}
        job = self.job("RESIZE_SANDBOX", row, asked, args)
        self.sandboxes.set(row, "resizing", True)
        return job

    def backup(self, row, args):
        self.expect(row, "started", "stopped", "error")
        stamp = self.sandboxes.clock.text().replace(":", "-").replace(".", "-")
        ref = f"localhost:55000/daytona/backup-{row.shown['id']}:{stamp}"
        job = self.job("CREATE_BACKUP", row, {"snapshot": ref, "registry": REGISTRY}, args)
        row.backup_snapshot = ref
        self.sandboxes.set(row, backupState="InProgress")
        return job

    def archive(self, row, args):
        self.expect(row, "stopped")
        job = self.backup(row, args)
        self.sandboxes.set(row, "archiving", desiredState="archived")
        return job

    def go_on_archiving(self, row):
        if row.desired == "archived" and row.shown["backupState"] == "Completed":
            self.job("DESTROY_SANDBOX", row, None, {}, when_ready=True)

    def recover(self, row, args):
        self.expect(row, "error")
        if not row.shown["recoverable"]:
            raise ApiError(400, "Sandbox is not in a recoverable state")
        shown = row.shown
        payload = {"userId": shown["organizationId"], "snapshot": shown["snapshot"], "osUser": shown["user"],
                   "cpuQuota": shown["cpu"], "gpuQuota": shown["gpu"], "memoryQuota": shown["memory"],
                   "storageQuota": shown["disk"], "env": shown["env"], "volumes": shown["volumes"],
                   "networkBlockAll": shown["networkBlockAll"], "networkAllowList": shown["networkAllowList"],
                   "errorReason": shown["errorReason"], "backupErrorReason": None,
                   "skipStart": bool(args.get("skipStart"))}
        return self.job("RECOVER_SANDBOX", row, payload, args)

    def snapshot(self, row, args):
        self.expect(row, "started", "stopped")
        payload = {"sandboxId": row.shown["id"], "name": args.get("name", "snapshot"), "organizationId": ORGANIZATION,
                   "registry": {key: REGISTRY[key] for key in ("url", "username", "password", "project")}}
        if args.get("includeMemory"):
            payload["includeMemory"] = True
        job = self.job("SNAPSHOT_SANDBOX", row, payload, args)
        self.sandboxes.set(row, "snapshotting", True)
        return job

    def fork(self, row, args):
        """The job is of the new sandbox."""
        self.expect(row, "started")
        copied = ("snapshot", "user", "env", "cpu", "gpu", "memory", "disk", "networkBlockAll", "networkAllowList",
                  "volumes")
        new = self.sandboxes.add(args.get("newId"), args.get("name"), "creating",
                                 **{key: row.shown[key] for key in copied})
        job = self.job("FORK_SANDBOX", new, {"sourceSandboxId": row.shown["id"], "newSandboxId": new.shown["id"]}, args)
        self.sandboxes.set(row, "forking", True)
        self.sandboxes.set(new, pending=True)
        return job

    def network_settings(self, row, args):
        """The effective blockAll always, the lists only when there is something in them."""
        self.expect(row, "started", "stopped")
        shown = row.shown
        block = bool(args.get("networkBlockAll", shown["networkBlockAll"]))
        payload = {"networkBlockAll": block}
        for key in ("networkAllowList", "domainAllowList"):
            shown[key] = args.get(key) or None
            if shown[key]:
                payload[key] = shown[key]
        job = self.job("UPDATE_SANDBOX_NETWORK_SETTINGS", row, payload, args)
        self.sandboxes.set(row, networkBlockAll=block)
        return job
