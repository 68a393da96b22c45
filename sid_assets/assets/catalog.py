"""The first stage: the text of every item."""

import dagster as dg
from pydantic import Field


class ItemTextsConfig(dg.Config):
    """Run config of `item_texts`."""

    on_bad_rows: str = Field(
        default="fail",
        description="`fail`: rows with no text, no id or a doubtful id stop the run. `drop`: they "
        "are written to item_texts_rejected.parquet with their reason, and the run goes on.",
    )
