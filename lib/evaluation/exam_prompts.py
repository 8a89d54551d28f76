"""Exam questions as prompts: n-shot, in plain form or as chat turns, in English or Chinese; and answers read back.

A question is anything with ``text``, ``options`` and ``answer`` (``lib.data.exams.Question``). Used by every notebook
that scores an exam, before :mod:`lib.evaluation.exams` runs the model.

>>> parse_letter("The answer is B.", ["yes", "no"])
'B'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lib.evaluation.inputs import EvaluationError

LETTERS = ("A", "B", "C", "D")


class Question(Protocol):
    """What is asked; `answer` is a letter."""

    text: str
    options: Sequence[str]
    answer: str | None


@dataclass(frozen=True)
class Wording:
    """The words around a question. `before_letter` is what stands between the cue and the letter in running text."""

    header: str
    option: str
    cue: str
    before_letter: str


# Sheet of Aurora, section 5: the released templates, `en` and `zh`.
ENGLISH = Wording(
    header="The following are multiple choice questions (with answers) about {topic}.\n\n",
    option="\n{letter}. {text}",
    cue="\nAnswer: ",
    before_letter=" ",
)
CHINESE = Wording(
    header="以下是中国关于{topic}考试的单项选择题，请选出其中的正确答案。\n\n",
    option="\n{letter}. {text}",
    cue="\n答案：",
    before_letter="\n",
)


def ask(question: Question, wording: Wording) -> str:
    """The question, its options and the answer cue."""
    listed = "".join(
        wording.option.format(letter=letter, text=text)
        for letter, text in zip(LETTERS[: len(question.options)], question.options, strict=True)
    )
    return f"{question.text}{listed}{wording.cue}"


def chat_turns(
    question: Question, *, exemplars: Sequence[Question], topic: str, wording: Wording
) -> list[dict[str, str]]:
    """The release's form: the header opens the first turn, each exemplar is a user turn answered by its letter."""
    messages = []
    for one in exemplars:
        if one.answer is None:
            raise EvaluationError(f"the exemplar '{one.text[:40]}' has no answer; draw exemplars from the dev split.")
        messages += [{"role": "user", "content": ask(one, wording)}, {"role": "assistant", "content": one.answer}]
    messages.append({"role": "user", "content": ask(question, wording)})
    messages[0] = {"role": "user", "content": wording.header.format(topic=topic) + messages[0]["content"]}
    return messages


def encode_prompts(
    questions: Sequence[Question],
    tokenizer: Any,
    *,
    exemplars: Sequence[Question],
    topic: str,
    wording: Wording,
    chat: bool,
) -> list[list[int]]:
    """Token ids of each question behind the same `exemplars` (none: 0-shot), ready for the next token to be a letter.

    ``chat=True`` uses the tokenizer's chat template; ``False`` writes header, exemplars and question as one plain text
    (exemplars parted by a blank line). Paper: exemplars are shuffled anew for each question. Here: one draw a subject.
    Because: one checkpoint scored twice must give one number, and the shared text is then encoded once.
    """
    prompts = []
    for question in questions:
        messages = chat_turns(question, exemplars=exemplars, topic=topic, wording=wording)
        if chat:
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            prompts.append(tokenizer(text, add_special_tokens=False)["input_ids"])
            continue
        asked, letters = [m["content"] for m in messages[::2]], [m["content"] for m in messages[1::2]]
        shots = "".join(f"{one}{letter}\n\n" for one, letter in zip(asked, letters, strict=False))
        prompts.append(tokenizer(shots + asked[-1])["input_ids"])
    return prompts


def letter_ids(tokenizer: Any, *, before: str, letters: Sequence[str] = LETTERS) -> list[int]:
    """The token that stands for each letter: the last one of `before` + letter.

    Many tokenizers write a letter after a space and a letter at the start of a line as two tokens, and only one of
    them is what the model would say; the release takes " A" for English and "\\nA" for Chinese. Raises
    ``EvaluationError`` when two letters share a token or one is unknown: such scores would be equal by construction.
    """
    ids = [tokenizer(before + letter, add_special_tokens=False)["input_ids"][-1] for letter in letters]
    if len(set(ids)) < len(ids) or tokenizer.unk_token_id in ids:
        raise EvaluationError(
            f"the tokenizer gives the letters {', '.join(letters)} the tokens {ids}, which must differ and be known; "
            f"change what stands before the letter, or the tokenizer."
        )
    return ids


_CUE = r"(?i:answers?|option|choice|答案|选项?|选择)\W{0,3}(?i:is|are|为|是|应为|应选|选)?\W{0,3}"
_SAID = re.compile(rf"{_CUE}([A-Z])(?![A-Za-z])|{_CUE}(?<=\()([a-z])\)")
_FIRST = re.compile(r"\s*\(?([a-zA-Z])(?:[).:：、．]|\s*$)")
# "A" before a word is an article, unless the word is one that follows a choice
_ARTICLE = r"A(?=\s(?!(?:and|as|because|is|or|since)\b)[a-z])"
_ALONE = re.compile(rf"(?<![A-Za-z0-9])(?!{_ARTICLE})([A-Z])(?![A-Za-z0-9'])")


def parse_letter(reply: str, options: Sequence[str]) -> str | None:
    """The letter a free reply chooses, or ``None`` when it cannot be told (scored as wrong, and counted).

    In this order: a letter after a word such as "answer" or 答案; a letter that is the whole reply or opens it as
    "B." or "(b)"; the one capital letter standing alone; the one option whose text the reply contains. Two letters at
    one step decide nothing there.
    """
    letters = LETTERS[: len(options)]
    said = {(upper or lower).upper() for upper, lower in _SAID.findall(reply)} & set(letters)
    if len(said) == 1:
        return said.pop()
    first = _FIRST.match(reply)
    if not said and first and first[1].upper() in letters:
        return first[1].upper()
    alone = set(_ALONE.findall(reply)) & set(letters)
    if len(alone) == 1:
        return alone.pop()
    named = [letter for letter, text in zip(letters, options, strict=True) if text.strip() and text.strip() in reply]
    return named[0] if len(named) == 1 else None
