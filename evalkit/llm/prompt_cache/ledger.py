"""The ledger of Anthropic's prompt cache: what each request reads, writes and pays for.

A pure state machine: time comes in as a number, nothing is called, nothing is waited for. The simulated Claude, the
loopback server and the planner all ask this one. The rules are those of Anthropic's public documentation
between September and November 2026. Where they leave a choice, the ledger takes this one, unchecked against the API:

- An entry can be read at a time t if response begun <= t < last use + TTL: no longer at the very end.
- An entry is its prefix, whatever TTL it was written with. A breakpoint of the other TTL reads it too, and each read
  renews it by its own TTL, not by the reader's: otherwise an hour could be had at the price of five minutes.
- Every breakpoint looks for the longest entry within its look-back, and renews what it finds. The longest of all is
  read. So a system prompt stays warm while requests read past it, as long as they mark it.
- What lies before the read is not paid for, so nothing is written there, also where a breakpoint finds no entry.
- The minimum holds for the prefix of each breakpoint, not for the whole prompt. A breakpoint below it counts among
  the four and in the order of TTLs, and does nothing else.
- A breakpoint behind an empty block is refused.
- All blocks of a run of tool calls, or of tool results, are looked at; together they use up one position.
- A request whose response never begins has renewed what it read, and leaves nothing that it wrote.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evalkit.calls import TTL, TokenUsage
from evalkit.errors import InputError
from evalkit.llm.prompt_cache.request import SECONDS, CacheRequest, Mark, Prefixes, Segment, segments_of

__all__ = ["CacheRequest", "Charge", "PromptCache", "Segment", "segments_of"]


@dataclass(frozen=True)
class Charge:
    """What a request is charged for its prompt.

    Parameters
    ----------
    usage : TokenUsage
        Of the prompt; `output` is 0.
    at : float
        When the request started, in seconds.
    written : tuple of (bytes, TTL)
        Keys of the prefixes that can be read once its response has begun.
    """

    usage: TokenUsage
    at: float
    written: tuple[tuple[bytes, TTL], ...] = ()


@dataclass(slots=True)
class _Entry:
    """A prefix that was written, readable from `since` until before `until`."""

    ttl: TTL
    since: float
    until: float


class PromptCache:
    """The prompt caches of all models and workspaces.

    Entries that have run out are dropped, at a cost spread over later requests: memory grows with the distinct
    prefixes of the last hour, not with time. It is not locked: use it from one thread.

    Parameters
    ----------
    minimum : callable
        Returns the smallest cacheable prefix of a model, in tokens. Called once a model.
    """

    def __init__(self, minimum: Callable[[str], int]) -> None:
        self._minimum = minimum
        self._minima: dict[str, int] = {}
        self._held: dict[bytes, list[_Entry]] = {}
        self._ends: list[
            tuple[float, bytes]
        ] = []  # a heap, one item a key; a renewed entry is put back when it is up
        self._now = float("-inf")

    def __len__(self) -> int:
        return len(self._held)

    def charge(self, request: CacheRequest, now: float) -> Charge:
        """Charge a request that starts now: find what it reads, renew it, and say what it will have written.

        Also a request for no output (``max_tokens: 0``) is charged so: that is how a cache is warmed in advance. One
        that is turned away (400, 429, 529) is not to be charged.

        Parameters
        ----------
        request : CacheRequest
        now : float
            Seconds; never less than at the charge before.

        Raises
        ------
        InputError
            If time runs backwards.
        """
        return self.charge_marked(request.prefixes, request.marks, now)

    def charge_marked(self, prefixes: Prefixes, marks: Sequence[Mark], now: float) -> Charge:
        """Charge a request by its prefixes and breakpoints, which must be in order and legal: see `charge`."""
        self._pass_to(now)
        tokens, minimum = prefixes.tokens, self._minimum_of(prefixes.model)
        usable = [(i, ttl) for i, ttl in marks if tokens[i] >= minimum]
        hit = max((self._found(prefixes, i) for i, _ in usable), default=-1)
        read = tokens[hit] if hit >= 0 else 0
        beyond = [(i, ttl) for i, ttl in usable if i > hit]
        hours = max((tokens[i] for i, ttl in beyond if ttl == "1h"), default=read)
        end = tokens[beyond[-1][0]] if beyond else read
        prompt = tokens[-1] if tokens else 0
        usage = TokenUsage(prompt - end, end - hours, hours - read, read)
        return Charge(usage, now, tuple((prefixes.keys[i], ttl) for i, ttl in beyond))

    def begun(self, charge: Charge, at: float) -> None:
        """The response to a charged request begins: what the request wrote can be read from then on.

        Parameters
        ----------
        charge : Charge
        at : float
            Seconds. It may lie ahead, where that is known.

        Raises
        ------
        InputError
            If the response begins before its request.
        """
        if not at >= charge.at:
            raise InputError(
                f"a response begins at {at} s, before its request at {charge.at} s; give times of one clock"
            )
        for key, ttl in charge.written:
            until = charge.at + SECONDS[ttl]
            if at < until:
                self._hold(key, _Entry(ttl, at, until))

    def _found(self, prefixes: Prefixes, i: int) -> int:
        """Renew the longest readable prefix within a breakpoint's look-back and return it; -1 if there is none."""
        held, keys, now = self._held, prefixes.keys, self._now
        for j in prefixes.within_look_back(i):
            readable = [entry for entry in held.get(keys[j], ()) if entry.since <= now < entry.until]
            for entry in readable:
                entry.until = now + SECONDS[entry.ttl]
            if readable:
                return j
        return -1

    def _hold(self, key: bytes, new: _Entry) -> None:
        entries = self._held.get(key)
        if entries is None:
            self._held[key] = [new]
            heapq.heappush(self._ends, (new.until, key))
            return
        for entry in entries:  # concurrent first requests all write: one entry is enough where their times overlap
            if entry.ttl == new.ttl and entry.since <= new.until and new.since <= entry.until:
                entry.since, entry.until = min(entry.since, new.since), max(entry.until, new.until)
                return
        entries.append(new)

    def _pass_to(self, now: float) -> None:
        if not now >= self._now:
            raise InputError(f"the prompt cache is asked at {now} s after {self._now} s; ask in order of time")
        self._now = now
        while self._ends and self._ends[0][0] <= now:
            _, key = heapq.heappop(self._ends)
            if entries := [entry for entry in self._held[key] if now < entry.until]:
                self._held[key] = entries
                heapq.heappush(self._ends, (max(entry.until for entry in entries), key))
            else:
                del self._held[key]

    def _minimum_of(self, model: str) -> int:
        if model not in self._minima:
            self._minima[model] = self._minimum(model)
        return self._minima[model]
