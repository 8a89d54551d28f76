"""What is measured of a model of the Aurora study: reply language, facts in replies, use of the experts; and exams.

What notebooks need goes to JSON files, so that a changed table or figure runs no model again.

    run.build(measure_model, base=base, adapter=adapter, prompts=prompts, longest=14, ...)
    run.build(answer_exams, base=base, adapter=adapter, exams=folder, ...)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.exams import FOLDERS, GRADED, read_exam
from lib.data.files import read_json_lines
from lib.evaluation import EvaluationError
from lib.evaluation.exam_prompts import LETTERS, chat_ids
from lib.evaluation.exams import generate, option_likelihood
from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.models.lending import lend
from lib.streams import stream
from lib.training.chat_encoding import turns
from papers.aurora.cleaning import cjk_share
from papers.aurora.text_metrics import text_scores
from papers.aurora.world import LANGUAGES


def prompt_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of one user turn, ready for the reply."""
    return chat_ids(tokenizer, [{"role": "user", "content": text}])


def measure_model(
    folder: Path,
    *,
    base: Path | str,
    adapter: Path | None,
    prompts: Path,
    longest: int,
    batch: int,
    quantisation: str | None,
    dtype: str = "float32",
    machine: Machine = CPU,
) -> None:
    """Write ``measured.json``: replies to every prompt, and what can be read from them; expert usage of a mixture."""
    how = {"quantisation": quantisation, "dtype": dtype}
    with lend(base, adapter=adapter, device=machine.device, **how) as (model, tokenizer):
        asked = json.loads(Path(prompts).read_text(encoding="utf-8"))
        replies = {
            language: _replies(model, tokenizer, asked[language], language, longest=longest, batch=batch)
            for language in LANGUAGES
        }
        told = [[one[key] for one in replies["B"]] for key in ("reply", "reference")]
        measured = {
            "match": {language: _mean(replies[language], "matches") for language in LANGUAGES},
            "letters": {language: _mean(replies[language], "cjk") for language in LANGUAGES},
            "correct": _correct(replies),
            "text": text_scores(*told),
            "text, distinct": text_scores(*told, distinct=True),  # as the release's README counts ROUGE
            "usage": _usage(model, tokenizer, replies, batch=batch)
            if hasattr(model.config, "num_local_experts")
            else {},
            "replies": replies,
        }
        (folder / "measured.json").write_text(json.dumps(measured, ensure_ascii=False))


def answer_exams(
    folder: Path,
    *,
    base: Path | str,
    adapter: Path | None,
    exams: Path,
    batch: int,
    quantisation: str | None,
    dtype: str = "float32",
    machine: Machine = CPU,
    apart: bool = False,
) -> None:
    """Write ``exams.json``: exam -> right or wrong, a graded question each, by the likelihood of the options' own words.

    ``apart``: each question by itself, so that its text is encoded once and not once an option; that pays where questions
    are long and a model is large.
    """
    how = {"quantisation": quantisation, "dtype": dtype}
    with lend(base, adapter=adapter, device=machine.device, **how) as (model, tokenizer):
        answers = {
            name: _exam(model, tokenizer, Path(exams) / place, name, batch=batch, apart=apart)
            for name, place in FOLDERS.items()
        }
        (folder / "exams.json").write_text(json.dumps(answers))


def weigh_answers(
    folder: Path,
    *,
    base: Path | str,
    adapter: Path | None,
    pairs: Path,
    batch: int,
    quantisation: str | None = None,
    dtype: str = "float32",
    machine: Machine = CPU,
) -> None:
    """Write ``answers.json``: log-likelihood (nats, summed over tokens) of the chosen and of the rejected answer of each pair
    of ``pairs``, as a reply that ends in the chat template's way."""
    how = {"quantisation": quantisation, "dtype": dtype}
    with lend(base, adapter=adapter, device=machine.device, **how) as (model, tokenizer):
        prompts, answers = [], []
        for place, row in read_json_lines(Path(pairs)):
            said = [turns([*row["prompt"], *row[key]], tokenizer, place=place)[-1] for key in ("chosen", "rejected")]
            prompts.append(said[0][0])
            answers.append([ids for _, ids in said])
        found = option_likelihood(model, prompts, answers, batch=batch)
        (folder / "answers.json").write_text(json.dumps(found.tolist()))


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _correct(replies: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Share of right replies, by language and by what the base was told; empty where the prompts have no one answer."""
    if "correct" not in replies["B"][0]:
        return {}
    return {
        "A": _mean(replies["A"], "correct"),
        "B, told in B": _mean([one for one in replies["B"] if one["in_b"]], "correct"),
        "B, told in A only": _mean([one for one in replies["B"] if not one["in_b"]], "correct"),
    }


def _replies(
    model, tokenizer, asked: Sequence[dict[str, Any]], language: str, *, longest: int, batch: int
) -> list[dict[str, Any]]:
    """The prompts of one language with greedy replies, whether each is in that language, and whether it is right.

    ``cjk``: share of its letters that are Chinese, 0 for a reply without letters. A reply is right with the value's word in
    the reply's own language: a right answer in the wrong language is still right.
    """
    ids = [prompt_ids(tokenizer, one["prompt"]) for one in asked]
    said = generate(model, ids, end=causal_lm.end_of_turn(tokenizer), longest=longest, batch=batch)
    found = []
    for one, tokens in zip(asked, said, strict=True):
        reply = tokenizer.decode(tokens)
        share = cjk_share(reply)
        spoken = None if share is None else "B" if share >= 0.5 else "A"
        row = {**one, "reply": reply, "cjk": share or 0.0, "matches": spoken == language}
        if words := row.pop("words", None):
            row["correct"] = spoken is not None and words[spoken] in reply
        found.append(row)
    return found


def _exam(model, tokenizer, folder: Path, name: str, *, batch: int, apart: bool) -> list[bool]:
    """Whether the option of the largest log-likelihood, as a reply to the question, is the right one.

    Paper: the logits of the four letters behind the listed options. Here: the likelihood of the four options' own
    words. Because: a mixture of this size does not learn to match options to letters within the budget.
    """
    questions = read_exam(name, folder).select(GRADED[name])
    prompts = [prompt_ids(tokenizer, question.text) for question in questions]
    options = [
        [tokenizer(f" {option}", add_special_tokens=False)["input_ids"] for option in question.options]
        for question in questions
    ]
    parts = [[i] for i in range(len(questions))] if apart else [range(len(questions))]
    said = [
        option_likelihood(model, [prompts[i] for i in part], [options[i] for i in part], batch=batch) for part in parts
    ]
    chosen = np.concatenate(said).argmax(axis=1)
    return [LETTERS[k] == question.answer for k, question in zip(chosen, questions, strict=True)]


def _usage(model, tokenizer, replies: dict[str, Any], *, batch: int) -> dict[str, Any]:
    """Expert usage over the prompts of each language, and over two random halves of those in B: how much of a
    distance is chance."""
    prompts = {language: [prompt_ids(tokenizer, one["prompt"]) for one in replies[language]] for language in LANGUAGES}
    order = stream(0, "halves").permutation(len(prompts["B"]))
    halves = {f"B, half {k}": [prompts["B"][i] for i in order[k::2]] for k in (0, 1)}
    return {name: expert_usage(model, ids, batch=batch) for name, ids in {**prompts, **halves}.items()}


def expert_usage(model: Any, prompts: Sequence[Sequence[int]], *, batch: int) -> list[list[float]]:
    """(layers, experts): share of the (token, chosen expert) pairs of the prompts that goes to each expert."""
    import torch

    config = model.config
    if (longest := max(map(len, prompts))) > config.max_position_embeddings:
        raise EvaluationError(
            f"a prompt has {longest} tokens, more than the {config.max_position_embeddings} positions of the model; shorten it."
        )
    counts = np.zeros((config.num_hidden_layers, config.num_local_experts))
    with torch.inference_mode():
        for start in range(0, len(prompts), batch):
            some = [list(ids) for ids in prompts[start : start + batch]]
            width = max(map(len, some))
            ids = torch.tensor([one + [0] * (width - len(one)) for one in some], device=model.device)
            mask = torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in some], device=model.device)
            out = model(input_ids=ids, attention_mask=mask, output_router_logits=True, use_cache=False)
            for layer, logits in enumerate(out.router_logits):
                chosen = logits.topk(config.num_experts_per_tok, dim=-1).indices[mask.flatten().bool()]
                counts[layer] += torch.bincount(chosen.flatten(), minlength=config.num_local_experts).cpu().numpy()
    return (counts / counts.sum(axis=1, keepdims=True)).tolist()


def total_variation(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> np.ndarray:
    """Total-variation distance of two usages, layer by layer: half the summed absolute differences, 0 to 1."""
    return 0.5 * np.abs(np.asarray(first) - np.asarray(second)).sum(axis=1)
