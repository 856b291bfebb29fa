"""What may be: the states in which each sandbox may be, by what was asked, answered, lost and broken.

A sandbox does one operation at a time (its lane in the runner), but nobody outside knows in which order requests that
were under way together took effect. So the model keeps every configuration that explains all answers so far: a state,
with the outcomes of those operations that have taken effect and are not answered yet. An answer that no configuration
explains is a fault of the runner: lost, invented, or out of order. (Wing and Gong's test of linearizability, done as
the answers come.) Looks, which change nothing, must tell what was so at some time between question and answer.
"""

import collections
import itertools
import threading
import time

NONE, STOPPED, STARTED, PAUSED, ERROR = "destroyed", "stopped", "started", "paused", "error"
STEADY = (NONE, STOPPED, STARTED, PAUSED, ERROR)
# Seen while an operation runs; one that broke down may leave it, and the next start of the runner goes on from there.
ON_THE_WAY = {"creating": NONE, "starting": STOPPED, "stopping": STOPPED, "destroying": NONE}
SHOWS = {"create": {"creating", "starting"}, "start": {"starting"}, "stop": {"stopping"}, "destroy": {"destroying"},
         "pause": set(), "resume": set()}
# Outcomes; that of a get is the state that it tells.
DONE, MISSING, REFUSED, FAILED, LOST, BUSY = "done", "missing", "refused", "failed", "lost", "busy"
HISTORY = 40
CROWD = 4  # operations that may be under way with one sandbox: the configurations grow with their power set


def sound(kind, skips_start, state):
    """(outcome, state afterwards) where nothing is broken."""
    if kind == "get":
        return {(state, state)}
    if kind == "destroy":
        return {(DONE, NONE)}
    if kind == "create" and state == NONE:
        return {(DONE, STOPPED if skips_start else STARTED)}
    if state == NONE:
        return {(MISSING, NONE)}
    if kind == "toolbox":
        return {(DONE if state == STARTED else REFUSED, state)}
    if kind == "stop":
        return {(REFUSED, state)} if state in ("creating", "destroying") else {(DONE, STOPPED)}
    if state in ON_THE_WAY:
        return {(REFUSED, state)}
    if kind == "create" and state == ERROR:
        return {(FAILED, ERROR)}
    if kind in ("create", "start"):
        return {(DONE, STARTED)}
    if state in (STARTED, PAUSED):
        return {(DONE, PAUSED if kind == "pause" else STARTED)}
    return {(REFUSED, state)}


def broken(kind, state):
    """The same, besides, where the VMM misbehaves."""
    if kind == "get":
        return set()
    if kind == "toolbox" or kind in ("pause", "resume"):
        return {(FAILED, state)}
    if kind == "destroy":
        return {(FAILED, state), (FAILED, "destroying")}
    if kind == "stop":
        return {(FAILED, state), (FAILED, "stopping")}
    if state == NONE:
        return {(FAILED, after) for after in (NONE, "creating", "destroying")} if kind == "create" else set()
    return {(FAILED, after) for after in (state, STOPPED, ERROR, "starting")}


def on_an_ill_host(kind, state):
    """The same, besides, where calls to the host fail: that the disk is full is told as 400, that a port is another's
    as 409; and who looks is told as well."""
    if kind == "get":
        return {(FAILED, state)}
    return {(outcome, after) for _, after in broken(kind, state) for outcome in (FAILED, REFUSED)}


def unfinished(kind, state):
    """The states that the next start of the runner makes of an operation during which the last one died."""
    after = {state}
    if kind in ("start", "create", "stop") and state != NONE:
        after.add(STOPPED)
    if kind == "destroy":
        after.add(NONE)
    return after


class Operation:
    def __init__(self, number, sandbox, kind, skips_start):
        self.number, self.sandbox, self.kind, self.skips_start = number, sandbox, kind, skips_start
        self.changes = kind not in ("get", "toolbox")
        self.is_troubled = False   # the VMM misbehaved meanwhile
        self.is_on_ill_host = False
        self.is_disturbed = False  # another operation ran beside it
        self.shows = set()         # what a look may see of the others
        self.seen = set()          # outcomes that a look may have had so far

    def effects(self, state):
        all = sound(self.kind, self.skips_start, state)
        if self.is_troubled:
            all |= broken(self.kind, state)
        if self.is_on_ill_host:
            all |= on_an_ill_host(self.kind, state)
        if self.kind == "toolbox" and self.is_disturbed:
            all |= {(FAILED, state), (REFUSED, state)}
        return all

    def may_be_silent(self):
        """Of the toolbox: whether a guest that never answers explains it."""
        return self.is_troubled or self.is_on_ill_host or self.is_disturbed

    def __str__(self):
        return f"#{self.number} {self.kind}{' skipStart' if self.skips_start else ''}"


class Sandbox:
    def __init__(self, id):
        self.id = id
        self.configs = {(NONE, frozenset())}
        self.pending = []          # operations that change something
        self.looks = []
        self.wishes = 0            # that its VMM is to misbehave, now
        self.is_tainted = False    # ... or that of a process that may still run
        self.may_end = False       # its process was killed
        self.limbo = set()         # what the next start of the runner may make of it
        self.limbo_shows = set()   # and what a look may see meanwhile
        self.since = 0             # number of the last operation that began before the latest of these
        self.history = collections.deque(maxlen=HISTORY)

    def tell(self, text):
        self.history.append(f"{time.monotonic():.3f} {text}")

    def states(self):
        return {state for state, _ in self.closure()}

    def moves(self, state, effected):
        """What it may become by itself. A runner that has just started goes on with what the last one left before it
        does what it is asked."""
        after = set() if effected else set(self.limbo)
        if state in (STARTED, PAUSED) and (self.may_end or self.is_tainted):
            after |= {ERROR, STOPPED}
        if state in ON_THE_WAY:  # the runner goes on with what failed there
            after.add(ON_THE_WAY[state])
        return after

    def closure(self):
        """Every configuration that those known may have become."""
        seen, rest = set(self.configs), list(self.configs)
        while rest:
            state, effected = rest.pop()
            after = [(to, effected) for to in self.moves(state, effected)]
            effected_ops = {op for op, _ in effected}
            for op in self.pending:
                if op not in effected_ops:
                    after += [(to, effected | {(op, outcome)}) for outcome, to in op.effects(state)]
            for config in after:
                if config not in seen:
                    seen.add(config)
                    rest.append(config)
        return seen

    def look_around(self):
        """What those who look may have seen by now."""
        if self.looks:
            states = self.states()
            for op in self.looks:
                op.seen |= {outcome for state in states for outcome, _ in op.effects(state)}

    def explain(self, op, outcome):
        """Keeps the configurations in which op has this outcome; False: there is none."""
        kept = {(state, effected - {(op, outcome)}) for state, effected in self.closure() if (op, outcome) in effected}
        if kept:
            self.configs = kept
        return bool(kept)

    def explain_look(self, op, outcome):
        """The same of one that changes nothing. Undisturbed, it says what is so."""
        if outcome not in op.seen:
            return False
        if not op.is_disturbed:
            kept = {(state, e) for state, e in self.closure() if outcome in {o for o, _ in op.effects(state)}}
            self.configs = kept or self.configs
        return True

    def cancel(self, op):
        """It did not take effect."""
        self.configs = {config for config in self.configs if op not in {o for o, _ in config[1]}}


class Model:
    """Methods may be called by any thread. What they cannot explain is in `faults`."""

    def __init__(self, ids):
        self.mutex = threading.Lock()
        self.sandboxes = {id: Sandbox(id) for id in ids}
        self.numbers = itertools.count(1)
        self.faults = []
        self.outcomes = collections.Counter()
        self.is_draining = self.is_host_ill = self.was_host_ill = False

    def fault(self, id, text):
        sandbox = self.sandboxes.get(id)
        history = "".join(f"\n    {line}" for line in sandbox.history) if sandbox else ""
        self.faults.append(f"{id}: {text}{history}")

    # ---- requests ----

    def begin(self, id, kind, skips_start=False):
        """None: too many are at this sandbox."""
        with self.mutex:
            sandbox = self.sandboxes[id]
            op = Operation(next(self.numbers), sandbox, kind, skips_start)
            if op.changes and len(sandbox.pending) >= CROWD:
                return None
            op.is_troubled, op.is_on_ill_host = sandbox.is_tainted or sandbox.may_end, self.is_host_ill
            op.shows |= sandbox.limbo_shows
            op.is_disturbed = bool(sandbox.limbo)
            for other in sandbox.pending + sandbox.looks:
                self.meet(op, other)
                self.meet(other, op)
            (sandbox.pending if op.changes else sandbox.looks).append(op)
            sandbox.look_around()
            sandbox.tell(f"{op}: asked")
            return op

    @staticmethod
    def meet(op, other):
        if other.changes:
            op.is_disturbed = True
            op.shows |= SHOWS[other.kind]

    def answer(self, op, outcome, note=""):
        sandbox = op.sandbox
        with self.mutex:
            self.outcomes[op.kind, outcome if op.kind != "get" else "told"] += 1
            sandbox.tell(f"{op}: {outcome} {note}")
            if op not in sandbox.pending + sandbox.looks:  # the runner died meanwhile: what became of it is open
                return
            sandbox.look_around()
            if not self.explain(sandbox, op, outcome):
                may = ", ".join(sorted(sandbox.states()))
                self.fault(sandbox.id, f"{op}: {outcome} {note}: not possible where it may be: {may}")
                sandbox.configs = {(state, frozenset()) for state in STEADY}
            (sandbox.pending if op.changes else sandbox.looks).remove(op)
            if op.changes:
                self.learn(sandbox, op, outcome)
                sandbox.look_around()

    def explain(self, sandbox, op, outcome):
        if outcome == LOST or (outcome == BUSY and self.is_draining):
            sandbox.cancel(op)  # it was sent to a runner that had ended before, or was refused
            return True
        if not op.changes:
            return outcome in op.shows or sandbox.explain_look(op, outcome)
        return sandbox.explain(op, outcome)

    @staticmethod
    def learn(sandbox, op, outcome):
        """An answer of the lane says that what came before is over."""
        if outcome in (FAILED, LOST, BUSY) or op.number <= sandbox.since:
            return
        sandbox.limbo, sandbox.limbo_shows = set(), set()
        if outcome == DONE and op.kind in ("start", "create", "stop", "destroy"):
            sandbox.may_end = False
        if outcome == DONE and op.kind in ("stop", "destroy") and sandbox.wishes == 0:
            sandbox.is_tainted = False

    # ---- what goes wrong ----

    def now(self, sandbox):
        sandbox.since = next(self.numbers)

    @staticmethod
    def trouble(sandbox):
        for op in sandbox.pending + sandbox.looks:
            op.is_troubled = True
        sandbox.look_around()

    def arm(self, id, what):
        """Before: its VMM, or the host under it, is to misbehave."""
        with self.mutex:
            sandbox = self.sandboxes[id]
            sandbox.tell(f"wished: {what}")
            sandbox.wishes += 1
            sandbox.is_tainted = True
            self.trouble(sandbox)

    def disarm(self, id):
        """Afterwards. A process that was started meanwhile misbehaves on."""
        with self.mutex:
            sandbox = self.sandboxes[id]
            sandbox.tell("the wish is taken back")
            sandbox.wishes -= 1
            self.now(sandbox)

    def host_fails(self, what):
        """Before: calls to the host are to fail."""
        with self.mutex:
            self.is_host_ill = self.was_host_ill = True
            for sandbox in self.sandboxes.values():
                sandbox.tell(f"on the host {what}")
                for op in sandbox.pending + sandbox.looks:
                    op.is_on_ill_host = True
                sandbox.look_around()

    def host_is_well(self, what):
        """Afterwards."""
        with self.mutex:
            self.is_host_ill = False
            for sandbox in self.sandboxes.values():
                sandbox.tell(f"the host is well again: {what}")
                self.now(sandbox)

    def vmm_dies(self, id):
        """Before its process is killed."""
        with self.mutex:
            sandbox = self.sandboxes[id]
            sandbox.tell("the VMM is killed")
            sandbox.may_end = True
            self.now(sandbox)
            self.trouble(sandbox)

    def vmm_died(self, id):
        with self.mutex:
            self.now(self.sandboxes[id])

    def runner_died(self):
        """Once its process has ended, and before another is started. What was under way is forgotten: the states that
        it may have led to stay, and each may become another until the new runner has gone on with it."""
        with self.mutex:
            for sandbox in self.sandboxes.values():
                sandbox.tell("the runner has ended")
                states = sandbox.states()
                for op in sandbox.pending:
                    states |= {after for state in list(states) for after in unfinished(op.kind, state)}
                    sandbox.limbo_shows |= SHOWS[op.kind] | ({"destroying"} if op.kind == "create" else set())
                if self.was_host_ill and "destroying" in sandbox.limbo_shows:
                    states.add("destroying")  # what was not created is removed, which may fail, and is tried again
                if sandbox.is_tainted and states & {STARTED, PAUSED}:
                    states |= {STARTED, PAUSED}  # what failed to pause or resume is told as it is
                states |= {ON_THE_WAY[state] for state in states if state in ON_THE_WAY}
                sandbox.limbo |= states if len(states) > 1 else set()
                sandbox.configs = {(state, frozenset()) for state in states}
                sandbox.pending, sandbox.looks = [], []
                self.now(sandbox)

    # ---- rest ----

    def settle(self, states):
        """Nothing is under way; states: what the runner says of each sandbox (absent: none)."""
        with self.mutex:
            for sandbox in self.sandboxes.values():
                state = states.get(sandbox.id, NONE)
                sandbox.tell(f"at rest: {state}")
                may = sandbox.states()
                if state not in may:
                    self.fault(sandbox.id, f"at rest: {state}, where it may be: {', '.join(sorted(may))}")
                sandbox.configs = {(state, frozenset())}
                sandbox.may_end = False
                sandbox.limbo, sandbox.limbo_shows = set(), set()
                if state not in (STARTED, PAUSED) and sandbox.wishes == 0:
                    sandbox.is_tainted = False
            for id in states.keys() - self.sandboxes.keys():
                self.fault(id, "at rest: nobody asked for it")
