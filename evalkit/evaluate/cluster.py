"""The same graph on a Dask cluster, whose workers see the same store."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from evalkit.errors import EvalkitError, InputError
from evalkit.evaluate.nodes import STOPPED, Context, Failure, Outcome, run_task
from evalkit.types import Digest, Node

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = "10s"


@contextmanager
def connected(scheduler: str) -> Iterator[Client]:
    """Connect to a scheduler.

    Raises
    ------
    InputError
        If the extra is not installed, nobody answers at the address, or no worker is there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError("a Dask cluster needs the extra 'distributed': pip install 'evalkit[distributed]'") from None
    try:
        client = Client(scheduler, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"scheduler {scheduler}: cannot be reached ({first}); start it with: dask scheduler"
        ) from None
    with client, client.as_current():
        if not client.scheduler_info()["workers"]:
            raise InputError(f"scheduler {scheduler}: has no worker; start one with: dask worker {scheduler}")
        yield client


def run_on_cluster(
    scheduler: str,
    todo: Mapping[Digest, Node],
    done: Mapping[Digest, Outcome],
    context: Context,
    tell: Callable[[Digest, Outcome], None],
) -> None:
    """Run nodes on the workers; what flows between them are digests, the values lie in the store.

    A worker that dies has its nodes run by another one. A node that several workers died of is a failure.
    """
    from distributed import as_completed

    run = uuid.uuid4().hex[:8]
    with connected(scheduler) as client:
        futures: dict[Digest, Any] = {}
        for i, (recipe, node) in enumerate(todo.items()):
            inputs = [futures.get(parent.recipe) or done[parent.recipe] for parent in node.inputs]
            key = f"{type(node.op).__name__}-{run}-{i:06d}"
            futures[recipe] = client.submit(run_task, node, inputs, context, key=key, pure=False, priority=-i)
        owners = {future.key: recipe for recipe, future in futures.items()}
        try:
            for future in as_completed(futures.values()):
                tell(owners[future.key], _outcome(future))
                if context.stop.is_set():
                    break
        finally:
            client.cancel(list(futures.values()))


def _outcome(future: Any) -> Outcome:
    """What a task came to; one that could not even be run says so in one line."""
    if future.status == "finished":
        result: Outcome = future.result()
        return result
    if future.status == "cancelled":
        return STOPPED
    error = future.exception()
    first = (str(error).splitlines() or [""])[0]
    return Failure(f"cluster: {type(error).__name__}: {first}")


def on_one_worker(scheduler: str, work: Callable[..., Any], *given: Any) -> Any:
    """Call a function on one worker, alone: nothing else of this client runs there meanwhile.

    Raises
    ------
    EvalkitError
        If the worker is lost, or the work fails.
    """
    with connected(scheduler) as client:
        first = min(client.scheduler_info()["workers"])
        future = client.submit(work, *given, workers=[first], allow_other_workers=False, pure=False)
        try:
            return future.result()
        except EvalkitError:
            raise
        except Exception as error:
            raise EvalkitError(f"cluster: {type(error).__name__}: {error}") from error
