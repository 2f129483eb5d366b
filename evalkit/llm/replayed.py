"""A generator's recorded answers, in the time that they took: for a service on a clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from evalkit.errors import InputError
from evalkit.llm.call_keys import asked, call_key
from evalkit.llm.cassettes import Cassette, failed, missed
from evalkit.memo import remembered
from evalkit.paths import find
from evalkit.types import Clock, Generator, Origin
from evalkit.values import Answer, Prompt


@dataclass(frozen=True)
class Replayed:
    """Answers as a generator did when a cassette was recorded; the generator itself is never called.

    An answer states the call as recorded: tokens, the time of every streamed piece, tries, request id, day. So it
    costs in every figure what it cost then, and nothing is spent. A call of which only a part came (its stream broke)
    or that got no answer comes to the same end again.

    Parameters
    ----------
    generator : Generator
        As it was when it was recorded: every field counts.
    cassette : str
        Path of the file, from the working folder or the project's root. Its content is part of the identity, its
        place is not.
    timing : {"recorded", "none"}
        recorded: a call takes the seconds that it took. none: it is answered at once. In a batch evaluation nobody
        waits, whatever this says.

    Raises
    ------
    InputError
        If there is no such cassette, or it is damaged.
    """

    generator: Generator
    cassette: str
    timing: Literal["recorded", "none"] = "recorded"

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"
    paid: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.timing not in ("recorded", "none"):
            raise InputError(f"Replayed: timing is {self.timing!r}; it is 'recorded' or 'none'")
        object.__setattr__(self, "_cassette", Cassette.open(find(self.cassette)))

    def __reduce__(self) -> tuple[type[Replayed], tuple[Generator, str, str]]:
        return type(self), (self.generator, self.cassette, self.timing)

    @property
    def origin(self) -> Origin:
        """Replayed; what was modelled when it was recorded stays so."""
        return "modelled" if getattr(self.generator, "origin", "") == "modelled" else "replayed"

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of the generator, which are part of what a call is known by."""
        return tuple(getattr(self.generator, "packages", ()))

    def identity(self) -> dict[str, Any]:
        """What the path stands for."""
        return {"cassette": self._recorded.content}

    async def __call__(self, prompt: Prompt, sample: int, clock: Clock) -> Answer:
        """Answer one prompt.

        Raises
        ------
        CallFailed
            If the call failed when it was recorded.
        Miss
            If it is not recorded.
        """
        answer, failure = _recorded(self._recorded, self.generator, prompt, sample)
        if self.timing == "recorded" and answer.call is not None:
            await clock.elapse(answer.call.seconds)
        if failure is not None:
            raise failed(failure)
        return answer

    @property
    def _recorded(self) -> Cassette:
        found: Cassette = self.__dict__["_cassette"]
        return found


@remembered(4096)
def _recorded(
    cassette: Cassette, generator: Generator, prompt: Prompt, sample: int
) -> tuple[Answer, dict[str, Any] | None]:
    """Read what is recorded of a call: its answer or, beside what it took, the entry of its failure."""
    key = call_key(generator, prompt, sample)
    entry = cassette.recall([key]).get(key) or cassette.given_up(key)
    if entry is None:
        raise missed(cassette, asked(generator, prompt, sample))
    if "error" in entry:
        return Answer("", (), failed(entry).call), entry
    return Answer.read(entry), None
