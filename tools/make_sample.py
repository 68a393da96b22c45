"""Make the built-in sample, `sid_assets/sample/*.parquet`, from `bokeh-sampledata`.

    pip install bokeh-sampledata==2026.1
    python tools/make_sample.py [FOLDER]

The films are facts from Wikidata. Users are simulated: each loves a few films, and watches more
films of their genres, directors, languages, countries and decades, well-known ones first. All
draws come from one seed, so the same package gives the same tables.
"""

import argparse
import hashlib
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
DAY = 86_400
FIRST_DAY = 1_704_067_200
"""2024-01-01, in seconds since 1970."""

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
COLUMNS = {
    "liked": "like",
    "followed": "follow",
    "shared": "forward",
    "rejected": "not_interested",
}
"""The columns of the log that are labels."""

EVENTS = pa.schema(
    [
        ("user_id", pa.int32()),
        ("item_id", pa.int64()),
        ("timestamp", pa.int64()),
        ("watched", pa.int8()),
        *((name, pa.int8()) for name in COLUMNS),
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
        gone_pids: Ids that are no longer in any catalog.
    """

    def __init__(
        self, films: list[Film], captions: dict[int, str | None], rng: np.random.Generator
    ) -> None:
        """Index the films; draw which ids are gone."""
        self.films = films
        self.captions = captions
        self.pids = np.array([film.pid for film in films])
        self.holders = positions_by_facet(films)
        self.reviews = np.array([film.reviews for film in films])
        scores = [50 if film.critics_score is None else film.critics_score for film in films]
        self.quality = np.array(scores) / 50 - 1
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
    """A simulated user.

    Attributes:
        uid: The user's id.
        loved: Positions of the films their taste comes from.
        appeal: (films,) what draws them to each film: taste, fame, and chance.
        videos: Positions of the films they watch, in order.
        video_pids: The ids of `videos`, some of them gone.
        labels: For each label, (videos,) of 0 and 1.
    """

    uid: int
    loved: np.ndarray
    appeal: np.ndarray
    videos: np.ndarray
    video_pids: np.ndarray
    labels: dict[str, np.ndarray]


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


# --------------------------------------------------------------------------------------- events


def make_events(market: FilmMarket, rng: np.random.Generator) -> list[dict]:
    """All events, by time."""
    long = set(rng.choice(USERS, USERS_WITH_LONG_HISTORY, replace=False).tolist())
    rows = []
    for number in range(USERS):
        user = make_user(market, FIRST_UID + number, rng, long=number in long)
        rows += events(user, rng)
    return sorted(rows, key=lambda row: row["timestamp"])


def events(user: User, rng: np.random.Generator) -> list[dict]:
    """The films of a user in sittings of 1 to 15, minutes apart; between sittings are days."""
    time = FIRST_DAY + int(rng.integers(300 * DAY))
    left = 0
    rows = []
    longview = user.labels["longview"]
    watched = np.where(
        longview, rng.integers(70, 101, len(longview)), rng.integers(1, 70, len(longview))
    )
    for place, pid in enumerate(user.video_pids.tolist()):
        if left == 0:
            left = int(rng.integers(1, 16))
            time += int(rng.integers(DAY // 2, 14 * DAY))
        time += int(rng.integers(20, 25 * 60))
        left -= 1
        labels = {name: int(user.labels[label][place]) for name, label in COLUMNS.items()}
        rows.append(
            {
                "user_id": user.uid,
                "item_id": pid,
                "timestamp": time,
                "watched": int(watched[place]),
                **labels,
            }
        )
    return rows


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
    log = make_events(FilmMarket(films, captions, rng), rng)
    write([catalog_row(film) for film in films], CATALOG, folder / "catalog.parquet")
    caption_rows = [{"pid": pid, "dense_caption": text} for pid, text in captions.items()]
    write(caption_rows, CAPTIONS, folder / "captions.parquet")
    write(log, EVENTS, folder / "events.parquet")


if __name__ == "__main__":
    main()
