"""Places, keys, and what a loop holds."""

from __future__ import annotations

import asyncio
import gc

import pytest

from evalkit.errors import InputError
from evalkit.llm.providers import endpoint
from evalkit.llm.providers.endpoint import checked_url, held, is_key, is_loopback, key_from
from evalkit.serving.clock import VirtualClock


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:80", True),
        ("http://127.9.9.9", True),
        ("https://[::1]:8443/v1", True),
        ("http://localhost:1", True),
        ("http://LOCALHOST", True),
        ("http://a.localhost", True),
        ("http://127.0.0.1.example.org", False),
        ("http://localhost.example.org", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
        ("https://api.anthropic.com", False),
    ],
)
def test_only_this_machine_is_loopback(url, here):
    assert is_loopback(url) == here


def test_a_url_loses_the_slash_at_its_end_and_must_be_a_place():
    def check(url):
        return checked_url(url, "Somebody", "base_url", "THE_KEY", "http://here")

    assert check("http://here:1/v1/") == "http://here:1/v1"
    for url in ("", "here", "//here", "file:///etc", "http://", "http://here:0", "http://here:99999", "http://[::"):
        with pytest.raises(InputError, match=r"Somebody: base_url is .*http://here"):
            check(url)
    for url in ("http://secret@here", "http://here/?secret", "http://here#secret", "secret://a:secret@b"):
        with pytest.raises(InputError, match="holds more than a place; a key belongs into THE_KEY") as caught:
            check(url)
        assert "secret" not in str(caught.value)


def test_a_key_is_read_anew_and_must_fit_a_header(monkeypatch):
    monkeypatch.delenv("A_KEY", raising=False)
    assert key_from("A_KEY") == ""
    monkeypatch.setenv("A_KEY", " sk-1\r\n")
    assert key_from("A_KEY") == "sk-1"
    assert all(map(is_key, ("sk-1", "")))
    assert not any(map(is_key, ("a b", "a\nb", "é", "a\x00b")))


class Resource:
    def __init__(self):
        self.closed_in = None

    async def close(self):
        await asyncio.sleep(0)
        assert self.closed_in is None
        self.closed_in = asyncio.get_running_loop()


def test_a_loop_holds_one_of_a_kind_and_closes_it_before_its_end():
    made = []

    def make():
        made.append(Resource())
        return made[-1]

    async def work():
        same = await asyncio.gather(*(held("a", make, Resource.close) for _ in range(5)))
        assert len({id(one) for one in same}) == 1
        assert await held("b", make, Resource.close) is not same[0]
        gc.collect()
        assert same[0].closed_in is None
        return asyncio.get_running_loop()

    first = asyncio.run(work())
    clock = VirtualClock()
    second = clock.run(work())
    assert [one.closed_in for one in made] == [first, first, second, second]
    assert not {first, second} & set(endpoint._held)


def test_a_loop_that_was_closed_without_a_word_is_forgotten():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(held("a", Resource, Resource.close))
    loop.close()

    async def work():
        await held("a", Resource, Resource.close)
        return loop in endpoint._held

    assert asyncio.run(work()) is False
