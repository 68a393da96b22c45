"""What the sensor of failed runs is given by Dagster's daemon."""

import logging
from typing import Any

import dagster as dg


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def tell(
    sensor: Any, instance: dg.DagsterInstance, run_id: str, *, names_its_steps: bool = True
) -> list[str]:
    """Evaluate the sensor for a run that failed; what it logs."""
    run = instance.get_run_by_id(run_id)
    if run and not names_its_steps:
        run = run._replace(step_keys_to_execute=None)
    kind = dg.DagsterEventType.RUN_FAILURE
    (failure,) = instance.get_records_for_run(run_id, of_type=kind).records
    event = failure.event_log_entry.dagster_event
    assert run
    assert event
    context = dg.build_run_status_sensor_context(
        sensor.name, dagster_event=event, dagster_instance=instance, dagster_run=run
    ).for_run_failure()
    kept = _Kept()
    context.log.addHandler(kept)
    sensor(context)
    return kept.said
