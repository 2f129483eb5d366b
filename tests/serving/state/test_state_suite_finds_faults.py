"""The suite of storages fails where something is wrong with one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from evalkit.serving.state.base import Entry
from evalkit.serving.state.memory import MemoryState
from evalkit.testing.conformance.states import check_state


class Sound(MemoryState):
    """As `Memory`, which the suite finds nothing wrong with."""


class RenewsByHits(MemoryState):
    async def hit(self, key, now):
        await super().hit(key, now)
        if (entry := self._kept.get(key)) is not None:
            self._kept[key] = replace(entry, made=now)


class MakesByHits(MemoryState):
    async def hit(self, key, now):
        if key not in self._kept:
            await self.put(key, Entry(b"", now))
        await super().hit(key, now)


class KeepsOldTags(MemoryState):
    async def put(self, key, entry):
        before = self._kept.get(key)
        await super().put(key, entry if before is None else replace(entry, tags=before.tags))


class GivesWhatIsDead(MemoryState):
    async def get(self, key):
        return self._kept.get(key)


class CountsFromTheLastHit(MemoryState):
    async def put(self, key, entry):
        await super().put(key, replace(entry, hits=0, last_hit=None))


class RoundsTimes(MemoryState):
    async def put(self, key, entry):
        await super().put(key, replace(entry, made=round(entry.made, 1)))


class LosesOrder(MemoryState):
    async def items(self):
        for key in sorted(self._kept, reverse=True):
            if (entry := self._kept.get(key)) and entry.alive(self._now()):
                yield key, entry


class ShowsTheDead(MemoryState):
    async def items(self):
        for key in sorted(self._kept):
            if key in self._kept:
                yield key, self._kept[key]


class DropsByStart(MemoryState):
    async def drop(self, tag):
        return sum([await super(DropsByStart, self).drop(one) for one in list(self._tagged) if one.startswith(tag)])


class StripsKeys(MemoryState):
    async def get(self, key):
        return await super().get(key.strip())

    async def put(self, key, entry):
        await super().put(key.strip(), entry)


class NeverSaysWhatWasThere(MemoryState):
    async def delete(self, key):
        await super().delete(key)
        return True


class CountsNothing(MemoryState):
    async def get(self, key):
        found = await super().get(key)
        self.counts.clear()
        return found


FAULTY = [kind for kind in MemoryState.__subclasses__() if kind is not Sound]


@dataclass(frozen=True)
class Of:
    """A storage of states of one kind; one state for all spaces, where that is the fault."""

    kind: type = Sound
    shared: bool = False

    def open(self, space, serving):
        if not self.shared:
            return self.kind(10**8, serving)
        return vars(serving).setdefault("state", self.kind(10**8, serving))


def test_a_sound_state_passes():
    check_state(Of())


@pytest.mark.parametrize("kind", FAULTY, ids=lambda kind: kind.__name__)
def test_a_fault_is_found(kind):
    with pytest.raises(AssertionError):
        check_state(Of(kind))


def test_spaces_that_are_one_are_found():
    with pytest.raises(AssertionError):
        check_state(Of(shared=True))
