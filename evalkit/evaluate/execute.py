"""The batch interpreter: runs a plan's nodes on Dask, here or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from evalkit.evaluate.cluster import run_on_cluster
from evalkit.evaluate.nodes import STOPPED, Context, Failure, Finished, Outcome, Result, run_task
from evalkit.evaluate.plan import Plan
from evalkit.machine import threads
from evalkit.types import Digest, Node


def execute(plan: Plan, given: Mapping[Digest, Result], context: Context) -> dict[Digest, Result]:
    """Run every node of the plan once, on this machine's cores.

    Parameters
    ----------
    plan : Plan
    given : {recipe: Result}
        The sources.
    context : Context

    Returns
    -------
    {recipe: Result}

    Raises
    ------
    EvalkitError
        If an op fails: with its stage, its class and the reason. `attempt` goes on with what does not need it.
    """
    done = attempt(plan, given, context)
    for outcome in done.values():
        if isinstance(outcome, Failure):
            raise outcome.error()
    return cast("dict[Digest, Result]", done)


def attempt(
    plan: Plan,
    given: Mapping[Digest, Result],
    context: Context,
    finished: Finished = lambda node, outcome: None,
    scheduler: str | None = None,
) -> dict[Digest, Outcome]:
    """Run every node of the plan that can be run.

    Parameters
    ----------
    plan, given, context
        As for `execute`.
    finished : function
        Told of every node's outcome as soon as it is there, one at a time, in the caller's thread.
    scheduler : str, optional
        Address of a Dask cluster whose workers see the same store; default: threads of this process.

    Returns
    -------
    {recipe: Result or Failure}
        Where the run is interrupted (Ctrl-C, a kernel's stop button) or ended by ``context.stop``, what has not
        been worked on is `STOPPED`.
    """
    done: dict[Digest, Outcome] = {recipe: given[recipe] for recipe in plan.nodes if recipe in given}
    todo = {recipe: node for recipe, node in plan.nodes.items() if recipe not in given}

    def tell(recipe: Digest, outcome: Outcome) -> None:
        done[recipe] = outcome
        finished(todo[recipe], outcome)

    try:
        if scheduler:
            run_on_cluster(scheduler, todo, done, context, tell)
        elif todo:
            _run_on_threads(todo, done, context, tell)
    except KeyboardInterrupt:
        context.stop.set()
    return {recipe: done.get(recipe, STOPPED) for recipe in plan.nodes}


def _run_on_threads(
    todo: Mapping[Digest, Node],
    done: Mapping[Digest, Outcome],
    context: Context,
    tell: Callable[[Digest, Outcome], None],
) -> None:
    from dask.callbacks import Callback
    from dask.threaded import get

    # Keys are in the order of the plan: a tie between tasks goes to the variant that was named first.
    names = {recipe: f"{i:06d}-{recipe}" for i, recipe in enumerate(todo)}
    graph: dict[str, Any] = {
        names[recipe]: (run_task, node, [names.get(p.recipe, done.get(p.recipe)) for p in node.inputs], context)
        for recipe, node in todo.items()
    }

    def posttask(key: str, outcome: Outcome, *_: Any) -> None:
        tell(key.partition("-")[2], outcome)

    with Callback(posttask=posttask):
        get(graph, list(graph), num_workers=threads())
