"""RecIF's data sets made the plain way: pandas, a row at a time, `json.dumps`.

Slow and easy to check against the description of the formats. Where a wording is drawn, `say` is
asked for it; the label of label_cond_rec is drawn by `choose`.
"""

import json
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

SID = "<|sid_begin|><s_a_{}><s_b_{}><s_c_{}><|sid_end|>"
LABELS = ("longview", "like", "follow", "forward", "not_interested")

Pid2Sid = Mapping[Any, Any]
Say = Callable[[str], str]
Row = tuple[str, str, str]
"""source, segments or messages, metadata."""


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def cell(row: pd.Series, column: str) -> Any:
    return row.get(column)


def text_of(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def identifier(value: Any) -> Any:
    return value if isinstance(value, str) else int(value)


def sids(pids: Any, pid2sid: Pid2Sid) -> str:
    return "".join(SID.format(*pid2sid[pid]) for pid in pids if pid in pid2sid)


def segments(text: str) -> str:
    return json.dumps([{"type": "text", "text": text}], ensure_ascii=False)


def messages(system: str | None, user: str, assistant: str) -> str:
    roles = {"system": system, "user": user, "assistant": assistant}
    return json.dumps(
        [
            {"role": role, "content": [{"type": "text", "text": text}]}
            for role, text in roles.items()
            if text is not None
        ],
        ensure_ascii=False,
    )


def metadata(**values: Any) -> str:
    return json.dumps(values, ensure_ascii=False)


def train_rows(interactions: pd.DataFrame) -> Any:
    for _, row in interactions.iterrows():
        if row.get("split", 0) == 0:
            yield row


def history_and_targets(row: pd.Series, pid2sid: Pid2Sid) -> tuple[str, str] | None:
    history, targets = row["hist_video_pid"], row["target_video_pid"]
    if missing(row["uid"]) or missing(history) or missing(targets):
        return None
    texts = sids(history[-512:], pid2sid), sids(targets[:10], pid2sid)
    return texts if all(texts) else None


def video_rec(interactions: pd.DataFrame, pid2sid: Pid2Sid) -> list[Row]:
    made = []
    for row in train_rows(interactions):
        if found := history_and_targets(row, pid2sid):
            history, targets = found
            body = segments(history + targets)
            made.append(("RecIF_VideoRec_Pretrain", body, metadata(uid=identifier(row["uid"]))))
    return made


def user_profile(interactions: pd.DataFrame) -> list[Row]:
    made = []
    for row in train_rows(interactions):
        profile = text_of(row["inter_user_profile_with_sid"])
        if profile and not missing(row["uid"]):
            meta = metadata(uid=identifier(row["uid"]))
            made.append(("RecIF_UserProfile_Pretrain", segments(profile), meta))
    return made


def captioned(captions: pd.DataFrame, pid2sid: Pid2Sid) -> Any:
    for _, row in captions.iterrows():
        pid, caption = row["pid"], text_of(row["dense_caption"])
        if pid in pid2sid and caption:
            sid = SID.format(*pid2sid[pid])
            yield sid, caption, metadata(pid=identifier(pid), sid=sid)


def item_understand(
    captions: pd.DataFrame, pid2sid: Pid2Sid, text: Callable[[str, str], str]
) -> list[Row]:
    return [
        ("RecIF_ItemUnderstand_Pretrain", segments(text(sid, caption)), meta)
        for sid, caption, meta in captioned(captions, pid2sid)
    ]


def sft_item_understand(captions: pd.DataFrame, pid2sid: Pid2Sid, say: Say) -> list[Row]:
    made = []
    for sid, caption, meta in captioned(captions, pid2sid):
        user = say("sft_item_understand.user").format(sid=sid)
        body = messages(say("sft_item_understand.system"), user, caption)
        made.append(("RecIF_ItemUnderstand", body, meta))
    return made


def sft_video_rec(interactions: pd.DataFrame, pid2sid: Pid2Sid, say: Say) -> list[Row]:
    made = []
    for row in train_rows(interactions):
        if found := history_and_targets(row, pid2sid):
            user = say("sft_video_rec.user").format(history=found[0])
            body = messages(say("sft_video_rec.system"), user, found[1])
            made.append(("RecIF_VideoRec", body, metadata(uid=identifier(row["uid"]))))
    return made


def sft_interactive_rec(interactions: pd.DataFrame, pid2sid: Pid2Sid, say: Say) -> list[Row]:
    made = []
    for row in train_rows(interactions):
        profile = text_of(row["inter_user_profile_with_sid"])
        by_keyword = keywords(row["inter_keyword_to_items"])
        if missing(row["uid"]) or not profile:
            continue
        for keyword, items in by_keyword.items():
            if not keyword or not isinstance(items, list):
                continue
            answer = sids(items[:10], pid2sid)
            if answer:
                user = say("sft_interactive_rec.user").format(profile=profile, keyword=keyword)
                body = messages(say("sft_interactive_rec.system"), user, answer)
                meta = metadata(uid=identifier(row["uid"]), keyword=keyword)
                made.append(("RecIF_InteractiveRec", body, meta))
    return made


def keywords(value: Any) -> dict[str, Any]:
    if isinstance(value, list):  # a map column
        value = {keyword: None if items is None else list(items) for keyword, items in value}
    elif isinstance(value, dict):  # a struct column
        value = {k: None if items is None else list(items) for k, items in value.items()}
    elif isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def label_lines(row: pd.Series, pid2sid: Pid2Sid, say: Say) -> list[str]:
    lines = []
    history = row["hist_video_pid"]
    for label in LABELS:
        mask = cell(row, f"hist_video_{label}")
        if not missing(mask) and len(mask) == len(history):
            chosen = [pid for pid, one in zip(history, mask, strict=True) if one == 1][-10:]
            if text := sids(chosen, pid2sid):
                lines.append(say(f"lines.{label}") + text)
    return lines


def sft_label_cond_rec(
    interactions: pd.DataFrame,
    pid2sid: Pid2Sid,
    say: Say,
    choose: Callable[[list[str]], str] = random.choice,
) -> list[Row]:
    made = []
    for row in train_rows(interactions):
        targets = row["target_video_pid"]
        if missing(row["uid"]) or missing(row["hist_video_pid"]) or missing(targets):
            continue
        lines = label_lines(row, pid2sid, say)
        positives = {}
        for label in LABELS:
            mask = cell(row, f"target_video_{label}")
            if not missing(mask) and len(mask) == len(targets):
                chosen = [pid for pid, one in zip(targets, mask, strict=True) if one == 1]
                if chosen:
                    positives[label] = chosen[:10]
        if not lines or not positives:
            continue
        label = choose(list(positives))
        answer = sids(positives[label], pid2sid)
        if answer:
            user = "\n".join([*lines, say(f"sft_label_cond_rec.task_{label}")])
            body = messages(say("sft_label_cond_rec.system"), user, answer)
            meta = metadata(uid=identifier(row["uid"]), target_interaction=label)
            made.append(("RecIF_LabelCondRec", body, meta))
    return made


def sft_label_pred(interactions: pd.DataFrame, pid2sid: Pid2Sid, say: Say) -> list[Row]:
    made = []
    for row in train_rows(interactions):
        targets, labels = row["target_video_pid"], row["target_video_longview"]
        if missing(row["uid"]) or missing(row["hist_video_pid"]):
            continue
        if missing(targets) or missing(labels) or len(targets) != len(labels):
            continue
        lines = label_lines(row, pid2sid, say)
        for pid, label in zip(targets[:10], labels[:10], strict=True):
            if not lines or pid not in pid2sid or missing(label):
                continue
            question = say("sft_label_pred.question").format(sid=SID.format(*pid2sid[pid]))
            answer = say(f"sft_label_pred.{'yes' if label == 1 else 'no'}")
            body = messages(say("sft_label_pred.system"), "\n".join([*lines, question]), answer)
            meta = metadata(uid=identifier(row["uid"]), label=int(label))
            made.append(("RecIF_LabelPred", body, meta))
    return made


def across_domains(
    row: pd.Series,
    histories: list[tuple[str, str, int, Pid2Sid]],
    targets: str,
    target_sids: Pid2Sid,
    name: str,
    say: Say,
) -> str | None:
    lines = []
    for column, line, length, pid2sid in histories:
        pids = cell(row, column)
        if not missing(pids) and (text := sids(pids[-length:], pid2sid)):
            lines.append(say(f"lines.{line}") + text)
    if missing(row["uid"]) or missing(row[targets]) or not lines:
        return None
    answer = sids(row[targets][:10], target_sids)
    if not answer:
        return None
    return messages(say(f"{name}.system"), "\n".join([*lines, say(f"{name}.task")]), answer)


def sft_ad_rec(interactions: pd.DataFrame, pid2sid: Pid2Sid, say: Say) -> list[Row]:
    histories = [
        ("hist_longview_video_list", "video", 100, pid2sid),
        ("hist_ad_pid", "ad", 200, pid2sid),
    ]
    made = []
    for row in train_rows(interactions):
        if body := across_domains(row, histories, "target_ad_pid", pid2sid, "sft_ad_rec", say):
            made.append(("RecIF_AdRec", body, metadata(uid=identifier(row["uid"]))))
    return made


def sft_product_rec(
    interactions: pd.DataFrame, pid2sid: Pid2Sid, goods: Pid2Sid, say: Say
) -> list[Row]:
    histories = [
        ("hist_longview_video_list", "video", 100, pid2sid),
        ("hist_goods_pid", "goods", 100, goods),
    ]
    made = []
    for row in train_rows(interactions):
        if body := across_domains(
            row, histories, "target_goods_pid", goods, "sft_product_rec", say
        ):
            made.append(("RecIF_ProductRec", body, metadata(uid=identifier(row["uid"]))))
    return made


def sft_rec_reason(interactions: pd.DataFrame, say: Say) -> list[Row]:
    made = []
    for row in train_rows(interactions):
        profile, target, reasoning = (
            row[column]
            for column in ("inter_user_profile_with_sid", "reco_target_caption", "reco_cot")
        )
        if not all(isinstance(t, str) and t.strip() for t in (profile, target, reasoning)):
            continue
        history = row.get("reco_gsu_caption")
        if isinstance(history, str) and history.strip():
            user = say("sft_rec_reason.user").format(
                profile=profile, history=history, target=target
            )
        else:
            user = say("sft_rec_reason.user_without_history").format(profile=profile, target=target)
        meta = {
            name: None if missing(row.get(name)) else identifier(row[name])
            for name in ("uid", "target_pid")
        }
        made.append(("RecIF_RecoReason", messages(None, user, reasoning), metadata(**meta)))
    return made
