"""What a refresh would do and cost, before it does it: `python -m sid_assets.plan`.

It reads the catalog as `item_texts` would, compares it with the vectors that are there, and embeds
a few texts to measure the time. Nothing is written.
"""

import logging
import sys

from sid_assets.assets.catalog import catalog_source
from sid_assets.assets.domains import ITEMS
from sid_assets.core.errors import SidAssetsError
from sid_assets.core.plan import Plan, make_plan
from sid_assets.core.refresh import RefreshPolicy, require_same_generation, require_small_change
from sid_assets.core.scratch import scratch_folder
from sid_assets.core.texts import read_item_texts
from sid_assets.resources import make_embedder, vector_files
from sid_assets.settings import Settings


def main() -> int:
    """Print the plan; the exit status is 1 where there is none, or the refresh would stop."""
    logging.basicConfig(format="%(message)s")
    try:
        settings = Settings.from_environment()
        plan = plan_refresh(settings)
        print(plan.describe())
        policy = RefreshPolicy(max_changed_share=settings.max_changed_share)
        require_same_generation(plan.afresh, policy)
        require_small_change(plan.changes, policy)
    except SidAssetsError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def plan_refresh(settings: Settings) -> Plan:
    """The plan for the catalog that the settings name.

    Raises:
        SidAssetsError: The catalog cannot be read, or the embedder cannot be used.
    """
    # Whether bad rows may be dropped is for the run to decide.
    source = catalog_source(settings, ITEMS, on_bad_rows="drop")
    embedder = make_embedder(settings)
    with scratch_folder(settings.store().root) as scratch:
        texts = read_item_texts(source, scratch_dir=scratch)
        for warning in texts.warnings:
            logging.warning(warning)
        try:
            return make_plan(
                settings.store(),
                ITEMS.table("item_embeddings"),
                texts.reader,
                embedder,
                files=vector_files(settings, ITEMS.embeddings(settings), embedder.space),
                calibrate=True,
                log=logging.warning,
            )
        finally:
            embedder.close()


if __name__ == "__main__":
    raise SystemExit(main())
