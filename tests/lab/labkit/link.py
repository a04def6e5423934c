# SPDX-License-Identifier: LGPL-2.1-or-later
"""A site's link to the others: its rate, its latency, whether it is up, and who may call in.

The rate is a token bucket at both ends. A latency needs a relay in user space (`delay.c`), because not every kernel has
netem: while there is one, the site's traffic goes through two TUN devices and the relay between them. A link that is
down loses every packet without a word, as a cut cable far away does.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit import enter, image, network, shell
from labkit.enter import Service, wait_for
from labkit.shell import Failure
from labkit.state import write_whole

DELAY_SOURCE = Path(__file__).resolve().parent.parent / "delay.c"


@dataclass
class Link:
    rate: str = "none"
    latency_ms: float = 0
    up: bool = True
    inbound: bool = True


def load(lab, site):
    if site not in lab.sites:
        raise Failure(f"no site '{site}' in lab '{lab.name}'; there are {', '.join(lab.sites)}")
    try:
        return Link(**json.loads(record(lab, site).read_text()))
    except FileNotFoundError:
        return Link()


def record(lab, site):
    return lab.node_dir(lab.nodes["backbone"]) / f"link-{site}.json"


def describe(site, link):
    rate = "no limit" if link.rate == "none" else link.rate
    inbound = "inbound allowed" if link.inbound else "no inbound"
    return f"{site}: {'up' if link.up else 'down'}, rate {rate}, latency {link.latency_ms:g} ms, {inbound}"


def change(lab, site, **wanted):
    """Bring the link into a new state; only what is given and different is touched."""
    before = load(lab, site)
    after = Link(**{**asdict(before), **wanted})
    parse_rate(after.rate)
    if after.latency_ms != before.latency_ms:
        set_latency(lab, site, after.latency_ms)
    if (after.rate, after.latency_ms) != (before.rate, before.latency_ms):
        set_rate(lab, site, after)
    if (after.up, after.inbound) != (before.up, before.inbound):
        set_filter(lab, site, after)
    write_whole(record(lab, site), json.dumps(asdict(after)))
    return after


def reset(lab, site):
    """Reset every TCP connection between a host of the site and anybody beyond: both ends get an error at once, wherever they are
    in what they say."""
    inside = f"10.78.{lab.sites[site]}."
    for node in lab.hosts:
        if node.site == site:
            listing = enter.attempt(node, "ss", "-H", "-t", "-n", "state", "connected").stdout
            pairs = re.findall(r"^\S+ +\d+ +\d+ +\S+:(\d+) +\[?(?:::ffff:)?([\d.]+)\]?:(\d+)", listing, re.M)
            ports = [f"( sport = :{ours} and dport = :{theirs} )" for ours, peer, theirs in pairs if not peer.startswith((inside, "127."))]
            if ports:
                # It complains of what it meets of the other family, and has done its work by then.
                for family in ("-4", "-6"):
                    enter.attempt(node, "ss", family, "-t", "-n", "-K", " or ".join(ports))


def ends(lab, site, link):
    """The (namespace, interface) pairs through which the site's traffic leaves and comes."""
    number = lab.sites[site]
    pairs = [(network.router_of(site), "uplink"), ("backbone", f"site{number}")]
    if link.latency_ms:
        pairs += [(network.router_of(site), "delay"), ("backbone", f"delay{number}")]
    return pairs


def in_backbone(lab, *argv, input=None):
    return enter.run(lab.nodes["backbone"], *argv, input=input)


def ip_batch(lab, netns, *lines):
    in_backbone(lab, "ip", "-n", netns, "-batch", "-", input="\n".join(lines) + "\n")


def parse_rate(rate):
    """Bits a second, or None for no limit."""
    if rate == "none":
        return None
    found = re.fullmatch(r"(\d+)([kmg]?)bit", rate.lower())
    if not found or int(found.group(1)) == 0:
        raise Failure(f"--rate {rate!r}: write it as '100mbit', '512kbit', '1gbit' or 'none'")
    return int(found.group(1)) * {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[found.group(2)]


def set_rate(lab, site, link):
    bits = parse_rate(link.rate)
    for netns, device in ends(lab, site, link):
        if bits is None:
            enter.attempt(lab.nodes["backbone"], "tc", "-n", netns, "qdisc", "del", "dev", device, "root")
        else:
            burst = max(8192, bits // 8 // 250)
            in_backbone(lab, "tc", "-n", netns, "qdisc", "replace", "dev", device, "root", "tbf", "rate", f"{bits}bit",
                        "burst", f"{burst}b", "latency", "100ms")


def set_latency(lab, site, milliseconds):
    """Half of it each way: what `ping` shows grows by the whole of it."""
    number = lab.sites[site]
    relay = delay_relay(lab, site, milliseconds)
    if relay.alive():
        switch(lab, site, "uplink", f"site{number}")
        relay.kill("KILL")
    if milliseconds:
        relay.start()
        wait_for(f"{site}: the delay's devices", 5, lambda: devices_exist(lab, site))
        ip_batch(lab, network.router_of(site), "link set delay up txqueuelen 1000")
        ip_batch(lab, "backbone", f"link set delay{number} up txqueuelen 1000")
        switch(lab, site, "delay", f"delay{number}")


def delay_relay(lab, site, milliseconds):
    number = lab.sites[site]
    return Service(lab, lab.nodes["backbone"], f"delay-{site}", [
        delay_program(), f"{milliseconds / 2:.3f}",
        f"/run/netns/{network.router_of(site)}", "delay", "/run/netns/backbone", f"delay{number}"])


def delay_program():
    """The relay, compiled once into the cache."""
    digest = hashlib.sha256(DELAY_SOURCE.read_bytes()).hexdigest()[:16]
    program = image.cache_dir() / f"delay-{digest}"
    if not program.exists():
        with image.build_dir() as work:
            shell.run("gcc", "-O2", "-std=gnu17", "-o", f"{work}/delay", DELAY_SOURCE)
            Path(f"{work}/delay").rename(program)
    return program


def devices_exist(lab, site):
    script = f"ip -n {network.router_of(site)} link show delay && ip -n backbone link show delay{lab.sites[site]}"
    return enter.attempt(lab.nodes["backbone"], "sh", "-c", script).returncode == 0


def switch(lab, site, router_side, backbone_side):
    for netns, line in network.uplink_routes(site, lab.sites[site], router_side, backbone_side):
        ip_batch(lab, netns, line)


def set_filter(lab, site, link):
    rules = ["drop"] if not link.up else [] if link.inbound else [
        'iifname { "uplink", "delay" } tcp flags & (syn | ack) == syn drop']
    script = ["table inet lab", "delete table inet lab", "table inet lab {",
              "chain forward {", "type filter hook forward priority 0;", *rules, "}", "}"]
    in_backbone(lab, "nsenter", f"--net=/run/netns/{network.router_of(site)}", "nft", "-f", "-",
                input="\n".join(script) + "\n")
