"""A source whose inputs arrive, are held, approved and removed, driven as the sensor drives it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from law import as_input, land
from reference import GivenInput

from dataops_assets.components.by_hand import remove
from dataops_assets.components.requests import progress
from dataops_assets.metadata.decision_store import DELETES
from dataops_assets.profiles import Profile
from dataops_assets.report import Input, InputReport, StepReport
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.merging.held_inputs import held_inputs
from dataops_assets.steps.recording import Step, run_recorded
from dataops_assets.steps.refresh import refresh
from dataops_assets.steps.source_context import SourceContext

STEPS = (
    Step("cdc", "lake/things_changes", cdc),
    Step("enrich", "hub/things_enriched", enrich),
    Step("refresh", "hub/things", refresh),
)


class World:
    """One source, what arrived of it, and what a person approved or removed."""

    def __init__(self, context: SourceContext) -> None:
        self.context = context
        self.given: dict[str, GivenInput] = {}
        self.approved: set[str] = set()
        context.metadata.contracts.register(context.source)

    def arrives(self, group: Sequence[GivenInput]) -> None:
        metadata, inputs = self.context.metadata, [as_input(item) for item in group]
        metadata.register_inputs("things", inputs)
        land(self.context, group)
        for step in ("ingest", "parse"):
            reports = tuple(InputReport(item.input_id) for item in inputs)
            metadata.finish("things", StepReport(step, "lake/things", reports, 0, None, {}, 0.0), "arrival")
        profiles = [Profile("lake/things", item.input_id, len(item.rows), ()) for item in group]
        metadata.profiles.save("things", "lake/things", profiles)
        self.given |= {item.input_id: item for item in group}
        self.run(inputs)

    def run(self, inputs: Sequence[Input]) -> None:
        left = list(inputs)
        for step in STEPS:
            if not left:
                break
            report = run_recorded(self.context, step, left, [item.input_id for item in left], "run")
            stopped = {item.input_id for item in report.failures}
            left = [item for item in left if item.input_id not in stopped]

    def rests(self) -> Collection[str]:
        """Run what is asked for until nothing is; the result are the ids of what is held then."""
        metadata = self.context.metadata
        inputs = [item for item in metadata.inputs("things") if item.input_id in self.given]
        for _ in range(4 * len(inputs) + 1):
            guarded = held_inputs(self.context)
            state = progress(inputs, metadata.processes("things"), guarded)
            if not state.todo:
                return state.held.keys()
            self.run([item for item in inputs if item.input_id in state.todo])
        raise AssertionError("it never comes to rest")

    def approves(self, input_id: str, kind: str = DELETES) -> None:
        self.context.metadata.decisions.approve("things", [input_id], "person", kind)
        self.approved.add(input_id)

    def removes(self, ids: Sequence[str]) -> None:
        remove(self.context, ids)
        self.given = {name: item for name, item in self.given.items() if name not in ids}
