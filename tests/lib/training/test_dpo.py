"""DPO through TRL: which model is the reference, the paper's loss, adapters and all weights, and pairs that are refused."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from lib.data.files import DataError
from lib.evaluation.exams import option_likelihood
from lib.models import causal_lm
from lib.training.chat_encoding import turns
from lib.training.dpo import prefer, read_pairs
from lib.training.loop import TrainingError
from lib.training.sft import finetune

WORDS = "say red blue green white one two three four"
LORA = {"rank": 2, "targets": ["q_proj", "v_proj"]}
PAIRS = [
    ("say one", "red red", "blue"),
    ("say two", "red", "blue green"),
    ("say three", "red white", "blue"),
    ("say four", "red", "white blue"),
]
HOW = {"reference": "start", "beta": 0.5, "batch": 4, "learning_rate": 1e-2, "max_length": 32, "steps": 1}


def _message(role, text):
    return [{"role": role, "content": text}]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A tiny base, pairs, and an adapter tuned on the chosen answers."""
    root = tmp_path_factory.mktemp("dpo")
    causal_lm.write_checkpoint(
        root / "base", texts=[WORDS], chat_template="mistral", architecture="llama", width=16, depth=1, heads=2, seed=3
    )
    rows = [
        {
            "prompt": _message("user", asked),
            "chosen": _message("assistant", good),
            "rejected": _message("assistant", bad),
        }
        for asked, good, bad in PAIRS
    ]
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sft = [{"messages": [*row["prompt"], *row["chosen"]]} for row in rows]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sft))
    (root / "tuned").mkdir()
    finetune(
        root / "tuned", checkpoint=root / "base", rows=root / "rows.jsonl", lora=LORA, steps=20, batch=4,
        learning_rate=5e-2, max_length=32,
    )  # fmt: skip
    return root


def history(folder):
    return json.loads((folder / "history.json").read_text())


def likelihoods(files, **how):
    """(pairs, 2): log-likelihood of both answers, summed over tokens."""
    model, tokenizer = causal_lm.load(files / "base", **how)
    prompts, answers = [], []
    for row in read_pairs(files / "pairs.jsonl", tokenizer, max_length=32):
        said = [turns([*row["prompt"], *row[key]], tokenizer)[-1] for key in ("chosen", "rejected")]
        prompts.append(said[0][0])
        answers.append([ids for _, ids in said])
    return torch.tensor(option_likelihood(model, prompts, answers))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["all weights", "new adapter", "resumed adapter"])
def test_against_the_start_the_first_loss_is_ln_2(files, tmp_path, kind):
    more = {"all weights": {}, "new adapter": {"lora": LORA}, "resumed adapter": {"adapter": files / "tuned"}}[kind]
    prefer(tmp_path, checkpoint=files / "base", rows=files / "pairs.jsonl", **HOW | {"steps": 6}, **more)
    found = history(tmp_path)
    assert found[0]["loss"] == pytest.approx(math.log(2), abs=1e-5) and found[0]["margin"] == pytest.approx(0, abs=1e-5)
    assert found[-1]["loss"] < math.log(2) and found[-1]["margin"] > 0
    is_adapter = (tmp_path / "adapter_config.json").is_file()
    assert is_adapter == (kind != "all weights") and not (tmp_path / "ref").exists()
    before = likelihoods(files, **({"adapter": files / "tuned"} if kind == "resumed adapter" else {}))
    after = likelihoods(files, adapter=tmp_path) if is_adapter else None
    if is_adapter:
        assert ((after - before) @ torch.tensor([1.0, -1.0], dtype=torch.float64)).mean() > 0


@pytest.mark.slow
def test_against_the_base_the_tuning_counts_as_reward(files, tmp_path):
    """The first loss is the paper's formula, computed apart from TRL."""
    told = {"checkpoint": files / "base", "adapter": files / "tuned", "rows": files / "pairs.jsonl"}
    prefer(tmp_path, **told, **HOW | {"reference": "base"})
    ratio = likelihoods(files, adapter=files / "tuned") - likelihoods(files)
    margin = HOW["beta"] * (ratio[:, 0] - ratio[:, 1])
    first = history(tmp_path)[0]
    assert first["loss"] == pytest.approx(float(-F.logsigmoid(margin).mean()), abs=1e-4)
    assert first["margin"] == pytest.approx(float(margin.mean()), abs=1e-4) and first["margin"] > 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "tuned"}, "reference 'tuned' is not known; give one of base, start"),
        ({"steps": None}, "either steps or epochs"),
        ({"epochs": 1.0}, "either steps or epochs"),
        ({"steps": 0}, "either steps or epochs"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_a_model_is_loaded(files, tmp_path, change, message):
    with pytest.raises(TrainingError, match=message):
        prefer(tmp_path, checkpoint=tmp_path / "none", rows=files / "pairs.jsonl", **HOW | change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"chosen": _message("assistant", "blue")}, DataError, "line 1 prefers an answer to itself; take the pair out"),
        ({"chosen": _message("assistant", " ")}, DataError, "prompt and chosen, message 2 is blank; complete it"),
        ({"chosen": _message("user", "red")}, DataError, "no answer, or other turns"),
        ({"chosen": []}, DataError, "'chosen' is no list of one message"),
        ({"more": []}, DataError, "has the key 'more'"),
        ({"chosen": "red"}, DataError, "'chosen' is no list of one message"),
        ({"chosen": [*_message("assistant", "red"), *_message("user", "say")]}, DataError, "no list of one message"),
        ({"prompt": []}, DataError, "'prompt' is no list of messages"),
        ({"prompt": [{"from": "human", "value": "a"}]}, DataError, "prompt and chosen, message 1 lacks 'role'"),
        (
            {"rejected": _message("assistant", None)},
            DataError,
            "prompt and rejected, message 2: 'content' is a NoneType",
        ),
        (
            {"rejected": _message("assistant", "red " * 40)},
            TrainingError,
            "rejected have 4. tokens; raise max_length 32",
        ),
    ],
)
def test_a_pair_that_cannot_be_trained_on_is_named_by_its_line(files, tmp_path, change, error, message):
    row = json.loads((files / "pairs.jsonl").read_text().splitlines()[0])
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row | change) + "\n")
    _, tokenizer = causal_lm.load(files / "base")
    with pytest.raises(error, match=message):
        read_pairs(tmp_path / "pairs.jsonl", tokenizer, max_length=32)


@pytest.mark.parametrize(
    ("content", "message"), [("", "no row"), ('{"prompt": []}', "line 1 lacks 'chosen'"), ("{", "line 1 is not JSON")]
)
def test_a_file_of_pairs_that_is_none_is_named(files, tmp_path, content, message):
    (tmp_path / "pairs.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        prefer(tmp_path, checkpoint=files / "base", rows=tmp_path / "pairs.jsonl", **HOW)


def test_pairs_longer_than_the_context_are_refused(files, tmp_path):
    with pytest.raises(TrainingError, match="max_length 5000 exceeds the 4096 positions of the model"):
        prefer(tmp_path, checkpoint=files / "base", rows=files / "pairs.jsonl", **HOW | {"max_length": 5000})
