"""A data set small enough to embed in a second, and real enough that retrieval means something.

It describes an invented ferry line. Two documents contradict one another by date, some words occur in several
documents, and one text holds letters outside ASCII, as real corpora do.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from evalkit.datasets.build import build
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.rows import Row

_PAGES = """
# bicycles: Bicycles on board

Bicycles travel free of charge on every crossing of the Sandrey ferry. Cyclists board before the cars and lean their
bicycles against the blue rail on the port side.

A bicycle with a trailer counts as a motorcycle and needs a ticket for 6 euros. Electric bicycles may not be charged
on board.

# breakdown-march: Report on the breakdown of 3 March

At 7.40 on 3 March the port engine stopped ten minutes out of Sandrey. The crew found a split fuel hose. The ship
went on with one engine at half speed and reached Tolm forty minutes late.

Nobody was hurt. The hose had been fitted nine years before; all hoses of that age were replaced within the week.

# cafe: The café on the upper deck

The café sells coffee, fish soup and Öland buns from the first crossing to the last. Warm food ends half an hour
before arrival.

Cards are accepted; the café takes no cash. Passengers may eat their own food at any table except the four by the
counter.

# cancellations: When a crossing is cancelled

A crossing is cancelled when the wind at Tolm light stands above 20 metres a second for half an hour. The master
decides; the office only passes the word on.

Tickets for a cancelled crossing hold for a year. Whoever would rather have the money back asks at the office within
thirty days.

# dogs: Dogs and other animals

Dogs are welcome on the open deck and in the after saloon, on a lead. They may not enter the café. Guide dogs go
everywhere.

Horses travel only in a closed trailer, and the driver stays with them. Cats and smaller animals need a box.

# fares-2024: Fares in 2024

Fares for 2024. An adult pays 9 euros for a single crossing and 15 euros for a return. Children under six travel
free; older children pay half.

A car of up to five metres costs 28 euros, driver included. These fares hold until 31 December 2024.

# fares-2025: Fares in 2025

Fares for 2025 replace those of 2024. An adult pays 10 euros for a single crossing and 17 euros for a return.
Children under eight travel free; older children pay half.

A car of up to five metres costs 31 euros, driver included. Islanders pay half of every fare.

# history: How the line began

The line began in 1911, when the baker Ragna Hjelm bought a herring boat to carry flour to the island. Passengers
sat on the sacks.

A proper ship, the first Sandrey, came in 1934 and carried twelve cars. The present ship is the third of that name.

# lifeboats: Lifeboats and drills

The ship carries four lifeboats for sixty people each and rafts for another hundred. The crew holds a drill every
second Thursday before the first crossing.

Seven short blasts and a long one on the whistle call everybody to the upper deck. Life jackets lie under the seats;
those for children are in the red chest.

# lost-property: Lost property

What is found on board is kept at the office in Tolm for three months. Wallets and telephones go to the police after
a week.

To ask after something lost, telephone the office on any morning but Sunday and say on which crossing it was left.

# timetable-summer: Summer timetable

From 1 May to 30 September the ferry leaves Tolm every two hours from six in the morning to eight in the evening. It
leaves Sandrey an hour later.

The crossing takes fifty minutes. On Midsummer Eve there is one crossing more, at eleven at night.

# timetable-winter: Winter timetable

From 1 October to 30 April the ferry leaves Tolm at seven, at noon and at five in the afternoon. It leaves Sandrey
at nine, at two and at seven.

There is no crossing on Christmas Day. In ice the crossing may take an hour and a half.
"""
"""Documents as one page of Markdown: a heading with id and title, then paragraphs."""

_QUERIES: dict[str, tuple[str, dict[str, int], str, tuple[str, str]]] = {
    "q1": (
        "What does an adult pay for a return ticket in 2025?",
        {"fares-2025": 3, "fares-2024": 1, "bicycles": 0},
        "17 euros",
        ("fares-2025", "17 euros for a return"),
    ),
    "q2": (
        "Who started the ferry line?",
        {"history": 2, "breakdown-march": 0},
        "the baker Ragna Hjelm",
        ("history", "the baker Ragna Hjelm bought a herring boat"),
    ),
    "q3": (
        "Why was the ship late on 3 March?",
        {"breakdown-march": 2, "cancellations": 0},
        "a split fuel hose stopped the port engine",
        ("breakdown-march", "The crew found a split fuel hose."),
    ),
    "q4": (
        "May I take my dog into the café?",
        {"dogs": 2, "cafe": 1},
        "no",
        ("dogs", "They may not enter the café."),
    ),
    "q5": (
        "At what wind is a crossing cancelled?",
        {"cancellations": 2},
        "above 20 metres a second for half an hour",
        ("cancellations", "above 20 metres a second for half an hour"),
    ),
    "q6": (
        "How long does the crossing take?",
        {"timetable-summer": 2, "timetable-winter": 1},
        "fifty minutes",
        ("timetable-summer", "The crossing takes fifty minutes."),
    ),
    "q7": (
        "What happens to a wallet that somebody left on board?",
        {"lost-property": 2, "lifeboats": 0},
        "it goes to the police after a week",
        ("lost-property", "Wallets and telephones go to the police after a week."),
    ),
    "q8": (
        "Does a bicycle cost anything?",
        {"bicycles": 2, "fares-2025": 0},
        "no, bicycles travel free of charge",
        ("bicycles", "Bicycles travel free of charge"),
    ),
}


def _documents() -> dict[str, tuple[str, str]]:
    found = {}
    for page in _PAGES.split("\n# ")[1:]:
        heading, *paragraphs = page.strip().split("\n\n")
        name, title = heading.split(": ", 1)
        found[name] = title, "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)
    return found


@cache
def tiny_dataset() -> Dataset:
    """Return 12 short documents, 8 judged queries in two splits, and a reference answer with evidence to each."""
    documents = _documents()

    def evidence(document: str, quote: str) -> dict[str, Any]:
        start = documents[document][1].index(quote)
        return {"document": document, "start": start, "end": start + len(quote)}

    return build(
        "tiny",
        [
            Row(f"document {name}", {"id": name, "title": title, "text": text, "metadata": {"pages": 1}})
            for name, (title, text) in documents.items()
        ],
        [
            Row(f"query {name}", {"id": name, "text": text, "split": "test" if i % 2 else "dev"})
            for i, (name, (text, *_)) in enumerate(_QUERIES.items())
        ],
        [
            Row(f"judgement {name}", {"query": name, "document": document, "grade": grade})
            for name, (_, judged, *_) in _QUERIES.items()
            for document, grade in judged.items()
        ],
        [
            Row(f"answer {name}", {"query": name, "text": answer, "evidence": [evidence(*quoted)]})
            for name, (_, _, answer, quoted) in _QUERIES.items()
        ],
    )
