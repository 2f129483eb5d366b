"""A call costs what the price list said on its day, for its band, in its kind of token; a file can say otherwise."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.calls import Attempt, Call, TokenUsage
from evalkit.errors import InputError, InputErrors
from evalkit.llm.pricing import Price, Prices

PUBLISHED = """
claude-fable-5-1           10    12.5   20    0.25  50    512
claude-opus-5-5             4     5      8    0.20  20    512
claude-opus-5               5     6.25  10    0.50  25    512
claude-opus-4-8             5     6.25  10    0.50  25   1024
claude-opus-4-7             5     6.25  10    0.50  25   2048
claude-opus-4-6             5     6.25  10    0.50  25   4096
claude-opus-4-5             5     6.25  10    0.50  25   4096
claude-sonnet-5-5           2     2.5    4    0.10  10    512
claude-sonnet-5             2     2.5    4    0.20  10   1024
claude-sonnet-4-6           3     3.75   6    0.30  15   1024
claude-sonnet-4-5           3     3.75   6    0.30  15   1024
claude-haiku-5-5            0.10  0.125  0.20 0.01   0.50 512
claude-haiku-4-5            1     1.25   2    0.10   5   4096
"""
"""As published: model, then dollars a million tokens of input, 5-minute write, 1-hour write, cache read and output,
then the smallest cacheable prompt."""

ROWS = [line.split() for line in PUBLISHED.strip().splitlines()]
DAY = "2026-11-20"
KINDS = ("input", "cache_write_5m", "cache_write_1h", "cache_read", "output")
counts = st.integers(0, 30_000)
usages = st.builds(TokenUsage, counts, counts, counts, counts, counts)


@pytest.fixture(scope="module")
def prices():
    return Prices.load()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
@pytest.mark.parametrize("day", [DAY, ""])
def test_every_published_price_is_charged_for_its_kind_of_token(prices, row, day):
    model, *stated, minimum = row
    for kind, price in zip(KINDS, stated, strict=True):
        call = Call(model, TokenUsage(**{kind: 10_000}), day=day)
        assert prices.dollars(call) == pytest.approx(float(price) / 100, rel=1e-12), kind
    assert prices.of(model, day).minimum == int(minimum)
    assert prices.of(model, day).source


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    zip(KINDS, (0.10, 0.125, 0.20, 0.01, 0.50), (0.50, 0.625, 1, 0.05, 2.50), strict=True),
)
def test_the_small_haikus_band_is_set_by_the_whole_prompt_cached_tokens_included(prices, kind, low, high):
    def dollars(**usage):
        return prices.dollars(Call("claude-haiku-5-5", TokenUsage(**usage), day=DAY))

    if kind == "output":
        assert dollars(input=100_000, output=1000) == pytest.approx(0.01 + low / 1000)
        assert dollars(input=100_001, output=1000) == pytest.approx(0.0500005 + high / 1000)
        assert dollars(output=200_000) == pytest.approx(low / 5)  # however long the answer is
    else:
        assert dollars(**{kind: 100_000}) == pytest.approx(low / 10)
        assert dollars(**{kind: 100_001}) == pytest.approx(high * 0.100001)
        other = "cache_read" if kind != "cache_read" else "input"
        one = {"cache_read": 0.05, "input": 0.50}[other]
        assert dollars(**{kind: 1, other: 100_000}) == pytest.approx((high + 100_000 * one) / 1e6)


@given(st.sampled_from([row[0] for row in ROWS]), usages, st.sampled_from(["standard", "batch"]))
def test_dollars_are_the_exact_sum_and_a_batch_is_half(model, usage, service):
    prices, row = Prices.load(), next(row for row in ROWS if row[0] == model)
    band = Price(model, "", float(row[1]), float(row[5]), *map(float, row[2:5]))
    factor = 5 if model == "claude-haiku-5-5" and usage.prompt > 100_000 else 1
    stated = zip(KINDS, (band.input, band.write_5m, band.write_1h, band.read, band.output), strict=True)
    exact = sum(getattr(usage, kind) * Fraction(str(price)) for kind, price in stated) * factor / 10**6
    half = Fraction(1, 2) if service == "batch" else 1
    assert prices.dollars(Call(model, usage, day=DAY, service=service)) == pytest.approx(
        float(exact * half), rel=1e-12
    )


@pytest.mark.parametrize(
    ("day", "read"),
    [("2020-01-01", 0.20), ("2026-09-01", 0.20), ("2026-10-06", 0.20), ("2026-10-07", 0.10), (DAY, 0.10), ("", 0.10)],
)
def test_a_run_is_priced_as_of_its_own_day(prices, day, read):
    call = Call("claude-sonnet-5-5", TokenUsage(cache_read=1_000_000), day=day)
    assert prices.dollars(call) == pytest.approx(read)


def test_days_and_bands_together():
    prices = Prices((
        Price("m", "2026-01-01", 1, 0),
        Price("m", "2026-01-01", 2, 0, above=100),
        Price("m", "2026-01-01", 3, 0, above=1000),
        Price("m", "2026-06-01", 10, 0),
        Price("m", "2026-06-01", 20, 0, above=500),
    ))  # fmt: skip
    expected = {
        "2026-05-31": {0: 1, 1: 1, 100: 1, 101: 2, 1000: 2, 1001: 3},
        "2026-06-01": {0: 10, 500: 10, 501: 20, 5000: 20},
    }
    for day, bands in expected.items():
        assert {prompt: prices.of("m", day, prompt).input for prompt in bands} == bands
    assert {d: prices.of("m", d, 700).input for d in ("2025-01-01", "", "2027-01-01")} == {
        "2025-01-01": 2,
        "": 20,
        "2027-01-01": 20,
    }


def test_tries_that_were_given_up_are_paid_for_each_in_its_own_band(prices):
    tries = (
        Attempt("stream cut", 1.0, TokenUsage(input=100_001, output=10)),
        Attempt("529 overloaded_error", 0.1),
        Attempt("stream cut", 1.0, TokenUsage(cache_read=1000)),
    )
    call = Call("claude-haiku-5-5", TokenUsage(input=1000, output=100), day=DAY, attempts=tries)
    by_hand = 1000 * 0.1 + 100 * 0.5 + 100_001 * 0.5 + 10 * 2.5 + 1000 * 0.01
    assert prices.dollars(call) == pytest.approx(by_hand / 1e6, rel=1e-12)


def test_a_call_that_used_nothing_costs_nothing_even_where_no_price_is_known(prices):
    assert prices.dollars(Call("nobodys-model")) == 0.0
    assert prices.dollars(Call("nobodys-model", attempts=(Attempt("connection refused", 0.1),))) == 0.0


def test_a_dated_name_is_its_models(prices):
    usage = TokenUsage(input=1000, output=1000)
    dated, plain = (Call(name, usage, day=DAY) for name in ("claude-opus-4-5-20251101", "claude-opus-4-5"))
    assert prices.dollars(dated) == prices.dollars(plain) == pytest.approx(0.03)
    assert prices.knows("claude-opus-4-5-20251101")
    assert not prices.knows("claude-opus-4-5-2025")
    assert not prices.knows("claude-opus-20251101")


def test_a_dated_name_with_a_price_of_its_own_has_that():
    prices = Prices((Price("m", "2026-01-01", 1, 1), Price("m-20260101", "2026-01-01", 9, 9)))
    assert (prices.of("m").input, prices.of("m-20260101").input, prices.of("m-20260202").input) == (1, 9, 1)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (
            "claude-haiku-55",
            "no price for model 'claude-haiku-55'; did you mean 'claude-haiku-5-5'?; add it to a file",
        ),
        ("", "no price for model ''; known: claude-fable-5-1, "),
    ],
)
def test_a_model_without_a_price_is_told_with_the_nearest(prices, model, told):
    for ask in (prices.of, lambda name: prices.at_most(name, 1, 1), lambda n: prices.dollars(Call(n, TokenUsage(1)))):
        with pytest.raises(InputError) as caught:
            ask(model)
        assert str(caught.value).startswith(told)
        assert str(caught.value).endswith("; add it to a file and name that in EVALKIT_PRICES")


def test_a_provider_without_a_cache_charges_input():
    price = Price("m", "2026-01-01", 3, 7)
    assert price.dollars(TokenUsage(1, 10, 100, 1000, 10_000)) == pytest.approx((1111 * 3 + 70_000) / 1e6)


def test_a_price_of_0_is_a_price():
    price = Price("m", "2026-01-01", 3, 7, write_5m=0.0, write_1h=0.0, read=0.0)
    assert price.dollars(TokenUsage(0, 10, 100, 1000, 0)) == 0.0


@given(
    st.sampled_from([row[0] for row in ROWS]),
    usages,
    st.lists(usages, max_size=2),
    st.sampled_from(["", "2026-09-15", DAY]),
    st.sampled_from(["standard", "batch"]),
    counts,
)
def test_no_call_costs_more_than_at_most(model, usage, given_up, day, service, slack):
    prices = Prices.load()
    attempts = tuple(Attempt("stream cut", 0.0, used) for used in given_up)
    tries = [usage, *given_up]
    bound = prices.at_most(
        model,
        max(u.prompt for u in tries) + slack,
        max(u.output for u in tries) + slack,
        tries=len(tries),
        batch=service == "batch",
    )
    assert prices.dollars(Call(model, usage, day=day, service=service, attempts=attempts)) <= bound * (1 + 1e-12)


def test_at_most_is_reached_by_the_dearest_call(prices):
    usage = TokenUsage(cache_write_1h=200_000, output=1000)
    worst = prices.dollars(Call("claude-haiku-5-5", usage, day=DAY))
    assert prices.at_most("claude-haiku-5-5", 200_000, 1000) == pytest.approx(worst)
    assert prices.at_most("claude-haiku-5-5", 200_000, 1000, tries=3, batch=True) == pytest.approx(1.5 * worst)


def file(tmp_path, text, name="mine.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_adds_models_and_overrides_evalkits_rows(tmp_path, monkeypatch):
    path = file(
        tmp_path,
        "- {model: mine, since: 2026-01-01, input: 7, output: 8, source: the invoice}\n"
        "- {model: claude-opus-5, since: 2026-09-01, input: 1, output: 2}\n"
        "- {model: claude-opus-5-5, since: 2026-11-15, input: 3, output: 4}\n",
    )
    monkeypatch.setenv("EVALKIT_PRICES", str(path))
    prices = Prices.load()
    assert prices.of("mine").output == 8
    assert (prices.of("claude-opus-5").input, prices.of("claude-opus-5").read) == (1, None)
    assert [prices.of("claude-opus-5-5", day).input for day in ("2026-11-14", "2026-11-15", "")] == [4, 3, 3]
    assert prices.of("claude-haiku-4-5").input == 1
    assert Prices.load(file(tmp_path, "[]", "none.yaml")).of("claude-opus-5").input == 5  # a path given goes first
    monkeypatch.delenv("EVALKIT_PRICES")
    assert not Prices.load().knows("mine")


def test_an_empty_variable_names_no_file(monkeypatch):
    monkeypatch.setenv("EVALKIT_PRICES", "")
    assert Prices.load().knows("claude-opus-5")


def test_a_file_is_found_from_the_project_root_and_read_anew_when_it_has_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("EVALKIT_ROOT", str(tmp_path))
    path = file(tmp_path, "- {model: mine, since: 2026-01-01, input: 7, output: 8}")
    assert Prices.load("mine.yaml").of("mine").input == 7
    before = path.stat()
    file(tmp_path, "- {model: mine, since: 2026-01-01, input: 9, output: 8}")
    assert path.stat().st_mtime_ns != before.st_mtime_ns
    assert Prices.load("mine.yaml").of("mine").input == 9


GOOD = "model: m, since: 2026-01-01, input: 1, output: 1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1", ": a list of prices is needed, each with model, since, input and output"),
        ("", ": a list of prices is needed, each with model, since, input and output"),
        ("- [", ": not YAML ("),
        ("- 1", ": row 1: a mapping is needed"),
        (f"- {{{GOOD}, inputs: 2}}", ": row 1: no field 'inputs'; did you mean 'input'?"),
        ("- {since: 2026-01-01, input: 1, output: 1}", ": row 1: needs the field 'model'"),
        ("- {model: m, input: 1, output: 1}", ": row 1: needs the field 'since'"),
        ("- {model: m, since: 2026-01-01, input: 1}", ": row 1: needs the field 'output'"),
        ("- {model: 5, since: 2026-01-01, input: 1, output: 1}", ": row 1: model and source are texts"),
        (f"- {{{GOOD}, source: 7}}", ": row 1: model and source are texts"),
        ("- {model: m, since: soon, input: 1, output: 1}", ": row 1: since is 'soon'; a date such as 2026-11-01"),
        ("- {model: m, since: 2026, input: 1, output: 1}", ": row 1: since is '2026'; a date such as 2026-11-01"),
        (
            "- {model: m, since: 2026-01-01 10:00:00, input: 1, output: 1}",
            ": row 1: since is '2026-01-01 10:00:00'; a date such as 2026-11-01 is needed",
        ),
        ("- {model: m, since: 2026-01-01, input: -1, output: 1}", ": row 1: input is -1; a number of at least 0"),
        ("- {model: m, since: 2026-01-01, input: free, output: 1}", ": row 1: input is 'free'; a number of at least"),
        ("- {model: m, since: 2026-01-01, input: .nan, output: 1}", ": row 1: input is nan; a number of at least 0"),
        ("- {model: m, since: 2026-01-01, input: .inf, output: 1}", ": row 1: input is inf; a number of at least 0"),
        ("- {model: m, since: 2026-01-01, input: true, output: 1}", ": row 1: input is True; a number of at least 0"),
        ("- {model: m, since: 2026-01-01, input: null, output: 1}", ": row 1: input is None; a number of at least 0"),
        (f"- {{{GOOD}, read: -0.1}}", ": row 1: read is -0.1; a number of at least 0 is needed"),
        (f"- {{{GOOD}, minimum: 1.5}}", ": row 1: minimum is 1.5; a whole number of at least 0 is needed"),
        (f"- {{{GOOD}, above: many}}", ": row 1: above is 'many'; a whole number of at least 0 is needed"),
        ("- {model: m, since: 2026-02-31, input: 1, output: 1}", ": not YAML (day is out of range for month)"),
    ],
)
def test_a_faulty_file_is_refused_with_its_name_and_row(tmp_path, monkeypatch, text, told):
    path = file(tmp_path, text)
    monkeypatch.setenv("EVALKIT_PRICES", str(path))
    with pytest.raises(InputError) as caught:
        Prices.load()
    assert str(caught.value).startswith(f"{path}{told}")
    assert "\n" not in str(caught.value)


def test_prices_for_long_prompts_only_are_refused_and_a_band_may_be_overridden_alone(tmp_path):
    alone = "- {model: m, since: 2026-01-01, above: 100, input: 1, output: 1}"
    told = "prices: m since 2026-01-01: none for up to 100 tokens; add a row without 'above'"
    with pytest.raises(InputErrors) as caught:
        Prices.load(file(tmp_path, alone))
    assert caught.value.faults == (told,)
    band = "- {model: claude-haiku-5-5, since: 2026-09-01, above: 100000, input: 3, output: 4}"
    prices = Prices.load(file(tmp_path, band, "band.yaml"))
    assert [prices.of("claude-haiku-5-5", prompt=n).input for n in (100_000, 100_001)] == [0.10, 3]


def test_prices_that_a_provider_does_not_have_may_be_written_as_nothing(tmp_path):
    path = file(tmp_path, f"- {{{GOOD}, read: null, write_5m: null}}")
    assert Prices.load(path).of("m").read is None


def test_every_faulty_row_is_told_at_once(tmp_path):
    path = file(tmp_path, f"- 1\n- {{{GOOD}}}\n- {{{GOOD}, output: -1}}\n".replace("output: 1, output", "output"))
    with pytest.raises(InputErrors) as caught:
        Prices.load(path)
    assert caught.value.faults == (
        f"{path}: row 1: a mapping is needed",
        f"{path}: row 3: output is -1; a number of at least 0 is needed",
    )


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: folder / "nowhere.yaml", "cannot be read"),
        (lambda folder: folder, "cannot be read"),
        (lambda folder: (folder / "latin.yaml", (folder / "latin.yaml").write_bytes(b"- \xff"))[0], "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path, make, told):
    path = make(tmp_path)
    with pytest.raises(InputError, match=told) as caught:
        Prices.load(path)
    assert str(caught.value).startswith(f"{path}: ")
