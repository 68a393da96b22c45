"""All measures of codes alone that need every item at once: tree, popularity, ceiling, purity."""

from sid_assets.core.quality.items import Items, group_by_sid
from sid_assets.core.quality.popularity import measure_popularity
from sid_assets.core.quality.purity import measure_purity
from sid_assets.core.quality.recall_ceiling import measure_recall_ceiling
from sid_assets.core.quality.section import Subject
from sid_assets.core.quality.tree import measure_tree
from sid_assets.core.quality.use import Use


def measure_subjects(
    items: Items, codebook_size: int, use: Use | None = None, column: str = ""
) -> list[Subject]:
    """Measure what the numbers of the items allow, in the order of the report.

    Args:
        items: The numbers of all items.
        codebook_size: Codes per layer of the tokenizer.
        use: Where their use was counted, if it was.
        column: The column of their values, if they have any.
    """
    groups = group_by_sid(items.sids)
    subjects: list[Subject] = [measure_tree(groups.sids, codebook_size)]
    if use is not None and items.trained is not None and items.targets is not None:
        subjects.append(measure_popularity(groups, items.trained, items.errors))
        ceiling = measure_recall_ceiling(
            groups, items.trained, items.targets, split=use.split, all_targets=use.all_targets
        )
        if ceiling:
            subjects.append(ceiling)
    if items.values is not None:
        subjects.append(measure_purity(groups, items.values, column))
    return subjects
