"""The commands for rules: try a rule, apply changed rules to all rows, show the lineage of a column."""

from __future__ import annotations

from typing import Annotated

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import OneSource
from dataops_assets.operations.completion import source_columns

app = Commands(panel="Rules")


@app.command("try", example='dataops try sales "Sales / nullif(Customers, 0)" --rule Basket')
def try_expression(
    source: OneSource,
    expression: Annotated[str, typer.Argument(metavar="EXPRESSION", help="The expression of the rule.")],
    rule: Annotated[str, typer.Option(help="Rule or column that the expression would replace; compare with it.")] = "",
    sample: Annotated[int | None, typer.Option(min=1, help="Number of rows to compute; default: all rows.")] = None,
) -> Answer:
    """Compute an expression on a hub and show the result, without writing."""
    from dataops_assets.operations.views import rules as view
    from dataops_assets.steps.upkeep.rule_trial import try_rule

    tried = try_rule(project.context_of("try", source), expression, rule, sample)
    return Answer(view.trial_as_data(tried), [*view.trial(tried)])


@app.command(example="dataops recalculate sales", found="a table failed its gate")
def recalculate(source: OneSource) -> Answer:
    """Apply changed rules to all rows, and recalculate keep-current rules."""
    from dataops_assets.operations.rules import recalculate
    from dataops_assets.operations.views import steps as view

    project.use_instance("recalculate")
    made = recalculate(project.context_of("recalculate", source))
    shown = [line for report in made for line in view.report(report)]
    if not made:
        shown.append(f"hub/{source}: all rows have the values of the declared rules")
    data = [view.report_as_data(report) for report in made]
    return Answer(data, shown, found=any(report.failures for report in made))


@app.command(example="dataops lineage sales.Basket")
def lineage(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE[.COLUMN]", help="A source, or one of its columns.", autocompletion=source_columns
        ),
    ],
) -> Answer:
    """Show the columns that a column is computed from, up to the raw data."""
    from dataops_assets.operations.rules import lineage
    from dataops_assets.operations.views import rules as view

    name, _, column = source.partition(".")
    found = lineage(project.context_of("lineage", name), column)
    return Answer(view.lineage_as_data(found), [*view.lineage(found, as_tree=bool(column))])
