"""The fake Daytona API: recorded requests get the recorded answers, and what it is told to do wrong goes wrong. TAP."""

import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

from daytona import DaytonaApi
from daytona_tests import as_recorded, jobs, sandboxes, wire  # noqa: F401: each adds its tests to TESTS, in this order
from daytona_tests.common import TESTS


def main():
    """Each with an API of its own, which starts while the one before runs."""
    wanted = sys.argv[1:]
    tests = [function for function in TESTS if not wanted or function.__name__ in wanted]
    print(f"1..{len(tests)}")
    failed = 0
    starter = ThreadPoolExecutor(1)
    started = [starter.submit(DaytonaApi)]
    for i, function in enumerate(tests, 1):
        if i < len(tests):
            started.append(starter.submit(DaytonaApi))
        try:
            with started.pop(0).result() as api:
                skipped = function(api)
            print(f"ok {i} - {function.__name__}" + (f" # SKIP {skipped}" if skipped else ""), flush=True)
        except Exception:
            failed += 1
            print(f"not ok {i} - {function.__name__}")
            print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()), end="", flush=True)
    return 1 if failed else 0


sys.exit(main())
