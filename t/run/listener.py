"""listener.py LOG [NAME=ADDRESS...]: what comes by UDP to port 5000 and by TCP to port 5001, a line each. Names are answered
on 127.0.0.1:5300. Says "ready" once it listens."""

import os
import signal
import socket
import sys
import threading

import dns

LOG = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def keep(line):
    os.write(LOG, line.rstrip(b"\n") + b"\n")


def take_datagrams(listener):
    while True:
        keep(listener.recv(65536))


def take_streams(listener):
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=take_lines, args=(conn,), daemon=True).start()


def take_lines(conn):
    with conn, conn.makefile("rb") as lines:
        for line in lines:
            keep(line)


def main():
    datagrams, streams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
    datagrams.bind(("0.0.0.0", 5000))
    streams.bind(("0.0.0.0", 5001))
    streams.listen(64)
    if len(sys.argv) > 2:
        upstream = dns.Upstream(5300)
        for word in sys.argv[2:]:
            name, address = word.split("=")
            upstream.answers[name] = dns.addresses(address)
    for take, listener in ((take_datagrams, datagrams), (take_streams, streams)):
        threading.Thread(target=take, args=(listener,), daemon=True).start()
    print("ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
