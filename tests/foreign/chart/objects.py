"""What is rendered: kept, linted, fit for Kubernetes, restricted, and whole."""

import difflib
import json
import os
import pathlib
import re

import helm_python as helm
import kubernetes_validate
import yaml

from render import fits, merged, pods

VERSIONS = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
# Kinds that Kubernetes itself does not have; their fields are checked by the goldens alone.
CUSTOM = {"PodMonitor", "PrometheusRule", "HTTPRoute"}


def brief(text):
    """Without what `monitored` compares: the alert rules and the dashboard."""
    text = re.sub(r"\n  groups:\n(?:  .*\n|\n)*", "\n  groups: (files/alerts.yaml)\n", text)
    return re.sub(r"(parcours.json: \|-\n)(?:    .*\n)*", r"\1    (files/dashboard.json)\n", text)


def golden(chart):
    """Each set renders what is kept."""
    faults = []
    for name, values in chart.sets.items():
        kept = chart.folder / "golden" / f"{name}.yaml"
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
                if (
                    target not in names
                    or "replicas" in next(o for o in objects if (o["kind"], o["metadata"]["name"]) == target)["spec"]
                ):
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
