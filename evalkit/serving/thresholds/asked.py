"""Traffic made ready for a sweep: what was asked when, its vector, and what an answer that is given must share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from evalkit.columns import Array, Ragged, Strings
from evalkit.datasets import Dataset
from evalkit.datasets.traffic import Ingestion
from evalkit.errors import InputError
from evalkit.evaluate.prompting import of_questions
from evalkit.serving.arrivals import Arrival
from evalkit.serving.corpora import Version, versions
from evalkit.serving.layers.semantic import Guard, SemanticCache
from evalkit.stages import SentenceTransformer
from evalkit.stages.embed.base import embedded
from evalkit.types import CORPUS, QUERY, Store
from evalkit.values import Documents, Prompts, Queries, Vectors
from evalkit.variants import Variant


@dataclass(frozen=True, eq=False)
class Asked:
    """Requests in order of arrival, behind those whose answers were there before: m rows, the first `before` of them.

    Parameters
    ----------
    before : int
    at : float64 array of shape (m,)
        When the cache is asked, in seconds; nan: never.
    words : sequence of str
        What each asks.
    text : int64 array of shape (m,)
        Rows of `vectors`: equal texts have one.
    vectors : float32 array of shape (texts, d)
        Of length 1.
    parts : {guard: int64 array of shape (m,)}
        Numbers of parts: an entry is never given outside of its own.
    seconds : float64 array of shape (m,)
        From when the cache is asked to when an answer that the model gives can be found in it.
    version : int64 array of shape (m,)
        Of the corpus, when the request comes.
    changes : sequence of (float, frozenset of str)
        When documents came or went, and which.
    tags : sequence of frozenset of str
        Documents that each answer rests on; empty where nothing asks for them.
    answers : sequence of str
        What the model says to each, for rules that learn.
    """

    before: int
    at: Array
    words: Sequence[str]
    text: Array
    vectors: Array
    parts: Mapping[Guard, Array]
    seconds: Array
    version: Array
    changes: Sequence[tuple[float, frozenset[str]]]
    tags: Sequence[frozenset[str]]
    answers: Sequence[str]


def prepare(
    arrivals: Sequence[Arrival],
    precomputed: Sequence[Arrival],
    cache: SemanticCache,
    guards: Sequence[Guard],
    lookups: Array,
    seconds: Array,
    answers: Sequence[str],
    *,
    variant: Variant | None = None,
    data: Dataset | None = None,
    events: Sequence[Ingestion] = (),
    store: Store | None = None,
) -> Asked:
    """Make traffic ready.

    Parameters
    ----------
    arrivals : sequence of Arrival
        In order of time.
    precomputed : sequence of Arrival
    cache : SemanticCache
        Its embedder; what ends an entry.
    guards : sequence of str
    lookups : float64 array of shape (n,)
        When the cache is asked for each request.
    seconds : float64 array of shape (n,)
        As in `Asked`, of the requests.
    answers : sequence of str
        Of the precomputed, then of the requests.
    variant, data, events, store
        As for `replay`; a guard or an end that rests on documents needs variant and data.

    Raises
    ------
    InputError
        If they are needed and not given.
    """
    rows = [*precomputed, *arrivals]
    come = np.array([0.0] * len(precomputed) + [a.at for a in arrivals])
    data = data if data is not None else _NO_DOCUMENTS
    corpus = versions(data, events)
    changes = [(version.at, version.changed) for version in corpus[1:]]
    version = np.searchsorted([at for at, _ in changes], come, side="right")
    words = [row.text for row in rows]
    distinct = list(dict.fromkeys(words))
    place = {text: i for i, text in enumerate(distinct)}
    seen = [one.data.documents.digest for one in corpus]
    apart = set(guards) == {"corpus"} and len(set(seen)) == len(seen)  # what is touched is out of reach anyway
    touched = bool(changes) and cache.until == "ingestion touches it" and not apart
    sources: list[tuple[str, ...]] = []
    if touched or "context" in guards:
        if variant is None:
            raise InputError(
                "threshold sweep: what an answer rests on is asked for (guard 'context', or documents that come in), "
                "and nothing says how it is made; give variant and data, or guard='none' and until='nothing'"
            )
        sources = _sources(variant, corpus, rows, version, store)
    guarded: dict[Guard, Sequence[Hashable]] = {
        "corpus": [seen[v] for v in version.tolist()],
        "context": [tuple(sorted(set(names))) for names in sources],
        "none": [""] * len(rows),
    }
    return Asked(
        len(precomputed),
        np.concatenate([np.zeros(len(precomputed)), lookups]),
        words,
        np.array([place[text] for text in words], dtype=np.int64),
        _vectors(distinct, cache, variant, data, bool(changes), store),
        {
            guard: _numbers([(r.tenant, r.history, g) for r, g in zip(rows, guarded[guard], strict=True)])
            for guard in guards
        },
        np.concatenate([np.zeros(len(precomputed)), seconds]),
        version.astype(np.int64),
        changes,
        [frozenset(names) for names in sources],
        answers,
    )


_NO_DOCUMENTS = Dataset(
    "traffic",
    Documents(*(Strings.of([]) for _ in range(4))),
    Queries(Strings.of([]), Strings.of([]), Ragged.of([])),
    {},
)


def _numbers(values: Sequence[Hashable]) -> Array:
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)


def _vectors(
    texts: Sequence[str],
    cache: SemanticCache,
    variant: Variant | None,
    data: Dataset,
    changing: bool,
    store: Store | None,
) -> Array:
    """Return the vectors that a service's cache would see: float32 of shape (texts, d)."""
    if variant is not None:
        node = cache.vectors(variant.nodes())
    else:
        node = embedded(cache.embedder if cache.embedder is not None else SentenceTransformer(), CORPUS, QUERY)
    if CORPUS in set(node.walk()) and (changing or variant is None):
        raise InputError(
            "threshold sweep: the embedder is fitted to the documents, so its vectors change with them; "
            "give variant and data without events, or another embedder"
        )
    value, rows = of_questions(node, data, [(text, ()) for text in texts], store)
    return np.ascontiguousarray(cast("Vectors", value).values[rows], dtype=np.float32)


def _sources(
    variant: Variant,
    corpus: Sequence[Version],
    rows: Sequence[Arrival],
    version: Array,
    store: Store | None,
) -> list[tuple[str, ...]]:
    """Return the documents in the prompt of each request, as they were when it came."""
    found: list[tuple[str, ...]] = [()] * len(rows)
    for number, one in enumerate(corpus):
        asked = np.flatnonzero(version == number).tolist()
        if not asked:
            continue
        questions = [(rows[i].text, rows[i].history) for i in asked]
        value, places = of_questions(variant.nodes()["prompt"], one.data, questions, store)
        named = list(cast("Prompts", value).sources)
        for i, place in zip(asked, places, strict=True):
            found[i] = tuple(named[place])
    return found
