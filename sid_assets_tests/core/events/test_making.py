"""How interactions were made, in their provenance."""

import pytest

from sid_assets.core.events.making import EventsMaking, as_text
from sid_assets.core.store.provenance import Provenance


@pytest.mark.parametrize("t1", [None, 0, 1_234_567_890_123_456])
def test_it_is_read_as_it_was_recorded(t1: int | None) -> None:
    making = EventsMaking("time", t1, 512)
    stored = Provenance("interactions", details=making.details()).to_json()
    assert EventsMaking.of(Provenance.from_json(stored)) == making


def test_times_are_iso_text_in_utc() -> None:
    assert as_text(0) == "1970-01-01T00:00:00+00:00"
    assert as_text(1_700_000_000_999_999) == "2023-11-14T22:13:20+00:00"
    assert as_text(-1_000_000) == "1969-12-31T23:59:59+00:00"
