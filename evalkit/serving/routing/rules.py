"""Rules that anybody can read: words of the question, who asks it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from evalkit.columns import Strings
from evalkit.errors import InputError
from evalkit.served import Request, Serving
from evalkit.serving.routing.base import OWN, Decide, Nodes, Routes, by_node
from evalkit.types import QUERY, Node
from evalkit.values import Queries

_WORD = re.compile(r"\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}-]\w+)*")


@dataclass(frozen=True)
class When:
    """A condition on a question's words, and the route that it leads to. All that is stated must hold.

    Parameters
    ----------
    route : str
        Empty: the service's own way.
    words : tuple of str
        One of them stands in the question, whole, in any case; a text of several words stands there as it is. None
        stated: any question.
    pattern : str
        A regular expression that is found in the question, in any case. Empty: any question.
    at_least, at_most : int or None
        Words that the question has.
    """

    route: str
    words: tuple[str, ...] = ()
    pattern: str = ""
    at_least: int = 0
    at_most: int | None = None

    def __post_init__(self) -> None:
        if not all(word.strip() for word in self.words):
            raise InputError("When: a word is blank; leave it out")
        if self.at_least < 0 or (self.at_most is not None and self.at_most < self.at_least):
            raise InputError(
                f"When: at_least {self.at_least} and at_most {self.at_most} words fit no question; "
                "at_least is at least 0 and not above at_most"
            )
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise InputError(f"When: pattern {self.pattern!r} is no regular expression ({error})") from None

    def holds(self, text: str) -> bool:
        """Whether a question is meant."""
        count = sum(1 for _ in _WORD.finditer(text))
        if count < self.at_least or (self.at_most is not None and count > self.at_most):
            return False
        if self.words and not _any_of(self.words).search(text):
            return False
        return not self.pattern or re.search(self.pattern, text, re.IGNORECASE) is not None


@cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    found = "|".join(r"\s+".join(map(re.escape, word.split())) for word in words)
    return re.compile(rf"(?<!\w)(?:{found})(?!\w)", re.IGNORECASE)


_DEMANDING = """
    why compare compared difference differences versus vs analyse analyze evaluate explain advantages disadvantages
    pros relationship implications
"""
COMPLEXITY = (
    When("complex", words=(*_DEMANDING.split(), "step by step")),
    When("complex", at_least=25),
    When("medium", words=("how", "describe", "summarise", "summarize", "list", "which", "steps")),
    When("medium", at_least=12),
    When("simple"),
)
"""Three tiers of questions by what they ask for and by their length. Chosen by hand, fitted to nothing."""


@dataclass(frozen=True)
class Match:
    """The op of `WordRules`: the first condition that holds."""

    rules: tuple[When, ...]

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "route"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, queries: Queries) -> Routes:
        """Decide question by question; the score is the condition's place, ``len(rules)`` where none holds."""
        found = [
            next((i for i, rule in enumerate(self.rules) if rule.holds(text)), len(self.rules))
            for text in queries.text
        ]
        names = [*(rule.route for rule in self.rules), OWN]
        return Routes(Strings.of(names[i] for i in found), np.array(found, dtype=np.float64))


@dataclass(frozen=True)
class WordRules:
    """The first condition on a question's words that holds says its route; where none does it goes its own way.

    Its time is booked as the stage ``route``, like that of any classifier.

    Parameters
    ----------
    rules : tuple of When
        In the order in which they are tried. Default: three tiers, ``complex``, ``medium`` and ``simple``.
    """

    rules: tuple[When, ...] = COMPLEXITY

    @property
    def names(self) -> tuple[str, ...]:
        """Routes that it may name."""
        return tuple(dict.fromkeys(rule.route for rule in self.rules if rule.route != OWN))

    def needs(self, nodes: Nodes) -> tuple[Node, ...]:
        """Return the node of its decision."""
        return (Node(Match(self.rules), (QUERY,)),)

    def start(self, serving: Serving) -> Decide:
        """Return the rule at work."""
        return by_node(*self.needs(serving.nodes))


@dataclass(frozen=True)
class Group:
    """Who takes a route.

    Parameters
    ----------
    route : str
    members : tuple of str
        Users or tenants by name, in this very form.
    """

    route: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class ByUser:
    """Users go where their group goes; those of no group, ``otherwise``. It takes no time.

    Parameters
    ----------
    groups : tuple of Group
    otherwise : str
        Empty: the service's own way.
    """

    groups: tuple[Group, ...] = ()
    otherwise: str = OWN

    who: ClassVar[str] = "user"

    def __post_init__(self) -> None:
        all_members = [name for group in self.groups for name in group.members]
        twice = sorted({name for name in all_members if all_members.count(name) > 1})
        if twice:
            raise InputError(f"{type(self).__name__}: '{twice[0]}' is in two groups; a {self.who} takes one route")

    @property
    def names(self) -> tuple[str, ...]:
        """Routes that it may name."""
        found = (*(group.route for group in self.groups), self.otherwise)
        return tuple(dict.fromkeys(name for name in found if name != OWN))

    def needs(self, nodes: Nodes) -> tuple[Node, ...]:
        """Nothing."""
        return ()

    def start(self, serving: Serving) -> Decide:
        """Return the rule at work."""
        routes = {name: group.route for group in self.groups for name in group.members}

        async def decide(request: Request) -> str:
            return routes.get(getattr(request, self.who), self.otherwise)

        return decide


@dataclass(frozen=True)
class ByTenant(ByUser):
    """Tenants go where their group goes; those of no group, ``otherwise``. It takes no time.

    Parameters
    ----------
    groups : tuple of Group
    otherwise : str
        Empty: the service's own way.
    """

    who: ClassVar[str] = "tenant"
