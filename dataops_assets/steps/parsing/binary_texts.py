"""Reads bytes that are written as text: in UTF-8, in hexadecimal digits, or in base64 (RFC 4648, section 4).

A text that another tool would write as other text is no value: digits must be pairs, and base64 must be complete, with
its padding. So the bytes can be written as the text again.
"""

from __future__ import annotations

from sqlglot import exp

from dataops_assets.config.contract import BinaryFormat
from dataops_assets.sql import computed_once, query

# PostgreSQL writes \x before the digits, SQL Server 0x
_HEX = r"\A\s*(\\x|0[xX])?([0-9A-Fa-f]*)\s*\z"
# the sign before the padding has no more bits than the bytes
_BASE64 = r"\A[A-Za-z0-9+/]*([AQgw]==|[AEIMQUYcgkosw048]=)?\z"


def bytes_of_text(text: exp.Expression, form: BinaryFormat) -> exp.Expression:
    """Convert a text to bytes; null if it is not written in the format."""
    if form == "hex":
        # pairs are counted, because Spark's matching of a repeated group needs a stack as deep as the text is long
        digits = query(
            "CASE WHEN regexp_full_match($text, $hex) THEN regexp_extract($text, $hex, 2) END", text=text, hex=_HEX
        )
        return computed_once("s_digits", digits, query("CASE WHEN length(s_digits) % 2 = 0 THEN unhex(s_digits) END"))
    if form == "base64":
        complete = query(
            "CASE WHEN length(s_trimmed) % 4 = 0 AND regexp_full_match(s_trimmed, $base64) "
            "THEN from_base64(s_trimmed) END",
            base64=_BASE64,
        )
        return computed_once("s_trimmed", query("trim($text)", text=text), complete)
    return query("encode($text)", text=text)
