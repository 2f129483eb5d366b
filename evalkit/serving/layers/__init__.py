"""Serving layers, one file each. Everything in ``__all__`` can be named in a spec."""

from evalkit.serving.layers.cache import Cache

__all__ = ["Cache"]
