"""Exam questions as prompts: n-shot, in plain form or as chat turns, in English or Chinese.

A question is anything with ``text``, ``options`` and ``answer`` (``lib.data.exams.Question``). Used by every notebook
that scores an exam, before :mod:`lib.evaluation.exams` runs the model.

    parse_letter("The answer is B.", ["yes", "no"])
'B'
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lib.evaluation import EvaluationError

LETTERS = string.ascii_uppercase  # of options, in order
OPTIONS = 4  # of a question of the exams whose letters are scored


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


def letter_ids(tokenizer: Any, *, before: str) -> list[int]:
    """The token that stands for each of the four letters: the last one of `before` + letter.

    Many tokenizers write a letter after a space and a letter at the start of a line as two tokens, and only one of
    them is what the model would say; the release takes " A" for English and "\\nA" for Chinese. Raises
    ``EvaluationError`` when two letters share a token or one is unknown: such scores would be equal by construction.
    """
    ids = [tokenizer(before + letter, add_special_tokens=False)["input_ids"][-1] for letter in LETTERS[:OPTIONS]]
    if len(set(ids)) < len(ids) or tokenizer.unk_token_id in ids:
        raise EvaluationError(
            f"the tokenizer gives the letters {', '.join(LETTERS[:OPTIONS])} the tokens {ids}, which must differ and be known; "
            f"change what stands before the letter, or the tokenizer."
        )
    return ids
