"""What a run's systems put into their prompts and answered, out of the store; nothing is run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from evalkit.datasets import Dataset
from evalkit.errors import InputError
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, preview, sources
from evalkit.evaluate.plan import Plan, make_plan
from evalkit.types import QUERY, Store
from evalkit.values import Answers, Prompts, Queries
from evalkit.variants import Variant


class Answered(NamedTuple):
    """One system's passages and answers.

    Parameters
    ----------
    passages : {query id: texts}
        As they went into the prompt, best first.
    answers : {query id: text}
    """

    passages: Mapping[str, tuple[str, ...]]
    answers: Mapping[str, str]


def answered(variants: Mapping[str, Variant], label: str, data: Dataset, seed: int, store: Store) -> Answered:
    """Read one system's prompts and answers back.

    Parameters
    ----------
    variants : {label: Variant}
        All systems of the run: what they share was worked on once.
    label : str
        The system.
    data : Dataset
    seed : int
        Of the run.
    store : Store

    Raises
    ------
    InputError
        If the store has not all of it: the run made no answers, or kept them elsewhere.
    """
    plan = make_plan({name: {str(seam): node for seam, node in v.nodes().items()} for name, v in variants.items()})
    ends = plan.wanted[label]
    needed = {n.recipe: n for seam in ("prompt", "answer") for n in plan.nodes[ends[seam]].walk()}
    plan = Plan(needed, {label: ends}, len(needed))
    given, context = sources(data, seed, store), Context(store)
    if not all(preview(plan, given, store).values()):
        raise InputError(
            f"system '{label}': the store has not all of its answers; run it on this data with a metric of answers, "
            "and with this store"
        )
    done = execute(plan, given, context)
    asked = cast("Queries", context.whole(done[QUERY.recipe].blocks)).id
    prompts = cast("Prompts", context.whole(done[ends["prompt"]].blocks))
    answers = cast("Answers", context.whole(done[ends["answer"]].blocks))
    passages = {query: tuple(found) for query, found in zip(asked, prompts.passages, strict=True)}
    return Answered(passages, dict(zip(asked, answers.text, strict=True)))
