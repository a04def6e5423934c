# SPDX-License-Identifier: LGPL-2.1-or-later
"""drover's protocols spoken by hand: protobuf, frames and TLS of Python's own, so that tests can say what no program
of drover's would. Field numbers are those of proto/*.proto."""

import base64
import contextlib
import ctypes
import re
import select
import socket
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PORT, DATA_PORT = 7443, 7444
AGENT, OPERATOR, JOIN, DATA = (f"drover-{role}/1" for role in ("agent", "operator", "join", "data"))
DATA_VERSION = 3  # of what two agents speak with each other
FRAME_MAX = 4 << 20
VERSION, DENIED, PROTOCOL = 14, 4, 13  # codes of a Failure


# Protobuf

def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def pack(fields):
    """A message out of {number: value}: an int, a str, bytes (a message is bytes, too), or a list of these."""
    out = b""
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += varint(number << 3) + varint(one)
            else:
                raw = one.encode() if isinstance(one, str) else one
                out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def take_varint(raw, at):
    value = shift = 0
    while True:
        value |= (raw[at] & 127) << shift
        at += 1
        if raw[at - 1] < 128:
            return value, at
        shift += 7


def unpack(raw):
    """{number: [values]}: ints for varints, bytes for everything else."""
    fields, at = {}, 0
    while at < len(raw):
        key, at = take_varint(raw, at)
        if key & 7 == 0:
            value, at = take_varint(raw, at)
        else:
            length, at = {1: (8, at), 5: (4, at)}.get(key & 7) or take_varint(raw, at)
            value, at = raw[at:at + length], at + length
        fields.setdefault(key >> 3, []).append(value)
    return fields


def oneof(file, message, name):
    """{member: number} of a oneof in proto/<file>."""
    text = re.search(rf"^message {message} {{(.*?)^}}", (PROJECT / "proto" / file).read_text(), re.M | re.S).group(1)
    body = re.search(rf"oneof {name} {{(.*?)}}", text, re.S).group(1)
    return {member: int(number) for member, number in re.findall(r"^\s*\w+ (\w+) = (\d+);", body, re.M)}


VERBS = oneof("operator.proto", "OperatorRequest", "verb")
STEPS = oneof("control.proto", "AgentRequest", "verb")


class Refused(Exception):
    """The peer said Failure. `code` is the number, `hints` a list."""

    def __init__(self, raw):
        fields = unpack(raw)
        self.code = fields.get(1, [0])[0]
        self.message = fields.get(2, [b""])[0].decode()
        self.hints = [hint.decode() for hint in fields.get(3, [])]
        super().__init__(f"{self.code}: {self.message}")


class Closed(Exception):
    """The peer has closed the connection, with a TLS alert or without."""


# Where a connection comes from and whose it is

def within(lab, node, make):
    """Call make() in the node's network; the sockets it makes stay there."""
    result = []

    def run():
        try:
            with open(f"/proc/{lab.plan.node(node).init.pid}/ns/net") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            result.append(make())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def plain(lab, address=None, node=None, timeout=10):
    """A TCP connection: to the controller, or to (host, port), from the node's network."""
    target = address or (lab.plan.controller_address, PORT)

    def connect():
        return socket.create_connection(target, timeout)

    return within(lab, node, connect) if node else connect()


class Credentials:
    """A certificate with its key, as files."""

    def __init__(self, directory, name):
        self.certificate = Path(directory) / f"{name}.crt"
        self.key = Path(directory) / f"{name}.key"

    @classmethod
    def of_operator(cls, lab):
        return cls(lab.env["DROVER_CONFIG"], "client")

    @classmethod
    def of_host(cls, lab, host):
        return cls(lab.file(host, "/var/lib/drover/agent"), "host")


def context(credentials=None, alpn=(OPERATOR,), newest=ssl.TLSVersion.TLSv1_3):
    """Trusts anybody: what is tested is the other side."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = min(ssl.TLSVersion.TLSv1_2, newest)
    made.maximum_version = newest
    if alpn:
        made.set_alpn_protocols(list(alpn))
    if credentials:
        made.load_cert_chain(credentials.certificate, credentials.key)
    return made


class Connection:
    """TLS with frames in it. Closed at the end of `with`."""

    def __init__(self, tcp, credentials=None, alpn=OPERATOR):
        try:
            self.tls = context(credentials, [alpn]).wrap_socket(tcp)
        except OSError as error:
            tcp.close()
            raise Closed(str(error)) from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tls.close()

    def write(self, data):
        try:
            self.tls.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from None

    def send(self, message):
        """One frame; a message as in pack()."""
        raw = message if isinstance(message, bytes) else pack(message)
        self.write(struct.pack(">I", len(raw)) + raw)

    def read(self, count, seconds=10):
        data = b""
        self.tls.settimeout(seconds)
        while len(data) < count:
            try:
                more = self.tls.recv(count - len(data))
            except TimeoutError:
                raise AssertionError(f"neither an answer nor an end within {seconds} s") from None
            except OSError as error:
                raise Closed(str(error)) from None
            if not more:
                raise Closed("end of data")
            data += more
        return data

    def receive(self, seconds=10, skip=()):
        """The next frame's (number of the body, its bytes), without those whose number is in `skip`."""
        while True:
            raw = self.read(struct.unpack(">I", self.read(4, seconds))[0], seconds)
            number, values = next(iter(unpack(raw).items()))
            if number not in skip:
                return number, values[0]

    def wait_closed(self, seconds=10):
        """Read until the peer closes; the numbers and bytes of what it said before."""
        said, deadline = [], time.monotonic() + seconds
        with contextlib.suppress(Closed):
            while time.monotonic() < deadline:
                said.append(self.receive(max(0.1, deadline - time.monotonic())))
            raise AssertionError(f"not closed within {seconds} s")
        return said


def closed(tcp, seconds):
    """True when the peer closes a plain connection within that time, whatever it sends before."""
    deadline = time.monotonic() + seconds
    tcp.setblocking(False)
    while time.monotonic() < deadline:
        if select.select([tcp], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                if not tcp.recv(65536):
                    return True
            except BlockingIOError:
                pass
            except OSError:
                return True
    return False


class Operator(Connection):
    """drover-operator/1 after the hello. welcome: as unpack() gives it."""

    FAILURE = 7

    def __init__(self, lab, credentials=None, versions=(1, 1), tcp=None):
        super().__init__(tcp or plain(lab), credentials or Credentials.of_operator(lab), OPERATOR)
        self.send({1: pack({1: versions[0], 2: versions[1], 3: "test"})})
        number, raw = self.receive(skip=(5,))
        if number == self.FAILURE:
            raise Refused(raw)
        self.welcome = unpack(raw)
        self.last = 0

    def ask(self, verb, message=b"", seconds=10):
        """The replies' fields, the last one's as the last; Refused when the answer is a failure."""
        self.last += 1
        self.send({3: pack({1: self.last, VERBS[verb]: message})})
        replies = []
        while True:
            number, raw = self.receive(seconds, skip=(5, 6))
            if number == self.FAILURE:
                raise Refused(raw)
            reply = unpack(raw)
            if reply.get(1, [0])[0] != self.last:
                continue
            if 3 in reply:
                raise Refused(reply[3][0])
            replies.append(reply)
            if reply.get(2, [0])[0]:
                return replies


class Agent(Connection):
    """drover-agent/1 as a host that has been taken over: real credentials, and a test's own words.

    With `answers` ({verb: function of (request, its message)}, both as unpack() gives them; the function returns the fields of the
    AgentResult) it serves requests in the background until the connection ends."""

    FAILURE = 12

    def __init__(self, lab, host, versions=(1, 1), data_port=0, inventory=None, answers=None):
        super().__init__(plain(lab, node=host), Credentials.of_host(lab, host), AGENT)
        self.lock = threading.Lock()
        self.send({1: pack({1: versions[0], 2: versions[1], 3: "test", 4: data_port, 6: "boot", 7: time.monotonic_ns()})})
        number, raw = self.receive(skip=(3,))
        if number == self.FAILURE:
            raise Refused(raw)
        self.welcome = unpack(raw)
        self.requests = []
        if inventory is not None:
            self.send({8: pack({1: 1, 3: 1, 4: 1, **inventory})})
        self.thread = None
        if answers is not None:
            self.thread = threading.Thread(target=self.serve, args=(answers,), daemon=True)
            self.thread.start()

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.tls.shutdown(socket.SHUT_RDWR)
        if self.thread:
            self.thread.join(10)
        super().__exit__()

    def send(self, message):
        with self.lock:
            super().send(message)

    def serve(self, answers):
        names = {number: name for name, number in STEPS.items()}
        with contextlib.suppress(Closed, AssertionError, OSError, ValueError):
            while True:
                # Not while another thread sends: OpenSSL's sessions are for one thread at a time.
                if not self.tls.pending() and not select.select([self.tls], [], [], 0.5)[0]:
                    continue
                with self.lock:
                    number, raw = self.receive(60)
                if number == 3:
                    self.send({4: raw})
                elif number == 5:
                    threading.Thread(target=self.answer, args=(answers, names, unpack(raw)), daemon=True).start()

    def answer(self, answers, names, request):
        verb, message = next((names[n], unpack(v[0])) for n, v in request.items() if n in names)
        self.requests.append((verb, message))
        try:
            result = answers[verb](request, message) if verb in answers else {}
        except Exception as error:
            result = {2: pack({1: 1, 2: f"test: {error}"})}
        with contextlib.suppress(Closed):
            self.send({7: pack({1: request[1][0], **(result or {})})})


def token_fields(text):
    """What a token holds, as unpack() gives it."""
    raw = text.removeprefix("DRV1.")
    return unpack(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))


def token_text(fields):
    return "DRV1." + base64.urlsafe_b64encode(pack(fields)).decode().rstrip("=")


# Authorities of a test's own

def openssl(*argv, **options):
    return subprocess.run(["openssl", *map(str, argv)], check=True, capture_output=True, **options).stdout


def new_key(path):
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
    return path


def new_authority(directory, name="ca", subject="/CN=another authority"):
    made = Credentials(directory, name)
    new_key(made.key)
    openssl("req", "-x509", "-new", "-key", made.key, "-subj", subject, "-days", 30, "-out", made.certificate,
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    return made


def new_certificate(directory, name, authority, uri, days=30, key=None):
    """A certificate for a SAN URI, signed by the authority; days may be negative for one that has ended."""
    made = Credentials(directory, name)
    if key:
        made.key = key
    else:
        new_key(made.key)
    csr, extensions = Path(directory) / f"{name}.csr", Path(directory) / f"{name}.ext"
    extensions.write_text(f"subjectAltName=URI:{uri}\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n"
                          "extendedKeyUsage=clientAuth,serverAuth\n")
    openssl("req", "-new", "-key", made.key, "-subj", f"/CN={name}", "-out", csr)
    openssl("x509", "-req", "-in", csr, "-CA", authority.certificate, "-CAkey", authority.key, "-CAcreateserial",
            "-days", days, "-extfile", extensions, "-out", made.certificate)
    return made


def new_csr(directory, uri=None, key=None):
    """(key, DER of a signing request)."""
    key = key or new_key(Path(directory) / "new.key")
    san = ["-addext", f"subjectAltName=URI:{uri}"] if uri else []
    return key, openssl("req", "-new", "-key", key, "-subj", "/CN=anything", "-outform", "DER", *san)


def uris_of(certificate_pem):
    text = openssl("x509", "-noout", "-ext", "subjectAltName", input=certificate_pem).decode()
    return re.findall(r"URI:(\S+)", text)
