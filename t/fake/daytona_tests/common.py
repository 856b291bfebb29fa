"""What the tests of the fake Daytona API share."""

from daytona import RunnerClient

TESTS = []
HEALTH = {"appVersion": "v0.0.1", "domain": "127.0.0.1", "apiUrl": "http://127.0.0.1:53003",
          "proxyUrl": "http://127.0.0.1:53003"}
METRICS = {"currentCpuLoadAverage": 0.1, "currentCpuUsagePercentage": 5.5, "currentMemoryUsagePercentage": 20.25,
           "currentDiskUsagePercentage": 30.0, "currentAllocatedCpu": 1, "currentAllocatedMemoryGiB": 1,
           "currentAllocatedDiskGiB": 3, "currentSnapshotCount": 1, "currentStartedSandboxes": 1, "cpu": 64,
           "memoryGiB": 256, "diskGiB": 1000}
TIMES = ("timestamp", "createdAt", "updatedAt")


def test(function):
    TESTS.append(function)
    return function


def same(got, wanted):
    if got != wanted:
        raise AssertionError(f"got    {got!r}\nwanted {wanted!r}")


def raises(kind, call, *args, **more):
    try:
        call(*args, **more)
    except kind as error:
        return error
    raise AssertionError(f"{call} does not raise {kind}")


def untimed(value):
    """Times differ from run to run; that they are there does not."""
    if isinstance(value, dict):
        return {key: "TIME" if key in TIMES else untimed(member) for key, member in value.items()}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def client_of(api, key="runner"):
    told = api.call("GET", "/")
    return RunnerClient(api, {"runner": told["token"], "user": told["userToken"], "wrong": "dtn_wrong"}[key])


def replay(api, exchange, body):
    text = body if isinstance(body, str) else None
    status, headers, reply = client_of(api, exchange["key"]).ask(
        exchange["method"], exchange["path"], None if text is not None else body, text)
    same((exchange["note"], status), (exchange["note"], exchange["status"]))
    return headers, reply.decode() if isinstance(reply, bytes) else reply
