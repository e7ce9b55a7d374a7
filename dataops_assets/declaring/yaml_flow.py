"""Writes a value of YAML on one line."""

from __future__ import annotations

from typing import Any

import yaml


def flow(value: Any) -> str:
    """Return a value as YAML on one line, in the order of its keys."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    return text.removesuffix("...\n").strip()
