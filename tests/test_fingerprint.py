"""Identity: equal configurations, equal digest, everywhere; and nothing without an identity gets one."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.fingerprint import canonical, digest

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)), max_leaves=12
)


@dataclass(frozen=True)
class Part:
    size: int = 3
    share: float = 0.5
    rest: Any = None

    version: ClassVar[int] = 1


@dataclass(frozen=True)
class Newer(Part):
    version: ClassVar[int] = 2


@dataclass(frozen=True)
class Optional:
    share: float | None = None


@dataclass(frozen=True)
class Located:
    path: str
    label: str = "x"

    def identity(self):
        return {"path": self.path.rsplit("/", 1)[-1], "machine": 7}


@given(VALUES)
def test_the_canonical_form_is_canonical_already(value):
    assert digest(canonical(value)) == digest(value)


@given(VALUES, VALUES)
def test_values_that_differ_have_digests_that_differ(one, other):
    same = repr(canonical(one)) == repr(canonical(other))
    assert (digest(one) == digest(other)) == same


@given(st.dictionaries(st.text(), SCALARS, min_size=2))
def test_the_order_of_keys_does_not_count(mapping):
    assert digest(dict(reversed(mapping.items()))) == digest(mapping)


@pytest.mark.parametrize(
    "other",
    [Part(4), Part(share=0.25), Part(rest="x"), Part(rest=Part()), Part(rest=[1]), Newer(), replace(Part(), size=2)],
    ids=repr,
)
def test_every_field_the_class_and_its_version_count(other):
    assert digest(other) != digest(Part())


def test_a_raised_version_alone_is_another_identity(monkeypatch):
    before = digest(Part())
    monkeypatch.setattr(Part, "version", 2)
    assert digest(Part()) != before


def test_defaults_count_as_if_they_were_given():
    assert digest(Part()) == digest(Part(3, 0.5, None))


def test_where_a_field_is_a_float_a_whole_number_is_the_same():
    assert digest(Part(share=1)) == digest(Part(share=1.0))
    assert digest(Optional(1)) == digest(Optional(1.0))
    assert digest(Part(rest=1)) != digest(Part(rest=1.0))


@pytest.mark.parametrize(("one", "other"), [(True, 1), (0, False), ("1", 1), (None, "None"), ([1], [[1]]), ([], {})])
def test_values_that_python_or_print_take_for_one_are_two(one, other):
    assert digest(one) != digest(other)


def test_minus_zero_is_zero_and_a_tuple_is_a_list():
    assert digest(-0.0) == digest(0.0)
    assert digest((1, (2,))) == digest([1, [2]])


def test_a_path_does_not_count_where_identity_says_what_it_holds():
    assert digest(Located("/a/model")) == digest(Located("/b/model"))
    assert digest(Located("/a/model")) != digest(Located("/a/other"))
    assert digest(Located("/a/model", "y")) != digest(Located("/a/model"))
    assert canonical(Located("/a/model"))["machine"] == 7


NAMELESS = {
    "nan": float("nan"), "infinity": float("inf"), "builtin": print, "lambda": lambda: 0, "array": np.zeros(2),
    "numpy number": np.int64(3), "class": Part, "set": {1, 2}, "bytes": b"x",
}  # fmt: skip


@pytest.mark.parametrize("value", NAMELESS.values(), ids=NAMELESS)
def test_what_has_no_stable_identity_is_refused(value):
    with pytest.raises(TypeError, match="identity"):
        digest([value])


# --- code that is edited in place

_NOTEBOOK = """
from dataclasses import dataclass
from typing import ClassVar
from evalkit.fingerprint import digest

@dataclass(frozen=True)
class Mine:
    version: ClassVar[int] = 1
    size: int = 3
    def __call__(self, texts):
        return {body}

print(digest(Mine()))
"""


def identity_of_script(folder, body: str) -> str:
    script = folder / "cell.py"
    script.write_text(_NOTEBOOK.format(body=body))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_class_of_a_script_or_notebook_is_another_when_its_code_is(tmp_path):
    assert identity_of_script(tmp_path, "1") == identity_of_script(tmp_path, "1")
    assert identity_of_script(tmp_path, "1") != identity_of_script(tmp_path, "2")


def test_a_class_typed_at_a_prompt_is_never_the_same_in_another_process(tmp_path):
    typed = _NOTEBOOK.format(body="1")
    runs = [subprocess.run([sys.executable, "-c", typed], capture_output=True, text=True, check=True) for _ in "ab"]
    assert runs[0].stdout != runs[1].stdout


def test_a_class_of_a_module_goes_by_its_version_and_without_one_by_its_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = {}
    for name, text in {
        "stated_a": "version = 1\n    x: int = 0\n    def f(self): return 1",
        "stated_b": "version = 1\n    x: int = 0\n    def f(self): return 2",
        "silent_a": "x: int = 0\n    def f(self): return 1",
        "silent_b": "x: int = 0\n    def f(self): return 2",
    }.items():
        code = f"from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Mine:\n    {text}\n"
        (tmp_path / f"{name}.py").write_text(code)
        kind = importlib.import_module(name).Mine
        kind.__module__ = name.partition("_")[0]
        sys.modules[kind.__module__] = sys.modules[name]
        found[name] = digest(kind())
    assert found["stated_a"] == found["stated_b"]
    assert found["silent_a"] != found["silent_b"]
