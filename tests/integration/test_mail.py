# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reports on their way: mail to a real SMTP server that fails at each stage, webhooks to a receiver that checks their signature."""

import asyncio
import email
import email.policy
import hashlib
import hmac
import http.server
import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from labkit import enter

PASSWORD = "correct horse battery staple"
SECRET = "0123456789abcdef0123456789abcdef"
SUBJECT = "Sauvegardes à Genève: 12 saved, 1 failed — see what to do about the one that did not make it"
TEXT = ".\nFrom the first line on\n" + "long " * 200 + "\nüñí = ☃\n.\nend\n"
HTML = "<!DOCTYPE html>\n<p>" + "wide&nbsp;☃ " * 100 + "</p>\n"

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # it asks for AUTH once TLS stands


# ---- certificates

def openssl(*argv):
    subprocess.run(["openssl", *map(str, argv)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """An authority, and certificates of it for localhost and for another name."""
    here = tmp_path_factory.mktemp("pki")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=authority",
            "-keyout", here / "ca.key", "-out", here / "ca.pem", "-days", "2")
    for name, host in (("right", "localhost"), ("wrong", "elsewhere.example")):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={host}",
                "-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=critical,CA:FALSE",
                "-CA", here / "ca.pem", "-CAkey", here / "ca.key", "-keyout", here / f"{name}.key", "-out", here / f"{name}.pem",
                "-days", "2")
    return here


def server_context(pki, name="right"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    return context


# ---- the mail server

class Desk:
    """What the server does with what it is told. `answers` are given in place of its own, by recipient or stage."""

    def __init__(self):
        self.mails, self.answers, self.sessions, self.users = [], {}, 0, []
        self.offers, self.pause = [], 0

    def __call__(self, server, session, envelope, mechanism, data):
        self.users.append(data.login.decode())
        return AuthResult(success=data.password.decode() == PASSWORD, handled=False)

    async def act(self, server, stage, right):
        answer = self.answers.get(stage, right)
        if answer == "drop":
            server.transport.abort()
            await asyncio.sleep(0)
            return "421 gone"
        if answer == "half":
            server.transport.write(b"550-5.1.1 no such user, and\r\n")
            server.transport.close()
            await asyncio.sleep(0)
            return "421 gone"
        if answer == "hang":
            await asyncio.sleep(30)
        await asyncio.sleep(self.pause)
        return answer

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        self.sessions += 1
        session.host_name = hostname
        answer = await self.act(server, "greet", None)
        return [answer] if answer else responses[:1] + self.offers + responses[1:]

    async def handle_MAIL(self, server, session, envelope, address, options):
        answer = await self.act(server, "sender", "250 OK")
        if answer.startswith("250"):
            envelope.mail_from = address
        return answer

    async def handle_RCPT(self, server, session, envelope, address, options):
        answer = await self.act(server, address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server, session, envelope):
        answer = await self.act(server, "content", "250 taken")
        if answer.startswith("250"):
            self.mails.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.content))
        return answer

    async def handle_QUIT(self, server, session, envelope):
        return await self.act(server, "quit", "221 Bye")


class Server(Controller):
    """aiosmtpd on a port of its own; what its factory is given is for the SMTP object."""

    def __init__(self, desk, tls=None, **options):
        self.options = {"auth_require_tls": False, **options}
        super().__init__(desk, hostname="127.0.0.1", port=0, ssl_context=tls)

    def factory(self):
        return SMTP(self.handler, authenticator=self.handler, **self.options)

    def _trigger_server(self):  # its own speaks to the port without TLS's certificates being known
        self.port = self.server.sockets[0].getsockname()[1]
        socket.create_connection((self.hostname, self.port), 5).close()


@pytest.fixture
def serve():
    """serve(tls=..., **options): a running server; all end with the test."""
    running = []

    def start(**options):
        server = Server(Desk(), **options)
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


# ---- what is tested

class Sender:
    """report_send with settings of its own."""

    def __init__(self, directory, pki):
        self.directory, self.pki = directory, pki
        self.write("password", PASSWORD + "\n")
        self.write("secret", SECRET + "\n")

    def write(self, name, text, mode=0o600):
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def run(self, kind, settings, text, ms=5000, cancel=0):
        config = self.write("controller.yaml", "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()))
        env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        done = subprocess.run([Path(enter.binary_dir()) / "report_send", config, str(ms), str(cancel), kind], input=text, text=True,
                              capture_output=True, timeout=60, env=env)
        assert done.returncode == 0, done.stderr
        for secret in (PASSWORD, SECRET, "hidden-token"):
            assert secret not in done.stdout + done.stderr
        return json.loads(done.stdout)

    def mail(self, server, to=("one@example.org",), scheme="smtp", ms=5000, cancel=0, **settings):
        """[(outcome, error)] of the recipients; the last result stays in self.result."""
        settings = {"mail_server": f"{scheme}://localhost:{server.port}", "mail_from": "Drover à Lyon <drover@example.org>",
                    "mail_to": list(to), "mail_ca_file": str(self.pki / "ca.pem"), **settings}
        self.result = self.run("mail", {key: value for key, value in settings.items() if value is not None},
                               f"{SUBJECT}\nrun-4711\n{TEXT}\n--\n{HTML}", ms, cancel)
        return [(one["outcome"], one["error"]) for one in self.result]

    def webhook(self, url, body="{}", ms=5000, cancel=0, **settings):
        settings = {"webhooks": [f"{url} {self.directory}/secret"], "webhook_ca_file": str(self.pki / "ca.pem"), **settings}
        self.result, = self.run("webhook", settings, body, ms, cancel)
        return self.result["outcome"], self.result["error"]


@pytest.fixture
def sender(tmp_path, pki):
    return Sender(tmp_path, pki)


def log_in(sender):
    return {"mail_user": "drover", "mail_password_file": str(sender.directory / "password")}


def starttls(serve, pki, **options):
    return serve(tls_context=server_context(pki), require_starttls=True, **options)


# ---- what arrives

def assert_arrived(mail, to):
    """The mail as a reader sees it."""
    sender, recipients, content = mail
    assert sender == "drover@example.org"
    assert recipients == [to]
    assert content.isascii()
    assert all(len(line) <= 78 for line in content.split(b"\r\n"))
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    assert not parsed.defects
    assert parsed["subject"] == SUBJECT
    assert str(parsed["from"]) == "Drover à Lyon <drover@example.org>"
    assert parsed["message-id"] == "<run-4711@example.org>"
    assert parsed["auto-submitted"] == "auto-generated"
    assert abs(parsed["date"].datetime.timestamp() - time.time()) < 60
    assert parsed.get_content_type() == "multipart/alternative"
    text, html = parsed.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert text.get_content().replace("\r\n", "\n").rstrip("\n") == TEXT.rstrip("\n")
    assert html.get_content().replace("\r\n", "\n").rstrip("\n") == HTML.rstrip("\n")


def test_a_mail_arrives_by_starttls_with_a_password(serve, sender, pki):
    server = starttls(serve, pki, auth_required=True)
    assert sender.mail(server, **log_in(sender)) == [("done", "")]
    assert server.handler.users == ["drover"]
    assert len(server.handler.mails) == 1
    assert_arrived(server.handler.mails[0], "one@example.org")


def test_a_mail_arrives_where_tls_comes_first(serve, sender, pki):
    server = serve(tls=server_context(pki), auth_required=True)
    assert sender.mail(server, scheme="smtps", **log_in(sender)) == [("done", "")]
    assert_arrived(server.handler.mails[0], "one@example.org")


def test_a_mail_arrives_in_clear_only_when_told_so(serve, sender):
    server = serve()
    url = f"smtp://localhost:{server.port}"
    assert sender.mail(server) == [("later", f"{url}: the server offers no STARTTLS")]
    assert sender.result[0]["hints"] == ["mail_starttls: false sends in clear; or take the port that offers TLS"]
    assert server.handler.mails == []
    assert sender.mail(server, mail_starttls=False, mail_ca_file=None) == [("done", "")]
    assert_arrived(server.handler.mails[0], "one@example.org")


def test_a_server_that_refuses_starttls_is_not_taken_for_one_without(serve, sender):
    server = serve()
    server.handler.offers = ["250-STARTTLS"]
    error = f'smtp://localhost:{server.port}: STARTTLS: the server answers "454 TLS not available"'
    assert sender.mail(server, ["one@example.org", "two@example.org"]) == [("later", error)] * 2
    assert sender.result[0]["code"] == "tls"
    assert sender.result[0]["hints"] == ["the server has trouble with its TLS: ask whoever runs it, or take its port for smtps://"]
    assert server.handler.mails == []


def test_several_recipients_are_served_over_one_connection(serve, sender, pki):
    server = starttls(serve, pki)
    people = ["one@example.org", "Two <two@example.org>", "three@example.org"]
    assert sender.mail(server, people) == [("done", "")] * 3
    assert [to for _, to, _ in server.handler.mails] == [["one@example.org"], ["two@example.org"], ["three@example.org"]]
    assert server.handler.sessions == 2  # before TLS and after


# ---- who is refused

def test_a_certificate_of_nobody_known_or_of_another_name_is_refused(serve, sender, pki):
    server = starttls(serve, pki)
    (outcome, error), = sender.mail(server, mail_ca_file=None)
    assert (outcome, sender.result[0]["code"]) == ("later", "tls")
    assert f"smtp://localhost:{server.port}: its certificate is refused: " in error
    other = serve(tls_context=server_context(pki, "wrong"), require_starttls=True)
    (outcome, error), = sender.mail(other)
    assert (outcome, sender.result[0]["code"]) == ("later", "tls")
    assert "its certificate is refused" in error
    assert server.handler.mails == other.handler.mails == []


def test_a_wrong_password_is_told_and_may_be_mended(serve, sender, pki):
    server = starttls(serve, pki, auth_required=True)
    sender.write("password", "wrong\n")
    (outcome, error), (_, again) = sender.mail(server, ["one@example.org", "two@example.org"], **log_in(sender))
    assert (outcome, sender.result[0]["code"]) == ("later", "not-permitted")
    assert error == again
    assert error.startswith(f'smtp://localhost:{server.port}: logging in: the server answers "535 ')
    assert sender.result[0]["hints"] == ["are mail_user and the password in mail_password_file right?"]
    assert server.handler.users == ["drover"]  # nobody tries it again for the second recipient


def test_a_server_that_wants_a_password_is_heard(serve, sender, pki):
    server = starttls(serve, pki, auth_required=True)
    (outcome, error), = sender.mail(server)
    assert outcome == "later"
    assert 'the sender: the server answers "530 ' in error
    assert sender.result[0]["hints"] == ["does the server want mail_user, or another mail_from?"]


def test_one_recipient_that_is_refused_does_not_stop_the_others(serve, sender, pki):
    server = starttls(serve, pki)
    server.handler.answers = {"no@example.org": "550 5.1.1 no such user", "full@example.org": "452 4.2.2 mailbox full",
                              "gone@example.org": "drop"}
    people = ["no@example.org", "one@example.org", "gone@example.org", "full@example.org", "two@example.org"]
    no, one, gone, full, two = sender.mail(server, people)
    url = f"smtp://localhost:{server.port}"
    assert no == ("never", f'{url}: the recipient: the server answers "550 5.1.1 no such user"')
    assert full == ("later", f'{url}: the recipient: the server answers "452 4.2.2 mailbox full"')
    assert gone[0] == "later"
    assert sender.result[2]["code"] == "unreachable"
    assert one == two == ("done", "")
    assert [to for _, to, _ in server.handler.mails] == [["one@example.org"], ["two@example.org"]]


@pytest.mark.parametrize("stage, name, hint", [
    ("sender", "the sender", "is the address in mail_from one that the server lets us use?"),
    ("one@example.org", "the recipient", "is the address in mail_to right, and does the server pass mail on to it for us?"),
    ("content", "the content", None),
])
@pytest.mark.parametrize("answer, stages", [("451 4.7.1 greylisted", ()), ("554 5.7.1 relaying denied", ("content",)),
                                            ("554 5.1.0 not this one", ("one@example.org", "content"))])
def test_what_a_server_answers_decides_whether_to_try_again(serve, sender, pki, stage, name, hint, answer, stages):
    server, outcome = starttls(serve, pki), "never" if stage in stages else "later"
    server.handler.answers = {stage: answer}
    url = f"smtp://localhost:{server.port}"
    assert sender.mail(server) == [(outcome, f'{url}: {name}: the server answers "{answer}"')]
    assert sender.result[0]["hints"] == ([hint] if hint else [])
    server.handler.answers = {}
    assert sender.mail(server) == [("done", "")]


def test_a_mail_that_is_too_large_is_refused_before_it_is_sent(serve, sender, pki):
    server = starttls(serve, pki, data_size_limit=1000)
    (outcome, error), = sender.mail(server)
    assert outcome == "never"
    assert error.startswith(f'smtp://localhost:{server.port}: the sender: the server answers "552 ')
    assert sender.result[0]["hints"] == ["the server takes no mail of this size"]


def test_half_a_refusal_is_none(serve, sender, pki):
    server = starttls(serve, pki)
    server.handler.answers = {"gone@example.org": "half", "hung@example.org": "550-5.1.1 no such user, and"}
    (gone, _), one, (hung, _) = sender.mail(server, ["gone@example.org", "one@example.org", "hung@example.org"], ms=2000)
    assert (gone, sender.result[0]["code"]) == ("later", "unreachable")
    assert one == ("done", "")
    assert (hung, sender.result[2]["code"]) == ("later", "timeout")


def test_a_server_that_greets_with_a_refusal_is_asked_again(sender):
    with talker(b"554 5.3.2 not now\r\n") as server:
        (outcome, error), = sender.mail(server)
        assert (outcome, error) == ("later", f'smtp://localhost:{server.port}: connecting: the server answers "554 5.3.2 not now"')


@pytest.mark.parametrize("stage", ["greet", "sender", "one@example.org", "content"])
def test_a_connection_that_drops_is_tried_again(serve, sender, pki, stage):
    server = starttls(serve, pki)
    server.handler.answers = {stage: "drop"}
    (outcome, _), = sender.mail(server)
    assert (outcome, sender.result[0]["code"]) == ("later", "unreachable")
    assert server.handler.mails == []


@pytest.mark.parametrize("stage", ["greet", "sender", "one@example.org", "content"])
def test_a_server_that_never_answers_is_left_in_time(serve, sender, pki, stage):
    server = starttls(serve, pki)
    server.handler.answers = {stage: "hang"}
    began = time.monotonic()
    (outcome, error), = sender.mail(server, ms=700)
    assert time.monotonic() - began < 10
    assert (outcome, sender.result[0]["code"]) == ("later", "timeout")
    assert error.endswith(f"smtp://localhost:{server.port}: no answer in time")


def test_a_server_that_never_says_goodbye_is_left_in_time(serve, sender, pki):
    server = starttls(serve, pki)
    server.handler.answers = {"quit": "hang", "no@example.org": "550 no"}
    began = time.monotonic()
    assert [outcome for outcome, _ in sender.mail(server, ["no@example.org", "one@example.org"], ms=2000)] == ["never", "done"]
    assert time.monotonic() - began < 25


def test_a_server_that_says_nothing_at_all_is_left_in_time_and_once(sender):
    with talker(b"") as server:
        people = [f"{n}@example.org" for n in range(50)]
        began = time.monotonic()
        answers = sender.mail(server, people, ms=700)
        assert time.monotonic() - began < 10
        assert answers == [("later", f"smtp://localhost:{server.port}: no answer in time")] * 50


def test_a_mail_can_be_cancelled(sender):
    with talker(b"") as server:
        began = time.monotonic()
        assert sender.mail(server, ms=60000, cancel=200) == [("later", f"smtp://localhost:{server.port}: cancelled")]
        assert time.monotonic() - began < 20


def test_what_one_recipient_was_answered_is_not_told_of_those_that_a_cancel_left_out(serve, sender):
    server = serve()
    server.handler.pause = 0.3  # after the cancel, the answer to RCPT comes before libcurl looks up once a second
    server.handler.answers = {"no@example.org": "550 5.1.1 no such user"}
    no, other = sender.mail(server, ["no@example.org", "one@example.org"], ms=20000, cancel=700, mail_starttls=False)
    assert no[0] == "never" or no[1].endswith("cancelled")
    assert other == ("later", f"smtp://localhost:{server.port}: cancelled")
    assert server.handler.mails == []


def test_a_server_that_talks_without_end_is_left_in_time(sender):
    with talker(b"220-" + b"x" * 400 + b"\r\n", again=True) as server:
        began = time.monotonic()
        (outcome, _), = sender.mail(server, ms=700)
        assert time.monotonic() - began < 10
        assert outcome == "later"


class talker:
    """A server that says one thing (again and again) to whoever comes, and listens to nothing."""

    def __init__(self, words, again=False):
        self.words, self.again, self.stopping = words, again, threading.Event()

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.listener.settimeout(0.1)
        self.thread = threading.Thread(target=self.talk)
        self.thread.start()
        return self

    def talk(self):
        peers = []
        while not self.stopping.is_set():
            try:
                peer, _ = self.listener.accept()
                peer.settimeout(0.1)
                peer.sendall(self.words)
                peers.append(peer)
            except OSError:
                pass
            for peer in peers if self.again else []:
                try:
                    peer.sendall(self.words)
                except OSError:
                    pass
        for peer in peers:
            peer.close()

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        self.listener.close()


# ---- webhooks

class Receiver(http.server.ThreadingHTTPServer):
    """Answers what it is told to, and keeps what came."""

    daemon_threads = True

    def __init__(self, tls=None):
        super().__init__(("127.0.0.1", 0), Answer)
        self.port, self.posts = self.server_address[1], []
        self.status, self.headers, self.body, self.hang = 204, {}, b"", threading.Event()
        self.cut = None  # "hang" or "reset": what becomes of the answer after its headers, and of 10 bytes without length
        self.leave = threading.Event()
        self.hang.set()
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.scheme = "https" if tls else "http"

    @property
    def origin(self):
        return f"{self.scheme}://localhost:{self.port}"

    def handle_error(self, *_):
        pass  # a peer that refuses our certificate, or goes


class Answer(http.server.BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # so that what was written is under way when the connection is reset

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, dict(self.headers), body))
        self.server.hang.wait(30)
        if self.server.status == 0:
            return
        self.send_response(self.server.status)
        for key, value in self.server.headers.items():
            self.send_header(key, value)
        if self.server.cut:
            return self.break_off(self.server.cut)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def break_off(self, how):
        if how == "hang":
            self.send_header("Content-Length", "10")
        self.end_headers()
        if how == "hang":
            self.server.leave.wait(30)
            return
        self.wfile.write(b"x" * 10)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    do_GET = do_POST


@pytest.fixture
def receive():
    running = []

    def start(tls=None):
        receiver = Receiver(tls)
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        running.append((receiver, thread))
        return receiver

    yield start
    for receiver, thread in running:
        receiver.hang.set()
        receiver.leave.set()
        receiver.shutdown()
        thread.join()
        receiver.server_close()


def assert_signed(headers, body):
    """As a receiver does it."""
    fields = dict(field.split("=", 1) for field in headers["Drover-Signature"].split(","))
    assert abs(int(fields["t"]) - time.time()) < 60
    expected = hmac.new(SECRET.encode(), fields["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(fields["v1"], expected)


@pytest.mark.parametrize("tls", [False, True])
def test_a_webhook_arrives_signed(receive, sender, pki, tls):
    receiver = receive(server_context(pki) if tls else None)
    body = json.dumps({"run": "4711", "text": "é☃" * 20000}, ensure_ascii=False)
    assert sender.webhook(f"{receiver.origin}/hidden-token?a=b", body) == ("done", "")
    (path, headers, came), = receiver.posts
    assert path == "/hidden-token?a=b"
    assert came == body.encode()
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("drover/")
    assert_signed(headers, came)


def test_a_receiver_of_nobody_known_is_sent_nothing(receive, sender, pki):
    receiver = receive(server_context(pki, "wrong"))
    outcome, error = sender.webhook(f"{receiver.origin}/hidden-token")
    assert (outcome, sender.result["code"]) == ("later", "tls")
    assert f"webhook: {receiver.origin}: its certificate is refused: " in error
    assert receiver.posts == []


@pytest.mark.parametrize("status, outcome", [(200, "done"), (202, "done"), (400, "never"), (401, "later"), (403, "later"), (404, "never"),
                                             (407, "later"), (408, "later"), (410, "never"), (425, "later"), (429, "later"), (500, "later"),
                                             (503, "later")])
def test_what_a_receiver_answers_decides_whether_to_try_again(receive, sender, status, outcome):
    receiver = receive()
    receiver.status = status
    error = "" if outcome == "done" else f"webhook {receiver.origin}: the answer is {status}"
    assert sender.webhook(f"{receiver.origin}/hidden-token") == (outcome, error)
    assert len(receiver.posts) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_is_not_followed(receive, sender, status):
    receiver, other = receive(), receive()
    receiver.status, receiver.headers = status, {"Location": f"{other.origin}/"}
    assert sender.webhook(f"{receiver.origin}/hidden-token") == ("never", f"webhook {receiver.origin}: the answer is {status}")
    assert sender.result["hints"] == ["redirections are not followed: put the URL to which it leads into controller.yaml"]
    assert other.posts == []


def test_a_receiver_that_closes_or_never_answers_is_tried_again(receive, sender):
    receiver = receive()
    receiver.status = 0
    assert sender.webhook(receiver.origin) == ("later", f"webhook: {receiver.origin}: the connection was closed without an answer")
    receiver.hang.clear()
    assert sender.webhook(receiver.origin, ms=500) == ("later", f"webhook: {receiver.origin}: no answer in time")
    assert sender.webhook(receiver.origin, ms=60000, cancel=200) == ("later", f"webhook: {receiver.origin}: cancelled")


def test_an_answer_without_end_is_not_read_to_it(receive, sender):
    receiver = receive()
    receiver.status, receiver.body = 200, b"x" * (8 << 20)
    assert sender.webhook(receiver.origin) == ("done", "")
    receiver.status = 500
    assert sender.webhook(receiver.origin) == ("later", f"webhook {receiver.origin}: the answer is 500")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("cut", ["hang", "reset"])
def test_a_status_counts_whatever_becomes_of_what_follows(receive, sender, pki, cut, tls):
    receiver = receive(server_context(pki) if tls else None)
    receiver.status, receiver.cut = 200, cut
    assert sender.webhook(receiver.origin, ms=2000) == ("done", "")
    receiver.status = 404
    assert sender.webhook(receiver.origin, ms=2000) == ("never", f"webhook {receiver.origin}: the answer is 404")


def test_a_secret_that_all_may_read_is_not_used(receive, sender):
    receiver = receive()
    (sender.directory / "secret").chmod(0o644)
    outcome, error = sender.webhook(receiver.origin)
    assert (outcome, error) == ("later", f"webhook {receiver.origin}: {sender.directory}/secret may be read by everybody on this machine")
    assert receiver.posts == []
