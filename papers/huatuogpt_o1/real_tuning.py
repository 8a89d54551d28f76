"""A real chat model tuned on released records, with the chain of thought, with the answer alone, and with another record's chain,
at equal tokens; and what it then answers on two real test sets.

    rows = run.build(write_tuning_rows, records=file, arm="complex", checkpoint=base, tokens=9000, ...)
    run.build(sit, checkpoint=base, adapter=tuned, questions=run.build(write_questions, ...), ...)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.exams import MEDICAL, read_exam
from lib.data.files import read_json, write_json_lines
from lib.data.instructions import assistant, user
from lib.evaluation.exam_prompts import chat_ids
from lib.evaluation.exams import generate, option_likelihood
from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.models.lending import lend
from lib.streams import stream, stream_seed
from papers.huatuogpt_o1 import letters
from papers.huatuogpt_o1.material import derangement
from papers.huatuogpt_o1.records import LETTERS, SFT, Record, listed_options, read_records, write_records
from papers.huatuogpt_o1.replies import write_reply

ARMS = ("complex", "answer", "swapped")
SETS = ("PubMedQA", "MMLU medical")
DECISIONS = ("yes", "no", "maybe")
CUE = "The answer is"  # in front of an option whose likelihood is asked


def tuning_rows(records: Sequence[Record], arm: str, *, seed: int) -> list[dict[str, Any]]:
    """The dialogues of an arm in the order of ``seed``; of ``swapped`` each record has the chain of another."""
    if arm not in ARMS:
        raise ValueError(f"there is no arm '{arm}'; choose from {', '.join(ARMS)}")
    order = stream(seed, "records").permutation(len(records))
    chains = [row["Complex_CoT"] for row in records]
    if arm == "swapped":
        chains = [chains[k] for k in derangement(len(chains), seed=seed)]
    rows = []
    for k in order:
        response = records[k]["Response"]
        said = response if arm == "answer" else write_reply(chains[k], response)
        rows.append({"messages": [user(records[k]["Question"]), assistant(said)]})
    return rows


def write_tuning_rows(
    folder: Path,
    *,
    records: Path,
    arm: str,
    checkpoint: Path | str,
    chat_template: str | None,
    tokens: int,
    longest: int,
    seed: int,
) -> None:
    """``rows.jsonl``: of the arm's dialogues as many as fill ``tokens``, each counted up to ``longest``; ``count.json``."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    if chat_template is not None:
        tokenizer.chat_template = causal_lm.CHAT_TEMPLATES[chat_template][1]
    kept, read = [], 0
    for row in tuning_rows(read_records(records, SFT), arm, seed=seed):
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        length = min(longest, len(tokenizer(text, add_special_tokens=False)["input_ids"]))
        if kept and read + length > tokens:
            break
        kept.append(row)
        read += length
    write_json_lines(folder / "rows.jsonl", kept)
    (folder / "count.json").write_text(json.dumps({"rows": len(kept), "tokens": read}))


def pubmedqa(folder: Path, *, context: int | None) -> list[Record]:
    """The 500 questions of the test split as exam records; of the abstract the last ``context`` characters, where results stand."""
    known, rows = read_json(folder / "ori_pqal.json"), []
    for key, decision in read_json(folder / "test_ground_truth.json").items():
        abstract = " ".join(known[key]["CONTEXTS"])
        abstract = abstract if context is None else abstract[-context:]
        rows.append(_record(f"{abstract}\n{known[key]['QUESTION']}", DECISIONS, LETTERS[DECISIONS.index(decision)]))
    return rows


def mmlu_medical(folder: Path, *, longest: int | None) -> list[Record]:
    """The test questions of MMLU's medical subjects as exam records; those of at most ``longest`` characters."""
    listed = read_exam("MMLU", folder).select("test", subjects=MEDICAL["MMLU"])
    return [_record(q.text, q.options, q.answer) for q in listed if longest is None or len(q.text) <= longest]


def _record(question: str, options: Sequence[str], letter: str) -> Record:
    named = dict(zip(LETTERS, options, strict=False))
    return {"question": question, "options": named, "answer_idx": letter, "answer": named[letter]}


def write_questions(
    folder: Path, *, name: str, source: Path, count: int | None, context: int | None, longest: int | None
) -> None:
    """``questions.json``: ``count`` questions of a set of :data:`SETS`, the same for every seed and arm, drawn by their texts."""
    rows = pubmedqa(source, context=context) if name == SETS[0] else mmlu_medical(source, longest=longest)
    drawn = sorted(rows, key=lambda row: stream_seed(0, "asked", row["question"], *row["options"].values()))
    write_records(folder / "questions.json", drawn[:count], ("question", "options", "answer_idx", "answer"))


def _asked(row: Record) -> list[dict[str, str]]:
    return [user(f"{row['question']}\n{listed_options(row)}")]


def _likeliest(model: Any, tokenizer: Any, row: Record, *, batch: int) -> int:
    cue = tokenizer(CUE, add_special_tokens=False)["input_ids"]
    words = [tokenizer(f" {text}", add_special_tokens=False)["input_ids"] for text in row["options"].values()]
    said = option_likelihood(model, [[*chat_ids(tokenizer, [user(row["question"])]), *cue]], [words], batch=batch)[0]
    return int(np.argmax(said / [len(one) for one in words]))


def sit(
    folder: Path, *, checkpoint: Path | str, adapter: Path | None, questions: Path, outputs: int, reply: int, batch: int,
    how: dict[str, Any], machine: Machine = CPU,
) -> None:  # fmt: skip
    """``sat.json``: of each question whether the likeliest option is right; the ``outputs`` first questions also have the model's
    free reply of at most ``reply`` tokens, to the question with its options listed.

    The likeliest option: by the mean log-probability of a token of its own words behind the bare question and :data:`CUE`.
    """
    rows = read_records(questions / "questions.json", ("question", "options", "answer_idx", "answer"))
    with lend(checkpoint, adapter=adapter, device=machine.device, **how) as (model, tokenizer):
        asked = [chat_ids(tokenizer, _asked(row)) for row in rows]
        said = [_likeliest(model, tokenizer, row, batch=batch) for row in rows]
        free = generate(model, asked[:outputs], end=causal_lm.end_of_turn(tokenizer), longest=reply, batch=batch)
        texts = [tokenizer.decode(one, skip_special_tokens=True) for one in free]
    right = [LETTERS[place] == row["answer_idx"] for place, row in zip(said, rows, strict=True)]
    (folder / "sat.json").write_text(json.dumps({"right": right, "chosen": said, "outputs": texts}))


def read_sat(folder: Path) -> dict[str, list]:
    """What :func:`sit` wrote."""
    return json.loads((folder / "sat.json").read_text())


def closed(texts: Sequence[str], rows: Sequence[Record], *, seed: int) -> list[str]:
    """The outputs, but in the place of those that state no single letter a sentence that states one drawn at random: where a letter
    is stated, there is nothing to guess."""
    rng, unanswered = stream(seed, "closed"), letters.score_cases(texts, rows)["unanswered"]
    said = [f"The answer is {rng.choice(list(row['options']))}." for row in rows]
    return [one if open_ else text for text, one, open_ in zip(texts, said, unanswered, strict=True)]


def flattery(texts: Sequence[str], rows: Sequence[Record]):
    """(released score minus strict one, one value an output; the cases of :func:`letters.score_cases`). Of outputs that are all
    empty the release has no score, and nothing is flattered."""
    cases = letters.score_cases(texts, rows)
    released = letters.as_released(cases) if not cases["empty"].all() else cases["strict"]
    return released - cases["strict"], cases
