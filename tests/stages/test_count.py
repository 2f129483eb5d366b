"""Counters, and the counting of corpora and prompts."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords, dense, small_dataset

from evalkit import fingerprint, run
from evalkit.columns import Ragged, Strings
from evalkit.errors import InputError, MissingModel
from evalkit.stages import Characters, EstimatedTokens, SentenceTransformer, Tokens, models
from evalkit.stages.count import CountPassages, CountPrompts, CountTokens
from evalkit.testing import check_component
from evalkit.testing.conformance.counters import check_counter
from evalkit.types import Node
from evalkit.values import Chunks, Prompts

COUNTERS = [Tokens(), Characters(), EstimatedTokens(), EstimatedTokens(2.5)]

words = st.text("abcé1.,' \n", min_size=1, max_size=30).map(str.strip).filter(bool)


def prompts_of(titles, passages, question, history=()):
    row = [Ragged.of([list(column)]) for column in (titles, passages, passages, history)]
    return Prompts(Strings.of([question]), *row)


def chunks_of(titles, texts):
    nothing = np.zeros(len(texts), dtype=np.int64)
    return Chunks(Strings.of(["d"] * len(texts)), Strings.of(titles), nothing, nothing, Strings.of(texts))


@pytest.fixture(scope="module")
def bytes_folder(tmp_path_factory):
    """A model folder with a tokenizer of another family: byte-level BPE."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(["the crossing takes fifty minutes\n\nthe fare is five crowns.\n\n"] * 5, trainer)
    folder = tmp_path_factory.mktemp("models") / "small-bpe"
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("counter", COUNTERS, ids=str)
def test_every_counter_conforms(counter):
    check_component(counter)
    check_counter(counter)


def test_any_model_with_a_tokenizer_counts_and_says_that_it_did(bytes_folder):
    counter = Tokens(str(bytes_folder))
    check_counter(counter)
    assert counter.unit == "small-bpe tokens"
    text = "an unaffordable fare"
    assert counter.count([text])[0] != Tokens().count([text])[0]


def test_a_counter_says_what_it_counts():
    assert [counter.unit for counter in COUNTERS] == [
        "all-MiniLM-L6-v2 tokens", "characters", "4-character tokens", "2.5-character tokens",
    ]  # fmt: skip


def test_tokens_are_those_of_the_text_without_the_embedders_special_ones():
    texts = ["six", "one. two", ""]
    assert Tokens().count(texts).tolist() == [1, 3, 0]
    assert (SentenceTransformer().tokens(texts) - Tokens().count(texts)).tolist() == [2, 2, 2]


def test_a_tokenizer_is_known_by_its_files_not_by_its_place(tmp_path, bytes_folder):
    copied = shutil.copytree(bytes_folder, tmp_path / "copy")
    same, here = Tokens(str(copied)), Tokens(str(bytes_folder))
    assert fingerprint.digest(same) == fingerprint.digest(here)
    check_component(Tokens(), others={"tokenizer": str(copied)})


def test_a_tokenizer_that_is_not_here_is_told_of():
    with pytest.raises(MissingModel, match="nobody/nothing"):
        Tokens("nobody/nothing").count(["text"])


def test_an_estimate_rounds_up():
    assert EstimatedTokens().count(["", "a", "abcd", "abcde"]).tolist() == [0, 1, 1, 2]
    with pytest.raises(InputError, match="characters is 0"):
        EstimatedTokens(0)


def test_the_embedders_tokens_are_counted_with_titles_and_special_tokens():
    chunks = chunks_of(["A", "A", ""], ["one.", "two.", "six"])
    counted = CountTokens(SentenceTransformer())(chunks).values.tolist()
    assert counted == [5, 5, 3]  # [CLS] a one . [SEP]; [CLS] six [SEP]


@pytest.mark.parametrize("counter", [Tokens(), Characters()], ids=str)
@given(st.data())
@settings(max_examples=60)
def test_the_length_of_a_prompt_is_that_of_its_whole_text(counter, data):
    passages = data.draw(st.lists(words, max_size=4))
    titles = data.draw(st.lists(st.just("") | words, min_size=len(passages), max_size=len(passages)))
    history, question = data.draw(st.lists(words, max_size=3)), data.draw(words)
    shown = [f"{title}\n{text}" if title else text for title, text in zip(titles, passages, strict=True)]
    text = "\n\n".join([*history, *shown, question])
    counted = CountPrompts(counter)(prompts_of(titles, passages, question, history)).values.tolist()
    assert counted == counter.count([text]).tolist()


def test_byte_level_tokens_of_a_prompt_are_within_one_a_part_of_the_whole_text(bytes_folder):
    counter = Tokens(str(bytes_folder))
    passages, question = ["the fare is five crowns.", "fifty minutes", "the crossing takes fifty"], "the fare?"
    whole = int(counter.count(["\n\n".join([*passages, question])])[0])
    (counted,) = CountPrompts(counter)(prompts_of([""] * 3, passages, question)).values.tolist()
    assert abs(counted - whole) <= len(passages)


@pytest.mark.parametrize("counter", COUNTERS, ids=str)
@given(passages=st.lists(words, max_size=4), history=st.lists(words, max_size=3), question=words)
@settings(max_examples=40)
def test_a_prompt_is_as_long_as_its_chunks_its_history_and_its_question(counter, passages, history, question):
    chunks = CountPassages(counter)(chunks_of(["T"] * len(passages), passages)).values.sum()
    said = counter.count([f"{message}\n\n" for message in history]).sum()
    counted = CountPrompts(counter)(prompts_of(["T"] * len(passages), passages, question, history)).values[0]
    assert counted == chunks + said + counter.count([question])[0]


def test_counting_rests_on_the_packages_of_what_counts():
    assert CountPrompts(Tokens()).packages == ("tokenizers",)
    assert CountPassages(Characters()).packages == ()
    assert CountTokens(HashedWords()).packages == ()
    recipes = {Node(kind(counter)).recipe for kind in (CountPrompts, CountPassages) for counter in COUNTERS}
    assert len(recipes) == 2 * len(COUNTERS)


def test_results_say_which_tokenizer_counted_the_prompts(store):
    summary = run(dense(), small_dataset(), ["TokenF1"], store=store).summary.set_index("metric")
    assert summary.loc["PromptTokens", "unit"] == f"{models.MINILM.rpartition('/')[2]} tokens"
