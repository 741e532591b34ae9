"""What may be said to the chart: every value has an effect, what is unknown or wrong is refused."""

import copy

import helm_python as helm

from render import KINDS, at, leaves, maps, merged, put, refusal

# Paths that say nothing by themselves, with what must be set beside them to see a difference.
BESIDE = {
    "secrets.databaseUrl.value": {"secrets": {"databaseUrl": {"existingSecret": "", "value": "one"}}},
    "secrets.rootKey.value": {"secrets": {"rootKey": {"existingSecret": "", "value": "one"}}},
    "secrets.redisUrl.value": {"secrets": {"redisUrl": {"existingSecret": ""}}},
    "gateway.replicas": {"gateway": {"autoscaling": {"enabled": False}}},
    "nameOverride": {"fullnameOverride": ""},
}

# Where a value that only differs would be refused, one that is right and differs.
INSTEAD = {
    "image.digest": "sha256:" + "a" * 64,
    "image.pullPolicy": "Never",
    "ipFamily": "IPv6",
    "settings.otlp": "http://other:4317",
    "settings.traceShare": 0.2,
    "service.type": "NodePort",
    "serviceAccount.annotations": {"a": "b"},
    "common.podDisruptionBudget.maxUnavailable": 2,
    "networkPolicy.smtp.ports": [2525],
    "backup.enabled": False,
    "roundtrip.links": "https://other.example",
    "common.topologySpread": [],
}


def another(path, value):
    dotted = ".".join(path)
    if dotted in INSTEAD:
        return INSTEAD[dotted]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return "other" if not dotted.endswith("tlsSecret") else "other-tls"
    raise ValueError(f"{dotted}: say in INSTEAD what to try for {value!r}")


SAMPLES = {
    "hosts": ["more.example.com"],
    "parentRefs": [{"name": "other"}],
    "tolerations": [{"key": "other", "operator": "Exists"}],
    "extraEnv": [{"name": "OTHER", "value": "1"}],
    "extraVolumes": [{"name": "other", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "other", "mountPath": "/other"}],
    "affinity": {"podAffinity": {}},
    "resources": {"requests": {"cpu": "7"}},
    "imagePullSecrets": ["other"],
    "extraEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}],
    "to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
    "ingressFrom": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
    "metricsFrom": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
}


def effects(chart):
    """Each value has an effect on what is rendered, with everything switched on."""
    faults, checked = [], 0
    full = merged(chart.defaults, chart.sets["full"])
    all_on = chart.text(full)
    paths = list(leaves(chart.defaults))
    # What all kinds have in common may be said for each.
    own = [(key, value) for key, value in leaves(chart.defaults["common"])]
    for kind in KINDS:
        paths += [((kind,) + key, value) for key, value in own if key[0] != "topologySpread"]
    for path, _ in paths:
        beside = merged(full, BESIDE.get(".".join(path), {}))
        if path[1:2] == ("autoscaling",) and path[2] != "enabled":
            scaled = path[0] if path[0] in KINDS else "worker"
            put(beside, (scaled, "autoscaling", "enabled"), True)
        now = at(beside, path)
        if now is None:  # a kind's own value, which is the common one until it is said
            now = at(beside["common"], path[1:])
        if isinstance(now, (dict, list)):
            value = INSTEAD.get(".".join(path), SAMPLES.get(path[-1], {"other": "1"}))
        else:
            value = another(path, now)
        changed = copy.deepcopy(beside)
        put(changed, path, value)
        checked += 1
        try:
            text = chart.text(beside) if beside != full else all_on
            if text == chart.text(changed):
                faults.append(f"{'.'.join(path)} has no effect ({now!r} -> {value!r})")
        except helm.HelmError as error:
            faults.append(f"{'.'.join(path)} = {value!r} is refused: {str(error)[:300]}")
    return checked, faults


def schema(chart):
    """Every map refuses a key that it does not know, and every value another type."""
    faults, checked = [], 0
    base = merged(chart.defaults, chart.sets["minimal"])
    free = {"annotations", "labels", "podAnnotations", "podLabels", "nodeSelector", "affinity"}
    for path in maps(chart.defaults):
        if path and path[-1] in free:
            continue
        wrong = copy.deepcopy(base)
        put(wrong, path + ("unheardOf",), "x")
        checked += 1
        if not refusal(lambda: chart.chart.render(wrong)):
            faults.append(f"{'.'.join(path) or 'the top'} takes a key that it does not know")
    for path, value in leaves(chart.defaults):
        wrong = copy.deepcopy(base)
        put(wrong, path, 5 if isinstance(value, str) else "wrong")
        checked += 1
        if path[-1] != "maxUnavailable" and not refusal(lambda: chart.chart.render(wrong)):
            faults.append(f"{'.'.join(path)} takes a value of another type")
    return checked, faults


def guards(chart):
    """What contradicts itself is refused with a sentence that says what to do."""
    minimal = chart.sets["minimal"]
    shut = {"enabled": True, "existingClaim": "backups"}
    cases = [
        ({"secrets": {"databaseUrl": {"existingSecret": ""}}}, "secrets.databaseUrl.value"),
        ({"secrets": {"rootKey": {"existingSecret": ""}}}, "secrets.rootKey.existingSecret"),
        ({"secrets": {"rpc": {"existingSecret": ""}}}, "secrets.rpc.existingSecret"),
        ({"delivery": {"terminationGracePeriodSeconds": 30}}, "must be at least 620"),
        ({"worker": {"preStopSeconds": 20}}, "must be at least 70"),
        ({"common": {"autoscaling": {"enabled": True, "minReplicas": 9}}}, "minReplicas is above"),
        ({"gateway": {"autoscaling": {"enabled": True}}}, "gateway.resources.requests.cpu"),
        ({"monitoring": {"podMonitor": {"enabled": True}}}, "networkPolicy.metricsFrom"),
        ({"ingress": {"enabled": True}}, "ingress.public.hosts"),
        ({"httpRoute": {"enabled": True, "api": {"hosts": ["a.example"]}}}, "httpRoute.parentRefs"),
        ({"ingress": {"enabled": True, "api": {"hosts": ["a.example"]}, "public": {"hosts": ["a.example"]}}}, "would be public"),
        ({"backup": {"enabled": True}}, "backup.existingClaim"),
        ({"backup": shut}, "backup.passphrase.existingSecret"),
        ({"roundtrip": {"enabled": True}}, "roundtrip.adminKey.existingSecret"),
    ]
    faults = []
    for change, sentence in cases:
        said = refusal(lambda: chart.chart.render(merged(minimal, change))) or "nothing"
        if sentence not in said:
            faults.append(f"{change}: expected {sentence!r}, said: {said[:300]}")
    return len(cases), faults
