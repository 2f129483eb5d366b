"""Every component that is exported conforms; a new one is found by itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import fields, is_dataclass
from typing import get_args, get_type_hints

import pytest

from evalkit import fingerprint, llm, stages
from evalkit.forms import conforms
from evalkit.served import Layer
from evalkit.serving import checks, layers, routing, state
from evalkit.serving.routing import Direct, Group, Route
from evalkit.stages import FixedTokens, Recursive, SentenceTransformer, models
from evalkit.testing import check_component, examples
from evalkit.testing.conformance import SUITES, roles


def name(value):
    return type(value).__name__ if is_dataclass(value) else value


EXPORTED = [component for module in (stages, llm, checks, layers, routing, state) for component in examples(module)]
SERVED = {
    "Claude",
    "OpenAICompatible",
    "OpenAIEmbeddings",
}  # needs a server: its own tests run the suite over a loopback one
PAIRS = [(component, role) for component in EXPORTED for role in roles(component) if name(component) not in SERVED]


def parts_of(hint):
    """A type and everything that it is made of."""
    return [hint, *(part for argument in get_args(hint) for part in parts_of(argument))]


def is_part(component):
    """Whether it fits a field of another component: a fusion, a condition, a rewrite."""
    hints = [hint for kind in {type(c) for c in EXPORTED} for hint in get_type_hints(kind).values()]
    wanted = [part for hint in hints for part in parts_of(hint) if isinstance(part, type)]
    return any(conforms(component, part) for part in wanted if part.__module__.startswith("evalkit"))


OTHERS = {
    "Router": {"routes": (Route("simple", Direct()),)},
    "Classifier": {"prefer": "social", "embedder": SentenceTransformer()},
    "ByUser": {"groups": (Group("r", ("a",)),)},
    "ByTenant": {"groups": (Group("r", ("a",)),)},
}
"""By component, values of fields that cannot be guessed."""


@pytest.mark.parametrize("component", EXPORTED, ids=name)
def test_every_exported_component_is_a_value(component):
    check_component(component, OTHERS.get(name(component)))


def test_every_exported_layer_can_be_made_without_being_told_anything():
    kinds = {kind for kind in layers.__all__ if conforms(getattr(layers, kind), Layer)}
    assert kinds == {name(component) for component, role in PAIRS if role == "layer"}


@pytest.mark.parametrize(("component", "role"), PAIRS, ids=name)
def test_every_exported_component_passes_the_suite_of_its_role(component, role):
    SUITES[role][1](component)


def test_every_role_is_held_by_an_exported_component_and_none_of_the_stages_is_without_one():
    assert {role for _, role in PAIRS} == set(SUITES)
    assert {name(c) for c in examples(stages) if not is_part(c)} - SERVED <= {name(c) for c, _ in PAIRS}
    assert all(len(roles(component)) <= 1 for component in EXPORTED)


@pytest.mark.parametrize("component", EXPORTED, ids=name)
def test_every_field_of_an_exported_component_is_documented(component):
    documented = "".join(kind.__doc__ or "" for kind in type(component).__mro__)
    for field in fields(component):
        assert field.name in documented, f"{name(component)}.{field.name}"


def test_identity_is_the_same_in_another_process_whatever_its_hash_seed():
    code = """
import json
from evalkit import fingerprint, llm, stages
from evalkit.serving import checks, layers, routing, state
from evalkit.testing import examples
from evalkit.variants import Variant
modules = (stages, llm, checks, layers, routing, state)
found = {type(c).__name__: fingerprint.digest(c) for m in modules for c in examples(m)}
print(json.dumps(found | {"variant": Variant().fingerprint}))
"""
    here = {name(component): fingerprint.digest(component) for component in EXPORTED}
    seen = []
    for seed in "01":
        run = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        seen.append(json.loads(run.stdout))
    assert seen[0] == seen[1]
    assert {key: value for key, value in seen[0].items() if key != "variant"} == here


def test_what_a_model_holds_is_a_field_like_any_other(tmp_path):
    other = shutil.copytree(
        models.model_folder(models.MINILM), tmp_path / "other", ignore=shutil.ignore_patterns("*.safetensors")
    )
    check_component(SentenceTransformer(), others={"model": str(other)})
    check_component(FixedTokens(), others={"tokenizer": str(other)})
    check_component(Recursive(), others={"tokenizer": str(other)})
