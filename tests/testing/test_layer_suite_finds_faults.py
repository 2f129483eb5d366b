"""The suite of layers refuses those that break the promise that each check is about."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from evalkit.calls import CallFailed
from evalkit.errors import EvalkitError
from evalkit.serving import Refused
from evalkit.testing.conformance.layers import check_layer
from evalkit.values import Answer

pytestmark = pytest.mark.slow  # each planted fault is searched for with many replays

_RUNS = itertools.count()


def refused(layer, message):
    with pytest.raises(AssertionError, match=message):
        check_layer(layer)


@dataclass(frozen=True)
class Passes:
    """Lets everything through.

    Parameters
    ----------
    at : Place
    """

    at: str = "answer"

    def start(self, serving: Any) -> Any:
        async def handle(request: Any, go_on: Any) -> Any:
            return await self.handle(request, go_on)

        return handle

    async def handle(self, request: Any, go_on: Any) -> Any:
        return await go_on(request)


@pytest.mark.parametrize("at", ["embed", "retrieve", "prompt", "answer", "generate"])
def test_a_layer_that_does_nothing_passes_wherever_it_stands(at):
    check_layer(Passes(at))


def test_no_layer_stands_where_there_is_no_place():
    refused(Passes("chunks"), "no place")


@dataclass(frozen=True)
class Undocumented(Passes):
    """Has a limit.

    Parameters
    ----------
    at : Place
    """

    limit: int = 3


def test_a_field_that_nobody_explains():
    refused(Undocumented(), "Undocumented: its docstring does not say what limit is")


class Loses(Passes):
    async def handle(self, request, go_on):
        await go_on(request)
        await asyncio.get_running_loop().create_future()


class LosesWhoComeAtOnce(Passes):
    def start(self, serving):
        inside = []

        async def handle(request, go_on):
            if inside:
                await asyncio.get_running_loop().create_future()
            inside.append(request)
            try:
                return await go_on(request)
            finally:
                inside.pop()

        return handle


def test_a_request_that_is_never_answered():
    refused(Loses(), "Loses: request 0 .* was never answered")
    refused(LosesWhoComeAtOnce(), "was never answered")


class RefusesAll(Passes):
    async def handle(self, request, go_on):
        raise Refused("RefusesAll", "no")


class NoReason(Passes):
    async def handle(self, request, go_on):
        failure = CallFailed("why", None)
        failure.call = type("Call", (), {"stop": ""})()
        raise failure


def test_a_service_that_answers_nobody_or_does_not_say_why():
    refused(RefusesAll(), "answers nobody")
    refused(NoReason(), "is failed")


class Otherwise(Passes):
    async def handle(self, request, go_on):
        request.note("run", next(_RUNS))
        return await go_on(request)


def test_a_replay_that_comes_out_otherwise():
    refused(Otherwise(), "gives other outcomes")


class LeavesRunning(Passes):
    async def handle(self, request, go_on):
        return await asyncio.shield(asyncio.ensure_future(go_on(request)))


def test_work_that_goes_on_when_its_user_has_left():
    refused(LeavesRunning("generate"), "still worked on when its user has left")


class KeepsTheSlot(Passes):
    def start(self, serving):
        slots = asyncio.Semaphore(1)

        async def handle(request, go_on):
            await slots.acquire()
            value = await go_on(request)
            slots.release()
            return value

        return handle


def test_a_slot_that_is_not_freed_by_who_leaves():
    refused(KeepsTheSlot(), "was never answered")


class Hides(Passes):
    async def handle(self, request, go_on):
        try:
            return await go_on(request)
        except CallFailed:
            return Answer.table([Answer("all is well")])


class Breaks(Passes):
    async def handle(self, request, go_on):
        try:
            return await go_on(request)
        except CallFailed as failure:
            raise RuntimeError("lost") from failure


def test_a_failure_that_is_hidden_or_takes_the_service_down():
    refused(Hides(), "an answer came without a note")
    with pytest.raises((EvalkitError, RuntimeError)):
        check_layer(Breaks())


class Forgets(Passes):
    async def handle(self, request, go_on):
        async def fails():
            raise ValueError("nobody looks")

        asyncio.ensure_future(fails())  # noqa: RUF006
        return await go_on(request)


class FailsBeside(Passes):
    def start(self, serving):
        async def handle(request, go_on):
            serving.beside(self.fails())
            return await go_on(request)

        return handle

    async def fails(self):
        raise EvalkitError("the disk is full")


def test_failures_that_nobody_hears_of():
    refused(Forgets(), "asyncio complains")
    refused(FailsBeside(), "work beside the requests failed: .*the disk is full")
