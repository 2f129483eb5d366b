"""The report stands alone, repeats itself, and claims no more than the tests say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evalkit.errors import InputError
from evalkit.evaluate.results import Results
from evalkit.reporting import write_report
from evalkit.reporting.findings import findings

HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Every tag, every id and every address in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]


@pytest.fixture(scope="module")
def report(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(results, tmp_path_factory.mktemp("report") / "new")


def plots(folder: Path) -> set[str]:
    return {path.name for path in (folder / "plots").iterdir()}


def test_a_report_is_a_page_with_its_plots_beside_it(report: Path) -> None:
    assert report.name == "report.html"
    assert plots(report.parent) == {
        "intervals.png", "tradeoff_latency.png", "tradeoff_tokens.png", "waterfall.png", "stages.png",
        "sweep_1.png", "sweep_2.png",
    }  # fmt: skip
    assert sorted(p.name for p in report.parent.iterdir()) == ["plots", "report.html"]


def test_a_report_needs_no_network_and_no_scripts(report: Path) -> None:
    page = Page(report.read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(link.startswith("#") for link in page.links)
    assert page.tags.count("svg") == 7


def test_ids_of_figures_do_not_clash(report: Path) -> None:
    page = Page(report.read_text(encoding="utf-8"))
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)


def test_the_same_results_give_the_same_files_also_after_a_way_over_disk(
    results: Results, report: Path, tmp_path: Path
) -> None:
    again = write_report(Results.load(results.save(tmp_path / "results")), tmp_path / "again").parent
    for path in (p for p in report.parent.rglob("*") if p.is_file()):
        assert path.read_bytes() == (again / path.relative_to(report.parent)).read_bytes()


def test_names_are_text_and_never_markup(named: Callable[[Iterable[str]], Results], tmp_path: Path) -> None:
    results = named([HOSTILE, f"{HOSTILE}2"])
    results.manifest["spec"].update(name=HOSTILE, description=HOSTILE)
    results.manifest["data"].update({"name": HOSTILE, "unjudged queries": [HOSTILE]})
    results.manifest["versions"][HOSTILE] = HOSTILE
    text = write_report(results, tmp_path).read_text(encoding="utf-8")
    assert "script" not in Page(text).tags
    assert "&lt;script&gt;" in text


def test_without_timing_there_are_no_plots_of_latency(untimed: Results, tmp_path: Path) -> None:
    write_report(untimed, tmp_path)
    assert plots(tmp_path) == {"intervals.png", "tradeoff_tokens.png", "sweep_1.png", "sweep_2.png"}


def test_plots_of_earlier_results_do_not_stay_behind(untimed: Results, tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    for name in ("waterfall.png", "mine.png"):
        (tmp_path / "plots" / name).write_bytes(b"of earlier")
    write_report(untimed, tmp_path)
    assert "waterfall.png" not in plots(tmp_path)
    assert "mine.png" in plots(tmp_path)


def test_a_report_says_where_its_numbers_come_from(results: Results, report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    for said in (
        "A question.", "0123abcd", "5 documents, 12 queries, 30 judgements", "lost-1", "measured", "abc123",
        "20 pieces of work asked for, 8 distinct; 3 of 8 blocks came from the store", "a processor", "evalkit 0.1.0",
        "the base timed twice: +0.10 ms [-0.20, +0.40]", "seed: 7", results.digest,
    ):  # fmt: skip
        assert said in text


def test_a_single_variant_makes_a_report_without_comparisons(
    named: Callable[[Iterable[str]], Results], tmp_path: Path
) -> None:
    text = write_report(named(["alone"]), tmp_path).read_text(encoding="utf-8")
    assert "Only alone was run" in text
    assert "Comparisons with the base" not in text
    assert plots(tmp_path) == {"intervals.png", "waterfall.png"}


def test_a_folder_that_cannot_be_written_is_one_clear_line(results: Results, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the report cannot be written"):
        write_report(results, tmp_path / "file")


def test_nothing_half_written_stays_where_writing_fails(
    named: Callable[[Iterable[str]], Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("evalkit.reporting.html.os.replace", fail)
    with pytest.raises(InputError, match="No space left on device"):
        write_report(named(["alone"]), tmp_path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == []


def test_findings_call_better_only_what_the_corrected_test_does(results: Results) -> None:
    comparisons = results.compare()
    said = {point.head.split(" (")[0]: point.text for point in findings(results, comparisons).points}
    found = comparisons.by_metric["nDCG@10"]
    assert {c.verdict for c in found.values()} == {"better", "worse"}
    better, worse = said["nDCG@10"].split(" Worse: ")
    assert better.startswith("Better: chunk.size=128 retrieve.k=10 (+0.200), chunk.size=128 retrieve.k=3 (+0.150)")
    assert "and 1 other, p ≤ " in better
    assert worse.startswith("chunk.size=64 retrieve.k=1 (-0.050), p = 0.0")


def test_findings_say_when_nothing_differs(results: Results) -> None:
    rows = results.per_query.assign(value=0.5)
    same = replace(results, per_query=rows)
    assert "No variant differs from the base" in findings(same, same.compare()).points[0].text


def test_findings_say_when_the_queries_are_too_few_to_decide(results: Results) -> None:
    few = replace(results, per_query=results.per_query[results.per_query["query"].isin(["q0", "q1", "q2", "q3"])])
    point = findings(few, few.compare()).points[0]
    assert point.text == (
        "Nothing is established, nor could it be: with 4 queries and 5 comparisons the smallest possible "
        "corrected p is 0.62."
    )


def test_findings_say_how_many_more_queries_an_open_question_needs(named: Callable[[Iterable[str]], Results]) -> None:
    results = named(["a", "b"])
    rows = results.per_query.copy()
    ours = (rows["variant"] == "b") & (rows["metric"] == "nDCG@10")
    rows.loc[ours, "value"] = [0.5 + (0.3 if i % 2 else -0.28) for i in range(12)]
    mixed = replace(results, per_query=rows)
    comparison = mixed.compare().by_metric["nDCG@10"]["b"]
    said = findings(mixed, mixed.compare())
    assert f"(about {comparison.more_queries:,} more queries would settle it)" in said.points[0].text
    assert "supposes that the difference and its spread stay as observed" in said.caveats


def test_findings_warn_of_a_machine_that_was_not_steady(results: Results) -> None:
    drifting = {**results.manifest, "control": {"difference_ms": 2.0, "low": 1.0, "high": 3.0, "p": 0.01, "n": 12}}
    said = findings(replace(results, manifest=drifting), results.compare()).caveats
    assert "the machine was not steady" in said
    assert "not steady" not in findings(results, results.compare()).caveats
