"""Looking at an answer before it is handed on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, cast

from evalkit.errors import InputError
from evalkit.metrics.grounding import Refusal, Supported
from evalkit.served import Handler, Next, Request, Serving
from evalkit.serving.refused import Refused
from evalkit.values import Answer, Answers, Prompt, Prompts, Value


class AnswerCheck(Protocol):
    """What an answer must hold to."""

    def fault(self, answer: Answer, prompt: Prompt) -> str:
        """Return what is wrong, in a few words that are the same for equal faults; empty: nothing."""


@dataclass(frozen=True)
class NotEmpty:
    """The answer says something.

    Parameters
    ----------
    characters : int
        At least so many, white space at the ends not counted.
    """

    characters: int = 1

    def __post_init__(self) -> None:
        if self.characters < 1:
            raise InputError(f"NotEmpty: characters is {self.characters}; give 1 or more")

    def fault(self, answer: Answer, prompt: Prompt) -> str:
        """Return ``empty``, ``too short`` or nothing."""
        length = len(answer.text.strip())
        return "" if length >= self.characters else "too short" if length else "empty"


@dataclass(frozen=True)
class Cites:
    """The answer cites sources that its prompt held. An answer to a prompt without passages need not.

    Parameters
    ----------
    sources : int
        At least so many, or all that the prompt held if they are fewer.
    """

    sources: int = 1

    def __post_init__(self) -> None:
        if self.sources < 1:
            raise InputError(f"Cites: sources is {self.sources}; give 1 or more")

    def fault(self, answer: Answer, prompt: Prompt) -> str:
        """Return ``cites what it was not given``, ``cites too little`` or nothing."""
        given, cited = set(prompt.sources), set(answer.cited)
        if cited - given:
            return "cites what it was not given"
        return "" if len(cited) >= min(self.sources, len(given)) else "cites too little"


@dataclass(frozen=True)
class NoRefusal:
    """The answer does not say that there is none, by the phrases in `evalkit.metrics.grounding.REFUSALS`."""

    def fault(self, answer: Answer, prompt: Prompt) -> str:
        """Return ``refuses`` or nothing."""
        return "" if Refusal(on="all").score([answer.text], [["an answer"]])[0] else "refuses"


@dataclass(frozen=True)
class Grounded:
    """The answer's words stand in its passages (the metric `Supported`). Who refuses claims nothing and passes.

    Parameters
    ----------
    share : float
        Of the answer's n-grams, from 0 to 1.
    ngram : int
        Words that must stand together.
    """

    share: float = 0.5
    ngram: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"Grounded: share is {self.share}; it lies between 0 and 1")
        Supported(self.ngram)

    def fault(self, answer: Answer, prompt: Prompt) -> str:
        """Return ``not grounded`` or nothing."""
        found = Supported(self.ngram).score([answer.text], [[]], contexts=[prompt.passages])[0]
        return "" if found >= self.share or NoRefusal().fault(answer, prompt) else "not grounded"


@dataclass(frozen=True)
class Validation:
    """Checks an answer and, if something is wrong with it, asks once more for another sample, refuses or notes it.

    The whole answer is needed, so nothing of it is handed on as it comes. ``validation[<at>]`` is noted: ``ok``, or
    what is wrong with the last answer; ``validation_tries[<at>]`` says how many there were. A `Fallback` further out
    answers in the place of one that is refused. A cache of answers belongs around it, before it in the list: one
    further in gives the same answer at every try.

    Parameters
    ----------
    checks : tuple of AnswerCheck
        All must pass; the first that does not is told.
    tries : int
        Answers asked for, at most, the first included.
    otherwise : {"note", "refuse"}
        What becomes of the last answer if it fails too: it is given all the same, or the request is refused.
    at : {"generate", "answer"}
        Around each call of a model, or around the request's answer, wherever it is from; its prompt is worked out
        then, even where the answer needed none.
    """

    checks: tuple[AnswerCheck, ...] = (NotEmpty(), NoRefusal())
    tries: int = 2
    otherwise: Literal["note", "refuse"] = "note"
    at: Literal["generate", "answer"] = "generate"

    def __post_init__(self) -> None:
        if not self.checks:
            raise InputError("Validation: no checks; name one, such as NotEmpty")
        if self.tries < 1:
            raise InputError(f"Validation: tries is {self.tries}; the first one counts, give 1 or more")
        if self.at not in ("generate", "answer"):
            raise InputError(f"Validation: at is {self.at!r}; it is 'generate' or 'answer'")

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work."""

        async def handle(request: Request, go_on: Next) -> Value:
            for left in reversed(range(self.tries)):
                value = await go_on(request)
                request.whole()
                given = go_on.inputs[0] if go_on.inputs else await request.get(go_on.node.inputs[0])
                fault = self._fault(cast("Answers", value), cast("Prompts", given))
                request.add(f"validation_tries[{self.at}]", 1)
                request.note(f"validation[{self.at}]", fault or "ok")
                if not fault:
                    break
                if left:
                    request.sample += 1
                elif self.otherwise == "refuse":
                    raise Refused("Validation", fault)
            return value

        return handle

    def _fault(self, answers: Answers, prompts: Prompts) -> str:
        answer, prompt = Answer(answers.text[0], tuple(answers.cited[0])), Prompt.rows(prompts)[0]
        return next((fault for check in self.checks if (fault := check.fault(answer, prompt))), "")
