"""Lookups in data folders: those that the graph made, copies, and a URL."""

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sid_assets
from sid_assets.core.embedders import Embedded
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.core.store.provenance import Provenance
from sid_assets.settings import Settings
from sid_assets_tests.core.drawn_vectors import FakeEmbedder
from sid_assets_tests.films import STAGES, make
from sid_assets_tests.graph import settings_for, write_catalog

TABLES = ["item_texts", "item_embeddings", "codes", "sid_registry", "pid2sid", "sid2pid"]


@pytest.fixture(autouse=True)
def _no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedder is made from the settings, but not from those in a developer's `.env`."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def data(films: Path) -> sid_assets.DataFolder:
    return sid_assets.load(films)


@pytest.fixture(scope="module")
def goods(films: Path) -> sid_assets.DataFolder:
    return sid_assets.load(films, domain="goods")


def test_the_repr_is_one_line(films: Path, data: Any, goods: Any):
    sids = len(data["sid2pid"])
    assert repr(data) == f"<sid_assets data in {films}: 104 items, {sids} SIDs>"
    assert repr(goods).startswith(f"<sid_assets data in {films}: 30 goods, ")


def test_tables_by_name(films: Path, data: Any, goods: Any):
    assert data.tables == [*TABLES, "sid_vocabulary"]
    assert goods.tables == TABLES


def test_a_missing_table_is_named(data: Any):
    with pytest.raises(StoreError, match=r"no table 'codez'\. Its tables: item_texts, "):
        data["codez"]
    with pytest.raises(StoreError, match=r"no table 'pid_map'\. Materialise pid_map"):
        data["pid_map"]


def test_a_folder_without_tables_is_refused(tmp_path: Path, films: Path):
    with pytest.raises(StoreError, match="there are no tables of sid_assets here"):
        sid_assets.load(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="there are no tables of books here"):
        sid_assets.load(films, domain="books")


@pytest.mark.parametrize(("prefix", "unknown"), [("", 7), ("goods/", "g99")])
def test_sids_of_items(films: Path, prefix: str, unknown: Any):
    data = sid_assets.load(films, domain=prefix.strip("/"))
    rows = pd.read_parquet(films / f"{prefix}pid2sid.parquet")
    pids, codes = rows.pid.tolist(), [sid.tolist() for sid in rows.sid]
    texts = sid_assets.to_text(codes)
    assert data.codes_of([*pids, unknown, None]) == [*codes, None, None]
    assert data.sids_of([*pids, unknown, None]) == [*texts, None, None]
    assert data.sids_of(pids[3]) == texts[3]
    assert data.sids_of(unknown) is None
    assert data.codes_of(np.array([pids[1], unknown])).tolist() == [codes[1], [-1, -1, -1]]
    assert data.codes_of(pa.array([unknown, pids[1]])).to_pylist() == [None, codes[1]]
    found = data.sids_of(pd.Series([unknown, pids[2]], index=[5, 6]))
    assert found.loc[6] == texts[2]
    assert found.isna().tolist() == [True, False]
    assert data.sids_of([]) == []


@pytest.mark.parametrize("prefix", ["", "goods/"])
def test_items_of_sids(films: Path, prefix: str):
    data = sid_assets.load(films, domain=prefix.strip("/"))
    rows = pd.read_parquet(films / f"{prefix}sid2pid.parquet")
    pids = [found.tolist() for found in rows.pids]
    assert data.items_of(rows.sid.tolist()) == pids
    assert data.items_of([codes.tolist() for codes in rows.codes]) == pids
    assert data.items_of(rows.sid[0]) == data.items_of(rows.codes[0]) == pids[0]
    assert data.items_of([8191, 0, 0]) == []
    assert data.items_of([None, rows.sid[1]]) == [None, pids[1]]
    matrix = np.array(rows.codes.tolist())
    assert [found.tolist() for found in data.items_of(matrix)] == pids
    assert data.items_of(pa.array(rows.sid)).to_pylist() == pids
    assert [found.tolist() for found in data.items_of(rows.sid)] == pids
    with pytest.raises(InputError, match="1 of 1 values is not a SID; the first: 'no SID'"):
        data.items_of("no SID")


@pytest.mark.parametrize("prefix", ["", "goods/"])
def test_neighbours_share_the_first_codes(films: Path, prefix: str):
    data = sid_assets.load(films, domain=prefix.strip("/"))
    sids = pd.read_parquet(films / f"{prefix}pid2sid.parquet").set_index("pid").sid.map(tuple)
    for depth in (1, 2, 3):
        beginnings = sids.str[:depth]
        for pid, found in zip(sids.index, data.neighbours(list(sids.index), depth), strict=True):
            assert set(found) == set(sids.index[beginnings == beginnings[pid]]) - {pid}
    first = sids.index[0]
    assert data.neighbours(first) == data.neighbours([first], depth=2)[0]
    assert data.neighbours("nobody" if prefix else -1) is None
    with pytest.raises(InputError, match="depth=4: must be from 1 to 3"):
        data.neighbours(first, depth=4)


@pytest.mark.parametrize(
    ("domain", "pids", "words"),
    [
        ("", ["189540", "7"], r"\('189540', '7'\) are of type string, .* are integers"),
        ("goods", [1, 2], r"\(1, 2\) are of type int64, .* are text"),
        ("", [189540, "7"], "These pids cannot be read as values of one type"),
        ("", [[189540]], "are of type list"),
        ("", [1.5], r"not 64-bit integers \(1 row\). First ids: 1.5"),
        ("", [True], "holds bool"),
    ],
)
def test_pids_of_another_type_are_refused(films: Path, domain: str, pids: list, words: str):
    with pytest.raises(InputError, match=words):
        sid_assets.load(films, domain).sids_of(pids)


def test_a_column_of_pids_with_gaps_finds_integers(data: Any):
    with_gaps = pd.Series([189540, None, 103569])  # float64, as pandas has it
    assert data.sids_of(with_gaps).isna().tolist() == [False, True, False]


def test_new_texts_get_the_codes_that_the_graph_gives(films: Path, data: Any, goods: Any):
    for folder in (data, goods):
        texts = folder["item_texts"].to_pandas()
        codes = folder.codes_of(texts.pid.to_numpy())
        assert folder.encode_texts(texts.text.tolist()) == codes.tolist()
        assert folder.encode_texts(texts.text[0]) == codes[0].tolist()
    assert folder.encode_texts([]) == []


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a", " ", None], r"2 of 3 texts are empty \(the first at positions 1, 2\)"),
        ([1], "these are of type int64"),
    ],
)
def test_texts_without_words_are_refused(data: Any, texts: list, words: str):
    with pytest.raises(InputError, match=words):
        data.encode_texts(texts)


def test_an_embedder_of_another_space_is_refused(data: Any):
    with pytest.raises(InputError, match=r"another embedding space .*'hashing' -> 'fake'"):
        data.encode_texts(["a"], embedder=FakeEmbedder())


@dataclass
class OtherWords(HashedWordsEmbedder):
    """Claims to be the embedder of hashed words, but gives other vectors."""

    def embed(self, texts: Sequence[str]) -> Embedded:
        return super().embed([text[::-1] for text in texts])


def test_an_embedder_that_gives_other_vectors_is_refused(data: Any):
    with pytest.raises(InputError, match="no longer gives the same vectors"):
        data.encode_texts(["a"], embedder=OtherWords())


def test_a_tokenizer_other_than_that_of_the_codes_is_refused(films: Path, tmp_path: Path):
    import torch

    copy = shutil.copytree(films, tmp_path / "copy")  # which follows the symlinks
    path = copy / "tokenizer_checkpoint.pt"
    content = torch.load(path, weights_only=True)
    content["model"]["centroids.0"][0] += 1
    torch.save(content, path)
    with pytest.raises(InputError, match="its tokenizer is not the one that made its SIDs"):
        sid_assets.load(copy).encode_texts(["a"])


@pytest.mark.parametrize("name", ["sid_prefixes.safetensors", "tokenizer_checkpoint.pt"])
def test_a_flipped_bit_in_a_file_without_rows_is_found(films: Path, tmp_path: Path, name: str):
    copy = shutil.copytree(films, tmp_path / "copy", symlinks=True)
    path = (copy / name).resolve()
    assert path.is_relative_to(copy)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    data = sid_assets.load(copy)
    with pytest.raises(StoreError, match=rf"{name}: is not the file that was committed"):
        data.logits_processor() if name.startswith("sid") else data.encode_texts(["a"])


def test_copies_of_some_tables_are_enough(films: Path, data: Any, tmp_path: Path):
    names = ("pid2sid.parquet", "sid2pid.parquet", "sid_prefixes.safetensors")
    for name in (*names, "tokenizer_checkpoint.pt"):
        shutil.copy(films / name, tmp_path / name)
    shutil.copytree(films / "item_embeddings.parquet", tmp_path / "item_embeddings.parquet")
    copy = sid_assets.load(tmp_path)
    assert repr(copy) == repr(data).replace(str(films), str(tmp_path))
    assert copy.tables == ["item_embeddings", "pid2sid", "sid2pid"]
    pids = data["pid2sid"].to_pandas().pid.tolist()
    assert copy.neighbours(pids) == data.neighbours(pids)
    assert copy["item_embeddings"].to_table().equals(data["item_embeddings"].to_table())
    assert copy.encode_texts("a film") == data.encode_texts("a film")
    assert repr(copy.logits_processor()) == f"SidLogitsProcessor({len(data['sid2pid'])} SIDs)"


OTHERS = {"generation": "0123456789ab", "tokenizer": "0123456789abcdef"}


def _copy(films: Path, folder: Path, name: str, **made: str) -> None:
    """Copy a table, and let it say that it was made in another way."""
    file = f"{name}.parquet"
    if name.endswith("_dataset"):  # the folder of the films has none
        rows, provenance = pa.table({"source": ["x"]}), Provenance(name)
    else:
        rows = pq.read_table(films / file)
        provenance = Provenance.of(rows.schema)
    assert provenance
    rows = rows.cast(replace(provenance, **made).attach(rows.schema))
    pq.write_table(rows, folder / file)


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("other", ["sid2pid", "sid_vocabulary", "video_rec_dataset"])
@pytest.mark.parametrize("first", ["pid2sid", "the other"])
def test_tables_of_two_generations_or_tokenizers_are_not_opened_together(
    films: Path, tmp_path: Path, what: str, other: str, first: str
):
    shutil.copy(films / "pid2sid.parquet", tmp_path)
    _copy(films, tmp_path, other, **{what: OTHERS[what]})
    copy = sid_assets.load(tmp_path)
    if first == "pid2sid":
        assert len(copy["pid2sid"]) == 104
    for _ in range(2):
        with pytest.raises(StoreError, match=f"has SIDs of {what} {OTHERS[what]}") as error:
            copy[other]
        for name in ("pid2sid", other):
            assert str(tmp_path / f"{name}.parquet") in str(error.value)
    assert repr(copy).startswith(f"<sid_assets data in {tmp_path}: 104 items")


def test_without_pid2sid_the_first_table_says_what_fits(films: Path, tmp_path: Path):
    for name, made in (("sid2pid", {}), ("sid_vocabulary", OTHERS)):
        _copy(films, tmp_path, name, **made)
    for first, second in (("sid2pid", "sid_vocabulary"), ("sid_vocabulary", "sid2pid")):
        copy = sid_assets.load(tmp_path)
        assert len(copy[first])
        with pytest.raises(StoreError, match="has SIDs of generation"):
            copy[second]


def test_prefixes_of_another_tokenizer_are_refused(films: Path, tmp_path: Path):
    shutil.copy(films / "pid2sid.parquet", tmp_path)
    prefixes = SidPrefixes.load(films / "sid_prefixes.safetensors")
    replace(prefixes, tokenizer="other").save(tmp_path / "sid_prefixes.safetensors")
    with pytest.raises(StoreError, match=r"sid_prefixes\.safetensors: has SIDs of tokenizer other"):
        sid_assets.load(tmp_path).logits_processor()


def test_without_the_vectors_a_warning_says_that_the_canary_was_not_compared(
    films: Path, data: Any, tmp_path: Path
):
    for name in ("pid2sid.parquet", "tokenizer_checkpoint.pt"):
        shutil.copy(films / name, tmp_path / name)
    copy = sid_assets.load(tmp_path)
    with pytest.warns(UserWarning, match="no item_embeddings here") as warned:
        assert copy.encode_texts(["a film"]) == data.encode_texts(["a film"])
    assert [warning.filename for warning in warned] == [__file__]
    with warnings.catch_warnings(action="error"):
        copy.encode_texts(["another film"])  # it is said once
        data.encode_texts(["another film"])


def test_a_copy_without_a_column_that_lookups_need_is_refused(tmp_path: Path):
    sids = pa.array([[1, 2, 3]], pa.list_(pa.int64()))
    for number, columns in enumerate(({"id": [1], "sid": sids}, {"pid": [1], "sid": ["text"]})):
        folder = tmp_path / str(number)
        folder.mkdir()
        pq.write_table(pa.table(columns), folder / "pid2sid.parquet")
        copy = sid_assets.load(folder)
        assert repr(copy) == f"<sid_assets data in {folder}: damaged>"
        with pytest.raises(StoreError, match=r"column '(pid' is missing|sid' is of type)"):
            copy.sids_of(1)


def test_a_damaged_copy_is_named(tmp_path: Path):
    (tmp_path / "pid2sid.parquet").write_bytes(b"PAR1, and no more")
    copy = sid_assets.load(tmp_path)
    assert repr(copy) == f"<sid_assets data in {tmp_path}: damaged>"
    with pytest.raises(StoreError, match=r"pid2sid\.parquet: not a complete parquet file"):
        copy.sids_of(1)


@pytest.fixture
def small(tmp_path: Path) -> Settings:
    write_catalog(tmp_path / "catalog.parquet", items=30)
    return settings_for(tmp_path, data_dir=f"memory://{tmp_path.name}", max_changed_share="1")


def test_a_url_and_a_refresh_while_it_is_open(small: Settings, tmp_path: Path):
    make(small, *STAGES)
    data = sid_assets.load(small.data_dir)
    assert f"{tmp_path.name}: 30 items, " in repr(data)
    assert data.tables == TABLES
    codes = data.codes_of(range(1, 31))
    assert data.encode_texts(data["item_texts"].to_pandas().text.tolist()) == codes
    assert all(pid in found for pid, found in zip(range(1, 31), data.items_of(codes), strict=True))
    assert data.logits_processor() is not None

    write_catalog(tmp_path / "catalog.parquet", items=31)
    make(small, "item_texts", "item_embeddings", "codes", "sid_registry", "pid2sid")
    assert data.sids_of(31) is None  # as it was when it was opened
    again = sid_assets.load(small.data_dir)
    assert again.sids_of(31)
    for stale in (lambda: again.items_of([1, 2, 3]), again.logits_processor):
        with pytest.raises(StoreError, match="made from another version of pid2sid"):
            stale()
