"""Group the models and tests of a dbt project into ops by subject area, so that no area blocks another.

A Dagster op waits for all tables that its assets read, and fails as a whole. So a model of one area must not share an
op with a model that reads two areas.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence

from dataops_assets.components.dbt_catalogue import Catalogue, ModelEntry, TestEntry

# the names of subject areas
_Areas = frozenset[str]


def models_by_op(catalogue: Catalogue) -> Mapping[str, Sequence[ModelEntry]]:
    """Return the models of each op. A model belongs to the op of its own area and the areas of all its ancestors.

    So the areas of an op include those of all models that its models read, and two ops never wait for each other.
    """
    areas = _areas(catalogue)
    found: dict[str, list[ModelEntry]] = defaultdict(list)
    for model in catalogue.models:
        found[_name(areas[model.key])].append(model)
    return found


def comparisons_by_op(catalogue: Catalogue) -> Mapping[str, Sequence[tuple[ModelEntry, TestEntry]]]:
    """Return the tests, each with its model, that need a separate op, which waits for all tables that they read.

    All other tests run with their model: the same op makes the tables they read, or the model reads them, too.
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
