"""One store, one journal.

The store keeps every node's result by *content* (``objects/``, one ``.safetensors`` file each) and, by *action*,
which content an op gave on which inputs (``actions/``, one small JSON file each). Beneath them lies the journal:
one row a model call, written at once, so that a kill of the process loses nothing that was paid for.

Files are written beside their place and moved into it, so a reader never sees half of one. An artefact's name is
the hash of what it holds; it is checked when a process first touches it, and one that fails is said and made anew.
"""

from evalkit.store.artefacts import CorruptArtefact
from evalkit.store.disk import DiskStore
from evalkit.store.journal import Journal

__all__ = ["CorruptArtefact", "DiskStore", "Journal"]
