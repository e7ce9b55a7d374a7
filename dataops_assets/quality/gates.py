"""Gates: contracts that are checked on the rows that are about to be published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from dataops_assets.config.quality import Gate
from dataops_assets.engines.base import Session
from dataops_assets.errors import GateFailed
from dataops_assets.report import CheckOutcome

if TYPE_CHECKING:
    from dataops_assets.quality.contracts import ContractFailure

_SHOWN = 5


def gate_inputs(
    session: Session,
    gate: Gate,
    asset: str,
    rows: exp.Query,
    input_ids: Sequence[str],
    headers: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, CheckOutcome]:
    """Check a gate for each of `input_ids`, also for inputs without rows, in one query.

    `rows` has s_input_id. `headers` gives the raw columns of inputs, under the names of the contract's columns and in
    their raw order, for contracts that check the order. Raises ConfigError for a contract that cannot
    be evaluated.
    """
    # pandera and pandas take a second to import, and most processes check no contract
    from dataops_assets.quality.contracts import evaluate, load_contract

    failures = evaluate(
        session, load_contract(gate.contract), rows, per_input=True, input_ids=input_ids, headers=headers
    )
    by_input: dict[str, list[ContractFailure]] = {input_id: [] for input_id in input_ids}
    for failure in failures:
        if failure.input_id in by_input:
            by_input[failure.input_id].append(failure)
    return {input_id: _outcome(gate, asset, found, input_id) for input_id, found in by_input.items()}


def gate_table(session: Session, gate: Gate, asset: str, rows: exp.Query) -> CheckOutcome:
    """Check a gate for all rows together. Raises ConfigError for a contract that cannot be evaluated."""
    from dataops_assets.quality.contracts import evaluate, load_contract

    return _outcome(gate, asset, evaluate(session, load_contract(gate.contract), rows, per_input=False), None)


def blocked(outcome: CheckOutcome) -> GateFailed | None:
    """Return the error that stops the publication; None if the gate passes."""
    if outcome.passed or outcome.severity == "warn":
        return None
    what = f"input {outcome.input_id}" if outcome.input_id else "the table"
    return GateFailed(
        f"publishing {what} in {outcome.asset}",
        received=outcome.explanation,
        next_step="correct the data at its origin or the contract, then run the step again; nothing was published",
    )


def stopped(asset: str, outcomes: Mapping[str, Sequence[CheckOutcome]]) -> dict[str, GateFailed]:
    """Return an error for each input that failed a check of severity 'fail'."""
    found = {}
    for input_id, results in outcomes.items():
        broken = [outcome for outcome in results if not outcome.passed and outcome.severity == "fail"]
        if broken:
            found[input_id] = GateFailed(
                f"letting input {input_id} go on from {asset}",
                received="; ".join(f"{outcome.check}: {outcome.explanation}" for outcome in broken),
                next_step="correct the data or the limits, then run the step again",
            )
    return found


def _outcome(gate: Gate, asset: str, failures: Sequence[ContractFailure], input_id: str | None) -> CheckOutcome:
    # failed checks that only warn do not block, even in a strict gate
    only_warns = bool(failures) and all(failure.severity == "warn" for failure in failures)
    rest = len(failures) - _SHOWN
    shown = "; ".join(failure.message for failure in failures[:_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
    return CheckOutcome(
        asset,
        "contract",
        not failures,
        "warn" if only_warns else gate.severity,
        shown or f"contract {gate.contract} holds",
        input_id,
        {
            "contract": gate.contract,
            "failed checks": len(failures),
            "failing rows": max((failure.failing_rows for failure in failures), default=0),
        },
    )
