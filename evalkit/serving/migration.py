"""From one variant to another without a pause: the new index is built beside the old one, then the live one changes.

Everything that is built lies in the store under the keys that evaluations and replays use: what a kill interrupted
goes on where it was, and what a migration made is not made again when it is served. Nothing of the old variant is
touched. Query vectors that were kept are void by themselves, since what keeps them names the embedder that made them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import numpy as np

from evalkit.datasets import Dataset
from evalkit.errors import InputError
from evalkit.evaluate.apply import worst
from evalkit.evaluate.nodes import Context, Result, actions, run_node, sources
from evalkit.evaluate.plan import make_plan
from evalkit.evaluate.timing import corpus_nodes
from evalkit.forms import conforms
from evalkit.metrics import Metric
from evalkit.paths import store_dir
from evalkit.progress import progress
from evalkit.serving.agreement import Agreement, agreement
from evalkit.serving.live import Live
from evalkit.store import DiskStore
from evalkit.types import Digest, Embedder, Node, Op, Store
from evalkit.values import Chunks
from evalkit.variants import Variant


@dataclass(frozen=True)
class Status:
    """How far a migration is.

    Parameters
    ----------
    done, documents : int
        Documents that every embedder of the new variant has done, and all of them.
    ready : bool
        Whether all that has to stand ready before the first request does: vectors, indexes, what else there is.
    """

    done: int
    documents: int
    ready: bool


@dataclass(eq=False)
class Migration:
    """Replaces the live variant by a new one.

    Parameters
    ----------
    old, new : Variant
    data : Dataset
        Its documents are the corpus.
    folder : path
        Where the pointer to the live variant lies, one folder for each thing that is served. Before the first
        switch `old` is live.
    store : Store, optional
        Default: the project's.
    batch : int
        Documents that are embedded between two savings. Where vectors depend on what else is in a call, the store's
        own blocks are what is saved.
    """

    old: Variant
    new: Variant
    data: Dataset
    folder: str | os.PathLike[str]
    store: Store = field(default_factory=lambda: DiskStore(store_dir()))
    batch: int = 100

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError(f"Migration: batch is {self.batch}; it must be at least 1")
        if self.old.fingerprint == self.new.fingerprint:
            raise InputError("Migration: old and new are the same variant")
        self._given = sources(self.data, 0, self.store)
        self._work = make_plan({"new": {node.recipe: node for node in corpus_nodes(self.new)}}).work
        self._live = Live(self.folder)

    @property
    def live(self) -> Variant:
        """The variant that is live."""
        return self._live.variant([self.old, self.new]) or self.old

    def status(self) -> Status:
        """Look into the store how far the building is; works on nothing."""
        known, waiting, everyone = dict(self._given), set[str](), set(self.data.documents.id)
        context = Context(self.store)
        for node in self._work:
            inputs = [known[parent.recipe] for parent in node.inputs if parent.recipe in known]
            if len(inputs) < len(node.inputs):
                waiting |= everyone if _embeds(node) else set()
                continue
            found = [(self.store.get(action), parts) for action, parts in actions(node, inputs)]
            if all(entry for entry, _ in found):
                known[node.recipe] = Result(tuple(entry[0] for entry, _ in found if entry))
            elif _embeds(node):
                for batch in (b for entry, parts in found if not entry for b in self._batches(node, parts, context)):
                    (action, _), *_ = actions(node, [Result((batch.digest,))])
                    waiting |= set() if self.store.get(action) else set(batch.document)
        ready = all(node.recipe in known for node in self._work)
        begun = ready or any(map(_embeds, self._work))
        return Status(len(everyone - waiting) if begun else 0, len(everyone), ready)

    def run(self) -> Status:
        """Build what the new variant needs, beside what the old one has; goes on where an earlier run ended.

        Raises
        ------
        EvalkitError
            If a stage fails; what was done by then is kept.
        """
        done, context = dict(self._given), Context(self.store)
        with progress("migrate", total=len(self.data.documents) * sum(map(_embeds, self._work))) as bar:
            for node in self._work:
                inputs = [done[parent.recipe] for parent in node.inputs]
                for action, parts in actions(node, inputs) if _embeds(node) else ():
                    if not self.store.get(action):
                        self._embed(node, action, self._batches(node, parts, context), context, bar.update)
                done[node.recipe] = run_node(node, inputs, context)
        return self.status()

    def _embed(
        self, node: Node, action: Digest, batches: list[Chunks], context: Context, advance: Callable[[int], Any]
    ) -> None:
        """Embed one of the store's blocks batch by batch, each kept as soon as it is there."""
        if len(batches) == 1:
            return  # the block is worked on as it is
        made = []
        for batch in batches:
            made.append(run_node(node, [Result((self.store.add(batch),))], context))
            advance(len(set(batch.document)))
        if not any(result.missing for result in made):  # what was made without all of its parts is never stored
            vectors = context.whole(tuple(block for result in made for block in result.blocks))
            self.store.put(action, vectors, worst([r.origin for r in made]), {"op": type(node.op).__name__})

    def _batches(self, node: Node, parts: list[tuple[Digest, ...]], context: Context) -> list[Chunks]:
        """Cut one of the store's blocks between documents, where that changes no vector."""
        chunks, op = cast("Chunks", context.whole(parts[0])), cast("Op", node.op)
        owners = list(chunks.document)
        starts = [i for i in range(len(owners)) if i == 0 or owners[i] != owners[i - 1]][:: self.batch]
        if len(starts) < 2 or not op.row_wise or not (op.row_exact or getattr(op, "journalled", False)):
            return [chunks]
        return [chunks.take(np.arange(a, b)) for a, b in pairwise([*starts, len(owners)])]

    def check(
        self, data: Dataset | None = None, metrics: Sequence[str | Metric] | None = None, *, k: int = 10
    ) -> Agreement:
        """Compare the rankings of old and new, and their quality where queries are judged.

        Parameters
        ----------
        data : Dataset, optional
            Other queries, on the same documents.
        metrics : sequence of str or Metric, optional
            As in `run`.
        k : int
            Depth of the overlap, in documents.

        Raises
        ------
        InputError
            If the new index is not complete, or `data` holds other documents.
        """
        self._refuse_unready()
        data = data if data is not None else self.data
        if data.documents.digest != self.data.documents.digest:
            raise InputError(f"Migration: {data.name} holds other documents than {self.data.name}, which is migrated")
        return agreement(self.old, self.new, data, metrics, k=k, store=self.store)

    def switch(self) -> None:
        """Let the new variant go live.

        Raises
        ------
        InputError
            If its index is not complete, or neither it nor the old one is live.
        """
        self._refuse_unready()
        self._live.point(self.new, self.old.fingerprint)

    def roll_back(self) -> None:
        """Let the old variant be live again, at once: its index is where it was.

        Raises
        ------
        InputError
            If neither it nor the new one is live.
        """
        if self._live.history:
            self._live.point(self.old, self.new.fingerprint)

    def _refuse_unready(self) -> None:
        status = self.status()
        if not status.ready:
            raise InputError(
                f"Migration: the new index is not complete ({status.done} of {status.documents} documents are "
                "embedded); run() it to its end first"
            )


def _embeds(node: Node) -> bool:
    return conforms(node.op, Embedder)
