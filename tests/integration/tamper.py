# SPDX-License-Identifier: LGPL-2.1-or-later
"""A relay that cannot be trusted: everything that a host says to the controller goes through it, and once it has seen a transfer's
bytes pass it changes them, once. After the agents' own handshake that is all that a hostile controller could do to them."""

import contextlib
import socket
import threading

import wireclient as wire

PORT, MARK = 17443, 7
BULK = 512 << 10  # a connection that has carried so much one way carries an image
PIECE = 16 << 10


def truncate(data):
    return data[:100] + data[200:]


def repeat(data):
    return data + data


def swap(data):
    half = len(data) // 2
    return data[half:] + data[:half]


def flip(data):
    return data[:50] + bytes([data[50] ^ 1]) + data[51:]


class Relay:
    """In the host's network, in front of everything that it says to the controller, until the end of `with`."""

    def __init__(self, lab, host, tamper):
        self.lab, self.host, self.tamper = lab, host, tamper
        self.seen = bytearray()  # the first of what an image's connection carried
        self.tampered = 0
        self.sockets = []
        self.lock = threading.Lock()

    def __enter__(self):
        self.server = wire.within(self.lab, self.host, lambda: socket.create_server(("127.0.0.1", PORT), backlog=64))
        rules = (f"table ip tamper {{\nchain out {{\ntype nat hook output priority -100;\nip daddr {self.lab.plan.controller_address} "
                 f"tcp dport {wire.PORT} mark != {MARK} redirect to :{PORT}\n}}\n}}\n")
        self.lab.exec(self.host, "nft", "-f", "-", input=rules)
        self.keep(self.server)
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.lab.exec(self.host, "nft", "delete", "table", "ip", "tamper")
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # who waits for it in a thread is woken
            sock.close()

    def keep(self, sock):
        with self.lock:
            self.sockets.append(sock)
        return sock

    def dial(self):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        sock.connect((self.lab.plan.controller_address, wire.PORT))
        return sock

    def serve(self):
        while True:
            try:
                inside = self.keep(self.server.accept()[0])
            except OSError:
                return
            outside = self.keep(wire.within(self.lab, self.host, self.dial))
            for one, other in ((inside, outside), (outside, inside)):
                threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    def pump(self, one, other):
        carried = 0
        with contextlib.suppress(OSError):
            while data := one.recv(PIECE):
                carried += len(data)
                other.sendall(self.pass_on(data) if carried > BULK else data)
        for sock in (one, other):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def pass_on(self, data):
        with self.lock:
            self.seen += data[:max(0, (4 << 20) - len(self.seen))]
            if self.tampered or len(data) < 1024:
                return data
            self.tampered += 1
        return self.tamper(data)
