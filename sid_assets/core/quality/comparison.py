"""Several tokenizers on the same vectors: which figures are compared, and which is best.

The best of a row is marked only where the figure cannot be won by using few codes or only one.
Purity, fan-out, margins and times are shown without a mark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sid_assets.core.quality.page_templates import page_environment, page_source
from sid_assets.core.quality.popularity import HEADS, NAMES
from sid_assets.core.quality.prefix_ranking import FIRST
from sid_assets.core.quality.section import (
    NOT_THERE,
    count_text,
    decimal_text,
    percent_text,
)

Better = Literal["higher", "lower", ""]
Format = Literal["count", "tenths", "decimal", "percent", "fine percent", "seconds"]

_FORMATS = {
    "count": count_text,
    "tenths": lambda number: f"{number:,.1f}",
    "decimal": decimal_text,
    "percent": percent_text,
    "fine percent": lambda share: f"{share:.2%}",
    "seconds": lambda seconds: f"{seconds:,.1f} s",
}


@dataclass(frozen=True)
class Row:
    """A row of the comparison.

    Attributes:
        label: What is measured.
        figure: The name of the figure, as in the metadata of `sid_quality`.
        format: How it is shown.
        better: Which is better; "" if that cannot be said, or if a collapse would win.
    """

    label: str
    figure: str
    format: Format
    better: Better = ""


@dataclass(frozen=True)
class Group:
    """Rows that belong together.

    Attributes:
        heading: Its heading.
        sentence: What is good and what is bad.
        rows: Its rows.
    """

    heading: str
    sentence: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Compared:
    """A tokenizer that was measured.

    Attributes:
        name: Its name, as the user wrote it.
        about: What it is: kind, size, method, hash (JSON).
        figures: Its numbers by name.
    """

    name: str
    about: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, int | float] = field(default_factory=dict)


def _of_layers(label: str, figure: str, format_: Format, better: Better = "") -> tuple[Row, ...]:
    return tuple(
        Row(f"{label}, layer {layer}", figure.format(layer), format_, better) for layer in (1, 2, 3)
    )


_BY_POPULARITY: tuple[tuple[str, str, Format, Better], ...] = (
    ("share their SID", "colliding_share", "percent", "lower"),
    ("distinct SIDs / items", "distinct_share", "percent", "higher"),
    ("mean error", "error_mean", "decimal", "lower"),
)

GROUPS = (
    Group(
        "Uniqueness",
        "A model cannot tell items with the same SID apart.",
        (
            Row("Items that share their SID", "sid_colliding_share", "percent", "lower"),
            Row("Distinct SIDs / items", "sid_distinct_share", "percent", "higher"),
            Row("Largest SID group", "sid_largest_group", "count", "lower"),
        ),
    ),
    Group(
        "Use of codes",
        "The perplexity is the number of codes that would carry as much information if all were "
        "used equally. Far below the codebook size, a few codes take most items.",
        (
            Row("Centroids per layer", "codebook_size", "count"),
            *_of_layers("Perplexity", "layer_{}_perplexity", "tenths", "higher"),
        ),
    ),
    Group(
        "Reconstruction",
        "0: the codes give the vector exactly; 1: no better than no codes. The held-out error is "
        "that of vectors that were not trained on.",
        (
            *_of_layers("Mean relative error", "layer_{}_error_mean", "decimal", "lower"),
            Row("Held-out error", "held_out_error", "decimal", "lower"),
        ),
    ),
    Group(
        "Neighbours",
        "How many of the ten nearest items by vector stand among the first items by shared "
        "prefix, with ties in random order. A model can learn from SIDs that find many. By chance, "
        "it is what SIDs find that are dealt at random, and one SID for all items.",
        tuple(
            row
            for first in FIRST
            for row in (
                Row(
                    f"Found among the first {first}",
                    f"neighbours_in_first_{first}",
                    "decimal",
                    "higher",
                ),
                Row(
                    f"By chance, first {first}",
                    f"neighbours_by_chance_in_first_{first}",
                    "decimal",
                ),
            )
        ),
    ),
    Group(
        "Behaviour",
        "How often the next item of a history stands among the first items by shared prefix. By "
        "vector, it is the same for every tokenizer and says what can be expected; by chance, it "
        "is that of SIDs dealt at random.",
        (
            *(
                row
                for first in FIRST
                for row in (
                    Row(
                        f"Next item among the first {first}",
                        f"behaviour_in_first_{first}",
                        "fine percent",
                        "higher",
                    ),
                    Row(
                        f"By vector, first {first}",
                        f"behaviour_by_vector_in_first_{first}",
                        "fine percent",
                    ),
                    Row(
                        f"By chance, first {first}",
                        f"behaviour_by_chance_in_first_{first}",
                        "fine percent",
                    ),
                )
            ),
            Row("Items asked for", "behaviour_queries", "count"),
            Row("Pairs of items that count", "behaviour_pairs", "count"),
        ),
    ),
    Group(
        "Probe",
        "A small model that learned from split 0 recommends for rows of split 1: a SID stands for "
        "its most popular item. No best is marked; which differences are more than chance is said "
        "below the table.",
        (
            Row("Hit rate@10", "probe_hit_rate_10", "fine percent"),
            Row("NDCG@10", "probe_ndcg_10", "decimal"),
            Row("Hit rate@10 of unseen targets", "probe_hit_rate_10_unseen", "fine percent"),
        ),
    ),
    Group(
        "What collisions cost",
        "The highest share of targets that a model can reach if it names every SID right and then "
        "takes one of its items.",
        (
            Row("The most popular item", "recall_ceiling_most_popular", "percent", "higher"),
            Row("A random item", "recall_ceiling_random", "percent", "higher"),
            Row("The largest pid", "recall_ceiling_largest_pid", "percent", "higher"),
            Row("Targets", "recall_ceiling_targets", "count"),
            Row("Targets are those of split", "recall_ceiling_split", "count"),
            Row(
                "Interactions with an ambiguous item",
                "interactions_sid_colliding_share",
                "percent",
                "lower",
            ),
            Row(
                "Histories with two items of one SID",
                "histories_ambiguous_share",
                "percent",
                "lower",
            ),
        ),
    ),
    Group(
        "By popularity",
        "The items that make up the first, second and last third of the interactions, and those "
        "that nobody has met: shared SIDs, and errors as above.",
        tuple(
            Row(f"{head}: {label}", f"popularity_{name}_{figure}", form, better)
            for label, figure, form, better in _BY_POPULARITY
            for head, name in zip(HEADS, NAMES, strict=True)
        ),
    ),
    Group(
        "Purity",
        "How far items with a common prefix agree in the column of SID_QUALITY_COLUMN: 0 as by "
        "chance, 1 completely. Few and small groups are pure easily, so no best is marked.",
        (
            Row("One code", "purity_prefix_1_above_chance", "decimal"),
            Row("Two codes", "purity_prefix_2_above_chance", "decimal"),
            Row("Whole SIDs", "purity_sid_above_chance", "decimal"),
            *(
                row
                for label, of in (
                    ("One code", "prefix_1"),
                    ("Two codes", "prefix_2"),
                    ("Whole SIDs", "sid"),
                )
                for row in (
                    Row(f"{label}: same value", f"purity_{of}_share", "percent"),
                    Row(f"{label}: items that count", f"purity_{of}_items", "count"),
                )
            ),
            Row("Same value by chance", "purity_chance", "percent"),
        ),
    ),
    Group(
        "Tree and margins",
        "Fan-out is the number of different codes that follow a prefix. The margin says how much "
        "nearer the chosen centroid is than the second. Few codes that are far apart have large "
        "margins: no best is marked.",
        (
            *(
                Row(f"Mean fan-out, level {level}", f"fan_out_{level}_mean", "decimal")
                for level in (1, 2, 3)
            ),
            Row("SIDs below the largest first code", "largest_branch_share", "percent"),
            *_of_layers("Mean margin", "margin_{}_mean", "percent"),
        ),
    ),
    Group(
        "Time",
        "On this machine. Other programs that run at the same time make it longer.",
        (
            Row("Training", "training_seconds", "seconds"),
            Row("Encoding all items", "encoding_seconds", "seconds"),
        ),
    ),
)


def best_of(row: Row, compared: Sequence[Compared]) -> list[bool]:
    """Which tokenizers are best in a row; none if all are equal or it has no best.

    Tokenizers without this figure are left out.
    """
    values = [one.figures.get(row.figure) for one in compared]
    there = [value for value in values if value is not None]
    if not row.better or len(set(there)) < 2:
        return [False] * len(compared)
    best = max(there) if row.better == "higher" else min(there)
    return [value == best for value in values]


def value_text(row: Row, one: Compared) -> str:
    """A figure as it is shown; a dash if the tokenizer does not have it."""
    value = one.figures.get(row.figure)
    return NOT_THERE if value is None else _FORMATS[row.format](value)


def shown_groups(compared: Sequence[Compared]) -> list[tuple[Group, list[Row]]]:
    """The groups with the rows that at least one tokenizer has."""
    groups = []
    for group in GROUPS:
        rows = [row for row in group.rows if any(row.figure in one.figures for one in compared)]
        if rows:
            groups.append((group, rows))
    return groups


def as_text(compared: Sequence[Compared], sizes: str, notes: Sequence[str] = ()) -> str:
    """The comparison as a table for the terminal; a star marks the best of a row.

    Args:
        compared: The tokenizers.
        sizes: One line: what was measured.
        notes: Sentences below the table.
    """
    table = [["", *(one.name for one in compared)]]
    for group, rows in shown_groups(compared):
        table.append([group.heading])
        for row in rows:
            cells = zip(compared, best_of(row, compared), strict=True)
            table.append(
                [
                    f"  {row.label}",
                    *(value_text(row, one) + (" *" if best else "  ") for one, best in cells),
                ]
            )
    first = max(len(line[0]) for line in table)
    widths = [
        max(len(line[column]) for line in table if len(line) > 1)
        for column in range(1, len(compared) + 1)
    ]
    lines = [
        line[0].ljust(first)
        + "".join(f"  {cell.rjust(width)}" for cell, width in zip(line[1:], widths, strict=False))
        for line in table
    ]
    note = "* the best of a row. Rows that a tokenizer with few codes could win have none."
    return "\n".join([sizes, "", *(line.rstrip() for line in lines), "", note, *notes])


def as_json(compared: Sequence[Compared]) -> dict[str, Any]:
    """The comparison as JSON: all figures of each tokenizer, and the best by figure."""
    rows = [row for _, rows in shown_groups(compared) for row in rows if row.better]
    best = {
        row.figure: [
            one.name for one, wins in zip(compared, best_of(row, compared), strict=True) if wins
        ]
        for row in rows
    }
    return {
        "tokenizers": [
            {"name": one.name, **one.about, "figures": dict(one.figures)} for one in compared
        ],
        "best": {figure: names for figure, names in best.items() if names},
    }


def as_page(
    compared: Sequence[Compared],
    sizes: str,
    facts: Mapping[str, str],
    notes: Sequence[str] = (),
) -> str:
    """The comparison as a page that needs nothing else: HTML.

    Args:
        compared: The tokenizers.
        sizes: One line: what was measured.
        facts: More facts, by name.
        notes: Sentences below the tables.
    """
    environment = page_environment()
    groups = [
        {
            "heading": group.heading,
            "sentence": group.sentence,
            "rows": [
                {
                    "label": row.label,
                    "better": row.better,
                    "cells": _cells(row, compared),
                }
                for row in rows
            ],
        }
        for group, rows in shown_groups(compared)
    ]
    return environment.get_template("sid_comparison.html").render(
        names=[one.name for one in compared],
        groups=groups,
        sizes=sizes,
        facts=facts,
        notes=notes,
        style=page_source(environment, "sid_report.css"),
    )


def _cells(row: Row, compared: Sequence[Compared]) -> list[dict[str, Any]]:
    """The cells of a row: text, whether it is the best, and the length of its bar (0 to 1)."""
    values = [one.figures.get(row.figure) for one in compared]
    longest = max(value for value in values if value is not None)
    return [
        {
            "text": value_text(row, one),
            "best": best,
            "bar": None if value is None else max(0.0, value / longest) if longest > 0 else 0.0,
        }
        for one, value, best in zip(compared, values, best_of(row, compared), strict=True)
    ]
