"""Experiments as YAML: read with every fault at once, each with file, line and key; written so that it reads back.

What can be named is what the modules' ``__all__`` list: a new component needs no registration.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from evalkit import presets
from evalkit.errors import InputError, InputErrors
from evalkit.evaluate import Experiment, Timing
from evalkit.forms import Path as Place
from evalkit.forms import Reader, build
from evalkit.metrics import Metric, parse
from evalkit.paths import find
from evalkit.serving import checks, layers, routing, semantic, state
from evalkit.serving.load import traffics
from evalkit.serving.load.load import HighestRate, Load
from evalkit.serving.results.targets import Targets
from evalkit.serving.thresholds import halves
from evalkit.serving.thresholds.certification import Certification, Steps
from evalkit.sweep import Sweep
from evalkit.variants import Service, Variant, components


@cache
def names() -> Mapping[str, Any]:
    """Return everything that a spec can name: components, layers, presets and the parts of an experiment."""
    kinds = (Certification, Experiment, HighestRate, Load, Service, Steps, Sweep, Targets, Timing, Variant)
    parts = {kind.__name__: kind for kind in kinds}
    modules = (checks, halves, layers, routing, semantic, state, traffics, presets)
    above = {name: getattr(module, name) for module in modules for name in module.__all__}
    return {**components(), **above, **parts}


def load_experiment(path: str | os.PathLike[str]) -> Experiment:
    """Read an experiment from a YAML file.

    Raises
    ------
    InputErrors
        Every fault at once, each as ``file:line: key: what is wrong``.
    """
    return loads(_read(path), str(path))


def load_replay(path: str | os.PathLike[str]) -> Load:
    """Read a replay's spec, a `Load`, from a YAML file.

    Raises
    ------
    InputErrors
        Every fault at once, each as ``file:line: key: what is wrong``.
    """
    return cast("Load", _built(path, Load, "name, dataset, services and traffic"))


def load_certification(path: str | os.PathLike[str]) -> Certification:
    """Read a certification's spec from a YAML file.

    Raises
    ------
    InputErrors
        Every fault at once, each as ``file:line: key: what is wrong``.
    """
    return cast("Certification", _built(path, Certification, "name, dataset, variant and budget"))


def _built(path: str | os.PathLike[str], kind: type, keys: str) -> Any:
    data, lines = _parse(_read(path), str(path))
    reader = _reader(data, lines, str(path), keys)
    found = build(data, kind, reader)
    if reader.faults:
        raise InputErrors(list(dict.fromkeys(reader.faults)))
    return found


def stated(path: str | os.PathLike[str], key: str) -> tuple[Any, str]:
    """Return what a file states under a top-level key (None where it does not), and ``file:line: key`` for errors.

    Works on files that are no sound experiment too, so that what can be checked apart is.
    """
    try:
        data, lines = _parse(_read(path), str(path))
    except InputError:
        return None, f"{path}: {key}"
    value = data.get(key) if isinstance(data, dict) else None
    return value, f"{path}:{lines[(key,)]}: {key}" if (key,) in lines else f"{path}: {key}"


def _read(path: str | os.PathLike[str]) -> str:
    try:
        return find(path).read_bytes().removeprefix(b"\xef\xbb\xbf").decode()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start + 1}); save it as UTF-8") from None


def loads(text: str, name: str = "spec") -> Experiment:
    """Read an experiment from YAML text; `name` stands before the line in errors."""
    data, lines = _parse(text, name)
    reader = _reader(data, lines, name, "name, dataset, sweep and metrics")
    experiment = build(data, Experiment, reader)
    for axes in ("grid", "zip"):  # in Python an empty grid is the default; whoever writes one meant something
        if isinstance(data.get("sweep"), dict) and data["sweep"].get(axes) == {}:
            reader.fault(("sweep", axes), "is empty; give a path and its values, or leave it out")
    if reader.faults:
        raise InputErrors(list(dict.fromkeys(reader.faults)))
    return cast("Experiment", experiment)


def _reader(data: Any, lines: Mapping[Place, int], name: str, keys: str) -> Reader:
    """Return what builds parsed YAML, with the file's lines in its faults; refuse what is no mapping of `keys`."""
    if not isinstance(data, dict):
        kind = "is empty" if data is None else f"holds {type(data).__name__}"
        raise InputError(f"{name}: {kind}; a mapping with {keys} is needed")

    def where(path: Place) -> str:
        known = next(path[:i] for i in range(len(path), -1, -1) if path[:i] in lines)
        key = ".".join(str(part) for part in path if isinstance(part, str))
        return f"{name}:{lines[known]}: {key}" if key else f"{name}:{lines[known]}"

    return Reader(names(), {Metric: parse}, where)


def dumps(experiment: Experiment) -> str:
    """Write an experiment as YAML; ``loads(dumps(e)) == e``."""
    return as_yaml(experiment.plain())


def as_yaml(data: Mapping[str, Any]) -> str:
    """Write a plain spec, as a manifest holds it, as YAML."""
    import yaml

    odd = set("\x85\u2028\u2029") & set(json.dumps(dict(data), ensure_ascii=False))  # PyYAML folds these line ends
    return str(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=not odd, width=100))


def _parse(text: str, name: str) -> tuple[Any, dict[Place, int]]:
    """Return YAML as plain data, and the line of every key and item."""
    import yaml

    lines: dict[Place, int] = {(): 1}
    faults: list[str] = []

    def convert(node: yaml.Node, path: Place) -> Any:
        lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = str(loader.construct_object(key_node))
                line = key_node.start_mark.line + 1
                if key in found:
                    faults.append(f"{name}:{line}: {'.'.join(map(str, (*path, key)))}: is given twice")
                lines[(*path, key)] = line
                found[key] = convert(value_node, (*path, key))
            return found
        if isinstance(node, yaml.SequenceNode):
            return [convert(item, (*path, i)) for i, item in enumerate(node.value)]
        try:
            return loader.construct_object(node)
        except ValueError:  # 2024-02-31 is read as a date
            key = ".".join(map(str, path))
            faults.append(f"{name}:{node.start_mark.line + 1}: {key}: {node.value!r} cannot be read; quote a text")
            return None

    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        data = None if root is None else convert(root, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{name}:{line}: not YAML ({error.problem})") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{name}:{line}: not YAML (it holds the character #x{error.character:04x})") from None
    except RecursionError:
        raise InputError(f"{name}: nested too deeply; does an alias contain itself?") from None
    if faults:
        raise InputErrors(faults)
    return data, lines
