# SPDX-License-Identifier: LGPL-2.1-or-later
"""What peers may say that no program of drover's would: wrong frames, wrong words, wrong people, too much, too slowly."""

import contextlib
import hashlib
import os
import random
import re
import socket
import ssl
import struct
import time
from pathlib import Path

import pytest

import wireclient as wire
from fleet import POOL, define, disk_xml, domain_xml, find, images, known, leftovers, new_image, start_move, undefine, wait_job
from labclient import wait_for

HERE, BESIDE, AWAY = "lyon/kvm1", "lyon/kvm2", "nantes/kvm1"
MIB = 1 << 20


def process_of(lab, node):
    service = "controller" if node == "controller" else "agent"
    return int((lab.plan.node_dir(lab.plan.node(node)) / f"{service}.pid").read_text())


def memory(lab, node):
    """(resident now, resident at most, started at) of drover's process on a node; bytes, bytes, ticks."""
    pid = process_of(lab, node)
    process = Path(f"/proc/{lab.plan.node(node).init.pid}/root/proc/{pid}")
    status = (process / "status").read_text() + (process / "stat").read_text()
    now, most = (int(re.search(rf"{key}:\s+(\d+) kB", status).group(1)) << 10 for key in ("VmRSS", "VmHWM"))
    return now, most, status.rsplit(") ", 1)[1].split()[19]


@pytest.fixture(autouse=True)
def everybody_lives_within_bounds(lab):
    """After each test: nobody has died or grown, and the others have not noticed."""
    before = {node: memory(lab, node) for node in ("controller", HERE, AWAY)}
    yield
    for node, (_, most, started) in before.items():
        now = memory(lab, node)
        assert now[2] == started, f"{node}: its process is another one"
        assert now[1] - most < 48 * MIB, f"{node}: has grown from {most} to {now[1]}"
    states = {f"{h['site']}/{h['name']}": h["state"] for h in lab.drover("host", "list")}
    assert states[HERE] == states[AWAY] == "online"


@pytest.fixture
def taken_over(lab):
    """A host whose agent is stopped, so that a test can speak with its credentials."""
    lab.kill(BESIDE, "agent")
    yield BESIDE
    lab.start(BESIDE, "agent")
    lab.wait_online()


def data_plain(lab, host=AWAY, node=BESIDE):
    return wire.plain(lab, (lab.address(host), wire.DATA_PORT), node)


def everywhere(lab):
    """(name, a function that dials) of every listening port of drover's."""
    return [("controller", lambda: wire.plain(lab)), ("agent", lambda: data_plain(lab))]


# Fault 39

@pytest.mark.parametrize("length", [0, wire.FRAME_MAX + 1, 1 << 31, (1 << 32) - 1])
class TestFault39:
    def test_fault_39_operator(self, lab, length):
        with wire.Operator(lab) as connection:
            connection.write(struct.pack(">I", length) + b"x")
            connection.wait_closed(5)

    def test_fault_39_operator_before_its_hello(self, lab, length):
        with wire.Connection(wire.plain(lab), wire.Credentials.of_operator(lab), wire.OPERATOR) as connection:
            connection.write(struct.pack(">I", length))
            connection.wait_closed(5)

    def test_fault_39_agent(self, lab, taken_over, length):
        with wire.Agent(lab, taken_over) as connection:
            connection.write(struct.pack(">I", length))
            connection.wait_closed(5)

    def test_fault_39_joiner_whose_bound_is_lower(self, lab, length):
        for announced in {length, 16385}:
            with wire.Connection(wire.plain(lab), None, wire.JOIN) as connection:
                connection.write(struct.pack(">I", announced))
                connection.wait_closed(5)

    def test_fault_39_data_port_of_an_agent(self, lab, length):
        with wire.Connection(data_plain(lab), wire.Credentials.of_host(lab, BESIDE), wire.DATA) as connection:
            connection.write(struct.pack(">I", length))
            connection.wait_closed(5)

    def test_fault_39_relay(self, lab, length):
        with wire.Connection(wire.plain(lab), wire.Credentials.of_host(lab, BESIDE), wire.DATA) as connection:
            connection.write(struct.pack(">I", length))
            connection.wait_closed(5)


def test_fault_39_a_length_is_believed_only_as_far_as_bytes_arrive(lab):
    before = memory(lab, "controller")[0]
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(wire.Operator(lab))
            connection.write(struct.pack(">I", wire.FRAME_MAX) + bytes(1000))
        assert memory(lab, "controller")[0] - before < 24 * MIB


# Fault 40

def mutations(seed, message, count):
    """Messages like this one, with bits turned, bytes gone, repeated, and plain noise."""
    chance = random.Random(seed)
    for n in range(count):
        raw = bytearray(message)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(raw)) if raw else 0
            kind = chance.randrange(5)
            if kind == 0 and raw:
                raw[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                raw[at:at] = chance.randbytes(chance.randint(1, 8))
            elif kind == 2:
                del raw[at:at + chance.randint(1, 8)]
            elif kind == 3:
                raw += raw[at:at + 64]
            elif raw:
                raw[at] = 255
        yield bytes(raw) if n % 10 else chance.randbytes(chance.randint(1, 300))


REQUEST = wire.pack({3: wire.pack({1: 7, wire.VERBS["vm_move"]: wire.pack({1: "erp", 2: AWAY, 3: "erp-2", 4: 1, 9: [wire.pack({1: "br0", 2: "br1"})], 14: 1})})})
INVENTORY = wire.pack({8: wire.pack({1: 1, 3: 1, 4: 1, 5: wire.pack({1: "0", 2: "9.0.0", 3: "7", 4: 2, 5: MIB, 10: ["br0"]}), 6: [wire.pack({
    1: "11111111-2222-4333-8444-555555555555", 2: "noise", 3: "running", 4: 1, 5: MIB, 8: [wire.pack({1: "vda", 2: "virtio", 5: "raw", 10: 5})]})],
    8: [wire.pack({1: "default", 2: "61111111-2222-4333-8444-555555555555", 3: "dir", 4: 1, 10: ["a", "b"]})]})})


def pour(make, messages):
    """Send them all; connect again each time the peer has had enough. How often it has."""
    ends, connection = 0, make()
    for message in messages:
        if not 0 < len(message) <= 16000:
            continue
        try:
            connection.send(message)
        except wire.Closed:
            ends += 1
            connection.tls.close()
            connection = make()
    connection.tls.close()
    return ends


class TestFault40:
    def test_fault_40_mutated_requests_of_an_operator(self, lab):
        pour(lambda: wire.Operator(lab), mutations(1, REQUEST, 400))
        assert lab.drover("vm", "list") == []

    def test_fault_40_mutated_inventory_of_an_agent(self, lab, taken_over):
        pour(lambda: wire.Agent(lab, taken_over), mutations(2, INVENTORY, 300))
        assert {h["name"] for h in lab.drover("host", "list")} == {"kvm1", "kvm2"}

    def test_fault_40_mutated_joins(self, lab):
        join = wire.pack({1: wire.pack({1: 1, 2: "0123456789abcdef", 3: bytes(32), 4: b"\x30\x82" + bytes(100), 5: "x"})})
        pour(lambda: wire.Connection(wire.plain(lab), None, wire.JOIN), list(mutations(3, join, 12)))

    def test_fault_40_mutated_hellos_at_an_agents_data_port(self, lab):
        ticket = wire.pack({1: wire.pack({1: "aaaaaaaa", 2: "vda", 3: 1, 10: bytes(16)}), 2: bytes(70)})
        hello = wire.pack({1: wire.pack({1: wire.DATA_VERSION, 2: ticket, 4: 3})})
        for message in mutations(4, hello, 40):
            with contextlib.suppress(wire.Closed):
                with wire.Connection(data_plain(lab), wire.Credentials.of_host(lab, BESIDE), wire.DATA) as connection:
                    connection.send(message)

    def test_fault_40_a_flood_of_empty_messages(self, lab, taken_over):
        frame = struct.pack(">I", 2) + b"\x2a\x00"  # an operator's empty Ping
        with wire.Operator(lab) as connection:
            flood(connection, frame, 4 * MIB)
            assert lab.drover("host", "list")
        with wire.Agent(lab, taken_over) as connection:
            flood(connection, struct.pack(">I", 2) + b"\x1a\x00", 4 * MIB)
            assert lab.drover("host", "list")

    def test_fault_40_a_flood_of_requests_whose_answers_are_not_read(self, lab):
        with wire.Operator(lab) as connection:
            flood(connection, b"".join(framed({3: wire.pack({1: n, wire.VERBS["host_list"]: b""})}) for n in range(1, 1000)), 4 * MIB)
            began = time.monotonic()
            assert lab.drover("host", "list") and time.monotonic() - began < 3

    def test_fault_40_a_message_of_very_many_fields(self, lab, taken_over):
        with wire.Agent(lab, taken_over) as connection:
            with contextlib.suppress(wire.Closed):
                connection.send(wire.pack({8: wire.pack({1: 1, 3: 1, 4: 1}) + b"\x32\x00" * 1_000_000}))
                connection.wait_closed(10)
        with wire.Operator(lab) as connection:
            with contextlib.suppress(wire.Closed):
                connection.send(wire.pack({3: wire.pack({1: 1, 20: b""}) + b"\x08\x01" * 1_000_000}))
                connection.receive()

    def test_fault_40_an_inventory_without_an_end_or_with_gaps(self, lab, taken_over):
        domain = wire.pack({1: "11111111-2222-4333-8444-555555555555", 2: "noise", 3: "running"})
        with wire.Agent(lab, taken_over) as connection:
            connection.send({8: wire.pack({1: 5, 2: 9, 6: [domain]})})
            connection.send({8: wire.pack({1: 5, 3: 1, 6: [domain]})})
            with contextlib.suppress(wire.Closed):
                for n in range(200):
                    connection.send({8: wire.pack({1: 6 + n, 3: 1, 6: [domain] * 50})})
            assert find(lab, "noise") is None or find(lab, "noise")["host"] == "kvm2"
        assert lab.drover("host", "list")


def framed(message):
    raw = wire.pack(message)
    return struct.pack(">I", len(raw)) + raw


def flood(connection, piece, total):
    """As many pieces, until the peer has had enough: it closes, or stops reading."""
    data = piece * (65536 // len(piece) + 1)
    connection.tls.settimeout(2)
    with contextlib.suppress(OSError, wire.Closed):
        for _ in range(total // len(data)):
            connection.tls.sendall(data)


# Fault 41

@pytest.mark.parametrize("versions", [(99, 99), (2, 1), (0, 0)])
class TestFault41:
    def test_fault_41_operator(self, lab, versions):
        with pytest.raises(wire.Refused) as refused:
            wire.Operator(lab, versions=versions)
        assert refused.value.code == wire.VERSION or versions != (99, 99)
        if versions == (99, 99):
            assert "99" in refused.value.message and re.search(r"\b1\b", refused.value.message)

    def test_fault_41_agent(self, lab, taken_over, versions):
        with pytest.raises(wire.Refused) as refused:
            wire.Agent(lab, taken_over, versions=versions)
        assert refused.value.code == wire.VERSION or versions != (99, 99)
        if versions == (99, 99):
            assert "99" in refused.value.message and re.search(r"\b1\b", refused.value.message)


def test_fault_41_joiner(lab):
    with wire.Connection(wire.plain(lab), None, wire.JOIN) as connection:
        connection.send({1: wire.pack({1: 99, 2: "aaaa", 3: bytes(32), 5: "test"})})
        number, raw = connection.receive()
        assert number == 3 and wire.Refused(raw).code == wire.VERSION and "99" in wire.Refused(raw).message


def test_fault_41_data_port_of_an_agent(lab):
    with wire.Connection(data_plain(lab), wire.Credentials.of_host(lab, BESIDE), wire.DATA) as connection:
        connection.send({1: wire.pack({1: 99, 2: b"x", 4: 1})})
        number, raw = connection.receive()
        assert number == 7 and wire.Refused(raw).code == wire.VERSION and "99" in wire.Refused(raw).message


def test_fault_41_a_version_that_is_newer_but_can_speak_ours_is_welcome(lab):
    with wire.Operator(lab, versions=(1, 99)) as connection:
        assert connection.welcome[1] == [1]


# Fault 42 (roles among operators are in test_authority.py)

@pytest.mark.parametrize("verb", wire.VERBS)
class TestFault42:
    def test_fault_42_a_host_cannot_ask_as_an_operator(self, lab, verb):
        with pytest.raises((wire.Closed, wire.Refused)) as refused:
            wire.Operator(lab, wire.Credentials.of_host(lab, BESIDE)).ask(verb)
        assert refused.type is wire.Closed or refused.value.code == wire.DENIED

    def test_fault_42_nobody_can_ask_over_the_door_for_joining(self, lab, verb):
        with wire.Connection(wire.plain(lab), None, wire.JOIN) as connection:
            with contextlib.suppress(wire.Closed):
                connection.send({1: wire.pack({1: 1, 2: 1})})
                connection.send({3: wire.pack({1: 1, wire.VERBS[verb]: b""})})
            assert all(number == 3 for number, _ in connection.wait_closed(5))

    def test_fault_42_nothing_is_answered_before_the_hello(self, lab, verb):
        with wire.Connection(wire.plain(lab), wire.Credentials.of_operator(lab), wire.OPERATOR) as connection:
            connection.send({3: wire.pack({1: 1, wire.VERBS[verb]: b""})})
            assert all(number == 7 for number, _ in connection.wait_closed(5))


def test_fault_42_an_operator_cannot_speak_as_a_host(lab):
    for alpn in (wire.AGENT, wire.DATA):
        with wire.Connection(wire.plain(lab), wire.Credentials.of_operator(lab), alpn) as connection:
            with contextlib.suppress(wire.Closed):
                connection.send({1: wire.pack({1: 1, 2: 1, 3: "test"})})
            assert all(number in (7, 12) for number, _ in connection.wait_closed(5))


def test_fault_42_an_agent_takes_no_orders_from_a_host_on_its_data_port(lab):
    for credentials in (wire.Credentials.of_host(lab, BESIDE), wire.Credentials.of_operator(lab), None):
        for alpn in (wire.AGENT, wire.OPERATOR, wire.JOIN):
            with pytest.raises(wire.Closed):
                with wire.Connection(data_plain(lab), credentials, alpn) as connection:
                    connection.send({5: wire.pack({1: 1, wire.STEPS["domain_power"]: wire.pack({1: 1})})})
                    connection.receive()
    for credentials in (wire.Credentials.of_operator(lab), None):
        with pytest.raises(wire.Closed):
            with wire.Connection(data_plain(lab), credentials, wire.DATA) as connection:
                connection.send({1: wire.pack({1: wire.DATA_VERSION, 2: b"x", 4: 3})})
                number, _ = connection.receive()
                assert number == 7
                connection.receive()


def test_fault_42_an_unknown_verb_is_refused(lab):
    with wire.Operator(lab) as connection:
        connection.send({3: wire.pack({1: 1, 500: b""})})
        number, raw = connection.receive(skip=(5, 6))
        failure = wire.Refused(wire.unpack(raw)[3][0]) if number == 4 else wire.Refused(raw)
        assert failure.code != 0


# Fault 43

class TestFault43:
    def test_fault_43_a_host_is_who_its_certificate_says(self, lab, taken_over):
        with wire.Agent(lab, taken_over) as agent:
            assert [agent.welcome[n][0].decode() for n in (3, 4)] == ["lyon", "kvm2"]

    def test_fault_43_a_vm_of_another_host_stays_where_it_is(self, lab, taken_over):
        define(lab, HERE, domain_xml("coveted"))
        own = known(lab, "coveted")
        try:
            claim = wire.pack({1: own["uuid"], 2: "coveted", 3: "running", 4: 8, 20: 1 << 40})
            asked = []
            answers = {"domain_xml": lambda *_: {10: wire.pack({1: "<domain>stolen</domain>"})}, "domain_power": lambda *_: asked.append(1)}
            with wire.Agent(lab, taken_over, inventory={6: [claim]}, answers=answers):
                wait_for("the claim", 5, lambda: sum(v["uuid"] == own["uuid"] for v in lab.drover("vm", "list")) >= 1)
                mine = next(v for v in lab.drover("vm", "list") if v["uuid"] == own["uuid"] and v["host"] == "kvm1")
                assert (mine["site"], mine["state"], mine["vcpus"]) == ("lyon", "shut off", 1)
                done = lab.drover("vm", "start", "lyon/kvm1/coveted")
                assert done["state"] == "done" and lab.state_of(HERE, "coveted") == "running" and asked == []
                assert "stolen" not in lab.run_drover("vm", "xml", "lyon/kvm1/coveted").stdout
        finally:
            undefine(lab, HERE, "coveted")

    def test_fault_43_results_of_requests_that_were_asked_of_another(self, lab, taken_over):
        define(lab, HERE, domain_xml("honest"))
        known(lab, "honest")
        try:
            with wire.Agent(lab, taken_over) as agent:
                with contextlib.suppress(wire.Closed):
                    for ident in range(1, 400):
                        agent.send({7: wire.pack({1: ident, 2: wire.pack({1: 1, 2: "forged"})})})
                        agent.send({6: wire.pack({1: ident, 3: "forged"})})
                done = lab.drover("vm", "start", "honest")
                assert done["state"] == "done" and "forged" not in str(done)
        finally:
            undefine(lab, HERE, "honest")

    def test_fault_43_names_in_an_inventory_are_data(self, lab, taken_over):
        bad = [wire.pack({1: "11111111-2222-4333-8444-55555555555%d" % n, 2: name, 3: "running"})
               for n, name in enumerate(["../../etc/passwd", "a/b", "a\nb", "-x", "\x1b[31mred", "x" * 5000])]
        for domain in bad:
            with wire.Agent(lab, taken_over, inventory={6: [domain]}) as agent:
                with contextlib.suppress(wire.Closed, AssertionError):
                    agent.wait_closed(0.5)
                out = lab.run_drover("vm", "list").stdout
                assert "\x1b" not in out and "\nb" not in out and "x" * 200 not in out
        assert "etc/passwd" not in lab.run_drover("vm", "list").stdout


def test_fault_08_the_older_connection_of_a_host_is_fenced(lab, taken_over):
    with wire.Agent(lab, taken_over) as old:
        with wire.Agent(lab, taken_over) as new:
            old.wait_closed(5)
            new.send({3: wire.pack({1: 5})})
            assert new.receive(skip=(3, 9))[0] == 4
        state = next(h for h in lab.drover("host", "list") if h["name"] == "kvm2")["state"]
        assert state in ("offline", "online")


# Fault 45

def present(lab, ticket, target=AWAY, speaker=BESIDE, stream=0):
    """Show a ticket at an agent's data port: "accepted", or what the failure says."""
    try:
        with wire.Connection(data_plain(lab, target, speaker), wire.Credentials.of_host(lab, speaker), wire.DATA) as connection:
            connection.send({1: wire.pack({1: wire.DATA_VERSION, 2: ticket, 3: stream, 4: 3})})
            number, raw = connection.receive(15)
            return "accepted" if number == 2 else wire.Refused(raw).message if number == 7 else f"answer {number}"
    except wire.Closed:
        return "closed"


def signed(fields, key):
    """A SignedTicket by some key of ours."""
    ticket = wire.pack(fields)
    return wire.pack({1: ticket, 2: wire.openssl("dgst", "-sha256", "-sign", key, input=ticket)})


def certificate_hash(credentials):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(credentials.certificate.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n")).digest()


class TestFault45:
    def test_fault_45_forged_tickets(self, lab, tmp_path):
        hosts = {f"{h['site']}/{h['name']}": h["uuid"] for h in lab.drover("host", "list")}
        fields = {1: "aaaaaaaa", 2: "vda", 3: 1, 4: hosts[BESIDE], 5: hosts[AWAY], 6: certificate_hash(wire.Credentials.of_host(lab, BESIDE)),
                  7: certificate_hash(wire.Credentials.of_host(lab, AWAY)), 8: 1, 9: int(time.time()) + 600, 10: os.urandom(16)}
        before = images(lab, AWAY) + leftovers(lab, AWAY)
        own, foreign = wire.Credentials.of_host(lab, BESIDE).key, wire.new_key(tmp_path / "key")
        for ticket in (signed(fields, own), signed(fields, foreign), wire.pack({1: wire.pack(fields)}), wire.pack({1: wire.pack(fields), 2: bytes(72)}),
                       b"", b"\xff" * 200, bytes(2000)):
            assert present(lab, ticket) != "accepted"
        assert images(lab, AWAY) + leftovers(lab, AWAY) == before

    @pytest.fixture
    def offered(self, lab, taken_over):
        """A real ticket: a move to a host that has been taken over, which is to fetch the disk from nantes. (ticket, order, job)"""
        image = new_image(lab, AWAY, "wanted.raw", "4M", "raw")
        define(lab, AWAY, domain_xml("wanted", disk_xml(image, format="raw")))
        known(lab, "wanted")
        facts = wire.pack({1: "0", 2: "9.0.0", 3: "7.2.0", 4: 2, 5: 1 << 30, 6: "x86_64", 8: 1, 9: int(time.time()), 10: ["br0"]})
        pool = wire.pack({1: "default", 2: "61111111-2222-4333-8444-555555555555", 3: "dir", 4: 1, 6: 1 << 40, 8: 1 << 40, 9: "/x"})
        orders = []

        def receive(request, message):
            orders.append(wire.unpack(message[1][0]))
            while not self.done:
                time.sleep(0.05)
            return {2: wire.pack({1: 1, 2: "test: not today"})}

        self.done = False
        with wire.Agent(lab, taken_over, inventory={5: facts, 8: [pool]}, answers={"transfer_receive": receive}) as agent:
            wait_for("online", 5, lambda: next(h for h in lab.drover("host", "list") if h["name"] == "kvm2")["state"] == "online")
            ident = start_move(lab, "wanted", taken_over, "--path", "reverse")
            wait_for("the order", 20, lambda: orders)
            yield orders[0][1][0], ident, agent
            self.done = True
            assert wait_job(lab, ident)["state"] in ("failed", "cancelled")
        undefine(lab, AWAY, "wanted")
        lab.exec(AWAY, "sh", "-c", f"rm -f {POOL}/wanted*")

    def test_fault_45_a_ticket_for_one_peer_is_no_use_at_another_or_twice(self, lab, offered):
        ticket, _, _ = offered
        other_before = images(lab, HERE) + leftovers(lab, HERE)
        assert present(lab, ticket, HERE) != "accepted", "another host"
        assert present(lab, ticket, AWAY, speaker=HERE) != "accepted", "another host's certificate"
        raw, signature = (wire.unpack(ticket)[n][0] for n in (1, 2))
        for number, value in ((1, "bbbbbbbb"), (2, "vdb"), (3, 9), (8, 1), (9, int(time.time()) + 86400), (10, os.urandom(16))):
            changed = wire.pack({**wire.unpack(raw), number: value})
            assert present(lab, wire.pack({1: changed, 2: signature})) != "accepted", f"field {number} changed"
        assert present(lab, ticket) == "accepted"
        assert present(lab, ticket) != "accepted", "a second time"
        assert images(lab, HERE) + leftovers(lab, HERE) == other_before

    def test_fault_45_the_other_streams_of_a_ticket_are_for_one_use_too(self, lab, offered):
        ticket, _, _ = offered
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(wire.Connection(data_plain(lab), wire.Credentials.of_host(lab, BESIDE), wire.DATA)) for _ in range(4)]
            for stream, number in zip(streams, (0, 1, 0, 1)):
                stream.send({1: wire.pack({1: wire.DATA_VERSION, 2: ticket, 3: number, 4: 3})})
                assert (stream.receive(15)[0] == 2) == (stream in streams[:2])


# TLS itself, and what is not TLS

def test_tls_1_2_is_refused_everywhere(lab):
    for credentials, alpn in ((wire.Credentials.of_operator(lab), wire.OPERATOR), (None, wire.JOIN)):
        with pytest.raises(OSError):
            wire.context(credentials, [alpn], ssl.TLSVersion.TLSv1_2).wrap_socket(wire.plain(lab))
    with pytest.raises(OSError):
        wire.context(wire.Credentials.of_host(lab, BESIDE), [wire.DATA], ssl.TLSVersion.TLSv1_2).wrap_socket(data_plain(lab))


@pytest.mark.parametrize("alpn", [["h2"], ["http/1.1"], ["drover-agent/2"], []])
def test_an_unknown_protocol_is_refused(lab, alpn):
    with pytest.raises((OSError, wire.Closed)):
        tls = wire.context(wire.Credentials.of_operator(lab), alpn).wrap_socket(wire.plain(lab))
        tls.sendall(framed({1: wire.pack({1: 1, 2: 1})}))
        tls.settimeout(5)
        if not tls.recv(1):
            raise wire.Closed


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-x\r\n", bytes(4096), b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"\x80" * 300])
def test_what_is_not_tls_is_closed_at_once(lab, garbage):
    for name, dial in everywhere(lab):
        with dial() as tcp:
            with contextlib.suppress(OSError):
                tcp.sendall(garbage)
                tcp.shutdown(socket.SHUT_WR)
            assert wire.closed(tcp, 3), name


def test_half_closed_connections_are_let_go(lab):
    for name, dial in everywhere(lab):
        with dial() as tcp:
            tcp.shutdown(socket.SHUT_WR)
            assert wire.closed(tcp, 12), name


# Fault 3

def test_fault_03_a_byte_a_second_is_closed_and_nobody_notices(lab):
    """Before the handshake, in it, after it without a word, and in the middle of a frame; all at once."""
    hello = client_hello()
    slow = []  # (what, socket, bytes to drip, closed within seconds)
    for name, dial in everywhere(lab):
        slow += [(f"{name}, silent", dial(), b"", 15) for _ in range(2)]
        slow += [(f"{name}, a slow handshake", dial(), hello, 15) for _ in range(2)]
    operator, host = wire.Credentials.of_operator(lab), wire.Credentials.of_host(lab, BESIDE)
    after = [("operator, no hello", wire.Connection(wire.plain(lab), operator, wire.OPERATOR).tls, b"", 15),
             ("agent, no hello", wire.Connection(wire.plain(lab), host, wire.AGENT).tls, b"", 15),
             ("joiner, no request", wire.Connection(wire.plain(lab), None, wire.JOIN).tls, b"", 15),
             ("relay, no hello", wire.Connection(wire.plain(lab), host, wire.DATA).tls, b"", 15),
             ("data, no hello", wire.Connection(data_plain(lab), host, wire.DATA).tls, b"", 35),
             ("operator, a slow hello", wire.Connection(wire.plain(lab), operator, wire.OPERATOR).tls, framed({1: wire.pack({1: 1, 2: 1, 3: "x" * 200})}), 35),
             ("data, a slow hello", wire.Connection(data_plain(lab), host, wire.DATA).tls, framed({1: wire.pack({1: wire.DATA_VERSION, 2: b"x" * 200})}), 35)]
    greeted = wire.Operator(lab)
    after.append(("operator, a slow request", greeted.tls, framed({3: wire.pack({1: 1, wire.VERBS["vm_list"]: wire.pack({4: "x" * 200})})}), 45))
    began, slowest = time.monotonic(), 0
    waiting = {what + str(n): [sock, data, limit] for n, (what, sock, data, limit) in enumerate(slow + after)}
    try:
        while waiting and time.monotonic() - began < 50:
            second = time.monotonic()
            for what, (sock, data, limit) in list(waiting.items()):
                if not drip(sock, data[:1]):
                    del waiting[what]
                    continue
                waiting[what][1] = data[1:]
                assert time.monotonic() - began < limit, f"{what}: still open after {limit} s"
            asked = time.monotonic()
            assert lab.drover("host", "list")
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(max(0, 1 - (time.monotonic() - second)))
        assert waiting == {} and slowest < 2
    finally:
        for _, sock, *_ in slow + after:
            sock.close()


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        wire.context(alpn=[wire.OPERATOR]).wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def drip(sock, byte):
    """Send a byte, and look whether the peer still holds the connection."""
    try:
        sock.settimeout(0.02)
        if byte:
            sock.sendall(byte)
        while sock.recv(65536):
            pass
        return False
    except TimeoutError:
        return True
    except ssl.SSLWantReadError:
        return True
    except OSError:
        return False


def test_many_connections_of_one_address_leave_room_for_others(lab):
    """An unknown neighbour holds as many connections as it is given; operators and hosts do not notice."""
    sockets = []
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                sockets.append(wire.plain(lab, node=BESIDE, timeout=2))
        assert lab.drover("host", "list")
    finally:
        for sock in sockets:
            sock.close()
