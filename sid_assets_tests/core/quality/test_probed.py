"""The last probe in the report of `sid_quality`."""

import json
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from sid_assets.core.probe.result import as_json
from sid_assets.core.quality.probed import OWN, Probed
from sid_assets_tests.core.probe.small_result import ROWS, RUNS, scored_of, small_result


def write(path: Path, result=None, **about: object) -> UPath:
    made = as_json(result or small_result(OWN))
    path.write_text(json.dumps({"generation": "g1", "tokenizer": "t1", **made, **about}))
    return UPath(path)


def read(path: UPath) -> Probed | None:
    return Probed.read(path, "g1", "t1")


def test_the_figures_are_those_of_the_file(tmp_path):
    found = read(write(tmp_path / "probe.json"))
    assert found is not None
    assert found.figures() == pytest.approx(
        {
            "probe_hit_rate_10": 0.8,
            "probe_ndcg_10": 0.8,
            "probe_hit_rate_10_of_dealt_sids": 0.2,
            "probe_ndcg_10_of_dealt_sids": 0.2,
            "probe_hit_rate_10_of_popularity": 0.1,
            "probe_ndcg_10_of_popularity": 0.1,
        }
    )


def test_the_section_has_a_row_and_a_bar_for_each(tmp_path):
    found = read(write(tmp_path / "probe.json"))
    assert found is not None
    section = found.section()
    assert section.bars.places == ("popularity", "these SIDs", "dealt at random")
    assert section.bars.series == {"hit rate at 10": pytest.approx([0.1, 0.8, 0.2])}
    assert {len(row) for row in section.rows} == {len(section.header)}
    [own] = [row for row in section.rows if row[0] == "these SIDs"]
    assert (own[1], own[4], own[5]) == ("0.8000", "0.0000", "3")
    assert "200 rows of split 1" in section.paragraphs[0]
    assert "more from these SIDs than from the same SIDs dealt" in section.paragraphs[1]


def test_without_a_comparison_it_says_so(tmp_path):
    two_seeds = scored_of(OWN, "sids", np.arange(ROWS) % 2 == 0, runs=RUNS[:2])
    result = small_result(OWN)
    result = type(result)((two_seeds,), (), result.unseen, result.users, result.facts)
    found = read(write(tmp_path / "probe.json", result))
    assert found is not None
    assert (
        found.section().paragraphs[1] == "These SIDs were not compared with SIDs dealt at random."
    )
    assert found.figures().keys() == {"probe_hit_rate_10", "probe_ndcg_10"}


def test_other_sets_of_sids_are_not_shown(tmp_path):
    other = scored_of("<b>other.parquet</b>", "sids", np.arange(ROWS) % 2 == 0)
    found = read(write(tmp_path / "probe.json", small_result(OWN, more=[other])))
    assert found is not None
    assert len(found.section().rows) == 3
    assert "other" not in str(found.section())


@pytest.mark.parametrize("about", [{"generation": "g2"}, {"tokenizer": "t2"}], ids=str)
def test_a_probe_of_other_sids_is_none_of_these(tmp_path, about):
    assert read(write(tmp_path / "probe.json", **about)) is None


def test_a_probe_that_was_not_finished_is_not_shown(tmp_path):
    late = scored_of(OWN, "sids", np.zeros(ROWS), finished=False)
    result = small_result(OWN)
    result = type(result)((late,), (), result.unseen, result.users, result.facts)
    assert read(write(tmp_path / "probe.json", result)) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"generation": "g1"}', "null"])
def test_a_file_that_is_no_result_is_none(tmp_path, content):
    path = tmp_path / "probe.json"
    path.write_text(content)
    assert read(UPath(path)) is None


def test_without_a_file_there_is_none(tmp_path):
    assert read(UPath(tmp_path / "gone.json")) is None
