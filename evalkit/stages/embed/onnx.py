"""Embedding by ONNX Runtime."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.machine import threads
from evalkit.stages import models
from evalkit.stages.embed.export import exported, quantised
from evalkit.values import Chunks, Queries, Vectors

Precision = Literal["fp32", "int8"]
Pooling = Literal["mean", "cls"]

_POOLINGS = get_args(Pooling)
_lock = threading.RLock()


@dataclass(frozen=True)
class ONNX:
    """A sentence-transformers model run by ONNX Runtime on the CPU, in 32 bits or quantised to 8.

    The graph is exported from the model's weights at first use, and kept (``EVALKIT_MODELS``). Every text is a call
    of its own with one thread, texts are spread over the cores: no padding is computed, and since 8-bit activations
    are scaled by the largest of a call, a text's vector depends on the text alone, to the bit.

    Parameters
    ----------
    model : str
        A hub name that is on this machine, or a folder. Its identity is the hash of its files.
    precision : {"fp32", "int8"}
        Dynamic quantisation: weights are rounded beforehand, activations as they come.
    per_channel : bool
        For ``int8``: one scale a column of a weight matrix, instead of one for the matrix.
    reduce_range : bool
        For ``int8``: weights of 7 bits. Processors without VNNI instructions add products in 16 bits, which
        8-bit weights can overflow.
    pooling : {"mean", "cls"} or None
        How the tokens' vectors become the text's: their mean, or the first of them. None: as the model's own
        configuration says.
    max_length : int
        Tokens after which a text is cut off, special tokens included.
    query_prefix, passage_prefix : str
        Put before every text, for models trained so (E5, BGE).

    Raises
    ------
    InputError
        At first use, if the model has other modules than a transformer with one of these poolings, takes fewer
        tokens or cannot be exported.

    References
    ----------
    Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*,
    CVPR 2018.
    """

    model: str = models.MINILM
    precision: Precision = "fp32"
    per_channel: bool = True
    reduce_range: bool = False
    pooling: Pooling | None = None
    max_length: int = 256
    query_prefix: str = ""
    passage_prefix: str = ""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = True
    journalled: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "tokenizers", "torch", "transformers")

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise InputError(f"ONNX: precision is {self.precision!r}; it must be 'fp32' or 'int8'")
        if self.pooling not in (None, *_POOLINGS):
            raise InputError(f"ONNX: pooling is {self.pooling!r}; it must be 'mean', 'cls' or nothing")
        if self.max_length < 2:
            raise InputError(f"ONNX: max_length is {self.max_length}; it must be at least 2")

    def identity(self) -> dict[str, Any]:
        """Say what the model is, not where it lies, and how it pools."""
        return {"model": models.model_digest(self.model), "pooling": self._pooling}

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        """Embed chunks (titles included) or queries: float32 of shape (n, d)."""
        if isinstance(texts, Chunks):
            return Vectors(self.encode([self.passage_prefix + t for t in texts.searched]))
        return Vectors(self.encode([self.query_prefix + t for t in texts.text]))

    def encode(self, texts: list[str]) -> Array:
        """Embed plain texts, each by itself, the longest first."""
        with _lock:
            vector = _model(
                self.model, self.precision, self.per_channel, self.reduce_range, self._pooling, self.max_length
            )
        if len(texts) < 2:
            return np.array([vector(text) for text in texts or [""]])[: len(texts)]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        with ThreadPoolExecutor(threads()) as pool:
            made = dict(zip(order, pool.map(vector, (texts[i] for i in order)), strict=True))
        return np.array([made[i] for i in range(len(texts))])

    @property
    def _pooling(self) -> Pooling:
        own, *more = models.pooling(self.model).split("+")
        used = self.pooling or own
        if more or used not in _POOLINGS:
            unknown = more[0] if more else used
            raise InputError(
                f"ONNX: {self.model} works with {unknown}, which is not run here; use SentenceTransformer"
            )
        return cast("Pooling", used)

    def tokens(self, texts: list[str]) -> Array:
        """Tokens of every text, special tokens included and before any cut: int64 of shape (n,)."""
        encoded = models.tokenizer(self.model).encode_batch_fast(texts)
        return np.array([len(e.ids) for e in encoded], dtype=np.int64)


@cache
def _model(
    name: str, precision: Precision, per_channel: bool, reduce_range: bool, pooling: Pooling, max_length: int
) -> Callable[[str], Array]:
    """The process's handle of a model: from a text to its vector, float32 of shape (d,)."""
    from tokenizers import Tokenizer

    folder = models.model_folder(name)
    if max_length > (limit := models.longest_input(name)):
        raise InputError(f"ONNX: max_length is {max_length}; {name} takes {limit}")
    session = _session(exported(name) if precision == "fp32" else quantised(name, per_channel, reduce_range))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_length)
    tokenizer.no_padding()
    output = [session.get_outputs()[0].name]
    filled = [(given.name, int(given.name == "attention_mask")) for given in session.get_inputs()]
    filled.remove(("input_ids", 0))

    def vector(text: str) -> Array:
        (encoded,) = tokenizer.encode_batch_fast([text])  # unlike `encode`, it lets other threads run
        ids = np.array([encoded.ids], dtype=np.int64)
        given = {"input_ids": ids, **{name: np.full_like(ids, value) for name, value in filled}}
        tokens = session.run(output, given)[0][0]
        pooled = tokens[0] if pooling == "cls" else tokens.sum(axis=0)  # in direction the mean
        return cast("Array", pooled / np.float32(np.sqrt(np.square(pooled, dtype=np.float64).sum())))

    return vector


@cache
def _session(file: Path) -> Any:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it plans memory by shape, and every length of text is another
    options.log_severity_level = 3
    return InferenceSession(
        str(file),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["SkipLayerNormFusion"],  # its kernel is slower than the two that it replaces
    )
