"""Where to set cache breakpoints: what every placement would have cost for a trace of prompts, and the best one."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from itertools import combinations
from typing import TYPE_CHECKING

from evalkit.calls import TTL, TokenUsage
from evalkit.errors import InputError
from evalkit.llm.messages import Breakpoints
from evalkit.llm.pricing import Price, Prices
from evalkit.llm.prompt_cache.ledger import PromptCache
from evalkit.llm.prompt_cache.request import MOST_BREAKPOINTS, CacheRequest, Mark, Prefixes, Segment
from evalkit.llm.prompt_cache.trace import TracedPrompt, trace_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CachePlan",
    "Outcome",
    "Placement",
    "TracedPrompt",
    "break_even",
    "placements",
    "plan_caching",
    "trace_of",
]

_KINDS = ("input", "cache_write_5m", "cache_write_1h", "cache_read")


@dataclass(frozen=True)
class Placement:
    """Breakpoints, each behind a named part.

    Parameters
    ----------
    marks : tuple of (str, TTL)
        In the order of the prompt. Where a part is empty, its breakpoint is left out, as `Chat` does.
    """

    marks: tuple[tuple[str, TTL], ...] = ()

    def __str__(self) -> str:
        return ", ".join(f"{part} {ttl}" for part, ttl in self.marks) or "no caching"

    @property
    def breakpoints(self) -> Breakpoints:
        """The same for `Chat`.

        Raises
        ------
        InputError
            If it marks a part that a chat has no breakpoint for.
        """
        known = [field.name for field in fields(Breakpoints)]
        if unknown := [part for part, _ in self.marks if part not in known]:
            raise InputError(f"a Chat has no breakpoint behind '{unknown[0]}'; it has: {', '.join(known)}")
        return Breakpoints(**dict(self.marks))


@dataclass(frozen=True)
class Outcome:
    """What a placement would have cost.

    Parameters
    ----------
    placement : Placement
    usage : TokenUsage
        Of all prompts, answers not counted.
    dollars : float
        Of all prompts, answers not counted.
    saved : float
        Dollars against no caching; negative where it costs more.
    prompts, hits : int
        All prompts, and those that read something from the cache.
    pays_from : int or None
        Reads of what was written from which on it is cheaper than no caching: the largest of its TTLs and of the
        trace's prices; see `break_even`. None: it never is, or nothing is marked.
    note : str
        Breakpoints that do nothing, and why.
    """

    placement: Placement
    usage: TokenUsage
    dollars: float
    saved: float
    prompts: int
    hits: int
    pays_from: int | None
    note: str = ""

    @property
    def saved_share(self) -> float:
        """Share of the cost without caching; 0 if that was nothing."""
        without = self.dollars + self.saved
        return self.saved / without if without else 0.0

    @property
    def hit_rate(self) -> float:
        """Prompts that read something from the cache / all prompts."""
        return self.hits / self.prompts

    @property
    def reuses(self) -> float:
        """Tokens read / tokens written: how many times what was written was read. NaN if nothing was."""
        written = self.usage.cache_write_5m + self.usage.cache_write_1h
        return self.usage.cache_read / written if written else math.nan


@dataclass(frozen=True, repr=False)
class CachePlan:
    """Every placement of breakpoints, tried on one trace.

    Parameters
    ----------
    outcomes : tuple of Outcome
        Cheapest first; of equally cheap ones the one with fewest breakpoints, then with the shortest TTLs.
    """

    outcomes: tuple[Outcome, ...]

    @property
    def best(self) -> Outcome:
        """The cheapest; no caching if none saves anything."""
        return self.outcomes[0]

    def of(self, **marks: TTL | None) -> Outcome:
        """Return the outcome of one placement, such as ``plan.of(system="1h", context="5m")``.

        Raises
        ------
        InputError
            If it was not tried.
        """
        wanted = {part: ttl for part, ttl in marks.items() if ttl is not None}
        for outcome in self.outcomes:
            if dict(outcome.placement.marks) == wanted:
                return outcome
        raise InputError(
            f"no placement {wanted}; tried: {'; '.join(sorted(str(o.placement) for o in self.outcomes))}"
        )

    @property
    def frame(self) -> pd.DataFrame:
        """One row a placement, cheapest first."""
        import pandas as pd

        rows = [
            {"placement": str(o.placement), "dollars": o.dollars, "saved": o.saved, "saved_share": o.saved_share}
            | {kind: getattr(o.usage, kind) for kind in _KINDS}
            | {"hit_rate": o.hit_rate, "reuses": o.reuses, "pays_from": o.pays_from, "note": o.note}
            for o in self.outcomes
        ]
        return pd.DataFrame(rows).astype({"pays_from": "Int64"}).set_index("placement")

    def __repr__(self) -> str:
        best, without = self.best, self.of()
        lines = [
            f"{best.prompts:,} prompts, {len(self.outcomes)} placements of breakpoints",
            f"without caching  ${without.dollars:,.4f} for {without.usage.prompt:,} tokens",
        ]
        if best.placement.marks:
            read = f"what was written was read {best.reuses:.1f} times, and pays from {best.pays_from}"
            lines.append(f"best             {best.placement}: ${best.dollars:,.4f}, saves {best.saved_share:.1%}")
            lines.append(f"                 {best.hits:,} of {best.prompts:,} prompts hit; {read}")
        else:
            lines.append("best             no caching: no placement saves anything")
        notes = dict.fromkeys(note for o in self.outcomes if len(o.placement.marks) == 1 and (note := o.note))
        return "\n".join([*lines, *(f"note             {note}" for note in notes)])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>{self.frame.to_html(na_rep='', float_format='{:.4g}'.format)}"


def break_even(price: Price, ttl: TTL) -> int | None:
    """Return from how many reads on writing once is cheaper than sending uncached each time.

    The smallest n with ``write + n * read < (1 + n) * input``; None if no n will do. A first write, then n reads.
    """
    written = price.write_5m if ttl == "5m" else price.write_1h
    plain, write, read = (  # exact, as printed: 10 / 9.75 must not be a matter of rounding
        Fraction(str(price.input if dollars is None else dollars)) for dollars in (price.input, written, price.read)
    )
    if read >= plain:
        return 0 if write < plain else None
    return max(0, math.floor((write - plain) / (plain - read)) + 1)


def placements(parts: Sequence[str]) -> Iterator[Placement]:
    """Yield every legal placement behind some of these parts: at most 4 breakpoints, those of 1h before those of 5m.

    Fewest breakpoints first, and of equally many the shortest TTLs.
    """
    for count in range(min(MOST_BREAKPOINTS, len(parts)) + 1):
        for hours in range(count + 1):
            ttls: list[TTL] = ["1h" if i < hours else "5m" for i in range(count)]
            for chosen in combinations(parts, count):
                yield Placement(tuple(zip(chosen, ttls, strict=True)))


def plan_caching(
    trace: Sequence[TracedPrompt], prices: Prices, *, seams: Sequence[str] | None = None, day: str = ""
) -> CachePlan:
    """Try every placement of breakpoints on a trace: exact, each through the ledger of `PromptCache`.

    Parameters
    ----------
    trace : sequence of TracedPrompt
        All with the same part names; put in order of `at`.
    prices : Prices
    seams : sequence of str, optional
        Parts behind which a breakpoint may stand; default all but the last, which is the question.
    day : str
        ISO date of the prices and minima; empty: the newest.

    Raises
    ------
    InputError
        If the trace is empty, part names differ, a seam is none of them, a response begins before its prompt is
        sent, or a model has no price.
    """
    names = _names(trace)
    chosen = names[:-1] if seams is None else tuple(seams)
    if unknown := [seam for seam in chosen if seam not in names]:
        raise InputError(f"no part '{unknown[0]}' in the trace; it has: {', '.join(names)}")
    sent = [_Sent.of(traced, prices, day) for traced in sorted(trace, key=lambda traced: traced.at)]
    idle = {seam: _idle(seam, sent) for seam in chosen}
    tried = [_try(placement, sent, idle) for placement in placements([n for n in names if n in chosen])]
    without = tried[0].dollars
    compared = [replace(outcome, saved=without - outcome.dollars) for outcome in tried]
    return CachePlan(tuple(sorted(compared, key=lambda outcome: outcome.dollars)))  # stable: see `placements`


@dataclass(frozen=True)
class _Sent:
    """A prompt of the trace, hashed and counted once for all placements."""

    at: float
    began: float
    prefixes: Prefixes
    ends: Mapping[str, int]
    price: Price
    minimum: int

    @classmethod
    def of(cls, traced: TracedPrompt, prices: Prices, day: str) -> _Sent:
        if not traced.began >= traced.at:
            raise InputError(f"a response begins at {traced.began} s, before its prompt is sent at {traced.at} s")
        segments: list[Segment] = []
        ends = {}
        for name, part in traced.parts:
            segments += [replace(segment, ttl=None) for segment in part]
            if any(segment.tokens for segment in part):
                ends[name] = max(i for i, segment in enumerate(segments) if segment.tokens)
        prefixes = CacheRequest(traced.model, tuple(segments)).prefixes
        price = prices.of(traced.model, day, prefixes.tokens[-1] if segments else 0)
        return cls(traced.at, traced.began, prefixes, ends, price, prices.of(traced.model, day).minimum)


def _names(trace: Sequence[TracedPrompt]) -> tuple[str, ...]:
    """Return the part names that all prompts share."""
    if not trace:
        raise InputError("the trace is empty; give at least one prompt")
    names = [tuple(name for name, _ in traced.parts) for traced in trace]
    if other := [i for i, given in enumerate(names) if given != names[0]]:
        raise InputError(
            f"prompt {other[0]} has the parts {names[other[0]]}, the first one {names[0]}; name all alike"
        )
    if not names[0] or len(set(names[0])) < len(names[0]):
        raise InputError(f"the parts of a prompt are {names[0]}; give at least one, each with a name of its own")
    return names[0]


def _idle(seam: str, sent: Sequence[_Sent]) -> str:
    """Say where a breakpoint behind a part does nothing, and why."""
    ends = [(one.prefixes.tokens[one.ends[seam]], one) for one in sent if seam in one.ends]
    short = [(tokens, one) for tokens, one in ends if tokens < one.minimum]
    if not ends:
        return f"{seam} is empty in every prompt"
    if not short:
        return ""
    if len(short) < len(ends):
        return f"{seam} ends under the cacheable minimum in {len(short):,} of {len(sent):,} prompts"
    longest, one = max(short, key=lambda end: end[0])
    minimum = f"{one.prefixes.model}'s cacheable minimum of {one.minimum:,} tokens"
    return f"{seam} ends after at most {longest:,} tokens, below {minimum}: it saves nothing there"


def _try(placement: Placement, sent: Sequence[_Sent], idle: Mapping[str, str]) -> Outcome:
    """Send a trace through a fresh cache."""
    minima = {one.prefixes.model: one.minimum for one in sent}
    ledger = PromptCache(minima.__getitem__)
    usages, dollars = [], []
    for one in sent:
        marks: list[Mark] = [(one.ends[part], ttl) for part, ttl in placement.marks if part in one.ends]
        charge = ledger.charge_marked(one.prefixes, marks, one.at)
        ledger.begun(charge, one.began)
        usages.append(charge.usage)
        dollars.append(one.price.dollars(charge.usage))
    usage = TokenUsage(**{kind: sum(getattr(used, kind) for used in usages) for kind in _KINDS})
    needed = [break_even(price, ttl) for price in {one.price for one in sent} for _, ttl in placement.marks]
    pays_from = max((n for n in needed if n is not None), default=None) if None not in needed else None
    note = "; ".join(idle[part] for part, _ in placement.marks if idle[part])
    hits = sum(used.cache_read > 0 for used in usages)
    return Outcome(placement, usage, math.fsum(dollars), 0.0, len(sent), hits, pays_from, note)
