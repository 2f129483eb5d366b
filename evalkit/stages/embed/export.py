"""Transformers as ONNX graphs: exported from torch, quantised to 8 bits. Each is made once and kept."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import InputError
from evalkit.machine import packages_of
from evalkit.stages import models
from evalkit.stages.derived import derived

_FILE = "model.onnx"
_SHIPPED = (f"onnx/{_FILE}", _FILE)
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_VERSION = 1  # raised when the same weights give another graph
_OPSET = 17


class _Export:
    """What an exported graph rests on."""

    packages = ("onnx", "torch", "transformers")


class _Quantisation:
    """What a quantised graph rests on beside the graph that it is made from."""

    packages = ("onnx", "onnxruntime")


def exported(model: str) -> Path:
    """Return a model's transformer in 32 bits: token ids in, one vector a token out.

    A graph that lies whole in the model's folder is used as it is; otherwise one is exported from the weights.

    Raises
    ------
    MissingModel
        If the model is nowhere on this machine.
    InputError
        If torch cannot export it, or if the graph computes something else than torch.
    """
    folder = models.model_folder(model)
    for file in (folder / name for name in _SHIPPED):
        if file.is_file() and _usable(file):
            return file
    return derived(_recipe(model), lambda place: _export(model, folder, place / _FILE)) / _FILE


def quantised(model: str, per_channel: bool, reduce_range: bool) -> Path:
    """Return a model's transformer with 8-bit weights; activations are quantised as they come.

    Parameters
    ----------
    model : str
    per_channel : bool
        One scale a column of a weight matrix, instead of one for the whole matrix.
    reduce_range : bool
        Weights of 7 bits.
    """
    source = exported(model)
    recipe = {
        "from": _recipe(model),
        "bits": 8,
        "per_channel": per_channel,
        "reduce_range": reduce_range,
        "packages": packages_of(_Quantisation),
    }
    return derived(recipe, lambda place: _quantise(source, place / _FILE, per_channel, reduce_range)) / _FILE


def _recipe(model: str) -> dict[str, Any]:
    return {
        "onnx": models.model_digest(model),
        "version": _VERSION,
        "opset": _OPSET,
        "packages": packages_of(_Export),
    }


def _usable(file: Path) -> bool:
    """Whether a graph takes what we give and has all its weights in this one file, which the model's digest reads."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    inputs, first = {given.name for given in graph.input}, graph.output[0]
    outside = any(weights.data_location == onnx.TensorProto.EXTERNAL for weights in graph.initializer)
    return inputs <= INPUTS and len(first.type.tensor_type.shape.dim) == 3 and not outside


def _export(name: str, folder: Path, file: Path) -> None:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()

    class Transformer(torch.nn.Module):
        """Takes ids alone: a text that comes by itself has no padding to mask."""

        def __init__(self) -> None:
            super().__init__()
            loaded = AutoModel.from_pretrained(str(folder), attn_implementation="eager", local_files_only=True)
            self.inner = loaded.float()

        def forward(self, ids: Any) -> Any:
            return self.inner(input_ids=ids).last_hidden_state

    with _quiet(), torch.inference_mode():
        try:
            module = Transformer().eval()
            torch.onnx.export(
                module,
                (torch.arange(8).reshape(1, 8),),
                str(file),
                input_names=["input_ids"],
                output_names=["last_hidden_state"],
                dynamic_axes={"input_ids": {1: "tokens"}, "last_hidden_state": {1: "tokens"}},
                opset_version=_OPSET,
                dynamo=False,
            )
        except Exception as error:  # whatever the model's code and the exporter met
            first = (str(error).splitlines() or [""])[0]
            raise InputError(
                f"model '{name}': torch cannot export it ({type(error).__name__}: {first}); use SentenceTransformer"
            ) from error
        for length in (3, 29):
            ids = torch.arange(length).reshape(1, length)
            _check_same(name, module(ids).numpy(), _run(file, ids.numpy()))


def _check_same(name: str, wanted: Any, found: Any) -> None:
    """Tracing keeps what a model's code decided for one input; this finds what holds for no other."""
    if wanted.shape != found.shape or np.abs(wanted - found).max() > 1e-3 * np.abs(wanted).max():
        raise InputError(f"model '{name}': exported, it computes something else than torch; use SentenceTransformer")


def _run(file: Path, ids: Any) -> Any:
    from onnxruntime import InferenceSession

    return InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, {"input_ids": ids})[0]


def _quantise(source: Path, target: Path, per_channel: bool, reduce_range: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_name("prepared.onnx")
    with _quiet():
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_dynamic(
            str(prepared),
            str(target),
            per_channel=per_channel,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
        )
    prepared.unlink()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings; and ``logging.info`` finds a root handler, or it would install its own."""
    root, mute = logging.getLogger(), logging.NullHandler()
    root.addHandler(mute)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(mute)
