"""The open-book exam: a question behind its supplied knowledge, asked of many models and marked in several ways.

A condition says what stands in the prompt: which exam, which knowledge file (none: closed book), how many passages, where
the one that answers stands, whether the options are listed. Used by :mod:`papers.long_context.study`.

    run.build(score, models=[...], exams={"held_out": folder}, conditions={"open_12": {"size": 12}}, wording={...})
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.files import DataError, read_json
from lib.evaluation import EvaluationError, exam_prompts, exams
from lib.machine import CPU, Machine
from lib.models import causal_lm, lending
from lib.streams import stream
from papers.long_context import cmb, cmb_scoring

OPEN = {
    "exam": "held_out",
    "knowledge": "knowledge",
    "size": 1,
    "position": None,
    "options": False,
    "scoring": ["text"],
}


def context(knowledge: cmb.Knowledge, *, size: int, position: float | None, rng: np.random.Generator) -> list[str]:
    """``size`` passages: the one that answers and the first distractors; ``position``: its place from 0 (first) to 1
    (last), ``None`` for any. Raises :class:`DataError` when there are too few distractors: nothing is padded silently."""
    if size > len(knowledge.distractors) + 1:
        raise DataError(
            f"question {knowledge.id} has {len(knowledge.distractors)} distractors and {size - 1} are wanted; supply more."
        )
    listed = list(knowledge.distractors[: size - 1])
    place = int(rng.integers(size)) if position is None else round(position * (size - 1))
    return [*listed[:place], knowledge.passage, *listed[place:]]


def question_text(item: cmb.Item, passages: Sequence[str], *, options: bool, wording: Mapping[str, str]) -> str:
    """The user's text. ``wording``: ``open`` with ``{knowledge}`` and ``{question}``, ``closed`` with ``{question}``,
    ``listed`` (a question with ``{options}``), and ``option`` with ``{letter}`` and ``{text}``."""
    asked = item.question
    if options:
        lines = [wording["option"].format(letter=letter, text=text) for letter, text in item.options.items()]
        asked = wording["listed"].format(options="\n".join(lines), question=item.question)
    if not passages:
        return wording["closed"].format(question=asked)
    return wording["open"].format(knowledge="\n".join(passages), question=asked)


def _read(folder: Path, condition: Mapping[str, Any]) -> tuple[list[cmb.Item], dict[str, cmb.Knowledge]]:
    items = cmb.read_test(folder)
    if condition["knowledge"] is None:
        return items, {}
    path = folder / f"{condition['knowledge']}.json"
    knowledge = cmb.read_knowledge(path)
    missing = [item.id for item in items if item.id not in knowledge]
    if missing:
        raise DataError(f"{path} has no knowledge for question {missing[0]} ({len(missing)} in all); add it.")
    return items, knowledge


def _texts(folder: Path, condition: Mapping[str, Any], wording: Mapping[str, str], *, seed: int):
    """(items, user texts) of one condition; the place of the answer is drawn for each question."""
    items, knowledge = _read(folder, condition)
    rng, texts = stream(seed, "context", condition["size"]), []
    for item in items:
        passages = []
        if knowledge:
            passages = context(knowledge[item.id], size=condition["size"], position=condition["position"], rng=rng)
        texts.append(question_text(item, passages, options=condition["options"], wording=wording))
    return items, texts


_READERS = {"strict": cmb_scoring.strict_letters, "released": cmb_scoring.released_letters}


def _mark(items: Sequence[cmb.Item], replies: Sequence[str], scoring: str) -> list[bool]:
    """``text``: the reply's first line is the text of the right option; ``strict`` and ``released``: its letters are right."""
    if scoring == "text":
        return [
            reply.split("\n")[0].strip() == " ".join(item.options[letter] for letter in item.answer)
            for item, reply in zip(items, replies, strict=True)
        ]
    return [letters == item.answer for item, letters in zip(items, _read_letters(items, replies, scoring), strict=True)]


def _read_letters(items: Sequence[cmb.Item], replies: Sequence[str], scoring: str) -> list[str | None]:
    return [_READERS[scoring](reply, multiple=item.multiple) for item, reply in zip(items, replies, strict=True)]


def _most_likely(
    model, tokenizer, items: Sequence[cmb.Item], prompts: Sequence[list[int]], *, batch: int
) -> list[bool]:
    """Whether the right option's text is the likeliest behind the prompt, per token; single-answer questions only."""
    right = []
    for number in sorted({len(item.options) for item in items}):  # equal numbers of options go together
        rows = [i for i, item in enumerate(items) if len(item.options) == number]
        options = [
            [tokenizer(f" {text}", add_special_tokens=False)["input_ids"] for text in items[i].options.values()]
            for i in rows
        ]
        scores = exams.option_likelihood(model, [prompts[i] for i in rows], options, batch=batch)
        best = (scores / np.array([[len(ids) for ids in one] for one in options])).argmax(axis=1)
        right += [(i, list(items[i].options)[k] == items[i].answer) for i, k in zip(rows, best, strict=True)]
    return [hit for _, hit in sorted(right)]


def _marked(model, tokenizer, items: Sequence[cmb.Item], prompts: Sequence[list[int]], condition, *, batch: int):
    """Scoring -> ((exam type, right or wrong) of each question, counts of what was not read or asked)."""
    found, replies = {}, []
    for scoring in condition["scoring"]:
        asked, missed = list(items), {}
        if scoring == "likelihood":
            single = [i for i, item in enumerate(items) if len(item.answer) == 1]
            asked, missed = [items[i] for i in single], {"several answers, not asked": len(items) - len(single)}
            if not single:
                raise EvaluationError("no question has one answer alone; leave 'likelihood' out of the scoring.")
            right = _most_likely(model, tokenizer, asked, [prompts[i] for i in single], batch=batch)
        else:
            if not replies:
                end, tokens = causal_lm.end_of_turn(tokenizer), condition["longest"]
                ids = exams.generate(model, prompts, end=end, longest=tokens, batch=batch)
                replies = [tokenizer.decode(one, skip_special_tokens=True).strip() for one in ids]
            right = _mark(items, replies, scoring)
            if scoring in _READERS:
                letters = _read_letters(items, replies, scoring)
                missed = {"no letter": letters.count(""), "ambiguous": letters.count(None)}
        types = [cmb.EXAM_TYPES[item.exam_type] for item in asked]
        found[scoring] = (list(zip(types, right, strict=True)), missed)
    return found


def lend(model: Path | str, *, device: str = "cpu", dtype: str = "float32"):
    """:func:`lending.lend` of a checkpoint, or of the base that a PEFT adapter names with the adapter on it."""
    about = Path(model) / "adapter_config.json"
    if about.is_file():
        base = read_json(about).get("base_model_name_or_path")
        if not isinstance(base, str) or not base.strip():
            raise DataError(f"{about} names no base model under 'base_model_name_or_path'; save the adapter again.")
        return lending.lend(base, adapter=model, device=device, dtype=dtype)
    return lending.lend(model, device=device, dtype=dtype)


def write_real_exam(folder: Path, *, questions: Path, distractors: int) -> None:
    """An open-book exam from questions with explanations (CMB-val): a CMB-Exam test with its knowledge files.

    The knowledge is the explanation without the sentences that name a letter (ours: the paper's passages were not found),
    the distractors are explanations of other questions; in ``shuffled.json`` every passage is another question's.
    """
    items = cmb.read_items(questions)
    knowledge = cmb.knowledge_from_explanations(items, distractors=distractors)
    if len(knowledge) < 2:
        raise DataError(
            f"{questions} gives {len(knowledge)} questions with {distractors} distractors; it needs explanations (CMB-val has "
            f"them, CMB-test has not) or fewer distractors."
        )
    kept = {one.id for one in knowledge}
    turned = [*knowledge[len(knowledge) // 2 :], *knowledge[: len(knowledge) // 2]]
    cmb.write_test(folder, [item for item in items if item.id in kept])
    cmb.write_knowledge(folder / "knowledge.json", knowledge)
    pairs = zip(knowledge, turned, strict=True)
    cmb.write_knowledge(
        folder / "shuffled.json", [cmb.Knowledge(k.id, other.passage, other.distractors) for k, other in pairs]
    )


def score(
    folder: Path,
    *,
    models: Sequence[Path | str],
    exams_at: Mapping[str, Path],
    conditions: Mapping[str, Mapping[str, Any]],
    wording: Mapping[str, str],
    longest: int,
    batch: int,
    seed: int = 0,
    machine: Machine = CPU,
    dtype: str = "float32",
) -> None:
    """``scores.json``: condition -> scoring -> one {exam type: accuracy} a model, models in order; ``unread.json``: how
    many replies were not read.

    ``exams_at``: exam name -> CMB-Exam folder. ``conditions``: name -> what differs from ``OPEN``; ``scoring`` lists text,
    strict, released, likelihood. ``longest``: tokens of a reply. Raises ``EvaluationError`` unless all models share one
    tokenizer and read every prompt whole.
    """
    found: dict[str, dict[str, list]] = {}
    unread: dict[str, dict[str, list]] = {}
    asked: dict[str, tuple] = {}
    first = None
    for model_path in models:
        with lend(model_path, device=machine.device, dtype=dtype) as (model, tokenizer):
            written = (tokenizer.get_vocab(), tokenizer.chat_template)
            first = first or written
            if written != first:
                raise EvaluationError(
                    f"{model_path} has another tokenizer or chat template than {models[0]}; score it apart."
                )
            for name, given in conditions.items():
                condition = {"longest": longest, **OPEN, **given}
                if name not in asked:
                    items, texts = _texts(Path(exams_at[condition["exam"]]), condition, wording, seed=seed)
                    turns = [[{"role": "user", "content": text}] for text in texts]
                    asked[name] = (items, [exam_prompts.chat_ids(tokenizer, turn) for turn in turns])
                try:
                    marked = _marked(model, tokenizer, *asked[name], condition, batch=batch)
                except EvaluationError as error:
                    raise EvaluationError(f"{model_path}, condition {name}: {error}") from error
                for scoring, (marks, missed) in marked.items():
                    exam, right = zip(*marks, strict=True)
                    found.setdefault(name, {}).setdefault(scoring, []).append(cmb_scoring.exam_accuracy(right, exam))
                    unread.setdefault(name, {}).setdefault(scoring, []).append(missed)
    (folder / "unread.json").write_text(json.dumps(unread))
    (folder / "scores.json").write_text(json.dumps(found))
