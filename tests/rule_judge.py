"""A judge that follows simple rules, so that what ragas makes of its verdicts is known beforehand.

It reads the JSON at the end of ragas' prompts and answers with the JSON that they ask for. A statement follows from
a text when all its words occur in it; a passage is useful when all words of the answer occur in it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from toys import note_call

from evalkit import fingerprint
from evalkit.calls import Call, CallFailed, TokenUsage
from evalkit.llm.pricing import Prices
from evalkit.values import Answer, Prompt

FAULTS = ("garbage", "refusal", "cut", "failure", "odd verdict", "too few")


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()]


def follows(statement: str, text: str) -> bool:
    return words(statement) <= words(text)


def asked_for(prompt: str) -> tuple[str, dict[str, Any]]:
    """Return what a prompt of ragas asks for, and of what."""
    given = json.loads(prompt[prompt.rindex("\ninput: ") + 8 : prompt.rindex("Output:")])
    kinds = {
        "cut": {"question", "answer"}, "decide": {"context", "statements"}, "ask": {"response"},
    }  # fmt: skip
    for kind, keys in kinds.items():
        if given.keys() == keys:
            return kind, given
    return ("attribute" if "classifications" in prompt else "useful"), given


def verdict(kind: str, given: dict[str, Any], lie: bool) -> dict[str, Any]:
    if kind == "cut":
        return {"statements": sentences(given["answer"])}
    if kind == "decide":
        return {
            "statements": [
                {"statement": one, "reason": "its words", "verdict": int(follows(one, given["context"]) != lie)}
                for one in given["statements"]
            ]
        }
    if kind == "ask":
        silent = "do not say" in given["response"]
        return {"question": f"What about this: {given['response']}", "noncommittal": int(silent)}
    if kind == "useful":
        return {"reason": "its words", "verdict": int(follows(given["answer"], given["context"]) != lie)}
    return {
        "classifications": [
            {"statement": one, "reason": "its words", "attributed": int(follows(one, given["context"]) != lie)}
            for one in sentences(given["answer"])
        ]
    }


@dataclass(frozen=True)
class RuleJudge:
    """Answers ragas' prompts by rule.

    Parameters
    ----------
    noise : float
        Share of its verdicts that are the wrong way round; which ones, the prompt and the sample decide.
    fault : str
        What goes wrong with those prompts about whose text `breaks` occurs.
    breaks : str
        Empty: with none.
    model : str
        Whose price a call has; empty: it costs nothing.
    """

    noise: float = 0.0
    fault: str = ""
    breaks: str = ""
    final: bool = False
    model: str = ""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    @property
    def paid(self) -> bool:
        return bool(self.model)

    def at_most(self, prompt: Prompt) -> float:
        return Prices.load().at_most(self.model, 2000, 500)

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        note_call(f"{sample} {prompt.question[:40]!r}")
        whole = "\n\n".join([*prompt.passages, prompt.question])  # the fake Claude cuts at blank lines
        kind, given = asked_for(whole)
        luck = int(fingerprint.digest([whole, sample])[:8], 16) / 16**8
        found = verdict(kind, given, luck < self.noise)
        call = Call(self.model or "rules", TokenUsage(input=1000, output=200), day="2026-11-20")
        text = f"```json\n{json.dumps(found)}\n```"
        if self.breaks and self.breaks in json.dumps(given, ensure_ascii=False):
            text, call = self._wrong(found, text, call)
        return Answer(text, (), call)

    def _wrong(self, found: dict[str, Any], text: str, call: Call) -> tuple[str, Call]:
        if self.fault == "failure":
            failed = Call(call.model, TokenUsage(input=7), stop="529 overloaded_error", day=call.day)
            raise CallFailed("RuleJudge: overloaded; try again later", failed, self.final)
        if self.fault == "garbage":
            return 'Surely: {"verdict": yes', call
        if self.fault == "refusal":
            return "", Call(call.model, call.usage, stop="refusal", day=call.day)
        if self.fault == "cut":
            return text[:20], Call(call.model, call.usage, stop="max_tokens", day=call.day)
        if self.fault == "odd verdict":
            return re.sub(r'"(verdict|attributed)": [01]', r'"\1": 7', text), call
        return json.dumps({key: held[1:] if isinstance(held, list) else held for key, held in found.items()}), call


@dataclass(frozen=True)
class Says:
    """Answers with the first sentence of its first passage, and with what it is told to add."""

    more: str = ""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        first = sentences(prompt.passages[0])[0] if prompt.passages else ""
        return Answer(f"{first} {self.more}".strip(), tuple(dict.fromkeys(prompt.sources)))
