"""A router: the question, or who asks it, decides which model or which pipeline answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from evalkit.errors import InputError, nearest
from evalkit.served import Handler, Next, Request, Serving
from evalkit.serving.routing.base import OWN, Rule
from evalkit.serving.routing.routes import Route
from evalkit.serving.routing.rules import WordRules
from evalkit.types import Node, Seam
from evalkit.values import Value


@dataclass(frozen=True)
class Router:
    """A rule decides who answers: another model, another pipeline, a path without retrieval.

    Layers that are listed behind it see the node that was chosen, so caches keep models apart; a cache of answers
    that is listed before it is refused. What the rule names without a route for it goes the service's own way, as
    does what the rule leaves open. Routers may follow one another: a generator takes the place of the one that the
    router before it chose, with that one's prompt.

    Notes ``route``: the name that the rule said, ``own`` where it said none; of several routers the last one's.
    What the rule works out is booked as the stage ``route``.

    Parameters
    ----------
    at : {"answer"}
    rule : Rule
        Default: three tiers by the question's words.
    routes : tuple of Route
        Default: none, so that the rule's decisions are noted and nothing else changes.
    """

    at: Literal["answer"] = "answer"
    rule: Rule = field(default_factory=WordRules)
    routes: tuple[Route, ...] = ()

    chooses_model: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.at != "answer":
            raise InputError(f"Router: at is {self.at!r}; it stands at 'answer', before anything is worked out")
        names = [route.name for route in self.routes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"Router: two routes are named '{twice[0]}'; name each once")
        if unknown := [name for name in names if name not in self.rule.names]:
            said = nearest(unknown[0], self.rule.names)
            raise InputError(f"Router: {type(self.rule).__name__} never says '{unknown[0]}'{said}")

    def needs(self, nodes: Mapping[Seam, Node]) -> tuple[Node, ...]:
        """Return the answers of all routes, and what the rule asks for."""
        return (*self.rule.needs(nodes), *(route.node(nodes["answer"]) for route in self.routes))

    def start(self, serving: Serving) -> Handler:
        """Return the router at work."""
        decide = self.rule.start(serving)
        routes = {route.name: route for route in self.routes}
        chosen: dict[tuple[str, Node], Node] = {}  # a node's recipe is hashed once

        async def handle(request: Request, go_on: Next) -> Value:
            name = await decide(request)
            request.note("route", name if name != OWN else "own")
            if name not in routes:
                return await go_on(request)
            key = name, go_on.node
            if key not in chosen:
                chosen[key] = routes[name].node(go_on.node)
            return await go_on.to(chosen[key])(request)

        return handle
