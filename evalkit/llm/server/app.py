"""The Messages API in front of a generator, as an ASGI application."""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evalkit.clock import BatchClock, WallClock
from evalkit.errors import EvalkitError, InputError
from evalkit.llm.pricing import Prices
from evalkit.llm.prompt_cache.ledger import Charge, PromptCache
from evalkit.llm.server import events
from evalkit.llm.server.batches import Batches
from evalkit.llm.server.events import Reply
from evalkit.llm.server.exchange import ClientLeft, Exchange, Receive, Scope, Send
from evalkit.llm.server.faults import Fault, Faults
from evalkit.llm.server.ledger import Ledger, Served
from evalkit.llm.server.limits import Buckets, Limits
from evalkit.llm.server.refusals import Refused
from evalkit.llm.server.sending import Sending, without_stream
from evalkit.llm.server.timing import generated
from evalkit.llm.server.wire import Asked, read_json, read_request
from evalkit.types import Clock, Generator

_LOG = logging.getLogger(__name__)
_OWN_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_BATCH_BYTES = 256 * 2**20


@dataclass(frozen=True)
class FakeClaude:
    """What a loopback Messages API serves, and how.

    Parameters
    ----------
    generator : Generator
        Answers. Where its answers have a call with pieces, they are streamed at those times. Of a `Modelled` one
        the profile counts, and this server's own prompt cache instead of the one that it supposes.
    faults : Faults
    limits : Limits
        Of each model.
    speed : float
        How many times faster than the pieces' own times; 0: at once.
    require_key : bool
        Answer 401 to a request without ``x-api-key``. Which key it is, is not looked at, and none is kept.
    batch_seconds : float
        From a batch's creation to its end.
    prices : Prices or None
        Which models there are, and from how many tokens on each caches; None: evalkit's list.
    clock : Clock
        Of the prompt cache and the limits.
    """

    generator: Generator
    faults: Faults = field(default_factory=Faults)
    limits: Limits = field(default_factory=Limits)
    speed: float = 0.0
    require_key: bool = False
    batch_seconds: float = 0.0
    prices: Prices | None = None
    clock: Clock = field(default_factory=WallClock, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("speed", self.speed), ("batch_seconds", self.batch_seconds)):
            if not 0 <= value < math.inf:
                raise InputError(f"FakeClaude: {name} is {value}; a number of at least 0 is needed")


class MessagesAPI:
    """The server's state and its routes: an ASGI application.

    ``GET /ledger`` is evalkit's own: totals and rows of what was served (``?rows=0``: totals alone).

    Parameters
    ----------
    fake : FakeClaude
    """

    def __init__(self, fake: FakeClaude) -> None:
        self.fake = fake
        self.prices = Prices.load() if fake.prices is None else fake.prices
        self.ledger = Ledger()
        self.cache = PromptCache(lambda model: self.prices.of(model).minimum)
        self.batches = Batches(self._of_batch, fake.batch_seconds)
        self._buckets: dict[str, Buckets] = {}
        self._answered: Counter[bytes] = Counter()
        self._work, self._name, self._others = BatchClock(), secrets.token_hex(4), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"a Messages API serves http, not {scope['type']}")
        method, path = scope["method"], scope["path"]
        if (method, path) == ("POST", "/v1/messages"):
            row = self.ledger.arrive(self._id("req", len(self.ledger.rows) + 1))
            exchange = Exchange(scope, receive, send, row.request_id)
            await self._guarded(exchange, self._messages(exchange, row), row)
        else:
            self._others += 1
            exchange = Exchange(scope, receive, send, self._id("req_other", self._others))
            await self._guarded(exchange, self._route(exchange, method, path), None)

    async def _guarded(self, exchange: Exchange, work: Any, row: Served | None) -> None:
        """Do the work; what it refuses or fails at becomes an error's body."""
        try:
            self._check(exchange)
            await work
        except Refused as refused:
            if row is not None:
                row.status, row.stop = refused.status, refused.body(None)["error"]["type"]
            await exchange.refuse(refused, self._limit_headers(row.model) if row is not None else None)
        except ClientLeft:
            if row is not None:
                row.stop = "client left"
        except Exception as error:
            failed = _failed(exchange.request_id, error)
            if row is not None:
                row.status, row.stop = 500, "api_error"
            if exchange.begun:
                await exchange.cut()
            else:
                await exchange.refuse(failed)
        finally:
            work.close()
            await exchange.close()

    def _check(self, exchange: Exchange) -> None:
        host = exchange.header("host")
        if host.rpartition(":")[0] not in _OWN_HOSTS and host not in _OWN_HOSTS:
            raise Refused(403, "This server answers on 127.0.0.1 only")
        if exchange.scope["path"].startswith("/v1/"):
            if self.fake.require_key and not (exchange.header("x-api-key") or exchange.header("authorization")):
                raise Refused(401, "x-api-key header is required")
            if not exchange.header("anthropic-version"):
                raise Refused(400, "anthropic-version: header is required")

    async def _route(self, exchange: Exchange, method: str, path: str) -> None:
        url = f"http://{exchange.header('host')}"
        match method, path.strip("/").split("/"):
            case "GET", ["ledger"]:
                await exchange.answer(200, self.ledger.plain(exchange.scope["query_string"] != b"rows=0"))
            case "POST", ["v1", "messages", "count_tokens"]:
                asked = read_request(read_json(await exchange.read()), self.prices, counting=True)
                await exchange.answer(200, {"input_tokens": asked.tokens})
            case "POST", ["v1", "messages", "batches"]:
                data = read_json(await exchange.read(_BATCH_BYTES))
                await exchange.answer(200, self.batches.create(data, url))
            case "GET", ["v1", "messages", "batches", name]:
                await exchange.answer(200, self.batches.retrieve(name, url))
            case "POST", ["v1", "messages", "batches", name, "cancel"]:
                await exchange.answer(200, self.batches.cancel(name, url))
            case "GET", ["v1", "messages", "batches", name, "results"]:
                await exchange.begin(200, {"content-type": "application/x-jsonl"})
                await exchange.write(self.batches.results(name), more=False)
            case _:
                raise Refused(404, f"{method} {path}: not found")

    async def _messages(self, exchange: Exchange, row: Served) -> None:
        fault = self.fake.faults.of(row.number)
        if fault is not None and fault.kind == "cut_before_headers":
            row.fault, row.stop = fault.kind, "cut"
            await exchange.cut()
            return
        asked = read_request(read_json(await exchange.read()), self.prices)
        row.model = asked.model
        fault = fault if asked.stream else without_stream(fault)
        _refuse(row, fault)
        buckets, now = self._bucket(asked.model), self.fake.clock.now()
        buckets.admit(now)
        charge = self.cache.charge(asked.cache, now)
        reply = await self._reply(asked, charge)
        self._begin(charge, reply, now)
        buckets.took(reply.usage.uncached, reply.usage.output)
        row.fault = "" if fault is None else fault.kind
        headers = self._limit_headers(asked.model)
        sending = Sending(exchange, reply, row, headers, self.fake.speed, fault)
        await (sending.streamed() if asked.stream else sending.whole())

    async def _of_batch(self, params: Any) -> dict[str, Any]:
        """Answer one request of a batch; of the faults, those that are errors count."""
        row = self.ledger.arrive(self._id("req", len(self.ledger.rows) + 1))
        row.service = "batch"
        try:
            asked = read_request({**params, "stream": False}, self.prices)
            row.model = asked.model
            _refuse(row, without_stream(self.fake.faults.of(row.number)))
            now = self.fake.clock.now()
            charge = self.cache.charge(asked.cache, now)
            try:
                reply = await self._reply(asked, charge)
            except Exception as error:
                raise _failed(row.request_id, error) from None
        except Refused as refused:
            row.status, row.stop = refused.status, refused.body(None)["error"]["type"]
            raise
        self._begin(charge, reply, now)
        row.bill(reply.usage, reply.usage.output)
        row.status, row.complete, row.stop = 200, True, reply.stop_reason
        return events.message(reply, "batch")

    async def _reply(self, asked: Asked, charge: Charge) -> Reply:
        name = self._id("msg", len(self.ledger.rows))
        if not asked.max_tokens:
            return events.prewarmed(asked, name, charge.usage)
        key = hashlib.blake2b(repr((asked.model, asked.prompt)).encode(), digest_size=16).digest()
        sample = self._answered[key]  # the API has no sample number: the same question again is the next sample
        self._answered[key] += 1
        answer = await generated(self.fake.generator, asked, sample, charge.usage, self._work)
        return events.reply(asked, answer, name, charge.usage)

    def _begin(self, charge: Charge, reply: Reply, asked_at: float) -> None:
        """Make what was written to the cache readable from the moment at which the response begins."""
        first = reply.times[0] if reply.times else reply.seconds
        ahead = asked_at + first / self.fake.speed if self.fake.speed else asked_at
        self.cache.begun(charge, max(ahead, self.fake.clock.now()))

    def _bucket(self, model: str) -> Buckets:
        if model not in self._buckets:
            self._buckets[model] = Buckets(self.fake.limits, self.fake.clock.now())
        return self._buckets[model]

    def _limit_headers(self, model: str) -> Mapping[str, str]:
        if model not in self._buckets or self.fake.limits == Limits():
            return {}
        return dict(self._buckets[model].headers(self.fake.clock.now()))

    def _id(self, kind: str, number: int) -> str:
        return f"{kind}_{self._name}{number:08d}"


def _refuse(row: Served, fault: Fault | None) -> None:
    """Fail a request that is to get an error instead of an answer."""
    if fault is not None and fault.refuses:
        row.fault = fault.kind
        raise fault.refusal()


def _failed(request_id: str, error: Exception) -> Refused:
    """Log what failed here and return what a client is told: the type alone, where it is not evalkit's own error."""
    what = str(error) if isinstance(error, EvalkitError) else type(error).__name__
    _LOG.warning("request %s failed: %s", request_id, what)
    return Refused(500, f"Internal server error: {what}")
