"""Who may reach whom, by the network policies as Kubernetes reads them."""

import json

from render import KINDS, fits, pods


def reaches(policies, labels, port, peer=None):
    """Whether pods with these labels may open a connection to this port: wherever it is, or of pods with the peer's."""
    for policy in policies:
        spec = policy["spec"]
        if not fits(spec["podSelector"], labels):
            continue
        for rule in spec.get("egress", []):
            open_port = not rule.get("ports") or any(p.get("port") == port for p in rule["ports"])
            if open_port and (peer is None or leads_to(rule.get("to"), peer)):
                return True
    return False


def leads_to(peers, labels):
    """Whether one of a rule's peers is the pods of this namespace with these labels; without peers it is everybody."""
    here = [one for one in peers or [] if "podSelector" in one and "namespaceSelector" not in one]
    return not peers or any(fits(one["podSelector"], labels) for one in here)


def lets_in(policies, labels, port, peer):
    """Whether pods with these labels take a connection on this port from pods with the peer's."""
    for policy in policies:
        spec = policy["spec"]
        if not fits(spec["podSelector"], labels):
            continue
        for rule in spec.get("ingress", []):
            open_port = not rule.get("ports") or any(p.get("port") == port for p in rule["ports"])
            if open_port and leads_to(rule.get("from"), peer):
                return True
    return False


def network(chart):
    """Everything is closed first; then who reaches what is this table and no more."""
    faults, checked = [], 0
    for name in ("minimal", "full", "production"):
        objects = chart.objects(chart.sets[name])
        policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
        redis = "PARCOURS_REDIS_URL" in json.dumps(objects)
        labels = {w.split("-")[-1]: t["metadata"]["labels"] for w, t in pods(objects)}
        nothing = policies[0]["spec"]
        if nothing.get("egress") or nothing.get("ingress") or set(nothing["policyTypes"]) != {"Ingress", "Egress"}:
            faults.append(f"{name}: the first policy is not that nothing goes")
        for kind, own in labels.items():
            if not fits(nothing["podSelector"], own):
                faults.append(f"{name}: {kind} is not closed first")
            process, client = kind in KINDS, kind == "roundtrip"
            table = [
                (reaches(policies, own, 5432), not client, "the database"),
                (reaches(policies, own, "http"), client, "the API and the links"),
                (reaches(policies, own, 53), True, "names"),
                (reaches(policies, own, 6379), process and redis, "Redis"),
                (reaches(policies, own, 25), kind == "delivery", "SMTP"),
                (reaches(policies, own, "rpc"), process, "workers"),
                (reaches(policies, own, 443), False, "the web"),
            ]
            peers = [(k, labels[k]) for k in labels] + [("a stranger", {"app": "other"})]
            for peer, theirs in peers:
                table += [
                    (reaches(policies, own, "rpc", theirs), process and peer == "worker", f"rpc of {peer}"),
                    (reaches(policies, own, "http", theirs), client and peer in ("gateway", "consent"), f"HTTP of {peer}"),
                    (lets_in(policies, own, "rpc", theirs), kind == "worker" and peer in KINDS, f"rpc from {peer}"),
                    (
                        lets_in(policies, own, "http", theirs),
                        kind in ("gateway", "consent") and (name == "minimal" or peer == "roundtrip"),
                        f"HTTP from {peer}",
                    ),
                ]
            for is_so, should, what in table:
                checked += 1
                if is_so != should:
                    faults.append(f"{name}: {kind} and {what}: {is_so}, not {should}")
    return checked, faults
