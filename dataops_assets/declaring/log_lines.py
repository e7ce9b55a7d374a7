"""Recognises logs of common forms: of web servers, of applications with a level, of syslog."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LEAST_LINES = 3
# a record of a log can have more lines, such as a stack trace
_LEAST_SHARE = 0.5
FORMS = (
    r'(?P<host>\S+) (?P<identity>\S+) (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>[^"]*)" (?P<status>\d{3}) '
    r'(?P<bytes>\d+|-)(?: "(?P<referrer>[^"]*)" "(?P<agent>[^"]*)")?',
    r"(?P<time>\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?) +\[?"
    r"(?P<level>TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\]? *(?P<message>.*)",
    r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2}) (?P<host>\S+) (?P<process>[^:\[]+)(?:\[(?P<pid>\d+)\])?: "
    r"(?P<message>.*)",
)
"""Regular expressions of the first line of a record, with its fields as named groups."""


def form_of(samples: Sequence[str]) -> str:
    """Return the form of texts, of which each begins with a record; empty if they have none of these."""
    of_texts = [[line for line in text.splitlines() if line.strip()] for text in samples]
    for form in FORMS:
        pattern = re.compile(form)
        found = [[pattern.fullmatch(line) is not None for line in lines] for lines in of_texts]
        matched, lines = sum(map(sum, found)), sum(map(len, found))
        if all(some[0] for some in found if some) and matched >= max(_LEAST_LINES, _LEAST_SHARE * lines):
            return form
    return ""
