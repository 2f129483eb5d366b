"""An archive carries a store whole, is checked to the last byte, and can write nowhere but into a store."""

from __future__ import annotations

import io
import json
import random
import tarfile

import numpy as np
import pytest

from evalkit.errors import InputError
from evalkit.store import DiskStore
from evalkit.store.archive import export_to, import_from
from evalkit.store.verify import verify
from evalkit.values import FORMAT, Vectors


def holds(store):
    """Everything that a store says."""
    return {
        "actions": {name: path.read_bytes() for name, path, _ in store.layout.actions()},
        "objects": {name: path.read_bytes() for name, path, _ in store.layout.objects()},
        "rows": store.recall([f"call {i}" for i in range(100)]),
    }


def tree(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "journal.sqlite" not in p.name}


@pytest.fixture
def other(tmp_path):
    return DiskStore(tmp_path / "other")


@pytest.fixture(params=["all.tar", "all.tar.gz"])
def archive(request, full, tmp_path):
    export_to(full, tmp_path / request.param)
    return tmp_path / request.param


def members(path):
    with tarfile.open(path) as archive:
        return [(m, archive.extractfile(m).read()) for m in archive]


def refusal(store, archive):
    """Why an archive is refused; None where it is not."""
    try:
        import_from(store, archive)
    except InputError as error:
        return str(error)
    return None


def pack(path, made):
    with tarfile.open(path, "w") as archive:
        for member, data in made:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def test_what_is_exported_is_imported_and_a_second_time_adds_nothing(full, other, archive):
    done = import_from(other, archive)
    assert (done.artefacts, done.actions, done.rows) == (5, 5, 4)
    assert holds(other) == holds(full)
    again = import_from(other, archive)
    assert (again.artefacts, again.actions, again.rows) == (0, 0, 0)
    assert holds(other) == holds(full)
    assert verify(other).damaged == []
    assert tree(other.folder) == tree(full.folder)


def test_equal_stores_give_equal_files(other, archive, tmp_path):
    import_from(other, archive)
    again = tmp_path / f"again-{archive.name}"
    export_to(other, again)
    assert again.read_bytes() == archive.read_bytes()


def test_an_import_merges_and_what_is_there_stays(other, archive):
    mine = other.put(f"{1:032x}", Vectors(np.zeros((1, 2), np.float32)), "replayed", {})
    own = other.put("ff", Vectors(np.ones((1, 2), np.float32)), "measured", {})
    other.record("call 1", {"text": "mine"})
    done = import_from(other, archive)
    assert (done.actions, done.rows) == (4, 3)
    assert other.get(f"{1:032x}") == (mine, "replayed")
    assert other.get("ff") == (own, "measured")
    assert other.recall(["call 1", "call 2"]) == {"call 1": {"text": "mine"}, "call 2": {"text": "answer 2"}}


def test_an_import_mends_what_is_damaged(full, archive):
    path = full.layout.object(full.get(f"{1:032x}")[0])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"!")
    assert import_from(DiskStore(full.folder), archive).artefacts == 1
    assert path.read_bytes() == whole


def test_the_journal_can_be_carried_alone(full, other, tmp_path):
    export_to(full, tmp_path / "calls.tgz", journal_only=True)
    done = import_from(other, tmp_path / "calls.tgz")
    assert (done.artefacts, done.actions, done.rows) == (0, 0, 4)
    assert other.recall(["call 3"]) == {"call 3": {"text": "answer 3"}}


def test_what_is_damaged_or_of_another_format_is_left_out(full, other, tmp_path):
    path = full.layout.object(full.get(f"{1:032x}")[0])
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    path = full.layout.action(f"{2:032x}")
    path.write_bytes(path.read_bytes().replace(f'"format": {FORMAT}'.encode(), b'"format": 1'))
    done = export_to(full, tmp_path / "x.tar")
    assert (done.damaged, done.artefacts, done.actions) == (1, 3, 3)
    import_from(other, tmp_path / "x.tar")
    assert other.get(f"{0:032x}")
    assert other.get(f"{1:032x}") is None
    assert verify(other).damaged == []


def test_many_rows_and_actions_are_carried(store, other, tmp_path):
    store.record_all({f"{i:05d}": {"text": "ü" * (i % 7)} for i in range(2500)})
    for i in range(1005):
        store.put(f"{i:08x}", Vectors(np.ones((1, 1), np.float32)), "measured", {})
    export_to(store, tmp_path / "x.tar.gz")
    done = import_from(other, tmp_path / "x.tar.gz")
    assert (done.artefacts, done.actions, done.rows) == (1, 1005, 2500)
    assert other.recall(["01234"]) == store.recall(["01234"])


# --- refused


def test_an_archive_cut_short_anywhere_is_refused_and_what_was_read_is_whole(archive, tmp_path, full):
    raw = archive.read_bytes()
    expected = holds(full)["objects"]
    refused = 0
    for i, end in enumerate([0, 1, 511, 512, *sorted(random.Random(3).sample(range(len(raw)), 25))]):
        archive.write_bytes(raw[:end])
        store = DiskStore(tmp_path / f"cut {i}")
        fault = refusal(store, archive)
        if fault is None:  # only the zeros that fill up the end were cut off
            assert holds(store) == holds(full)
        else:
            refused += 1
            assert fault.startswith(f"{archive}: ")
            assert "\n" not in fault
        assert verify(store).damaged == []
        assert holds(store)["objects"].items() <= expected.items()
        assert not list(store.layout.leftovers())
    assert refused >= 10


def test_a_flipped_bit_anywhere_is_found_or_harmless(archive, tmp_path, full):
    raw, expected = archive.read_bytes(), holds(full)
    for i, position in enumerate(sorted(random.Random(4).sample(range(len(raw)), 60))):
        damaged = bytearray(raw)
        damaged[position] ^= 4
        archive.write_bytes(damaged)
        store = DiskStore(tmp_path / f"flipped {i}")
        fault = refusal(store, archive)
        if fault is None:  # a byte that means nothing: padding, a date, an owner
            assert holds(store) == expected
        else:
            assert "\n" not in fault
        found = holds(store)
        assert verify(store).damaged == []
        assert all(found[part].items() <= expected[part].items() for part in expected)


@pytest.mark.parametrize(
    "name",
    [
        "../../outside.safetensors",
        "/tmp/outside.safetensors",  # noqa: S108 - to see it refused
        "objects/../../../outside.safetensors",
        "objects/ab/../../../outside.safetensors",
        "journal.sqlite",
        "objects/XYZ.safetensors",
        "actions/ab.json",
    ],
)
def test_a_name_that_no_store_exports_is_refused_and_nothing_is_written(archive, other, tmp_path, name):
    made = members(archive)
    pack(tmp_path / "bad.tar", [made[0], (tarfile.TarInfo(name), b"evil"), *made[1:]])
    before = tree(tmp_path)
    with pytest.raises(InputError, match="holds what no store exports"):
        import_from(other, tmp_path / "bad.tar")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_links_and_other_things_are_refused(archive, other, tmp_path, kind, place):
    made = members(archive)
    made[place][0].type, made[place][0].linkname = kind, "/etc/passwd"
    pack(tmp_path / "bad.tar", [(m, b"" if m.type == kind else data) for m, data in made])
    with pytest.raises(InputError):
        import_from(other, tmp_path / "bad.tar")
    assert all(not path.is_symlink() for path in other.folder.rglob("*"))


@pytest.mark.parametrize("action", ["../../outside", "zz", "", "AB"])
def test_an_action_whose_name_leads_elsewhere_is_refused(full, other, tmp_path, action):
    from evalkit.store.archive import _hash

    line = json.dumps(
        [action, {"format": FORMAT, "content": full.get(f"{1:032x}")[0], "origin": "measured"}]
    ).encode()
    export_to(full, tmp_path / "x.tar")
    made = members(tmp_path / "x.tar")
    pack(tmp_path / "bad.tar", [*made[:-1], (tarfile.TarInfo(f"actions/{_hash(line)}.jsonl"), line), made[-1]])
    with pytest.raises(InputError, match="no store exports"):
        import_from(other, tmp_path / "bad.tar")
    assert not list(tmp_path.rglob("outside*"))


@pytest.mark.parametrize("key", ["format", "archive"])
def test_another_format_is_refused_in_one_line_and_nothing_is_read(archive, other, tmp_path, key):
    made = members(archive)
    note = json.dumps(json.loads(made[0][1]) | {key: 99}).encode()
    pack(tmp_path / "new.tar", [(made[0][0], note), *made[1:]])
    with pytest.raises(InputError, match=rf"format .*99.*this version reads 1\.{FORMAT}") as caught:
        import_from(other, tmp_path / "new.tar")
    assert "\n" not in str(caught.value)
    assert not list(other.layout.objects())


@pytest.mark.parametrize("data", [b"", b"hello", b"\x1f\x8b junk", b"\0" * 10_240])
def test_what_is_no_archive_is_refused(other, tmp_path, data):
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.tar: "):
        import_from(other, tmp_path / "x.tar")


def test_another_tar_file_is_refused(other, tmp_path):
    pack(tmp_path / "x.tar", [(tarfile.TarInfo("notes.txt"), b"mine")])
    with pytest.raises(InputError, match="is no archive of a store"):
        import_from(other, tmp_path / "x.tar")


def test_one_that_holds_less_than_it_says_is_refused(archive, other, tmp_path):
    made = members(archive)
    pack(tmp_path / "x.tar", [made[0], *made[2:]])
    with pytest.raises(InputError, match="does not hold what it says"):
        import_from(other, tmp_path / "x.tar")


@pytest.mark.parametrize("name", ["x.zip", "x", "x.tar.xz"])
def test_an_archive_of_another_name_is_refused(full, tmp_path, name):
    with pytest.raises(InputError, match=r"ends in \.tar"):
        export_to(full, tmp_path / name)


def test_nothing_is_written_over_and_nothing_half_written_stays(full, tmp_path, monkeypatch):
    (tmp_path / "x.tar").write_bytes(b"mine")
    with pytest.raises(InputError, match="is there already"):
        export_to(full, tmp_path / "x.tar")
    assert (tmp_path / "x.tar").read_bytes() == b"mine"
    monkeypatch.setattr(tarfile.TarFile, "addfile", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(InputError, match="cannot be written"):
        export_to(full, tmp_path / "y.tar")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["x.tar"]
