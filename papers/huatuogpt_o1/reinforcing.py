"""The RL stage of a tiny reasoner: PPO, RLOO or DPO from its SFT model, on problems that SFT did not see.

run.build(reinforce, checkpoint=sft, data=folder, method="ppo", how={"updates": 20, ...}, pay={"wrong": 0.1}, formatted=True,
          longest=64, every=5, seed=0)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lib.data.files import write_json_lines
from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.streams import stream_seed
from lib.training.dpo import prefer
from lib.training.sft import less_housekeeping
from papers.huatuogpt_o1.generation import generate
from papers.huatuogpt_o1.material import Part, derangement, read_part
from papers.huatuogpt_o1.ppo import PPO, train_ppo
from papers.huatuogpt_o1.reasoners import as_asked, encoded, examined
from papers.huatuogpt_o1.rewards import Reward
from papers.huatuogpt_o1.rloo import RLOO, offline_pairs, train_rloo
from papers.huatuogpt_o1.verifiers import AliasTable

METHODS = ("ppo", "rloo", "dpo")
Paid = Callable[[Sequence[int], Sequence[Sequence[int]]], Sequence[float]]


def reward_of(
    model: Any, tokenizer: Any, part: Part, *, formatted: bool, longest: int, seed: int, wrong: float = 0.1, noise: float = 0.0,
    random: bool = False, permuted: bool = False,
) -> Reward:  # fmt: skip
    """The reward of replies to ``part``. ``random``: verdicts drawn at the rate at which the model's own are true at the start.
    ``permuted``: each reply is judged by another problem's truth."""
    truths = part.truths
    if permuted:
        truths = [truths[k] for k in derangement(len(truths), seed=seed)]
    told = {"verifier": AliasTable(part.aliases), "formatted": formatted, "wrong": wrong, "noise": noise, "seed": seed}
    if not random:
        return Reward(tokenizer, truths, **told)
    replies = generate(
        model, encoded(tokenizer, part.questions), end=tokenizer.eos_token_id, longest=longest, temperature=1.0,
        seed=stream_seed(seed, "rate"),
    )  # fmt: skip
    paid = Reward(tokenizer, truths, **told)(range(len(replies)), replies)
    in_format = [one for one in paid if one > 0] or [0.0]
    return Reward(tokenizer, truths, **told, random=sum(one == 1.0 for one in in_format) / len(in_format))


def reinforce(
    folder: Path, *, checkpoint: Path, data: Path, method: str, how: dict[str, Any], pay: dict[str, Any], formatted: bool,
    longest: int, every: int, seed: int, machine: Machine = CPU,
) -> None:  # fmt: skip
    """``marks.json`` of the trained reasoner on the test problems and ``history.json``, a line an update; the model is not kept.

    ``every``: updates of PPO after which the line holds the marks of the test, which no training looks at. ``pay``: of
    :func:`reward_of`. ``how``: of :class:`PPO`, of :class:`RLOO`, or of :func:`lib.training.dpo.prefer`.
    """
    if method not in METHODS:
        raise ValueError(f"there is no method '{method}'; choose from {', '.join(METHODS)}")
    model, tokenizer = causal_lm.load(checkpoint, device=machine.device)
    part, test = read_part(data, "rl"), read_part(data, "test")
    told = {"formatted": formatted, "longest": longest}
    paid = reward_of(model, tokenizer, part, seed=seed, **told, **pay)

    def watch(update: int, policy: Any) -> dict[str, float]:
        if (update + 1) % every and update:
            return {}
        return {f"test_{name}": value for name, value in examined(policy, tokenizer, test, **told)[0].items()}

    if method == "ppo":
        how = PPO(longest=longest, **how)
        with less_housekeeping():
            history = train_ppo(
                model,
                encoded(tokenizer, part.questions),
                paid,
                how=how,
                end=tokenizer.eos_token_id,
                seed=seed,
                watch=watch,
            )
    elif method == "rloo":
        prompts = as_asked(tokenizer, part.questions)
        history = train_rloo(
            model, tokenizer, prompts, paid, how=RLOO(longest=longest, **how), seed=seed, device=machine.device
        )
    else:
        model, history = _preferred(folder, checkpoint, model, tokenizer, part, paid, how, longest, seed, machine)
    found, texts = examined(model, tokenizer, test, **told)
    (folder / "marks.json").write_text(json.dumps(found))
    (folder / "replies.json").write_text(json.dumps(texts))
    (folder / "history.json").write_text(json.dumps(history))


def _preferred(folder, checkpoint, model, tokenizer, part: Part, paid: Paid, how, longest, seed, machine):
    """DPO on offline replies; how many questions gave a pair stands in every line of the history. Where none did, there is no
    step."""
    rows, _ = offline_pairs(
        model, tokenizer, encoded(tokenizer, part.questions), part.questions, paid, longest=longest, temperature=1.0,
        seed=stream_seed(seed, "offline"),
    )  # fmt: skip
    if not rows:
        return model, []
    write_json_lines(folder / "pairs.jsonl", rows)
    tuned = folder / "tuned"
    tuned.mkdir()
    prefer(
        tuned, checkpoint=checkpoint, rows=folder / "pairs.jsonl", reference="start", seed=seed, machine=machine,
        max_length=longest + 1 + max(map(len, encoded(tokenizer, part.questions))), **how,  # a reply cut short is given an end
    )  # fmt: skip
    model, _ = causal_lm.load(tuned, device=machine.device)
    history = [{**line, "pairs": len(rows)} for line in json.loads((tuned / "history.json").read_text())]
    shutil.rmtree(tuned)
    return model, history


def read_history(folder: Path) -> list[dict[str, float]]:
    """What :func:`reinforce` wrote, a line an update."""
    return json.loads((folder / "history.json").read_text())
