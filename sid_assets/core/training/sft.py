"""The fine-tuning data sets: messages of the system, the user and the answering assistant."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, is_valid, list_bounds, only, spans
from sid_assets.core.arrow.json_text import concatenated, escaped, json_object, quoted
from sid_assets.core.inputs.ids import convert_pids
from sid_assets.core.training import keywords
from sid_assets.core.training.block import Block, Samples, not_blank
from sid_assets.core.training.captions import Captions
from sid_assets.core.training.identity import Identifier, draw
from sid_assets.core.training.inputs import TrainingInputs
from sid_assets.core.training.labels import aligned, as_numbers, labelled, read_mask
from sid_assets.core.training.pretrain import HISTORY_LENGTH, TARGET_LENGTH
from sid_assets.core.training.prompts import Prompts
from sid_assets.core.training.sid_lists import SidLists
from sid_assets.core.training_sets import LABELS

LABELLED_LENGTH = 10
LONGVIEW_LENGTH = 100
AD_LENGTH = 200
GOODS_LENGTH = 100


def video_rec(rows: Block, inputs: TrainingInputs, identifier: Identifier) -> Samples:
    """A history; the answer is the targets."""
    history = rows.sids("hist_video_pid", inputs.items.histories, last=HISTORY_LENGTH)
    targets = rows.sids("target_video_pid", inputs.items, first=TARGET_LENGTH)
    kept = rows.keep_candidates(
        rows.has_id("uid")
        | rows.filled("hist_video_pid", history)
        | rows.filled("target_video_pid", targets)
    )
    uid, *content = only(kept, rows.id_json("uid"), history.content(), targets.content())
    history_text, answer = only(kept, history.text(), targets.text())
    ids = identifier.identify(uid, *content)
    prompts = inputs.prompts
    system = prompts["sft_video_rec.system"].fill(ids.keys)
    user = prompts["sft_video_rec.user"].fill(ids.keys, history=history_text)
    return Samples(ids, messages(system, [user], answer), json_object(uid=uid))


def interactive_rec(rows: Block, inputs: TrainingInputs, identifier: Identifier) -> Samples:
    """A profile and a keyword; the answer is the items chosen after searching for the keyword."""
    column, written_as = rows.rows[keywords.COLUMN], inputs.items.written_as
    found = keywords.read_keywords(column, TARGET_LENGTH, written_as)
    has_keyword = np.bincount(found.row, minlength=len(rows)) > 0
    passed = rows.keep_rows(
        rows.has_id("uid")
        | rows.not_empty("inter_user_profile_with_sid")
        | rows.not_null(keywords.COLUMN)
        | {
            f"{keywords.COLUMN} is no JSON object": found.readable,
            f"{keywords.COLUMN} has no keyword": has_keyword,
        }
    )
    row, keyword, items = found.row, found.keyword, found.items
    if not passed.all():
        of_passed = passed[row]
        row, (keyword, items) = row[of_passed], only(of_passed, keyword, items)

    ids = keywords.ids_of_catalog(items.values, rows.source, inputs.items, TARGET_LENGTH)
    lists = pa.ListArray.from_arrays(items.offsets, ids, mask=items.is_null())
    answers = rows.sids_of(lists, keywords.COLUMN, inputs.items, first=TARGET_LENGTH)
    kept = rows.keep_candidates(
        {
            "a keyword is empty or no text": as_bool(
                pc.greater(pc.binary_length(keyword), 0).fill_null(False)
            ),
            "a keyword has no list of items": is_valid(items),
            "no item of a keyword has a SID": answers.filled(),
        }
    )
    of_row = pa.array(row[kept])
    uid = rows.id_json("uid").take(of_row)
    profile = rows.text("inter_user_profile_with_sid").take(of_row)
    keyword, content, answer = only(kept, keyword, answers.content(), answers.text())
    ids = identifier.identify(uid, profile, keyword, content)
    prompts = inputs.prompts
    system = prompts["sft_interactive_rec.system"].fill(ids.keys)
    user = prompts["sft_interactive_rec.user"].fill(
        ids.keys, profile=escaped(profile), keyword=escaped(keyword)
    )
    metadata = json_object(uid=uid, keyword=quoted(keyword))
    return Samples(ids, messages(system, [user], answer), metadata)


def label_cond_rec(rows: Block, inputs: TrainingInputs, identifier: Identifier) -> Samples:
    """Histories by label and a label to predict; the answer is the targets with that label."""
    histories = labelled(rows, "hist", inputs.items.histories, last=LABELLED_LENGTH).sids
    targets = labelled(rows, "target", inputs.items, first=TARGET_LENGTH)
    available = np.stack(targets.positive, axis=1)
    uid = rows.id_json("uid")
    ids = identifier.identify(uid, *_contents(histories), *_contents(targets.sids))
    label = _draw_available(ids.keys, available)
    answered = np.choose(label, [sids.filled() for sids in targets.sids])
    kept = rows.keep_candidates(
        rows.has_id("uid")
        | rows.not_null("hist_video_pid")
        | rows.not_null("target_video_pid")
        | {
            "no labelled pid of hist_video_pid has a SID": _any_filled(histories),
            "no label has a positive in target_video_pid": available.any(axis=1),
            "no target of the drawn label has a SID": answered,
        }
    )
    ids, label = ids.filter(kept), pa.array(label[kept])
    prompts = inputs.prompts
    lines = _lines(LABELS, only(kept, *_texts(histories)), ids.keys, prompts)
    tasks = [prompts[f"sft_label_cond_rec.task_{name}"].fill(ids.keys) for name in LABELS]
    answers = only(kept, *_texts(targets.sids))
    body = messages(
        prompts["sft_label_cond_rec.system"].fill(ids.keys),
        [*lines, pc.choose(label, *tasks)],
        pc.choose(label, *answers),
    )
    (uid,) = only(kept, uid)
    interaction = quoted(pa.array(LABELS).take(label))
    return Samples(ids, body, json_object(uid=uid, target_interaction=interaction))


def label_pred(rows: Block, inputs: TrainingInputs, identifier: Identifier) -> Samples:
    """Histories by label and one target; the answer says whether the user watched it for long."""
    targets, mask = rows.lists("target_video_pid"), read_mask(rows, "target_video_longview")
    histories = labelled(rows, "hist", inputs.items.histories, last=LABELLED_LENGTH).sids
    starts, ends = list_bounds(targets)
    passed = rows.keep_rows(
        rows.has_id("uid")
        | rows.not_null("hist_video_pid")
        | rows.not_null("target_video_pid")
        | rows.not_null("target_video_longview")
        | {
            "target_video_pid is empty": ends > starts,
            "target_video_longview is not as long as target_video_pid": aligned(targets, mask),
            "no labelled pid of hist_video_pid has a SID": _any_filled(histories),
        }
    )
    ends = np.where(passed, np.minimum(ends, starts + TARGET_LENGTH), starts)
    positions, _ = spans(starts, ends)
    row = np.repeat(np.arange(len(rows)), ends - starts)
    in_mask = positions + np.repeat(list_bounds(mask)[0] - starts, ends - starts)
    label = convert_pids(as_numbers(mask.values), "int").take(pa.array(in_mask))
    candidate = rows.sids_at(
        targets.values, positions, np.arange(len(row) + 1), "target_video_pid", inputs.items
    )
    kept = rows.keep_candidates(
        {
            "a target has no SID": candidate.filled(),
            "target_video_longview of a target is null": is_valid(label),
        }
    )
    of_row = pa.array(row[kept])
    label, content, sid = only(kept, label.cast(pa.string()), candidate.content(), candidate.text())
    uid, *contents = (c.take(of_row) for c in (rows.id_json("uid"), *_contents(histories)))
    ids = identifier.identify(uid, *contents, content, label)
    prompts = inputs.prompts
    lines = _lines(LABELS, [text.take(of_row) for text in _texts(histories)], ids.keys, prompts)
    answers = (prompts[f"sft_label_pred.{answer}"].fill(ids.keys) for answer in ("yes", "no"))
    body = messages(
        prompts["sft_label_pred.system"].fill(ids.keys),
        [*lines, prompts["sft_label_pred.question"].fill(ids.keys, sid=sid)],
        pc.if_else(pc.equal(label, "1"), *answers),
    )
    return Samples(ids, body, json_object(uid=uid, label=label))


def ad_rec(rows: Block, inputs: TrainingInputs, identifier: Identifier) -> Samples:
    """Histories of long-watched videos and of ads; the answer is the ads clicked next."""
    videos = rows.sids("hist_longview_video_list", inputs.items.histories, last=LONGVIEW_LENGTH)
    ads = rows.sids("hist_ad_pid", inputs.items.histories, last=AD_LENGTH)
    targets = rows.sids("target_ad_pid", inputs.items, first=TARGET_LENGTH)
    histories = {"video": videos, "ad": ads}
    return _across_domains(
        "sft_ad_rec", rows, histories, "target_ad_pid", targets, inputs, identifier
    )


def product_rec(rows: Block, inputs: TrainingInputs, identifier: Identifier) -> Samples:
    """Histories of long-watched videos and of goods; the answer is the goods clicked next."""
    if inputs.goods is None:
        raise ValueError("product_rec needs goods")
    videos = rows.sids("hist_longview_video_list", inputs.items.histories, last=LONGVIEW_LENGTH)
    goods = rows.sids("hist_goods_pid", inputs.goods.histories, last=GOODS_LENGTH)
    targets = rows.sids("target_goods_pid", inputs.goods, first=TARGET_LENGTH)
    histories = {"video": videos, "goods": goods}
    column = "target_goods_pid"
    return _across_domains("sft_product_rec", rows, histories, column, targets, inputs, identifier)


def item_understand(rows: Block, inputs: TrainingInputs, identifier: Identifier) -> Samples:
    """A SID; the answer is the caption of its item."""
    captions = Captions.of(rows, inputs)
    ids = identifier.identify(captions.pid, captions.sid, captions.caption)
    system = inputs.prompts["sft_item_understand.system"].fill(ids.keys)
    user = inputs.prompts["sft_item_understand.user"].fill(ids.keys, sid=captions.sid)
    body = messages(system, [user], escaped(captions.caption))
    return Samples(ids, body, captions.metadata())


def rec_reason(rows: Block, inputs: TrainingInputs, identifier: Identifier) -> Samples:
    """A profile, captions of the watched videos and of the next; the answer is the reasoning."""
    columns = ("inter_user_profile_with_sid", "reco_target_caption", "reco_cot")
    conditions = {k: v for column in columns for k, v in rows.not_blank(column).items()}
    kept = rows.keep_candidates(conditions)
    identity = (rows.id_json_or_null("uid"), rows.id_json_or_null("target_pid"))
    uid, target_pid = only(kept, *identity)
    profile, target, reasoning = only(kept, *(rows.text(column) for column in columns))
    history, has_history = _watched(rows, kept)
    ids = identifier.identify(uid, target_pid, profile, history, target, reasoning)

    values = {"profile": escaped(profile), "target": escaped(target)}
    prompts = inputs.prompts
    user = pc.if_else(
        has_history,
        prompts["sft_rec_reason.user"].fill(ids.keys, history=escaped(history), **values),
        prompts["sft_rec_reason.user_without_history"].fill(ids.keys, **values),
    )
    body = messages(None, [user], escaped(reasoning))
    return Samples(ids, body, json_object(uid=uid, target_pid=target_pid))


def messages(
    system: pa.StringArray | None, user: Sequence[pa.StringArray], assistant: pa.StringArray
) -> pa.StringArray:
    """The JSON of the messages of each row, from texts that are already escaped.

    Args:
        system: The system message; None if there is none.
        user: The lines of the user's message; null if the row does not have the line.
        assistant: The answer.
    """
    said = user[0]
    if len(user) > 1:
        said = pc.binary_join_element_wise(*user, r"\n", null_handling="skip")
    opening = '{"role": "%s", "content": [{"type": "text", "text": "'
    closing = '"}]}'
    first = [opening % "system", system, closing, ", "] if system is not None else []
    return concatenated(
        *("[", *first, opening % "user", said, closing),
        *(", ", opening % "assistant", assistant, closing, "]"),
    )


def _across_domains(
    name: str,
    rows: Block,
    histories: dict[str, SidLists],
    target_column: str,
    targets: SidLists,
    inputs: TrainingInputs,
    identifier: Identifier,
) -> Samples:
    """Samples from two histories, of which a row needs one; the targets match the second domain."""
    lists = list(histories.values())
    kept = rows.keep_candidates(
        rows.has_id("uid")
        | {"no pid of a history has a SID": _any_filled(lists)}
        | rows.filled(target_column, targets)
    )
    uid, *contents = only(kept, rows.id_json("uid"), *_contents([*lists, targets]))
    *texts, answer = only(kept, *_texts([*lists, targets]))
    ids = identifier.identify(uid, *contents)
    lines = _lines(histories, texts, ids.keys, inputs.prompts)
    task = inputs.prompts[f"{name}.task"].fill(ids.keys)
    system = inputs.prompts[f"{name}.system"].fill(ids.keys)
    return Samples(ids, messages(system, [*lines, task], answer), json_object(uid=uid))


def _draw_available(keys: np.ndarray, available: np.ndarray) -> np.ndarray:
    """Draw one of the available labels: int64, shape (n,); 0 if none is available.

    Args:
        keys: uint64, shape (n,).
        available: bool, shape (n, labels).
    """
    rank = np.cumsum(available, axis=1)
    drawn = draw(keys, "label", np.maximum(rank[:, -1], 1))
    return np.argmax(available & (rank == drawn[:, None] + 1), axis=1)


def _lines(
    names: Iterable[str], texts: Iterable[pa.StringArray], keys: np.ndarray, prompts: Prompts
) -> list[pa.StringArray]:
    """The lines of histories: a wording, directly followed by the SIDs; null without SIDs."""
    return [
        concatenated(prompts[f"lines.{name}"].fill(keys), text)
        for name, text in zip(names, texts, strict=True)
    ]


def _watched(rows: Block, kept: np.ndarray) -> tuple[pa.StringArray, pa.BooleanArray]:
    """Captions of watched videos of the kept rows, empty if missing, and which are not blank."""
    column = "reco_gsu_caption"
    if not rows.has(column):
        n = int(kept.sum())
        return pa.repeat("", n), pa.repeat(False, n)
    (history,) = only(kept, rows.text(column))
    return history.fill_null(""), not_blank(history)


def _any_filled(histories: Sequence[SidLists]) -> np.ndarray:
    return np.any([history.filled() for history in histories], axis=0)


def _contents(lists: Sequence[SidLists]) -> list[pa.BinaryArray]:
    return [sids.content() for sids in lists]


def _texts(lists: Sequence[SidLists]) -> list[pa.StringArray]:
    return [sids.text() for sids in lists]
