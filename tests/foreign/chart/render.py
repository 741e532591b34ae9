"""The chart, its sets of values, and what it makes of them, by Helm's own library."""

import copy
import pathlib

import helm_python as helm
import yaml

KINDS = ["gateway", "worker", "delivery", "consent"]


class Strict(yaml.SafeLoader):
    """Refuses a key that stands twice in one map."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"{key} stands twice, {node.start_mark}")
        return super().construct_mapping(node, deep)


class Chart:
    def __init__(self, path):
        self.path, self.folder = path, pathlib.Path(__file__).parent
        self.chart = helm.Chart.load(path)
        self.sets = {file.stem: yaml.load(file.read_text(), Strict) for file in sorted((self.folder / "sets").glob("*.yaml"))}
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
        if one["kind"] == "Pod":
            yield f"Pod/{one['metadata']['name']}", one
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


def maps(value, path=()):
    """The paths of all maps whose keys the chart defines."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            yield from maps(inner, path + (key,))


def fits(selector, labels):
    plain = all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items())
    wanted = [e for e in selector.get("matchExpressions", []) if e["operator"] == "In"]
    return plain and all(labels.get(e["key"]) in e["values"] for e in wanted)
