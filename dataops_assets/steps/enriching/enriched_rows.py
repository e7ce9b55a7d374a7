"""Makes the enriched rows of change sets: the rules, the status, and a flag for each validation that a row fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.rules.compiler import CompiledRules
from dataops_assets.sql import Relation, columns, literal, query
from dataops_assets.steps.enriching.look_ups import RelatedHubs
from dataops_assets.steps.enriching.row_status import flags_of
from dataops_assets.steps.enriching.rule_values import result_names, with_rules
from dataops_assets.steps.enriching.uniqueness import with_repeats
from dataops_assets.steps.source_context import SourceContext


@dataclass(frozen=True)
class EnrichedRows:
    """The enriched rows of inputs, as a table of the session.

    `names` are the columns that are stored. Beside them the table has `s_gone` (the row is a deletion) and a column for
    each flag.
    """

    rules: CompiledRules
    table: Relation
    names: Sequence[str]

    def stored(self, input_ids: Sequence[str]) -> exp.Query:
        """Return the rows of these inputs, as `hub/<source>_enriched` stores them."""
        found: exp.Query = query(
            "SELECT $names FROM $enriched AS e WHERE e.s_input_id IN ($ids)",
            names=columns(self.names, "e"),
            enriched=self.table,
            ids=[literal(input_id) for input_id in input_ids],
        )
        return found


def enrich_rows(
    context: SourceContext,
    session: Session,
    rules: CompiledRules,
    rows: exp.Query,
    input_ids: Sequence[str],
    related: RelatedHubs,
) -> EnrichedRows:
    """Compute the enriched rows of the change sets of these inputs."""
    names = list(session.schema(rows))
    compared = with_repeats(context, session, rules.snapshot, rows, input_ids)
    # if nothing is computed, a view is enough and the rows are not copied
    keep = session.create if rules.snapshot.rules or flags_of(rules.snapshot) else session.define
    table = keep(with_rules(rules, compared, names, related))
    return EnrichedRows(rules, table, result_names(names, rules))
