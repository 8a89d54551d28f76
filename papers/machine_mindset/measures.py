"""What is asked of a model: which pole's answer is likelier, its type, the questionnaire, an exam. Written as JSON files, so
that a changed table or figure runs no model again.

    run.build(weigh_pairs, base=base, adapter=adapter, held=folder / "held.json", batch=16)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib.data.files import write_json
from lib.evaluation.exam_prompts import LETTERS, OPTIONS, chat_ids, letter_ids
from lib.evaluation.exams import generate, option_likelihood, option_logits
from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.models.lending import lend
from lib.streams import stream_seed
from lib.training.chat_encoding import turns
from papers.machine_mindset.material import asked, exam_questions
from papers.machine_mindset.questionnaire import Item, option_texts
from papers.machine_mindset.released_sets import CODE, TYPES
from papers.machine_mindset.remembering import Remembering
from papers.machine_mindset.texts import read_words, say

# A reply that names a letter: alone, or behind words such as "The answer is"; what stands behind it is no word, so that the
# article of "A dog" names nothing.
_LETTER = re.compile(
    r"\W*(?:the )?(?:correct )?(?:answer|option)?(?: is)?\W*([ABCD])(?=\s*(?:[.):,]|\n|$))", re.IGNORECASE
)


def _user(text: str, system: str | None = None) -> list[dict[str, str]]:
    before = [] if system is None else [{"role": "system", "content": system}]
    return [*before, {"role": "user", "content": text}]


def _likelihood(model, prompts: Sequence, options: Sequence, *, batch: int, apart: bool):
    """:func:`option_likelihood`; ``apart``: each prompt by itself, so that it is encoded once and not once an option, which pays
    where a model is large."""
    if not apart:
        return option_likelihood(model, prompts, options, batch=batch)
    return [option_likelihood(model, [p], [o], batch=batch)[0] for p, o in zip(prompts, options, strict=True)]


@contextmanager
def _loaded(base, adapter, machine: Machine, how: dict[str, Any]) -> Iterator[tuple[Any, Remembering]]:
    with lend(base, adapter=adapter, device=machine.device, **how) as (model, tokenizer):
        yield model, Remembering(tokenizer)


def weigh_pairs(
    folder: Path,
    *,
    base: Path | str,
    adapter: Path | None,
    held: Path,
    batch: int,
    apart: bool,
    how: dict[str, Any],
    machine: Machine = CPU,
) -> None:
    """``weighed.json``: of each held-out instruction, pole -> mean log-likelihood a token of its answer (nats), end included.

    ``how``: of :func:`lib.models.causal_lm.load`: dtype, quantisation, chat_template.
    """
    cases = json.loads(Path(held).read_text(encoding="utf-8"))
    with _loaded(base, adapter, machine, how) as (model, tokenizer):
        prompts, answers = [], []
        for number, one in enumerate(cases, start=1):
            place, prompt = f"{held}, row {number}", _user(one["instruction"])
            said = [
                turns([*prompt, {"role": "assistant", "content": text}], tokenizer, place=place)[-1]
                for text in one["answers"].values()
            ]
            prompts.append(said[0][0])
            answers.append([ids for _, ids in said])
        found = _likelihood(model, prompts, answers, batch=batch, apart=apart)
    poles = list(cases[0]["answers"])
    write_json(
        folder / "weighed.json",
        [
            {pole: float(total) / len(ids) for pole, total, ids in zip(poles, totals, listed, strict=True)}
            for totals, listed in zip(found, answers, strict=True)
        ],
    )


def name_type(
    folder: Path,
    *,
    base: Path | str,
    adapter: Path | None,
    questions: Path,
    words: Path | None,
    lead: str,
    longest: int,
    batch: int,
    apart: bool,
    how: dict[str, Any],
    machine: Machine = CPU,
) -> None:
    """``named.json``: of each question the log-likelihood of every type's code behind the reply's beginning ``lead``, and the
    codes in the model's own reply of at most ``longest`` tokens."""
    texts, known = json.loads(Path(questions).read_text(encoding="utf-8")), read_words(words)
    with _loaded(base, adapter, machine, how) as (model, tokenizer):
        plain = [chat_ids(tokenizer, _user(say(text, known))) for text in texts]
        begun = [ids + tokenizer(lead, add_special_tokens=False)["input_ids"] for ids in plain]
        codes = [tokenizer(f" {kind}", add_special_tokens=False)["input_ids"] for kind in TYPES]
        likely = _likelihood(model, begun, [codes] * len(begun), batch=batch, apart=apart)
        replies = generate(model, plain, end=causal_lm.end_of_turn(tokenizer), longest=longest, batch=batch)
        said = [tokenizer.decode(ids, skip_special_tokens=True) for ids in replies]
    write_json(
        folder / "named.json",
        [
            {
                "question": text,
                "codes": dict(zip(TYPES, map(float, row), strict=True)),
                "reply": reply,
                "named": CODE.findall(reply),
            }
            for text, row, reply in zip(texts, likely, said, strict=True)
        ],
    )


def answer_items(
    folder: Path,
    *,
    base: Path | str,
    adapter: Path | None,
    items: Path,
    words: Path | None,
    wording: str,
    persona: str | None,
    batch: int,
    apart: bool,
    how: dict[str, Any],
    machine: Machine = CPU,
) -> None:
    """``answers.json``: of each item of the questionnaire, mean log-likelihood a token of either option, once in each order.

    ``wording``: the prompt, with {question}, {one} and {other}. ``persona``: said before it, where the model is told who it is.
    """
    known, listed = read_words(words), [Item(**one) for one in json.loads(Path(items).read_text(encoding="utf-8"))]
    with _loaded(base, adapter, machine, how) as (model, tokenizer):
        prompts, options = [], []
        for item in listed:
            texts = [say(text, known) for text in option_texts(item)]
            for one, other in (texts, texts[::-1]):
                prompt = say(wording.format(question=item.question, one=one, other=other), known)
                prompts.append(
                    chat_ids(tokenizer, _user(prompt if persona is None else f"{say(persona, known)} {prompt}"))
                )
                options.append([tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts])
        found = _likelihood(model, prompts, options, batch=batch, apart=apart)
    mean = [
        [float(total) / len(ids) for total, ids in zip(*row, strict=True)] for row in zip(found, options, strict=True)
    ]
    write_json(folder / "answers.json", [mean[k : k + 2] for k in range(0, len(mean), 2)])


def parse_letter(reply: str) -> str | None:
    """The letter that a reply begins with or names, or none.

    >>> parse_letter("The answer is B."), parse_letter("c"), parse_letter("A dog barks.")
    ('B', 'C', None)
    """
    found = _LETTER.match(reply)
    return found[1].upper() if found else None


def sit_exam(
    folder: Path,
    *,
    base: Path | str,
    adapter: Path | None,
    exam: Path,
    count: int,
    longest_question: int | None,
    words: Path | None,
    longest: int,
    batch: int,
    apart: bool,
    by_words: bool,
    how: dict[str, Any],
    machine: Machine = CPU,
) -> None:
    """``sat.json``: of each of ``count`` test questions the right letter and what the model gives by three ways of scoring.

    ``letters``: the likeliest of the four letters; ``generated``: the letter that its reply of ``longest`` tokens names, or
    none; ``words`` (where ``by_words``): the option whose own words are the likeliest reply to the bare question.
    """
    able = exam_questions(exam, "test", longest=longest_question)
    questions = sorted(able, key=lambda one: stream_seed(0, "asked", one.text, *one.options))[:count]
    known = read_words(words)
    with _loaded(base, adapter, machine, how) as (model, tokenizer):
        prompts = [chat_ids(tokenizer, _user(say(asked(one), known))) for one in questions]
        ids = letter_ids(tokenizer, before="", options=OPTIONS)
        found = {"letters": _letters(option_logits(model, prompts, letters=ids, batch=batch).argmax(axis=1))}
        replies = generate(model, prompts, end=causal_lm.end_of_turn(tokenizer), longest=longest, batch=batch)
        found["generated"] = [parse_letter(tokenizer.decode(one, skip_special_tokens=True)) for one in replies]
        if by_words:
            bare = [chat_ids(tokenizer, _user(one.text)) for one in questions]
            options = [
                [tokenizer(f" {text}", add_special_tokens=False)["input_ids"] for text in q.options] for q in questions
            ]
            scores = _likelihood(model, bare, options, batch=batch, apart=apart)
            found["words"] = _letters([one.argmax() for one in scores])
    right = [one.answer for one in questions]
    write_json(folder / "sat.json", {"right": right, **found})


def _letters(places: Sequence[int]) -> list[str]:
    return [LETTERS[int(place)] for place in places]
