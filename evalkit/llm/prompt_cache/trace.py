"""Prompts as they were sent: what a plan of cache breakpoints is tried on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from evalkit.errors import InputError
from evalkit.llm.messages import Breakpoints, Chat
from evalkit.llm.prompt_cache.request import Segment, segments_of
from evalkit.values import Prompt


@dataclass(frozen=True)
class TracedPrompt:
    """A prompt as it was sent.

    Parameters
    ----------
    at, began : float
        When it was sent and when its response began, in seconds. Both stay as they are under every placement,
        although a cache would have made responses begin sooner.
    model : str
    parts : tuple of (str, tuple of Segment)
        Named parts in the order of the prompt; one may be empty. Breakpoints of the segments are not looked at.
    """

    at: float
    began: float
    model: str
    parts: tuple[tuple[str, tuple[Segment, ...]], ...]


def trace_of(
    prompts: Sequence[Prompt],
    arrivals: Sequence[float],
    chat: Chat,
    count: Callable[[str], int],
    model: str,
    *,
    first_token: float | Sequence[float] = 0.0,
) -> tuple[TracedPrompt, ...]:
    """Lay prompts out as a chat does, as a trace with the parts system, context, history and question.

    Parameters
    ----------
    prompts : sequence of Prompt
    arrivals : sequence of float
        Seconds at which each is sent.
    chat : Chat
        Its `documents` decide whether context or history comes first; its breakpoints are not looked at.
    count : callable
        Counts the tokens of a text; called once a distinct text.
    model : str
    first_token : float or sequence of float
        Seconds from sending to the begin of the response, for all or for each.

    Raises
    ------
    InputError
        If there is not one arrival and one time to first token a prompt.
    """
    delays = [float(first_token)] * len(prompts) if isinstance(first_token, int | float) else list(first_token)
    if not len(prompts) == len(arrivals) == len(delays):
        raise InputError(
            f"{len(prompts)} prompts, {len(arrivals)} arrivals and {len(delays)} times to first token; give one each"
        )
    counted = cache(count)
    return tuple(
        TracedPrompt(float(at), float(at) + delay, model, _parts(prompt, chat, counted))
        for prompt, at, delay in zip(prompts, arrivals, delays, strict=True)
    )


def _parts(prompt: Prompt, chat: Chat, count: Callable[[str], int]) -> tuple[tuple[str, tuple[Segment, ...]], ...]:
    messages = replace(chat, breakpoints=Breakpoints()).messages(prompt)
    blocks = segments_of(messages, count)
    documents = len(prompt.passages)
    if chat.documents == "system":
        context, history = blocks[1 : 1 + documents], blocks[1 + documents : -1]
        between: tuple[tuple[str, tuple[Segment, ...]], ...] = ("context", context), ("history", history)
    else:
        history, context = blocks[1 : -1 - documents], blocks[-1 - documents : -1]
        between = ("history", history), ("context", context)
    return ("system", blocks[:1]), *between, ("question", blocks[-1:])
