"""Questions to a semantic cache, in which nothing takes time but what is stated."""

from __future__ import annotations

from typing import Any

from toys import dense, small_dataset

from evalkit import Service, replay
from evalkit.datasets.traffic import Ingestion
from evalkit.serving import Arrival

APPLES, MORE = "red apples grow", "red apples"  # cosine 0.816
PEARS = "green pears"


def asked(
    store: Any,
    layers: Any,
    *arrivals: Arrival | str,
    variant: Any = None,
    start: float = 0.0,
    gap: float = 1.0,
    **more: Any,
) -> Any:
    """Replay questions, by default one a second."""
    each = [Arrival(one, at=start + gap * i) if isinstance(one, str) else one for i, one in enumerate(arrivals)]
    variant = variant if variant is not None else dense()
    return replay(
        Service(variant, tuple(layers)), small_dataset(), each, store=store, **{"cost": {}, "keep": True, **more}
    )


def looks(found: Any) -> list[str]:
    """What the cache said to each."""
    return found.per_request["semantic"].tolist()


def similarities(found: Any) -> list[float | None]:
    """The cosine of the nearest entry, for each."""
    return [outcome.notes.get("similarity") for outcome in found.outcomes]


def adds(*names: str, at: float = 1.5) -> list[Ingestion]:
    """Documents that come in after the second question."""
    return [Ingestion(at, added=names, removed=())]
