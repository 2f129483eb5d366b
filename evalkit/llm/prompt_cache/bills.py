"""Bills of a trace of prompts: which model each is sent to, and which cache it finds there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache, cached_property

import numpy as np

from evalkit.calls import TokenUsage
from evalkit.columns import Array
from evalkit.errors import InputError, nearest
from evalkit.llm.pricing import Price, Prices
from evalkit.llm.prompt_cache.ledger import PromptCache
from evalkit.llm.prompt_cache.placement import Placement
from evalkit.llm.prompt_cache.request import CacheRequest, Mark, Prefixes
from evalkit.llm.prompt_cache.trace import TracedPrompt

Traces = Sequence[TracedPrompt] | Mapping[str, Sequence[TracedPrompt]]
"""Prompts as they are sent to every model, or as they are to each: models count tokens in their own ways."""


@dataclass(frozen=True, eq=False)
class Bill:
    """What n prompts cost, and their answers.

    Parameters
    ----------
    tokens : int64 array of shape (n, 5)
        Of each request, by the fields of `TokenUsage`; output is 0 where it was not given.
    prompts : float64 array of shape (n,)
        Dollars of each prompt.
    answers : float64 array of shape (n,)
        Dollars of each answer; nan where output was not given.
    """

    tokens: Array = field(repr=False)
    prompts: Array = field(repr=False)
    answers: Array = field(repr=False)

    @cached_property
    def usage(self) -> TokenUsage:
        """Tokens of all requests."""
        return TokenUsage(*(int(n) for n in self.tokens.sum(axis=0)))

    @cached_property
    def dollars(self) -> float:
        """Of all prompts."""
        return math.fsum(self.prompts)

    @cached_property
    def in_all(self) -> float:
        """Dollars of prompts and answers; nan where output was not given."""
        return math.fsum([*self.prompts, *self.answers])

    @property
    def written(self) -> Array:
        """Tokens that each request writes: int64 of shape (n,)."""
        return np.asarray(self.tokens[:, 1] + self.tokens[:, 2])

    @property
    def read(self) -> Array:
        """Tokens that each request reads: int64 of shape (n,)."""
        return np.asarray(self.tokens[:, 3])

    @property
    def hit_rate(self) -> float:
        """Prompts that read something from the cache / all prompts."""
        return float((self.read > 0).mean())


@dataclass(frozen=True)
class _Sent:
    """A prompt, hashed once whatever model it is sent to."""

    at: float
    began: float
    prefixes: Prefixes
    ends: Mapping[str, int]

    @classmethod
    def of(cls, traced: TracedPrompt) -> _Sent:
        if not traced.began >= traced.at:
            raise InputError(f"a response begins at {traced.began} s, before its prompt is sent at {traced.at} s")
        segments, ends = [], {}
        for name, part in traced.parts:
            segments += [replace(segment, ttl=None) if segment.ttl else segment for segment in part]
            if any(segment.tokens for segment in part):
                ends[name] = max(i for i, segment in enumerate(segments) if segment.tokens)
        return cls(traced.at, traced.began, CacheRequest("", tuple(segments)).prefixes, ends)


class Billing:
    """A trace of n prompts, ready to be billed for any choice of models and any placement.

    Parameters
    ----------
    traces : sequence of TracedPrompt, or {model: such a sequence}
        In order of time; those of several models are of the same requests. Their own models are not looked at.
    models : sequence of str
        All that may be billed.
    prices : Prices
    output : sequence of int or None
        Tokens of the n answers.
    day : str
        ISO date of prices and minima; empty: the newest.

    Raises
    ------
    InputError
        If there is no prompt, traces are not of the same requests, a model has no trace or no price, the day is no
        ISO date, or an output no whole number from 0 on.
    """

    def __init__(
        self, traces: Traces, models: Sequence[str], prices: Prices, output: Sequence[int] | None, day: str
    ) -> None:
        _check_day(day)
        self.minima = {model: prices.of(model, day).minimum for model in models}
        self._price: Callable[[str, int], Price] = cache(lambda model, prompt: prices.of(model, day, prompt))
        self._sent = _of_models(traces, models)
        self.at = np.array([one.at for one in self._sent[models[0]]])
        n = self.at.size
        if not n or np.any(np.diff(self.at) < 0):
            raise InputError("the trace is empty or not in order of time; give prompts as they were sent")
        if output is not None and len(output) != n:
            raise InputError(f"{len(output)} counts of output tokens for {n} prompts; give one each")
        for i, count in enumerate(output if output is not None else ()):
            if not (count >= 0 and count % 1 == 0):  # nan and infinity are neither
                raise InputError(f"prompt {i} has {count} output tokens; give a whole number, 0 or more")
        self._output = output
        for model, trace in self._sent.items():
            if [one.at for one in trace] != self.at.tolist():
                raise InputError(f"the trace of {model} is not of the same requests: other times, or other many")

    def bill(self, choice: Sequence[str], placement: Placement, *, shared: bool = False) -> Bill:
        """Send each prompt to its model, through fresh caches.

        Parameters
        ----------
        choice : sequence of str
            A model for each of the n prompts.
        placement : Placement
        shared : bool
            One cache for all models, which is not how it is, in the place of one for each.
        """
        ledgers = {model: PromptCache(self.minima.__getitem__) for model in ([""] if shared else self.minima)}
        tokens = np.zeros((len(choice), 5), dtype=np.int64)
        prompts, answers = np.empty(len(choice)), np.full(len(choice), math.nan)
        for i, model in enumerate(choice):
            one, ledger = self._sent[model][i], ledgers["" if shared else model]
            prefixes = Prefixes(model, one.prefixes.keys, one.prefixes.tokens, one.prefixes.positions)
            charge = ledger.charge_marked(prefixes, self._marks(one, placement), one.at)
            ledger.begun(charge, one.began)
            used = charge.usage
            price = self._price(model, used.prompt)
            tokens[i, :4] = used.input, used.cache_write_5m, used.cache_write_1h, used.cache_read
            prompts[i] = price.dollars(used)
            if self._output is not None:
                tokens[i, 4] = self._output[i]
                answers[i] = price.dollars(TokenUsage(output=self._output[i]))
        return Bill(tokens, prompts, answers)

    def note(self, model: str, requests: Sequence[int], placement: Placement) -> str:
        """Say where a model's minimum keeps some requests from being cached; empty where it does not."""
        minimum = self.minima[model]
        ends = [
            max((one.prefixes.tokens[end] for end, _ in self._marks(one, placement)), default=0)
            for one in (self._sent[model][i] for i in requests)
        ]
        short = sum(end < minimum for end in ends)
        if not short or not placement.marks:
            return ""
        if short < len(ends):
            return (
                f"{model}'s cacheable minimum of {minimum:,} tokens: {short:,} of {len(ends):,} prompts are under it"
            )
        return (
            f"{model} caches none of its {len(ends):,} prompts: at most {max(ends):,} tokens are marked, "
            f"below its cacheable minimum of {minimum:,}"
        )

    @staticmethod
    def _marks(one: _Sent, placement: Placement) -> list[Mark]:
        return [(one.ends[part], ttl) for part, ttl in placement.marks if part in one.ends]


def _check_day(day: str) -> None:
    """Refuse what is not written as prices' days are, since days are compared as text."""
    try:
        known = not day or date.fromisoformat(day).isoformat() == day
    except (TypeError, ValueError):
        known = False
    if not known:
        raise InputError(f"day is {day!r}; give an ISO date such as '2026-10-07', or none for the newest prices")


def _of_models(traces: Traces, models: Sequence[str]) -> dict[str, list[_Sent]]:
    """Hash each trace; the names of parts must be the same all over."""
    given = traces if isinstance(traces, Mapping) else {"": traces}
    names = {tuple(name for name, _ in traced.parts) for trace in given.values() for traced in trace}
    if len(names) > 1:
        raise InputError(f"prompts have the parts {' and '.join(map(str, sorted(names)))}; name all alike")
    if not isinstance(traces, Mapping):
        sent = [_Sent.of(traced) for traced in traces]
        return dict.fromkeys(models, sent)
    if missing := [model for model in models if model not in traces]:
        raise InputError(
            f"give a trace for each model: there is none for '{missing[0]}'{nearest(missing[0], traces)}"
        )
    return {model: [_Sent.of(traced) for traced in traces[model]] for model in models}
