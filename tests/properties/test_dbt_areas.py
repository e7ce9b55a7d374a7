"""Models run together: whatever the project, no op waits for itself, and no area for another it does not read."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import TopologicalSorter

from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.components import dbt_catalogue
from dataops_assets.components.dbt_areas import comparisons_by_op, models_by_op
from dataops_assets.components.dbt_catalogue import Catalogue, ModelEntry


def model(name: str, area: str, reads: list[str], compared: list[str]) -> ModelEntry:
    test = dbt_catalogue.TestEntry(
        name="compared",
        unique_id=f"test.{name}",
        selector="",
        description=None,
        blocking=True,
        others=tuple((other,) for other in compared),
    )
    return ModelEntry(
        key=(name,),
        relation=name,
        columns=(),
        name=name,
        unique_id=f"model.{name}",
        selector="",
        reads=(("hub", name), *((read,) for read in reads)),
        description="",
        group=area,
        owners=(),
        tags={},
        kinds=(),
        code_version=None,
        materialized="table",
        tests=(test,),
    )


@st.composite
def projects(draw: st.DrawFn) -> Catalogue:
    """Models that read any of those before them, with a test each that compares with any."""
    names = [f"m{at}" for at in range(draw(st.integers(1, 9)))]
    models = [
        model(
            name,
            draw(st.sampled_from(["a", "b", "c"])),
            draw(st.lists(st.sampled_from(names[:at]), unique=True)) if at else [],
            draw(st.lists(st.sampled_from(names), unique=True, max_size=2)),
        )
        for at, name in enumerate(names)
    ]
    return Catalogue(dialect="duckdb", models=tuple(models), sources=())


def areas(models: Mapping[tuple[str, ...], ModelEntry], key: tuple[str, ...]) -> set[str]:
    return {models[key].group}.union(*(areas(models, read) for read in models[key].reads if read in models))


@given(projects())
def test_no_two_ops_wait_for_each_other(catalogue: Catalogue) -> None:
    ops = models_by_op(catalogue)
    assert sorted(entry.name for models in ops.values() for entry in models) == sorted(m.name for m in catalogue.models)
    op_of = {entry.key: op for op, models in ops.items() for entry in models}
    waits = {
        op: {op_of[read] for entry in models for read in entry.reads if read in op_of} - {op}
        for op, models in ops.items()
    }
    # raises where there is a cycle
    assert set(TopologicalSorter(waits).static_order()) == set(ops)


@given(projects())
def test_models_are_together_where_they_are_made_from_the_same_areas(catalogue: Catalogue) -> None:
    by_key = {entry.key: entry for entry in catalogue.models}
    ops = models_by_op(catalogue)
    for models in ops.values():
        assert len({frozenset(areas(by_key, entry.key)) for entry in models}) == 1
    for entry in catalogue.models:
        if areas(by_key, entry.key) == {entry.group}:
            assert entry in ops[f"warehouse_{entry.group}"]


@given(projects())
def test_a_test_runs_with_its_model_unless_it_reads_what_may_come_later(catalogue: Catalogue) -> None:
    comparisons = comparisons_by_op(catalogue)
    apart = [test.unique_id for several in comparisons.values() for _, test in several]
    assert len(apart) == len(set(apart))
    assert not set(comparisons) & set(models_by_op(catalogue))
    for models in models_by_op(catalogue).values():
        for entry in models:
            [test] = entry.tests
            present = {*entry.reads, *(other.key for other in models)}
            assert (test.unique_id in apart) == (not present.issuperset(test.others))
