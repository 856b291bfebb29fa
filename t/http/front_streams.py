"""Connections that live for a while: clients that leave, tunnels, large bodies, too many at once."""

import ctypes
import hashlib
import os
import select
import signal
import socket
import threading
import time

from front_lib import AUTH, OK, PATIENCE, Front, exchange, get, same, sandbox, test


def closes_at_once(server):
    """Soon, that is; the front's own patience with a guest is longer."""
    start = time.monotonic()
    return server.ends() and time.monotonic() - start < 20


@test
def client_leaves(front, guest):
    for reset in (False, True):
        client, server, _ = exchange(front, guest)
        client.close(reset)
        assert closes_at_once(server), "while the guest thinks"
        client, server, _ = exchange(front, guest)
        server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        client.until(b"a\r\n")
        client.close(reset)
        assert closes_at_once(server), "while it streams"
        client = front.connect().send(b"POST " + sandbox() + b" HTTP/1.1\r\nHost: h\r\n" + AUTH +
                                      b"Content-Length: 1000\r\n\r\nabc")
        server = guest.accept()
        server.head()
        server.exactly(3)
        client.close(reset)
        assert closes_at_once(server), "in mid upload"


def descriptors(pid):
    return os.listdir("/proc/%d/fd" % pid)


def watched(pid):
    """What the epoll sets of a process have in them, closed or not."""
    n = 0
    for fd in descriptors(pid):
        if "eventpoll" in os.readlink("/proc/%d/fd/%s" % (pid, fd)):
            with open("/proc/%d/fdinfo/%s" % (pid, fd)) as file:
                n += sum(line.startswith("tfd:") for line in file)
    return n


def copy_of(pidfd, fd):
    """What a child of the process has from its fork to its exec."""
    copy = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, int(fd), 0)  # pidfd_getfd
    if copy < 0:
        raise PermissionError(ctypes.get_errno(), "pidfd_getfd")
    return copy


def becomes(wanted, look):
    """For what has no event to wait for."""
    end = time.monotonic() + PATIENCE
    while look() != wanted and time.monotonic() < end:
        time.sleep(0.01)
    return look() == wanted


@test
def copies_of_closed_connections_are_not_heard(front, guest):
    other = Front(guest, loops=1)
    pid, pidfd = other.process.pid, os.pidfd_open(other.process.pid)
    first = other.connect().send(get(b"/info"))  # with a connection within, for reuse
    same(first.answer()[0], 200)
    before, n_before = descriptors(pid), watched(pid)
    client = other.connect().send(get(b"/info"))
    same(client.answer()[0], 200)
    try:
        copies = [copy_of(pidfd, fd) for fd in descriptors(pid) if fd not in before]
    except PermissionError as error:
        return str(error)
    assert copies, "no new descriptor for a new connection"
    client.close()
    assert becomes(len(before), lambda: len(descriptors(pid))), "the connection is closed"
    same(watched(pid), n_before, "watched")
    for fd in copies + [pidfd]:
        os.close(fd)
    other.stop()
    return None


@test
def events_come_at_once(front, guest):
    client, server, _ = exchange(front, guest)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    client.head()
    medians = []
    while len(medians) < 20 and min(medians, default=1) > 0.02:  # a busy machine is given more tries
        times = []
        for _ in range(20):
            start = time.monotonic()
            server.send(b"data: x\n\n")
            client.until(b"\n\n")
            times.append(time.monotonic() - start)
        medians.append(sorted(times)[10])
    assert medians[-1] < 0.02, "medians %r s" % medians


def tunnel(front, guest, first=b""):
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"
    client = front.connect().send(get(sandbox(), upgrade) + first)
    server = guest.accept()
    same(server.head()[1]["sec-websocket-key"], ["k"])
    server.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: a\r\n\r\nhello")
    status, fields, _ = client.answer(has_body=False)
    same((status, fields["upgrade"], fields["connection"], fields["sec-websocket-accept"]),
         (101, ["websocket"], ["Upgrade"], ["a"]))
    same(client.exactly(5), b"hello")
    return client, server


@test
def tunnel_carries_both_ways(front, guest):
    client, server = tunnel(front, guest, b"early")
    same(server.exactly(5), b"early")
    assert front.metrics()["upgraded"] >= 1
    data = os.urandom(1 << 20)
    thread = threading.Thread(target=lambda: client.send(data))
    thread.start()
    same(hashlib.sha256(server.exactly(1 << 20)).digest(), hashlib.sha256(data).digest())
    thread.join()
    client.sock.shutdown(socket.SHUT_WR)
    same(server.rest(), b"")
    server.send(b"still here")
    same(client.exactly(10), b"still here")
    server.close()
    same(client.rest(), b"")
    client, server = tunnel(front, guest)
    client.close(reset=True)
    assert server.ends()


@test
def drain_does_not_wait_for_tunnels(front, guest):
    other = Front(guest, loops=1, drain_ms=PATIENCE * 1000)
    client, server = tunnel(other, guest)
    waiting, held, _ = exchange(other, guest)
    other.process.send_signal(signal.SIGTERM)
    held.send(OK)
    same(waiting.answer()[0], 200)
    same(other.line(), "drained", "the request was waited for, the tunnel was not")
    same(client.rest(), "reset")
    same(other.process.wait(PATIENCE), 0)


@test
def client_that_does_not_read(front, guest):
    client = front.connect(rcvbuf=65536).send(get(sandbox()))
    server = guest.accept()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
    server.sock.setblocking(False)
    sent, block, idle_since = 0, bytes(1 << 20), time.monotonic()
    while time.monotonic() - idle_since < 0.5:
        try:
            sent += server.sock.send(block)
            idle_since = time.monotonic()
            assert sent < 40 << 20, "the guest is not stopped"
        except BlockingIOError:
            select.select([], [server.sock], [], 0.1)
    client.close()
    server.close()


@test
def large_bodies_are_whole(front, guest):
    data = os.urandom(1 << 20) * 24
    digest = hashlib.sha256(data).digest()
    for size, split in ((len(data), 65536), (len(data), 1000003)):
        client = front.connect()
        head = b"PUT " + sandbox() + b" HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Content-Length: %d\r\n\r\n" % size
        thread = threading.Thread(target=lambda c=client, h=head: c.sock.sendall(h + data))
        thread.start()
        server = guest.accept()
        server.head()
        same(hashlib.sha256(server.exactly(size)).digest(), digest, "upload")
        thread.join()

        def download(server=server, split=split):
            server.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, size, split):
                part = data[at:at + split]
                server.sock.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            server.sock.sendall(b"0\r\n\r\n")

        thread = threading.Thread(target=download)
        thread.start()
        client.head()
        got = hashlib.sha256()
        while True:
            n = int(client.until(b"\r\n"), 16)
            if n == 0:
                break
            got.update(client.exactly(n))
            client.until(b"\r\n")
        thread.join()
        same(got.digest(), digest, "download")


@test
def small_requests_beside_a_download(front, guest):
    """One loop: an endless download must not starve the others."""
    other = Front(guest, loops=1)
    big = other.connect().send(get(sandbox()))
    server = guest.accept()
    server.head()
    stop = threading.Event()

    def feed():
        block = bytes(1 << 20)
        try:
            server.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not stop.is_set():
                server.sock.sendall(block)
        except OSError:
            pass

    def drink():
        try:
            while big.sock.recv(1 << 20):
                pass
        except OSError:
            pass

    threads = [threading.Thread(target=feed), threading.Thread(target=drink)]
    for thread in threads:
        thread.start()
    client, times = other.connect(), []
    for _ in range(50):
        start = time.monotonic()
        client.send(get(b"/info"))
        same(client.answer()[0], 200)
        times.append(time.monotonic() - start)
    stop.set()
    threads[0].join()
    server.close()
    threads[1].join()
    big.close()
    assert sorted(times)[25] < 2, "median %f s" % sorted(times)[25]
    other.stop()


@test
def descriptors_run_out(front, guest):
    other = Front(guest, nofile=40, loops=2)
    held = [other.connect() for _ in range(60)]

    def cpu():
        with open("/proc/%d/stat" % other.process.pid) as f:
            return sum(int(n) for n in f.read().rsplit(")", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")

    before, start = cpu(), time.monotonic()
    select.select([], [], [], 1)
    used = (cpu() - before) / (time.monotonic() - start)
    assert used < 0.3, "%.0f %% CPU with the descriptors used up" % (used * 100)
    for wire in held[:40]:
        wire.close()
    status = 503
    while status == 503:  # until those are closed there as well
        status = held[59].send(get(b"/", auth=b"")).answer()[0]
        assert time.monotonic() - start < PATIENCE
    same(status, 200, "one that had to wait")
    for wire in held:
        wire.close()
    other.stop()


@test
def connections_are_limited(front, guest):
    """Clients over the limit wait in the backlog, whichever loop would have taken them, and come in as others leave."""
    for conns, loops in ((3, 2), (1, 4)):
        other = Front(guest, loops=loops, conns=conns)
        held = []
        for _ in range(conns):
            held.append(other.connect().send(get(b"/")))
            same(held[-1].answer()[0], 200, "one within the limit")
        waiting = [other.connect().send(get(b"/")), other.connect_unix().send(get(b"/"))]
        ready, _, _ = select.select([wire.sock for wire in waiting], [], [], 1.5)  # longer than accepting pauses
        same(ready, [], "none over the limit is answered")
        while waiting:
            held.pop(0).close()
            ready, _, _ = select.select([wire.sock for wire in waiting], [], [], PATIENCE)
            same(len(ready), 1, "one takes the place of one that left")
            held.append(next(wire for wire in waiting if wire.sock in ready))
            waiting.remove(held[-1])
            same(held[-1].answer()[0], 200)
        for wire in held:
            wire.close()
        other.stop()


@test
def clients_without_the_token_make_way(front, guest):
    other = Front(guest, loops=1, conns=4)
    known = other.connect().send(get(b"/"))
    same(known.answer()[0], 200)
    held = [other.connect().send(b"GET /" if i % 2 else get(b"/", auth=b"")) for i in range(12)]
    for connect in (other.connect, other.connect_unix, other.connect):
        client = connect().send(get(b"/metrics"))
        same(client.answer()[0], 200)
    same(known.send(get(b"/")).answer()[0], 200, "one that has shown it stays")
    for wire in held:
        wire.close()
    other.stop()
