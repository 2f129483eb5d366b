"""What switching models does to a prompt cache: a routed trace, billed as it is and as if models shared one cache.

A provider's cache is kept by model. A router that sends one conversation, or prompts that begin alike, to two models
has the same tokens written twice, and each copy is read less often, so that it runs out sooner. "Routing saves so
much, caching saves so much" leaves that out. Here the ledger says what it comes to: one `PromptCache` for each model
against one for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.calls import TTL
from evalkit.errors import InputError
from evalkit.llm.pricing import Prices
from evalkit.llm.prompt_cache.bills import Bill, Billing, Traces
from evalkit.llm.prompt_cache.placement import Placement
from evalkit.llm.prompt_cache.switched import Loss, Switching

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Bill", "Loss", "Switching", "SwitchingPlan", "escalating", "plan_switching", "price_switching", "sticky",
]  # fmt: skip


@dataclass(frozen=True)
class SwitchingPlan:
    """Choices of models and placements of breakpoints, each tried with each on one trace.

    Parameters
    ----------
    tried : {(choice, placement): Switching}
        By the name of the choice.
    """

    tried: Mapping[tuple[str, Placement], Switching]

    def of(self, choice: str, **marks: TTL | None) -> Switching:
        """Return what was found for one, such as ``plan.of("sticky", system="1h")``.

        Raises
        ------
        InputError
            If it was not tried.
        """
        wanted = {part: ttl for part, ttl in marks.items() if ttl is not None}
        for (name, placement), found in self.tried.items():
            if name == choice and dict(placement.marks) == wanted:
                return found
        known = "; ".join(f"{name}: {placement}" for name, placement in self.tried)
        raise InputError(f"no choice '{choice}' with {wanted}; tried: {known}")

    @property
    def frame(self) -> pd.DataFrame:
        """A row a choice and placement, in the order in which they were given; see `Switching.row`."""
        import pandas as pd

        index = pd.MultiIndex.from_tuples(
            [(name, str(placement)) for name, placement in self.tried], names=["choice", "placement"]
        )
        return pd.DataFrame([found.row for found in self.tried.values()], index=index)


def price_switching(
    trace: Traces,
    choice: Sequence[str],
    placement: Placement,
    prices: Prices,
    *,
    conversation: Sequence[str] | None = None,
    output: Sequence[int] | None = None,
    baseline: str = "",
    day: str = "",
) -> Switching:
    """Bill a routed trace, and what it is to be compared with; see `plan_switching`.

    Parameters
    ----------
    choice : sequence of str
        The model of each prompt.
    placement : Placement
    """
    plan = plan_switching(
        trace, {"": choice}, [placement], prices, conversation=conversation, output=output, baseline=baseline, day=day
    )
    return plan.tried["", placement]


def plan_switching(
    trace: Traces,
    choices: Mapping[str, Sequence[str]],
    placements: Sequence[Placement],
    prices: Prices,
    *,
    conversation: Sequence[str] | None = None,
    output: Sequence[int] | None = None,
    baseline: str = "",
    day: str = "",
) -> SwitchingPlan:
    """Bill a trace for several choices of models and placements of breakpoints: exact, each through the ledger.

    Times stay as they are, whatever model answers.

    Parameters
    ----------
    trace : sequence of TracedPrompt, or {model: such a sequence}
        The n prompts in order of time (see `trace_of`): the same for all models, or, where they count tokens or take
        their time differently, as each model would be sent them. The model that a prompt itself names is not looked
        at.
    choices : {name: sequence of str}
        The model of each prompt. Where one answers from a cache of answers, its prompt is left out of the trace.
    placements : sequence of Placement
    prices : Prices
    conversation : sequence of str, optional
        Of each prompt, empty outside conversations. Default: there are none.
    output : sequence of int, optional
        Tokens of each answer, the same for all models. Default: only prompts are billed.
    baseline : str
        Model that savings are counted from. Empty: of the chosen models the dearest for all prompts without caching.
    day : str
        ISO date of prices and minima; empty: the newest.

    Raises
    ------
    InputError
        If there is nothing to try, there is not one model, conversation and output a prompt, the trace is empty or
        not in order of time, an output is no count, the day no date, or a model has no price.
    """
    models = sorted({*(model for choice in choices.values() for model in choice), *([baseline] if baseline else [])})
    if not choices or not models:
        raise InputError("no choice of models for any prompt; give a model for each")
    if not placements:
        raise InputError("no placement to try; give at least one, Placement() for no caching")
    billing = Billing(trace, models, prices, output, day)
    n = billing.at.size
    talks = tuple(conversation) if conversation is not None else ("",) * n
    sizes = {f"choice '{name}'": len(choice) for name, choice in choices.items()} | {"'conversation'": len(talks)}
    for what, size in sizes.items():
        if size != n:
            raise InputError(f"{what} is given for {size} requests, the trace has {n}; give one each")
    plain = {model: billing.bill([model] * n, Placement()) for model in models}
    base = baseline or max(models, key=lambda model: (plain[model].dollars, model))
    uncached = {name: billing.bill(choice, Placement()) for name, choice in choices.items()}
    tried = {}
    for placement in placements:
        single = {model: billing.bill([model] * n, placement) for model in models}
        for name, choice in choices.items():
            own = {model: [i for i, chosen in enumerate(choice) if chosen == model] for model in sorted(set(choice))}
            notes = (billing.note(model, requests, placement) for model, requests in own.items())
            tried[name, placement] = Switching(
                placement, tuple(choice), talks, billing.at, single, plain,
                billing.bill(choice, placement), billing.bill(choice, placement, shared=True),
                uncached[name], base, tuple(note for note in notes if note),
            )  # fmt: skip
    return SwitchingPlan(tried)


def sticky(choice: Sequence[str], conversation: Sequence[str]) -> tuple[str, ...]:
    """Return a choice of models that stays, in each conversation, with the model of its first turn.

    Parameters
    ----------
    choice, conversation : sequences of str
        Of each request in order of time; outside conversations (empty) nothing changes.

    Raises
    ------
    InputError
        If there are more of one than of the other.
    """
    first: dict[str, str] = {}
    pairs = _paired("sticky", choice, conversation)
    return tuple(first.setdefault(talk, model) if talk else model for model, talk in pairs)


def escalating(choice: Sequence[str], conversation: Sequence[str], ladder: Sequence[str]) -> tuple[str, ...]:
    """Return a choice of models that never goes down again within a conversation.

    Parameters
    ----------
    choice, conversation : sequences of str
        As for `sticky`.
    ladder : sequence of str
        The models from the lowest to the highest.

    Raises
    ------
    InputError
        If there are more choices or more conversations, a model is on the ladder twice, or a chosen one is not on it.
    """
    pairs = _paired("escalating", choice, conversation)
    if twice := [model for i, model in enumerate(ladder) if model in ladder[:i]]:
        raise InputError(f"escalating: the ladder {', '.join(ladder)} has {twice[0]} twice; name each model once")
    rung = {model: i for i, model in enumerate(ladder)}
    if unknown := sorted(set(choice) - set(rung)):
        raise InputError(f"escalating: {unknown[0]} is not on the ladder {', '.join(ladder)}; name it there")
    reached: dict[str, int] = {}
    found = []
    for model, talk in pairs:
        step = max(rung[model], reached.get(talk, 0)) if talk else rung[model]
        reached[talk] = step
        found.append(ladder[step])
    return tuple(found)


def _paired(what: str, choice: Sequence[str], conversation: Sequence[str]) -> list[tuple[str, str]]:
    if len(choice) != len(conversation):
        raise InputError(
            f"{what}: {len(choice)} models for {len(conversation)} conversations; give one of each a request"
        )
    return list(zip(choice, conversation, strict=True))
