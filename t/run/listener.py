"""listener.py LOG [NAME=ADDRESS...]: what comes by UDP to port 5000 and by TCP to port 5001, a line each. Of a connection to
port 5002, which sends, or 5003, which receives: a line "sent RATE" or "received RATE", in Mbit/s. Names are answered on
127.0.0.1:5300. Says "ready" once it listens."""

import fcntl
import os
import signal
import socket
import struct
import sys
import termios
import threading
import time

import dns

MEGABYTES = 2
BURST = 250000  # bytes that may come faster, and wait here for us
LOG = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def keep(line):
    os.write(LOG, line.rstrip(b"\n") + b"\n")


def take_datagrams(listener):
    while True:
        keep(listener.recv(65536))


def take_streams(listener, serve):
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=serve, args=(conn,), daemon=True).start()


def take_lines(conn):
    with conn, conn.makefile("rb") as lines:
        for line in lines:
            keep(line)


def keep_rate(way, size, seconds):
    keep(f"{way} {size * 8 / 1e6 / seconds:.2f}".encode())


def time_sender(conn):
    with conn:
        size = at_first = 0
        while size < MEGABYTES * 1000000:
            data = conn.recv(65536)
            if not data:
                return
            size += len(data)
            if at_first == 0 and size >= BURST:
                at_first, start = size, time.monotonic()
        keep_rate("sent", size - at_first, time.monotonic() - start)


def not_acknowledged(conn):
    """Bytes that it was sent and does not have yet."""
    return struct.unpack("i", fcntl.ioctl(conn, termios.TIOCOUTQ, bytes(4)))[0]


def time_receiver(conn):
    with conn:
        start = time.monotonic()
        conn.sendall(bytes(MEGABYTES * 1000000))
        while not_acknowledged(conn) > 0:  # nothing tells when it is over
            time.sleep(0.005)
        keep_rate("received", MEGABYTES * 1000000, time.monotonic() - start)


def main():
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("0.0.0.0", 5000))
    threads = [(take_datagrams, (datagrams,))]
    for port, serve in ((5001, take_lines), (5002, time_sender), (5003, time_receiver)):
        streams = socket.socket()
        streams.bind(("0.0.0.0", port))
        streams.listen(64)
        threads.append((take_streams, (streams, serve)))
    if len(sys.argv) > 2:
        upstream = dns.Upstream(5300)
        for word in sys.argv[2:]:
            name, address = word.split("=")
            upstream.answers[name] = dns.addresses(address)
    for target, args in threads:
        threading.Thread(target=target, args=args, daemon=True).start()
    print("ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
