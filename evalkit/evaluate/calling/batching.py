"""Calls that are handed in together and fetched later.

A batch is noted in the journal before anyone waits for it, so whoever goes on after a kill fetches it, and what was
paid for is not handed in again. A call to which a batch has no answer is handed in anew by the next run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, cast

from evalkit import fingerprint
from evalkit.calls import CallFailed
from evalkit.evaluate.calling.caller import Asked, Caller
from evalkit.evaluate.calling.spending import OverBudget
from evalkit.types import BatchGenerator, Digest
from evalkit.values import Answer, Prompt

_IN_A_BATCH = 10_000
_GONE = "404"
_NOBODY = Asked(Prompt("", (), (), ()), 0)
"""In the place of a call that a batch holds and nobody asks for any more."""


async def answer_in_batches(caller: Caller, todo: Mapping[Digest, Asked]) -> dict[Digest, Answer | CallFailed]:
    """Have calls made by a generator that takes batches.

    Until the last batch is counted, the bounds of all stay set aside. A batch that could pass the limit on spending
    is not handed in; its calls are missing from what is returned.

    Parameters
    ----------
    caller : Caller
        Of a `BatchGenerator`.
    todo : {key: Asked}

    Raises
    ------
    CallFailed
        If a batch is not taken, or cannot be fetched.
    """
    generator = cast("BatchGenerator", caller.generator)
    answers = caller.recorded(todo)
    rest = {key: asked for key, asked in todo.items() if key not in answers}
    with ExitStack() as aside:
        async with _handing_in:  # who asks the same meanwhile finds it noted
            batches = await _handed_in(caller, generator, rest, aside)
        for name, keys in batches.items():
            mine = {key: rest[key] for key in keys if key in rest}
            if name in _fetching:  # by another block of this run
                await _fetching[name].wait()
                answers.update(caller.known(list(mine)))
                continue
            _fetching[name] = asyncio.Event()
            try:
                answers.update(await _fetched(caller, generator, name, keys, mine))
            finally:
                _fetching.pop(name).set()
    return answers


_handing_in = asyncio.Lock()  # all calls run in evalkit's own loop
_fetching: dict[str, asyncio.Event] = {}


async def _fetched(
    caller: Caller, generator: BatchGenerator, name: str, keys: Sequence[Digest], mine: Mapping[Digest, Asked]
) -> dict[Digest, Answer | CallFailed]:
    """Wait for a batch, and keep what it gave."""
    answers: dict[Digest, Answer | CallFailed] = {}
    try:
        fetched = await generator.fetch(name, [mine.get(key, _NOBODY) for key in keys], caller.clock)
    except CallFailed as failure:
        if failure.call.stop.startswith(_GONE):
            _no_longer(caller, name, keys)
        raise
    for i, key in enumerate(keys):
        if key not in mine:
            continue
        got = answers[key] = fetched[i]
        if isinstance(got, CallFailed):
            caller.failed(key, mine[key], got)
            _no_longer(caller, name, [key])
        else:
            caller.keep(key, mine[key], got)
    return answers


async def _handed_in(
    caller: Caller, generator: BatchGenerator, todo: Mapping[Digest, Asked], aside: ExitStack
) -> dict[str, list[Digest]]:
    """Hand in what is not handed in yet; return every batch's name and keys, in their places."""
    found: dict[str, list[Digest]] = {}
    fresh, times = [], {}
    for key in todo:
        entry, times[key] = _noted(caller, key)
        if entry is None:
            fresh.append(key)
        else:
            found.setdefault(entry["batch"], list(entry["keys"]))
    owed = sum(caller.bound(todo[key]) for keys in found.values() for key in keys if key in todo)
    aside.enter_context(caller.spending.held(owed, owed=True))
    for start in range(0, len(fresh), _IN_A_BATCH):
        keys = fresh[start : start + _IN_A_BATCH]
        some = [todo[key] for key in keys]
        try:
            aside.enter_context(caller.spending.held(sum(map(caller.bound, some))))
        except OverBudget:
            break
        if caller.ended():
            break
        name = await generator.hand_in(some, caller.clock)
        caller.journal.record_all({_note(key, times[key]): {"batch": name, "keys": keys} for key in keys})
        found[name] = keys
    return found


def _noted(caller: Caller, key: Digest) -> tuple[Mapping[str, Any] | None, int]:
    """The batch that a call is in, or None; and how many batches it was in that gave it no answer."""
    times = 0
    while entry := caller.journal.recall([_note(key, times)]).get(_note(key, times)):
        if not caller.journal.recall([_over(entry["batch"], key)]):
            return entry, times
        times += 1
    return None, times


def _no_longer(caller: Caller, batch: str, keys: Sequence[Digest]) -> None:
    """Note that a batch has no answer to some calls."""
    caller.journal.record_all({_over(batch, key): {"batch": batch} for key in keys})


def _note(key: Digest, times: int) -> Digest:
    return fingerprint.digest(["in batch", key, times])


def _over(batch: str, key: Digest) -> Digest:
    return fingerprint.digest(["no longer in batch", batch, key])
