"""TAP from Python."""

import sys

failed = []
number = 0


def ok(name, is_good, *details):
    """A test point; details are told when it fails."""
    global number
    number += 1
    print(f"{'ok' if is_good else 'not ok'} {number} - {name}", flush=True)
    if not is_good:
        failed.append(name)
        for detail in details:
            diag(detail)
    return bool(is_good)


def equal(name, got, wanted):
    return ok(name, got == wanted, f"got:    {got}", f"wanted: {wanted}")


def diag(text):
    for line in str(text).splitlines():
        print("# " + line, flush=True)


def skip(reason, n=1):
    global number
    for _ in range(n):
        number += 1
        print(f"ok {number} # SKIP {reason}", flush=True)


def skip_all(reason):
    print(f"1..0 # SKIP {reason}", flush=True)
    sys.exit(0)


def done():
    print(f"1..{number}", flush=True)
    sys.exit(1 if failed else 0)
