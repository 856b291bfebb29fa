"""Files that were written and synced in guests: they must be there, with their content, as long as the sandbox is."""

import itertools
import json
import threading

from clients import Lost, Silent

LOOK_S = 120  # a guest under emulation on a busy machine takes its time


class Ledger:
    """Talks are connections of the caller's (clients.Talk). Any thread."""

    def __init__(self, host, model):
        self.host, self.model = host, model
        self.mutex = threading.Lock()
        self.numbers = itertools.count(1)
        self.files = {id: {} for id in model.sandboxes}  # path: content
        self.epochs = dict.fromkeys(model.sandboxes, 0)  # grows when it begins to be destroyed, and when that is over
        self.n_written = self.n_read = 0

    def destroy_begins(self, id):
        with self.mutex:
            self.epochs[id] += 1
            self.files[id] = {}

    destroy_ends = destroy_begins

    def run(self, talk, id, command):
        """The output of a command in the guest; None: it was not reached, or failed."""
        talk.ready()
        try:
            status, text = talk.ask("POST", f"/sandboxes/{id}/toolbox/process/execute",
                                    json.dumps({"command": command}), LOOK_S, is_toolbox=True)
        except (Lost, Silent):
            return None
        if status != 200:
            return None
        answer = json.loads(text)
        return answer["result"] if answer["exitCode"] == 0 else None

    def write(self, talk, id):
        """What the guest has acknowledged is kept in mind; one that cannot be asked now writes nothing."""
        path, content = f"/root/kept-{next(self.numbers)}", f"of {id}, {next(self.numbers)}"
        with self.mutex:
            epoch = self.epochs[id]
        said = self.run(talk, id, f"echo '{content}' | dd of={path} conv=fsync 2>/dev/null && echo written")
        if said != "written\n":
            return
        with self.mutex:
            if self.epochs[id] == epoch:
                self.files[id][path] = content
                self.n_written += 1

    def read(self, talk, id, must_answer=False):
        """Compares all that was written in this sandbox; faults go to the model."""
        with self.mutex:
            epoch, files = self.epochs[id], dict(self.files[id])
        if not files:
            return
        said = self.run(talk, id, "; ".join(f"echo \"{path} $(cat {path} 2>&1)\"" for path in files))
        with self.mutex:
            if self.epochs[id] != epoch or (said is None and not must_answer):
                return
            self.n_read += len(files)
        if said != (wanted := "".join(f"{path} {content}\n" for path, content in files.items())):
            self.model.fault(id, f"its files say {said!r} and not {wanted!r}")
