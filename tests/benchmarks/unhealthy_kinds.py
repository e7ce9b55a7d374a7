"""Precision and recall of each kind of unhealthy data, on labelled columns.

`python tests/benchmarks/unhealthy_kinds.py` makes columns
from SEEDS seeds (an argument; default 20). A kind is right where it finds a column with its label. It
is wrong where it finds a clean column, or a column of another kind, unless that column may show both.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from labelled_columns import TODAY, Labelled, clean, labelled

from dataops_assets.config.contract import Column
from dataops_assets.declaring.column_facts import facts_of
from dataops_assets.declaring.columns import SuggestedColumn
from dataops_assets.declaring.health.examination import examine
from dataops_assets.declaring.value_types import text_type


def kinds_of(item: Labelled) -> set[str]:
    """The kinds that are found in a column, declared as a draft declares it."""
    facts = facts_of(item.name, item.values)
    found = text_type(item.name, facts.values, has_nulls=facts.nulls > 0)
    formats = found.type.formats
    declared = Column(
        name=item.name,
        type=found.type.type,
        date_format=formats if len(formats) > 1 else "".join(formats),
        null_words=found.null_words or None,
    )
    return {result.kind for result in examine([SuggestedColumn(declared, facts)], TODAY)}


def measured(seeds: int) -> dict[str, tuple[int, int, int]]:
    """For each kind how often it was right, wrong (a false alarm), and missed."""
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    # the kinds were written with the seeds below 100 in view
    for seed in range(1000, 1000 + seeds):
        draw = random.Random(seed)
        for item in (*clean(draw), *labelled(draw)):
            found = kinds_of(item)
            right.update(found & item.labels)
            missed.update(item.labels - found)
            wrong.update(found - item.labels - item.may)
    return {kind: (right[kind], wrong[kind], missed[kind]) for kind in sorted({*right, *wrong, *missed})}


def main(seeds: int) -> None:
    draw = random.Random(0)
    columns = len([*clean(draw), *labelled(draw)])
    print(f"{seeds} seeds of {columns} columns\n\n| kind | precision | recall |\n|---|---|---|")
    for kind, (right, wrong, missed) in measured(seeds).items():
        precision = right / (right + wrong) if right + wrong else 0.0
        print(f"| `{kind}` | {precision:.2f} | {right / max(right + missed, 1):.2f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
