"""The next step of a stored error is read back from its text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.errors import InputError, split_next_step

WORDS = st.text("ab ;:,'", min_size=1, max_size=20)


@given(attempted=WORDS, received=WORDS, next_step=WORDS)
def test_the_next_step_of_an_error_is_read_back(attempted: str, received: str, next_step: str) -> None:
    error = InputError(attempted, received=received, next_step=next_step)
    assert split_next_step(str(error)) == (f"{attempted}; received: {received}", next_step)


@pytest.mark.parametrize("text", ["", "something else happened", "next: is only a word here"])
def test_a_text_without_a_next_step_stays_whole(text: str) -> None:
    assert split_next_step(text) == (text, "")
