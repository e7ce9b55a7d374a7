"""A look tells exactly the facts that the look before it did not tell."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.components.told_once import ToldOnce

FACTS = st.lists(st.sampled_from([f"held: file {number}" for number in range(6)]), unique=True)


@given(st.lists(FACTS, max_size=8))
def test_a_fact_is_told_when_it_begins_to_hold(looks: list[list[str]]) -> None:
    token, before = "", set[str]()
    for facts in looks:
        once = ToldOnce(token)
        assert once.fresh(facts) == [fact for fact in facts if fact not in before]
        assert once.repeated == len(before.intersection(facts))
        token, before = once.token, set(facts)


def test_thousands_of_facts_are_told_by_their_number_and_the_token_stays_small() -> None:
    facts = [f"held: file {number}" for number in range(10_000)]
    first = ToldOnce("")
    assert first.fresh(facts)[499:] == ["held: file 499", "9,500 more like these"]
    assert len(first.token) < 5_000
    assert ToldOnce(first.token).fresh(facts) == []
    assert ToldOnce(first.token).fresh([*facts, "one more"]) == ["9,501 more like these"]
