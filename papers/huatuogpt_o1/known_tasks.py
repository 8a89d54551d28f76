"""Two tasks whose best policy is known, played by a tiny causal LM whose words are the actions: what PPO must reach before it is
trusted with anything else.

bandit      one word; each arm pays its own amount
chain       two words: left pays at once and little, right pays nothing, or all after a second right

    played = run.build(play, task="chain", seed=0, told={"updates": 60, ...}); read_played(played)["reached"]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.streams import stream, stream_seed
from papers.huatuogpt_o1.ppo import PPO, train_ppo

TASKS: dict[str, dict[tuple[str, ...], float]] = {
    "bandit": {("a",): 0.2, ("b",): 0.9, ("c",): 1.0},
    "chain": {("left", "left"): 0.5, ("left", "right"): 0.5, ("right", "right"): 1.0},
}


def _reply_shares(model: Any, prompt: list[int], words: list[int], length: int) -> dict[tuple[int, ...], float]:
    """The probability of each reply of ``length`` of the task's words."""
    shares: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(length):
        grown = {}
        for reply, share in shares.items():
            with torch.no_grad():
                following = model(torch.tensor([[*prompt, *reply]])).logits[0, -1].double().softmax(-1)
            grown |= {(*reply, word): share * float(following[word]) for word in words}
        shares = grown
    return shares


def play(
    folder: Path, *, task: str, seed: int, told: dict[str, Any], random: bool = False, machine: Machine = CPU
) -> None:
    """``played.json``: what the trained policy is worth (``reached``, from its probabilities) and was worth at the ``start``,
    and the history of the training. ``random``: replies are paid at random instead, as much on average (the null).
    """
    pays = TASKS[task]
    length, words = len(next(iter(pays))), sorted({word for reply in pays for word in reply})
    causal_lm.write_checkpoint(
        folder, texts=[" ".join(["go", *words])], chat_template="plain", architecture="llama", width=16, depth=1, heads=2,
        seed=stream_seed(seed, "policy"),
    )  # fmt: skip
    model, tokenizer = causal_lm.load(folder, device=machine.device)
    prompt = tokenizer("go", add_special_tokens=False)["input_ids"]
    numbers = tokenizer.convert_tokens_to_ids(words)
    paid = {tuple(tokenizer.convert_tokens_to_ids(list(reply))): worth for reply, worth in pays.items()}
    rng = stream(seed, "random pay")

    def reward(places, replies) -> list[float]:
        if random:
            return [float(one) for one in rng.choice([0.0, *pays.values()], size=len(replies))]
        return [paid.get(tuple(reply), 0.0) for reply in replies]

    def worth() -> float:
        return sum(
            share * paid.get(reply, 0.0) for reply, share in _reply_shares(model, prompt, numbers, length).items()
        )

    how = PPO(longest=length, **told)
    start = worth()
    history = train_ppo(model, [prompt] * how.batch, reward, how=how, end=tokenizer.eos_token_id, seed=seed)
    (folder / "played.json").write_text(json.dumps({"start": start, "reached": worth(), "history": history}))


def read_played(folder: Path) -> dict[str, Any]:
    """What :func:`play` wrote."""
    return json.loads((folder / "played.json").read_text())
