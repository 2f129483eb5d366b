"""Where layers keep what outlives a request: one small key-value interface, and what wraps it."""

__all__: list[str] = []
