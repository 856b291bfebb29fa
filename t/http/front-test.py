"""Raw bytes in, raw bytes out: each test speaks for the client and for the guest. TAP on stdout."""
import shutil
import sys

# Each adds its tests to TESTS; they run in this order.
import front_proxy  # noqa: F401
import front_heads  # noqa: F401
import front_streams  # noqa: F401
import front_rest  # noqa: F401
from front_lib import DIR, TESTS, Front, Guest


def main():
    guest = Guest()
    front = Front(guest)
    failed = 0
    print("1..%d" % (len(TESTS) + 1), flush=True)
    for number, function in enumerate(TESTS, 1):
        name = function.__name__.replace("_", " ")
        try:
            skipped = function(front, guest)
            print("ok %d - %s%s" % (number, name, " # SKIP " + skipped if skipped else ""), flush=True)
        except (AssertionError, OSError, ValueError, KeyError, IndexError) as error:
            failed += 1
            print("not ok %d - %s" % (number, name))
            print("# %s: %s" % (type(error).__name__, str(error).replace("\n", "\n# ")[:2000]), flush=True)
            if front.process.poll() is not None:
                print("Bail out! the driver ended with %d" % front.process.returncode)
                return 1
            front.process.terminate()  # what a failed test left behind is not the next one's
            guest = Guest()
            front = Front(guest)
    out = front.stop()
    clean = "drained" in out or "cut" in out
    print("%s %d - the driver ends when told" % ("ok" if clean else "not ok", len(TESTS) + 1))
    return 1 if failed or not clean else 0


try:
    STATUS = main()
finally:
    shutil.rmtree(DIR, ignore_errors=True)
sys.exit(STATUS)
