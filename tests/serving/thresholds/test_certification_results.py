"""Running a certification: the verdict, its tables, and what is on disk afterwards."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from desk import ITEMS, certification, desk, near
from toys import dense

from evalkit import InputError, Service, replay
from evalkit.datasets import Traffic
from evalkit.serving.layers import SemanticCache
from evalkit.serving.load.traffics import Recorded
from evalkit.serving.semantic import Verified
from evalkit.serving.thresholds.certificates import certify
from evalkit.serving.thresholds.halves import ByTime
from evalkit.serving.thresholds.results import Certified
from evalkit.serving.thresholds.run import run_certification
from evalkit.serving.thresholds.sweep import threshold_sweep
from evalkit.testing.words import HashedWords

FILES = [
    "confusions.csv", "decisions.parquet", "designs.csv", "entries.csv", "kinds.csv", "manifest.json",
    "requests.parquet", "settings.csv",
]  # fmt: skip


@pytest.fixture(scope="module")
def found(shared_store):
    """The desk, certified: equal questions only are given the same answer."""
    return run_certification(certification(), desk(), store=shared_store)


@pytest.fixture(scope="module")
def lost(shared_store):
    """The desk with a threshold under which traps are taken for prices, and no other."""
    return run_certification(certification(thresholds=(0.85,), budget=0.05), desk(traps=4), store=shared_store)


def test_the_certified_threshold_lies_between_equal_questions_and_their_traps(found):
    made = found.certificate
    assert made.certified
    assert made.chosen.rule.at in (0.95, 1.0)
    assert made.design.test.wrong == 0
    n, hits = made.design.test.requests, made.design.test.hits
    assert hits == n - 2 * len(
        {a.intent.partition("!")[0] for a, t in zip(arrivals(found), made.test, strict=True) if t}
    )
    assert repr(found).startswith(str(made))


def arrivals(found):
    return next(iter(found.sweeps.values())).arrivals


def test_where_no_threshold_is_in_budget_the_nearest_is_named_with_what_it_confused(lost):
    assert not lost.certificate.certified
    assert lost.certificate.chosen is None
    assert str(lost.certificate).startswith("no threshold meets 0.05 of answers wrong at 95% confidence")
    pairs = lost.confusions
    assert len(pairs) > 0
    assert (pairs["base_asked"] == pairs["base_given"]).all()
    assert pairs["wrong"].sum() == lost.settings.query("part == 'test' and kind == 'all'")["wrong"].item()
    assert lost.entries["wrong"].sum() == pairs["wrong"].sum()
    assert "what does item" in repr(lost)
    assert "<table" in lost._repr_html_()


def test_settings_are_counted_on_dev_and_on_test_apart(found):
    rows = found.settings.query("kind == 'all'")
    assert rows["part"].tolist() == ["dev"] * 3 + ["test"] * 3
    sizes = rows.groupby("part")["requests"].unique()
    assert (sizes["dev"].item(), sizes["test"].item()) == (found.certificate.dev.sum(), found.certificate.test.sum())
    assert sizes["dev"].item() + sizes["test"].item() == ITEMS * 9
    assert set(found.settings["kind"]) == {"all", "canonical", "trap: negation"}


def test_the_row_of_all_kinds_says_what_the_certificate_says(shared_store):
    rules = tuple(Verified(error, floor=0.8) for error in (0.1, 0.2))
    spec = certification(rules=rules, ttls=(600.0, 3600.0, None), cache=near(ttl=86_400.0), budget=0.17)
    found = run_certification(spec, desk(), store=shared_store)
    design = found.certificate.design
    assert sum(one.test is not None for one in found.certificate.designs) > 1
    every = found.kinds.set_index("kind").loc["all"]
    assert (every["high"], every["low"]) == (design.test.high, design.test.low)
    assert (every["verdict"] == "holds") == design.certified


def test_calls_are_those_of_a_replay_without_the_cache(shared_store):
    data, variant, cost = desk(asked=2), dense(), {"search": 0.2, "generate": 0.3}
    spec = certification(calls=None, variant=variant, cost=cost, thresholds=(1.0,), cores=3)
    found = run_certification(spec, data, store=shared_store)
    (sweep,) = found.sweeps.values()
    seen = replay(variant, data, Recorded().of(data), cost=cost, cores=3, store=shared_store)
    assert np.array_equal(sweep.seconds, seen.per_request["ms"] / 1e3)
    assert sweep.origin == seen.origin
    served = replay(
        Service(variant, (near(rule=sweep.settings[0].rule),)), data, Recorded().of(data), cost=cost, cores=3,
        store=shared_store,
    )  # fmt: skip
    assert np.array_equal(sweep.hit[0], served.per_request["hit"] != "")


def test_it_is_what_the_functions_give_by_themselves(found, shared_store):
    data = desk()
    sweep = threshold_sweep(Recorded().of(data), (0.85, 0.95, 1.0), cache=near(), calls=0.5, store=shared_store)
    made = certify(sweep, 0.2, dev=found.certificate.dev, test=found.certificate.test)
    assert str(made) == str(found.certificate)
    assert np.array_equal(sweep.given_by, found.sweeps[""].given_by)


def test_every_embedder_guard_ttl_and_rule_is_swept(shared_store):
    embedders = {"near": HashedWords(dimensions=4096), "far": HashedWords(dimensions=8)}
    spec = certification(
        thresholds=(0.95, 1.0), rules=(Verified(0.2, floor=0.9),), ttls=(600.0, None), guards=("corpus", "none"),
        embedders=embedders, cache=SemanticCache(), split=ByTime(),
    )  # fmt: skip
    found = run_certification(spec, desk(), store=shared_store)
    assert list(found.sweeps) == ["near", "far"]
    assert {len(sweep.settings) for sweep in found.sweeps.values()} == {3 * 2 * 2}
    assert len(found.certificate.designs) == 2 * 2 * 2 * 2
    assert set(found.settings["embedder"]) == {"near", "far"}
    assert Certified.load(found.save()).digest == found.digest


def test_the_same_certification_has_the_same_digest_and_another_another(found, shared_store):
    again = run_certification(certification(), desk(), store=shared_store)
    assert again.digest == found.digest
    for changes in ({"budget": 0.19}, {"thresholds": (0.95, 1.0)}, {"split": ByTime()}, {"calls": 0.6}):
        assert run_certification(certification(**changes), desk(), store=shared_store).digest != found.digest
    assert run_certification(certification(), desk(seed=1), store=shared_store).digest != found.digest


def test_what_is_saved_reads_back_and_says_the_verdict(found, tmp_path):
    place = found.save(tmp_path / "out", plots={"thresholds.png": b"\x89PNG"})
    assert sorted(p.name for p in place.iterdir()) == sorted([*FILES, "plots"])
    said = json.loads((place / "manifest.json").read_text())
    assert (said["certified"], said["verdict"], said["digest"]) == (True, str(found.certificate), found.digest)
    assert said["spec"]["name"] == "desk"
    back = Certified.load(place)
    assert back.digest == found.digest
    assert back.manifest == found.manifest
    pd.testing.assert_frame_equal(back.settings, found.settings)
    pd.testing.assert_frame_equal(back.certificate.table(), found.certificate.table())
    assert pd.read_csv(place / "designs.csv")["certified"].tolist() == found.certificate.table()["certified"].tolist()
    assert back.save(place) == place  # an earlier run's
    assert not (place / "plots").exists()


def test_other_things_in_a_folder_are_left_alone(found, tmp_path):
    place = found.save(tmp_path / "out")
    (place / "mine.txt").write_text("dear diary")
    with pytest.raises(InputError, match=r"holds other things than a certification's results \(mine.txt\)"):
        found.save(place)
    assert (place / "mine.txt").exists()
    assert not list(tmp_path.glob(".out*"))


def test_results_that_cannot_be_drawn_or_written_leave_the_earlier_ones(found, lost, tmp_path):
    place = found.save(tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        lost.save(place, plots={"no/such/folder.png": b""})
    assert Certified.load(place).digest == found.digest
    assert not list(tmp_path.glob(".out*"))


def damaged(name):
    def change(place):
        rows = pd.read_parquet(place / name)
        rows.iloc[0, 0] += 1
        rows.to_parquet(place / name)

    return change


def told(key, value):
    def change(place):
        said = json.loads((place / "manifest.json").read_text())
        said[key] = value
        (place / "manifest.json").write_text(json.dumps(said))

    return change


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (damaged("decisions.parquet"), "is damaged, or from another version"),
        (damaged("requests.parquet"), "is damaged, or from another version"),
        (lambda place: (place / "decisions.parquet").unlink(), "cannot be read"),
        (lambda place: (place / "requests.parquet").write_bytes(b"PAR1"), "cannot be read"),
        (told("evalkit certification", 1), "of format 1, not 2; run it again"),
        (told("asked", {"budget": 0.4}), "is damaged, or from another version"),
        (told("sweeps", [{"label": ""}]), "cannot be read"),
        (lambda place: (place / "manifest.json").unlink(), "no certification here"),
    ],
)
def test_what_is_not_whole_is_refused(found, tmp_path, change, what):
    place = found.save(tmp_path / "out")
    change(place)
    with pytest.raises(InputError, match=what):
        Certified.load(place)


def test_where_nobody_knows_what_is_right_nothing_is_certified(shared_store):
    data = desk()
    rows = [{"text": a.text, "at": a.at, "user": a.user} for a in Recorded().of(data)]
    blind = replace(data, traffic=Traffic.of(rows))
    found = run_certification(certification(split=ByTime()), blind, store=shared_store)
    assert not found.certificate.certified
    assert found.certificate.design.dev.unjudged == found.certificate.design.dev.hits > 0
    assert Certified.load(found.save()).digest == found.digest
    assert "unjudged" in repr(found)


def test_calls_that_failed_are_saved_and_belong_to_the_digest(found, tmp_path):
    made = found.certificate
    sweep = made.sweeps[""]
    failed = ~sweep.hit.any(axis=0) & (np.arange(len(sweep.arrivals)) % 2 == 0)
    again = certify(replace(sweep, failed=failed), dev=made.dev, test=made.test, **found.manifest["asked"])
    failing = Certified(again, found.manifest)
    assert failing.digest != found.digest
    back = Certified.load(failing.save(tmp_path / "out"))
    assert np.array_equal(back.sweeps[""].failed, failed)
    assert str(back.certificate) == str(again)


def test_sweeps_that_the_files_cannot_hold_are_refused_and_nothing_is_written(found, tmp_path):
    made = found.certificate
    sweep = made.sweeps[""]
    before = replace(sweep, precomputed=sweep.arrivals[:1], given_by=np.where(sweep.hit, sweep.given_by + 1, -1))
    slower = {"a": sweep, "b": replace(sweep, seconds=sweep.seconds + 1)}
    for sweeps, said in ((before, "precomputed entries"), (slower, "differ in seconds")):
        other = Certified(certify(sweeps, 0.2, dev=made.dev, test=made.test), found.manifest)
        with pytest.raises(InputError, match=said) as refused:
            other.save(tmp_path / "out")
        assert "\n" not in str(refused.value)
        assert not list(tmp_path.iterdir())
