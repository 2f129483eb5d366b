"""Spans of a sentence that could answer: amounts, times, names, codes, reasons, what a code means."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from evalkit.llm.reading.questions import Ask, Kind
from evalkit.llm.reading.sentences import Sentence
from evalkit.llm.reading.words import is_identifier, stems

Span = tuple[int, int]

_SMALL = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    "eighteen|nineteen"
)
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_SPELT = rf"(?:(?:{_TENS})(?:-(?:{_SMALL}))?|{_SMALL}|half|a third|a quarter|a dozen|a hundred|a thousand)"
_DIGITS = r"\d+(?:[.,]\d+)*"
_NUMBER = rf"(?:{_DIGITS}|{_SPELT})(?:\s(?:hundred|thousand|million|billion))*"
_UNIT = r"(?:second|minute|hour|day|week|month|quarter|year|night|weekend)s?\b"
_LENGTH = rf"{_NUMBER}[\s-](?:(?:working|business|calendar|full|more|further|consecutive)\s)?{_UNIT}"
_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_WEEKDAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?"
_DATE = (
    rf"(?:(?:{_WEEKDAY},?\s)?\d{{1,2}}(?:st|nd|rd|th)?\s{_MONTH}(?:,?\s\d{{4}})?"
    rf"|{_MONTH}(?:\s\d{{1,2}}(?:st|nd|rd|th)?\b)?(?:,?\s\d{{4}})?|\d{{4}}-\d\d-\d\d)"
)
_CLOCK = r"(?:\d{1,2}[:.]\d\d(?:\s?[ap]\.?m\b)?|\d{1,2}\s?[ap]\.?m\b|noon|midnight)"
_MOMENT = rf"(?:{_DATE}(?:,?\s(?:at\s)?{_CLOCK})?|{_WEEKDAY}|{_CLOCK}|(?:19|20)\d\d)"
_NAME = r"[A-Z][\w'\u2019-]*(?:\s(?:(?:of|de|van|von|the)\s)?[A-Z][\w'\u2019-]*)*"
_MONEY = (
    rf"(?:\b[A-Z]{{3}}\s|[€$£]){_DIGITS}(?:\s(?:million|billion))?"
    rf"|\b{_NUMBER}\s(?:euros?|dollars?|pounds?|cents?|francs?)\b"
)
_PERCENT = rf"\b{_NUMBER}\s?(?:percent\b|per cent\b|%|(?:percentage\s)?points?\b)"
_OFTEN = rf"\b(?:once|twice|{_NUMBER}\stimes|every|daily|weekly|monthly|quarterly|yearly)\b"

_PATTERNS: dict[Kind, re.Pattern[str]] = {
    "money": re.compile(_MONEY),
    "percent": re.compile(_PERCENT),
    "quantity": re.compile(rf"{_MONEY}|{_PERCENT}|\b{_DIGITS}\s(?:[a-z]+s|[ckm]?m|k?g)\b"),
    "count": re.compile(rf"\b(?!one\b|half\b){_NUMBER}\b", re.I),
    "duration": re.compile(rf"\b{_LENGTH}|\bat once\b|\bimmediately\b", re.I),
    "frequency": re.compile(rf"{_OFTEN}(?:\s(?:an?|each|every|in|per))*(?:\s[a-z]+)?\s{_UNIT}|{_OFTEN}", re.I),
    "time": re.compile(
        rf"\b{_MOMENT}(?:\s(?:to|and|until)\s{_MOMENT})*|\b(?:[Ww]ithin|[Ii]n|[Aa]fter)\s{_LENGTH}"
        r"|\b[Oo]n the (?:same|next|first|last) (?:[a-z]+ )?day\b"
    ),
    "code": re.compile(r"\b[A-Z]{1,6}-?\d[\w-]*\b|\b\d+(?:\.\d+)+\b|\b\d{3,}(?:\s\d{3,})*\b"),
    "person": re.compile(rf"\b{_NAME}"),
    "name": re.compile(rf"\b{_NAME}"),
    "place": re.compile(
        r"\b(?:at|in|on|under|near|behind|inside|beside|opposite|to|from)\s(?:the\s|our\s|your\s|an?\s)?"
        rf"(?:[\w'\u2019-]+\s){{0,4}}?{_NAME}"
    ),
    "reason": re.compile(
        r"\b(?:because|due to|owing to|thanks to|in order to|as a result of)\b.+?(?=[;.!?](?:\s|$)|$)", re.I
    ),
}
_FREE = re.compile(r"\bfree(?: of charge)?\b|\bwithout charge\b|\bcosts nothing\b", re.I)
_A_MOMENT = re.compile(_MOMENT)
_NUMBERED = re.compile(r"\d|\b[A-Z]$")
_SAYS = re.compile(r"(?::|,| means(?: that)?| points to| stands for| is| appears when)?\s+")
_STOP = re.compile(r"[;.](?:\s|$)")
_SHORTEST_MEANING = 8
_HALVED = 30.0
"""Characters between a word of the question and a span over which the word is worth half."""


def best_span(sentence: Sentence, ask: Ask, known: str, words: Mapping[str, float]) -> tuple[Span, float] | None:
    """Return where a sentence answers, and how near to the question's words; None where it holds nothing of the kind.

    Parameters
    ----------
    sentence : Sentence
    ask : Ask
    known : str
        What was said so far, in lower case: what stands in it is no answer.
    words : {stem: weight}
        Of the question; they sum to 1.

    Returns
    -------
    (start, end) in the sentence's text, and a nearness from 0 to 1: each word's weight, halved for every 30
    characters between it and the span. Of equally near spans the first one counts.
    """
    found = [span for span in spans(sentence, ask) if not _said(sentence.text[slice(*span)].lower(), known)]
    if found:
        near = [_nearness(sentence, span, words) for span in found]
        best = max(range(len(found)), key=lambda i: (near[i], -i))
        return found[best], near[best]
    meaning = _meaning(sentence, words)
    return None if meaning is None else (meaning, 1.0)


def spans(sentence: Sentence, ask: Ask) -> list[Span]:
    """Return all spans of the kind that is asked for, in order; none for kinds that take whole sentences."""
    pattern = _PATTERNS.get(ask.kind)
    if pattern is None:
        return []
    text = sentence.text
    found = [match.span() for match in pattern.finditer(text)]
    if ask.kind == "money" and not found:
        return [match.span() for match in _FREE.finditer(text)]
    if ask.kind == "duration" and ask.target:
        return [span for span in found if stems(text[slice(*span)].replace("-", " ")) & ask.target]
    if ask.kind == "count":
        return [_with_noun(sentence, span, ask.target) for span in found]
    if ask.kind == "name":
        return [*filter(lambda span: _is_name(text, span), found), *_phrases(sentence, ask.target)]
    if ask.kind == "person":
        return [span for span in found if _is_name(text, span) and not _NUMBERED.search(text[slice(*span)])]
    if ask.kind == "place":
        return [span for span in found if not _A_MOMENT.search(text[slice(*span)])]
    return found


def _said(span: str, known: str) -> bool:
    return span in known and re.search(rf"(?<!\w){re.escape(span)}(?!\w)", known) is not None


def _nearness(sentence: Sentence, span: Span, words: Mapping[str, float]) -> float:
    near = 0.0
    for token in sentence.tokens:
        if token.stem in words:
            inside = span[0] <= token.start and token.end <= span[1]
            gap = 0 if inside else min(abs(token.start - span[1]), abs(span[0] - token.end))
            near += words[token.stem] * 2.0 ** (-gap / _HALVED)
    return near


def _meaning(sentence: Sentence, words: Mapping[str, float]) -> Span | None:
    """What a sentence says behind an identifier that the question names."""
    for token in sentence.tokens:
        if token.stem in words and is_identifier(token.stem):
            said = _SAYS.match(sentence.text, token.end)
            if said is not None:
                stop = _STOP.search(sentence.text, said.end())
                end = stop.start() if stop else len(sentence.text)
                if end - said.end() > _SHORTEST_MEANING:
                    return said.end(), end
    return None


def _is_name(text: str, span: Span) -> bool:
    """A word at the beginning of a sentence has a capital anyway; a date, a currency and an acronym are no names."""
    name = text[slice(*span)]
    return (span[0] > 0 or " " in name) and not _A_MOMENT.fullmatch(name) and not name.isupper()


def _with_noun(sentence: Sentence, span: Span, target: Collection[str]) -> Span:
    """Take the noun that is counted into the span, where it follows."""
    behind = [token for token in sentence.tokens if token.start > span[1]][:2]
    return next(((span[0], token.end) for token in behind if token.stem in target), span)


def _phrases(sentence: Sentence, target: Collection[str]) -> list[Span]:
    """Return the nouns that are asked for with the content words before them."""
    found = []
    for i, token in enumerate(sentence.tokens):
        if token.stem in target:
            first = i
            while first and _joined(sentence, first):
                first -= 1
            if first < i:
                found.append((sentence.tokens[first].start, token.end))
    return found


def _joined(sentence: Sentence, i: int) -> bool:
    """Whether only a blank stands between a word and a content word before it."""
    before, token = sentence.tokens[i - 1], sentence.tokens[i]
    return bool(before.stem) and sentence.text[before.end : token.start] == " "
