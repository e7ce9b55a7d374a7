"""Kinds of personal data: by the name of the column, and by the form of its values.

A kind by form needs most values to have the form, and a check digit where there is one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

from dataops_assets.declaring.health.finding import ColumnView, Finding

_MOST = 0.8
_EMAIL = re.compile(r"[\w.+%'-]+@[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,}")
_PHONE = re.compile(r"(\+|00)?[0-9(][0-9 ()/.-]{6,18}[0-9]")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_SSN = re.compile(r"(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}")
_NAMES = {
    "email": re.compile(r"e[-_ ]?mail"),
    "phone": re.compile(r"(^|[_ ])(tele)?(phone|fon|mobile|mobil|handy|fax)([_ ]?(no|nr|number|num))?$"),
    "name": re.compile(
        r"(^|[_ ])(first|last|sur|given|family|middle|maiden|full|nach|vor)[_ ]?name$|^customer[_ ]name$"
    ),
    "birth date": re.compile(r"birth[_ ]?(date|day)|date[_ ]of[_ ]birth|^dob$|geburts"),
    "address": re.compile(r"(^|[_ ])(street|address|strasse|stra\u00dfe)([_ ]?(line)?[_ ]?[0-9]?)?$"),
    "ssn": re.compile(r"(^|[_ ])ssn$|social[_ ]security|national[_ ]id|passport|tax[_ ]id$"),
    "secret": re.compile(r"(^|[_ ])(password|passwd|pwd|secret|api[_ ]key|token)$"),
    "iban": re.compile(r"(^|[_ ])iban$|account[_ ](no|nr|number)$"),
    "card": re.compile(r"(credit[_ ]?)?card[_ ](no|nr|number|num)$|^(credit[_ ]?card|pan|cvv|cvc)$"),
    "gender": re.compile(r"^(gender|sex|religion|ethnicity|nationality)$"),
}
_LENGTHS = {
    "DE": 22,
    "AT": 20,
    "CH": 21,
    "FR": 27,
    "GB": 22,
    "NL": 18,
    "BE": 16,
    "ES": 24,
    "IT": 27,
    "PL": 28,
    "SE": 24,
}


def by_name(view: ColumnView) -> Finding | None:
    """A column whose name tells of personal data."""
    kind = named_kind(view.declared.name)
    if not kind or not view.facts.present:
        return None
    what = f"the name tells of personal data ({kind}): the column is tagged pii, so its values are masked"
    return Finding("personal_by_name", view.declared.name, what, view.facts.present)


def named_kind(name: str) -> str:
    """Return the kind of personal data that the name of a column tells of; empty if it tells of none."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
    return next((kind for kind, pattern in _NAMES.items() if pattern.search(words)), "")


def emails(view: ColumnView) -> Finding | None:
    """E-mail addresses."""
    return _found(view, "personal_email", "e-mail addresses", lambda text: bool(_EMAIL.fullmatch(text)))


def emails_in_text(view: ColumnView) -> Finding | None:
    """E-mail addresses within free text."""
    if not view.is_text or emails(view) is not None:
        return None
    bad = [text for text in view.words if _EMAIL.search(text)]
    found = view.found("personal_email_in_text", "some texts have e-mail addresses in them", bad)
    return None if found is None else _masked(found)


def phones(view: ColumnView) -> Finding | None:
    """Telephone numbers: with a plus, or with marks between groups of digits."""

    def is_phone(text: str) -> bool:
        digits = sum(sign.isdigit() for sign in text)
        marks = text.startswith("+") or bool(re.search(r"[0-9)][ ()/-]+[0-9(]", text))
        is_other = re.fullmatch(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*", text) or _SSN.fullmatch(text)
        return 7 <= digits <= 15 and marks and bool(_PHONE.fullmatch(text)) and not is_other and not _is_card(text)

    def looks_so(text: str) -> bool:
        return is_phone(text) and (text.startswith(("+", "(", "0")) or named_kind(view.declared.name) == "phone")

    return _found(view, "personal_phone", "telephone numbers", looks_so) or _found(
        view, "personal_phone", "telephone numbers", _is_american
    )


def _is_american(text: str) -> bool:
    return bool(re.fullmatch(r"(\+?1[ .-])?(\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}", text))


def ibans(view: ColumnView) -> Finding | None:
    """Bank accounts (IBAN) with a valid check number."""
    return _found(view, "personal_iban", "bank accounts (IBAN)", _is_iban)


def cards(view: ColumnView) -> Finding | None:
    """Numbers of payment cards with a valid check digit (Luhn)."""
    return _found(view, "personal_card", "numbers of payment cards", _is_card, share=0.95)


def social_security_numbers(view: ColumnView) -> Finding | None:
    """Social security numbers of the United States."""
    return _found(view, "personal_ssn", "social security numbers", lambda text: bool(_SSN.fullmatch(text)))


def ip_addresses(view: ColumnView) -> Finding | None:
    """Addresses of computers, which stand for persons, too."""
    return _found(view, "personal_ip", "IP addresses", _is_address)


def _found(view: ColumnView, kind: str, what: str, test: Callable[[str], bool], share: float = _MOST) -> Finding | None:
    if view.family not in ("text", "integer") or len(view.words) < 3:
        return None
    good = [text for text in view.words if test(text.strip())]
    if len(good) < share * len(view.words):
        return None
    found = view.found(kind, f"values are {what}: the column is tagged pii, so its values are masked", good)
    return None if found is None else _masked(found)


def _masked(found: Finding) -> Finding:
    """Return the finding without the values, which nobody may see in a log."""
    return Finding(found.kind, found.column, found.what, found.rows)


def _is_iban(text: str) -> bool:
    plain = text.replace(" ", "")
    if not _IBAN.fullmatch(plain) or len(plain) != _LENGTHS.get(plain[:2], len(plain)):
        return False
    digits = "".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])
    return int(digits) % 97 == 1


def _is_card(text: str) -> bool:
    plain = re.sub(r"[ -]", "", text)
    if not re.fullmatch(
        r"(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|2[2-7][0-9]{14}|3[47][0-9]{13}|6[05][0-9]{14})", plain
    ):
        return False
    doubled = [int(sign) * (1 + place % 2) for place, sign in enumerate(reversed(plain))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def _is_address(text: str) -> bool:
    if "." not in text and text.count(":") < 2:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


KINDS: Sequence[Callable[[ColumnView], Finding | None]] = (
    by_name,
    emails,
    emails_in_text,
    phones,
    ibans,
    cards,
    social_security_numbers,
    ip_addresses,
)


def pii_of(findings: Sequence[Finding], name: str) -> str:
    """Return the value of the tag `pii` for a column; empty if nothing personal was found in it."""
    kinds = [item.kind for item in findings if item.column == name and item.kind.startswith("personal_")]
    by_form = [kind.removeprefix("personal_") for kind in kinds if kind != "personal_by_name"]
    return by_form[0] if by_form else named_kind(name) if kinds else ""
