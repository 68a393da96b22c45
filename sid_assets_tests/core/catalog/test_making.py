"""What the provenance of `item_texts` says, and what it said in version 0.1."""

from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.inputs.ids import PidColumn
from sid_assets.core.store.provenance import Provenance

PIDS = PidColumn("items.csv", "pid", "int", 1)


def test_it_is_read_back() -> None:
    making = TextsMaking("{title}", "0123", PIDS, 2)
    provenance = Provenance.from_json(Provenance("item_texts", details=making.details()).to_json())
    read = TextsMaking.of(provenance)
    assert (read.template, read.fingerprint, read.rules) == ("{title}", "0123", 2)
    assert (read.pids.source, read.pids.stored) == ("items.csv", "int")


def test_texts_by_rules_1_have_the_provenance_of_version_01() -> None:
    details = TextsMaking("{title}", "0123", PIDS, 1).details()
    assert list(details) == ["template", "fingerprint", "pids"]
    assert TextsMaking.of(Provenance("item_texts", details=details)).rules == 1
