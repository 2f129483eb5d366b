"""The suite of indexes refuses one that breaks the promise that each check is about."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from evalkit.stages.index.base import FaissIndex, check_k
from evalkit.stages.index.flat import FlatBuild, FlatSearch
from evalkit.testing import check, check_index
from evalkit.types import Node
from evalkit.values import Rankings


@dataclass(frozen=True)
class Build(FlatBuild):
    fault: str = ""
    k: int = 0

    def __call__(self, vectors):
        data = super().__call__(vectors).data
        return (
            FaissIndex(np.append(data, np.uint8(random.randrange(256))))
            if self.fault == "random"
            else FaissIndex(data)
        )


@dataclass(frozen=True)
class Search(FlatSearch):
    fault: str = ""
    calls: ClassVar[list[int]] = [0]

    def __call__(self, index, vectors, queries):
        found = super().__call__(index, vectors, queries)
        items, scores = list(found.items), list(found.scores)
        if self.fault == "kind":
            return queries
        if self.fault == "ascending":
            items, scores = [row[::-1] for row in items], [row[::-1] for row in scores]
        if self.fault == "outside":
            items = [row + 1 for row in items]
        if self.fault == "float32":
            scores = [row.astype(np.float32) for row in scores]
        if self.fault == "others" and len(queries) > 1 and len(vectors) > 7:
            items, scores = [row[:-1] for row in items], [row[:-1] for row in scores]
        if self.fault == "nothing":
            items, scores = [row[:0] for row in items], [row[:0] for row in scores]
        if self.fault == "deeper" and self.k == 3:
            items, scores = [row[1:] for row in items], [row[1:] for row in scores]
        if self.fault == "late twins" and len(vectors) > 300:
            kept = [row != 0 for row in items]
            items = [row[mask] for row, mask in zip(items, kept, strict=True)]
            scores = [row[mask] for row, mask in zip(scores, kept, strict=True)]
        if self.fault == "more":
            spare = [np.setdiff1d(np.arange(len(vectors)), row)[:1] for row in items]
            items = [np.append(row, more) for row, more in zip(items, spare, strict=True)]
            scores = [np.append(row, np.full(len(more), -1.0)) for row, more in zip(scores, spare, strict=True)]
        return Rankings.of(items, scores)


@dataclass(frozen=True)
class Spoilt:
    fault: str = ""

    def expand(self, vectors, query_vectors, k):
        if self.fault != "k = 0":
            check_k(k)
        build = Build(self.fault, k if self.fault == "build by k" else 0)
        return Node(Search(max(k, 1), self.fault), (Node(build, (vectors,)), vectors, query_vectors))


def test_an_index_without_fault_passes():
    check(Spoilt())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("kind", "gives Vectors, not Rankings"),
        ("ascending", "not in order"),
        ("outside", "a position outside"),
        ("more", "more than k"),
        ("nothing", "a query finds nothing"),
        ("float32", "scores are not the cosines"),
        ("late twins", "without its twin before it"),
        ("others", "alone finds others"),
        ("random", "a second build differs"),
        ("build by k", "the build depends on k"),
        ("deeper", "not the head of a deeper search"),
        ("k = 0", "k = 0 is not refused"),
    ],
)
def test_a_broken_index_is_refused(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_index(Spoilt(fault))
