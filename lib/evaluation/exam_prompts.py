"""Exam questions as prompts: n-shot, in plain form or as chat turns, in English or Chinese.

A question is anything with ``text``, ``options`` and ``answer`` (``lib.data.exams.Question``). Used by every notebook
that scores an exam, before :mod:`lib.evaluation.exams` runs the model.

    encode_prompts(questions, tokenizer, exemplars=dev[:5], topic="anatomy", wording=ENGLISH, chat=True)
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lib.evaluation import EvaluationError

LETTERS = string.ascii_uppercase  # of options, in order
OPTIONS = 4  # of a question of the exams whose letters are scored
MOST_OPTIONS = 7  # of a question of any exam read here (CMB: A to G)


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


def letters_of(options: int) -> str:
    """The letters of so many options, two to seven."""
    if not 2 <= options <= MOST_OPTIONS:
        raise EvaluationError(f"a question has 2 to {MOST_OPTIONS} options, not {options}; correct it or take it out.")
    return LETTERS[:options]


def ask(question: Question, wording: Wording) -> str:
    """The question, its options and the answer cue. Raises ``EvaluationError`` for a blank text among them."""
    letters = letters_of(len(question.options))
    if not all(text.strip() for text in (question.text, *question.options)):
        raise EvaluationError(f"the question '{question.text[:40]}' has a blank text or option; complete it.")
    listed = "".join(
        wording.option.format(letter=letter, text=text) for letter, text in zip(letters, question.options, strict=True)
    )
    return f"{question.text}{listed}{wording.cue}"


def chat_turns(
    question: Question, *, exemplars: Sequence[Question], topic: str, wording: Wording
) -> list[dict[str, str]]:
    """The release's form: the header opens the first turn, each exemplar is a user turn answered by its letter."""
    messages = []
    for one in exemplars:
        if one.answer not in [*letters_of(len(one.options))]:
            told = "no answer" if one.answer is None else f"the answer {one.answer!r}, none of its letters"
            raise EvaluationError(f"the exemplar '{one.text[:40]}' has {told}; draw exemplars from the dev split.")
        messages += [{"role": "user", "content": ask(one, wording)}, {"role": "assistant", "content": one.answer}]
    messages.append({"role": "user", "content": ask(question, wording)})
    messages[0] = {"role": "user", "content": wording.header.format(topic=topic) + messages[0]["content"]}
    messages[-1] = {"role": "user", "content": messages[-1]["content"].strip()}  # the release: "Answer:", here alone
    return messages


def chat_ids(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """Token ids of a dialogue in the tokenizer's chat template, ready for the reply to its last user turn."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise EvaluationError("the tokenizer has no chat template; give a chat checkpoint, or ask in plain form.")
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise EvaluationError(f"the chat template refuses the dialogue ({error}); ask in another form.") from error
    return tokenizer(text, add_special_tokens=False)["input_ids"]


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
            prompts.append(chat_ids(tokenizer, messages))
            continue
        asked, letters = [m["content"] for m in messages[::2]], [m["content"] for m in messages[1::2]]
        shots = "".join(f"{one}{letter}\n\n" for one, letter in zip(asked, letters, strict=False))
        ids = tokenizer(shots + asked[-1])["input_ids"]  # some tokenizers end every text, and nothing follows an end
        prompts.append(ids[:-1] if ids[-1:] == [getattr(tokenizer, "eos_token_id", None)] else ids)
    return prompts


def letter_ids(tokenizer: Any, *, before: str, options: int = OPTIONS) -> list[int]:
    """The token that stands for each of the letters of so many options: the last one of `before` + letter.

    Many tokenizers write a letter after a space and a letter at the start of a line as two tokens, and only one of
    them is what the model would say; the release takes " A" for English and "\\nA" for Chinese. Raises
    ``EvaluationError`` when two letters share a token or one is unknown: such scores would be equal by construction.
    """
    letters = letters_of(options)
    ids = [(tokenizer(before + one, add_special_tokens=False)["input_ids"] or [None])[-1] for one in letters]
    if len(set(ids)) < len(ids) or tokenizer.unk_token_id in ids:
        raise EvaluationError(
            f"the tokenizer gives the letters {', '.join(letters)} the tokens {ids}, which must differ and be known; "
            f"change what stands before the letter, or the tokenizer."
        )
    return ids
