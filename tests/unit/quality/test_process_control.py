"""Process control: forecasts, p-values, verdicts, against small references in plain Python."""

from __future__ import annotations

import base64
import datetime as dt
import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.config.quality import Checks
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.quality.checks import Compared, EarlierInputs, distribution, judged, volume
from dataops_assets.quality.control.calendar import design
from dataops_assets.quality.control.deliveries import kinds
from dataops_assets.quality.control.forecasts import Series, forecast
from dataops_assets.quality.control.judging import KINDS, drifts, judge, repetitions
from dataops_assets.quality.control.monitors import monitors, read
from dataops_assets.quality.control.novelty import novelties
from dataops_assets.quality.control.pvalues import FEWEST, calibrate, p_values, threshold
from dataops_assets.quality.control.scales import from_scale, to_scale
from dataops_assets.quality.control.verdicts import Judgement, Settings, judgements
from dataops_assets.quality.raw_checks import with_arrival
from dataops_assets.quality.shares import share_outcomes, share_profile

Floats = npt.NDArray[np.float64]
FIRST = dt.datetime(2023, 1, 2, tzinfo=dt.UTC)
WEEK = [0, 0.1, 0.05, 0.1, 0.2, -0.6, -1.0]
HOW = Settings(alarms_a_day=1 / 7, country="DE")


def days(number: int, first: dt.datetime = FIRST) -> list[dt.datetime]:
    return [first + dt.timedelta(days=day) for day in range(number)]


def profile(day: float, rows: int, *columns: ColumnProfile, version: str = "x") -> Profile:
    time = FIRST + dt.timedelta(days=day)
    return Profile("lake/sales", f"{time:%Y%m%dT%H%M%SZ}-{version}", rows, columns)


def amount(nulls: int, mean: float) -> ColumnProfile:
    return ColumnProfile("amount", "DOUBLE", nulls, 900, "0", "9", mean, 2.0)


def feed(number: int, seed: int = 1, level: float = 1000) -> list[Profile]:
    """Daily inputs with a week, and a column with few nulls."""
    chance = random.Random(seed)
    made = []
    for day in range(number):
        rows = round(level * math.exp(WEEK[day % 7] + chance.gauss(0, 0.02)))
        made.append(profile(day, rows, amount(round(rows * 0.02 * chance.uniform(0.8, 1.2)), chance.gauss(50, 0.5))))
    return made


def one(values: Sequence[float]) -> Series:
    row = np.array([values], dtype=float)
    return Series(row, np.zeros(row.shape), np.array([False]))


def of(values: Sequence[float]) -> Floats:
    return np.array([values], dtype=float)


# --- p-values ---


def ranked(known: Sequence[float], score: float) -> float:
    return (1 + sum(other >= score for other in known)) / (len(known) + 1)


@settings(max_examples=50)
@given(st.lists(st.integers(-30, 30) | st.floats(-1e6, 1e6), min_size=FEWEST + 1, max_size=40), st.integers(1, 40))
def test_of_exchangeable_scores_no_more_are_seldom_than_their_level_says(scores: list[float], times: int) -> None:
    """Each of n + 1 scores is tested against the others: at most a share `level` of them has a p-value up to it."""
    level = times / len(scores)
    found = [
        p_values(calibrate(of(scores[:place] + scores[place + 1 :]), keep_faults=True), np.array([score]))[0]
        for place, score in enumerate(scores)
    ]
    assert sum(p <= level * (1 + 1e-9) for p in found) <= times


@given(st.lists(st.floats(-50, 50), min_size=FEWEST, max_size=80), st.floats(-60, 60))
def test_a_p_value_is_the_rank_or_more_up_to_the_largest_score_and_less_beyond(
    known: list[float], score: float
) -> None:
    p = p_values(calibrate(of(known), keep_faults=True), np.array([score]))[0]
    if score <= max(known):
        assert p >= ranked(known, score) - 1e-12
    else:
        assert 0 < p <= ranked(known, score)


@given(
    st.lists(st.floats(-50, 50), min_size=FEWEST, max_size=80, unique=True),
    st.floats(-60, 60),
    st.floats(1e-6, 0.09),
)
def test_the_limit_is_where_the_p_value_reaches_the_level(known: list[float], score: float, level: float) -> None:
    calibration = calibrate(of(known))
    limit = threshold(calibration, level)[0]
    if abs(score - limit) > 1e-6 * (1 + abs(limit)):
        assert (p_values(calibration, np.array([score]))[0] <= level) == (score > limit)


def test_without_enough_scores_nothing_is_said() -> None:
    calibration = calibrate(of([float(score) for score in range(FEWEST - 1)]))
    assert np.isnan(p_values(calibration, np.array([1e9])))[0]
    assert np.isinf(threshold(calibration, 0.1))[0]


def test_a_fault_among_the_known_scores_does_not_hide_the_next() -> None:
    chance = random.Random(3)
    known = [abs(chance.gauss(0, 1)) for _ in range(100)]
    clean = p_values(calibrate(of(known)), np.array([6.0]))[0]
    assert p_values(calibrate(of([*known, 40.0])), np.array([6.0]))[0] < 2 * clean < 1e-3


# --- forecasts ---


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(40, 79), st.floats(-1e6, 1e6))
def test_no_point_is_part_of_its_own_forecast_nor_is_any_later_one(seed: int, point: int, other: float) -> None:
    values = np.random.default_rng(seed).normal(100, 5, 80)
    changed = values.copy()
    changed[point:] = other
    calendar = design(days(80))
    before, after = (forecast(one(list(item)), calendar, 7) for item in (values, changed))
    assert before.expected[0, point] == after.expected[0, point]
    assert before.deviation[0, point] == after.deviation[0, point]
    assert np.array_equal(before.scores[0, :point], after.scores[0, :point], equal_nan=True)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_verdicts_on_numbers_change_neither_with_the_unit_nor_with_an_offset(
    seed: int, factor: float, offset: float
) -> None:
    values = np.random.default_rng(seed).normal(0, 1, 90)
    calendar = design(days(90))
    plain, moved = (one(list(item)) for item in (values, values * factor + offset))
    first, second = (judge(item, forecast(item, calendar, 7), [89], 0.01)[0] for item in (plain, moved))
    assert second.p[0] == pytest.approx(first.p[0], rel=1e-4)
    assert second.high[0] == pytest.approx(first.high[0] * factor + offset, rel=1e-4, abs=1e-4 * factor)


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_monitors_judged_together_are_judged_as_alone(seed: int) -> None:
    values = np.random.default_rng(seed).normal(100, 5, (4, 70))
    values[1] *= 1000
    values[2, ::5] = np.nan
    calendar = design(days(70))
    together = forecast(Series(values, np.zeros(values.shape), np.zeros(4, dtype=bool)), calendar, 7)
    for row in range(4):
        alone = forecast(one(list(values[row])), calendar, 7)
        assert np.allclose(together.scores[row], alone.scores[0], rtol=1e-9, atol=1e-9, equal_nan=True)


def test_weekdays_are_learnt_and_the_trend_is_followed() -> None:
    values = [100 * WEEK[day % 7] + 0.3 * day for day in range(120)]
    found = forecast(one(values), design(days(120)), 7)
    assert np.abs(found.expected[0, 60:] - values[60:]).max() < 1.5


def test_a_new_level_is_odd_until_it_lasted_and_then_expected() -> None:
    chance = np.random.default_rng(2)
    values = list(chance.normal(100, 1, 80)) + list(chance.normal(140, 1, 40))
    series, calendar = one(values), design(days(120))
    found = forecast(series, calendar, 7)
    assert [item.p[0] < 1e-3 for item in judge(series, found, range(80, 84), 0.001)] == [True] * 4
    assert abs(found.expected[0, 90] - 140) < 3
    assert all(item.p[0] > 1e-3 for item in judge(series, found, range(90, 120), 0.001))
    # a person who says that it is normal does not have to wait
    told = forecast(series, calendar, 7, restarts={80})
    assert abs(told.expected[0, 82] - 140) < 5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [1e300, -1e300])
def test_a_value_more_deviations_away_than_a_number_can_say_is_odd(value: float) -> None:
    series = one([0.0] * 60 + [value])
    found = forecast(series, design(days(61)), 7)
    (judged_last,) = judge(series, found, range(60, 61), 0.001)
    assert judged_last.p[0] <= 1 / 60


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, math.nan]), max_size=30))
def test_repetitions_are_counted_over_gaps(values: list[float]) -> None:
    expected, last, run = [], math.nan, 0
    for value in values:
        if not math.isnan(value):
            run = run + 1 if value == last != 0 else 1
            last = value
        expected.append(0 if math.isnan(value) else run)
    assert repetitions(np.array([values], dtype=float).reshape(1, -1))[0].tolist() == expected


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30))
def test_a_drift_is_the_weighted_mean_of_limited_scores(scores: list[float]) -> None:
    mean = 0.0
    for score in scores:
        mean = 0.85 * mean + 0.15 * max(-3.0, min(3.0, score))
    assert drifts(of(scores))[0, -1] == pytest.approx(mean, abs=1e-9)


@given(st.floats(0, 1e9))
def test_scales_are_left_as_they_were_entered(value: float) -> None:
    assert from_scale("count", to_scale("count", np.array([value])))[0] == pytest.approx(value, rel=1e-6, abs=1e-6)
    share = value / 1e9
    assert from_scale("share", to_scale("share", np.array([share])))[0] == pytest.approx(share, abs=1e-9)


@given(st.lists(st.lists(st.floats(-6, 6), min_size=3, max_size=3), min_size=6, max_size=30))
def test_novelty_is_the_mean_distance_to_the_nearest_points_before(points: list[list[float]]) -> None:
    limited = [[max(-4.0, min(4.0, value)) for value in point] for point in points]
    found = novelties(np.array(points).T)
    assert np.isnan(found[:5]).all()
    for place in range(5, len(points)):
        nearest = sorted(math.dist(limited[place], other) for other in limited[:place])[:5]
        assert found[place] == pytest.approx(sum(nearest) / 5, abs=1e-4)


# --- inputs ---


@settings(max_examples=8)
@given(st.randoms(use_true_random=False), st.integers(0, 99))
def test_verdicts_depend_on_neither_the_order_of_arrival_nor_on_what_else_is_judged(
    chance: random.Random, seed: int
) -> None:
    known = feed(60, seed)
    shuffled = chance.sample(known, len(known))
    tested = chance.sample(known, 3)
    together = judgements(tested, shuffled, HOW)
    for item in tested:
        before = [other for other in known if other.input_id < item.input_id]
        # as if it had been the newest when it came
        alone = judgements([item], [*before, item], HOW)[item.input_id]
        assert alone == together[item.input_id]
        assert [one.sentence for one in alone.verdicts] == [one.sentence for one in together[item.input_id].verdicts]


class Notes:
    """A memory that counts what is written to it."""

    def __init__(self) -> None:
        self.state: bytes | None = None
        self.written = 0

    def read(self) -> bytes | None:
        return self.state

    def write(self, state: bytes) -> None:
        self.state, self.written = state, self.written + 1


def test_a_memory_saves_the_forecasts_before_and_changes_no_verdict() -> None:
    """Whatever happens to the inputs before: a new level, a late one, a removed one, one that is sent again."""
    made = feed(85)
    made = [
        *made[:40],
        *(replace(item, rows=item.rows * (2 if day < 70 else 4)) for day, item in enumerate(made[40:], 40)),
    ]
    daily = [(made[:number], HOW) for number in range(57, 81)]
    changed = [
        [*made[:30], replace(made[30], rows=made[30].rows // 2), *made[31:]],
        [item for item in made if item is not made[50]],
        [*made[:20], profile(19.5, 900, amount(9, 50)), *made[20:]],
    ]
    # each is judged after the usual ones, whose state is there
    other = [(made, replace(HOW, accept_after=dt.timedelta(days=30))), *((known, HOW) for known in changed)]
    notes = Notes()
    for known, how in [*daily, *(judged_next for one in other for judged_next in ((made, HOW), one))]:
        item = known[-1]
        kept, alone = (judgements([item], known, how, memory)[item.input_id] for memory in (notes, None))
        assert kept == alone
        assert repr((kept.trend, kept.distances)) == repr((alone.trend, alone.distances))
        if known is daily[-1][0]:
            # the first one, and one in sixteen after it
            assert notes.written == 2


@pytest.mark.parametrize(
    ("input_id", "extracted"),
    [
        ("2024-05-04_5f54de", "20240504T000000"),
        ("2024-05-04T061500_5f54de", "20240504T061500"),
        ("2024-05-04T061500.250000_5f54de", "20240504T061500.250000"),
        ("20240504T061500Z-5f54de01", "20240504T061500"),
        ("20240504T061500.250000Z-5f54de01", "20240504T061500.250000"),
        ("", ""),
    ],
)
def test_an_id_tells_when_the_input_was_extracted(input_id: str, extracted: str) -> None:
    assert Profile("lake/sales", input_id, 1, ()).extracted == extracted


def test_inputs_with_ids_of_either_form_are_one_history() -> None:
    known = feed(100)
    short = [
        replace(item, input_id=f"{FIRST + dt.timedelta(days=day):%Y-%m-%d}_{day:06}") for day, item in enumerate(known)
    ]
    mixed = known[:60] + short[60:]
    plain, other = (judgements([some[-1]], some, HOW)[some[-1].input_id] for some in (known, mixed))
    assert plain == other
    assert plain.verdicts


def test_versions_of_one_time_are_not_compared_with_each_other() -> None:
    known = feed(60)
    twice = replace(known[-1], input_id=known[-1].input_id + "2", rows=5)
    alone = judgements([known[-1]], known, HOW)[known[-1].input_id]
    both = judgements([known[-1], twice], [*known, twice], HOW)
    assert both[known[-1].input_id] == alone
    told = both[twice.input_id].of_rows
    assert told is not None
    assert told.is_alarm


def outcomes(known: Sequence[Profile], tested: Profile, **checks: object) -> tuple[tuple[bool, str], tuple[bool, str]]:
    declared = Checks.model_validate({"control": {"country": "DE"}, **checks})
    told = judged([tested], Compared([*known, tested], 1), declared)[tested.input_id]
    earlier = EarlierInputs(known).before(tested)
    found = (
        volume(tested, earlier, declared.volume, judgement=told),
        distribution(tested, earlier, declared.distribution, told),
    )
    return (found[0].passed, found[0].explanation), (found[1].passed, found[1].explanation)


def test_a_truncated_day_is_told_in_one_sentence_with_numbers() -> None:
    known = feed(100)
    usual = round(1000 * math.exp(WEEK[2]))
    passes, _ = outcomes(known, profile(100, usual, amount(20, 50.0)))
    assert passes[0], passes[1]
    assert passes[1].startswith(f"rows {usual:,}, expected ")
    failed, columns = outcomes(known, profile(100, 112, amount(2, 50.0)))
    assert not failed[0]
    assert failed[1].startswith("rows 112, expected ")
    assert failed[1].endswith(" on a Wednesday; lowest in 3 months")
    # what is normal on a Sunday is odd on a Wednesday
    sunday = round(1000 * math.exp(WEEK[6]))
    assert not outcomes(known, profile(100, sunday, amount(8, 50.0)))[0][0]
    assert columns[0], columns[1]


def test_nulls_and_means_are_judged_by_column() -> None:
    known = feed(100)
    rows = round(1000 * math.exp(WEEK[2]))
    _, nulls = outcomes(known, profile(100, rows, amount(200, 50.0)))
    assert not nulls[0]
    assert nulls[1].startswith("amount: null share 19.0%, expected ")
    _, means = outcomes(known, profile(100, rows, amount(20, 55.0)))
    assert not means[0]
    assert means[1].startswith("amount: mean 55, expected ")
    assert outcomes(known, profile(100, rows, amount(200, 55.0)), distribution={"ignore": ["amount"]})[1][0]


CITIES = {"Oslo": 0.5, "Rome": 0.3, "Bern": 0.2}


def in_cities(day: int, shares: Mapping[str, float], chance: random.Random, length: float = 4.2) -> Profile:
    """A thousand rows with the given shares of cities, as chance draws them."""
    drawn = Counter(chance.choices(list(shares), list(shares.values()), k=1000))
    city = ColumnProfile(
        "city", "VARCHAR", 0, len(drawn), "a", "z", None, None, chance.gauss(length, 0.05), dict(drawn)
    )
    return profile(day, 1000, city)


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        (CITIES, ""),
        # a new category, a lost one, and two that changed places
        ({"Oslo": 0.3, "Rome": 0.3, "Bern": 0.2, "OSLO": 0.2}, "city: shift of frequent values"),
        ({"Oslo": 0.7, "Rome": 0.3}, "city: shift of frequent values"),
        ({"Rome": 0.5, "Oslo": 0.3, "Bern": 0.2}, "city: shift of frequent values"),
    ],
)
def test_a_swap_of_categories_is_told(shares: dict[str, float], told: str) -> None:
    chance = random.Random(7)
    history = [in_cities(day, CITIES, chance) for day in range(60)]
    last = in_cities(60, shares, chance)
    found = judged([last], Compared(history, 1), Checks())[last.input_id]
    alarms = [f"{item.column}: {item.measure} {item.sentence}" for item in found.of_columns if item.is_alarm]
    assert [text[: len(told)] for text in alarms if "shift" in text] == ([told] if told else [])


def test_columns_that_are_a_little_odd_together_are_told() -> None:
    """None of them is an alarm by itself. The sentence says how far they are, and which is farthest."""
    chance = np.random.default_rng(4)

    def table(day: int, away: float) -> Profile:
        means = 100 + chance.normal(0, 1, 12) + away * chance.choice([-1, 1], 12)
        return profile(
            day, 1000, *(ColumnProfile(f"c{n}", "DOUBLE", 0, 900, "0", "9", m, 9.0) for n, m in enumerate(means))
        )

    history = [table(day, 0) for day in range(120)]
    for away, wanted in ((0.0, []), (2.6, ["all columns"])):
        last = table(120, away)
        found = judged([last], Compared(history, 1), Checks())[last.input_id]
        assert [item.column for item in found.of_columns if item.is_alarm] == wanted
    told = distribution(last, history[-30:], Checks().distribution, found).explanation
    assert re.fullmatch(
        r"all columns: distance to the inputs before [\d.]+ deviations, expected at most [\d.]+; farthest from "
        r"expected: c\d+ mean [\d.]+, c\d+ mean [\d.]+, c\d+ mean [\d.]+",
        told,
    )


def test_texts_that_become_longer_are_told() -> None:
    chance = random.Random(8)
    history = [in_cities(day, CITIES, chance) for day in range(60)]
    last = in_cities(60, CITIES, chance, length=5.2)
    found = judged([last], Compared(history, 1), Checks())[last.input_id]
    assert [item.measure for item in found.of_columns if item.is_alarm] == ["mean length"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [({}, []), ({"patterns": 0.2}, ["code: shift of patterns"]), ({"high": 90.0}, ["price: 95 % quantile"])],
)
def test_other_patterns_and_quantiles_are_told(changed: Mapping[str, float], told: list[str]) -> None:
    """The spelling of a fifth of the codes, and the most expensive prices without their mean."""
    chance = random.Random(9)

    def made(day: int, lost: float = 0.0, high: float = 80.0) -> Profile:
        drawn = Counter(chance.choices(["A-9", "A9", "a-9"], [0.9 - lost, 0.1, lost], k=1000))
        shares = {pattern: count / 1000 for pattern, count in drawn.items() if count}
        code = ColumnProfile("code", "VARCHAR", 0, 900, "A-1", "Z-9", None, None, 4.0, patterns=shares)
        ends = (chance.gauss(10, 0.5), chance.gauss(30, 0.5), chance.gauss(high, 1.0))
        price = ColumnProfile("price", "DOUBLE", 0, 900, "1", "99", chance.gauss(35, 0.5), 20.0, None, None, *ends)
        return profile(day, 1000, code, price)

    history = [made(day) for day in range(60)]
    last = made(60, changed.get("patterns", 0.0), changed.get("high", 80.0))
    found = judged([last], Compared(history, 1), Checks())[last.input_id]
    assert [f"{item.column}: {item.measure}" for item in found.of_columns if item.is_alarm] == told


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(1, 9), min_size=1), min_size=1, max_size=6))
def test_the_shift_is_the_share_of_rows_that_would_have_to_change(counts: list[dict[str, int]]) -> None:
    profiles = []
    for day, values in enumerate(counts):
        city = ColumnProfile("city", "VARCHAR", 0, len(values), "a", "z", None, None, 1.0, values)
        profiles.append(profile(day, sum(values.values()), city))
    found = [
        item.values
        for item in monitors(read(profiles), profiles[-1].columns)
        if item.measure == "shift of frequent values"
    ]
    if len(counts) == 1:
        assert not found
        return
    for place in range(1, len(counts)):
        own, shares = counts[place], [{v: n / sum(c.values()) for v, n in c.items()} for c in counts[:place]]
        usual = {value: sum(item.get(value, 0) for item in shares) / place for value in "abc"}
        # the rows that are too many of one value are those that are too few of others
        moved = sum(max(own.get(value, 0) / sum(own.values()) - usual[value], 0) for value in "abc")
        assert found[0][place] == pytest.approx(moved, abs=1e-9)


def test_the_newest_input_has_a_chart_that_says_the_same_in_words() -> None:
    known = feed(100)
    tested = [profile(100, 900, amount(20, 50.0)), profile(101, 112, amount(2, 50.0))]
    told = judged(tested, Compared([*known, *tested], 1), Checks())
    charts = [
        volume(item, EarlierInputs(known).before(item), Checks().volume, judgement=told[item.input_id]).chart
        for item in tested
    ]
    assert charts[0] == ""
    alternative, _, address = charts[1].removeprefix("![").removesuffix(")").partition("](")
    assert alternative.startswith("rows 112, expected ")
    form, _, content = address.partition(",")
    assert form == "data:image/svg+xml;base64"
    picture = ET.fromstring(base64.b64decode(content))  # noqa: S314 - it is our own
    title, *shapes = picture
    assert title.text == alternative
    kinds_of_shape = [item.tag.partition("}")[2] for item in shapes]
    assert kinds_of_shape[:2] == ["polygon", "polyline"]
    # the odd point is marked, and it is the last one
    marked = [item for item in shapes if item.tag.endswith("circle")]
    line = shapes[1].attrib["points"].split()
    assert len(line) == 60
    assert f"{marked[-1].attrib['cx']},{marked[-1].attrib['cy']}" == line[-1]
    assert len(charts[1]) < 8_000


def test_declared_limits_hold_beside_the_learnt_ones() -> None:
    known, rows = feed(100), round(1000 * math.exp(WEEK[2]))
    tested = profile(100, rows, amount(20, 50.0))
    assert outcomes(known, tested, volume={"max_rows": rows})[0][0]
    passed, explanation = outcomes(known, tested, volume={"max_rows": rows - 1})[0]
    assert (passed, explanation) == (False, f"rows {rows:,}, expected between 1 and {rows - 1:,}")


def test_with_few_inputs_the_limits_are_wide() -> None:
    known = feed(10)
    assert outcomes(known, profile(10, 300, amount(6, 50.0)))[0] == (
        True,
        "rows 300, expected between 105 and 10,425",
    )


def test_what_a_person_took_for_a_fault_is_no_history_unless_it_is_the_new_normal() -> None:
    known = feed(100)
    odd = [replace(item, rows=item.rows * 3) for item in known[80:]]
    tested, faulty = replace(odd[-1], input_id=f"{odd[-1].input_id}2"), {item.input_id for item in odd}

    def told(declared: dict[str, object]) -> Judgement:
        checks = Checks.model_validate({"control": declared})
        return judged([tested], Compared([*known[:80], *odd[:-1], tested], 1, faulty), checks)[tested.input_id]

    without = judged([tested], Compared([*known[:80], tested], 1), Checks())[tested.input_id]
    assert told({}) == without
    assert without.of_rows is not None
    assert without.of_rows.is_alarm
    declared = told({"new_normal": [(FIRST + dt.timedelta(days=80)).date()]}).of_rows
    assert declared is not None
    assert not declared.is_alarm


def test_a_public_holiday_is_expected_to_be_one() -> None:
    known = []
    for item in feed(250):
        day = item.input_id[4:8]
        # Good Friday, Easter Monday, Labour Day, Ascension, Whit Monday of 2023
        known.append(replace(item, rows=60) if day in ("0407", "0410", "0501", "0518", "0529") else item)
    tested = profile(274, 60, amount(1, 50.0))
    assert tested.input_id.startswith("20231003")
    passed, explanation = outcomes(known, tested)[0]
    assert passed, explanation
    assert " on Tag der Deutschen Einheit" in explanation or " on German Unity Day" in explanation


def test_a_missing_input_is_told_by_the_next_one() -> None:
    weekly = [replace(item, asset="raw/sales") for day, item in enumerate(feed(102)) if day % 7 < 5]
    found = judgements(weekly[60:], weekly, HOW)
    odd = {item.column for told in found.values() for item in told.verdicts if item.is_alarm}
    assert "inputs" not in odd, "no files on weekends are as usual"
    missing = [*weekly[:-2], weekly[-1]]
    told = next(
        item
        for item in judgements([missing[-1]], missing, HOW)[missing[-1].input_id].of_columns
        if item.column == "inputs"
    )
    assert told.is_alarm
    assert told.sentence.startswith("48, expected ")


def test_the_rows_of_a_hub_are_judged_and_a_maximum_is_that_of_one_input() -> None:
    """A hub that grows by some rows each day, and one that lost a tenth of them."""
    chance = random.Random(6)
    rows, history = 10_000, []
    for day in range(80):
        rows += chance.randint(80, 120)
        item = share_profile("hub/sales", profile(day, 0).input_id, rows, {"written": 100, "removed": 0})
        history.append(item)
    checks, newest = Checks.model_validate({"volume": {"max_rows": 500}}), profile(80, 0).input_id
    for now, is_usual in ((rows + 100, True), (round(rows * 0.9), False)):
        item = share_profile("hub/sales", newest, now, {"written": 100, "removed": 0})
        found = share_outcomes([item], Compared(history, 1), checks, ({}, {}), of_all_inputs=True)[newest][0]
        assert (found.check, found.passed, bool(found.chart)) == ("volume", is_usual, True)
        assert re.match(rf"rows {now:,}, expected 17,\d+ to 18,\d+ on a Thursday", found.explanation)
    assert not share_outcomes([item], Compared(history, 1), checks, ({}, {}))[newest][0].passed


@pytest.mark.parametrize(
    ("together", "last", "told"),
    [(0, 6.2, []), (0, 20.0, ["arrival"]), (40, 6.2, []), (40, 20.0, ["arrival"])],
)
def test_a_late_arrival_is_told_and_a_history_that_came_at_once_is_none(
    together: int, last: float, told: list[str]
) -> None:
    """Files of six in the morning; the first ones may have come on one later day together."""
    chance = random.Random(3)
    together_on = FIRST + dt.timedelta(days=together, hours=-1)

    def made(day: int, hours: float) -> Profile:
        item = profile(day, round(1000 * math.exp(chance.gauss(0, 0.02))))
        time = FIRST + dt.timedelta(days=day)
        arrival = together_on if day < together else time + dt.timedelta(hours=hours)
        return with_arrival(replace(item, asset="raw/sales"), time, arrival)

    days_known = together + 60
    history = [made(day, chance.gauss(6, 0.2)) for day in range(days_known)]
    newest = made(days_known, last)
    found = judged([newest], Compared(history, 1), Checks())[newest.input_id]
    alarms = [item.measure for item in found.of_columns if item.is_alarm]
    assert [text.rpartition(" ")[2] for text in alarms if text.startswith("hours")] == told
    sentences = [item.sentence for item in found.of_columns if item.measure == "hours from extract to arrival"]
    assert re.fullmatch(r"(6\.2|20), expected [45]\.\d+ to 6\.\d+ on a \w+(; .+)?", sentences[0])
    assert distribution(newest, history[:10], Checks().distribution, None).passed


def test_a_constant_may_move_a_little() -> None:
    constant = [profile(day, 1000) for day in range(100)]
    told = [
        judgements([item], [*constant, item], HOW)[item.input_id].of_rows
        for item in (profile(100, 1001), profile(100, 1))
    ]
    assert [item is not None and item.is_alarm for item in told] == [False, True]


def covering(day: int, first: int, last: int, rows: int) -> Profile:
    start, end = (FIRST + dt.timedelta(days=item) for item in (first, last))
    return profile(
        day, rows, ColumnProfile("sold_on", "DATE", 0, 1, f"{start:%Y-%m-%d}", f"{end:%Y-%m-%d}", None, None)
    )


def test_kinds_of_delivery_are_told_from_size_and_the_time_they_cover() -> None:
    regular = [covering(day, day, day, 1000 + day) for day in range(1, 60)]
    known = [covering(0, -700, 0, 700_000), *regular]
    assert kinds(known) == ["first load"] + ["regular"] * 59
    correction, backfill = covering(60, 20, 22, 25), covering(60, -30, 60, 80_000)
    truncated = covering(60, 60, 60, 25)
    assert [kinds([*known, item])[-1] for item in (correction, backfill, truncated)] == [
        "correction",
        "backfill",
        "regular",
    ]
    passed, explanation = outcomes(known, correction)[0]
    assert (passed, explanation) == (
        True,
        "rows 25, expected at least 1; a correction, so it is not compared with regular inputs",
    )
    assert not outcomes(known, truncated)[0][0]
    # it is no part of later baselines either
    later = [covering(day, day, day, 1000 + day) for day in range(61, 70)]
    with_it, without = (
        judgements([later[-1]], [*known, *more, *later], HOW)[later[-1].input_id] for more in ([correction], [])
    )
    assert with_it == without


def test_what_rests_by_nature_is_not_frozen() -> None:
    """A column of minutes: its estimated number of distinct values and its mean are those of the full hour again."""
    made = []
    for day, item in enumerate(feed(100)):
        is_full = day >= 95
        estimate, mean = (61, 29.5) if is_full else (60 + (day * 7) % 4, 29.5 + ((day * 13) % 7 - 3) / 500)
        minute = ColumnProfile("minute", "BIGINT", 0, estimate, "0", "59", mean, 17.3)
        made.append(replace(item, columns=(*item.columns, minute)))
    found = judgements(made[95:], made, HOW)
    told = [verdict for one in found.values() for verdict in one.of_columns if verdict.column == "minute"]
    assert len(told) == 3 * len(made[95:])
    assert not [verdict.sentence for verdict in told if "in a row" in verdict.sentence or verdict.is_alarm]
    many = [replace(item, columns=tuple(replace(one, distinct=5000) for one in item.columns)) for item in made]
    told = judgements([many[-1]], many, HOW)[many[-1].input_id].of_columns
    mean = next(one for one in told if one.column == "minute" and one.measure == "mean")
    assert "in a row" in mean.sentence


def test_a_frozen_column_and_a_slow_drift_are_seen() -> None:
    frozen = feed(100)
    stuck = frozen[95].columns
    frozen[96:] = [replace(item, columns=stuck) for item in frozen[96:]]
    _, told = outcomes(frozen[:-1], frozen[-1])
    assert not told[0]
    assert "the same value for 5 inputs in a row" in told[1]
    drifting = feed(130)
    slow = [
        replace(
            item, columns=(replace(item.columns[0], mean=(item.columns[0].mean or 0) + 0.12 * max(0, place - 100)),)
        )
        for place, item in enumerate(drifting)
    ]
    found = judgements(slow[60:], slow, HOW)
    odd = [place for place in range(60, 130) if any(item.is_alarm for item in found[slow[place].input_id].of_columns)]
    assert odd
    assert min(odd) > 100


def test_a_slow_drift_does_not_hide_itself_in_a_short_history() -> None:
    """Of 60 series with 54 points before, most drifts by a deviation a day are told in twelve days."""
    values = np.random.default_rng(5).normal(size=(60, 66))
    clean, level = values.copy(), 1 / 2000
    values[:, 54:] += np.arange(1, 13)
    told = []
    for some in (values, clean):
        series = Series(some, np.zeros(some.shape), np.zeros(60, dtype=bool))
        found = judge(series, forecast(series, design(days(66)), 7), range(54, 66), level)
        told.append(np.array([(item.p <= level) & (item.kind == KINDS.index("drift")) for item in found]).any(axis=0))
    assert told[0].mean() > 0.55
    assert not told[1].any()


def alarms(values: Floats, level: float) -> tuple[int, float]:
    """How many verdicts are alarms, and how many should be at most."""
    series = Series(values, np.zeros(values.shape), np.zeros(len(values), dtype=bool))
    found = judge(series, forecast(series, design(days(values.shape[1])), 7), range(120, values.shape[1], 3), level)
    return sum(int((item.p <= level).sum()) for item in found), level * len(found) * len(values)


def test_the_budget_of_false_alarms_holds() -> None:
    """Also beyond what ranks alone can tell: a level of 1 in 2,000 after at most 300 points."""
    chance = np.random.default_rng(11)
    values = np.concatenate([chance.normal(size=(80, 300)), chance.standard_t(6, (40, 300))])
    found, most = alarms(values, 1 / 2000)
    assert found <= most


@pytest.mark.parametrize("freedom", [None, 6], ids=["normal", "heavy tails"])
def test_a_false_alarm_a_week_is_kept_by_the_setting_that_says_so(freedom: int | None) -> None:
    """From the declared setting to the warnings of a table in 50 weeks: it is one of the five tables of one source."""
    chance = np.random.default_rng(21)
    weeks, known = 50, 150
    shape = (13, known + 7 * weeks)
    noise = chance.normal(size=shape) if freedom is None else chance.standard_t(freedom, shape)
    made = []
    for day, odd in enumerate(noise.T):
        rows = round(1000 * math.exp(WEEK[day % 7] + 0.03 * odd[0]))
        columns = (
            ColumnProfile(
                f"c{n}", "DOUBLE", round(rows * 0.02 * math.exp(odd[n + 6] / 5)), 900, "0", "9", 50 + odd[n], 9.0
            )
            for n in range(1, 7)
        )
        made.append(profile(day, rows, *columns))

    def raised(setting: str) -> int:
        checks = Checks.model_validate({"control": {"false_alarms": setting}})
        told = judged(made[known:], Compared(made, 1), checks)
        return sum(verdict.is_alarm for one in told.values() for verdict in one.verdicts)

    assert raised("1 a week") <= weeks / 5 < raised("50 a week")


def test_up_to_what_ranks_tell_the_budget_holds_whatever_the_distribution_is() -> None:
    chance = np.random.default_rng(12)
    for values in (chance.standard_t(2, (60, 240)), chance.exponential(size=(60, 240)) ** 2):
        found, most = alarms(values, 0.05)
        assert found <= 1.2 * most


def test_an_input_without_a_judgement_is_compared_with_the_median() -> None:
    known = feed(3)
    assert volume(profile(9, 5), known, Checks().volume, judgement=Judgement()).passed is False


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"country": "XX"}, "'XX' has no known holidays"),
        ({"country": "DE-XX"}, "DE has no part 'XX'"),
        ({"false_alarms": "seldom"}, "should match pattern"),
    ],
)
def test_settings_that_mean_nothing_are_refused(declared: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Checks.model_validate({"control": declared})


@pytest.mark.parametrize("slope", [0.0, 1.0, 1000.0])
def test_means_under_a_steep_trend_are_judged_by_their_noise(slope: float) -> None:
    """The mean of an id that grows by a thousand deviations a day: a jump of eight deviations is seen all the same."""
    values = slope * np.arange(160) + np.random.default_rng(2).normal(0, 1, 160)
    found = judge(one(values.tolist()), forecast(one(values.tolist()), design(days(160)), 7), range(60, 160), 1 / 500)
    assert [place for place, item in enumerate(found) if item.p[0] <= 1 / 500] == []
    values[-1] += 8
    series = one(values.tolist())
    assert judge(series, forecast(series, design(days(160)), 7), [159], 1 / 500)[0].p[0] <= 1 / 500
    # how far it went while an input was missing is not known, and the input after that is as usual again
    values[-1] += 8
    missing = [*range(150), *range(152, 160)]
    times, series = [days(160)[place] for place in missing], one(values[missing].tolist())
    found = judge(series, forecast(series, design(times), 7), [150, 151, 157], 1 / 500)
    assert [bool(item.p[0] <= 1 / 500) for item in found] == [False, False, True]


@pytest.mark.parametrize(("apart", "number"), [(7, 260), (None, 72)], ids=["weekly", "monthly"])
@pytest.mark.parametrize("shape", ["wave", "december"])
def test_the_season_of_a_year_is_expected_after_some_years(apart: int | None, number: int, shape: str) -> None:
    """A third more in summer, or twice as much in December, and then a month as any other where more is expected."""
    first = dt.datetime(2015, 1, 5, tzinfo=dt.UTC)
    times = [
        first + dt.timedelta(days=apart * place)
        if apart
        else first.replace(year=2015 + place // 12, month=1 + place % 12)
        for place in range(number)
    ]
    while times[-1].month != (7 if shape == "wave" else 12):
        times.pop()
    times += [times[-1]]
    season = [
        0.3 * math.cos(2 * math.pi * (time.timetuple().tm_yday - 196) / 365.25)
        if shape == "wave"
        else 0.7 * (time.month == 12)
        for time in times
    ]
    chance = random.Random(1)
    noise = [chance.gauss(0, 0.03) for _ in times]
    usual = [math.exp(8 + more + odd) for more, odd in zip(season, noise, strict=True)]
    outcomes = []
    for last in (usual[-1], 0.6 * usual[-1]):
        values = to_scale("count", np.array([[*usual[:-1], last]]))
        series = Series(values, np.zeros(values.shape), np.array([True]))
        (judged_last,) = judge(series, forecast(series, design(times), 7), [len(times) - 1], 1 / 100)
        outcomes.append(bool(judged_last.p[0] <= 1 / 100))
    assert outcomes == [False, True]
