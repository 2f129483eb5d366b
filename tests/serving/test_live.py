"""The pointer to the live variant: whole at every moment, whoever writes it and whatever fails."""

from __future__ import annotations

import json
import os
import threading
from itertools import pairwise

import pytest
from toys import dense, keywords

from evalkit import EvalkitError, InputError, Variant
from evalkit.serving.live import Live
from evalkit.stages import BM25, Dense, Filtered

OLD, NEW = Variant(retrieve=BM25(k=3)), Variant(retrieve=Filtered(BM25(k=5), when="after"))


def test_before_anything_went_live_there_is_no_history_and_no_folder(tmp_path):
    live = Live(tmp_path / "none")
    assert live.history == ()
    assert live.variant() is None
    assert not (tmp_path / "none").exists()


def test_the_history_names_every_variant_and_the_last_one_is_live(tmp_path):
    live = Live(tmp_path)
    for variant, other in ((NEW, OLD), (OLD, NEW), (NEW, OLD)):
        live.point(variant, other.fingerprint)
    assert [went.fingerprint for went in live.history] == [v.fingerprint for v in (NEW, OLD, NEW)]
    assert [went.at for went in live.history] == sorted(went.at for went in live.history)
    assert live.variant() == NEW  # from its spec alone, as another process would


def test_pointing_to_what_is_live_changes_nothing(tmp_path):
    live = Live(tmp_path)
    live.point(OLD, OLD.fingerprint)
    assert live.history == ()
    live.point(NEW, OLD.fingerprint)
    before = live.file.read_bytes()
    live.point(NEW, OLD.fingerprint)
    assert live.file.read_bytes() == before


def test_a_variant_goes_live_only_in_the_place_of_the_one_that_it_replaces(tmp_path):
    live, third = Live(tmp_path), Variant(retrieve=BM25(k=1))
    live.point(NEW, OLD.fingerprint)
    with pytest.raises(InputError, match=rf"another variant is live \({NEW.fingerprint}\)"):
        live.point(third, OLD.fingerprint)
    assert live.variant() == NEW


def test_a_users_own_variant_is_known_by_its_fingerprint(tmp_path):
    live, mine = Live(tmp_path), dense()
    live.point(mine, OLD.fingerprint)
    assert live.variant([OLD, mine]) is mine
    with pytest.raises(EvalkitError, match=r"the live variant cannot be made again \(.*HashedWords"):
        live.variant()


def test_a_variant_that_has_become_another_is_never_served_as_what_it_was(tmp_path):
    live = Live(tmp_path)
    live.point(NEW, OLD.fingerprint)
    written = json.loads(live.file.read_text())
    written["history"][0]["variant"] = {"retrieve": {"BM25": {"k": 4}}}
    live.file.write_text(json.dumps(written))
    with pytest.raises(EvalkitError, match="cannot be made again \\(a model or a stage has changed since\\)"):
        live.variant()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2, "history": []}', '{"format": 1}', "\xff"])
def test_a_file_that_is_no_pointer_is_told_and_not_overwritten(tmp_path, text):
    live = Live(tmp_path)
    live.file.write_text(text, encoding="latin-1")
    for act in (lambda: live.history, lambda: live.point(NEW, OLD.fingerprint)):
        with pytest.raises(EvalkitError, match=r"live\.json: not a pointer to a live variant"):
            act()
    assert live.file.read_text(encoding="latin-1") == text


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_switch_that_fails_leaves_the_pointer_as_it_was_and_nothing_beside_it(tmp_path, monkeypatch, step):
    live = Live(tmp_path)
    live.point(NEW, OLD.fingerprint)
    before = live.file.read_bytes()

    def full(*given):
        raise OSError("disk full")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="disk full"):
        live.point(OLD, NEW.fingerprint)
    assert live.file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["live.json"]


def test_readers_and_writers_at_once_see_whole_histories_that_lose_nothing(tmp_path):
    variants, stop, seen = {v.fingerprint: v for v in (dense(), keywords())}, threading.Event(), []
    one, other = variants.values()
    moved = []

    def write(to, instead_of):
        for _ in range(40):
            try:
                Live(tmp_path).point(to, instead_of.fingerprint)
            except BaseException as error:
                moved.append(error)

    def read():
        while not stop.is_set():
            seen.append([went.fingerprint for went in Live(tmp_path).history])

    writers = [threading.Thread(target=write, args=pair) for pair in ((one, other), (other, one), (one, other))]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert moved == []
    final = [went.fingerprint for went in Live(tmp_path).history]
    assert all(final[: len(history)] == history for history in seen)
    assert all(a != b for a, b in pairwise(final))
    assert set(final) <= set(variants)


def test_a_spec_of_the_live_variant_leaves_defaults_out(tmp_path):
    live = Live(tmp_path)
    live.point(Variant(retrieve=Dense(k=5)), OLD.fingerprint)
    assert live.history[0].variant == {"retrieve": {"Dense": {"k": 5}}}
