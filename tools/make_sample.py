"""Make the built-in sample, `sid_assets/sample/*.parquet`, from `bokeh-sampledata`.

    pip install bokeh-sampledata==2026.1
    python tools/make_sample.py [FOLDER]

The films are facts from Wikidata. Users are simulated: each loves a few films, and watches more
films of their genres, directors, languages, countries and decades, well-known ones first. All
draws come from one seed, so the same package gives the same tables.
"""

import argparse
import hashlib
import json
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from chinese_names import COUNTRIES, GENRES, LANGUAGES

SAMPLE_FOLDER = Path(__file__).parents[1] / "sid_assets" / "sample"
MOVIES_DB_SHA256 = "1d9c6a02e488d0354b2309e16130c58820a91ac2ce417e814c5964f9579a65ac"

SEED = 2512
USERS = 2100
USERS_WITH_LONG_HISTORY = 8
FIRST_UID = 100_001
LABELS = ("longview", "like", "follow", "forward", "not_interested")

SHARE_NULL_CAPTION = 0.01
SHARE_NO_CAPTION_ROW = 0.07
SHARE_GONE = 0.01
"""Share of references to films that have left the catalog since."""

FACET_WEIGHTS = {"director": 6.0, "language": 2.0, "genre": 1.0, "country": 1.0, "decade": 0.5}
"""How much a film gains by sharing this facet with a film that the user loves."""

SHORT_COUNTRIES = {
    "United States": "USA",
    "United Kingdom": "UK",
    "People's Republic of China": "China",
}

PIDS = pa.list_(pa.int64())
CATALOG = pa.schema(
    [
        ("pid", pa.int64()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("category", pa.string()),
        ("year", pa.int64()),
        ("runtime", pa.int64()),
        ("director", pa.string()),
        ("cast", pa.string()),
        ("language", pa.string()),
        ("country", pa.string()),
        ("production", pa.string()),
        ("critics_score", pa.int64()),
        ("reviews", pa.int64()),
        ("metacritic", pa.int64()),
        ("oscars", pa.int64()),
    ]
)
CAPTIONS = pa.schema([("pid", pa.int64()), ("dense_caption", pa.string())])
INTERACTIONS = pa.schema(
    [
        ("uid", pa.int64()),
        ("split", pa.int64()),
        ("hist_video_pid", PIDS),
        ("target_video_pid", PIDS),
        *((f"{side}_video_{label}", PIDS) for label in LABELS for side in ("hist", "target")),
        ("hist_longview_video_list", PIDS),
        ("hist_ad_pid", PIDS),
        ("target_ad_pid", PIDS),
        ("inter_user_profile_with_sid", pa.string()),
        ("inter_keyword_to_items", pa.string()),
        ("reco_gsu_caption", pa.string()),
        ("reco_target_caption", pa.string()),
        ("reco_cot", pa.string()),
        ("target_pid", pa.int64()),
    ]
)


# ---------------------------------------------------------------------------------------- films


@dataclass(frozen=True)
class Film:
    """A film's facts; lists are empty and numbers None where Wikidata has none.

    `critics_score` is the percentage of `reviews` that are good, `metacritic` a score of 0..100.
    """

    pid: int
    title: str
    year: int
    runtime: int | None
    genres: list[str]
    directors: list[str]
    cast: list[str]
    languages: list[str]
    countries: list[str]
    studios: list[str]
    critics_score: int | None
    reviews: int
    metacritic: int | None
    oscars: int

    @property
    def decade(self) -> str:
        """Such as 1990s."""
        return f"{self.year // 10 * 10}s"

    @property
    def is_reviewed(self) -> bool:
        """Whether both the number of reviews and the share of good ones are known."""
        return self.reviews > 0 and self.critics_score is not None

    @property
    def facets(self) -> list[tuple[str, str]]:
        """What it can share with other films: (kind, value); English says nothing."""
        return [
            *(("genre", genre) for genre in self.genres),
            *(("director", director) for director in self.directors),
            *(("language", language) for language in self.languages if language != "English"),
            *(("country", country) for country in self.countries),
            ("decade", self.decade),
        ]


def movies_db() -> Path:
    """The database that `bokeh-sampledata` 2026.1 ships; other versions are refused."""
    from bokeh_sampledata.movies_data import movie_path

    path = Path(movie_path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != MOVIES_DB_SHA256:
        raise SystemExit(f"{path} is not that of bokeh-sampledata 2026.1: install that version.")
    return path


def read_films(path: Path) -> list[Film]:
    """All films, sorted by pid."""
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        films = connection.execute("select * from omdb join tomatoes using (ID) order by ID")
        rows = films.fetchall()
    films_of = Counter(actor for row in rows for actor in names(row["Cast"]))
    return [
        Film(
            pid=row["ID"],
            title=one_line(row["Title"]),
            year=row["Year"],
            runtime=int(row["Runtime"]) if row["Runtime"] else None,
            genres=names(row["Genre"]),
            directors=names(row["Director"]),
            # The source lists actors alphabetically; those with the most films are best known.
            cast=sorted(names(row["Cast"]), key=lambda actor: (-films_of[actor], actor)),
            languages=names(row["Language"]),
            countries=names(row["Country"]),
            studios=names(row["Production"]),
            critics_score=row["Meter"],
            reviews=row["Reviews"] or 0,
            metacritic=row["Metacritic"],
            oscars=row["Oscars"],
        )
        for row in rows
    ]


def one_line(text: str) -> str:
    """The text with each run of white space as one space."""
    return " ".join(text.split())


def names(joined: str | None) -> list[str]:
    """The names in a list joined by commas, each once; "Cuba Gooding, Jr." is one name."""
    parts = re.split(r", (?!(?:Jr|Sr)\.)", joined or "")
    return list(dict.fromkeys(one_line(part) for part in parts if part.strip()))


# -------------------------------------------------------------------------------------- catalog


def catalog_row(film: Film) -> dict:
    """A film as a row of the catalog: three texts for the embedder, and the facts."""
    return {
        "pid": film.pid,
        "title": film.title,
        "description": description(film),
        "category": joined_or_null(film.genres),
        "year": film.year,
        "runtime": film.runtime,
        "director": joined_or_null(film.directors),
        "cast": joined_or_null(film.cast[:3]),
        "language": joined_or_null(film.languages),
        "country": joined_or_null(film.countries),
        "production": joined_or_null(film.studios),
        "critics_score": film.critics_score,
        "reviews": film.reviews,
        "metacritic": film.metacritic,
        "oscars": film.oscars,
    }


def joined_or_null(items: list[str]) -> str | None:
    """The names joined by commas; None where there are none."""
    return ", ".join(items) or None


def description(film: Film) -> str:
    """The facts that make films alike, with few words that all films share."""
    countries = [SHORT_COUNTRIES.get(country, country) for country in film.countries[:3]]
    languages = [language for language in film.languages if language != "English"]
    sentences = [
        f"{', '.join(film.genres)}." if film.genres else "",
        f"{', '.join([*countries, str(film.year)])} ({film.decade}).",
        f"In {', '.join(languages[:3])}." if languages else "",
        f"Directed by {', '.join(film.directors[:2])}." if film.directors else "",
        f"With {', '.join(film.cast[:3])}." if film.cast else "",
    ]
    return " ".join(filter(None, sentences))


# ------------------------------------------------------------------------------------- captions


def make_captions(films: list[Film], rng: np.random.Generator) -> dict[int, str | None]:
    """Captions by pid: some are None, and some films are left out."""
    captions = {}
    for film, draw in zip(films, rng.random(len(films)), strict=True):
        if draw < SHARE_NULL_CAPTION:
            captions[film.pid] = None
        elif draw >= SHARE_NULL_CAPTION + SHARE_NO_CAPTION_ROW:
            captions[film.pid] = caption(film)
    return captions


def caption(film: Film) -> str:
    """Facts of one film in Chinese; titles and names of people stay as they are."""
    languages = translated(film.languages, LANGUAGES)
    clauses = [
        f"《{film.title}》是{film.year}年的{kind_of_film(film)}",
        f"由{'、'.join(film.directors[:2])}执导" if film.directors else "",
        f"{'、'.join(film.cast[:3])}出演" if film.cast else "",
        f"对白为{'、'.join(languages[:3])}" if languages else "",
        f"片长{film.runtime}分钟" if film.runtime else "",
        f"{film.reviews}篇影评中{film.critics_score}%为好评" if film.is_reviewed else "",
        f"获得{film.oscars}项奥斯卡奖" if film.oscars else "",
    ]
    return "，".join(filter(None, clauses)) + "。"


def kind_of_film(film: Film) -> str:
    """Countries and genres, such as 法国、意大利剧情爱情片."""
    countries = "、".join(translated(film.countries, COUNTRIES)[:3])
    return f"{countries}{''.join(translated(film.genres, GENRES)[:3])}片"


def translated(items: list[str], dictionary: dict[str, str]) -> list[str]:
    """Their Chinese names, each once; those without one are left out."""
    return list(dict.fromkeys(dictionary[item] for item in items if item in dictionary))


# ---------------------------------------------------------------------------------------- taste


class FilmMarket:
    """What the simulation knows of all films; a film is identified by its position in the list.

    Attributes:
        films: The films.
        captions: Captions by pid.
        pids: (films,) ids.
        holders: For each facet, such as ("genre", "War"), the positions of the films that have it.
        reviews: (films,) number of reviews: how well known a film is.
        quality: (films,) the critics' score, from -1 (all bad) to 1 (all good).
        promoted: Positions of the films that are advertised.
        gone_pids: Ids that are no longer in any catalog.
    """

    def __init__(
        self, films: list[Film], captions: dict[int, str | None], rng: np.random.Generator
    ) -> None:
        """Index the films; draw which are promoted and which ids are gone."""
        self.films = films
        self.captions = captions
        self.pids = np.array([film.pid for film in films])
        self.holders = positions_by_facet(films)
        self.reviews = np.array([film.reviews for film in films])
        scores = [50 if film.critics_score is None else film.critics_score for film in films]
        self.quality = np.array(scores) / 50 - 1
        self.promoted = rng.choice(np.flatnonzero(self.reviews >= 40), 600, replace=False)
        self.gone_pids = np.setdiff1d(rng.integers(1000, self.pids.max(), 200), self.pids)

    def closeness(self, loved: Iterable[int]) -> np.ndarray:
        """How much each film shares with the loved ones, (films,), 1 for the closest."""
        shared = np.zeros(len(self.films))
        for position in loved:
            for facet in self.films[position].facets:
                shared[self.holders[facet]] += FACET_WEIGHTS[facet[0]]
        return shared / shared.max()

    def references(self, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Their ids; a small share is replaced by ids that are gone."""
        gone = rng.random(len(positions)) < SHARE_GONE
        return np.where(gone, rng.choice(self.gone_pids, len(positions)), self.pids[positions])


def positions_by_facet(films: list[Film]) -> dict[tuple[str, str], np.ndarray]:
    """For each facet, which films have it."""
    holders = defaultdict(list)
    for position, film in enumerate(films):
        for facet in film.facets:
            holders[facet].append(position)
    return {facet: np.array(positions) for facet, positions in holders.items()}


def best_first(positions: np.ndarray, appeal: np.ndarray, count: int) -> np.ndarray:
    """The positions with the greatest appeal, in that order."""
    return positions[np.argsort(-appeal[positions], kind="stable")[:count]]


# ---------------------------------------------------------------------------------------- users


@dataclass(frozen=True)
class User:
    """A simulated user, before their time is cut into samples.

    Attributes:
        uid: The user's id.
        loved: Positions of the films their taste comes from.
        appeal: (films,) what draws them to each film: taste, fame, and chance.
        videos: Positions of the films they watch, in order.
        video_pids: The ids of `videos`, some of them gone.
        labels: For each label, (videos,) of 0 and 1.
        ad_pids: Ids of the advertised films they click, in order; None where no ads are shown.
    """

    uid: int
    loved: np.ndarray
    appeal: np.ndarray
    videos: np.ndarray
    video_pids: np.ndarray
    labels: dict[str, np.ndarray]
    ad_pids: np.ndarray | None


def make_user(market: FilmMarket, uid: int, rng: np.random.Generator, *, long: bool) -> User:
    """Draw what a user loves, then what they watch, then how they like it."""
    fame = market.reviews / market.reviews.sum()
    loved = rng.choice(len(fame), rng.integers(2, 5), replace=False, p=fame)
    closeness = market.closeness(loved)
    # The greatest sums of log-weight and Gumbel noise are a weighted draw without replacement.
    appeal = 8 * closeness + np.log1p(market.reviews) + rng.gumbel(size=len(fame))
    watched = int(rng.integers(560, 700) if long else np.clip(rng.lognormal(3.2, 1.0), 4, 180))
    videos = rng.permutation(best_first(np.arange(len(fame)), appeal, watched))
    return User(
        uid=uid,
        loved=loved,
        appeal=appeal,
        videos=videos,
        video_pids=market.references(videos, rng),
        labels=make_labels(3 * closeness[videos] + market.quality[videos], rng),
        ad_pids=make_ads(market, appeal, rng, long=long),
    )


def make_labels(pleased: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The five labels, more likely if a film is close to the user's taste and well reviewed."""

    def draw(bias: float, slope: float) -> np.ndarray:
        return (rng.random(len(pleased)) < 1 / (1 + np.exp(-bias - slope * pleased))).astype(int)

    longview = draw(-1.0, 1.0)
    like = draw(-2.5, 1.0) & longview
    return {
        "longview": longview,
        "like": like,
        "follow": draw(-4.5, 1.0) & longview,
        "forward": draw(-3.0, 0.5) & like,
        "not_interested": draw(-2.0, -1.0) & (1 - longview),
    }


def make_ads(
    market: FilmMarket, appeal: np.ndarray, rng: np.random.Generator, *, long: bool
) -> np.ndarray | None:
    """Ids of the promoted films the user clicks; None for the two in five who see no ads."""
    if rng.random() < 0.4 and not long:
        return None
    clicked = 260 if long else int(np.clip(rng.lognormal(2.0, 0.8), 1, 80))
    return market.references(rng.permutation(best_first(market.promoted, appeal, clicked)), rng)


# --------------------------------------------------------------------------------- interactions


def make_interactions(market: FilmMarket, rng: np.random.Generator) -> list[dict]:
    """All samples, by user and then by time."""
    long = set(rng.choice(USERS, USERS_WITH_LONG_HISTORY, replace=False).tolist())
    rows = []
    for number in range(USERS):
        user = make_user(market, FIRST_UID + number, rng, long=number in long)
        rows += samples(market, user, rng)
    return rows


def samples(market: FilmMarket, user: User, rng: np.random.Generator) -> list[dict]:
    """Cut a user's time into samples: what was watched before, and what is watched next.

    The targets of one sample are in the history of the next. The last sample of a third of the
    users is in split 1.
    """
    starts = window_starts(len(user.videos), rng)
    ends = [*starts[1:], len(user.videos)]
    last_is_held_out = rng.random() < 1 / 3
    rows = [
        {
            "uid": user.uid,
            "split": int(last_is_held_out and end == len(user.videos)),
            **video_columns(user, start, end),
            **ad_columns(user, end / len(user.videos), rng),
            "inter_user_profile_with_sid": profile(market, user, start, rng),
            "inter_keyword_to_items": keywords(market, user, start, end, rng),
            **reasoning_columns(market, user, start, rng),
        }
        for start, end in zip(starts, ends, strict=True)
    ]
    if rng.random() < 0.02:
        forget_history(rows[0], unknown=rng.random() < 0.5)
    return rows


def window_starts(watched: int, rng: np.random.Generator) -> list[int]:
    """Where the targets of each sample begin: one to four windows of 1 to 15 films at the end."""
    starts = watched - np.cumsum(rng.integers(1, 16, rng.integers(1, 5)))
    return sorted(starts[starts > 0].tolist()) or [watched - 1]


def video_columns(user: User, start: int, end: int) -> dict:
    """History, targets, and their labels."""
    history = user.video_pids[:start]
    columns = {"hist_video_pid": history, "target_video_pid": user.video_pids[start:end]}
    for label, values in user.labels.items():
        columns[f"hist_video_{label}"] = values[:start]
        columns[f"target_video_{label}"] = values[start:end]
    columns["hist_longview_video_list"] = history[user.labels["longview"][:start] == 1]
    return columns


def forget_history(row: dict, *, unknown: bool) -> None:
    """Turn it into the sample of a newcomer, whose history no text can describe.

    The lists are null if the history is unknown, else empty.
    """
    for column in row:
        if column.startswith(("hist_video_", "hist_longview_")):
            row[column] = None if unknown else []
    texts = "inter_user_profile_with_sid", "reco_gsu_caption", "reco_target_caption", "reco_cot"
    row.update(dict.fromkeys(texts))


def ad_columns(user: User, share: float, rng: np.random.Generator) -> dict:
    """The ads clicked so far (about this share of all), and up to three next ones."""
    if user.ad_pids is None:
        return {"hist_ad_pid": None, "target_ad_pid": None}
    now = max(int(len(user.ad_pids) * share) - int(rng.integers(4)), 0)
    return {"hist_ad_pid": user.ad_pids[:now], "target_ad_pid": user.ad_pids[now : now + 3]}


def profile(market: FilmMarket, user: User, start: int, rng: np.random.Generator) -> str | None:
    """What the user likes, in Chinese; None for one in twelve, empty for one in a hundred."""
    draw = rng.random()
    if draw < 0.09:
        return "" if draw < 0.01 else None
    loved = [market.films[position] for position in user.loved]
    genres = most_common(translated(film.genres, GENRES) for film in loved)
    countries = most_common(translated(film.countries, COUNTRIES) for film in loved)
    directors = most_common(film.directors[:1] for film in loved)
    recent = [market.films[position].title for position in user.videos[max(start - 3, 0) : start]]
    clauses = [
        f"偏爱{'、'.join(genres)}片" if genres else "",
        f"多看{'、'.join(countries)}电影" if countries else "",
        f"关注{'、'.join(directors)}的作品" if directors else "",
        f"最近看过{''.join(f'《{title}》' for title in recent)}",
    ]
    return f"该用户{'，'.join(filter(None, clauses))}。"


def most_common(lists: Iterable[list[str]]) -> list[str]:
    """The two commonest items of all lists."""
    return [item for item, _ in Counter(item for items in lists for item in items).most_common(2)]


def keywords(
    market: FilmMarket, user: User, start: int, end: int, rng: np.random.Generator
) -> str | None:
    """JSON: keywords the user searches for, and what they find; None for half of the samples."""
    draw = rng.random()
    if draw < 0.5:
        return "{}" if draw < 0.01 else None
    found = {}
    for position in rng.choice(user.videos[start:end], min(3, end - start), replace=False):
        facets = [facet for facet in market.films[position].facets if facet[0] != "decade"]
        if facets:
            facet = facets[rng.integers(len(facets))]
            hits = best_first(market.holders[facet], user.appeal, int(rng.integers(2, 14)))
            found[keyword(*facet)] = market.references(hits, rng).tolist()
    return json.dumps(found, ensure_ascii=False)


def keyword(kind: str, value: str) -> str:
    """The search term for a facet, such as 犯罪片, 法国电影, 法语片 or Agnès Varda."""
    match kind:
        case "genre":
            return f"{GENRES[value]}片"
        case "country":
            return f"{COUNTRIES.get(value, value)}电影"
        case "language":
            return f"{LANGUAGES.get(value, value)}片"
    return value


def reasoning_columns(market: FilmMarket, user: User, start: int, rng: np.random.Generator) -> dict:
    """`target_pid`, and for half of the samples captions and a reason made of shared facts."""
    target = user.videos[start]
    target_pid = int(user.video_pids[start])
    target_caption = market.captions.get(target_pid)
    columns = {"target_pid": target_pid}
    if target_caption is None or rng.random() < 0.5:
        return columns
    history = user.videos[max(start - 150, 0) : start]
    alike = [market.films[i] for i in best_first(history, market.closeness([target]), 3)]
    return columns | {
        "reco_gsu_caption": "".join(market.captions.get(film.pid) or "" for film in alike),
        "reco_target_caption": target_caption,
        "reco_cot": reason(market.films[target], alike),
    }


def reason(target: Film, alike: list[Film]) -> str:
    """What the target has in common with films of the history, in Chinese."""
    clauses = []
    for film in alike:
        directors = [name for name in film.directors if name in target.directors]
        genres = [name for name in film.genres if name in target.genres]
        common = [f"{name}作品" for name in directors]
        common += [f"{name}题材" for name in translated(genres, GENRES)]
        if common:
            clauses.append(f"看过的《{film.title}》与它同为{'、'.join(common)}")
    history = "；".join(clauses) or "看过的影片与它都不相近"
    return f"候选影片《{target.title}》是{kind_of_film(target)}。用户{history}。"


# ---------------------------------------------------------------------------------------- files


def write(rows: list[dict], schema: pa.Schema, path: Path) -> None:
    """Write rows as one small parquet file; columns a row does not have are null."""
    table = pa.Table.from_pylist(rows, schema)
    # Pages as large as a column, so that zstd finds what rows have in common.
    pq.write_table(table, path, compression="zstd", compression_level=19, data_page_size=16 * 2**20)
    print(f"{path}: {table.num_rows:,} rows, {path.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    """Write the three files of the sample."""
    parser = argparse.ArgumentParser(description="Make the built-in sample.")
    parser.add_argument("folder", nargs="?", type=Path, default=SAMPLE_FOLDER)
    folder = parser.parse_args().folder
    rng = np.random.default_rng(SEED)
    films = read_films(movies_db())
    captions = make_captions(films, rng)
    interactions = make_interactions(FilmMarket(films, captions, rng), rng)
    write([catalog_row(film) for film in films], CATALOG, folder / "catalog.parquet")
    caption_rows = [{"pid": pid, "dense_caption": text} for pid, text in captions.items()]
    write(caption_rows, CAPTIONS, folder / "captions.parquet")
    write(interactions, INTERACTIONS, folder / "interactions.parquet")


if __name__ == "__main__":
    main()
