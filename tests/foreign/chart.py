"""Checks of the Helm chart, with Helm itself as a library and Kubernetes' own schemas.

    chart.py CHECK CHART SETS      answers {"checked": number, "faults": [sentence, ...]}

CHECK is one of the functions at the end. SETS is the folder with sets of values; `golden` compares
with the renderings kept beside it, or writes them when PARCOURS_BLESS is set.
"""

import copy
import difflib
import json
import os
import pathlib
import re
import sys

import helm_python as helm
import kubernetes_validate
import yaml

KINDS = ["gateway", "worker", "delivery", "consent"]
VERSIONS = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
# Kinds that Kubernetes itself does not have; their fields are checked by the goldens alone.
CUSTOM = {"PodMonitor", "PrometheusRule", "HTTPRoute"}


class Strict(yaml.SafeLoader):
    """Refuses a key that stands twice in one map."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"{key} stands twice, {node.start_mark}")
        return super().construct_mapping(node, deep)


class Chart:
    def __init__(self, path, sets):
        self.path, self.folder = path, pathlib.Path(sets)
        self.chart = helm.Chart.load(path)
        self.sets = {file.stem: yaml.load(file.read_text(), Strict) for file in sorted(self.folder.glob("*.yaml"))}
        production = pathlib.Path(path, "values-production.yaml")
        self.sets["production"] = yaml.load(production.read_text(), Strict)
        self.defaults = yaml.load(pathlib.Path(path, "values.yaml").read_text(), Strict)

    def files(self, values):
        rendered = self.chart.render(values, name="shop", namespace="marketing", is_install=True)
        return {pathlib.Path(name).name: text for name, text in rendered.items()}

    def text(self, values):
        """All that is rendered, in an order of its own, as one text."""
        parts = []
        for name, text in sorted(self.files(values).items()):
            if text.strip():
                parts.append(f"# {name}\n{text.strip()}\n")
        return "\n".join(line.rstrip() for line in "\n".join(parts).splitlines()) + "\n"

    def objects(self, values):
        found = []
        for name, text in sorted(self.files(values).items()):
            if name.endswith(".yaml"):
                found += [one for one in yaml.load_all(text, Strict) if one]
        return found


def pods(objects):
    """(kind/name, pod template) of everything that makes pods."""
    for one in objects:
        spec = one.get("spec", {})
        if one["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            yield f"{one['kind']}/{one['metadata']['name']}", spec["template"]


def merged(base, over):
    out = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(out.get(key), dict) and isinstance(value, dict)
        out[key] = merged(out[key], value) if both else copy.deepcopy(value)
    return out


def leaves(value, path=()):
    """The paths of everything that is no map, and of empty maps."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, path + (key,))
    else:
        yield path, value


def put(values, path, value):
    inner = values
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value


def at(values, path):
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def refusal(work):
    """What is said when something is refused; None when it is not."""
    try:
        work()
    except helm.HelmError as error:
        return str(error)
    return None


# --- the checks


def brief(text):
    """Without what `monitored` compares: the alert rules and the dashboard."""
    text = re.sub(r"\n  groups:\n(?:  .*\n|\n)*", "\n  groups: (files/alerts.yaml)\n", text)
    return re.sub(r"(parcours.json: \|-\n)(?:    .*\n)*", r"\1    (files/dashboard.json)\n", text)


def golden(chart):
    """Each set renders what is kept."""
    faults = []
    for name, values in chart.sets.items():
        kept = chart.folder.parent / "golden" / f"{name}.yaml"
        text = brief(chart.text(values))
        if os.environ.get("PARCOURS_BLESS"):
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(text)
        old = kept.read_text() if kept.exists() else ""
        diff = list(difflib.unified_diff(old.splitlines(), text.splitlines(), "kept", name, lineterm="", n=2))
        if diff:
            faults.append(f"{name}:\n" + "\n".join(diff[:60]))
    return len(chart.sets), faults


def lint(chart):
    """Helm's own linter, strictly, for the oldest and the newest Kubernetes."""
    faults, checked = [], 0
    for name, values in chart.sets.items():
        for version in (VERSIONS[0], VERSIONS[-1]):
            report = helm.lint(chart.path, values, strict=True, kube_version=f"v{version}.0")
            checked += 1
            worse = [m for m in report["messages"] if m["severity"] >= 2]
            faults += [f"{name}, {version}: {m['path']}: {m['error']}" for m in worse]
            faults += [f"{name}, {version}: {error}" for error in report["errors"]]
    return checked, faults


def kubernetes(chart):
    """Every object fits the schemas of these versions; an unknown field does not."""
    faults, checked = [], 0
    for name, values in chart.sets.items():
        for one in chart.objects(values):
            if one["kind"] in CUSTOM:
                continue
            for version in VERSIONS:
                checked += 1
                try:
                    kubernetes_validate.validate(one, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    where = f"{one['kind']}/{one['metadata']['name']}"
                    faults.append(f"{name}, {version}, {where}: {error.message[:200]}")
    broken = next(one for one in chart.objects(chart.sets["minimal"]) if one["kind"] == "Deployment")
    broken["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
    try:
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)
        faults.append("a field that does not exist was not seen")
    except kubernetes_validate.ValidationError:
        pass
    return checked, faults


def restricted(chart):
    """The restricted pod security standard, and what we ask beyond it, on every pod."""
    faults, checked = [], 0
    for name, values in chart.sets.items():
        for where, template in pods(chart.objects(values)):
            checked += 1
            faults += [f"{name}, {where}: {fault}" for fault in pod_faults(template["spec"])]
    return checked, faults


VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def pod_faults(spec):
    security = spec.get("securityContext", {})
    rules = {
        "a token of the cluster": spec.get("automountServiceAccountToken") is False,
        "service links": spec.get("enableServiceLinks") is False,
        "the host's network": not any(spec.get(k) for k in ("hostNetwork", "hostPID", "hostIPC")),
        "seccomp": security.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
        "root in the pod": security.get("runAsNonRoot") is True and security.get("runAsUser") != 0,
        "a kind of volume": all(set(v) - {"name"} <= VOLUMES for v in spec.get("volumes", [])),
        "sysctls": not security.get("sysctls"),
    }
    for container in spec["containers"] + spec.get("initContainers", []):
        own = container.get("securityContext", {})
        caps = own.get("capabilities", {})
        rules |= {
            "privilege escalation": own.get("allowPrivilegeEscalation") is False,
            "privileged": not own.get("privileged"),
            "a writable root": own.get("readOnlyRootFilesystem") is True,
            "root": own.get("runAsNonRoot") is True and own.get("runAsUser") != 0,
            "capabilities": caps.get("drop") == ["ALL"] and set(caps.get("add", [])) <= {"NET_BIND_SERVICE"},
            "a host's port": not any("hostPort" in port for port in container.get("ports", [])),
            "a shell": "command" not in container,
        }
    return [f"not restricted: {rule}" for rule, kept in rules.items() if not kept]


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
    "service.type": "NodePort",
    "serviceAccount.annotations": {"a": "b"},
    "common.podDisruptionBudget.maxUnavailable": 2,
    "networkPolicy.smtp.ports": [2525],
    "backup.enabled": False,
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


def maps(value, path=()):
    """The paths of all maps whose keys the chart defines."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            yield from maps(inner, path + (key,))


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
        ({"ingress": {"enabled": True}}, "ingress.public.hosts"),
        ({"httpRoute": {"enabled": True, "api": {"hosts": ["a.example"]}}}, "httpRoute.parentRefs"),
        ({"ingress": {"enabled": True, "api": {"hosts": ["a.example"]}, "public": {"hosts": ["a.example"]}}}, "would be public"),
        ({"backup": {"enabled": True}}, "backup.existingClaim"),
        ({"backup": shut}, "backup.passphrase.existingSecret"),
    ]
    faults = []
    for change, sentence in cases:
        said = refusal(lambda: chart.chart.render(merged(minimal, change))) or "nothing"
        if sentence not in said:
            faults.append(f"{change}: expected {sentence!r}, said: {said[:300]}")
    return len(cases), faults


def secrets(chart):
    """What is given in plain text stands in secrets only; an existing secret wins over a value."""
    faults, checked = [], 0
    for name in ("plain", "full"):
        for one in chart.objects(chart.sets[name]):
            checked += 1
            if one["kind"] != "Secret" and "canary" in json.dumps(one):
                faults.append(f"{name}: a secret stands in {one['kind']}/{one['metadata']['name']}")
    kept = [one for one in chart.objects(chart.sets["plain"]) if one["kind"] == "Secret"]
    text = json.dumps(kept)
    for word in ("canary-database", "canary-root-key", "canary-rpc", "canary-redis"):
        if word not in text:
            faults.append(f"{word} is in no secret")
    root = next(one for one in kept if "canary-root-key" in json.dumps(one))
    if root["metadata"].get("annotations", {}).get("helm.sh/resource-policy") != "keep":
        faults.append("the root key goes with the release")
    both = merged(chart.sets["plain"], chart.sets["minimal"])
    text = chart.text(both)
    for word in ("canary-database", "canary-root-key", "canary-rpc"):
        if word in text:
            faults.append(f"{word} is rendered although an existing secret is named")
    return checked, faults


def reaches(policies, labels, port):
    """Whether pods with these labels may open a connection to this port, wherever it is."""
    for policy in policies:
        spec = policy["spec"]
        if not fits(spec["podSelector"], labels):
            continue
        for rule in spec.get("egress", []):
            if not rule.get("ports") or any(p.get("port") == port for p in rule["ports"]):
                return True
    return False


def lets_in(policies, labels, port, peer):
    """Whether pods with these labels take a connection on this port from pods with the peer's."""
    for policy in policies:
        spec = policy["spec"]
        if not fits(spec["podSelector"], labels):
            continue
        for rule in spec.get("ingress", []):
            open_port = not rule.get("ports") or any(p.get("port") == port for p in rule["ports"])
            here = [one for one in rule.get("from", []) if "podSelector" in one and "namespaceSelector" not in one]
            if open_port and (not rule.get("from") or any(fits(one["podSelector"], peer) for one in here)):
                return True
    return False


def fits(selector, labels):
    plain = all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items())
    wanted = [e for e in selector.get("matchExpressions", []) if e["operator"] == "In"]
    return plain and all(labels.get(e["key"]) in e["values"] for e in wanted)


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
            process = kind in KINDS
            table = [
                (reaches(policies, own, 5432), True, "the database"),
                (reaches(policies, own, 53), True, "names"),
                (reaches(policies, own, 6379), process and redis, "Redis"),
                (reaches(policies, own, 25), kind == "delivery", "SMTP"),
                (reaches(policies, own, "rpc"), process, "workers"),
                (reaches(policies, own, 443), False, "the web"),
            ]
            peers = [(k, labels[k]) for k in labels] + [("a stranger", {"app": "other"})]
            for peer, theirs in peers:
                table += [
                    (lets_in(policies, own, "rpc", theirs), kind == "worker" and peer in KINDS, f"rpc from {peer}"),
                    (
                        lets_in(policies, own, "http", theirs),
                        kind in ("gateway", "consent") and name == "minimal",
                        f"HTTP from {peer}",
                    ),
                ]
            for is_so, should, what in table:
                checked += 1
                if is_so != should:
                    faults.append(f"{name}: {kind} and {what}: {is_so}, not {should}")
    return checked, faults


def fitting(chart):
    """Selectors find pods, secrets and accounts that are named exist, names stand once."""
    faults, checked = [], 0
    for name, values in chart.sets.items():
        objects = chart.objects(values)
        labels = [template["metadata"]["labels"] for _, template in pods(objects)]
        names = [(one["kind"], one["metadata"]["name"]) for one in objects]
        faults += [f"{name}: {one} stands twice" for one in set(names) if names.count(one) > 1]
        for one in objects:
            where, spec = f"{one['kind']}/{one['metadata']['name']}", one.get("spec", {})
            selector = spec.get("selector") or spec.get("podSelector")
            if one["kind"] == "Service":
                selector = {"matchLabels": selector}
            if selector:
                checked += 1
                if not any(fits(selector, own) for own in labels):
                    faults.append(f"{name}: {where} selects nothing")
            if one["kind"] == "HorizontalPodAutoscaler":
                checked += 1
                target = ("Deployment", spec["scaleTargetRef"]["name"])
                if target not in names or "replicas" in next(
                    o for o in objects if (o["kind"], o["metadata"]["name"]) == target
                )["spec"]:
                    faults.append(f"{name}: {where} and its deployment do not fit")
        for where, template in pods(objects):
            for container in template["spec"]["containers"]:
                env = [one["name"] for one in container.get("env", [])]
                checked += 1
                faults += [f"{name}: {where}: {one} stands twice" for one in set(env) if env.count(one) > 1]
    return checked, faults


def monitored(chart):
    """The alert rules and the dashboard arrive as they are."""
    objects = {one["kind"]: one for one in chart.objects(chart.sets["full"]) if one["kind"] in ("PrometheusRule", "ConfigMap")}
    rules, board = (pathlib.Path(chart.path, "files", name).read_text() for name in ("alerts.yaml", "dashboard.json"))
    faults = []
    if objects["PrometheusRule"]["spec"] != yaml.safe_load(rules):
        faults.append("the rules are not those of files/alerts.yaml")
    if json.loads(objects["ConfigMap"]["data"]["parcours.json"]) != json.loads(board):
        faults.append("the dashboard is not that of files/dashboard.json")
    return 2, faults


CHECKS = [golden, lint, kubernetes, restricted, effects, schema, guards, secrets, network, fitting, monitored]

if __name__ == "__main__":
    wanted, path, sets = sys.argv[1:4]
    check = next(check for check in CHECKS if check.__name__ == wanted)
    checked, faults = check(Chart(path, sets))
    print(json.dumps({"checked": checked, "faults": faults}))
