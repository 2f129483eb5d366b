"""What is drawn of a simulated stream: who asks about which entry, how near, and with which luck."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evalkit.columns import Array
from evalkit.serving.semantic.curves import BINS
from evalkit.serving.semantic.worlds import World


class Work(NamedTuple):
    """All requests, by stream, entry and time, and what becomes of them: arrays of shape (streams * requests,)."""

    curve: Array
    age: Array  # place among the requests of the entry
    time: Array  # place in the stream
    similarity: Array
    right: Array  # how likely the entry is right; 0 or 1 where questions come again
    luck: Array  # of the outcome: below `right` the entry is right
    draw: Array  # of the rule: below its chance the entry is given
    chance: Array
    given: Array


def drawn(world: World, requests: int, streams: int, seed: int) -> Work:
    """Draw streams; each is the same however many there are."""
    each = [_stream(world, requests, seed, stream) for stream in range(streams)]
    return Work._make(np.concatenate(column) for column in zip(*each, strict=True))


def _stream(world: World, requests: int, seed: int, stream: int) -> Work:
    rng = np.random.default_rng([seed, stream])
    curve = rng.integers(len(world.curves), size=world.entries)
    entry = _zipf(rng, world.entries, world.zipf, requests)
    similarity = world.floor + (1 - world.floor) * rng.beta(world.a, world.b, requests)
    luck, draw = rng.random((2, requests))
    time = np.arange(requests)
    if world.texts:
        text = entry * world.texts + _zipf(rng, world.texts, world.zipf, requests)
        _, first, back = np.unique(text, return_index=True, return_inverse=True)
        similarity, luck = similarity[first[back]], luck[first[back]]
    similarity = put(world, similarity)
    right = right_of(world, curve[entry], time >= requests / 2, similarity)
    if world.texts:
        right = (luck < right).astype(np.float64)
    order = np.argsort(entry, kind="stable")
    age = time - np.searchsorted(entry[order], entry[order])
    ordered = time[order], similarity[order], right[order], luck[order], draw[order]
    return Work(curve[entry][order], age, *ordered, np.zeros(requests), np.zeros(requests, dtype=np.bool_))


def _zipf(rng: np.random.Generator, size: int, power: float, n: int) -> Array:
    shares = np.arange(1, size + 1) ** -power
    return rng.choice(size, size=n, p=shares / shares.sum())


def put(world: World, similarity: Array) -> Array:
    """Put similarities at the centres of bins, where the world has them there."""
    if not world.centres:
        return similarity
    width = (1 - world.floor) / BINS
    bins = np.minimum(np.floor((similarity - world.floor) / width), BINS - 1)
    return np.asarray(world.floor + width * (bins + 0.5))


def right_of(world: World, curve: Array, later: Array, similarity: Array) -> Array:
    """Return how likely entries are right."""
    found = np.empty(len(curve))
    for i, before in enumerate(world.curves):
        mine = curve == i
        found[mine] = before(similarity[mine])
        if world.then:
            mine &= later
            found[mine] = world.then[i](similarity[mine])
    return found
