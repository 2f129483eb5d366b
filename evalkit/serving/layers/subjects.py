"""Whom a limit counts."""

from __future__ import annotations

from typing import Literal

from evalkit import fingerprint
from evalkit.served import Next, Request
from evalkit.types import Node

Per = Literal["service", "model", "user", "tenant"]
"""Whose calls are counted together: everyone's, a model's, a user's (within a tenant), a tenant's."""


def subject(per: Per, request: Request, go_on: Next) -> tuple[str, ...]:
    """Return whom a call is counted for. Requests that name no user, or no tenant, are one user's."""
    if per == "model":
        return (model_of(go_on.node),)
    if per == "user":
        return (request.tenant, request.user)
    return (request.tenant,) if per == "tenant" else ()


def model_of(node: Node) -> str:
    """Return the name of the model that a node calls; for one without a name, the identity of its op.

    A provider counts by the name: two prompts of one model share its limits.
    """
    return str(getattr(node.op, "model", "")) or fingerprint.digest(node.op)
