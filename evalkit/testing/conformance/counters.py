"""What every counter must hold to."""

from __future__ import annotations

from typing import Any

import numpy as np

from evalkit.testing.corpus import tiny_dataset


def check_counter(counter: Any) -> None:
    """Check that counts are whole numbers, of each text by itself, that grow with the text, and have a unit.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    assert counter.unit.strip(), f"{counter}: its unit is blank"
    texts = [
        *tiny_dataset().documents.text,
        "",
        "word",
        "A line.\n\nAnother, after a blank one.\n\n",
        "naïve 🙂 東京",
    ]
    counts = counter.count(texts)
    assert counts.shape == (len(texts),), f"{counter}: counts of shape {counts.shape}"
    assert counts.dtype == np.int64, f"{counter}: counts are {counts.dtype}"
    assert counts[texts.index("")] == 0, f"{counter}: an empty text counts {counts[texts.index('')]}"
    assert counter.count([]).shape == (0,), f"{counter}: counts of no texts"
    alone = [int(counter.count([text])[0]) for text in texts]
    assert alone == counts.tolist(), f"{counter}: a text's count depends on the others"
    for text in texts:
        words = text.split(" ")
        heads = counter.count([" ".join(words[:n]) for n in range(1, len(words) + 1)])
        assert (np.diff(heads) >= 0).all(), f"{counter}: the start of {text!r} counts more than a longer one"
