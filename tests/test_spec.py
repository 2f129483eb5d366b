from __future__ import annotations

import re
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import RETRIEVERS

from evalkit import Experiment, Sweep, Timing, presets
from evalkit.errors import InputError, InputErrors
from evalkit.metrics import parse
from evalkit.spec import dumps, load_experiment, loads, names
from evalkit.stages import BM25, RRF, Dense, FixedTokens, Hybrid, Recursive, SentenceTransformer, TopK, Whole
from evalkit.variants import Variant

HEAD = "name: a\ndataset: b\n"


def faults(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        loads(text, "s.yaml")
    return str(caught.value).splitlines()


shares = st.floats(0, 1)
numbers = st.integers(1, 10_000)
retrievers = st.one_of(
    st.builds(Dense, k=numbers, embedder=st.builds(SentenceTransformer, query_prefix=st.text(max_size=5))),
    st.builds(BM25, k1=st.floats(0, 9), b=shares, stemmer=st.sampled_from(["porter", "english", None]), k=numbers),
    st.builds(Hybrid, alpha=shares | st.sampled_from([0, 1]), fusion=st.builds(RRF, c=st.integers(0, 99)), k=numbers),
)
chunkers = st.one_of(
    st.builds(Whole, titles=st.booleans()),
    st.builds(FixedTokens, size=st.integers(11, 99), overlap=st.integers(0, 10)),
    st.builds(Recursive, separators=st.lists(st.text(min_size=1, max_size=3), max_size=3).map(tuple)),
)
variants = st.one_of(
    st.sampled_from([presets.baseline(), presets.keywords(), presets.hybrid(0.25)]),
    st.builds(Variant, chunk=chunkers, retrieve=retrievers, assemble=st.builds(TopK, k=st.none() | numbers)),
)
sweeps = st.builds(
    Sweep,
    base=variants,
    grid=st.fixed_dictionaries(
        {"retrieve": st.lists(retrievers, min_size=1, max_size=2)},
        optional={"retrieve.k": st.lists(numbers, min_size=1, max_size=3), "assemble.k": st.just([None, 3])},
    )
    | st.just({}),
    zip=st.just({}) | st.just({"generate.sentences": [1, 3], "chunk.titles": [True, False]}),
)
experiments = st.builds(
    Experiment,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    dataset=st.text(max_size=20),
    sweep=sweeps,
    metrics=st.lists(
        st.sampled_from(["MRR@10", "nDCG@5", 'nDCG(gain="exp")@3', "TokenF1", "Recall@1", 'P95(stage="embed")']),
        min_size=1,
        unique=True,
    ).map(lambda found: tuple(map(parse, found))),
    description=st.text(max_size=40),
    split=st.none() | st.text(max_size=8),
    timing=st.none() | st.builds(Timing, queries=numbers, repeats=st.integers(1, 3), warmup=st.integers(0, 3)),
    seed=st.integers(0, 2**40),
    without_data=st.sampled_from(["fail", "skip"]),
)


@given(experiments)
@settings(max_examples=80)
def test_what_is_written_reads_back_equal(experiment):
    again = loads(dumps(experiment))
    assert again == experiment
    assert list(again.sweep.variants().items()) == list(experiment.sweep.variants().items())


@given(experiments)
@settings(max_examples=25)
def test_a_file_reads_like_its_text_with_and_without_a_byte_order_mark(tmp_path_factory, experiment):
    path = tmp_path_factory.mktemp("spec") / "e.yaml"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + dumps(experiment).encode())
        assert load_experiment(path) == experiment


def test_only_what_differs_from_the_defaults_is_written():
    assert yaml.safe_load(dumps(Experiment("a", "b"))) == {"name": "a", "dataset": "b"}


def test_yaml_and_python_give_equal_sweeps():
    text = """
name: both
dataset: datasets/handbook
sweep:
  base: {hybrid: {alpha: 0.5}}
  grid:
    retrieve: [BM25, {Dense: {k: 4}}, Hybrid]
    retrieve.alpha: [0, 1, 0.5]
  zip:
    chunk.size: [64, 512]
    chunk.overlap: [16, 200]
metrics: [mrr@10, 'ndcg(gain="exp")@5']
timing: {}
"""
    sweep = Sweep(
        presets.hybrid(alpha=0.5),
        {"retrieve": [BM25(), Dense(k=4), Hybrid()], "retrieve.alpha": [0.0, 1.0, 0.5]},
        {"chunk.size": [64, 512], "chunk.overlap": [16, 200]},
    )
    metrics = (parse("MRR@10"), parse('nDCG(gain="exp")@5'))
    assert loads(text) == Experiment("both", "datasets/handbook", sweep, metrics, timing=Timing())


def test_every_name_in_a_spec_is_a_class_or_preset_that_is_exported():
    assert {"Dense", "BM25", "Hybrid", "Whole", "Extractive", "TopK", "Cache", "baseline", "Timing"} <= set(names())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "metrcs: [MRR@10]", "s.yaml:3: metrcs: Experiment has no field 'metrcs'; did you mean 'metrics'?"),
        (HEAD + "seed: 1.5", "s.yaml:3: seed: a whole number is needed, not 1.5"),
        (HEAD + "seed: -1", "s.yaml:3: seed: is -1; it must be at least 0"),
        (HEAD + "sweep:\n- 1", "s.yaml:3: sweep: Sweep: a name or a mapping is needed, not a list"),
        (HEAD + "sweep:\n  grid:\n  - 1", "s.yaml:5: sweep.grid: a mapping from paths to lists is needed, not int"),
        (HEAD + "metrics: MRR@10", "s.yaml:3: metrics: a list is needed, not the text 'MRR@10'"),
        (HEAD + "metrics: []", "s.yaml:3: metrics: is empty; name at least one"),
        (HEAD + "metrics: [MRR@10, mrr@10]", "s.yaml:3: metrics: MRR@10 is given twice"),
        (HEAD + "sweep:\n  grid: {}", "s.yaml:4: sweep.grid: is empty; give a path and its values, or leave it out"),
        (HEAD + "sweep:\n  grid:\n", "s.yaml:4: sweep.grid: a mapping is needed, not nothing"),
        (
            HEAD + "sweep:\n  grid:\n    retrieve.k: []",
            "s.yaml:5: sweep.grid.retrieve.k: has no values; list at least one",
        ),
        (
            HEAD + "sweep:\n  grid:\n    retrieve.k:\n    - 3\n    - 0",
            "s.yaml:7: sweep.grid.retrieve.k: Dense: k is 0; it must be at least 1",
        ),
        (
            HEAD + "sweep:\n  base:\n    retrieve:\n      Dense:\n        k: -1",
            "s.yaml:6: sweep.base.retrieve.Dense: Dense: k is -1; it must be at least 1",
        ),
        (
            HEAD + "sweep: {base: bseline}",
            "s.yaml:3: sweep.base: unknown Variant 'bseline'; did you mean 'baseline'?",
        ),
        (
            HEAD + "sweep: {base: {retrieve: Whole}}",
            f"s.yaml:3: sweep.base.retrieve: Whole cannot stand here; known: {RETRIEVERS}",
        ),
        (
            HEAD + "sweep: {base: {retrieve: {BM25: {k1: .nan}}}}",
            "s.yaml:3: sweep.base.retrieve.BM25.k1: a number is needed, not nan",
        ),
        (HEAD + "name: c", "s.yaml:3: name: is given twice"),
        (HEAD + "sweep:\n  base: hybrid\n  base: baseline", "s.yaml:5: sweep.base: is given twice"),
        (HEAD + "description: 2024-02-31", "s.yaml:3: description: '2024-02-31' cannot be read; quote a text"),
        (HEAD + "without_data: maybe", "s.yaml:3: without_data: 'maybe' is not one of 'fail', 'skip'"),
        ("name: ../up\ndataset: b", "s.yaml:1: name: '../up' must be letters, digits, '.', '_' and '-'"),
        ("", "s.yaml: is empty; a mapping with name, dataset, sweep and metrics is needed"),
        ("# nothing but this\n", "s.yaml: is empty; a mapping with name, dataset, sweep and metrics is needed"),
        ("- a", "s.yaml: holds list; a mapping with name, dataset, sweep and metrics is needed"),
        ("just text", "s.yaml: holds str; a mapping with name, dataset, sweep and metrics is needed"),
        ("a: &a\n  b: *a", "s.yaml: nested too deeply; does an alias contain itself?"),
        ("name: a\nb: c\x00", "s.yaml:2: not YAML (it holds the character #x0000)"),
    ],
)
def test_a_fault_is_one_line_with_file_line_key_and_what_to_do(text, expected):
    assert faults(text) == [expected]


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "a:\n\t- b", "'open", "a: !unknown b", "--- a\n--- b\n", "%x"])
def test_what_is_not_yaml_is_told_with_its_line(text):
    assert len(faults(text)) == 1
    assert re.match(r"s\.yaml:\d+: not YAML \(", faults(text)[0])


def test_every_fault_is_told_at_once():
    text = """
dataset: 3
sweep:
  base: {chunk: {Recursive: {size: big, overlp: 1}}, retrieve: BM52}
metrics: [MMR@10, nDCG@0]
timing: {queries: x, repeets: 1}
sed: 1
"""
    found = faults(text)
    assert [line.split(":", 2)[1] for line in found] == ["2", "4", "4", "4", "5", "5", "6", "6", "7", "1"]
    for said in (
        "dataset: a text is needed, not 3",
        "sweep.base.chunk.Recursive.size: a whole number is needed, not the text 'big'",
        "Recursive has no field 'overlp'; did you mean 'overlap'?",
        "unknown Retriever 'BM52'; did you mean 'BM25'?",
        "did you mean 'MRR'?",
        "timing.queries: a whole number is needed, not the text 'x'",
        "Timing has no field 'repeets'; did you mean 'repeats'?",
        "Experiment has no field 'sed'; did you mean 'seed'?",
        "Experiment needs the field 'name'",
    ):
        assert any(said in line for line in found), (said, found)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chunk", "{Recursive: {size: 0}}"),
        ("chunk", "{FixedTokens: {size: 10, overlap: 10}}"),
        ("chunk", "{FixedTokens: {overlap: -1}}"),
        ("retrieve", "{Dense: {k: 0}}"),
        ("retrieve", "{BM25: {k: -2}}"),
        ("retrieve", "{BM25: {b: 1.01}}"),
        ("retrieve", "{BM25: {k1: -0.1}}"),
        ("retrieve", "{Hybrid: {alpha: -0.01}}"),
        ("retrieve", "{Hybrid: {alpha: 1.01}}"),
        ("retrieve", "{Hybrid: {k: 0}}"),
        ("assemble", "{TopK: {k: 0}}"),
        ("generate", "{Extractive: {embedder: SentenceTransformer, sentences: 0}}"),
    ],
)
def test_a_value_outside_its_range_is_refused_at_its_component(field, value):
    found = faults(HEAD + f"sweep:\n  base:\n    {field}: {value}")
    assert len(found) == 1
    name = value[1:].split(":")[0]
    assert found[0].startswith(f"s.yaml:5: sweep.base.{field}.{name}: {name}: ")


def test_every_field_that_is_missing_is_told():
    needed = [f"s.yaml:1: Experiment needs the field '{name}'" for name in ("name", "dataset")]
    assert faults("{}") == needed


def test_unusual_line_ends_in_a_text_survive():
    experiment = Experiment("a", "b", description="one\x85two\u2028three\u2029four\nfive")
    assert loads(dumps(experiment)) == experiment
    assert "café" in dumps(Experiment("a", "b", description="café"))


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"name: caf\xe9\n")
    for path, what in (
        (bad, "not UTF-8 (byte 10); save it as UTF-8"),
        (tmp_path / "none.yaml", "cannot be read (No such file or directory)"),
        (tmp_path, "cannot be read (Is a directory)"),
    ):
        with pytest.raises(InputError) as caught:
            load_experiment(path)
        assert str(caught.value) == f"{path}: {what}"


def test_experiments_written_in_python_are_checked_too():
    with pytest.raises(InputErrors) as caught:
        Experiment("a b", "data", metrics=(), seed=-1)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["'a", "is", "is"]
    assert caught.value.places == (("name",), ("metrics",), ("seed",))
    assert replace(Experiment("a", "data"), seed=3).seed == 3
