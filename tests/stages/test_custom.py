"""A retriever of your own: what it may return, which chunk that means, and when it is asked again."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from urllib.request import urlopen

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from toys import HashedWords, dense, pieces, words

from evalkit import EvalkitError, Results, Sweep, fingerprint, replay, run
from evalkit.columns import Strings
from evalkit.errors import InputError
from evalkit.evaluate.experiment import Experiment
from evalkit.forms import Reader, build, plain
from evalkit.spec import dumps, loads, names
from evalkit.stages import BM25, Condition, Custom, Filtered, Whole
from evalkit.stages.retrieve.custom import nothing, retriever
from evalkit.stages.retrieve.functions import Function
from evalkit.stages.retrieve.hits import Hit, hits
from evalkit.testing import check_component, check_retriever, tiny_dataset
from evalkit.testing.conformance.given import run_node, searched
from evalkit.types import CORPUS, QUERY, Node, Retriever
from evalkit.values import Queries

CHUNKS = pieces(24)(tiny_dataset().documents)
TEXTS = dict(zip(tiny_dataset().documents.id, tiny_dataset().documents.text, strict=True))
FORMS = "an id, an (id, score) pair, a mapping with id, document or _id, or a LangChain Document"
RISING = "results are needed best first, with the highest score (negate distances, or leave them out)"
asked: list[str] = []


def by_words(text: str) -> list[str]:
    """Ids of the documents that share most words with a text."""
    asked.append(text)
    shared = {name: len(set(words(text)) & set(words(body))) for name, body in TEXTS.items()}
    return sorted((name for name in shared if shared[name]), key=lambda name: (-shared[name], name))


class Index:
    """Someone's index, with a method."""

    def __init__(self, found: list[Any]) -> None:
        self.found = found

    def search(self, text: str) -> list[Any]:
        return self.found


def rankings(custom, *texts, chunks=CHUNKS):
    queries = Queries(Strings.of(map(str, range(len(texts)))), Strings.of(texts))
    return run_node(custom.expand(CORPUS, QUERY), {CORPUS.recipe: chunks, QUERY.recipe: queries})


def documents(results, **fields):
    """The documents and scores of what a function's results become."""
    found = rankings(Custom(lambda text: results, **fields), "?")
    return [CHUNKS.document[i] for i in found.items[0]], found.scores[0].tolist()


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([], []),
        (("dogs", "cafe"), [("dogs", 1.0), ("cafe", 0.5)]),
        ((name for name in ["dogs", "cafe", "history"]), [("dogs", 1.0), ("cafe", 0.5), ("history", 1 / 3)]),
        (np.array(["dogs", "cafe"]), [("dogs", 1.0), ("cafe", 0.5)]),
        ([("dogs", 7), ["cafe", np.float32(0.25)]], [("dogs", 7.0), ("cafe", 0.25)]),
        ([{"id": "dogs"}, {"document": "cafe"}, {"_id": "history"}],
         [("dogs", 1.0), ("cafe", 0.5), ("history", 1 / 3)]),
        ([{"_id": "dogs", "_score": 2.5}, {"id": "cafe", "score": 0}], [("dogs", 2.5), ("cafe", 0.0)]),
        ([Document("", metadata={"id": "dogs"}), Document("", metadata={"source": "cafe"}),
          Document("", id="history")],
         [("dogs", 1.0), ("cafe", 0.5), ("history", 1 / 3)]),
        ([(Document("", id="x1", metadata={"source": "dogs"}), 0.9)], [("dogs", 0.9)]),
        ([("dogs", 0.5), ("cafe", 0.5)], [("cafe", 0.5), ("dogs", 0.5)]),  # ties by position, as everywhere
        (["dogs", "cafe", "dogs"], [("dogs", 1.0), ("cafe", 0.5)]),
    ],
    ids=["none", "ids", "generator", "array", "pairs", "mappings", "scored mappings", "langchain", "scored langchain",
         "ties", "twice"],
)  # fmt: skip
def test_results_come_in_the_forms_that_are_in_use(results, expected):
    found = documents(results)
    assert list(zip(*found, strict=True)) == expected


def test_a_number_is_an_id_too():
    assert hits([31715818, np.int64(7)]) == [Hit("31715818", None, ""), Hit("7", None, "")]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (None, "gave None; a list of results is needed, best first"),
        ("dogs", "gave 'dogs'; a list of results is needed, best first"),
        ({"dogs": 1.0}, "gave {'dogs': 1.0}; a list of results is needed, best first"),
        ([None], f"gave None as a result; {FORMS} is needed"),
        ([True], "gave True as a result"),
        ([("dogs", 1, 2)], "gave ('dogs', 1, 2) as a result"),
        ([{"name": "dogs"}], "gave {'name': 'dogs'} as a result"),
        ([Document("Dogs are welcome")], "gave Document("),
        ([("dogs", "high")], "gave the score 'high'; finite numbers are needed"),
        ([("dogs", float("nan"))], "gave the score nan; finite numbers are needed"),
        ([("dogs", 1.0), "cafe"], "gave scores for 1 of 2 results; give all of them, or none"),
        ([("dogs", 0.1), ("cafe", 0.4)], f"gave the score 0.1 and after it, as result 2, 0.4; {RISING}"),
        (["dogs", "cats"], "gave the document 'cats', of which there is no chunk; give ids of this data set"),
    ],
)  # fmt: skip
def test_what_is_no_result_is_refused_in_one_line_with_function_and_query(results, message):
    index = Index(results)
    with pytest.raises(InputError) as caught:
        rankings(Custom(index.search), "where do dogs go?")
    told = str(caught.value)
    assert told.startswith(f"search by test_custom.Index.search, query 'where do dogs go?': {message}")
    assert "\n" not in told


def test_a_function_that_fails_is_told_of_with_its_query_and_by_its_name():
    def fails(text):
        raise TimeoutError("no answer")

    with pytest.raises(EvalkitError, match=r"^search by far index, query 'a b': TimeoutError: no answer$"):
        rankings(Custom(fails, name="far index"), "a b")


def test_the_function_gets_the_text_of_one_query_at_a_time():
    asked.clear()
    found = rankings(Custom(by_words), "dogs", "", "ferry line")
    assert asked == ["dogs", "", "ferry line"]
    assert len(found) == 3


@pytest.mark.parametrize("form", [lambda n, t: {"id": n, "text": t}, lambda n, t: Document(t, metadata={"id": n})])
def test_a_text_means_the_chunk_that_overlaps_it_most(form):
    tried = 0
    for i, (name, text) in enumerate(zip(CHUNKS.document, CHUNKS.text, strict=True)):
        for own in (text, f"  {text}\n", text.replace(" ", "\n\n")):
            (found,) = rankings(Custom(lambda _, n=name, t=own: [form(n, t)]), "?").items[0]
            start, end = int(CHUNKS.start[i]), int(CHUNKS.end[i])
            assert (int(CHUNKS.start[found]), int(CHUNKS.end[found])) == (start, end)
            tried += 1
    assert tried > 60


@given(st.data())
def test_a_passage_across_chunks_means_the_one_with_most_of_it(data):
    name = data.draw(st.sampled_from(sorted(TEXTS)))
    start = data.draw(st.integers(0, len(TEXTS[name]) - 1))
    end = data.draw(st.integers(start + 1, len(TEXTS[name])))
    passage = TEXTS[name][start:end]
    (found,) = rankings(Custom(lambda _: [{"id": name, "text": passage}]), "?").items[0].tolist()
    own = [i for i, owner in enumerate(CHUNKS.document) if owner == name]
    squeezed = "".join(passage.split())
    if not squeezed:
        assert found == own[0]
        return
    positions = [i for i, letter in enumerate(TEXTS[name]) if not letter.isspace()]
    at = "".join(TEXTS[name].split()).index(squeezed)  # the first place where it stands
    first, last = positions[at], positions[at + len(squeezed) - 1] + 1
    overlaps = [min(last, int(CHUNKS.end[i])) - max(first, int(CHUNKS.start[i])) for i in own]
    assert found == own[int(np.argmax(overlaps))]


def test_a_text_that_is_not_in_the_document_means_its_first_chunk():
    (found,) = rankings(Custom(lambda _: [{"id": "dogs", "text": "cats and canaries"}]), "?").items[0]
    assert (CHUNKS.document[found], int(CHUNKS.start[found])) == ("dogs", 0)


def test_fewer_results_are_the_head_of_more():
    assert documents(by_words("dogs cafe ferry"), k=2)[0] == documents(by_words("dogs cafe ferry"), k=9)[0][:2]


def test_what_a_filter_hides_is_not_found_and_no_error():
    data = tiny_dataset()
    known = {
        CORPUS.recipe: data.documents,
        QUERY.recipe: Queries(Strings.of(["q"]), Strings.of(["?"])),
    }
    chunks = Node(Whole(), (CORPUS,))
    for when in ("before", "after"):
        filtered = Filtered(Custom(lambda _: ["dogs", "cafe"]), (Condition("id", "is", "cafe"),), when)
        found = run_node(filtered.expand(chunks, QUERY), dict(known))
        assert [known[CORPUS.recipe].id[i] for i in found.items[0]] == ["cafe"]


def asking(custom):
    """The op that asks the function."""
    return custom.expand(CORPUS, QUERY).inputs[0].op


def run_token(custom):
    return custom.identity()["function"][2:]


def test_without_a_version_nothing_is_stored_and_the_identity_is_of_this_run_alone():
    for custom in (Custom(by_words), Custom(Index([]).search)):
        assert not asking(custom).stored
        assert len(run_token(custom)) == 1
    code = """
from evalkit import fingerprint
from evalkit.stages import Custom
print(*(fingerprint.digest(Custom("test_custom:by_words", version=version)) for version in (None, "1")))
"""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{here}:{here.parent}:{here.parents[1]}"},
        capture_output=True,
        text=True,
        check=True,
    )
    elsewhere, versioned = done.stdout.split()
    assert elsewhere != fingerprint.digest(Custom(by_words))
    assert versioned == fingerprint.digest(Custom(by_words, version="1"))


def test_with_a_version_the_identity_is_module_name_and_version():
    first, second = Index(["dogs"]), Index(["cafe"])
    versioned = Custom(first.search, version="1", name="first")
    assert asking(versioned).stored
    assert versioned.identity()["function"] == ["test_custom", "Index.search"]
    recipes = {
        custom.expand(CORPUS, QUERY).recipe
        for custom in (
            versioned,
            Custom(second.search, version="1", name="second"),
            Custom(first.search, version="2", name="first"),
            Custom(first.search, k=3, version="1", name="first"),
            Custom(by_words, version="1"),
        )
    }
    assert len(recipes) == 5


@pytest.mark.parametrize("function", [lambda text: [text], Index(["dogs"]).search], ids=["lambda", "method"])
def test_what_no_name_leads_back_to_needs_a_name_where_it_has_a_version(function):
    """Two lambdas of one version would be one system, and one would be given the other's stored results."""
    with pytest.raises(InputError, match=r"Custom: function .*(<lambda>|Index.search) may be one of many"):
        Custom(function, version="1")
    one, other = (Custom(function, version="1", name=name) for name in ("one", "other"))
    assert one.expand(CORPUS, QUERY).recipe != other.expand(CORPUS, QUERY).recipe


def test_one_function_is_one_piece_of_work_within_a_run_and_two_are_two():
    index, other = Index([]), Index([])
    first, again, second = Custom(index.search), Custom(index.search), Custom(other.search)
    assert first == again
    assert first.expand(CORPUS, QUERY) == again.expand(CORPUS, QUERY)
    assert first.expand(CORPUS, QUERY) != second.expand(CORPUS, QUERY)
    assert Custom(lambda text: []).identity() != Custom(lambda text: []).identity()
    assert Function.of(str.upper) is Function.of(str.upper)


def test_a_function_that_a_name_leads_to_is_held_by_its_name():
    assert Custom(by_words).function == "test_custom:by_words"
    assert Custom("test_custom:by_words") == Custom(by_words)
    assert isinstance(Custom(Index([]).search).function, Function)
    assert str(Custom(Index([]).search).function) == "test_custom:Index.search (known to one process only)"


def test_a_function_from_a_notebook_is_not_held_by_a_name_that_no_other_process_has(monkeypatch):
    def search(text):
        return []

    search.__module__, search.__qualname__ = "__main__", "search"
    monkeypatch.setattr(sys.modules["__main__"], "search", search, raising=False)
    assert isinstance(Custom(search).function, Function)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("by_words", "Custom: function 'by_words' names no function; write it as 'module:name'"),
        ("test_custom:nowhere", "Custom: function 'test_custom:nowhere' leads to no function; is it spelt right?"),
        ("test_custom:TEXTS", "Custom: function 'test_custom:TEXTS' leads to no function"),
        ("no_such_module:f", r"Custom: function 'no_such_module:f' cannot be imported \(No module named"),
        (str(Function.of(lambda text: [])), "names no function; write it as 'module:name'"),
        (7, "Custom: function int cannot be called"),
        (InMemoryVectorStore, None),
    ],
)
def test_what_is_no_function_is_refused(function, message):
    if message is None:
        assert Custom(function).function == "langchain_core.vectorstores.in_memory:InMemoryVectorStore"
        return
    with pytest.raises(InputError, match=message):
        Custom(function)


def test_a_function_stands_in_a_spec_by_name_and_is_read_back():
    spec = """
name: mine
dataset: datasets/handbook
sweep:
  base: {retrieve: {Custom: {function: "test_custom:by_words", k: 4, version: "2024-05"}}}
  grid: {retrieve.k: [2, 4]}
"""
    experiment = loads(spec)
    assert experiment.sweep.base.retrieve == Custom(by_words, k=4, version="2024-05")
    assert loads(dumps(experiment)) == experiment
    with pytest.raises(InputError, match=r"s\.yaml:5: .*'test_custom:by_wards' leads to no function"):
        loads(spec.replace("by_words", "by_wards"), "s.yaml")


def test_a_function_can_be_given_wherever_a_spec_names_one():
    reader = Reader(names())
    made = build({"Custom": {"function": Index([]).search}}, Retriever, reader)
    assert isinstance(made, Custom)
    assert build({"Custom": {"function": 3}}, Retriever, reader) is not made
    assert reader.faults == ["Custom.function: a text is needed, not 3"]


def test_a_lambda_is_written_as_text_that_says_so():
    custom = Custom(lambda text: [], name="mine")
    text = "test_custom:test_a_lambda_is_written_as_text_that_says_so.<locals>.<lambda> (known to one process only)"
    assert plain(custom) == {"Custom": {"function": text, "name": "mine"}}
    experiment = Experiment("mine", "none", Sweep(dense(retrieve=custom)))
    with pytest.raises(InputError, match="names no function"):
        loads(dumps(experiment).replace("HashedWords", "SentenceTransformer").replace("Echo", "Extractive"))


def test_a_custom_retriever_is_a_value_and_conforms():
    chunks, queries = searched()
    answers = {text: BM25(k=9).expand(CORPUS, QUERY) for text in queries.text}
    found = run_node(answers[queries.text[0]], {CORPUS.recipe: chunks, QUERY.recipe: queries})
    scored = {
        text: [
            {"id": chunks.document[i], "text": chunks.text[i], "score": score} for i, score in zip(*row, strict=True)
        ]
        for text, *row in zip(queries.text, found.items, found.scores, strict=True)
    }
    check_retriever(Custom(scored.__getitem__, k=5))
    check_component(Custom(by_words, version="1"))
    check_component(Custom())
    assert Custom().function == f"{nothing.__module__}:nothing"
    assert [len(items) for items in rankings(Custom(), "dogs").items] == [0]


def test_a_run_is_saved_loaded_and_replayed(tiny, store, tmp_path):
    index = Index(["dogs", "cafe"])
    own = [Custom(index.search, k=3), Custom(by_words, k=3), retriever(lambda _: ["cafe"])]
    results = run(Sweep(dense(), {"retrieve": own}), tiny, ["Hit@3", "TokenF1"], store=store)
    labels = [label for label in results.systems if label != "base"]
    assert labels[1] == "retrieve=Custom(function=test_custom:by_words, k=3)"
    assert all("0x" not in label for label in labels), "no address, which would differ from run to run"
    read = Results.load(results.save(tmp_path / "results"))
    assert read.digest == results.digest
    values = read.per_query.pivot_table(index="query", columns=["metric", "variant"], values="value", observed=True)
    assert values["Hit@3"][labels[0]].loc["q4"] == 1
    replayed = replay(results.variants[labels[0]], tiny, store=store)
    assert len(replayed.per_request) == 8
    assert all(answer.startswith("Dogs are welcome on the open deck") for answer in replayed.per_request["answer"])


def test_all_k_share_one_search(tiny, store):
    asked.clear()
    run(Sweep(dense(retrieve=Custom(by_words)), {"retrieve.k": [1, 2, 5]}), tiny, ["Hit@3"], store=store)
    assert len(asked) == 8


def test_without_a_version_every_run_asks_anew_and_with_one_none_does(tiny, store):
    for custom, again in ((Custom(by_words), 8), (Custom(by_words, version="1"), 0)):
        for expected in (8, again):
            asked.clear()
            results = run(dense(retrieve=custom), tiny, ["Hit@3"], store=store)
            assert len(asked) == expected
    assert results.summary["value"].notna().all()


def test_a_changed_result_is_seen_downstream_though_nothing_says_that_it_changed(tiny, store):
    index = Index(["dogs"])
    variant = dense(retrieve=Custom(index.search))
    first = run(variant, tiny, ["TokenF1"], store=store).per_query
    index.found = ["cafe"]
    second = run(variant, tiny, ["TokenF1"], store=store).per_query
    assert first["value"].tolist() != second["value"].tolist()


class Keywords(BaseRetriever):
    """A LangChain retriever."""

    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(TEXTS[name], metadata={"source": name}) for name in by_words(query)]


class Toy(Embeddings):
    def embed_documents(self, texts):
        return HashedWords().encode(texts).tolist()

    def embed_query(self, text):
        return self.embed_documents([text])[0]


def test_a_langchain_retriever_is_one_line():
    variant = dense(retrieve=retriever(Keywords().invoke, k=3))
    found = rankings(variant.retrieve, "Why was the ship late on 3 March?")
    assert [CHUNKS.document[i] for i in found.items[0]] == by_words("Why was the ship late on 3 March?")[:3]


def test_a_langchain_vector_store_finds_what_the_same_embedder_finds(tiny):
    vectors = InMemoryVectorStore(Toy())
    vectors.add_texts(list(tiny.documents.text), [{"id": name} for name in tiny.documents.id])
    chunks = Whole(titles=False)(tiny.documents)
    own = rankings(dense(k=4).retrieve, *tiny.queries.text, chunks=chunks)
    invoked = retriever(vectors.as_retriever(search_kwargs={"k": 4}).invoke, k=4)
    scored = retriever(vectors.similarity_search_with_score, k=4)
    for custom in (invoked, scored):
        found = rankings(custom, *tiny.queries.text, chunks=chunks)
        assert [items.tolist() for items in found.items] == [items.tolist() for items in own.items]
    assert found.scores.values == pytest.approx(own.scores.values, abs=1e-6)


class Served(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"hits": [{"_id": name} for name in by_words(unquote(self.path[1:]))]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *about):
        pass


@pytest.fixture
def url():
    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_call_over_http_is_one_line(url, tiny, store):
    def fetch(address):
        with urlopen(address, timeout=30) as reply:  # noqa: S310 - loopback
            return json.load(reply)

    far = dense(retrieve=retriever(lambda text: fetch(f"{url}/{quote(text)}")["hits"], k=3))
    near = dense(retrieve=Custom(by_words, k=3))
    found = [run(variant, tiny, ["nDCG@3"], store=store).summary["value"].tolist() for variant in (far, near)]
    assert found[0] == found[1]
    assert found[0][0] > 0.3
