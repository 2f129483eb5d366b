from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toys import dense, hybrid, keywords

from evalkit import Service, presets
from evalkit.serving import Cache
from evalkit.types import CORPUS, QUERY

TOYS = [dense(), keywords(), hybrid(), *(getattr(presets, name)() for name in presets.__all__)]


@pytest.mark.parametrize("variant", TOYS, ids=lambda v: type(v.retrieve).__name__)
def test_the_seams_build_on_one_another_down_to_the_corpus_and_the_query(variant):
    seams = variant.nodes()
    assert list(seams) == ["chunks", "retrieve", "prompt", "answer"]
    walked = list(seams["answer"].walk())
    assert {CORPUS, QUERY, *seams.values()} <= set(walked)
    assert [n.per_query for n in seams.values()] == [False, True, True, True]
    places = {node.recipe: i for i, node in enumerate(walked)}
    assert len(places) == len(walked)
    assert all(places[parent.recipe] < places[node.recipe] for node in walked for parent in node.inputs)


def test_variants_share_the_nodes_of_what_they_have_in_common():
    ours, theirs = (({n.recipe for n in v.nodes()["answer"].walk()}) for v in (dense(k=8), hybrid()))
    shared = [n for n in dense(k=8).nodes()["retrieve"].walk() if n.recipe in ours & theirs]
    assert {n.stage for n in shared} == {"corpus", "query", "chunk", "embed", "index", "search"}


def test_fingerprints_are_the_same_in_every_process():
    code = "from toys import *; print(dense().fingerprint, hybrid().fingerprint, keywords().fingerprint)"
    found = set()
    for seed in ("0", "1"):
        path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(run.stdout.strip())
    assert found == {f"{dense().fingerprint} {hybrid().fingerprint} {keywords().fingerprint}"}


def test_a_service_is_its_variant_and_every_layer_in_order():
    services = [
        Service(dense()),
        Service(keywords()),
        Service(dense(), (Cache(),)),
        Service(dense(), (Cache(ttl=60),)),
        Service(dense(), (Cache(at="retrieve"),)),
        Service(dense(), (Cache(), Cache(at="retrieve"))),
        Service(dense(), (Cache(at="retrieve"), Cache())),
    ]
    assert len({service.fingerprint for service in services}) == len(services)
    assert Service(dense(), (Cache(ttl=60),)).fingerprint == Service(dense(), (Cache(ttl=60.0),)).fingerprint


def test_presets_are_values():
    made = [getattr(presets, name) for name in presets.__all__]
    assert len({preset().fingerprint for preset in made}) == len(made)
    for preset in made:
        assert preset() == preset()
        assert preset().fingerprint == preset().fingerprint
    assert presets.hybrid(0.3).retrieve.alpha == 0.3
