"""The built-in sample: 17,472 films, and simulated users who watch them (see README.md here)."""

from pathlib import Path

CATALOG = Path(__file__).with_name("catalog.parquet")
EVENTS = Path(__file__).with_name("events.parquet")
INTERACTIONS = Path(__file__).with_name("interactions.parquet")
CAPTIONS = Path(__file__).with_name("captions.parquet")
