"""What a routed trace of prompts costs: as it is billed, and as if its models shared one prompt cache."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.llm.prompt_cache.bills import Bill
from evalkit.llm.prompt_cache.placement import Placement

if TYPE_CHECKING:
    import pandas as pd

HOUR = 3600.0


@dataclass(frozen=True)
class Loss:
    """What it costs that models do not read what others wrote, over some requests.

    Parameters
    ----------
    requests : int
    dollars : float
        Routed less as if shared. Seldom below 0: where a model reads so far that it writes nothing which a model
        with a smaller minimum would have read.
    share : float
        Of what these prompts cost as if shared; nan where that is nothing.
    written, lost : int
        Tokens that are written more, and tokens that are read less.
    """

    requests: int
    dollars: float
    share: float
    written: int
    lost: int


@dataclass(frozen=True, eq=False)
class Switching:
    """A routed trace and what it is compared with. Bills are of the same prompts in the same order, that of time.

    Parameters
    ----------
    placement : Placement
    choice : tuple of str
        The model of each of the n requests.
    conversation : tuple of str
        Of each request; empty outside conversations.
    at : float64 array of shape (n,)
        When each was sent, in seconds.
    single, plain : {model: Bill}
        All requests sent to one model, with prompt caching and without.
    routed : Bill
        Each request at its model, which reads what was written for that model.
    shared : Bill
        Each request at its model's prices and minimum, as if it could read what was written for any model.
    uncached : Bill
        Each request at its model, without prompt caching.
    baseline : str
        The model that savings are counted from, all requests and no caching.
    notes : tuple of str
        Where a model's cacheable minimum is why nothing is cached.
    """

    placement: Placement
    choice: tuple[str, ...] = field(repr=False)
    conversation: tuple[str, ...] = field(repr=False)
    at: Array = field(repr=False)
    single: Mapping[str, Bill] = field(repr=False)
    plain: Mapping[str, Bill] = field(repr=False)
    routed: Bill = field(repr=False)
    shared: Bill = field(repr=False)
    uncached: Bill = field(repr=False)
    baseline: str
    notes: tuple[str, ...] = ()

    @property
    def requests(self) -> dict[str, int]:
        """How many requests each model is sent."""
        return dict(sorted(Counter(self.choice).items()))

    @cached_property
    def switched(self) -> Array:
        """Whether a turn goes to another model than the turn before it in its conversation: bool of shape (n,)."""
        before: dict[str, str] = {}
        found = np.zeros(len(self.choice), dtype=bool)
        for i, (model, talk) in enumerate(zip(self.choice, self.conversation, strict=True)):
            if talk:
                found[i] = before.get(talk, model) != model
                before[talk] = model
        return found

    @property
    def switches(self) -> int:
        """Turns that go to another model than the turn before them."""
        return int(self.switched.sum())

    @property
    def loss(self) -> Loss:
        """What switching models costs in all."""
        return self._loss(np.ones(len(self.choice), dtype=bool))

    @property
    def within(self) -> Loss:
        """What it costs on turns of conversations."""
        return self._loss(self._talk)

    @property
    def outside(self) -> Loss:
        """What it costs outside conversations: prompts of different users begin alike."""
        return self._loss(~self._talk)

    @property
    def cheapest(self) -> str:
        """The model that is cheapest for all requests, with caching."""
        return min(self.single, key=lambda model: (self.single[model].dollars, model))

    # --- what routing and caching save, one by one and together, in dollars of prompts against the baseline

    @property
    def without(self) -> float:
        """Dollars of the prompts at the baseline model without caching."""
        return self.plain[self.baseline].dollars

    @property
    def routing_saves(self) -> float:
        """Routing without caching."""
        return self.without - self.uncached.dollars

    @property
    def caching_saves(self) -> float:
        """Caching without routing."""
        return self.without - self.single[self.baseline].dollars

    @property
    def promised(self) -> float:
        """Both, added up. It can be more than there is to save: what is routed away is also counted as cached."""
        return self.routing_saves + self.caching_saves

    @property
    def together_save(self) -> float:
        """Routing and caching at once: `promised`, less what is counted twice, less the loss by switching."""
        return self.without - self.routed.dollars

    @property
    def counted_twice(self) -> float:
        """What the sum promises beyond what a cache that all models share would save.

        Below 0 where prompts are routed away that the baseline would have cached at a loss.
        """
        return self.promised - (self.without - self.shared.dollars)

    # --- as tables and words

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each way to send the trace: dollars of prompts, of answers, in all, and tokens by kind."""
        import pandas as pd

        rows: dict[str, Bill] = {f"{model}, no caching": bill for model, bill in self.plain.items()}
        rows |= {f"{model} alone": bill for model, bill in self.single.items()}
        rows |= {"routed, no caching": self.uncached, "routed, as if shared": self.shared, "routed": self.routed}
        return pd.DataFrame({name: _row(bill) for name, bill in rows.items()}).T.rename_axis("way")

    @property
    def row(self) -> dict[str, float]:
        """The figures of one line of a comparison."""
        loss = self.loss
        return {
            "dollars": self.routed.dollars, "as_if_shared": self.shared.dollars, "no_caching": self.uncached.dollars,
            "switching": loss.dollars, "switching_share": loss.share, "in_conversations": self.within.dollars,
            "written_more": loss.written, "read_less": loss.lost, "switches": self.switches,
            "hit_rate": self.routed.hit_rate, "in_all": self.routed.in_all,
        }  # fmt: skip

    @property
    def savings(self) -> dict[str, float]:
        """What is saved of the baseline, as shares, and where the sum of two savings goes."""
        named = {
            "routing saves": self.routing_saves, "caching saves": self.caching_saves, "added up": self.promised,
            "counted twice": -self.counted_twice, "lost by switching": -self.loss.dollars,
            "together": self.together_save,
        }  # fmt: skip
        return {name: dollars / self.without if self.without else math.nan for name, dollars in named.items()}

    @property
    def per_request(self) -> pd.DataFrame:
        """A row a request: model, and dollars of its prompt routed, as if shared, and without caching."""
        import pandas as pd

        columns = {"at": self.at, "conversation": self.conversation, "model": self.choice, "switched": self.switched}
        bills = {"routed": self.routed, "as_if_shared": self.shared, "no_caching": self.uncached}
        return pd.DataFrame(columns | {name: bill.prompts for name, bill in bills.items()})

    def blocks(self, seconds: float = HOUR) -> Array:
        """Return clusters for a bootstrap: int64 of shape (n,), the stretch of time in which a request comes.

        What a request pays depends on requests before it, for as long as entries live: neither single requests nor
        conversations are independent, stretches of at least the TTL nearly are. A conversation belongs to the stretch
        of its first turn.

        Parameters
        ----------
        seconds : float
            Of a stretch; the longest TTL by default.

        References
        ----------
        Künsch, *The Jackknife and the Bootstrap for General Stationary Observations*, 1989.
        """
        if not seconds > 0:
            raise InputError(f"blocks: a stretch of {seconds} s; it must be above 0, and at least the TTL")
        found = np.floor((self.at - self.at[0]) / seconds).astype(np.int64)
        first: dict[str, int] = {}
        return np.array([first.setdefault(t, b) if t else b for t, b in zip(self.conversation, found, strict=True)])

    def __repr__(self) -> str:
        loss, saved = self.loss, {name: f"{share:.1%}" for name, share in self.savings.items()}
        parts = ", ".join(f"{model} {count:,}" for model, count in self.requests.items())
        talks = len({talk for talk in self.conversation if talk})
        tokens = f"{loss.written:,} tokens more are written, {loss.lost:,} fewer are read"
        where = f"${self.within.dollars:,.4f} of it in {talks:,} conversations, with {self.switches:,} switches"
        base = f"${self.without:,.4f} ({self.baseline}, no caching)"
        both = f"{saved['added up']} added up, {saved['together']} together"
        lines = [
            f"{len(self.choice):,} prompts, {self.placement}: {parts}",
            f"routed         ${self.routed.dollars:,.4f}; as if models shared a cache ${self.shared.dollars:,.4f}",
            f"switching      costs ${loss.dollars:,.4f} ({loss.share:.1%}): {tokens}",
            f"               {where}",
            f"routing saves  {saved['routing saves']} of {base}, caching {saved['caching saves']}: {both}",
        ]
        alone = self.single[self.cheapest].dollars
        if alone < self.routed.dollars:
            lines.append(f"cheaper        {self.cheapest} alone: ${alone:,.4f}")
        return "\n".join([*lines, *(f"note           {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>{self.frame.to_html(na_rep='', float_format='{:.4g}'.format)}"

    @property
    def _talk(self) -> Array:
        return np.array([bool(talk) for talk in self.conversation])

    def _loss(self, of: Array) -> Loss:
        shared = math.fsum(self.shared.prompts[of])
        written = int((self.routed.written - self.shared.written)[of].sum())
        lost = int((self.shared.read - self.routed.read)[of].sum())
        dollars = math.fsum((self.routed.prompts - self.shared.prompts)[of])
        return Loss(int(of.sum()), dollars, dollars / shared if shared else math.nan, written, lost)


def _row(bill: Bill) -> dict[str, float]:
    used = bill.usage
    return {
        "dollars": bill.dollars, "answers": math.fsum(bill.answers), "in_all": bill.in_all, "input": used.input,
        "written": used.cache_write_5m + used.cache_write_1h, "read": used.cache_read, "hit_rate": bill.hit_rate,
    }  # fmt: skip
