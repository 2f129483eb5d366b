"""Embedding models: texts in, unit vectors out."""

from evalkit.stages.embed.fitted import FittedStatic
from evalkit.stages.embed.onnx import ONNX
from evalkit.stages.embed.openai import OpenAIEmbeddings
from evalkit.stages.embed.sentence_transformer import SentenceTransformer
from evalkit.stages.embed.static import Static
from evalkit.stages.embed.truncated import Truncated

__all__ = ["ONNX", "FittedStatic", "OpenAIEmbeddings", "SentenceTransformer", "Static", "Truncated"]
