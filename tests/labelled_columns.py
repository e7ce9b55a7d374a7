"""Columns with labels: what is unhealthy in each, made at random from a seed; and clean columns, which have no label.

A column of a kind is a clean one with a few values replaced, so that a kind has to find little among much.
"""

from __future__ import annotations

import datetime as dt
import random
import string
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

TODAY = dt.date(2024, 6, 1)
ROWS = 300
CITIES = ("Oslo", "Rome", "Bern", "Lyon", "Graz", "Porto", "Kiel", "Turku", "Gent", "Brno", "Cork", "Bath")
WORDS = (
    *("the", "order", "was", "late", "again", "customer", "called", "about", "delivery", "of", "goods", "please"),
    *("send", "invoice", "to", "new", "office", "thank", "you", "for", "help", "with", "parcel", "return"),
)
CODES = ("DE", "FR", "IT", "ES", "NO", "SE", "PL", "AT", "CH", "NL", "BE", "NA", "US", "CA")
FIRST = ("Ann", "Bob", "Eva", "Ole", "Ida", "Max", "Leo", "Mia", "Kim", "Zoe", "Ben", "Amy")


@dataclass(frozen=True)
class Labelled:
    """A column, the kinds that must be found in it, and kinds that may be found beside them."""

    name: str
    values: Sequence[str | None]
    labels: frozenset[str] = frozenset()
    may: frozenset[str] = field(default_factory=frozenset)


def clean(draw: random.Random) -> Iterator[Labelled]:
    """Columns in which nothing is unhealthy, near to what the kinds look for."""

    def column(name: str, one: Callable[[], str | None]) -> Labelled:
        return Labelled(name, [one() for _ in range(ROWS)])

    first = draw.randint(1, 5000)
    yield Labelled("order_id", [str(first + place) for place in range(ROWS)])
    yield Labelled("ref", [str(uuid.UUID(int=draw.getrandbits(128))) for _ in range(ROWS)])
    yield column("status", lambda: draw.choice(["open", "closed", "in progress"]))
    yield column("city", lambda: draw.choice(CITIES))
    yield column("country", lambda: draw.choice(CODES))
    yield column("zip", lambda: f"{draw.randint(0, 99999):05}")
    yield column("price", lambda: f"{draw.lognormvariate(3, 1):.2f}")
    yield column("income", lambda: f"{draw.paretovariate(1.6) * 1000:.0f}")
    yield column("quantity", lambda: str(draw.choice([1, 1, 1, 1, 2, 2, 3, 5, 10])))
    yield column("temperature", lambda: f"{draw.gauss(9, 9):.1f}")
    yield column("profit", lambda: f"{draw.gauss(100, 90):.2f}")
    yield column("share", lambda: f"{draw.random():.4f}")
    yield column("latitude", lambda: f"{draw.uniform(-90, 90):.5f}")
    yield column("year", lambda: str(draw.randint(1990, 2024)))
    yield column("day", lambda: _day(draw, 2019, 2023))
    yield column("born_on", lambda: _day(draw, 1930, 2005))
    yield column("due_on", lambda: _day(draw, 2024, 2026))
    yield column("created_at", lambda: f"{_day(draw, 2020, 2023)} {_clock(draw)}")
    yield column("german_day", lambda: f"{draw.randint(1, 28):02}.{draw.randint(1, 12):02}.{draw.randint(2019, 2023)}")
    yield column("active", lambda: draw.choice(["yes", "no"]))
    yield column("flag", lambda: draw.choice("01"))
    yield column("note", lambda: draw.choice([None, _sentence(draw), _sentence(draw)]))
    yield column("sku", lambda: _code(draw))
    yield column("grade", lambda: draw.choice(["A", "B", "C", "A+", "B-"]))
    yield column("version", lambda: f"{draw.randint(0, 3)}.{draw.randint(0, 20)}.{draw.randint(0, 9)}")
    yield column("url", lambda: f"https://example.com/{draw.choice(WORDS)}/{draw.randint(1, 999)}")
    yield column("size", lambda: draw.choice(["S", "M", "L", "XL"]))
    yield column("rare", lambda: "x" if draw.random() < 0.3 else None)
    yield column("amount", lambda: str(draw.randint(0, 100_000)))
    yield column("delta", lambda: str(draw.randint(-50, 50)))
    yield column("product", lambda: f"{draw.choice(WORDS)} {draw.choice(WORDS)} {draw.randint(10, 99)}")
    yield column("model", lambda: f"{draw.choice('ABC')}{draw.randint(1, 9)}{draw.choice(['', 'x', '-S'])}")
    yield column("account", lambda: str(draw.randint(10**15, 10**16 - 1)))
    yield column("iso", lambda: f"{draw.randint(100, 999)}-{draw.randint(1000, 9999)}")
    yield column("rating", lambda: str(draw.randint(1, 5)))
    yield column("score", lambda: str(draw.choice([0, 0, 0, draw.randint(1, 1000)])))
    yield column("hour", lambda: f"{draw.randint(0, 23):02}:{draw.randint(0, 59):02}")
    yield column("route", lambda: f"{draw.choice(WORDS).title()} Road {draw.randint(1, 99)}")


def _day(draw: random.Random, first: int, last: int) -> str:
    return (dt.date(first, 1, 1) + dt.timedelta(days=draw.randrange((last - first + 1) * 365))).isoformat()


def _clock(draw: random.Random) -> str:
    return f"{draw.randint(0, 23):02}:{draw.randint(0, 59):02}:{draw.randint(0, 59):02}"


def _sentence(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(4, 12)))


def _code(draw: random.Random) -> str:
    return "".join(draw.choices(string.ascii_uppercase, k=2)) + f"-{draw.randint(0, 9999):04}"


# --- the kinds -------------------------------------------------------------------------------------------------------


def _with(
    values: Sequence[str | None], draw: random.Random, change: Callable[[str], str], count: int
) -> list[str | None]:
    """The values, some of them changed."""
    changed = list(values)
    for place in draw.sample([place for place, value in enumerate(values) if value], count):
        changed[place] = change(str(values[place]))
    return changed


def labelled(draw: random.Random) -> Iterator[Labelled]:
    """A column of each kind."""

    def many(one: Callable[[], str]) -> list[str | None]:
        return [one() for _ in range(ROWS)]

    def of(kind: str, name: str, values: Sequence[str | None], *may: str) -> Labelled:
        return Labelled(name, values, frozenset((kind,)), frozenset(may))

    few = draw.randint(2, 5)
    cities = many(lambda: draw.choice(CITIES))
    notes = many(lambda: _sentence(draw))
    codes = many(lambda: _code(draw))
    prices = many(lambda: f"{draw.uniform(5, 99):.2f}")
    counts = many(lambda: str(draw.randint(10, 90)))
    days = many(lambda: _day(draw, 2019, 2023))
    yield of("blanks_at_ends", "city", _with(cities, draw, lambda text: text + " ", few), "similar_categories")
    yield of("blank_texts", "city", _with(cities, draw, lambda _: "  ", few))
    yield of("repeated_blanks", "note", _with(notes, draw, lambda text: text.replace(" ", "  ", 1), few))
    strange = draw.choice("\u00a0\u200b\ufeff\u2009")
    yield of("non_standard_blanks", "note", _with(notes, draw, lambda text: text.replace(" ", strange, 1), few))
    control = draw.choice("\x00\x07\x1b\x7f")
    yield of("control_characters", "note", _with(notes, draw, lambda text: text[:3] + control + text[3:], few))
    broken = draw.choice(["Zürich", "Málaga", "Köln", "Gijón"]).encode().decode("cp1252", "replace")
    yield of("mojibake", "city", _with(cities, draw, lambda _: broken, few))
    yield of("markup", "note", _with(notes, draw, lambda text: f"{text} &amp; co<br>", few))
    yield of("spreadsheet_errors", "city", _with(cities, draw, lambda _: "#REF!", few), "null_words_in_text")
    ids = many(lambda: str(draw.randint(10**11, 10**12)))
    yield of(
        "scientific_codes",
        "serial",
        _with(ids, draw, lambda text: f"{text[0]}.{text[1:3]}E+11", few),
        "another_pattern",
    )
    yield of("kept_quotes", "city", _with(cities, draw, lambda text: f"'{text}'", few), "similar_categories")
    long = many(lambda: " ".join(draw.choices(WORDS, k=draw.randint(3, 14))))
    yield of("cut_texts", "note", [(text or "")[:30] for text in long], "blanks_at_ends")
    tags = many(lambda: ";".join(draw.sample(["red", "blue", "wool", "silk"], draw.randint(1, 3))))
    yield of("lists_in_values", "tags", tags)
    yield of("line_breaks", "note", _with(notes, draw, lambda text: text.replace(" ", "\n", 1), few))
    yield of("case_variants", "city", _with(cities, draw, str.upper, few))
    yield of("similar_categories", "city", _with(cities, draw, lambda text: f"{text}.", few))
    words = draw.choice([["Y", "yes", "no", "N"], ["true", "false", "yes"], ["J", "ja", "nein"]])
    yield of("yes_no_variants", "active", many(lambda: draw.choice(words)))
    word = draw.choice(["N/A", "unknown", "NULL", "none", "-", "?"])
    yield of("null_words_in_text", "city", _with(cities, draw, lambda _: word, few))
    mixed = draw.choice([counts, days])
    yield of(
        "mixed_types",
        "value",
        _with(mixed, draw, lambda _: draw.choice(["abc", "twelve", "see note"]), few),
        "text_in_codes",
    )
    yield of("another_pattern", "sku", _with(codes, draw, lambda text: f"{text[3:]}/{text[:2]}", few))
    upper = many(lambda: draw.choice(["EUR", "USD", "GBP", "CHF"]))
    yield of("mixed_case_codes", "currency", _with(upper, draw, str.lower, few), "case_variants", "another_pattern")
    yield of(
        "text_in_codes",
        "sku",
        _with(codes, draw, lambda _: "please ask the warehouse about this", few),
        "another_pattern",
        "almost_unique",
    )
    zips = many(lambda: f"{draw.choice([0, draw.randint(1, 9)])}{draw.randint(1000, 9999)}")
    lost = [str(int(text or "")) if draw.random() < 0.1 else text for text in zips]
    yield of("lost_zeros", "zip", [*lost[:-2], "01234", "1234"], "another_pattern")
    yield of("constant", "branch", ["7"] * ROWS)
    keys: list[str | None] = [f"K{place:05}" for place in range(ROWS)]
    yield of("almost_unique", "order_id", [*keys[:-few], *keys[:few]])
    yield of("no_values", "spare", [None] * ROWS)
    yield of("mostly_null", "spare", ["x", "y", *[None] * (ROWS - 2)])
    stand_in = draw.choice(["-999", "9999", "99999", "-9999"])
    yield of("stand_in_numbers", "value", _with(counts, draw, lambda _: stand_in, few), "negatives", "outliers")
    yield of("outliers", "price", _with(prices, draw, lambda text: text.replace(".", "") + "700.00", 1))
    yield of("negatives", "quantity", _with(counts, draw, lambda text: f"-{text}", 1))
    unit = draw.choice([" EUR", " kg", "€", "%"])
    yield of("numbers_with_units", "value", [f"{text}{unit}" for text in prices])
    yield of(
        "thousands_marks",
        "value",
        [f"{int(text or 0):,},{draw.randint(100, 999)}" for text in counts],
        "decimal_commas",
    )
    yield of(
        "decimal_commas", "value", [(text or "").replace(".", ",") if draw.random() < 0.3 else text for text in prices]
    )
    yield of(
        "signs_after_numbers",
        "value",
        _with(prices, draw, lambda text: f"{text}-", few),
        "mixed_types",
        "another_pattern",
    )
    never = draw.choice(["9999-12-31", "1900-01-01", "1970-01-01"])
    yield of("stand_in_dates", "valid_to", _with(days, draw, lambda _: never, few))
    yield of("future_dates", "ordered_on", _with(days, draw, lambda _: f"2031-0{draw.randint(1, 9)}-01", few))
    yield of("unlikely_dates", "ordered_on", _with(days, draw, lambda _: f"0{draw.randint(201, 219)}-03-01", few))
    yield of("midnights", "ordered_at", [f"{day} 00:00:00" for day in days])
    german = [f"{day[8:]}.{day[5:7]}.{day[:4]}" if draw.random() < 0.2 else day for day in map(str, days)]
    yield of("two_date_formats", "day", german)
    yield of("unclear_dates", "day", many(lambda: f"{draw.randint(1, 12):02}/{draw.randint(1, 12):02}/2023"))
    yield of("impossible_dates", "day", _with(days, draw, lambda _: "2023-02-30", few), "mixed_types")
    yield of(
        "personal_by_name",
        draw.choice(["first_name", "LastName", "date_of_birth", "password"]),
        many(lambda: draw.choice(FIRST)),
    )
    mails = many(lambda: f"{draw.choice(FIRST).lower()}.{draw.randint(1, 99)}@example.com")
    yield of("personal_email", "contact", mails)
    yield of("personal_email_in_text", "note", _with(notes, draw, lambda text: f"{text} to a.b@example.org", few))
    calls = [
        lambda: f"+49 {draw.randint(151, 179)} {draw.randint(1000000, 9999999)}",
        lambda: f"({draw.randint(201, 989)}) {draw.randint(200, 999)}-{draw.randint(1000, 9999)}",
    ]
    yield of("personal_phone", "contact", many(draw.choice(calls)))
    yield of("personal_iban", "bank", many(lambda: _iban(draw)))
    yield of("personal_card", "paid_with", many(lambda: _card(draw)))
    ssn = many(lambda: f"{draw.randint(101, 665)}-{draw.randint(10, 99)}-{draw.randint(1000, 9999)}")
    yield of("personal_ssn", "reference", ssn)
    yield of("personal_ip", "client", many(lambda: ".".join(str(draw.randint(1, 254)) for _ in range(4))))


def _iban(draw: random.Random) -> str:
    account = f"{draw.randint(0, 10**18 - 1):018}"
    check = 98 - int(account + "131400") % 97
    return f"DE{check:02}{account}"


def _card(draw: random.Random) -> str:
    digits = [4, *(draw.randint(0, 9) for _ in range(14))]
    doubled = [digit * (2 - place % 2) for place, digit in enumerate(digits)]
    total = sum(number - 9 if number > 9 else number for number in doubled)
    return "".join(map(str, digits)) + str(-total % 10)
