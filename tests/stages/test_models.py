"""Models are found where they lie, are what their files hold, and are missed in one line that says what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from evalkit import fingerprint
from evalkit.errors import MissingModel
from evalkit.stages import FixedTokens, Recursive, SentenceTransformer, models


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """The memory of file digests, in a place of the test's own."""
    path = tmp_path / "cache" / "file-digests.json"
    monkeypatch.setattr(models, "_memory_path", lambda: path)
    return path


@pytest.fixture
def copied(tmp_path):
    """The packaged model in another folder; its weights are a link, to be unlinked before they are changed."""

    def copy(source, target):
        if source.endswith(".safetensors"):
            os.symlink(source, target)
        else:
            shutil.copyfile(source, target)

    return shutil.copytree(models.model_folder(models.MINILM), tmp_path / "my-model", copy_function=copy)


def test_the_packaged_model_is_the_published_one():
    folder = models.model_folder(models.MINILM)
    assert models._file_digest(folder / "model.safetensors") == models._PUBLISHED[models.MINILM]
    assert {"config.json", "tokenizer.json", "modules.json"} <= {path.name for path in folder.iterdir()}


def test_packaged_weights_that_are_not_the_published_ones_are_refused(monkeypatch):
    monkeypatch.setitem(models._PUBLISHED, models.MINILM, "0" * 64)
    with pytest.raises(MissingModel, match="are not the published ones; reinstall it") as caught:
        models.model_folder(models.MINILM)
    assert "\n" not in str(caught.value)


def test_a_package_without_its_weights_is_refused(monkeypatch, tmp_path):
    (tmp_path / "hollow_model").mkdir()
    (tmp_path / "hollow_model" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(models._PACKAGED, models.MINILM, ("hollow_model", "model"))
    with pytest.raises(MissingModel, match="package hollow_model"):
        models.model_folder(models.MINILM)


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no such name!", "./not/here", ""])
def test_a_missing_model_is_told_in_one_line_that_says_how_to_get_it(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(MissingModel) as caught:
        models.model_folder(name)
    message = str(caught.value)
    assert message.startswith(f"model '{name}': not a folder with a config.json, not in an installed package")
    assert "HF_HUB_OFFLINE=0" in message
    assert "\n" not in message


@pytest.mark.parametrize(("said", "offline"), [(None, True), ("1", True), ("0", False)])
def test_nothing_is_downloaded_unless_that_is_asked_for_even_where_the_hub_was_imported_before(
    monkeypatch, said, offline
):
    import huggingface_hub

    asked = []

    def download(name, local_files_only):
        asked.append(local_files_only)
        raise OSError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", not offline)
    monkeypatch.setenv("HF_HUB_OFFLINE", said or "")
    if said is None:
        monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(MissingModel):
        models.model_folder("nobody/no-such-model")
    assert asked == [offline]


def test_a_folder_is_found_by_its_path_from_anywhere(copied, monkeypatch, tmp_path):
    assert models.model_folder(str(copied)) == copied
    monkeypatch.setenv("EVALKIT_ROOT", str(copied.parent))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert models.model_folder("my-model") == copied


def test_a_model_is_its_content_not_its_name_or_place(copied):
    for named in (SentenceTransformer, FixedTokens, Recursive):
        field = "model" if named is SentenceTransformer else "tokenizer"
        moved, packaged = named(**{field: str(copied)}), named()
        assert moved != packaged
        assert fingerprint.digest(moved) == fingerprint.digest(packaged)


@pytest.mark.parametrize(
    "file", ["model.safetensors", "tokenizer.json", "config.json", "1_Pooling/config.json", "modules.json"]
)
def test_any_file_that_decides_a_vector_enters_the_identity(copied, file, memory):
    changed = copied / file
    raw = bytearray(changed.read_bytes())
    raw[-1] ^= 1
    changed.unlink()
    changed.write_bytes(raw)
    assert models.model_digest(str(copied)) != models.model_digest(models.MINILM)


def test_a_file_more_or_less_enters_the_identity_and_a_readme_does_not(copied, tmp_path):
    (copied / "README.md").write_text("Read me again.")
    assert models.model_digest(str(copied)) == models.model_digest(models.MINILM)
    fewer = shutil.copytree(copied, tmp_path / "fewer")
    (fewer / "tokenizer_config.json").unlink()
    assert models.model_digest(str(fewer)) != models.model_digest(models.MINILM)


def test_a_copied_model_has_the_same_identity_and_gives_the_same_vectors(memory, tmp_path):
    texts, copy = ["How long does the crossing take?"], tmp_path / "copy"
    shutil.copytree(models.model_folder(models.MINILM), copy)
    packaged, copied = SentenceTransformer(), SentenceTransformer(str(copy))
    assert fingerprint.digest(copied) == fingerprint.digest(packaged)
    assert copied.encode(texts).tolist() == packaged.encode(texts).tolist()


# --- the memory of file digests


def big_file(folder):
    path = folder / "weights.bin"
    path.write_bytes(os.urandom(3 << 19))
    return path


def test_a_big_file_is_read_once_a_machine(memory, tmp_path, monkeypatch):
    path = big_file(tmp_path)
    first = models._file_digest(path)
    assert list(json.loads(memory.read_text()).values()) == [first]

    def never(*args):
        raise AssertionError("read again")

    monkeypatch.setattr(models.hashlib, "file_digest", never)
    assert models._file_digest(path) == first


def test_a_file_that_was_written_anew_is_read_again(memory, tmp_path):
    path = big_file(tmp_path)
    first = models._file_digest(path)
    stat = path.stat()
    raw = bytearray(path.read_bytes())
    raw[0] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert models._file_digest(path) != first


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "5", "\xff"])
def test_a_damaged_memory_is_forgotten(memory, tmp_path, text):
    memory.parent.mkdir()
    memory.write_bytes(text.encode("latin-1"))
    path = big_file(tmp_path)
    assert models._file_digest(path) == models._file_digest(path)
    assert len(json.loads(memory.read_text())) == 1


def test_without_a_place_for_the_memory_the_digest_is_taken_all_the_same(memory, tmp_path):
    memory.parent.write_text("a file where the folder belongs")
    assert len(models._file_digest(big_file(tmp_path))) == 64
    assert memory.parent.is_file()


def test_finding_a_model_loads_neither_torch_nor_transformers():
    code = "import sys; from evalkit.stages import models; models.model_digest(models.MINILM);"
    code += "print([m for m in ('torch', 'transformers', 'sentence_transformers') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
