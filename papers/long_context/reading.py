"""Whether a model reads the context of a question: one question asked with its own, another's or no context, and with one
sentence left out; measured question by question, so that intervals come from questions.

Four measures of one prompt: the likelihood of the conclusion in the words of who wrote it (``nats`` a token, which sees
much smaller effects than a right answer), and three ways to mark an answer: the likeliest option (``likelihood``), the
option named first in a reply (``words``), the letter of a reply (``letter``).

    run.build(ask, model=checkpoint, questions=path, wording={...}, longest=5, seed=0)    # asked.json
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.evaluation import EvaluationError, exam_prompts
from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.streams import stream
from papers.long_context import cmb_scoring, open_book
from papers.long_context.questions import Question, counterpart, decisive, read_questions

OWN, OTHER, NONE = "own_context", "another_questions_context", "no_context"
DECISIVE, COUNTERPART = "without_decisive_sentence", "without_another_sentence"
MODES = ("letter", "words", "likelihood")
# In this order, because what two prompts begin with alike is read once.
MEASURED = {
    OWN: ("nats", *MODES),
    DECISIVE: ("nats",),
    COUNTERPART: ("nats",),
    OTHER: ("nats", *MODES),
    NONE: ("nats", "likelihood"),
}


# ---------------------------------------------------------------------- what stands in the prompt
def contexts(questions: Sequence[Question], *, seed: int) -> dict[str, list[list[str]]]:
    """Kind of context -> the sentences in front of each question. Whose context is another's is drawn by ``seed``."""
    order = stream(seed, "contexts").permutation(len(questions))
    another = {int(order[k]): questions[order[k - 1]] for k in range(len(order))}

    def without(question: Question, place: int) -> list[str]:
        return [one for number, one in enumerate(question.sentences) if number != place]

    return {
        OWN: [list(one.sentences) for one in questions],
        OTHER: [list(another[number].sentences) for number in range(len(questions))],
        NONE: [[] for _ in questions],
        DECISIVE: [without(one, decisive(one)) for one in questions],
        COUNTERPART: [without(one, counterpart(one)) for one in questions],
    }


def prompt(question: Question, sentences: Sequence[str], wants: str, wording: Mapping[str, str]) -> str:
    """The user's text. ``wants``: conclusion, words or letter, what the reply shall be.

    ``wording``: these three with ``{question}`` (letter also with ``{options}``), ``option`` with ``{letter}`` and
    ``{text}``, ``between`` two sentences, ``open`` with ``{context}`` and ``{asked}``, ``closed`` with ``{asked}``.
    """
    lettered = zip(exam_prompts.letters_of(len(question.options)), question.options, strict=True)
    options = "\n".join(wording["option"].format(letter=letter, text=text) for letter, text in lettered)
    asked = wording[wants].format(question=question.question, options=options)
    if not sentences:
        return wording["closed"].format(asked=asked)
    return wording["open"].format(context=wording["between"].join(sentences), asked=asked)


# ---------------------------------------------------------------------- how it is read
class Prefixes:
    """A model that is given texts which begin alike: what a text shares with the one before is not computed again."""

    def __init__(self, model: Any):
        from transformers import DynamicCache

        self.model, self.cache, self.ids = model, DynamicCache(), []
        self.room = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def logits(self, ids: Sequence[int], keep: int):
        """Log-probabilities (keep, V) of what follows each of the last ``keep`` tokens of ``ids``.

        Raises ``EvaluationError`` when the model has fewer positions.
        """
        import torch

        if self.room and len(ids) > self.room:
            raise EvaluationError(
                f"a prompt and its reply have {len(ids)} tokens, more than the {self.room} positions of the model; give "
                f"shorter contexts or a model with a longer context."
            )
        most = min(len(self.ids), len(ids) - keep)
        shared = next((k for k in range(most) if self.ids[k] != ids[k]), most)
        if len(self.ids) > shared:
            self.cache.crop(shared - len(self.ids))
        fed = torch.tensor([list(ids[shared:])], device=self.model.device)
        with torch.inference_mode():
            out = self.model(input_ids=fed, past_key_values=self.cache, use_cache=True, logits_to_keep=keep)
        self.ids = list(ids)
        return out.logits[0, -keep:].float().log_softmax(dim=-1)

    def likelihoods(self, ids: Sequence[int], replies: Sequence[Sequence[int]]) -> list[float]:
        """Mean log-probability of each reply's tokens behind ``ids``; nats a token."""
        import torch

        found, last = [], {}
        for reply in replies:
            read = (*ids, *reply[:-1])
            if (read, len(reply)) not in last:  # options of one token each follow the same text
                last = {(read, len(reply)): self.logits(read, len(reply))}
            said = last[read, len(reply)].gather(1, torch.tensor(reply, device=self.model.device)[:, None])
            found.append(float(said.mean()))
        return found

    def reply(self, ids: Sequence[int], *, end: int, longest: int) -> list[int]:
        """The greedy continuation, at most ``longest`` tokens, without the token ``end``."""
        said: list[int] = []
        while len(said) < longest and (token := int(self.logits([*ids, *said], 1).argmax())) != end:
            said.append(token)
        return said


def named(reply: str, options: Sequence[str]) -> int | None:
    """The place of the option that a reply names first, as whole words in either case; ``None`` when it names none.

    >>> named("It is not known; maybe. Yes?", ["Yes", "No", "Maybe"])
    2
    """
    found = [(hit.start(), k) for k, text in enumerate(options)
             if (hit := re.search(rf"(?<!\w){re.escape(text)}(?!\w)", reply, flags=re.IGNORECASE))]  # fmt: skip
    return min(found)[1] if found else None


def _lettered(reply: str, options: Sequence[str]) -> int | None:
    letter = cmb_scoring.strict_letters(reply, multiple=False)
    place = exam_prompts.letters_of(len(options)).find(letter) if letter else -1
    return None if place < 0 else place


# ---------------------------------------------------------------------- the questions, asked
def ask(
    folder: Path,
    *,
    model: Path | str,
    questions: Path,
    wording: Mapping[str, str],
    longest: int,
    seed: int,
    machine: Machine = CPU,
    dtype: str = "float32",
) -> None:
    """``asked.json``: measure -> kind of context -> one value a question, in the order of ``questions``.

    ``nats``: the negative log-likelihood of the conclusion, a token; the three modes: 1 where right, else 0, a reply that
    names nothing being wrong. ``replies.json``: mode -> kind -> reply, for who wants to read them. ``longest``: tokens
    of a reply; ``seed`` draws whose context another question gets.
    """
    with open_book.lend(model, device=machine.device, dtype=dtype) as (loaded, tokenizer):
        asked = read_questions(Path(questions))
        stands = contexts(asked, seed=seed)
        reader, replies = Prefixes(loaded), {mode: {OWN: [], OTHER: []} for mode in ("words", "letter")}
        found = {name: {kind: [] for kind, names in MEASURED.items() if name in names} for name in ("nats", *MODES)}

        def tokens(text: str) -> list[int]:
            return tokenizer(text, add_special_tokens=False)["input_ids"]

        def prompt_ids(number: int, kind: str, wants: str) -> list[int]:
            text = prompt(asked[number], stands[kind][number], wants, wording)
            return exam_prompts.chat_ids(tokenizer, [{"role": "user", "content": text}])

        for number, question in enumerate(asked):
            for kind, names in MEASURED.items():
                wanted = prompt_ids(number, kind, "conclusion")
                found["nats"][kind].append(-reader.likelihoods(wanted, [tokens(question.conclusion)])[0])
                if "likelihood" in names:
                    wanted = prompt_ids(number, kind, "words")
                    scores = reader.likelihoods(wanted, [tokens(option) for option in question.options])
                    found["likelihood"][kind].append(int(np.argmax(scores) == question.right))
                for mode, place_of in (("words", named), ("letter", _lettered)):
                    if mode in names:
                        said = reader.reply(
                            prompt_ids(number, kind, mode), end=causal_lm.end_of_turn(tokenizer), longest=longest
                        )
                        replies[mode][kind].append(tokenizer.decode(said, skip_special_tokens=True).strip())
                        place = place_of(replies[mode][kind][-1], question.options)
                        found[mode][kind].append(int(place == question.right))
        (folder / "replies.json").write_text(json.dumps(replies, ensure_ascii=False))
        (folder / "asked.json").write_text(json.dumps(found))
