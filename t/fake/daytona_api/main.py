"""The process: a listener for the runner, one for its spans, one for the test."""

import argparse
import asyncio
import contextlib
import functools
import gc
import json
import os
import signal
import ssl
import sys

from .api import VERSION, Api
from .clock import Clock
from .control import Control
from .jobs import Jobs
from .load import Load
from .runner import Runner
from .sandboxes import Sandboxes
from .schema import Schema
from .traces import Collector
from .user import User
from .wire import Listener, loopback_socket, unix_socket

DEFAULTS = {"idleSeconds": 5,       # of a connection until it is closed; null: never
            "completionMs": 5,      # from the answer to a status post to what it changes
            "pollMaxSeconds": 60,   # of a poll, however long it asks for
            "dashboard": True,      # what is asked for without /api is answered with a page
            "requireReady": False,  # jobs of users wait until the runner is ready
            "wantsSource": True,    # a request without X-Daytona-Source: runner is a violation
            "dropCompletions": 0,   # so many results meet a row that was changed meanwhile, and change nothing
            "sandboxClass": "linux-vm"}
JOB_SWEEP_S, STATE_SWEEP_S = 60, 10  # of the API's clock


class Fake:
    def __init__(self, loop, options):
        self.loop = loop
        self.settings = dict(DEFAULTS)
        self.clock = Clock()
        self.control = Control(self)
        changed = self.control.changed
        schema = Schema()
        self.jobs = Jobs(loop, self.clock, schema.jobs)
        self.runner = Runner(self.clock, "vm-runner-1", self.settings["sandboxClass"], changed)
        self.sandboxes = Sandboxes(self.clock, self.runner.id, changed)
        self.api = Api(loop, self.clock, self.jobs, self.sandboxes, self.runner, schema, self.settings, changed)
        self.user = User(self.jobs, self.sandboxes, self.runner, self.settings)
        self.load = Load(self.user, self.clock)
        self.collector = Collector(schema.note, self.api.faults, changed)
        tls = tls_context(options)
        self.api_listener = Listener(loop, self.api.handle, loopback_socket(options.port),
                                     self.settings["idleSeconds"], tls)
        self.otlp_listener = Listener(loop, self.collector.handle, loopback_socket())
        for listener in (self.api_listener, self.otlp_listener):
            listener.send = functools.partial(self.api.faults.send, listener)
        self.control_listener = Listener(loop, self.control.handle, unix_socket(options.control))
        port = lambda listener: listener.sock.getsockname()[1]
        self.addresses = {"url": f"http{'s' if tls else ''}://127.0.0.1:{port(self.api_listener)}/api",
                          "otlp": f"http://127.0.0.1:{port(self.otlp_listener)}", "control": options.control}
        self.tasks = set()
        self.next_sweep = {JOB_SWEEP_S: 0, STATE_SWEEP_S: 0}

    async def open(self):
        for listener in (self.api_listener, self.otlp_listener, self.control_listener):
            await listener.open()
        self.tick()

    def set(self, key, value):
        self.api_listener.seen.clear()  # judged by what was set before
        if key == "token":
            self.runner.token = value
            self.api.schema.secrets[0] = value.encode()
            return
        if key not in self.settings:
            raise ValueError(f"no setting {key}; there are {', '.join(self.settings)}")
        self.settings[key] = value
        if key == "idleSeconds":
            self.api_listener.idle_s = value
        elif key == "wantsSource":
            self.api.schema.wants_source = value
        elif key == "dropCompletions":
            self.sandboxes.drop_completions = value
        elif key == "sandboxClass":
            self.runner.sandbox_class = value

    def spawn(self, coroutine, then):
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(lambda task: (self.tasks.discard(task), then()))

    async def set_mode(self, which, mode, seconds):
        listener = {"api": self.api_listener, "otlp": self.otlp_listener}[which]
        if mode == "refuse" and which == "api":
            self.jobs.forget_waiters()
        await listener.set_mode(mode)
        if seconds is not None:
            self.loop.call_later(seconds, lambda: self.spawn(listener.set_mode("up"), lambda: None))

    # ---- what the API does by itself ----

    def tick(self):
        self.sweep(only_due=True)
        self.loop.call_later(min(1.0, STATE_SWEEP_S / self.clock.scale / 2), self.tick)

    def sweep(self, only_due=False):
        now = self.clock.now()
        for period, sweeps in ((JOB_SWEEP_S, (self.jobs.fail_stale,)),
                               (STATE_SWEEP_S, (self.sandboxes.sweep, self.runner.sweep))):
            if only_due and now < self.next_sweep[period]:
                continue
            self.next_sweep[period] = now + period
            for sweep in sweeps:
                sweep()
        self.control.changed()


def tls_context(options):
    if options.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=options.tls_client_ca)
    context.load_cert_chain(options.tls_cert, options.tls_key)
    if options.tls_client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def serve(options):
    loop = asyncio.get_running_loop()
    fake = Fake(loop, options)
    if options.token_file:
        with open(options.token_file) as file:
            fake.set("token", file.read().strip())
    await fake.open()
    end = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: end.done() or end.set_result(None))
    if options.stay_with_stdin:
        loop.add_reader(0, lambda: os.read(0, 4096) or end.done() or end.set_result(None))
    gc.collect()
    gc.freeze()
    print(json.dumps({**fake.addresses, "token": fake.runner.token, "version": VERSION}), flush=True)
    await end
    with contextlib.suppress(FileNotFoundError):
        os.unlink(options.control)


def main():
    parser = argparse.ArgumentParser(description="A Daytona API for tests. Prints its addresses as a line of JSON.")
    parser.add_argument("--control", required=True, metavar="PATH", help="unix socket for the test, see control.py")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1 for the runner, by default a free one")
    parser.add_argument("--token-file", help="the runner's key; by default one is made up")
    parser.add_argument("--tls-cert", help="of the API for the runner, which then speaks TLS")
    parser.add_argument("--tls-key")
    parser.add_argument("--tls-client-ca", help="who signs the certificate that the runner has to have")
    parser.add_argument("--stay-with-stdin", action="store_true", help="end when standard input does")
    asyncio.run(serve(parser.parse_args()))
    sys.exit(0)
