"""The prompts that a variant makes of traffic, and their answers, apart from any experiment."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from evalkit.columns import Ragged, Strings
from evalkit.datasets import Dataset, Traffic
from evalkit.errors import InputError
from evalkit.evaluate.calling.answering import answer_all
from evalkit.evaluate.calling.caller import Asked, Caller
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, query_order, sources
from evalkit.evaluate.plan import make_plan
from evalkit.paths import store_dir
from evalkit.store import DiskStore
from evalkit.types import Generator, Node, Store
from evalkit.values import Answer, Prompt, Prompts, Queries, Value
from evalkit.variants import Variant

Conversation = tuple[str, ...]


def prompts(
    variant: Variant, data: Dataset, traffic: Traffic | None = None, *, store: Store | None = None
) -> list[Prompt]:
    """Return what a variant would ask its model, a prompt a request, in order of arrival. No model is called.

    Parameters
    ----------
    variant : Variant
        Up to its assembler.
    data : Dataset
        Its documents are the corpus.
    traffic : Traffic, optional
        Default: the data set's. A turn of a conversation has the turns before it as its history, with the answers
        that the traffic states.
    store : Store, optional
        Default: the project's.

    Raises
    ------
    InputError
        If there is no traffic, or a request has no text.
    """
    traffic = traffic if traffic is not None else data.traffic
    if not len(traffic):
        raise InputError(f"prompts: data set {data.name} has no traffic; give some, or make it (generate_traffic)")
    asked = conversations(traffic)
    if not all(text.strip() for text, _ in asked):
        raise InputError("prompts: a request of this traffic has no text; a trace of token counts makes no prompts")
    made, rows = of_questions(variant.nodes()["prompt"], data, asked, store)
    found = Prompt.rows(cast("Prompts", made))
    return [found[row] for row in rows]


def of_questions(
    node: Node, data: Dataset, asked: Sequence[tuple[str, Conversation]], store: Store | None = None
) -> tuple[Value, list[int]]:
    """Work a node out for questions that are no queries of the data set; equal ones are asked once.

    Parameters
    ----------
    node : Node
    data : Dataset
        Its documents are the corpus.
    asked : sequence of (str, tuple of str)
        Texts, and what was said before each.
    store : Store, optional
        Default: the project's.

    Returns
    -------
    value : Value
        A row a distinct question.
    rows : list of int
        Of each question that is asked.
    """
    distinct = list(dict.fromkeys(asked))
    names = [f"{i:0{len(str(len(distinct)))}d}" for i in range(len(distinct))]
    queries = Queries(
        Strings.of(names), Strings.of(text for text, _ in distinct), Ragged.of([said for _, said in distinct])
    )
    store = store if store is not None else DiskStore(store_dir())
    given, context = replace(data, queries=queries, qrels={}, answers={}, attributes={}), Context(store)
    done = execute(make_plan({"": {"": node}}), sources(given, 0, store), context)
    made = context.whole(done[node.recipe].blocks)
    row_of = dict(zip(query_order(given, 0), range(len(names)), strict=True))
    by_asked = {one: row_of[name] for one, name in zip(distinct, names, strict=True)}
    return made, [by_asked[one] for one in asked]


def ask(
    generator: Generator, prompts: Sequence[Prompt], *, at_once: int = 8, store: Store | None = None
) -> list[Answer]:
    """Answer prompts, each by a call of its own, with what it took in its ``call``.

    A prompt that is given again is asked for another sample of its answer.

    Parameters
    ----------
    generator : Generator
    prompts : sequence of Prompt
    at_once : int
        Calls under way at the same time; 1: one after another, in the order of the prompts.
    store : Store, optional
        In whose journal answers are kept and found again. Default: none.

    Raises
    ------
    EvalkitError
        If calls failed, with how many and why.
    """
    if at_once < 1:
        raise InputError(f"ask: at_once is {at_once}; it must be at least 1")
    samples: Counter[Prompt] = Counter()
    wanted = []
    for prompt in prompts:
        wanted.append(Asked(prompt, samples[prompt]))
        samples[prompt] += 1
    return answer_all(Caller(generator, store, at_once=at_once), wanted, [])


def conversations(traffic: Traffic) -> list[tuple[str, Conversation]]:
    """Return every request's text, and what was said before it in its conversation, with the answers stated."""
    said: dict[str, list[str]] = defaultdict(list)
    found: list[tuple[str, Conversation]] = []
    for text, answer, conversation in zip(traffic.text, traffic.answer, traffic.conversation, strict=True):
        before = said[conversation] if conversation else []
        found.append((text, tuple(before)))
        before += [text, answer]
    return found
