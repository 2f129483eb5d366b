"""A request that a service turned away, with the reason: an outcome, not an error of the service."""

from __future__ import annotations

from evalkit.errors import EvalkitError


class Refused(EvalkitError):
    """What a layer raises instead of an answer.

    Parameters
    ----------
    layer : str
        Its class.
    reason : str
        A few words, the same for equal causes, so that they can be counted: ``queue full``, ``over the rate``.
    after : float
        Seconds after which trying again may help; 0 where nothing says so.
    """

    def __init__(self, layer: str, reason: str, after: float = 0.0) -> None:
        super().__init__(f"{layer}: {reason}")
        self.layer, self.reason, self.after = layer, reason, after

    def __reduce__(self) -> tuple[type[Refused], tuple[str, str, float]]:
        return type(self), (self.layer, self.reason, self.after)
