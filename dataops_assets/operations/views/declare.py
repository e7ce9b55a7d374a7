"""Shows the files and findings of `dataops init`, for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dataops_assets.declaring.declaration_text import attributes_of, finding_data, finding_text
from dataops_assets.operations.answer import Column, Shown, Table
from dataops_assets.operations.declare import Drafted


def drafted(made: Drafted) -> Iterator[Shown]:
    """Return what was decided, why, and what looks unhealthy."""
    draft = made.draft
    key = draft.refresh.declared.get("key")
    by = f" by {', '.join(key)}" if key else ""
    yield f"wrote    {made.file}"
    if made.contract is not None:
        yield f"wrote    {made.contract}"
    files = [] if draft.of is not None else [(draft.file_names, "file")]
    counts = (*files, (range(draft.rows), "row"), (draft.columns, "column"))
    yield f"read     {', '.join(_counted(len(items), what) for items, what in counts)}"
    if draft.of is not None:
        yield f"table    {draft.of.table} of {draft.of.database}"
    else:
        yield f"format   {draft.layout.type}"
        yield f"time     {draft.names.pattern or 'modification time'}: {draft.names.why}"
    yield f"refresh  {draft.refresh.declared['type']}{by}: {draft.refresh.why}"
    yield ""
    if draft.findings:
        yield f"{_counted(len(draft.findings), 'finding')}: look at them before you rely on the data"
        rows = [(item.kind, finding_text(item)) for item in draft.findings]
        yield Table([Column("kind"), Column("what")], rows)
    else:
        yield "nothing looks unhealthy"
    yield ""
    yield f"next: check what the file calls suggested, then: dataops run {draft.name}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def drafted_as_data(made: Drafted) -> dict[str, Any]:
    """Return the draft and its findings as plain values."""
    return {
        "file": str(made.file),
        "contract": str(made.contract) if made.contract else None,
        "rows": made.draft.rows,
        "files": [] if made.draft.of is not None else list(made.draft.file_names),
        "attributes": attributes_of(made.draft),
        "refresh_reason": made.draft.refresh.why,
        "candidate_keys": [
            {"columns": list(key.names), "is_sure": key.is_sure, "why": key.why} for key in made.draft.keys
        ],
        "findings": [finding_data(item) for item in made.draft.findings],
    }
