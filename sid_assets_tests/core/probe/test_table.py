"""The table for the terminal."""

from dataclasses import replace

import numpy as np

from sid_assets.core.probe.result import ProbeResult
from sid_assets.core.probe.table import as_text, sentences
from sid_assets_tests.core.probe.small_result import ROWS, RUNS, scored_of, small_result


def lines_of(result: ProbeResult) -> list[str]:
    return as_text(result).splitlines()


def cells(result: ProbeResult, name: str) -> list[str]:
    [line] = [line for line in lines_of(result) if line.startswith(f"{name}  ")]
    return line[len(name) :].split()


def test_the_facts_come_first_and_a_leak_is_told():
    first, second, *_ = lines_of(small_result())
    assert "1,000 rows of split 0 to learn from, 200 of 5,000 rows of split 1 scored" in first
    assert "12 rows have no history or no target with a SID" in first
    assert second.startswith("7 of the scored rows have a target that the same user had in split 0")


def test_a_row_of_sids_has_items_sids_and_steps():
    found = cells(small_result(), "pid2sid")
    assert (found[0], found[2]) == ("0.8000", "to")  # the interval is between
    assert float(found[1]) < 0.8 < float(found[3])
    assert found[4:7] == ["0.8000"] * 3
    assert found[7:9] == ["0.8889", "0.0000"]  # seen, unseen
    assert found[9:] == ["0.8000", "20,", "20,", "20"]


def test_a_baseline_has_neither_sids_nor_steps():
    assert cells(small_result(), "popularity")[-2:] == ["-", "-"]


def test_columns_are_aligned():
    lines = lines_of(small_result())
    heads = next(line for line in lines if "seen@10" in line)
    own = next(line for line in lines if line.startswith("pid2sid  "))
    assert own.index("0.8000") + len("0.8000") == heads.index("hit rate@10") + len("hit rate@10")


def test_without_unseen_targets_there_is_no_figure_of_them():
    result = replace(small_result(), unseen=np.zeros(ROWS, bool))
    assert cells(result, "pid2sid")[7:9] == ["0.8000", "-"]


def test_what_is_not_finished_is_said():
    late = scored_of("late", "sids", np.ones(ROWS), finished=False, runs=RUNS[:1])
    result = small_result(more=[late])
    assert cells(result, "late") == ["not", "finished"]
    [line] = [line for line in lines_of(result) if line.startswith("Not finished")]
    assert "compared with nothing: late. Run the probe again: it goes on." in line
    assert not [text for text in sentences(result) if "late" in text]


def test_differences_in_words():
    tied = scored_of("tied.parquet", "sids", np.arange(ROWS) % 5 != 1)
    better, popular, tie = sentences(small_result(more=[tied]))
    assert better.startswith("pid2sid is better than pid2sid, dealt at random: hit rate@10 +0.6000")
    assert popular.startswith("pid2sid is better than popularity")
    assert tie.startswith("pid2sid and tied.parquet are a tie: hit rate@10 +0.0000 (-0.")
    assert as_text(small_result(more=[tied])).endswith(tie)
