"""The objects that messages name, in the forms in which S3, SNS and EventBridge send them."""

from __future__ import annotations

import json
from urllib.parse import quote_plus

from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.connections.object_events import ObjectEvents, events_in

_KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.lists(_KEYS, min_size=1, max_size=3), st.booleans(), _KEYS)
def test_every_form_names_the_same_objects(keys: list[str], by_sns: bool, other: str) -> None:
    def record(bucket: str, key: str) -> dict[str, object]:
        return {
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key)}},
        }

    def sent(event: object) -> str:
        text = json.dumps(event)
        return json.dumps({"Type": "Notification", "Message": text}) if by_sns else text

    records = [record("shop", key) for key in keys]
    assert events_in(sent({"Records": records}), "shop") == ObjectEvents(frozenset(keys))
    found = events_in(sent({"Records": [*records, record("mart", other)]}), "shop")
    assert (found.keys, "'mart'" in found.fault) == (set(keys), True)
    for key in keys:
        # as it is, and also if it was encoded
        for written in (key, quote_plus(key)):
            detail = {"bucket": {"name": "shop"}, "object": {"key": written}}
            event = {"detail-type": "Object Created", "source": "aws.s3", "detail": detail}
            assert key in events_in(sent(event), "shop").keys


def _objects(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    names = st.sampled_from(["Records", "s3", "bucket", "object", "key", "name", "detail", "Type", "Message"])
    return st.dictionaries(names, inner)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | _objects(inner)
)


@given(st.text() | _VALUES.map(json.dumps))
def test_anything_else_names_nothing_and_is_told(body: str) -> None:
    found = events_in(body, "shop")
    assert found.keys == frozenset()
    assert found.fault or "Records" in body
