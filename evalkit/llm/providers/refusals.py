"""How a server's refusal is read: what it means, whether it may be tried again, and what is told, without a key."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from evalkit.llm.providers.retry import LONGEST_WAIT, Fault

_WORDS = 200
_SPENT = re.compile(
    r"credit balance|spend(ing)?[ _](cap|limit)|billing_error|specified (workspace )?API usage limits", re.IGNORECASE
)
_SPENT_429 = re.compile(r"spend|credit|quota|billing_error", re.IGNORECASE)
_KEY = re.compile(r"\bsk-[\w-]{8,}")
_NAME = re.compile(r"[\w.-]{1,60}", re.ASCII)


def refused(
    status: int,
    kind: str,
    words: str,
    headers: Mapping[str, str],
    *,
    variable: str,
    secret: str = "",
    request_id: str = "",
) -> Fault:
    """Read an error that a server sent.

    Tried again are 408, 409, 429 and 500 and above, and whatever ``x-should-retry`` says otherwise, as the providers'
    own clients do; a spending limit that is reached never is, whichever status it comes with.

    Parameters
    ----------
    status : int
        Of HTTP, or the one that `kind` stands for where the error came in mid-stream.
    kind : str
        The error's type or code, as the server named it.
    words : str
        Its message.
    headers : mapping of str to str
        With names in lower case or, as a client's headers, of any.
    variable : str
        The environment variable that holds the key.
    secret : str
        The key, which no part of the fault will hold.
    request_id : str
    """
    after = retry_after(headers)
    error = f"{status} {name(kind, secret)}".strip()
    shown = f" ({said})" if (said := one_line(words, secret)) else ""
    identity = name(request_id, secret)
    if after is None and _spent(status, f"{kind} {words}"):
        told = f"credit or spending limit used up; raise it and run again, what was answered is kept{shown}"
        return Fault(error, told, again=False, final=True, request_id=identity)
    asked = headers.get("x-should-retry", "")
    again = asked == "true" or (asked != "false" and (status in (408, 409, 429) or status >= 500))
    if again and after is not None and after > LONGEST_WAIT:
        until = datetime.now(UTC) + timedelta(seconds=min(after, 1e8))
        told = f"the server asks to wait {after:.0f} s, until {until:%Y-%m-%d %H:%M} UTC; run again then{shown}"
        return Fault(error, told, again=False, final=True, request_id=identity)
    told, final = _told(status, variable)
    return Fault(error, told + shown, again, after, final, request_id=identity)


def _spent(status: int, said: str) -> bool:
    """Tell a spending limit from a rate limit, which speaks of no money, and mostly says when to come back."""
    pattern = {400: _SPENT, 403: _SPENT, 429: _SPENT_429}.get(status)
    return status == 402 or (pattern is not None and pattern.search(said) is not None)


def _told(status: int, variable: str) -> tuple[str, bool]:
    """Say what an error means and what to do, and whether all other calls will meet it too."""
    if status in (401, 403):
        return f"the key is refused; set {variable}", True
    if status == 404:
        return "no such model, or no such API at this URL; check model and base_url", True
    if status == 413:
        return "the prompt is too large; give fewer or shorter passages", False
    if status == 429:
        return "too many requests; ask fewer at a time, or raise retries", False
    if status in (408, 409) or status >= 500:
        return "the server is busy or failed; run again later, what was answered is kept", False
    if status in (400, 422):
        return "the request is refused; check model and its settings, and the length of the prompt", False
    return "not an answer of this API; check base_url", False


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait (``retry-after-ms``, or ``retry-after`` as a number or a date).

    None where it asks for none, or for nothing that is more than 0 (RFC 9110, section 10.2.3).
    """
    for header, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(header, "")) * unit
        except ValueError:
            continue
        return seconds if math.isfinite(seconds) and seconds > 0 else None
    try:
        at = parsedate_to_datetime(headers.get("retry-after", ""))
    except (TypeError, ValueError):
        return None
    seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return seconds if seconds > 0 else None


def one_line(text: str, secret: str = "") -> str:
    """Return a server's words in one line of at most 200 characters, without what is or looks like a key."""
    hidden = text.replace(secret, "***") if secret else text
    return _KEY.sub("***", " ".join(hidden.split()))[:_WORDS]


def name(text: str, secret: str = "") -> str:
    """Return a name that a server gave (of an error, a request); empty where it is none, or is or holds a key."""
    fits = _NAME.fullmatch(text) is not None and not (secret and secret in text) and not _KEY.search(text)
    return text if fits else ""
