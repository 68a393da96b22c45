import json
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.arrow.json_text import escaped, json_object, of_ids, quoted
from sid_assets.core.errors import InputError
from sid_assets.core.training.prompts import LANGUAGES, SLOTS, Wordings, load_prompts, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def keys(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 2**63, n).astype(np.uint64)


def filled(wordings: list[object], n: int = 50, **slots: list[str]) -> list[str]:
    """The drawn texts, decoded from their JSON strings."""
    made = Wordings("test", [parse(w, frozenset(slots)) for w in wordings])
    values = {name: escaped(pa.array(column)) for name, column in slots.items()}
    return [json.loads(f'"{text}"') for text in made.fill(keys(n), **values).to_pylist()]


@given(st.lists(TEXT), st.sampled_from([1, 2]))
def test_texts_are_escaped_as_by_json_dumps(texts: list[str], skipped: int) -> None:
    column = pa.array(["\x00", '"', *texts, None])[skipped:]
    expected = column.to_pylist()
    assert escaped(column).to_pylist() == [
        None if t is None else json.dumps(t, ensure_ascii=False)[1:-1] for t in expected
    ]
    made = json_object(a=quoted(column), b=of_ids(pa.array(range(len(column)))))
    assert made.to_pylist() == [
        None if t is None else json.dumps({"a": t, "b": i}, ensure_ascii=False)
        for i, t in enumerate(expected)
    ]


def test_slots_are_filled_in_any_order() -> None:
    wordings = ["{a} then {b}", "{b}", "{{literal}} {b}{a}!", '“quotes” "{a}"\n{b}']
    wordings[1] += "{a}"
    names = [f'n"{i}' for i in range(50)]
    texts = filled([*wordings], a=names, b=[f"{{a}} {i}" for i in range(50)])
    expected = [[w.format(a=f'n"{i}', b=f"{{a}} {i}") for w in wordings] for i in range(50)]
    assert all(text in of_row for text, of_row in zip(texts, expected, strict=True))
    drawn = {of_row.index(text) for text, of_row in zip(texts, expected, strict=True)}
    assert drawn == {0, 1, 2, 3}


@given(TEXT, TEXT)
def test_a_mapping_becomes_json_in_the_text(a: str, b: str) -> None:
    (text,) = filled([{"键": "{a}", 'k"': "x {b} \n y"}], 1, a=[a], b=[b])
    assert text == json.dumps({"键": a, 'k"': f"x {b} \n y"}, ensure_ascii=False)


def test_the_draw_is_even_and_depends_on_the_key() -> None:
    made = Wordings("test", [(str(i),) for i in range(4)])
    drawn = made.fill(keys(8000)).to_pylist()
    assert all(abs(drawn.count(str(i)) - 2000) < 200 for i in range(4))
    assert made.fill(keys(8000)[::-1].copy()).to_pylist() == drawn[::-1]
    other = Wordings("another", [(str(i),) for i in range(4)]).fill(keys(8000)).to_pylist()
    assert abs(sum(a == b for a, b in zip(drawn, other, strict=True)) - 2000) < 200


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_list_has_wordings_in_every_language(language: str) -> None:
    prompts = load_prompts(language)
    assert prompts.keys() == SLOTS.keys()
    answers = {"sft_label_pred.yes", "sft_label_pred.no"}
    assert {name for name, wordings in prompts.items() if len(wordings) < 2} == answers


def test_the_english_wordings_are_english_and_not_of_videos() -> None:
    text = (resources.files("sid_assets") / "prompts" / "en.yaml").read_text("utf-8")
    lists = yaml.safe_load(text)
    said = [entry for group in lists.values() for entries in group.values() for entry in entries]
    texts = [str(entry) for entry in said]
    assert all("video" not in text.lower() for text in texts)
    assert not [text for text in texts if any("\u4e00" <= letter <= "\u9fff" for letter in text)]


def test_the_answers_are_those_that_the_system_messages_name() -> None:
    for language, (yes, no) in {"zh": ("是", "否"), "en": ("Yes", "No")}.items():
        prompts = load_prompts(language)
        answers = [
            prompts[f"sft_label_pred.{name}"].fill(keys(1))[0].as_py() for name in ("yes", "no")
        ]
        assert answers == [yes, no]


def test_without_a_choice_the_wordings_are_chinese() -> None:
    prompts, chinese = load_prompts(), load_prompts("zh")
    for name in ("sft_video_rec.system", "sft_ad_rec.task"):
        assert prompts[name].fill(keys(20)).equals(chinese[name].fill(keys(20)))
        assert load_prompts("")[name].fill(keys(20)).equals(chinese[name].fill(keys(20)))


def test_one_of_the_texts_with_a_sid_and_its_caption_is_json() -> None:
    prompts = load_prompts()
    values = {"sid": pa.array(["S"] * 99), "caption": pa.array([r"a \"c\""] * 99)}
    texts = prompts["item_understand.text"].fill(keys(99), **values).to_pylist()
    expected = json.dumps({"视频ID": "S", "视频内容": 'a "c"'}, ensure_ascii=False)
    assert expected in [json.loads(f'"{text}"') for text in texts]


def test_a_users_own_file(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("sft_ad_rec:\n  task: [only this]\n", "utf-8")
    prompts = load_prompts(tmp_path / "own.yaml")
    assert prompts.keys() == SLOTS.keys()
    assert set(prompts["sft_ad_rec.task"].fill(keys(9)).to_pylist()) == {"only this"}
    assert len(prompts["sft_ad_rec.system"]) > 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sft_ad_rec: [", "not YAML"),
        ("- a", "expected groups of lists"),
        ("sft_ad_rec: text", "expected groups of lists"),
        ("sft_ad_rec: {tasks: [a]}", "sft_ad_rec.tasks: unknown list. Known are lines.longview"),
        ("sft_ad_rec: {task: []}", "expected a list of wordings"),
        ("sft_ad_rec: {task: a}", "expected a list of wordings"),
        ("sft_ad_rec: {task: [5]}", "a wording must be text"),
        ("sft_ad_rec: {task: ['']}", "a wording must be text"),
        ("sft_ad_rec: {task: ['{history}']}", "expected no slots"),
        ("sft_video_rec: {user: [a]}", "expected {history}, once each"),
        ("sft_video_rec: {user: ['{history}{history}']}", "expected {history}, once each"),
        ("sft_video_rec: {user: ['{history}{uid}']}", "expected {history}, once each"),
        ("sft_interactive_rec: {user: ['{keyword}']}", "expected {keyword}, {profile}"),
        ("sft_video_rec: {user: ['{history.__class__}']}", "expected {history}, once each"),
        ("sft_video_rec: {user: ['{history[0]}']}", "expected {history}, once each"),
        ("sft_video_rec: {user: ['{history!r}']}", "a slot must be a plain name"),
        ("sft_video_rec: {user: ['{history:>9}']}", "a slot must be a plain name"),
        ("sft_video_rec: {user: ['{history']}", "expected '}'"),
        ("sft_video_rec: {user: ['{}']}", "expected {history}, once each"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.yaml").write_text(text, "utf-8")
    with pytest.raises(InputError) as refused:
        load_prompts(tmp_path / "own.yaml")
    assert str(tmp_path / "own.yaml") in str(refused.value)
    assert said in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the prompts cannot be read"):
        load_prompts(tmp_path / "nowhere.yaml")
