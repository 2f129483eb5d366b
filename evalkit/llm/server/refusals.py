"""What the API answers instead of a message: a status, a type of error, one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The ``error.type`` of each status (Anthropic, "Errors")."""


class Refused(Exception):
    """A request that gets an error instead of an answer.

    Parameters
    ----------
    status : int
        One of `TYPES`.
    message : str
    headers : {name: value}
    details : mapping or None
        What ``error.details`` holds beside the message.
    """

    def __init__(
        self,
        status: int,
        message: str,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers, self.details = status, message, dict(headers or {}), details

    def body(self, request_id: str | None) -> dict[str, Any]:
        """Return the body as the API writes it."""
        error: dict[str, Any] = {"type": TYPES[self.status], "message": self.message}
        if self.details is not None:
            error["details"] = dict(self.details)
        return {"type": "error", "error": error, "request_id": request_id}
