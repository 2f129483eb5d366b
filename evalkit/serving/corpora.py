"""The corpus while traffic lasts: what stands ready before the first request, and after every ingestion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from evalkit.datasets import Dataset
from evalkit.datasets.traffic import Ingestion
from evalkit.errors import InputError
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan, nodes_of
from evalkit.types import Digest, Node, Store
from evalkit.values import Value


@dataclass(frozen=True)
class Corpus:
    """Documents as they stand for some time, with all that is made from them alone.

    Parameters
    ----------
    at : float
        Seconds from the traffic's start at which it comes.
    digest : Digest
    changed : frozenset of str
        Documents added, replaced or removed since the corpus before.
    ready : {recipe: Value}
        Chunks, vectors, indexes.
    """

    at: float
    digest: Digest
    changed: frozenset[str]
    ready: Mapping[Digest, Value]


def corpora(
    ends: Iterable[Node], data: Dataset, events: Sequence[Ingestion], store: Store, seed: int = 0
) -> tuple[Corpus, ...]:
    """Make ready what some nodes need of every version of the corpus, in order of time.

    Before the first event the documents are there that none adds later. An index is swapped in one step, after it
    was built beside the old one: building takes no time on the clock.

    Raises
    ------
    InputError
        If an event names a document that the data set does not have.
    """
    nodes = [node for node in nodes_of(ends).values() if not node.per_query]
    return tuple(_made(nodes, version, store, seed) for version in versions(data, events))


@dataclass(frozen=True)
class Version:
    """The documents from some time on.

    Parameters
    ----------
    at : float
        Seconds from the traffic's start.
    changed : frozenset of str
        Documents added, replaced or removed since the version before.
    data : Dataset
        With the documents that are there.
    """

    at: float
    changed: frozenset[str]
    data: Dataset


def versions(data: Dataset, events: Sequence[Ingestion]) -> list[Version]:
    """Return the corpus as it changes, in order of time; before the first event documents are there that none adds.

    Raises
    ------
    InputError
        If an event names a document that the data set does not have.
    """
    known = set(data.documents.id)
    if unknown := sorted({name for e in events for name in (*e.added, *e.removed)} - known):
        raise InputError(f"replay: an event names the unknown document '{unknown[0]}'")
    present = known - {name for event in events for name in event.added}
    found = [Version(0.0, frozenset(), _with(data, present))]
    for event in sorted(events, key=lambda e: e.at):
        present = (present | set(event.added)) - set(event.removed)
        found.append(Version(event.at, frozenset((*event.added, *event.removed)), _with(data, present)))
    return found


def _with(data: Dataset, present: set[str]) -> Dataset:
    rows = [i for i, name in enumerate(data.documents.id) if name in present]
    return data if len(rows) == len(data.documents) else replace(data, documents=data.documents.take(rows))


def _made(nodes: Sequence[Node], version: Version, store: Store, seed: int) -> Corpus:
    context = Context(store)
    plan = make_plan({"": {node.recipe: node for node in nodes}})
    done = execute(plan, sources(version.data, seed, store), context)
    ready = {node.recipe: context.whole(done[node.recipe].blocks) for node in nodes}
    return Corpus(version.at, version.data.documents.digest, version.changed, ready)
