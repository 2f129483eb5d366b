"""Looking at an answer before it is handed on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from evalkit.errors import InputError
from evalkit.served import Handler, Next, Request, Serving
from evalkit.serving.checks import AnswerCheck, NoRefusal, NotEmpty, failing
from evalkit.serving.refused import Refused
from evalkit.values import Answers, Prompts, Value


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
                fault = failing(self.checks, cast("Answers", value), cast("Prompts", given))
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
