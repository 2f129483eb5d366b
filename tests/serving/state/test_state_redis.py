from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

import pytest
from redis_server import RedisServer, free_port, running_redis
from toys import keywords

from evalkit import InputError, Service, replay
from evalkit.clock import WallClock
from evalkit.forms import plain
from evalkit.serving import Arrival, Cache
from evalkit.serving.clock import VirtualClock
from evalkit.serving.state import Levels, Memory, Redis
from evalkit.serving.state.base import Entry
from evalkit.testing.conformance.states import Bench

PASSWORD = "s3cret-c4nary"  # noqa: S105 - a canary


@pytest.fixture
def server():
    with running_redis() as server:
        yield server


def redis(server, **given):
    """A storage on the server that waits long, as a busy machine may need."""
    return Redis(server.url, **{"max_seconds": 30.0, **given})


def virtually(work, start=100.0):
    """Run ``work(bench)`` in virtual time; returns what it gives and the virtual seconds it took."""
    clock = VirtualClock()

    async def run():
        return await work(Bench(clock, start)), clock.now()

    return clock.run(run())


def really(work, start=1e9):
    return asyncio.run(work(Bench(WallClock(), start)))


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("run", [virtually, really])
def test_a_server_that_goes_and_comes_back_is_done_without_and_used_again(server, how, run, caplog):
    storage = redis(server, retry_after=0.2)

    async def work(bench):
        state = storage.open("ab", bench)
        for _ in range(3):
            await state.put("k", Entry(b"v", bench.now(), tags=("t",)))
            assert (await state.get("k")).value == b"v"
            before = state.counts.copy()
            getattr(server, how)()
            assert await state.get("k") is None
            await state.put("k", Entry(b"w", bench.now()))
            await state.hit("k", bench.now())
            assert not await state.delete("k")
            assert await state.drop("t") == await state.clear() == 0
            assert [key async for key, _ in state.items()] == []
            failed, skipped = (state.counts[name] - before[name] for name in ("errors", "skipped"))
            assert failed + skipped == 7
            assert failed == 1 or run is really  # there a busy machine may have let it look again
            assert state.counts["misses"] == before["misses"] + 1
            assert state.counts["puts"] == before["puts"]
            server.start()
            await bench.clock.sleep(0.21)
            assert await state.get("k") is None  # it came back empty
        await state.put("k", Entry(b"x", bench.now()))
        found = await state.get("k")
        await state.close()
        return found.value

    found = run(work)
    assert found == b"x" or found[0] == b"x"
    assert len(caplog.records) == 3


@pytest.mark.parametrize("take", ["delete", "drop", "clear", "put"])
def test_what_was_taken_away_while_it_was_out_of_reach_is_not_given_when_it_is_back(server, take):
    async def work(bench):
        reached, away = redis(server).open("ab", bench), redis(server, max_seconds=0.1).open("ab", bench)
        for key in ("k", "other"):
            await reached.put(key, Entry(b"old", bench.now(), tags=(f"t {key}",)))
        server.pause()
        assert await away.get("k") is None  # from here on it is left alone, and is told of nothing
        match take:
            case "put":
                await away.put("k", Entry(b"new", bench.now()))
            case "clear":
                assert await away.clear() == 0
            case _:
                assert not await getattr(away, take)("k" if take == "delete" else "t k")
        server.resume()
        await reached.get("k")  # it is back
        for _ in range(20):
            await bench.clock.sleep(2)
            assert await away.get("k") is None
            assert "k" not in [key async for key, _ in away.items()]
        other = await reached.get("other")
        gone = await reached.get("k")
        await reached.close()
        await away.close()
        return gone, other and other.value

    assert virtually(work)[0] == (None, None if take == "clear" else b"old")


def test_what_is_owed_to_a_server_that_stays_away_is_bounded(server):
    async def work(bench):
        state = redis(server).open("ab", bench)
        await state.put("k", Entry(b"old", bench.now()))
        server.kill()
        for i in range(10_500):
            await state.delete(f"{i}")
        owed = len(state._owed)
        server.start()
        await bench.clock.sleep(2)
        await state.put("k", Entry(b"new", bench.now()))
        found = await state.get("k")
        await state.close()
        return owed, found.value

    owed, found = virtually(work)[0]
    assert owed < 1000
    assert found == b"new"


def test_a_restart_that_nobody_noticed_costs_no_question(server):
    async def work(bench):
        state = redis(server).open("ab", bench)
        await asyncio.gather(*(state.put(f"{i}", Entry(b"v", bench.now())) for i in range(40)))
        server.kill()
        server.start()
        assert await state.get("1") is None
        await asyncio.gather(*(state.put(f"{i}", Entry(b"w", bench.now())) for i in range(40)))
        found = await asyncio.gather(*(state.get(f"{i}") for i in range(40)))
        await state.close()
        return found, state.counts["errors"]

    (found, errors), _ = virtually(work)
    assert [entry.value for entry in found] == [b"w"] * 40
    assert errors == 0


def test_a_server_that_hangs_is_waited_for_once_and_then_left_alone(server):
    storage = redis(server, max_seconds=0.1, retry_after=50.0)

    async def work(bench):
        patient, state = redis(server).open("ab", bench), storage.open("ab", bench)
        await patient.put("k", Entry(b"v", bench.now()))
        server.pause()
        assert await asyncio.gather(*(state.get("k") for _ in range(200))) == [None] * 200
        assert 1 <= state.counts["errors"] <= 16  # as many as there are connections
        assert state.counts["errors"] + state.counts["skipped"] == 200
        server.resume()
        assert await state.get("k") is None  # left alone until its time has come
        found, tries = None, 0
        while found is None and tries < 20:  # a busy machine may need more than the tenth of a second
            await bench.clock.sleep(51)
            found, tries = await state.get("k"), tries + 1
        await state.close()
        await patient.close()
        return found.value

    assert virtually(work)[0] == b"v"


def test_while_it_is_gone_one_question_looks_again_and_the_others_do_not_wait(server):
    storage = redis(server, max_seconds=0.1, retry_after=5.0)

    async def work(bench):
        state = storage.open("ab", bench)
        server.pause()
        await state.get("k")
        for n in range(2, 5):
            await bench.clock.sleep(5.1)
            await asyncio.gather(*(state.get("k") for _ in range(30)))
            assert state.counts["errors"] == n
        await state.close()
        return state.counts

    counts, _ = virtually(work)
    assert counts["skipped"] == 3 * 29


def test_with_no_server_at_all_everything_goes_on():
    async def work(bench):
        state = Redis(f"redis://127.0.0.1:{free_port()}/0", max_seconds=30.0, retry_after=0.0).open("ab", bench)
        for _ in range(3):
            await state.put("k", Entry(b"v", bench.now()))
            assert await state.get("k") is None
        await state.close()
        return state.counts

    counts, _ = virtually(work)
    assert (counts["errors"], counts["skipped"], counts["misses"]) == (6, 0, 3)


def test_beneath_memory_it_may_go_and_what_memory_has_is_served(server):
    async def work(bench):
        state = Levels((Memory(), redis(server))).open("ab", bench)
        await state.put("k", Entry(b"v", bench.now()))
        server.kill()
        found = await state.get("k")
        assert await state.get("other") is None
        await state.put("other", Entry(b"w", bench.now()))
        other = await state.get("other")
        await bench.settle()
        await state.close()
        return found.level, other.value, state.counts["errors"]

    assert virtually(work)[0] == ("Memory", b"w", 1)


def test_clear_touches_no_key_of_anybody_else(server):
    strange = [
        "theirs",
        "evalkit",
        "evalkit:",
        "evalkit:abc:e:k",
        "evalkit:a:e:k",
        "Xevalkit:ab:e:k",
        "evalkit?ab:e:k",
    ]
    for key in strange:
        server.ask("SET", key, "1")

    async def work(bench):
        state = redis(server).open("ab", bench)
        for i in range(700):
            await state.put(f"{i}", Entry(b"v", bench.now(), tags=(f"t{i % 3}",)))
        odd = redis(server, prefix="ev?lkit*[a-z]:").open("ab", bench)
        await odd.put("k", Entry(b"v", bench.now()))
        assert await odd.clear() == 1
        found = await state.clear()
        await state.close()
        await odd.close()
        return found

    assert virtually(work)[0] == 700
    assert server.ask("DBSIZE") == b":%d\r\n" % len(strange)
    assert all(server.ask("GET", key) == b"$1\r\n1\r\n" for key in strange)


def test_every_key_is_under_the_prefix_and_is_forgotten_some_day(server):
    def life(key):
        return int(server.ask("PTTL", key)[1:])

    async def put(bench):
        state = redis(server, prefix="mine:", forget_after=1000.0).open("ab", bench)
        await state.put("short", Entry(b"v", bench.now() - 40, 100.0, ("t",)))
        await state.put("ever", Entry(b"v", bench.now(), None, ("t", "u")))
        await state.put("never", Entry(b"v", bench.now(), 0.0, ("t",)))
        await state.close()

    really(put)
    keys = {"mine:ab:e:short", "mine:ab:e:ever", "mine:ab:t:t", "mine:ab:t:u"}
    found = server.ask("KEYS", "*").decode().split("\r\n")
    assert {key for key in found if "mine" in key} == keys
    assert server.ask("DBSIZE") == b":4\r\n"
    assert 50_000 < life("mine:ab:e:short") <= 60_000  # by the entry's making, on the server's own clock
    assert all(900_000 < life(key) <= 1_000_000 for key in keys - {"mine:ab:e:short"})
    virtually(put)  # a virtual hour may pass in a second of the server's, and the other way round
    assert 900_000 < life("mine:ab:e:short") <= 1_000_000


def test_what_the_server_let_expire_is_dropped_by_no_tag_that_it_has_no_more(server):
    async def work(bench):
        state = redis(server).open("ab", bench)
        await state.put("k", Entry(b"v", bench.now(), 0.02, ("old",)))
        await state.put("holds the set", Entry(b"v", bench.now(), 100.0, ("old",)))
        await asyncio.sleep(0.1)
        await state.put("k", Entry(b"w", bench.now(), 100.0, ("new",)))
        dropped = await state.drop("old")
        found = await state.get("k")
        await state.close()
        return dropped, found.value

    assert really(work) == (1, b"w")


def test_a_question_that_is_cancelled_leaves_its_reply_to_nobody_else(server):
    storage = redis(server)

    async def work(bench):
        state = storage.open("ab", bench)
        await asyncio.gather(*(state.put(f"{i}", Entry(b"%d" % i, bench.now())) for i in range(50)))
        for round_ in range(60):
            tasks = [asyncio.ensure_future(state.get(f"{i}")) for i in range(20)]
            for _ in range(round_):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            for i, entry in enumerate(found):
                assert isinstance(entry, asyncio.CancelledError) or entry.value == b"%d" % i
            again = await asyncio.gather(*(state.get(f"{i}") for i in range(20, 50)))
            assert [entry.value for entry in again] == [b"%d" % i for i in range(20, 50)]
        await state.close()
        return state.counts["errors"]

    assert virtually(work)[0] == 0


def test_a_server_without_memory_left_refuses_and_is_read_on(server):
    async def work(bench):
        state = redis(server).open("ab", bench)
        await state.put("k", Entry(b"v", bench.now()))
        server.ask("CONFIG", "SET", "maxmemory", "1mb")
        await state.put("large", Entry(bytes(3_000_000), bench.now()))
        await state.put("more", Entry(b"w", bench.now()))
        found = await state.get("k")
        server.ask("CONFIG", "SET", "maxmemory", "0")
        await state.put("more", Entry(b"w", bench.now()))
        more = await state.get("more")
        await state.close()
        return found.value, more.value, state.counts

    found, more, counts = virtually(work)[0]
    assert (found, more) == (b"v", b"w")
    assert counts["errors"] >= 1
    assert counts["skipped"] == 0


def test_what_is_no_entry_of_ours_is_not_given(server):
    async def work(bench):
        state = redis(server).open("ab", bench)
        server.ask("SET", "evalkit:ab:e:text", "x")
        server.ask("HSET", "evalkit:ab:e:hash", "value", "x", "made", "soon")
        server.ask("HSET", "evalkit:ab:e:cut", "value", "x", "made", "1", "tags", "\0\0\0\t", "by", "", "hits", "0")
        await state.put("sound", Entry(b"v", bench.now()))
        found = [await state.get(key) for key in ("text", "hash", "cut")]
        keys = [key async for key, _ in state.items()]
        await state.put("text", Entry(b"w", bench.now()))
        text = await state.get("text")
        await state.close()
        return found, keys, text

    found, keys, text = virtually(work)[0]
    assert found == [None] * 3
    assert keys == ["sound"]
    assert text is not None
    assert text.value == b"w"


def test_two_services_on_two_loops_share_what_is_there(server):
    storage = redis(server)

    async def put(bench):
        state = storage.open("ab", bench)
        await state.put("k", Entry(b"v", 5.0, tags=("t",), by="12"))
        await state.close()

    async def get(bench):
        state = storage.open("ab", bench)
        found = await state.get("k")
        await state.close()
        return found

    virtually(put)
    assert really(get) == virtually(get)[0] == Entry(b"v", 5.0, tags=("t",), by="12")


def test_the_environment_names_the_server_and_its_password_shows_nowhere(server, monkeypatch, caplog):
    server.stop()
    server.start("--requirepass", PASSWORD)
    caplog.set_level(logging.DEBUG)

    async def work(bench, storage):
        state = storage.open("ab", bench)
        await state.put("k", Entry(b"v", bench.now()))
        found = await state.get("k")
        await state.close()
        return found, repr(state), repr(vars(state)), dict(state.counts)

    places = f"127.0.0.1:{server.port}/0"
    shown = []
    for url in (f"redis://:{PASSWORD}@{places}", f"redis://:{PASSWORD}x@{places}", f"redis://{places}"):
        monkeypatch.setenv("REDIS_URL", url)
        storage = Redis(max_seconds=30.0, retry_after=0.0)
        (found, *seen), _ = virtually(lambda bench, storage=storage: work(bench, storage))
        assert (found is not None) == (url == f"redis://:{PASSWORD}@{places}")
        shown += [*map(str, seen), repr(storage), str(plain(storage))]
    monkeypatch.setenv("REDIS_URL", f"rubbish://:{PASSWORD}@{places}")
    for wrong in (lambda: Redis().open("ab", Bench(WallClock())), lambda: Redis(f"redis://:{PASSWORD}@{places}")):
        with pytest.raises(InputError) as told:
            wrong()
        shown.append(str(told.value))
        shown.append(repr(told.value.__cause__))
    server.kill()
    virtually(lambda bench: work(bench, Redis(f"redis://{places}")))
    shown += [record.getMessage() for record in caplog.records]
    assert any("Redis: gone" in text for text in shown)
    assert not [text for text in shown if PASSWORD in text]


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"url": "http://127.0.0.1"}, "url is no URL such as redis://127.0.0.1:6379/0"),
        ({"url": "redis://127.0.0.1:x"}, "url is no URL such as redis://127.0.0.1:6379/0"),
        ({"url": "redis://127.0.0.1?password=x"}, "url holds more than a place; a password belongs into REDIS_URL"),
        ({"prefix": " "}, "prefix is blank"),
        ({"max_seconds": 0.0}, "max_seconds must be above 0"),
        ({"retry_after": -1.0}, "retry_after at least 0"),
        ({"forget_after": 0.0}, "forget_after must be from 1 second"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong, what):
    with pytest.raises(InputError) as told:
        Redis(**wrong)
    assert str(told.value).startswith("Redis: ")
    assert what in str(told.value)


def test_no_server_named_is_an_error_before_any_request(monkeypatch):
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(InputError, match=r"^Redis: no server is named; set REDIS_URL or url, as in redis://"):
        Redis().open("ab", Bench(WallClock()))


def test_a_url_may_name_a_database_and_it_is_that_one(server):
    async def work(bench):
        state = replace(redis(server), url=server.url.removesuffix("0") + "3").open("ab", bench)
        await state.put("k", Entry(b"v", bench.now()))
        await state.close()

    virtually(work)
    assert server.ask("DBSIZE") == b":0\r\n"
    assert b"db3:keys=1" in server.ask("INFO", "keyspace")


@dataclass(frozen=True)
class Restarts:
    """A layer that ends the server with one request and starts it with another."""

    port: int
    gone: int
    back: int
    at: str = "answer"

    def start(self, serving):
        async def handle(request, go_on):
            if request.number == self.gone:
                SERVERS[self.port].kill()
            if request.number == self.back:
                SERVERS[self.port].start()
            return await go_on(request)

        return handle


SERVERS = {}


def test_a_replay_goes_on_while_the_server_is_gone_and_uses_it_when_it_is_back(server, tiny, store):
    SERVERS[server.port] = server
    arrivals = [Arrival(tiny.queries.text[i % 4], at=2.0 * i) for i in range(60)]
    layers = (Restarts(server.port, 20, 40), Cache(storage=redis(server)))
    found = replay(Service(keywords(), layers), tiny, arrivals, cost={"generate": 0.1}, store=store)
    alone = replay(keywords(), tiny, arrivals, cost={"generate": 0.1}, store=store)
    rows = found.per_request
    assert rows["answer"].tolist() == alone.per_request["answer"].tolist()
    seen = "".join("h" if note == "hit" else "m" for note in rows["cache[answer]"])
    assert seen == "mmmm" + "h" * 16 + "m" * 20 + "mmmm" + "h" * 16
    assert set(rows["outcome"]) == {"answered"}
    assert found.failures == {}


def test_the_test_server_comes_back_on_its_port_empty(server: RedisServer):
    port = server.port
    server.ask("SET", "k", "1")
    server.kill()
    with pytest.raises(OSError, match="refused"):
        server.ask("PING")
    server.start()
    assert server.port == port
    assert server.ask("DBSIZE") == b":0\r\n"
