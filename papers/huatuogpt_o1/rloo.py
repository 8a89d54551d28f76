"""RLOO through TRL and pairs for DPO: the paper's comparisons with PPO, under the same reward of whole replies.

Paper: RLOO with two replies a prompt; DPO on five offline replies a question, a right one paired with a wrong one, questions
without both dropped. DPO itself is :func:`lib.training.dpo.prefer`.

    history = train_rloo(model, tokenizer, prompts, reward, how=RLOO(updates=60, batch=64, learning_rate=1e-2, longest=1), seed=0)
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lib.data.instructions import assistant, user
from lib.training import sft
from lib.training.loop import TrainingError
from papers.huatuogpt_o1.generation import Ids, generate

SAMPLES = 5  # offline replies a question (App. F)


@dataclass(frozen=True, kw_only=True)
class RLOO:
    """``updates`` steps of ``batch`` replies, ``replies`` of them to each prompt (the paper's rloo_k); as in :class:`ppo.PPO`."""

    updates: int
    batch: int
    learning_rate: float
    longest: int
    replies: int = 2
    beta: float = 0.03
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.replies < 2 or self.batch % self.replies or min(self.updates, self.longest) < 1:
            raise TrainingError(f"{self}: give two replies or more a prompt, a batch that they divide, and updates")


def train_rloo(
    model: Any, tokenizer: Any, prompts: Sequence[str], reward: Callable[[Sequence[int], Sequence[Ids]], Sequence[float]],
    *, how: RLOO, seed: int, device: str = "cpu",
) -> list[dict[str, float]]:  # fmt: skip
    """Train ``model`` in place; a line an update: mean ``score`` and ``kl`` to the start, as TRL reports them.

    ``prompts`` are texts that the tokenizer takes as they are. ``reward(places, replies)`` is told the prompts' places and the
    replies' tokens, as PPO's is.
    """
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback, set_seed
    from trl import RLOOConfig, RLOOTrainer

    disable_progress_bars()

    def paid(completion_ids, place, **_):
        return [float(one) for one in reward(place, completion_ids)]

    set_seed(seed)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own calls of each other's old names
        arguments = RLOOConfig(
            output_dir=folder, per_device_train_batch_size=how.batch, num_generations=how.replies, beta=how.beta,
            max_completion_length=how.longest, temperature=how.temperature, learning_rate=how.learning_rate,
            max_steps=how.updates, lr_scheduler_type="linear", optim="adamw_torch", seed=seed, data_seed=seed, bf16=False,
            use_cpu=device == "cpu", save_strategy="no", logging_steps=1, report_to=[], disable_tqdm=True,
            dataloader_pin_memory=device != "cpu",
        )  # fmt: skip
        dataset = Dataset.from_dict({"prompt": list(prompts), "place": list(range(len(prompts)))})
        trainer = RLOOTrainer(
            model=model, reward_funcs=paid, args=arguments, train_dataset=dataset, processing_class=tokenizer
        )
        trainer.remove_callback(PrinterCallback)
        with sft.less_housekeeping():
            trainer.train()
        model.eval()
        return [
            {"score": entry["reward"], "kl": entry.get("kl", 0.0)}
            for entry in trainer.state.log_history
            if "reward" in entry
        ]


def offline_pairs(
    model: Any, tokenizer: Any, prompts: Sequence[Ids], questions: Sequence[str],
    reward: Callable[[Sequence[int], Sequence[Ids]], Sequence[float]], *, longest: int, temperature: float, seed: int,
    samples: int = SAMPLES, right: float = 1.0,
) -> tuple[list[dict[str, Any]], int]:  # fmt: skip
    """Rows for :func:`lib.training.dpo.prefer`, and how many questions were dropped: with replies all right or all wrong.

    Of each question's replies the first that is paid ``right`` is preferred to the first that is paid less.
    """
    asked = [prompt for prompt in prompts for _ in range(samples)]
    places = [place for place in range(len(prompts)) for _ in range(samples)]
    replies = generate(model, asked, end=tokenizer.eos_token_id, longest=longest, temperature=temperature, seed=seed)
    paid, rows = reward(places, replies), []
    texts = [text.replace("# #", "##") for text in tokenizer.batch_decode(replies, skip_special_tokens=True)]
    for place, question in enumerate(questions):
        own = range(place * samples, (place + 1) * samples)
        good = [k for k in own if paid[k] >= right]
        bad = [k for k in own if paid[k] < right and texts[k].strip()]
        if good and bad:
            pair = {"chosen": [assistant(texts[good[0]])], "rejected": [assistant(texts[bad[0]])]}
            rows.append({"prompt": [user(question)], **pair})
    return rows, len(prompts) - len(rows)
