"""The built-in sample: 17,472 films, and simulated users who watch them (see README.md here)."""

from pathlib import Path

CATALOG = Path(__file__).with_name("catalog.parquet")
EVENTS = Path(__file__).with_name("events.parquet")
EVENT_LABELS = (
    "longview: watched >= 70; like: liked == 1; follow: followed == 1; forward: shared == 1; "
    "not_interested: rejected == 1"
)
"""The labels of the log of the sample, as conditions on its columns."""

EVENT_KEYWORDS = "director"
"""The column of the catalog that has keywords."""

CAPTIONS = Path(__file__).with_name("captions.parquet")
