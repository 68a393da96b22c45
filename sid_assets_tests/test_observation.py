"""Progress that is visible while an asset is being made."""

from dataclasses import dataclass

import dagster as dg
import pytest

from sid_assets import observation


@dataclass
class Progress:
    """A number of rows done."""

    rows: int

    def describe(self) -> str:
        return f"{self.rows} rows are done"


@dg.asset
def slow(context: dg.AssetExecutionContext) -> None:
    """Reports progress three times."""
    report = observation.observer(context)
    for rows in (10, 20, 30):
        report(Progress(rows))


def observed(instance: dg.DagsterInstance) -> list[object]:
    """The row counts in the observations, oldest first."""
    records = instance.fetch_observations(dg.AssetKey("slow"), limit=10).records
    observations = [record.asset_observation for record in records]
    return [one.metadata["rows_done"].value for one in reversed(observations) if one]


def test_progress_is_observed_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "SECONDS_BETWEEN_OBSERVATIONS", 0.0)
    with dg.instance_for_test() as instance:
        result = dg.materialize([slow], instance=instance)
        logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
        assert observed(instance) == [10, 20, 30]
    assert {"10 rows are done", "20 rows are done", "30 rows are done"} <= set(logged)


def test_progress_is_reported_at_most_twice_a_minute() -> None:
    with dg.instance_for_test() as instance:
        dg.materialize([slow], instance=instance)
        assert observed(instance) == []
