"""Every file of the handbook, damaged as editors and broken tools damage files: one line that names file and line."""

from __future__ import annotations

import json
import os
import re
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.datasets import load_dataset
from evalkit.errors import InputErrors

FILES = (
    "documents.jsonl", "queries.jsonl", "qrels.tsv", "answers.jsonl", "paraphrases.jsonl", "conversations.jsonl",
    "traffic.jsonl", "events.jsonl",
)  # fmt: skip
JSONL = tuple(name for name in FILES if name.endswith("jsonl"))
REFERRED_TO = ("documents.jsonl", "queries.jsonl")
LINE = 3


def dump(row):
    return json.dumps(row, ensure_ascii=False).encode()


def write(folder, files):
    folder.mkdir(exist_ok=True)
    for name, lines in files.items():
        (folder / name).write_bytes(b"\n".join([*lines, b""]))
    return folder


def ids(rows, key):
    return {row[key] for row in rows}


@pytest.fixture(scope="module")
def files(pytestconfig):
    """A part of the handbook that stands by itself, as lines: a case takes milliseconds.

    Some queries, intents and conversations, the documents that they need, and traffic made of the intents.
    """
    handbook = pytestconfig.rootpath / "datasets" / "handbook"
    rows = {name: [json.loads(line) for line in (handbook / name).read_bytes().splitlines()] for name in JSONL[:5]}
    asked = rows["queries.jsonl"][::30]
    intents, talks = rows["paraphrases.jsonl"][:6], rows["conversations.jsonl"][:5]
    answers = [row for row in rows["answers.jsonl"] if row["query"] in ids(asked, "id")]
    cited = set(re.findall(r'"document": "([^"]+)"', json.dumps([intents, talks, answers])))
    documents = [row for row in rows["documents.jsonl"] if row["id"] in cited]
    judged = [
        line
        for line in (handbook / "qrels.tsv").read_bytes().splitlines()
        if (cells := line.decode().split("\t"))[0] in ids(asked, "id") and cells[1] in cited
    ]
    same = ("intent", "tenant", "answer")
    requests = [
        {"at": 60.5 * i, "user": f"u{i}", "text": intent["paraphrases"][0], "kind": "paraphrase"}
        | {name: intent[name] for name in same}
        for i, intent in enumerate(intents)
    ]
    events = [{"at": 3600 * i, "added": [row["id"]]} for i, row in enumerate(documents[:4])]
    parts = dict(zip(JSONL, (documents, asked, answers, intents, talks, requests, events), strict=True))
    return {name: [*map(dump, parts[name])] if name in parts else judged for name in FILES}


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    return write(tmp_path_factory.mktemp("whole") / "handbook", files)


@pytest.fixture
def damaged(whole, tmp_path):
    """A function that puts other bytes in the place of one file."""

    def folder(name, content):
        for path in whole.iterdir():
            os.link(path, tmp_path / path.name)
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(content)
        return tmp_path

    return folder


def faults(folder):
    """All that is told, each checked to be one line that names one of the files."""
    with pytest.raises(InputErrors) as caught:
        load_dataset(folder)
    told = [fault.removeprefix(f"{folder}/") for fault in caught.value.faults]
    for fault in told:
        assert fault.isprintable()
        assert re.match(rf"({'|'.join(map(re.escape, FILES))})(:\d+)?: \w|\.\.\. and \d+ more$", fault), fault
    return told


def place(fault):
    return fault.split(": ")[0]


def test_the_copy_that_is_damaged_is_sound(whole, files):
    data = load_dataset(whole)
    check_shape(data)
    read = (data.documents, data.queries, data.answers, data.intents, data.conversations, data.traffic, data.events)
    assert [*map(len, read)] == [len(files[name]) for name in JSONL]
    assert sum(map(len, data.qrels.values())) == len(files["qrels.tsv"])
    assert min(map(len, files.values())) > LINE


# --- a line that is no JSON object in UTF-8


def middle(line, inserted):
    """Insert bytes into the first text of an object."""
    at = line.index(b'": "') + 6 if b'": "' in line else line.index(b'["') + 4
    return line[:at] + inserted + line[at:]


UNREADABLE = {
    "a Latin-1 byte": (lambda line: middle(line, b"\xe9"), r"not UTF-8 \(byte \d+ of the line\)"),
    "half of a character": (lambda line: middle(line, "€".encode()[:2]), r"not UTF-8 \(byte \d+ of the line\)"),
    "a surrogate in bytes": (lambda line: middle(line, b"\xed\xa0\x80"), r"not UTF-8 \(byte \d+ of the line\)"),
    "a byte-order mark inside": (lambda line: b"\xef\xbb\xbf" + line, "begins with a byte-order mark"),
    "a NUL byte": (lambda line: middle(line, b"\0"), r"holds a NUL byte \(byte \d+ of the line\)"),
    "a tab in a text": (lambda line: middle(line, b"\t"), "broken JSON"),
    "cut in the middle": (lambda line: line[: len(line) // 2], "broken JSON"),
    "its start lost": (lambda line: line[5:], "broken JSON"),
    "two objects": (lambda line: line + b" " + line, r"broken JSON \(Extra data, character \d+\)"),
    "a trailing comma": (lambda line: line[:-1] + b",}", "broken JSON"),
    "a comma after it": (lambda line: line + b",", "broken JSON"),
    "single quotes": (lambda line: line.replace(b'"', b"'"), "broken JSON"),
    "in a list": (lambda line: b"[" + line + b"]", "a JSON object is needed, not list"),
    "null": (lambda line: b"null", "a JSON object is needed, not NoneType"),
    "NaN": (lambda line: line[:-1] + b', "weight": NaN}', r"broken JSON \(NaN is no number in JSON\)"),
    "minus infinity": (lambda line: line[:-1] + b', "weight": -Infinity}', r"-Infinity is no number in JSON"),
    "a key twice": (
        lambda line: line[:-1] + b"," + line[1:],
        r"broken JSON \(key '\w+' stands twice in one object\)",
    ),
    "a carriage return for a line feed": (lambda line: line + b"\r" + line, "holds a carriage return"),
    "half a surrogate pair": (lambda line: middle(line, b"\\ud83d"), "half of a surrogate pair"),
}


@pytest.mark.parametrize("damage", UNREADABLE)
@pytest.mark.parametrize("name", JSONL)
def test_a_line_that_cannot_be_read_is_told(name, damage, files, damaged):
    change, message = UNREADABLE[damage]
    lines = list(files[name])
    lines[LINE - 1] = change(lines[LINE - 1])
    told = faults(damaged(name, b"\n".join(lines)))
    assert place(told[0]) == f"{name}:{LINE}"
    assert re.search(message, told[0]), told[0]
    if name not in REFERRED_TO:  # else all that refers to the lost record is told after it
        assert len(told) == 1


def test_both_halves_of_a_surrogate_pair_are_a_character_and_no_damage(files, damaged):
    lines = list(files["documents.jsonl"])
    row = json.loads(lines[LINE - 1])
    lines[LINE - 1] = json.dumps(row | {"title": "\U0001d11e"}).encode()
    assert b"\\ud834\\udd1e" in lines[LINE - 1]
    data = load_dataset(damaged("documents.jsonl", b"\n".join(lines)))
    assert data.documents.title[list(data.documents.id).index(row["id"])] == "\U0001d11e"


# --- a file as a whole


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_ends_in_the_middle_of_a_line_is_told(name, files, damaged):
    content = b"\n".join(files[name])
    told = faults(damaged(name, content[: -len(files[name][-1]) // 2]))
    assert place(told[0]) == f"{name}:{len(files[name])}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_in_utf_16_is_told_at_its_first_line(name, encoding, files, damaged):
    told = faults(damaged(name, b"\n".join(files[name]).decode().encode(encoding)))
    assert place(told[0]) == f"{name}:1"
    assert ("UTF-16; save the file as UTF-8" if encoding == "utf-16" else "NUL byte") in told[0]


@pytest.mark.parametrize("name", FILES)
def test_line_ends_of_one_carriage_return_are_told_once_in_a_file(name, files, damaged):
    told = [fault for fault in faults(damaged(name, b"\r".join(files[name]))) if fault.startswith(name)]
    assert told == [f"{name}:1: holds a carriage return; lines end with LF or CR LF"]


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file_is_told(name, damaged):
    assert f"{name}: is empty" in faults(damaged(name, b""))


@pytest.mark.parametrize("name", FILES[1:])  # without a file documents.jsonl, a folder is of no known format
def test_a_folder_in_the_place_of_a_file_is_told(name, damaged):
    folder = damaged(name, b"")
    (folder / name).unlink()
    (folder / name).mkdir()
    assert f"{name}: cannot be read (Is a directory)" in faults(folder)


@pytest.mark.parametrize("name", REFERRED_TO)
def test_where_all_documents_or_queries_are_lost_what_refers_to_them_is_not_blamed(name, damaged):
    assert faults(damaged(name, b"")) == [f"{name}: is empty"]


@pytest.mark.parametrize("name", FILES)
def test_line_ends_of_windows_a_mark_at_the_start_and_blank_lines_are_no_damage(name, whole, files, damaged):
    content = b"\xef\xbb\xbf" + b"\r\n\r\n".join(files[name]) + b"\r\n"
    assert load_dataset(damaged(name, content)).digest == load_dataset(whole).digest


# --- a field that is wrong


class Put:
    """Puts a value in a place of a record; without a value, removes it."""

    def __init__(self, *path, **value):
        self.path, self.value = path, value

    def __call__(self, row):
        *path, last = self.path
        for key in path:
            row = row[key]
        if self.value:
            row[last] = self.value["to"]
        else:
            del row[last]


class Key(NamedTuple):
    """Gives a key another name."""

    path: tuple
    old: str
    new: str

    def __call__(self, row):
        for key in self.path:
            row = row[key]
        row[self.new] = row.pop(self.old)


EVIDENCE = ("evidence", 0)
FIELDS = {
    "documents.jsonl": {
        "id a number": (Put("id", to=7), "document 7: the id is a number; ids are texts"),
        "id empty": (Put("id", to=""), "document without an id"),
        "id missing": (Put("id"), "document without an id"),
        "id null": (Put("id", to=None), "document without an id"),
        "id a list": (Put("id", to=["a"]), "document without an id"),
        "text missing": (Put("text"), "has no text"),
        "text null": (Put("text", to=None), "has no text"),
        "text blank": (Put("text", to=" \n\t"), "has no text"),
        "text a list": (Put("text", to=["a", "b"]), "has no text"),
        "title a list": (Put("title", to=["a"]), "the title is not a text"),
        "title an empty object": (Put("title", to={}), "the title is not a text"),
        "title a number": (Put("title", to=0), "the title is not a text"),
        "metadata a list": (Put("metadata", to=["2024"]), "'metadata' is not an object"),
        "metadata a text": (Put("metadata", to="{}"), "'metadata' is not an object"),
        "metadata with half a surrogate": (Put("metadata", "type", to="\ud800"), "half of a surrogate pair"),
        "title misspelt": (Key((), "title", "titel"), "no key 'titel' is known; did you mean 'title'?"),
        "metadata misspelt": (Key((), "metadata", "Meta-data"), "did you mean 'metadata'?"),
    },
    "queries.jsonl": {
        "id a number": (Put("id", to=1.0), "query 1.0: the id is a number"),
        "id empty": (Put("id", to=""), "query without an id"),
        "id missing": (Put("id"), "query without an id"),
        "id true": (Put("id", to=True), "query True: the id is a number"),
        "text missing": (Put("text"), "has no text"),
        "text empty": (Put("text", to=""), "has no text"),
        "text an object": (Put("text", to={"en": "Why?"}), "has no text"),
        "history a text": (Put("history", to="Hello"), "'history' must be a list of texts"),
        "history a false": (Put("history", to=False), "'history' must be a list of texts"),
        "history of objects": (Put("history", to=[{"user": "Hello"}]), "'history' must be a list of texts"),
        "history with an empty turn": (Put("history", to=["Hello", ""]), "'history' must be a list of texts"),
        "half a surrogate in a kind": (Put("kind", to="fact \udc00"), "half of a surrogate pair"),
    },
    "answers.jsonl": {
        "query unknown": (Put("query", to="q9999"), "answer to an unknown query 'q9999'"),
        "query with a trailing blank": (Put("query", to="q003 "), "answer to an unknown query 'q003 '"),
        "query a number": (Put("query", to=3), "answer to an unknown query '3'"),
        "query missing": (Put("query"), "answer to an unknown query 'None'"),
        "query with a line break": (Put("query", to="q003\n"), r"answer to an unknown query 'q003\n'"),
        "query very long": (Put("query", to="q" * 10_000), "qqqq ..."),
        "text missing": (Put("text"), "has no text"),
        "text a list": (Put("text", to=["yes"]), "has no text"),
        "alternatives a text": (Put("alternatives", to="yes"), "'alternatives' must be a list of texts"),
        "alternatives an empty object": (Put("alternatives", to={}), "'alternatives' must be a list of texts"),
        "alternatives with null": (Put("alternatives", to=["yes", None]), "'alternatives' must be a list of texts"),
        "alternatives misspelt": (Key((), "alternatives", "alternative"), "did you mean 'alternatives'?"),
        "evidence an object": (Put("evidence", to={}), "'evidence' must be a list"),
        "evidence a text": (Put("evidence", to="yes"), "'evidence' must be a list"),
        "evidence in a list of numbers": (Put(*EVIDENCE, to=[0, 5]), "evidence [0, 5] is not {document, start, end}"),
        "evidence null": (Put(*EVIDENCE, to=None), "evidence None is not {document, start, end}"),
        "evidence without an end": (Put(*EVIDENCE, "end"), "is not {document, start, end}"),
        "evidence key misspelt": (Key(EVIDENCE, "start", "strat"), "is not {document, start, end}"),
        "document unknown": (Put(*EVIDENCE, "document", to="nowhere"), "evidence in an unknown document 'nowhere'"),
        "document null": (Put(*EVIDENCE, "document", to=None), "evidence in an unknown document 'None'"),
        "document a list": (Put(*EVIDENCE, "document", to=[]), "evidence in an unknown document '[]'"),
        "end beyond the end": (Put(*EVIDENCE, "end", to=10**6), "..1000000 lies outside document '"),
        "end of many digits": (Put(*EVIDENCE, "end", to=10**30), "lies outside document '"),
        "end before the start": (Put(*EVIDENCE, "end", to=0), "..0 lies outside document '"),
        "start negative": (Put(*EVIDENCE, "start", to=-1), "evidence -1.."),
        "start a fraction": (Put(*EVIDENCE, "start", to=1.0), "evidence 1.0.."),
        "start a text": (Put(*EVIDENCE, "start", to="1"), "evidence '1'.."),
        "start true": (Put(*EVIDENCE, "start", to=True), "evidence True.."),
        "start null": (Put(*EVIDENCE, "start", to=None), "evidence None.."),
    },
    "paraphrases.jsonl": {
        "intent empty": (Put("intent", to=""), "intent '?': 'intent' must be a text that is not empty"),
        "intent a number": (Put("intent", to=5), "intent '5': 'intent' must be a text that is not empty"),
        "intent with a trailing blank": (Put("intent", to="fee "), "intent 'fee ': 'intent': it begins or ends with"),
        "tenant missing": (Put("tenant"), "'tenant' must be a text that is not empty"),
        "text null": (Put("text", to=None), "'text' must be a text that is not empty"),
        "answer a list": (Put("answer", to=["5"]), "'answer' must be a text that is not empty"),
        "split a number": (Put("split", to=1), "'split' must be a text"),
        "evidence a text": (Put("evidence", to="here"), "'evidence' must be a list of objects"),
        "evidence with a text": (Put("evidence", to=["here"]), "'evidence' must be a list of objects"),
        "evidence beyond the end": (Put(*EVIDENCE, "end", to=10**6), "..1000000 lies outside document '"),
        "evidence in fractions": (Put(*EVIDENCE, "start", to=0.5), "evidence 0.5.."),
        "evidence in an unknown document": (Put(*EVIDENCE, "document", to="x"), "in an unknown document 'x'"),
        "paraphrases a text": (Put("paraphrases", to="What?"), "'paraphrases' must be a list of texts"),
        "paraphrases an empty text": (Put("paraphrases", to=""), "'paraphrases' must be a list of texts"),
        "a blank paraphrase": (Put("paraphrases", 0, to=" "), "'paraphrases' must be a list of texts"),
        "a paraphrase that is an object": (Put("paraphrases", 0, to={}), "'paraphrases' must be a list of texts"),
        "paraphrases misspelt": (Key((), "paraphrases", "paraphases"), "did you mean 'paraphrases'?"),
        "traps an object": (Put("traps", to={}), "'traps' must be a list of objects"),
        "a trap that is a text": (Put("traps", 1, to="no"), "'traps' must be a list of objects"),
        "trap kind misspelt": (Put("traps", 1, "kind", to="negaton"), "trap 2: trap of kind 'negaton'; one of: "),
        "trap kind in a list": (Put("traps", 0, "kind", to=["negation"]), "trap 1: trap of kind ['negation']"),
        "trap without a kind": (Put("traps", 0, "kind"), "trap 1: trap of kind None"),
        "trap without an answer": (Put("traps", 1, "answer"), "trap 2: 'answer' must be a text that is not empty"),
        "trap with an empty text": (Put("traps", 0, "text", to=""), "trap 1: 'text' must be a text"),
        "trap with an unknown document": (Put("traps", 0, "document", to="x"), "trap 1: unknown document 'x'"),
        "before a text": (Put("before", to="EUR 5"), "'before' must be an object with document and answer"),
        "before with an unknown document": (
            Put("before", to={"document": "x", "answer": "EUR 5"}), "before: unknown document 'x'",
        ),
    },
    "conversations.jsonl": {
        "id missing": (Put("id"), "conversation '?': 'id' must be a text that is not empty"),
        "id a number": (Put("id", to=4), "conversation '4': 'id' must be a text that is not empty"),
        "id with a blank before it": (Put("id", to=" talk"), "'id': it begins or ends with a blank"),
        "tenant null": (Put("tenant", to=None), "'tenant' must be a text that is not empty"),
        "split null": (Put("split", to=None), "'split' must be a text"),
        "turns missing": (Put("turns"), "0 turns; a conversation has at least 2"),
        "turns empty": (Put("turns", to=[]), "0 turns; a conversation has at least 2"),
        "turns an object": (Put("turns", to={}), "'turns' must be a list of objects"),
        "turns of texts": (Put("turns", to=["Hello", "Yes?"]), "'turns' must be a list of objects"),
        "turns misspelt": (Key((), "turns", "turn"), "did you mean 'turns'?"),
        "turn without its stand-alone form": (Put("turns", 1, "standalone"), "turn 2: 'standalone' must be a text"),
        "turn with an empty question": (Put("turns", 0, "user", to=""), "turn 1: 'user' must be a text"),
        "turn whose answer is a number": (Put("turns", 0, "answer", to=5), "turn 1: 'answer' must be a text"),
        "turn with evidence that is no list": (Put("turns", 0, "evidence", to=0), "'evidence' must be a list"),
        "turn with evidence beyond the end": (
            Put("turns", 0, "evidence", 0, "end", to=99_999), "..99999 lies outside document '",
        ),
        "turn with evidence misspelt": (Key(("turns", 0), "evidence", "evidance"), "did you mean 'evidence'?"),
    },
    "traffic.jsonl": {
        "time missing": (Put("at"), "request at None; times are seconds from 0"),
        "time a text": (Put("at", to="12:00"), "request at '12:00'; times are seconds from 0"),
        "time negative": (Put("at", to=-0.5), "request at -0.5; times are seconds from 0"),
        "time true": (Put("at", to=True), "request at True; times are seconds from 0"),
        "unknown intent": (Put("intent", to="nobody-asked"), "request of an unknown intent 'nobody-asked'"),
        "text missing": (Put("text"), "request without a text"),
        "text blank": (Put("text", to="  "), "request without a text"),
        "text a list": (Put("text", to=["a"]), "request without a text"),
        "user a number": (Put("user", to=12), "request: 'user' is not a text"),
        "tenant null": (Put("tenant", to=None), "request: 'tenant' is not a text"),
        "intent a list": (Put("intent", to=[]), "request: 'intent' is not a text"),
        "kind an object": (Put("kind", to={}), "request: 'kind' is not a text"),
        "turn a text": (Put("turn", to="1"), "request: 'turn' is not a whole number"),
        "turn a fraction": (Put("turn", to=1.5), "request: 'turn' is not a whole number"),
    },
    "events.jsonl": {
        "time missing": (Put("at"), "event at None; times are seconds from 0"),
        "time a text": (Put("at", to="noon"), "event at 'noon'; times are seconds from 0"),
        "time negative": (Put("at", to=-1), "event at -1; times are seconds from 0"),
        "time true": (Put("at", to=True), "event at True; times are seconds from 0"),
        "time of 400 digits": (Put("at", to=10**400), "times are seconds from 0"),
        "a list comes": (Put("added", to=[["a"]]), "event with the unknown document '['a']'"),
        "nothing comes": (Put("added"), "'added' and 'removed' are lists of document ids, one of them not empty"),
        "an empty list comes": (Put("added", to=[]), "'added' and 'removed' are lists of document ids"),
        "a text comes": (Put("added", to="fees"), "'added' and 'removed' are lists of document ids"),
        "an object goes": (Put("removed", to={"id": "fees"}), "'added' and 'removed' are lists of document ids"),
        "an unknown document comes": (Put("added", 0, to="nowhere"), "event with the unknown document 'nowhere'"),
        "a number goes": (Put("removed", to=[7]), "event with the unknown document '7'"),
    },
}  # fmt: skip
CASES = [(name, case) for name, cases in FIELDS.items() for case in cases]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name} {case}" for name, case in CASES])
def test_a_wrong_field_is_told_at_its_line_and_nowhere_else(name, case, files, damaged):
    change, message = FIELDS[name][case]
    lines = list(files[name])
    row = json.loads(lines[LINE - 1])
    change(row)
    lines[LINE - 1] = json.dumps(row).encode()
    told = faults(damaged(name, b"\n".join(lines)))
    assert place(told[0]) == f"{name}:{LINE}"
    assert message in told[0]
    if getattr(change, "path", ()) != ("id",):  # else all that refers to the lost id is told after it
        assert {place(fault) for fault in told} == {f"{name}:{LINE}"}


def test_a_conversation_cut_to_one_turn_and_an_older_answer_that_is_missing_are_told(files, damaged):
    lines = [json.loads(line) for line in files["conversations.jsonl"]]
    lines[4]["turns"] = lines[4]["turns"][:1]
    folder = damaged("conversations.jsonl", b"\n".join(map(dump, lines)))
    intents = [json.loads(line) for line in files["paraphrases.jsonl"]]
    number = next(i for i, intent in enumerate(intents) if intent.get("before"))
    del intents[number]["before"]["answer"]
    (folder / "paraphrases.jsonl").unlink()
    (folder / "paraphrases.jsonl").write_bytes(b"\n".join(map(dump, intents)))
    before = f"intent '{intents[number]['intent']}', before: 'answer' must be a text that is not empty"
    assert faults(folder) == [
        f"paraphrases.jsonl:{number + 1}: {before}",
        f"conversations.jsonl:5: conversation '{lines[4]['id']}': 1 turns; a conversation has at least 2",
    ]


TWICE = {
    "documents.jsonl": "was already given at ",
    "queries.jsonl": "was already given at ",
    "answers.jsonl": "second answer to query '",
    "paraphrases.jsonl": "was already given; put all its paraphrases on one line",
    "conversations.jsonl": "was already given",
}


@pytest.mark.parametrize("name", TWICE)
def test_a_line_that_stands_twice_is_told_where_it_stands_again(name, files, damaged):
    lines = files[name]
    (told,) = faults(damaged(name, b"\n".join([*lines[:4], lines[1], *lines[4:]])))
    assert place(told) == f"{name}:5"
    assert TWICE[name] in told
    if name in REFERRED_TO:
        assert told.endswith(f"/{name}:2")


# --- ids that others refer to


@pytest.mark.parametrize("name", REFERRED_TO)
@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0", "\n"])
def test_an_id_with_a_trailing_blank_is_told_where_it_stands(name, blank, files, damaged):
    lines = list(files[name])
    row = json.loads(lines[LINE - 1])
    lines[LINE - 1] = dump(row | {"id": row["id"] + blank})
    (told,) = faults(damaged(name, b"\n".join(lines)))
    assert place(told) == f"{name}:{LINE}"
    assert "begins or ends with a blank, which nobody sees" in told


@pytest.mark.parametrize(("name", "column", "kind"), [(REFERRED_TO[0], 1, "document"), (REFERRED_TO[1], 0, "query")])
def test_an_id_that_changed_is_told_where_the_old_one_is_used_first(name, column, kind, files, damaged):
    first = files["qrels.tsv"][0].decode().split("\t")[column]
    old, new = f'"id": "{first}"'.encode(), f'"id": "{first}x"'.encode()
    lines = [line.replace(old, new) for line in files[name]]
    told = faults(damaged(name, b"\n".join(lines)))
    assert told[0] == f"qrels.tsv:1: judgement of an unknown {kind} '{first}'"


# --- judgements

JUDGEMENTS = {
    "grade a fraction": (lambda q, d, g: f"{q}\t{d}\t1.0", "grade '1.0' is not a whole number"),
    "grade a word": (lambda q, d, g: f"{q}\t{d}\thigh", "grade 'high' is not a whole number"),
    "grade empty": (lambda q, d, g: f"{q}\t{d}\t", "grade '' is not a whole number"),
    "grade NaN": (lambda q, d, g: f"{q}\t{d}\tnan", "grade 'nan' is not a whole number"),
    "grade with an underscore": (lambda q, d, g: f"{q}\t{d}\t1_0", "grade '1_0' is not a whole number"),
    "grade in other digits": (lambda q, d, g: f"{q}\t{d}\t\u0663", "grade '\u0663' is not a whole number"),
    "grade with a comma": (lambda q, d, g: f"{q}\t{d}\t1,0", "grade '1,0' is not a whole number"),
    "grade of 5000 digits": (lambda q, d, g: f"{q}\t{d}\t{'1' * 5000}", "grade '1111"),
    "grade missing": (lambda q, d, g: f"{q}\t{d}", "2 columns; needed: query-id, corpus-id, score, by tabs"),
    "a column more": (lambda q, d, g: f"{q}\t0\t{d}\t{g}", "4 columns; needed: query-id, corpus-id, score, by tabs"),
    "blanks for tabs": (lambda q, d, g: f"{q}    {d}    {g}", "1 columns; needed: query-id, corpus-id, score"),
    "commas for tabs": (lambda q, d, g: f"{q},{d},{g}", "1 columns; needed: query-id, corpus-id, score"),
    "columns exchanged": (lambda q, d, g: f"{d}\t{q}\t{g}", "judgement of an unknown query '"),
    "query unknown": (lambda q, d, g: f"{q}9\t{d}\t{g}", "judgement of an unknown query '"),
    "query empty": (lambda q, d, g: f"\t{d}\t{g}", "judgement of an unknown query ''"),
    "query in capitals": (lambda q, d, g: f"{q.upper()}\t{d}\t{g}", "judgement of an unknown query 'Q"),
    "query in quotes": (lambda q, d, g: f'"{q}"\t{d}\t{g}', "judgement of an unknown query '\""),
    "document unknown": (lambda q, d, g: f"{q}\tx-{d}\t{g}", "judgement of an unknown document 'x-"),
    "document empty": (lambda q, d, g: f"{q}\t\t{g}", "judgement of an unknown document ''"),
    "document with a hyphen that breaks no line": (
        lambda q, d, g: f"{q}\t{d.replace('-', chr(0x2011))}\t{g}", "judgement of an unknown document '",
    ),
    "an invisible mark": (lambda q, d, g: f"{q}\u200b\t{d}\t{g}", r"\u200b'"),
    "a byte-order mark": (lambda q, d, g: f"\ufeff{q}\t{d}\t{g}", "begins with a byte-order mark"),
    "a NUL byte": (lambda q, d, g: f"{q}\t{d}\0\t{g}", "holds a NUL byte (byte "),
    "a carriage return": (lambda q, d, g: f"{q}\t{d}\t{g}\r{q}\t{d}\t{g}", "holds a carriage return"),
    "a second header": (lambda q, d, g: "query-id\tcorpus-id\tscore", "judgement of an unknown query 'query-id'"),
}  # fmt: skip


@pytest.mark.parametrize("case", JUDGEMENTS)
def test_a_wrong_judgement_is_told(case, files, damaged):
    change, message = JUDGEMENTS[case]
    lines = list(files["qrels.tsv"])
    lines[9] = change(*lines[9].decode().split("\t")).encode()
    (told,) = faults(damaged("qrels.tsv", b"\n".join(lines)))
    assert place(told) == "qrels.tsv:10"
    assert message in told


@pytest.mark.parametrize("damage", [b"\xe9", "é".encode()[:1], b"\xed\xa0\x80"])
def test_a_judgement_that_is_not_utf_8_is_told(damage, files, damaged):
    lines = list(files["qrels.tsv"])
    lines[9] = lines[9].replace(b"\t", damage + b"\t", 1)
    (told,) = faults(damaged("qrels.tsv", b"\n".join(lines)))
    assert re.match(r"qrels.tsv:10: not UTF-8 \(byte \d+ of the line\)", told)


def test_a_second_grade_is_told_where_it_stands_and_the_same_grade_again_is_no_damage(whole, files, damaged):
    lines = files["qrels.tsv"]
    query, document, grade = lines[9].decode().split("\t")
    again = f"{query}\t{document}\t{{}}"
    folder = damaged("qrels.tsv", b"\n".join([*lines, lines[9]]))
    assert load_dataset(folder).digest == load_dataset(whole).digest
    (folder / "qrels.tsv").write_bytes(b"\n".join([*lines, again.format(int(grade) + 1).encode()]))
    assert faults(folder) == [f"qrels.tsv:{len(lines) + 1}: document '{document}' has two grades for query '{query}'"]


# --- whatever happens to the bytes


EDIT = st.tuples(
    st.sampled_from(["flip", "delete", "insert"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=4)
    | st.sampled_from([b'"', b"{", b"}", b"\\ud800", b"\n", b"\t", b"9", b"-", b","]),
)


def edited(content, edits):
    made = bytearray(content)
    for what, where, by in edits:
        i = int(where * len(made))
        if what == "flip" and made:
            made[i] ^= by[0] or 1
        elif what == "delete":
            del made[i : i + len(by)]
        else:
            made[i:i] = by
    return bytes(made)


def check_shape(data):
    """What every data set promises."""
    texts = dict(zip(data.documents.id, data.documents.text, strict=True))
    asked = set(data.queries.id)
    assert list(data.documents.id) == sorted(texts)
    assert all(text.strip() for text in texts.values())
    assert all(isinstance(json.loads(metadata), dict) for metadata in data.documents.metadata)
    assert set(data.qrels) <= asked
    assert set(data.answers) <= asked
    assert all(type(grade) is int for judged in data.qrels.values() for grade in judged.values())
    assert {name for judged in data.qrels.values() for name in judged} <= set(texts)
    turns = [turn for talk in data.conversations.values() for turn in talk.turns]
    for known in (*data.answers.values(), *data.intents.values(), *turns):
        assert all(0 <= start < end <= len(texts[name]) for name, start, end in known.evidence)
    assert (data.traffic.at[1:] >= data.traffic.at[:-1]).all()
    assert {name for event in data.events for name in (*event.added, *event.removed)} <= set(texts)
    assert len(data.digest) == 32


@pytest.fixture(scope="module")
def playground(files, tmp_path_factory):
    """A folder of files that an example may damage, and mends for the next."""
    return write(tmp_path_factory.mktemp("random") / "handbook", files)


@settings(max_examples=200)
@given(name=st.sampled_from(FILES), edits=st.lists(EDIT, min_size=1, max_size=4))
def test_random_damage_is_told_or_leaves_a_sound_data_set(name, edits, playground):
    path = playground / name
    before = path.read_bytes()
    path.write_bytes(edited(before, edits))
    try:
        data = load_dataset(playground)
    except InputErrors:
        faults(playground)
    else:
        check_shape(data)
    finally:
        path.write_bytes(before)
