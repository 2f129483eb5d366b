"""Distilling a sentence-transformers model to one vector a token. Each result is made once and kept."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.machine import packages_of
from evalkit.stages import models
from evalkit.stages.derived import derived

_FILE = "vectors.npy"
_VERSION = 1  # raised when the same model gives other vectors
_TOKENS_AT_ONCE = 512


class _Pass:
    """What a model's vectors of its tokens rest on."""

    packages = ("sentence-transformers", "tokenizers", "torch", "transformers")


@cache
def distilled(model: str, dimensions: int | None, sif: float) -> Array:
    """Return a vector for every token of a model's vocabulary: float32 of shape (vocabulary, dimensions).

    Their sum over a text's tokens stands for the text. The model embeds every token by itself; the vectors are
    centred, turned to their principal axes, each axis divided by the square root of its singular value (half-way to
    white), and weighted by smooth inverse frequency, where a token's probability is taken from its rank by Zipf's
    law: vocabularies list tokens by frequency. Special and unused tokens are zero.

    Parameters
    ----------
    model : str
    dimensions : int or None
        Principal axes that are kept; None for all.
    sif : float
        The weight is ``sif / (sif + probability)``.

    Raises
    ------
    InputError
        If the model has fewer dimensions.
    """
    source = {"token vectors": models.model_digest(model), "version": _VERSION, "packages": packages_of(_Pass)}
    folder = derived(source, lambda place: np.save(place / _FILE, _embed_tokens(model)))
    recipe = {"distilled": source, "dimensions": dimensions, "sif": float(sif)}
    kept = derived(recipe, lambda place: _project(model, folder / _FILE, dimensions, sif, place / _FILE))
    return np.asarray(np.load(kept / _FILE, allow_pickle=False))


def _embed_tokens(model: str) -> Array:
    """Embed every token as a text of its own, as the model pools, before it normalises."""
    import torch

    tokenizer, loaded = models.tokenizer(model), models.sentence_transformer(model)
    framed, plain = tokenizer.encode("a").ids, tokenizer.encode("a", add_special_tokens=False).ids
    before = framed[: framed.index(plain[0])]
    after = framed[len(before) + len(plain) :]
    modules = [module for module in loaded if type(module).__name__ != "Normalize"]
    made, size = [], tokenizer.get_vocab_size()
    with models.torch_turn, torch.inference_mode():
        loaded.eval()
        for start in range(0, size, _TOKENS_AT_ONCE):
            tokens = range(start, min(start + _TOKENS_AT_ONCE, size))
            ids = torch.tensor([[*before, token, *after] for token in tokens])
            features = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            for module in modules:
                features = module(features)
            made.append(features["sentence_embedding"].numpy().astype(np.float32))
    return np.concatenate(made)


def _project(model: str, source: Path, dimensions: int | None, sif: float, target: Path) -> None:
    vectors = np.load(source, allow_pickle=False).astype(np.float64)
    if dimensions is not None and dimensions > vectors.shape[1]:
        raise InputError(f"Static: dimensions is {dimensions}; {model} gives {vectors.shape[1]}")
    known = _words(model)
    centred = vectors[known] - vectors[known].mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    best = np.argsort(-variances, kind="stable")[:dimensions]
    best = best[variances[best] > variances.max() * 1e-12]  # an axis of rounding errors is none
    probability = 1 / np.arange(2, len(known) + 2)
    weights = sif / (sif + probability / probability.sum())
    projected = np.zeros((len(vectors), len(best)), dtype=np.float32)
    projected[known] = (centred @ axes[:, best]) * variances[best] ** -0.25 * weights[:, None]
    np.save(target, projected)


def _words(model: str) -> Array:
    """Ids of all tokens that occur in texts, in order of rank."""
    tokenizer = models.tokenizer(model)
    special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    names = (tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size()))
    kept = [
        i
        for i, name in enumerate(names)
        if name is not None and i not in special and not re.fullmatch(r"\[unused\d+\]", name)
    ]
    return np.array(kept, dtype=np.int64)
