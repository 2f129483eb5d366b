"""What a question asks for: a person, a time, an amount, a reason, a yes or no.

The types are the usual coarse ones of question answering (Li and Roth, Learning question classifiers, COLING 2002),
told by the question word and the noun behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from evalkit.llm.reading.words import stems, tokens
from evalkit.memo import remembered

Kind = Literal[
    "person", "place", "time", "duration", "frequency", "money", "percent", "quantity", "count", "code", "name",
    "meaning", "reason", "manner", "choice", "yes-no", "open",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Ask:
    """One thing that is asked.

    Parameters
    ----------
    text : str
        The part of the question that asks it; the whole of it where only one thing is asked.
    kind : Kind
        What would answer it.
    target : frozenset of str
        Stems of the noun that is asked for: of "workshop" in "Which workshop ...", of "days" in "How many days ...".
    compares : bool
        Whether things are compared, so that more than one place may hold the answer.
    """

    text: str
    kind: Kind
    target: frozenset[str] = frozenset()
    compares: bool = False


_BEFORE = (
    r"(?:(?:and|or|but|so|then|now|also|if so|about|after|at|by|during|for|from|in|of|on|over|since|to|under|until|"
    r"till|up|with|within|between|against|through|into)\s+)*"
)
_VERB = (
    r"(?:am|are|aren't|can|can't|could|did|didn't|do|does|doesn't|don't|had|has|have|is|isn't|may|might|must|shall|"
    r"should|was|wasn't|were|will|won't|would)"
)
_IN_QUESTIONS = rf"(?:'s|(?=\s+{_VERB}\b)|(?=\W*$))"  # "When it rains, ..." asks nothing
_WORD = rf"(?:who(?:m|se|'s)?|what(?:'s)?|which|(?:when|where){_IN_QUESTIONS}|why|how)"
_ASKS = re.compile(rf"(?P<before>{_BEFORE})(?:(?P<word>{_WORD})\b|(?P<verb>{_VERB})\s+[a-z])", re.I)
_CLAUSE = re.compile(
    rf"(?<=[.!?;:])\s+|,\s+(?:(?:and|or|but|so|then)\s+)?|\s+(?:and|but)\s+(?={_BEFORE}{_WORD}\b)", re.I
)
_WHERE = re.compile(rf"\b{_WORD}\b", re.I)

_NOUNS: dict[Kind, frozenset[str]] = {
    "time": stems("date day month year time week hour moment deadline weekday morning evening season"),
    "person": stems(
        "person people man woman employee colleague officer manager director chair deputy owner author president "
        "leader expert engineer staff customer client doctor teacher minister"
    ),
    "place": stems("place city town country room street region location"),
    "code": stems("form code reference version identifier id extension phone article section"),
    "money": stems("price cost fee charge amount sum fare salary commission penalty premium budget tariff"),
    "percent": stems("percent percentage rate interest yield proportion"),
}
_UNITS = stems("second minute hour day week month quarter year night weekend")
_SIZE: tuple[tuple[Kind, str], ...] = (
    ("frequency", r"often|frequently|many times"),
    ("count", r"many"),
    ("duration", r"long|soon|quickly|fast|late|early|old"),
    ("money", r"much|dear|expensive|cheap|costly"),
    ("quantity", r"big|large|small|high|low|heavy|far|wide|tall|deep|great|thick|short|strong"),
)
_COSTS = re.compile(r"\b(?:costs?|pay|pays|paid|charged?|earns?|yields?)\b", re.I)
_PRICED = re.compile(r"\b(?:costs?|charged?)\b(?!.*\binterest\b)", re.I)
_MEANS = re.compile(r"\b(?:means?|meant|stands? for|refers? to|wrong)\b", re.I)
_IS_A_CODE = re.compile(r"\s*(?:is|are|was)\s+(?:an?\s+|the\s+)?(?=\S*\d)\S+\W*$", re.I)
_HAPPENS = re.compile(r"\s+(?:happen|become|come|go)(?:s|ed)?\b", re.I)
_WHY = re.compile(r"why\b|how come\b|(?:for )?what (?:is the )?(?:reason|cause|purpose)\b|what for\W*$", re.I)
_COMPARES = re.compile(
    r"\b(?:more|less|fewer|\w+er|different|differs?|difference|compared?)\b.*\b(?:than|from|between|with|to|or)\b"
    r"|\bas (?:much|many|\w+) .*\bas\b|\bdiffer(?:ence)?\b|\bcompared?\b|\b(?:both|either)\b", re.I
)  # fmt: skip
_KEYWORDS: tuple[tuple[Kind, str], ...] = (
    ("time", r"\bwhen\b|\bdates?\b|\bdeadlines?\b"),
    ("reason", r"\breasons?\b"),
    ("money", r"\b(?:price|cost|fee|charge|amount|salary|how much)s?\b"),
    ("percent", r"\b(?:percent(?:age)?|rate|interest|yield)\b"),
    ("count", r"\bnumber of\b"),
    ("quantity", r"\b(?:commission|limit|ceiling|maximum|minimum|cap|weight|least|most|smallest|largest)\b"),
    ("person", r"\bwho\b"),
)


@remembered(50_000)
def asks(question: str) -> tuple[Ask, ...]:
    """Return what a question asks for, in its order: at least one thing."""
    parts = [part.strip() for part in _CLAUSE.split(question) if part.strip()]
    asking = [i for i, part in enumerate(parts) if _ASKS.match(part)]
    if not asking:
        return (_typed(question, question),)
    edges = [*asking, len(parts)]
    texts = [" ".join(parts[a:b]) for a, b in pairwise(edges)]
    if len(texts) > 1 and all(map(stems, texts)):
        return tuple(_typed(text, text) for text in texts)
    return (_typed(texts[-1], question),)


def _typed(clause: str, text: str) -> Ask:
    compares = bool(_COMPARES.search(text))
    found = _ASKS.match(clause)
    if found is not None and found["verb"]:
        return Ask(text, "choice" if re.search(r"\bor\b", clause) else "yes-no", compares=compares)
    if found is None:
        inside = _WHERE.search(clause)
        if inside is None or not clause.rstrip().endswith("?"):
            return Ask(text, _by_keyword(clause), compares=compares)
        before, word, rest = "", inside[0], clause[inside.end() :]
    else:
        before, word, rest = found["before"], found["word"], clause[found.end("word") :]
    kind, target = _by_word(before.lower().split(), word.lower().removesuffix("'s"), rest)
    if word.lower() == "which" and compares and re.search(r"\bor\b", rest):
        kind = "choice"
    return Ask(text, kind, target, compares)


def _by_word(before: list[str], word: str, rest: str) -> tuple[Kind, frozenset[str]]:
    """Tell the kind by the question word, what stands before it and what follows."""
    for words, kind in _PLAIN:
        if word in words:
            return kind, frozenset()
    if _WHY.match(f"{word}{rest}"):
        return "reason", frozenset()
    if word == "how":
        return _by_size(rest)
    if word == "what" and _HAPPENS.match(rest):
        return "open", frozenset()
    if word == "what" and (_MEANS.search(rest) or _IS_A_CODE.match(rest)):
        return "meaning", frozenset()
    nouns = _noun(rest)
    for noun in nouns[:3]:
        for kind, known in _NOUNS.items():
            if noun in known:
                lasts = kind == "time" and {"in", "within", "after", "for"} & {*before}
                return ("duration", frozenset([noun]) & _UNITS) if lasts else (kind, frozenset([noun]))
    if nouns:
        return "name", frozenset(nouns[:2])
    if not re.match(r"\s+(?:is|are|was|were|will be)\b", rest) and _COSTS.search(rest):
        return ("money" if _PRICED.search(rest) else "quantity"), frozenset()
    return _by_keyword(rest), frozenset()


_PLAIN: tuple[tuple[tuple[str, ...], Kind], ...] = (
    (("who", "whom", "whose"), "person"),
    (("when",), "time"),
    (("where",), "place"),
    (("why",), "reason"),
)


def _by_size(rest: str) -> tuple[Kind, frozenset[str]]:
    for kind, words in _SIZE:
        found = re.match(rf"\s+(?:{words})\b", rest, re.I)
        if found is None:
            continue
        nouns = frozenset(_noun(rest[found.end() :])[:2])
        if kind in ("count", "money") and nouns & _UNITS:
            return "duration", nouns & _UNITS
        if kind == "money" and nouns & _NOUNS["percent"]:
            return "percent", nouns
        return kind, nouns if kind == "count" else frozenset()
    return "manner", frozenset()


def _by_keyword(text: str) -> Kind:
    return next((kind for kind, words in _KEYWORDS if re.search(words, text, re.I)), "open")


def _noun(rest: str) -> list[str]:
    """Return the stems of the words right behind a question word, up to the first function word."""
    found: list[str] = []
    place = 0
    for token in tokens(rest):
        if not token.stem or rest[place : token.start].strip():
            break
        found.append(token.stem)
        place = token.end
    return found
