# SPDX-License-Identifier: LGPL-2.1-or-later
"""A row of figures: {name, value, unit, runs, peer, peer_value, peer_runs, ratio, at_most, reached, notes}, and the table of them."""

import statistics


def row(name, values, unit, at_most=None, peer=None, peer_values=None, **notes):
    """`at_most` bounds the ratio to the peer, or the value itself without one. No bound: only shown. `notes`: for who asks why."""
    value = statistics.median(values)
    peer_value = statistics.median(peer_values) if peer_values else None
    judged = ratio(values, peer_values) if peer_values else value
    return {"name": name, "value": round(value, 4), "unit": unit, "runs": [round(v, 4) for v in values], "peer": peer,
            "peer_value": peer_value and round(peer_value, 4), "peer_runs": [round(v, 4) for v in peer_values or []],
            "ratio": round(judged, 4) if peer_values else None, "at_most": at_most, "reached": at_most is None or judged <= at_most,
            "notes": notes}


def ratio(values, peer_values):
    """Runs that were taken in turn are compared pair by pair: both of a pair met the same machine. Else the medians are."""
    if len(values) == len(peer_values):
        return statistics.median(v / p for v, p in zip(values, peer_values))
    return statistics.median(values) / statistics.median(peer_values)


def failed(name, why):
    """A row that could not be measured counts as not reached."""
    return {"name": name, "value": None, "unit": "", "runs": [], "peer": None, "peer_value": None, "peer_runs": [], "ratio": None,
            "at_most": None, "reached": False, "notes": {"failed": why}}


def print_table(results):
    print(f"{'':44}{'drover':>12}  {'peer':>10}  {'ratio':>6}  {'at most':>7}")
    for r in results:
        if r["value"] is None:
            print(f"{r['name']:44} NOT MEASURED: {r['notes']['failed']}")
            continue
        peer = f"{r['peer_value']:.2f} {r['unit']}" if r["peer_value"] else ""
        against = f"{r['ratio']:.3f}" if r["ratio"] else ""
        bound = f"{r['at_most']:.3g}" if r["at_most"] is not None else ""
        mark = "" if r["reached"] else "   NOT REACHED"
        print(f"{r['name']:44}{r['value']:>9.2f} {r['unit']:<3} {peer:>10}  {against:>6}  {bound:>7}{mark}")
        if r["peer"]:
            print(f"    beside {r['peer']}")
