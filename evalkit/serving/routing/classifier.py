"""A classifier of questions by their embedding, which the retriever and a semantic cache use as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from evalkit.datasets import Dataset
from evalkit.errors import InputError
from evalkit.served import Serving
from evalkit.serving.routing.base import OWN, Decide, Nodes, asked_of, by_node, question_vectors
from evalkit.serving.routing.files import JSONLinesFile
from evalkit.serving.routing.learning import Classify, Labelled, Learn, Method
from evalkit.stages.embed.base import embedded
from evalkit.types import QUERY, Embedder, FittedEmbedder, Node


@dataclass(frozen=True)
class Example:
    """A question with the route that is right for it.

    Parameters
    ----------
    text, route : str
    """

    text: str
    route: str

    def __post_init__(self) -> None:
        if not self.text.strip() or self.route == OWN:
            raise InputError(f"Example: text {self.text!r} and route {self.route!r}; neither may be empty")


EXAMPLES = (
    *(Example(text, "social") for text in ("Hello", "Good morning!", "Hi there, how are you?", "Thank you very much",
                                           "Thanks, bye", "Great, that helped", "Are you a human?", "Ok, see you")),
    *(Example(text, "question") for text in ("What does it cost?", "How do I change my address?",
                                             "When does the shop open on Sundays?", "Is there a limit for guests?",
                                             "Where can I find the contract?", "Who decides about refunds?",
                                             "Why was my request refused?", "Which documents do I need?")),
)  # fmt: skip
"""What needs no document, and what does: a beginning, to be replaced by questions of one's own."""


@dataclass(frozen=True)
class ExampleFile(JSONLinesFile[Example]):
    """Labelled questions in a file of JSON Lines with ``text`` and ``route``."""

    wanted: ClassVar[str] = "no example with text and route"

    @staticmethod
    def example(row: Mapping[str, Any]) -> Example:
        """Return the example that a line states."""
        return Example(str(row["text"]), str(row["route"]))


def labelled(data: Dataset, routes: Mapping[str, str], by: str = "intent") -> tuple[Example, ...]:
    """Return a data set's questions as examples.

    Parameters
    ----------
    data : Dataset
        Take a split that the traffic is not from.
    routes : {label: route}
        What is not named is left out.
    by : str
        ``intent``: the label is an intent's name, and its paraphrases are examples too. Else the name of an attribute
        of queries.

    Raises
    ------
    InputError
        If no question has one of the labels.
    """
    found = []
    if by == "intent":
        for name, intent in data.intents.items():
            if name in routes:
                found += [Example(text, routes[name]) for text in (intent.text, *intent.paraphrases)]
    for query, text in zip(data.queries.id, data.queries.text, strict=True):
        label = str(data.attributes.get(query, {}).get(by, ""))
        if label in routes:
            found.append(Example(text, routes[label]))
    if not found:
        raise InputError(f"labelled: no question of {data.name} has one of the labels {', '.join(sorted(routes))}")
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Classifier:
    """Learns from labelled questions, before the first request, which route a question takes.

    The vector is that of the variant's own embedding of the question where there is one, so that a dense pipeline
    embeds once. Asking it is work of the stage ``route`` (microseconds, or what a cost states) behind the stage
    ``embed``. What it learns depends on the examples alone, and on no order of requests.

    Parameters
    ----------
    examples : tuple of Example, or ExampleFile
        At least one for each of at least two routes. Default: small talk against questions, a beginning.
    method : {"centroid", "logistic"}
        centroid: the route whose examples' mean vector has the highest cosine. logistic: multinomial logistic
        regression with an L2 penalty; its score is a probability.
    c : float
        Of the regression: the weight of the examples against the penalty, as in scikit-learn.
    at_least : float
        Questions whose best route has a lower score go the service's own way. -1: none do.
    prefer : str
        A route that is taken whenever *its* score is at least `at_least`, be it the best or not; other questions
        take the best of the other routes, whatever its score. So one threshold trades cost against quality, as in
        RouteLLM. Empty: none.
    embedder : Embedder, FittedEmbedder or None
        None: the variant's own.

    References
    ----------
    Ong et al., *RouteLLM: Learning to Route LLMs with Preference Data*, 2024.
    """

    examples: tuple[Example, ...] | ExampleFile = EXAMPLES
    method: Method = "centroid"
    c: float = 1.0
    at_least: float = -1.0
    prefer: str = OWN
    embedder: Embedder | FittedEmbedder | None = None

    def __post_init__(self) -> None:
        if self.method not in ("centroid", "logistic"):
            raise InputError(f"Classifier: method is {self.method!r}; it is 'centroid' or 'logistic'")
        if not self.c > 0:
            raise InputError(f"Classifier: c is {self.c}; it must be above 0")
        if not -1 <= self.at_least <= 1:
            raise InputError(f"Classifier: at_least is {self.at_least}; a score lies between -1 and 1")
        if len(self.names) < 2:
            raise InputError(f"Classifier: examples of {len(self.names)} routes; at least two are needed")
        if self.prefer != OWN and self.prefer not in self.names:
            raise InputError(f"Classifier: no example is of {self.prefer!r}; prefer one of {', '.join(self.names)}")

    @property
    def known(self) -> tuple[Example, ...]:
        """The examples, read."""
        return self.examples.examples if isinstance(self.examples, ExampleFile) else self.examples

    @property
    def names(self) -> tuple[str, ...]:
        """Routes that it may name."""
        return tuple(sorted({example.route for example in self.known}))

    def needs(self, nodes: Nodes) -> tuple[Node, ...]:
        """Return the node of its decision: learnt weights, which no question enters, and the question's vector.

        Raises
        ------
        InputError
            If neither the classifier nor the variant embeds questions.
        """
        asked = question_vectors(nodes) if self.embedder is None else embedded(self.embedder, nodes["chunks"], QUERY)
        if asked is None:
            raise InputError("Classifier: the variant embeds no question; name an embedder")
        given = Node(Labelled(tuple(example.text for example in self.known)))
        labels = tuple(example.route for example in self.known)
        learnt = Node(Learn(labels, self.method, float(self.c)), (asked_of(asked, given),))
        return (Node(Classify(self.names, self.method, float(self.at_least), self.prefer), (learnt, asked)),)

    def start(self, serving: Serving) -> Decide:
        """Return the classifier at work."""
        return by_node(*self.needs(serving.nodes))
