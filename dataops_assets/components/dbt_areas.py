"""Which models and tests of a dbt project are run together: those of a subject area, so no area holds up another.

An op of Dagster waits for all that its assets read, and fails as a whole. So what is made from one area must not share
an op with what is made from two.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence

from dataops_assets.components.dbt_catalogue import Catalogue, ModelEntry, TestEntry

# the names of subject areas
_Areas = frozenset[str]


def models_by_op(catalogue: Catalogue) -> Mapping[str, Sequence[ModelEntry]]:
    """All models, each in the op of the areas it is made from: its own and those of the models it reads, near and far.

    An op's models have every area of the models they read, so two ops never wait for each other, whatever the project.
    """
    areas = _areas(catalogue)
    found: dict[str, list[ModelEntry]] = defaultdict(list)
    for model in catalogue.models:
        found[_name(areas[model.key])].append(model)
    return found


def comparisons_by_op(catalogue: Catalogue) -> Mapping[str, Sequence[tuple[ModelEntry, TestEntry]]]:
    """The tests that need an op of their own, which waits for all they read, and the models they are of.

    All others run with their model: what they read besides it is made by the same op, or read by the model itself.
    """
    areas = _areas(catalogue)
    found: dict[str, list[tuple[ModelEntry, TestEntry]]] = defaultdict(list)
    for models in models_by_op(catalogue).values():
        made = {model.key for model in models}
        for model in models:
            for test in model.tests:
                if not made.union(model.reads).issuperset(test.others):
                    compared = [areas[key] for key in test.others if key in areas]
                    found[f"{_name(areas[model.key].union(*compared))}_tests"].append((model, test))
    return found


def _areas(catalogue: Catalogue) -> Mapping[tuple[str, ...], _Areas]:
    models = {model.key: model for model in catalogue.models}

    @functools.cache
    def areas(key: tuple[str, ...]) -> _Areas:
        model = models[key]
        return _Areas([model.group]).union(*(areas(read) for read in model.reads if read in models))

    return {key: areas(key) for key in models}


def _name(areas: _Areas) -> str:
    return f"warehouse_{'_and_'.join(sorted(areas))}"
