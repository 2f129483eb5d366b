"""Many prompts answered: each distinct one by one call, several at a time, or in batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import cast

from evalkit.calls import INTERRUPTED, CallFailed
from evalkit.clock import run_async
from evalkit.errors import EvalkitError
from evalkit.evaluate.calling.batching import answer_in_batches
from evalkit.evaluate.calling.caller import Asked, Caller, Ended
from evalkit.types import Digest
from evalkit.values import Answer

_FAILURES_IN_A_ROW = 5
_one_block_at_a_time = threading.Lock()
"""Blocks share prompts, and the second finds the first one's calls journalled; and `AT_ONCE` holds for all."""


def answer_all(caller: Caller, wanted: Sequence[Asked], missing: list[str]) -> list[Answer]:
    """Have every distinct one answered once, several at a time, begun in their order.

    A call that fails lets the others go on, and what they gave is kept; where nothing sent this way can succeed, or
    several fail in a row, no further call is begun. What is incomplete is told in `missing`.

    Raises
    ------
    EvalkitError
        If calls failed, with how many and why.
    Ended
        If the run ended before all was done.
    """
    keys = [caller.key(asked) for asked in wanted]
    batched = getattr(caller.generator, "batched", False)
    with nullcontext() if batched else _one_block_at_a_time:
        found = caller.known(list(dict.fromkeys(keys)))
        todo = {key: asked for key, asked in zip(keys, wanted, strict=True) if key not in found}
        work = answer_in_batches if batched and todo else _each
        made: Mapping[Digest, Answer | BaseException] = run_async(work(caller, todo))
    _raise_failures(made, todo)
    found.update(cast("Mapping[Digest, Answer]", made))
    calls = (found[key].call for key in dict.fromkeys(keys))
    broken = sum(call is not None and call.stop == INTERRUPTED for call in calls)
    if broken:
        missing.append(f"{type(caller.generator).__name__}: {broken} of {len(set(keys))} answers are cut short")
    return [found[key] for key in keys]


async def _each(caller: Caller, todo: Mapping[Digest, Asked]) -> dict[Digest, Answer | BaseException]:
    in_a_row, stop = 0, False
    made: dict[Digest, Answer | BaseException] = {}
    waiting = iter(todo.items())

    async def work() -> None:
        nonlocal in_a_row, stop
        for key, asked in waiting:
            if stop:
                return
            try:
                made[key], in_a_row = await caller.make(key, asked), 0
            except CallFailed as failure:
                made[key], in_a_row = failure, in_a_row + 1
                stop |= failure.final or in_a_row >= _FAILURES_IN_A_ROW
            except BaseException as error:
                made[key], stop = error, True

    workers = [asyncio.ensure_future(work()) for _ in range(min(caller.at_once, len(todo)))]
    await asyncio.gather(*workers)
    return made


def _raise_failures(made: Mapping[Digest, Answer | BaseException], todo: Mapping[Digest, Asked]) -> None:
    errors = [error for error in made.values() if isinstance(error, BaseException)]
    others = [error for error in errors if not isinstance(error, CallFailed | Ended)]
    if others:
        raise others[0]
    failures = [error for error in errors if isinstance(error, CallFailed)]
    if failures:
        worst = next((failure for failure in failures if failure.final), failures[0])
        if worst.final or len(todo) == 1:
            raise EvalkitError(str(worst))
        left = len(todo) - sum(isinstance(answer, Answer) for answer in made.values())
        raise EvalkitError(f"{worst} ({left} of {len(todo)} calls are without an answer; run again to make them)")
    if len(made) < len(todo) or errors:
        raise Ended
