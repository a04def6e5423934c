# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who is let in, for how long, what they may do, and that it is written down."""

import contextlib
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from datetime import datetime, timezone

import pytest

import wireclient as wire
from fleet import Operator, define, domain_xml, find, known, undefine
from labclient import DroverError, wait_for

HERE, BESIDE, AWAY = "lyon/kvm1", "lyon/kvm2", "nantes/kvm1"


def fails(call, *argv):
    with pytest.raises(DroverError) as caught:
        call(*argv)
    return caught.value


def host_of(lab, name):
    return next((h for h in lab.drover("host", "list") if f"{h['site']}/{h['name']}" == name), None)


def join(lab, node, token, state, *flags):
    """`drover-agent join` with a state directory of its own; a CompletedProcess."""
    return lab.exec(node, "drover-agent", "--state-dir", state, "join", token, *flags, check=False)


def login(lab, token, directory):
    operator = Operator(lab, directory)
    return operator, operator.run("login", token)


@pytest.fixture
def user(lab, tmp_path, request):
    """user("viewer", "--site", "lyon"): somebody of that role who has logged in; removed afterwards."""
    made = []

    def make(role, *options):
        name = f"{role}-{len(made)}-{abs(hash(request.node.name)) % 10000}"
        token = lab.drover("user", "invite", name, "--role", role, *options)["token"]
        operator, done = login(lab, token, tmp_path / name)
        assert done.returncode == 0, done.stderr
        made.append(name)
        operator.name = name
        return operator

    yield make
    for name in made:
        lab.run_drover("user", "rm", name, "--yes")


@pytest.fixture(scope="module", autouse=True)
def vms(lab):
    """One VM in each site."""
    define(lab, HERE, domain_xml("here"))
    define(lab, AWAY, domain_xml("away"))
    known(lab, "here")
    known(lab, "away")


class TestInit:
    def test_a_second_time_is_refused_and_changes_nothing(self, lab):
        before = lab.exec("controller", "sh", "-c", "find /var/lib/drover /etc/drover -name '*.key' -o -name '*.crt' | sort | xargs sha256sum").stdout
        assert before
        done = lab.exec("controller", "drover-controller", "init", "--name", "other", "--address", "10.0.0.1:7443", check=False)
        assert done.returncode == 6, done.stderr
        after = lab.exec("controller", "sh", "-c", "find /var/lib/drover /etc/drover -name '*.key' -o -name '*.crt' | sort | xargs sha256sum").stdout
        assert after == before and lab.drover("host", "list")

    def test_secrets_are_readable_by_their_owner_only(self, lab):
        for node, root in (("controller", "/var/lib/drover"), (HERE, "/var/lib/drover")):
            modes = lab.exec(node, "sh", "-c", f"find {root} -name '*.key' -printf '%m %p\\n'").stdout.splitlines()
            assert modes and all(line.startswith("600 ") for line in modes), modes
        assert (wire.Credentials.of_operator(lab).key.stat().st_mode & 0o777) == 0o600


class TestJoin:
    def test_an_invitation_is_one_line_to_run(self, lab):
        done = lab.run_drover("host", "invite", "lyon/line", "--ttl", "10m")
        assert re.fullmatch(r"drover-agent join DRV1\.[A-Za-z0-9_-]+\n", done.stdout) and "10 min" in done.stderr and "once" in done.stderr

    def test_a_host_joins_with_it_and_is_told_what_was_found(self, lab):
        token = lab.drover("host", "invite", "lyon/fresh")["token"]
        done = join(lab, BESIDE, token, "/var/lib/drover/fresh")
        assert done.returncode == 0, done.stderr
        said = done.stdout + done.stderr
        assert re.search(r"Controller verified +sha256:[0-9a-f]{4}", said) and re.search(r"Checks +\d+ ok", said)
        assert "Joined as lyon/fresh" in said
        assert "secret" not in said and token not in said
        lab.drover("host", "rm", "lyon/fresh", "--yes")

    def test_a_name_that_is_taken_is_refused(self, lab):
        error = fails(lab.drover, "host", "invite", HERE)
        assert error.exit == 6 and any("host rm" in hint for hint in error.error["hints"])

    def test_a_host_that_has_joined_keeps_its_identity(self, lab):
        token = lab.drover("host", "invite", "lyon/second")["token"]
        assert join(lab, HERE, token, "/var/lib/drover/agent").returncode == 6
        assert host_of(lab, HERE)["state"] == "online"
        lab.kill(HERE, "agent")
        done = join(lab, HERE, token, "/var/lib/drover/agent")
        assert done.returncode == 6 and "lyon/kvm1" in done.stderr and "--force" in done.stderr
        lab.start(HERE, "agent")
        lab.wait_online()
        assert join(lab, HERE, token, "/var/lib/drover/second").returncode == 0, "the token was not used up"
        lab.drover("host", "rm", "lyon/second", "--yes")

    def test_fault_46_a_token_used_twice_is_refused(self, lab):
        token = lab.drover("host", "invite", "lyon/twice")["token"]
        assert join(lab, BESIDE, token, "/var/lib/drover/twice").returncode == 0
        done = join(lab, BESIDE, token, "/var/lib/drover/twice-again")
        assert done.returncode == 4, done.stderr
        assert not lab.file(BESIDE, "/var/lib/drover/twice-again/host.crt").exists()
        lab.drover("host", "rm", "lyon/twice", "--yes")

    def test_fault_46_a_token_that_comes_late_is_refused(self, lab):
        token = lab.drover("host", "invite", "lyon/late", "--ttl", "1s")
        wait_for("its end", 5, lambda: datetime.now(timezone.utc) > datetime.fromisoformat(token["expires_at"].replace("Z", "+00:00")))
        wait_for("refused", 5, lambda: join(lab, BESIDE, token["token"], "/var/lib/drover/late").returncode == 4)
        assert not lab.file(BESIDE, "/var/lib/drover/late/host.crt").exists()

    def test_fault_46_a_forged_or_maimed_token_is_refused(self, lab):
        text = lab.drover("host", "invite", "lyon/forged")["token"]
        fields = wire.token_fields(text)
        wrong_secret = wire.token_text({**fields, 4: bytes(32)})
        wrong_id = wire.token_text({**fields, 3: "0000000000000000"})
        results = [join(lab, BESIDE, token, "/var/lib/drover/forged") for token in (wrong_secret, wrong_id)]
        assert [r.returncode for r in results] == [4, 4]
        assert results[0].stderr == results[1].stderr, "which of the two was wrong is nobody's business"
        for maimed in (text[:-5], text.replace("DRV1.", "DRV2."), "DRV1.", "nonsense", text + "!"):
            assert join(lab, BESIDE, maimed, "/var/lib/drover/forged").returncode == 2
        assert join(lab, BESIDE, text, "/var/lib/drover/forged").returncode == 0
        lab.drover("host", "rm", "lyon/forged", "--yes")

    def test_a_host_cannot_use_a_users_token_nor_a_user_a_hosts(self, lab, tmp_path):
        token = lab.drover("user", "invite", "somebody", "--role", "viewer")["token"]
        assert join(lab, BESIDE, token, "/var/lib/drover/user").returncode != 0
        host = lab.drover("host", "invite", "lyon/wrong")["token"]
        assert login(lab, host, tmp_path / "a")[1].returncode == 2
        swapped = wire.token_text({**wire.token_fields(host), 5: 1})
        done = login(lab, swapped, tmp_path / "b")[1]
        assert done.returncode != 0 and not (tmp_path / "b" / "client.crt").exists()
        lab.run_drover("host", "rm", "lyon/wrong", "--yes")


class FakeController:
    """Something that answers on the controller's machine with certificates of another authority, and writes down what it is told."""

    def __init__(self, lab, directory, chain_with=None):
        authority = wire.new_authority(directory)
        leaf = wire.new_certificate(directory, "fake", authority, "drover://controller/00000000-0000-4000-8000-000000000001")
        chain = directory / "chain.pem"
        chain.write_bytes(leaf.certificate.read_bytes() + (chain_with or authority.certificate).read_bytes())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, leaf.key)
        self.context.set_alpn_protocols([wire.JOIN, wire.AGENT, wire.OPERATOR])
        self.listener = wire.within(lab, "controller", lambda: socket.create_server(("0.0.0.0", 0)))
        self.port = self.listener.getsockname()[1]
        self.connections, self.told = 0, b""
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                tcp = self.listener.accept()[0]
                self.connections += 1
                tcp.settimeout(5)
                with contextlib.suppress(OSError), self.context.wrap_socket(tcp, server_side=True) as tls:
                    while data := tls.recv(65536):
                        self.told += data


@pytest.mark.parametrize("chain", ["its own authority", "ours"])
def test_fault_46_a_controller_of_another_authority_is_told_no_secret(lab, tmp_path, chain):
    ours = wire.Credentials(lab.env["DROVER_CONFIG"], "ca").certificate
    fake = FakeController(lab, tmp_path, ours if chain == "ours" else None)
    host = lab.drover("host", "invite", "lyon/fooled", "--ttl", "30s")["token"]
    person = lab.drover("user", "invite", "fooled", "--role", "admin", "--ttl", "30s")["token"]
    fooled = [wire.token_text({**wire.token_fields(t), 1: f"{lab.plan.controller_address}:{fake.port}"}) for t in (host, person)]
    done = join(lab, BESIDE, fooled[0], "/var/lib/drover/fooled")
    assert done.returncode != 0 and fake.connections == 1 and fake.told == b""
    assert "authority" in done.stderr or "certificate" in done.stderr
    assert not lab.file(BESIDE, "/var/lib/drover/fooled/ca.crt").exists()
    done = login(lab, fooled[1], tmp_path / "operator")[1]
    assert done.returncode != 0 and fake.connections == 2 and fake.told == b""


@pytest.fixture
def extra(lab):
    """A second agent on nantes' machine: (name, state directory, start it)."""
    name, state = "nantes/extra", "/var/lib/drover/extra"
    lab.exec(AWAY, "rm", "-rf", state)
    assert join(lab, AWAY, lab.drover("host", "invite", name)["token"], state).returncode == 0
    running = []

    def run():
        log = open(lab.file(AWAY, "/var/lib/drover/extra.log"), "ab")
        running.append(lab.popen(AWAY, "drover-agent", "--state-dir", state, "run", stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        return running[-1]

    yield name, state, run
    for process in running:
        process.terminate()
        process.wait()
    lab.run_drover("host", "rm", name, "--yes", "--force")


class TestRemoval:
    def test_fault_44_a_host_that_is_removed_is_cut_at_once(self, lab, extra):
        name, state, run = extra
        run()
        wait_for("online", 15, lambda: host_of(lab, name)["state"] == "online")
        peer = f"dport = :{wire.PORT}"
        lab.drover("host", "rm", name, "--yes", "--force")
        assert host_of(lab, name) is None
        own = wire.Credentials(lab.file(AWAY, state), "host")
        with pytest.raises((wire.Refused, wire.Closed)) as refused:
            with wire.Connection(wire.plain(lab), own, wire.AGENT) as connection:
                connection.send({1: wire.pack({1: 1, 2: 1, 3: "test"})})
                number, raw = connection.receive()
                assert number == 12
                raise wire.Refused(raw)
        if refused.type is wire.Refused:
            assert refused.value.code == wire.DENIED
        assert lab.exec(AWAY, "ss", "-Htn", peer, check=False) is not None
        wait_for("not online again", 3, lambda: host_of(lab, name) is None)

    def test_fault_44_an_open_connection_of_a_removed_host_ends(self, lab, extra):
        name, state, _ = extra
        own = wire.Credentials(lab.file(AWAY, state), "host")
        with wire.Connection(wire.plain(lab), own, wire.AGENT) as connection:
            connection.send({1: wire.pack({1: 1, 2: 1, 3: "test"})})
            assert connection.receive()[0] == 2
            lab.drover("host", "rm", name, "--yes", "--force")
            said = connection.wait_closed(2)
            failures = [wire.Refused(raw) for number, raw in said if number == 12]
            assert [f.code for f in failures] == [wire.DENIED]

    def test_fault_47_a_host_that_joins_again_inherits_nothing(self, lab, extra):
        name, state, run = extra
        before = host_of(lab, name)
        old = wire.Credentials(lab.file(AWAY, state), "host")
        kept = {path: path.read_bytes() for path in (old.certificate, old.key)}
        lab.drover("host", "rm", name, "--yes", "--force")
        assert join(lab, AWAY, lab.drover("host", "invite", name)["token"], state, "--force").returncode == 0
        assert host_of(lab, name)["uuid"] != before["uuid"] and host_of(lab, name)["vms"] == 0
        for path, content in kept.items():
            path.with_name(f"old-{path.name}").write_bytes(content)
        with pytest.raises((wire.Refused, wire.Closed)):
            with wire.Connection(wire.plain(lab), wire.Credentials(lab.file(AWAY, state), "old-host"), wire.AGENT) as connection:
                connection.send({1: wire.pack({1: 1, 2: 1, 3: "test"})})
                number, raw = connection.receive()
                if number == 12:
                    raise wire.Refused(raw)
        run()
        wait_for("online", 15, lambda: host_of(lab, name)["state"] == "online")

    def test_a_host_with_vms_is_not_removed_without_force(self, lab):
        error = fails(lab.drover, "host", "rm", AWAY, "--yes")
        assert error.exit in (6, 7) and any("--force" in hint for hint in error.error["hints"])
        assert host_of(lab, AWAY)["state"] == "online" and find(lab, "away")


READING = ["status", "site list", "host list", f"host show {HERE}", "vm list", "vm show here", "vm xml here", "vm list --retired", "job list"]
OPERATING = ["vm start here", "vm stop here", "vm suspend here", "vm resume here", "vm autostart here", "vm move here nantes/kvm1 --plan", "vm purge --all --yes",
             "job cancel aaaaaaaa", "job retry aaaaaaaa"]
ADMINISTERING = ["site create rome", "site set lyon --timezone UTC", "site rm nantes --yes", "host invite lyon/new", "host rm lyon/kvm2 --yes --force",
                 "user invite eve --role admin", "user list", "user rm root --yes", "audit list"]


class TestUsers:
    def test_invite_login_and_list(self, lab, user):
        ann = user("operator", "--site", "lyon", "--site", "nantes")
        row = next(u for u in lab.drover("user", "list") if u["name"] == ann.name)
        assert row["role"] == "operator" and row["sites"] == ["lyon", "nantes"]
        assert ann("host", "list")

    def test_login_says_whom_it_trusts_and_keeps_what_is_there(self, lab, user, tmp_path):
        ann = user("viewer")
        token = lab.drover("user", "invite", "late-comer", "--role", "viewer")["token"]
        assert ann.run("login", token).returncode == 6
        assert ann.run("vm", "list").returncode == 0
        done = ann.run("login", token, "--replace")
        assert done.returncode == 0 and re.search(r"Controller verified +sha256:", done.stderr) and "late-comer" in done.stderr
        lab.drover("user", "rm", "late-comer", "--yes")

    def test_fault_46_a_users_token_is_for_one_use(self, lab, tmp_path):
        token = lab.drover("user", "invite", "once", "--role", "viewer")["token"]
        assert login(lab, token, tmp_path / "1")[1].returncode == 0
        assert login(lab, token, tmp_path / "2")[1].returncode == 4
        lab.drover("user", "rm", "once", "--yes")

    @pytest.mark.parametrize("role, may, may_not", [
        ("viewer", READING, OPERATING + ADMINISTERING), ("operator", READING, ADMINISTERING)])
    def test_fault_42_each_role_may_what_it_may(self, lab, user, role, may, may_not):
        someone = user(role)
        for words in may:
            assert someone.run(*words.split()).returncode == 0, words
        for words in may_not:
            error = fails(someone, *words.split())
            assert (error.exit, error.code) == (4, "not-permitted"), words
            assert role in error.error["message"] or someone.name in error.error["message"]
        assert lab.drover("site", "list") and host_of(lab, BESIDE)["state"] == "online"

    def test_fault_42_an_operator_of_one_site_acts_there_only(self, lab, user):
        someone = user("operator", "--site", "lyon")
        assert someone("vm", "start", "here")["state"] == "done"
        assert someone("vm", "stop", "here")["state"] == "done"
        for words in ("vm start away", "vm move here nantes/kvm1 --plan", "vm xml away", "host show nantes/kvm1", "vm show away"):
            assert fails(someone, *words.split()).exit in (4, 5), words
        assert {v["site"] for v in someone("vm", "list")} == {"lyon"}
        assert {h["site"] for h in someone("host", "list")} == {"lyon"}
        ident = lab.drover("vm", "start", "away")["id"]
        assert ident not in [j["id"] for j in someone("job", "list")]
        assert fails(someone, "job", "show", ident).exit in (4, 5)
        lab.drover("vm", "stop", "away")

    def test_fault_44_a_user_that_is_removed_is_cut_at_once(self, lab, user):
        someone = user("operator")
        with wire.Operator(lab, wire.Credentials(someone.directory, "client")) as connection:
            assert connection.ask("host_list")
            lab.drover("user", "rm", someone.name, "--yes")
            said = connection.wait_closed(2)
            assert [wire.Refused(raw).code for number, raw in said if number == 7] == [wire.DENIED]
        error = fails(someone, "vm", "list")
        assert error.exit == 4

    def test_the_last_admin_stays(self, lab):
        admins = [u["name"] for u in lab.drover("user", "list") if u["role"] == "admin" and u["state"] != "invited"]
        assert len(admins) == 1
        assert fails(lab.drover, "user", "rm", admins[0], "--yes").exit in (6, 7)

    def test_a_name_that_is_taken(self, lab, user):
        someone = user("viewer")
        assert fails(lab.drover, "user", "invite", someone.name, "--role", "admin").exit == 6
        assert fails(lab.drover, "user", "rm", "nobody", "--yes").exit == 5


class TestForgery:
    @pytest.mark.parametrize("alpn", [wire.AGENT, wire.OPERATOR, wire.DATA])
    def test_fault_42_without_a_certificate(self, lab, alpn):
        with pytest.raises(wire.Closed):
            with wire.Connection(wire.plain(lab), None, alpn) as connection:
                connection.send({1: wire.pack({1: 1, 2: 1})})
                connection.receive()

    @pytest.mark.parametrize("alpn, uri", [(wire.OPERATOR, "drover://user/root"), (wire.AGENT, "drover://host/{}"), (wire.DATA, "drover://host/{}")])
    def test_fault_42_a_certificate_of_another_authority(self, lab, tmp_path, alpn, uri):
        ours = wire.openssl("x509", "-noout", "-subject", "-nameopt", "oneline", "-in", wire.Credentials(lab.env["DROVER_CONFIG"], "ca").certificate)
        name = re.search(r"CN = ([^,\n]+)", ours.decode()).group(1).strip('"')
        forged = wire.new_certificate(tmp_path, "forged", wire.new_authority(tmp_path, subject=f"/CN={name}"), uri.format(host_of(lab, HERE)["uuid"]))
        with pytest.raises(wire.Closed):
            with wire.Connection(wire.plain(lab), forged, alpn) as connection:
                connection.send({1: wire.pack({1: 1, 2: 1})})
                connection.receive()

    @pytest.mark.parametrize("uri", ["drover://user/root", "drover://host/{}", "drover://controller/{}"])
    def test_fault_42_a_member_cannot_sign_for_another(self, lab, tmp_path, uri):
        member = wire.Credentials.of_host(lab, BESIDE)
        forged = wire.new_certificate(tmp_path, "forged", member, uri.format(host_of(lab, HERE)["uuid"]))
        forged.certificate.write_bytes(forged.certificate.read_bytes() + member.certificate.read_bytes())
        for alpn in (wire.OPERATOR, wire.AGENT):
            with pytest.raises(wire.Closed):
                with wire.Connection(wire.plain(lab), forged, alpn) as connection:
                    connection.send({1: wire.pack({1: 1, 2: 1})})
                    connection.receive()

    def test_fault_44_expired_and_unknown_certificates_of_our_own_authority(self, lab, tmp_path, user):
        authority = wire.Credentials(lab.file("controller", "/var/lib/drover/controller"), "ca")
        someone = user("viewer")
        for name, days in (("expired", -1), ("unknown", 30)):
            made = wire.new_certificate(tmp_path, name, authority, f"drover://user/{someone.name}", days)
            with pytest.raises((wire.Closed, wire.Refused)):
                wire.Operator(lab, made).ask("host_list")

    def test_fault_43_a_host_that_asks_for_another_hosts_certificate_gets_its_own(self, lab, tmp_path):
        lab.kill(BESIDE, "agent")
        try:
            uri = f"drover://host/{host_of(lab, HERE)['uuid']}"
            key, csr = wire.new_csr(tmp_path, uri)
            with wire.Agent(lab, BESIDE) as agent:
                agent.send({10: wire.pack({1: csr})})
                number, raw = agent.receive(skip=(3, 4, 9))
                assert number == 11
                reply = wire.unpack(raw)
            if 1 in reply:
                assert wire.uris_of(reply[1][0]) == [f"drover://host/{host_of(lab, BESIDE)['uuid']}"]
            else:
                assert wire.Refused(reply[3][0]).code in (wire.DENIED, 24)
        finally:
            lab.start(BESIDE, "agent")
            lab.wait_online()


class TestAudit:
    def test_who_asked_for_what_and_how_it_ended(self, lab, user):
        ann, bob = user("operator"), user("viewer")
        ident = ann("vm", "start", "here", "--detach")["id"]
        wait_for("done", 10, lambda: lab.drover("job", "show", ident)["state"] == "done")
        fails(bob, "vm", "stop", "here")
        fails(bob, "user", "invite", "eve", "--role", "admin")
        fails(ann, "vm", "start", "no-such-vm")
        rows = lab.drover("audit", "list")
        mine = next(r for r in rows if r["user"] == ann.name and r["job"] == ident)
        assert mine["role"] == "operator" and "here" in mine["object"] and "start" in mine["verb"] and mine["address"]
        assert abs(datetime.fromisoformat(mine["at"].replace("Z", "+00:00")).timestamp() - time.time()) < 60
        denied = [r for r in rows if r["user"] == bob.name and r["outcome"] == "denied"]
        assert any("stop" in r["verb"] and "here" in r["object"] for r in denied)
        assert any("invite" in r["verb"] and "eve" in r["object"] for r in denied)
        assert any(r["user"] == ann.name and r["object"] == "no-such-vm" and r["outcome"] == "not-found" for r in rows)
        assert lab.drover("job", "show", ident)["user"] == ann.name
        lab.drover("vm", "stop", "here")

    def test_it_holds_joins_and_logins_and_refused_ones(self, lab, user):
        ann = user("viewer")
        token = lab.drover("host", "invite", "lyon/audited")["token"]
        assert join(lab, BESIDE, token, "/var/lib/drover/audited").returncode == 0
        assert join(lab, BESIDE, token, "/var/lib/drover/audited-2").returncode == 4
        lab.drover("host", "rm", "lyon/audited", "--yes")
        text = json.dumps(lab.drover("audit", "list", "--limit", "30"))
        assert ann.name in text and text.count("lyon/audited") >= 3
        assert token not in text and "DRV1" not in text

    def test_no_secret_is_in_any_log(self, lab):
        token = lab.drover("host", "invite", "lyon/logged")["token"]
        assert join(lab, BESIDE, token, "/var/lib/drover/logged").returncode == 0
        lab.drover("host", "rm", "lyon/logged", "--yes")
        secret = wire.token_fields(token)[4][0]
        for node in ("controller", BESIDE):
            log = lab.log(node)
            assert token not in log and secret.hex() not in log and "PRIVATE KEY" not in log
        assert token not in lab.exec("controller", "sh", "-c", "cat /var/lib/drover/controller/*.db* | strings", check=False).stdout
        databases = b"".join(p.read_bytes() for p in lab.file("controller", "/var/lib/drover/controller").glob("*db*"))
        assert databases and secret not in databases and secret.hex().encode() not in databases


class TestTheEnd:
    """Certificates that live for seconds. Last in this file, since it changes the controller's settings."""

    SECONDS = 12

    @pytest.fixture(scope="class", autouse=True)
    def seconds(self, lab):
        lab.kill("controller")
        lab.file("controller", "/etc/drover/controller.yaml").write_text(f"certificate_seconds: {self.SECONDS}\n")
        lab.start("controller")
        lab.wait_online()

    def test_certificates_renew_by_themselves_without_a_break(self, lab, extra, user):
        """A host and an operator who join now see three certificates each, and nobody is offline meanwhile."""
        name, state, run = extra
        run()
        wait_for("online", 15, lambda: host_of(lab, name)["state"] == "online")
        someone, ends, certificates = user("viewer"), set(), set()
        known(lab, "away")

        def three():
            hosts = {f"{h['site']}/{h['name']}": h for h in someone("host", "list")}
            away = {n: h for n, h in hosts.items() if h["state"] == "offline"}
            assert not away, (away, lab.file(AWAY, "/var/lib/drover/extra.log").read_text()[-1500:], lab.log("controller")[-1500:])
            ends.add(hosts[name]["certificate_expires_at"])
            certificates.add((someone.directory / "client.crt").read_text())
            return len(ends) >= 3 and len(certificates) >= 3

        wait_for("three certificates each", 4 * self.SECONDS, three, interval=0.5)
        log = lab.file(AWAY, "/var/lib/drover/extra.log").read_text().rsplit("info: started", 1)[1]
        assert log.count("certificate renewed") >= 2 and log.count("info: connected") == 1, log
        define(lab, AWAY, domain_xml("newcomer"))
        wait_for("still live", 1, lambda: host_of(lab, name)["vms"] >= 1)

    def test_fault_44_an_operator_whose_certificate_ends_while_connected_is_cut(self, lab, tmp_path):
        token = lab.drover("user", "invite", "short", "--role", "viewer")["token"]
        operator, done = login(lab, token, tmp_path / "short")
        assert done.returncode == 0
        with wire.Operator(lab, wire.Credentials(operator.directory, "client")) as connection:
            assert connection.ask("host_list")
            wait_for("the certificate's end", self.SECONDS + 5, lambda: ended(operator.directory / "client.crt"))
            said = connection.wait_closed(10)
            assert [wire.Refused(raw).code for number, raw in said if number == 7] == [wire.DENIED]
        assert fails(operator, "vm", "list").exit == 4


def ended(certificate):
    return subprocess.run(["openssl", "x509", "-noout", "-checkend", "0", "-in", certificate], stdout=subprocess.DEVNULL).returncode != 0
