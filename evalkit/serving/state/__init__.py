"""Where layers keep what outlives a request: one small key-value interface, and what wraps it.

Everything in ``__all__`` can be named in a spec.
"""

from evalkit.serving.state.compressed import Compressed
from evalkit.serving.state.levels import Levels
from evalkit.serving.state.memory import Memory
from evalkit.serving.state.redis import Redis
from evalkit.serving.state.sqlite import SQLite

__all__ = ["Compressed", "Levels", "Memory", "Redis", "SQLite"]
