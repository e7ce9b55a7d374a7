"""The type of the fixture `drafted`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dataops_assets.declaring.draft import Draft

Drafting = Callable[[Mapping[str, str | bytes]], Draft]
