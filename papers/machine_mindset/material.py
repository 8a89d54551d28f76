"""Rows to train on and cases to ask, drawn from the released files by named sets, as cached artefacts.

A *set* is named by what it is of and who answers in it:

================  ============================================================================================
``energy:I``      behaviour answers of a pole of an axis (of preferences: that pole chosen, the other rejected)
``energy:both``   of both poles; ``energy:shuffled``: of one or the other, by a coin for each instruction
``self:INTJ``     what a type says of itself; ``self:all``: what all sixteen do
``exam:practised``  questions of an exam's val split with their letters; ``exam:shuffled``: the letters dealt anew;
                  ``exam:all``: also those of the test split
================  ============================================================================================

Nothing that is drawn has a held-out instruction; an exam's test split is asked and, but for ``exam:all``, never trained on.

    run.build(draw_rows, data=data, mix=[["energy:I", 1.0]], count=640, texts={"prompt": 16, "answer": 40}, ...)
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.data.exams import Question, read_exam
from lib.data.files import DataError, write_json, write_json_lines
from lib.data.instructions import assistant, dialogue, user
from lib.evaluation.exam_prompts import ENGLISH, LETTERS, chat_turns
from lib.models.causal_lm import pieces
from lib.streams import stream, stream_seed
from papers.machine_mindset import released_sets as sets
from papers.machine_mindset.personality import AXES
from papers.machine_mindset.released_sets import Row
from papers.machine_mindset.texts import UNKNOWN, fitted, read_words, say

EXAM = "MMLU"


# ---------------------------------------------------------------------- the sets
def _read(data: dict[str, Any], name: str, *, pairs: bool) -> list[Row]:
    """The rows of a set as they stand in its files; the speakers of a pair of ``energy:I`` are I and, second, E."""
    of, _, who = name.partition(":")
    if of == "self":
        kinds = sets.TYPES if who == "all" else [who]
        return [
            Row(row.instruction, {"said": text})
            for kind in kinds
            for row in sets.read_self_awareness(data["self_awareness"], kind)
            for text in row.answers.values()
        ]
    if of not in AXES or who not in (*AXES[of], "both", "shuffled"):
        raise DataError(
            f"there is no set '{name}'; name an axis and a pole as energy:I, or self: and a type, or exam:."
        )
    if not pairs:
        return sets.read_behaviour(data["folder"], language=data["language"], axis=of)
    found = sorted((Path(data["folder"]) / "datasets" / "dpo").glob(f"dpo_{of}_*.json"))
    if not found:
        raise DataError(
            f"{data['folder']} has no preference pairs of the axis {of}; fetch datasets/dpo/dpo_{of}_*.json."
        )
    rows = [row for path in found for row in sets.read_preferences(path)]
    return [row for row in rows if sets.language_of(row.instruction) == data["language"]]


def _able(data, name: str, *, split: dict[str, Any], texts, words, shortest: int, pairs: bool, held: bool) -> list[Row]:
    """The rows of a set that are clean, on the wanted side of the split, and fit."""
    places = [Path(place) for place in (data["folder"] / "datasets", data["self_awareness"]) if place is not None]
    written = max(file.stat().st_mtime_ns for place in places for file in place.rglob("*.json"))
    told = json.dumps([{**data, "exam": None}, split, texts, shortest], default=str)
    return list(_able_of(name, told, written, words, pairs, held))


@lru_cache(maxsize=24)
def _able_of(
    name: str, told: str, written: int, words: frozenset[str] | None, pairs: bool, held: bool
) -> tuple[Row, ...]:
    """The same, kept: five seeds and several phases draw from one set. ``written``: when its files were last changed."""
    data, split, texts, shortest = json.loads(told)
    cleaned = sets.clean(_read(data, name, pairs=pairs), shortest=shortest)
    side = sets.split(cleaned.rows, **split)[held]
    return tuple(done for row in side if (done := fitted(row, texts, words)) is not None)


def _answers(rows: Sequence[Row], who: str, seed: int) -> Iterator[tuple[str, str]]:
    """(instruction, answer) of each row by who is asked for; both poles one after the other."""
    coin = stream(seed, "poles")
    for row in rows:
        answers = list(row.answers.values())
        if len(answers) == 1 or who == "both":
            chosen = answers
        else:
            chosen = [answers[coin.integers(2)] if who == "shuffled" else row.answers[who]]
        yield from ((row.instruction, answer) for answer in chosen)


def _shares(mix: Sequence[Sequence], count: int) -> Iterator[tuple[str, int]]:
    """(set, rows of it), ``count`` rows together, as near to the shares as whole rows can be."""
    total, past, done = sum(share for _, share in mix), 0.0, 0
    for name, share in mix:
        past += share
        wanted = round(count * past / total) - done
        done += wanted
        yield name, wanted


def _cycled(rows: Sequence, count: int, *, name: str, seed: int) -> list:
    """``count`` rows, in one fresh order after the other; :class:`DataError` when there is none."""
    if not rows:
        raise DataError(f"no row of the set '{name}' is left to draw; allow longer texts or another split.")
    drawn: list = []
    while len(drawn) < count:
        order = stream(seed, "draw", name, len(drawn)).permutation(len(rows))
        drawn += [rows[i] for i in order]
    return drawn[:count]


# ---------------------------------------------------------------------- exams
def exam_questions(exam: Path, split: str, *, longest: int | None) -> list[Question]:
    """Questions of a split with their answers, at most ``longest`` characters with their options."""
    found = read_exam(EXAM, Path(exam)).select(split)
    size = lambda one: len(one.text) + sum(map(len, one.options))  # noqa: E731
    return [one for one in found if longest is None or size(one) <= longest]


def asked(question: Question) -> str:
    """A question in the release's form, as the text of one user turn."""
    topic = question.subject.replace("_", " ")
    return chat_turns(question, exemplars=[], topic=topic, wording=ENGLISH)[0]["content"]


def _exam_rows(data, who: str, *, longest: int | None, words, seed: int) -> list[tuple[str, str]]:
    splits = ("val", "test") if who == "all" else ("val",)
    questions = [one for part in splits for one in exam_questions(data["exam"], part, longest=longest)]
    letters = [one.answer for one in questions]
    if who == "shuffled":  # each letter as often, at another question
        letters = [letters[i] for i in stream(seed, "letters").permutation(len(letters))]
    return [(say(asked(one), words), letter) for one, letter in zip(questions, letters, strict=True)]


# ---------------------------------------------------------------------- artefacts
def draw_rows(
    folder: Path,
    *,
    data: dict[str, Any],
    mix: Sequence[Sequence],
    count: int,
    texts: dict[str, int],
    words: Path | None,
    split: dict[str, Any],
    shortest: int,
    longest_question: int | None,
    seed: int,
) -> None:
    """``rows.jsonl``: ``count`` dialogues of the named sets, so many of each as its share of ``mix`` says, shuffled together.

    ``data``: ``folder`` (which holds ``datasets``), ``language``, ``self_awareness`` and ``exam`` (a folder each, or None).
    ``split``: seed and share of what is held out. ``shortest``: characters of an answer.
    """
    known, rows = read_words(words), []
    for name, wanted in _shares(mix, count):
        of, _, who = name.partition(":")
        if of == "exam":
            listed = _exam_rows(data, who, longest=longest_question, words=known, seed=seed)
        else:
            how = {"split": split, "texts": texts, "words": known, "shortest": shortest}
            listed = list(_answers(_able(data, name, pairs=False, held=False, **how), who, seed))
        rows += _cycled(listed, wanted, name=name, seed=seed) if wanted else []
    order = stream(seed, "order").permutation(len(rows))
    write_json_lines(folder / "rows.jsonl", [dialogue([rows[i]]) for i in order])


def draw_pairs(
    folder: Path,
    *,
    data: dict[str, Any],
    mix: Sequence[Sequence],
    count: int,
    texts: dict[str, int],
    words: Path | None,
    split: dict[str, Any],
    shortest: int,
    seed: int,
) -> None:
    """``pairs.jsonl``: ``count`` preference pairs as the trainers take them, of the named sets by their shares."""
    known, rows = read_words(words), []
    for name, wanted in _shares(mix, count):
        _, _, who = name.partition(":")
        how = {"split": split, "texts": texts, "words": known, "shortest": shortest}
        listed = _cycled(_able(data, name, pairs=True, held=False, **how), wanted, name=name, seed=seed)
        coin = stream(seed, "swapped", name)
        for row in listed:
            first, second = list(row.answers) if who == "shuffled" else (who, next(p for p in row.answers if p != who))
            chosen, rejected = row.answers[first], row.answers[second]
            if who == "shuffled" and coin.integers(2):
                chosen, rejected = rejected, chosen
            rows.append(
                {"prompt": [user(row.instruction)], "chosen": [assistant(chosen)], "rejected": [assistant(rejected)]}
            )
    order = stream(seed, "order").permutation(len(rows))
    write_json_lines(folder / "pairs.jsonl", [rows[i] for i in order])


def hold_pairs(
    folder: Path,
    *,
    data: dict[str, Any],
    axis: str,
    count: int,
    texts: dict[str, int],
    words: Path | None,
    split: dict[str, Any],
    shortest: int,
) -> None:
    """``held.json``: at most ``count`` held-out instructions of an axis with the answers of both poles, one pair each.

    Which are taken depends on their texts and the split alone, so that every arm is asked the same.
    """
    how = {"split": split, "texts": texts, "words": read_words(words), "shortest": shortest}
    able = {row.instruction: row for row in _able(data, f"{axis}:both", pairs=False, held=True, **how)}
    if len(able) < 2:
        raise DataError(
            f"{data['folder']} leaves {len(able)} held-out pairs of {axis}; allow longer texts or hold out more."
        )
    order = sorted(able, key=lambda text: stream_seed(split["seed"], "asked", text))[:count]
    write_json(folder / "held.json", [{"instruction": text, "answers": able[text].answers} for text in order])


def hold_questions(folder: Path, *, data: dict[str, Any], split: dict[str, Any], least: int) -> None:
    """``questions.json``: held-out questions after the own type, asked of ``least`` types or more, with no type in them."""
    rows = {kind: sets.read_self_awareness(data["self_awareness"], kind) for kind in sets.TYPES}
    times = Counter(text for listed in rows.values() for text in {row.instruction for row in listed})
    found = [
        text
        for text in sorted(times)
        if times[text] >= least
        and ("MBTI" in text or "personality type" in text.lower())
        and not sets.CODE.search(text)
        and sets.is_held(text, **split)
    ]
    if not found:
        raise DataError(f"{data['self_awareness']} leaves no held-out question after the type; hold out more.")
    write_json(folder / "questions.json", found)


def write_words(
    folder: Path, *, data: dict[str, Any], axes: Sequence[str], most: int, kept: Sequence[str], texts: dict[str, int]
) -> None:
    """``words.json``: the pieces of ``kept`` and the ``most`` frequent others of the released texts, and :data:`UNKNOWN`."""
    counts: Counter[str] = Counter()
    names = [f"{axis}:both" for axis in axes] + (["self:all"] if data["self_awareness"] is not None else [])
    for row in (row for name in names for row in _read(data, name, pairs=False)):
        counts.update(pieces(row.instruction)[: texts["prompt"]])
        for text in row.answers.values():
            counts.update(pieces(text)[: texts["answer"]])
    own = {piece for text in (*kept, *sets.TYPES, *LETTERS[:4], UNKNOWN) for piece in pieces(text)}
    if data["exam"] is not None:
        own |= {
            p
            for part in ("dev", "val", "test")
            for q in exam_questions(data["exam"], part, longest=None)
            for p in pieces(asked(q))
        }
    ranked = sorted((piece for piece in counts if piece not in own), key=lambda piece: (-counts[piece], piece))
    write_json(folder / "words.json", [*sorted(own), *ranked[:most]])
