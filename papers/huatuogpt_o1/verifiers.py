"""Who says whether a response gives the reference answer (section 2.2, App. C): the question is not shown to any of them.

Each has a ``name`` and ``verify(responses, references) -> (N,) bool``.

    ExactMatch().verify(["It is the flu."], ["Flu"])                       # array([ True])
    SequenceClassifier(folder).verify(responses, references)               # probability of label 1 above 0.4
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lib.models import ModelError
from papers.huatuogpt_o1 import prompts
from papers.huatuogpt_o1.problems import Chat

THRESHOLD = 0.4  # of the released trainer


class Verifier(Protocol):
    name: str

    def verify(self, responses: Sequence[str], references: Sequence[str]) -> np.ndarray: ...


def _paired(responses: Sequence[str], references: Sequence[str]) -> list[tuple[str, str]]:
    if len(responses) != len(references):
        raise ValueError(f"{len(responses)} responses and {len(references)} references; give one reference a response")
    return list(zip(responses, references, strict=True))


def mentions(text: str, words: str) -> bool:
    """Whether ``words`` stand in ``text``, case ignored.

    >>> mentions("Parvovirus B19 infection.", "parvovirus b19")
    True
    """
    return words.strip().lower() in text.lower()


class ExactMatch:
    """The reference's words somewhere in the response."""

    name = "exact match"

    def verify(self, responses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        return np.array([mentions(text, words) for text, words in _paired(responses, references)], dtype=bool)


class AliasTable:
    """Any known name of the reference somewhere in the response; ``aliases``: a name -> all names of the same thing."""

    name = "alias table"

    def __init__(self, aliases: Mapping[str, Sequence[str]]):
        self.aliases = {name.lower(): tuple(names) for name, names in aliases.items()}

    def verify(self, responses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        return np.array(
            [
                any(mentions(text, name) for name in (words, *self.aliases.get(words.lower(), ())))
                for text, words in _paired(responses, references)
            ],
            dtype=bool,
        )


class ChatJudge:
    """A chat model that is asked for True or False; "true" anywhere in its reply counts, as in the release."""

    def __init__(self, chat: Chat):
        self.chat, self.name = chat, f"judge {chat.name}"

    def verify(self, responses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        asked = [
            prompts.VERIFY.format(response=text, reference=words) for text, words in _paired(responses, references)
        ]
        return np.array(["true" in self.chat.ask(prompt).lower() for prompt in asked], dtype=bool)


class SequenceClassifier:
    """A checkpoint with two labels: the prompt, the end token, and the probability of label 1 above ``threshold``.

    ``template``: of the prompt, with ``{response}`` and ``{reference}``. ``checkpoint``: a folder (ours at ``mini``) or hub id
    (the released 3B verifier), safetensors, no remote code.
    Raises :class:`~lib.models.ModelError` for anything else.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        *,
        threshold: float = THRESHOLD,
        device: str = "cpu",
        dtype: str = "float32",
        batch: int = 128,
        revision: str | None = None,
        template: str = prompts.VERIFY,
    ):
        self.name, self.threshold, self.batch, self.device = "classifier", threshold, batch, device
        self.template = template
        self.model, self.tokenizer = load_classifier(checkpoint, device=device, dtype=dtype, revision=revision)

    def probabilities(self, responses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """Probability (N,) of label 1."""
        import torch

        pairs, found = _paired(responses, references), []
        with torch.inference_mode():
            for start in range(0, len(pairs), self.batch):
                inputs = encode_pairs(self.tokenizer, pairs[start : start + self.batch], template=self.template)
                logits = self.model(**{key: value.to(self.device) for key, value in inputs.items()}).logits
                found.append(logits.float().softmax(dim=-1)[:, 1].cpu().numpy())
        return np.concatenate(found) if found else np.zeros(0)

    def verify(self, responses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        return self.probabilities(responses, references) > self.threshold


def encode_pairs(tokenizer: Any, pairs: Sequence[tuple[str, str]], *, template: str) -> dict[str, Any]:
    """The classifier's prompt of each pair with the end token behind it, padded on the right."""
    texts = [template.format(response=text, reference=words) + tokenizer.eos_token for text, words in pairs]
    return dict(
        tokenizer(texts, padding=True, add_special_tokens=False, return_token_type_ids=False, return_tensors="pt")
    )


def load_classifier(
    checkpoint: Path | str, *, device: str = "cpu", dtype: str = "float32", revision: str | None = None
):
    """(classifier with two labels in eval mode, tokenizer padding on the right)."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from lib.models import causal_lm

    causal_lm._no_bars()
    where = {"revision": revision, "local_files_only": Path(checkpoint).is_dir(), "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, **where)
        model = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, num_labels=2, use_safetensors=True, dtype=getattr(torch, dtype), **where
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{checkpoint} cannot be loaded as a classifier ({reason}); give a checkpoint in safetensors."
        ) from error
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.to(device).eval(), tokenizer


def rates(said: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Accuracy, balanced accuracy, and the shares of wrong answers passed and of right ones failed."""
    said, right = np.asarray(said, dtype=bool), np.asarray(right, dtype=bool)
    if not right.any() or right.all():
        raise ValueError("all labels are the same; a verifier is measured on right and wrong responses")
    false_positive, false_negative = float(said[~right].mean()), float((~said[right]).mean())
    return {
        "accuracy": float((said == right).mean()),
        "balanced accuracy": 1 - (false_positive + false_negative) / 2,
        "false positives": false_positive,
        "false negatives": false_negative,
    }
