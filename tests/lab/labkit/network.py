# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab's network, built by the keeper: a router a site, a backbone between them, the controller behind it.

    hosts -- br0 ... lan [router of the site] uplink ... siteN [backbone] hq ... wan [controller] op ... drlabN (this machine)

A site is 10.78.N.0/24, its uplink 10.78.0.(4N)/30. These are the same in every lab, for nothing leaves its namespaces.
Only the controller's 10.77.LAB.2 is seen from this machine, over the one interface that the lab has there; its name,
drlabLAB, is what keeps two labs from taking one number, and it goes away with the controller's namespace.
"""

import subprocess

from labkit import space
from labkit.shell import Failure, run

LABS = range(1, 250)


def build(lab):
    """Build everything; sets the lab's number. Runs in the keeper, where /run/netns is private."""
    batch(None, [f"netns add {name}" for name in namespaces(lab)])
    lab.number = claim_number()
    connect_controller(lab)
    for site, number in lab.sites.items():
        connect_site(site, number)
    for node in lab.hosts:
        connect_host(node, first=node.site_number == 1 and node.host_number == 1)
    for router in ["backbone", *map(router_of, lab.sites)]:
        write_sysctl(router, "net/ipv4/ip_forward", "1")


def router_of(site):
    return f"router.{site}"


def namespaces(lab):
    return ["backbone", "controller", *map(router_of, lab.sites), *(n.netns for n in lab.hosts)]


def claim_number():
    for number in LABS:
        made = subprocess.run(["ip", "link", "add", f"drlab{number}", "type", "veth", "peer", "name", "op", "netns",
                               "controller"], stderr=subprocess.PIPE, text=True)
        if made.returncode == 0:
            return number
        if "exists" not in made.stderr:
            raise Failure(f"ip link add drlab{number}: {made.stderr.strip()}")
    raise Failure(f"{len(LABS)} labs are up already")


def release_number(number):
    subprocess.run(["ip", "link", "del", f"drlab{number}"], stderr=subprocess.DEVNULL)


def connect_controller(lab):
    batch(None, [f"addr add 10.77.{lab.number}.1/30 dev drlab{lab.number}", f"link set drlab{lab.number} up"])
    batch("backbone", [
        "link set lo up",
        "link add hq type veth peer name wan netns controller",
        "addr add 10.78.255.1/30 dev hq",
        "link set hq up",
    ])
    batch("controller", [
        "link set lo up",
        f"addr add {lab.controller_address}/30 dev op",
        "link set op up",
        "addr add 10.78.255.2/30 dev wan",
        "link set wan up",
        f"route add default via 10.78.255.1 src {lab.controller_address}",
    ])
    batch("backbone", [f"route add {lab.controller_address}/32 via 10.78.255.2"])


def connect_site(site, number):
    batch("backbone", [
        f"link add site{number} type veth peer name uplink netns {router_of(site)}",
        f"addr add 10.78.0.{4 * number + 1}/30 dev site{number}",
        f"link set site{number} up",
    ])
    batch(router_of(site), [
        "link set lo up",
        "link add lan type bridge",
        f"addr add 10.78.{number}.1/24 dev lan",
        "link set lan up",
        f"addr add 10.78.0.{4 * number + 2}/30 dev uplink",
        "link set uplink up",
    ])
    for netns, line in uplink_routes(site, number, "uplink", f"site{number}"):
        batch(netns, [line])


def uplink_routes(site, number, router_side, backbone_side):
    """(namespace, line for ip) that send the site's traffic over this pair of interfaces."""
    via_backbone = f"via 10.78.0.{4 * number + 1} " if router_side == "uplink" else ""
    via_router = f"via 10.78.0.{4 * number + 2} " if router_side == "uplink" else ""
    return [(router_of(site), f"route replace default {via_backbone}dev {router_side}"),
            ("backbone", f"route replace 10.78.{number}.0/24 {via_router}dev {backbone_side}")]


def connect_host(node, first):
    port = f"port{node.host_number}"
    batch(router_of(node.site), [
        f"link add {port} type veth peer name eth0 netns {node.netns}",
        f"link set {port} master lan",
        f"link set {port} up",
    ])
    batch(node.netns, [
        "link set lo up",
        "link add br0 type bridge",
        *(["link add br1 type bridge", "link set br1 up"] if first else []),
        "link set eth0 master br0",
        "link set eth0 up",
        f"addr add {node.address}/24 dev br0",
        "link set br0 up",
        f"route add default via {node.gateway}",
    ])


def batch(netns, lines):
    where = ["-n", netns] if netns else []
    run("ip", *where, "-batch", "-", input="\n".join(lines) + "\n")


def write_sysctl(netns, name, value):
    """Set a kernel parameter of one network namespace; the calling thread steps in and back out."""
    with open("/proc/self/ns/net") as home:
        space.enter(f"/run/netns/{netns}", space.CLONE_NEWNET)
        try:
            with open(f"/proc/sys/{name}", "w") as parameter:
                parameter.write(value)
        finally:
            space.setns(home.fileno(), space.CLONE_NEWNET)
