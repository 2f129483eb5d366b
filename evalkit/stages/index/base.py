"""The form in which FAISS indexes are kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from evalkit.columns import Array
from evalkit.values import Value


@dataclass(frozen=True, eq=False)
class FaissIndex(Value):
    """A FAISS index in FAISS's own serialised form: uint8 of shape (bytes,)."""

    data: Array

    @cached_property
    def loaded(self) -> Any:
        """The index, ready to search; loaded once a process."""
        import faiss

        return faiss.deserialize_index(np.asarray(self.data))
