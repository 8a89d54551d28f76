"""Fine-tuning through TRL: packing without cross-contamination, resuming, batch arithmetic, adapters on 4-bit bases."""

import gc
import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lib.data.files import write_json_lines
from lib.machine import Machine
from lib.models import causal_lm
from lib.training import sft
from lib.training.chat_encoding import IGNORED
from lib.training.loop import TrainingError

pytestmark = pytest.mark.filterwarnings("error::FutureWarning")  # a notebook would print it

WORDS = [f"w{i}" for i in range(30)]
LORA = {"rank": 2, "targets": ["q_proj", "v_proj"]}


def _rows(count: int = 24) -> list[dict]:
    rng = np.random.default_rng(0)
    said = [(" ".join(rng.choice(WORDS, rng.integers(1, 12))), str(rng.choice(WORDS))) for _ in range(count)]
    return [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in said]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sft")
    write_json_lines(folder / "rows.jsonl", _rows())
    for architecture, more in {"llama": {}, "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2}}.items():
        causal_lm.write_checkpoint(
            folder / architecture, texts=[" ".join(WORDS)], chat_template="mistral", architecture=architecture, width=32,
            depth=2, key_value_heads=2, **more,
        )  # fmt: skip
    return folder


def _tune(place, out, *, base: str = "llama", **changed):
    out.mkdir(exist_ok=True)
    given = {"steps": 6, "batch": 8, "learning_rate": 1e-2, "max_length": 32, **changed}
    machine = Machine(**{name: given.pop(name) for name in ("micro_batch", "checkpoint_every") if name in given})
    sft.finetune(out, checkpoint=place / base, rows=place / "rows.jsonl", machine=machine, **given)
    return json.loads((out / "losses.json").read_text())


def _same(a, b) -> bool:
    one, other = (load_file(folder / "model.safetensors") for folder in (a, b))
    return all(torch.equal(one[name], other[name]) for name in one)


# ---------------------------------------------------------------------- packing
def _packed_batch(place, tokenizer, sequences: int):
    dataset, counts = sft.encoded_dataset(place / "rows.jsonl", tokenizer, max_length=32, packing=True, seed=0)
    assert counts["rows"] == 24 > counts["sequences"] == len(dataset)
    rows = [dataset[i] for i in range(sequences)]
    return rows, sft.collate(rows, pad=tokenizer.pad_token_id)


@pytest.mark.parametrize("sequences", [1, 5])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("base", ["llama", "mixtral"])
def test_packed_dialogues_do_not_see_each_other(place, base, attention, sequences):
    """Logits of every packed dialogue are those of the dialogue alone (what the trainer feeds the model)."""
    model, tokenizer = causal_lm.load(place / base, attention=attention)
    rows, batch = _packed_batch(place, tokenizer, sequences)
    inputs = {key: batch[key] for key in ("input_ids", "position_ids")}
    assert sum(len(row["seq_lengths"]) for row in rows) > sequences and "attention_mask" not in batch
    with torch.no_grad():
        packed = model(**inputs, use_cache=False).logits
        leaking = model(input_ids=batch["input_ids"], use_cache=False).logits
        for i, row in enumerate(rows):
            ends = np.cumsum(row["seq_lengths"])
            for a, b in zip([0, *ends[:-1]], ends, strict=True):
                alone = model(input_ids=batch["input_ids"][i : i + 1, a:b], use_cache=False).logits[0]
                assert (packed[i, a:b] - alone).abs().max() < 1e-5
                assert a == 0 or (leaking[i, a:b] - alone).abs().max() > 1e-3  # the test would notice


def test_packing_keeps_every_label_but_never_predicts_over_a_boundary(place):
    _, tokenizer = causal_lm.load(place / "llama")
    plain, _ = sft.encoded_dataset(place / "rows.jsonl", tokenizer, max_length=32, packing=False, seed=0)
    packed, counts = sft.encoded_dataset(place / "rows.jsonl", tokenizer, max_length=32, packing=True, seed=0)
    assert sorted(t for row in plain["labels"] for t in row) == sorted(t for row in packed["labels"] for t in row)
    _, batch = _packed_batch(place, tokenizer, counts["sequences"])
    assert bool((batch["labels"][batch["position_ids"] == 0] == IGNORED).all())


def test_packed_and_padded_epochs_have_the_same_loss(place):
    from benchmarks.packing import measure_packing

    timing = measure_packing(place / "llama", place / "rows.jsonl", batch=8, max_length=32, repeats=1)
    assert timing.rows == 24 and timing.tokens < timing.padded_length and timing.loss_difference < 1e-5


# ---------------------------------------------------------------------- training
@pytest.mark.parametrize("options", [{}, {"packing": True, "batch": 2}, {"lora": {**LORA, "dropout": 0.1}}])
@pytest.mark.slow
def test_a_killed_fit_resumes_to_the_bit(place, tmp_path, options, monkeypatch):
    whole = _tune(place, tmp_path / "whole", checkpoint_every=2, **options)
    save, seen = sft.causal_lm.save, []

    def killed(*arguments):
        seen.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(sft.causal_lm, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        _tune(place, tmp_path / "cut", checkpoint_every=2, keep=[5], **options)
    assert seen and not (tmp_path / "cut" / "losses.json").exists()
    monkeypatch.setattr(sft.causal_lm, "save", save)
    assert _tune(place, tmp_path / "cut", checkpoint_every=2, **options) == whole
    name = "adapter_model.safetensors" if "lora" in options else "model.safetensors"
    one, other = (load_file(tmp_path / folder / name) for folder in ("whole", "cut"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_micro_batches_change_the_memory_and_not_the_step(place, tmp_path):
    whole, parts = _tune(place, tmp_path / "whole"), _tune(place, tmp_path / "parts", micro_batch=2)
    np.testing.assert_allclose(whole, parts, rtol=1e-4)
    with pytest.raises(
        TrainingError, match=r"a batch of 8 is not 1 device\(s\) x micro-batches of 3; change micro_batch"
    ):
        _tune(place, tmp_path / "odd", micro_batch=3)


def test_a_kept_copy_is_the_model_after_that_many_steps(place, tmp_path):
    _tune(place, tmp_path / "long", schedule="constant", keep=[3])
    _tune(place, tmp_path / "short", schedule="constant", steps=3)
    assert _same(tmp_path / "long" / "step_3", tmp_path / "short")
    assert not _same(tmp_path / "long", tmp_path / "short")


def test_the_seed_decides_the_order_and_nothing_else_does(place, tmp_path):
    first, again, other = (_tune(place, tmp_path / n, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert first == again != other and _same(tmp_path / "a", tmp_path / "b")


def test_an_epoch_is_every_row_once(place, tmp_path):
    assert len(_tune(place, tmp_path / "out", steps=None, epochs=2)) == 2 * 24 // 8
    with pytest.raises(TrainingError, match="give either steps or epochs"):
        _tune(place, tmp_path / "both", epochs=1)


def test_training_stops_at_the_first_loss_that_is_not_finite(place, tmp_path):
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d of 6; lower the learning rate"):
        _tune(place, tmp_path / "out", learning_rate=1e30)


def test_an_adapter_on_a_four_bit_mixture_trains_q_and_v_only(place, tmp_path):
    losses = _tune(place, tmp_path / "out", base="mixtral", lora=LORA, quantisation="nf4", steps=20, learning_rate=3e-2)
    assert losses[-1] < losses[0]
    names = set(load_file(tmp_path / "out" / "adapter_model.safetensors"))
    assert len(names) == 2 * 2 * 2 and all(".q_proj." in n or ".v_proj." in n for n in names)
    base, tokenizer = causal_lm.load(place / "mixtral", quantisation="nf4")
    tuned, _ = causal_lm.load(place / "mixtral", quantisation="nf4", adapter=tmp_path / "out")
    ids = torch.tensor([tokenizer("w1 w2 w3")["input_ids"]])
    with torch.no_grad():
        assert (base(input_ids=ids).logits - tuned(input_ids=ids).logits).abs().max() > 1e-2
        with tuned.disable_adapter():
            assert torch.equal(base(input_ids=ids).logits, tuned(input_ids=ids).logits)


def test_an_adapter_can_be_continued(place, tmp_path):
    _tune(place, tmp_path / "first", lora=LORA)
    losses = _tune(place, tmp_path / "second", adapter=tmp_path / "first")
    fresh = _tune(place, tmp_path / "fresh", lora=LORA)
    assert losses[0] < fresh[0]
    assert (tmp_path / "second" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"rank": 2, "targetts": ["q_proj"]},
            "lora has a missing or unknown key 'targets'; its keys are rank, targets",
        ),
        ({**LORA, "alhpa": 4}, "lora has a missing or unknown key 'alhpa'"),
        ({"targets": ["q_proj"]}, "lora has a missing or unknown key 'rank'"),
        ({**LORA, "rank": 0}, "lora is .*'rank': 0.*; give a whole rank and an alpha above 0, and a list of targets"),
        ({**LORA, "rank": 2.5}, "lora is .*2.5.*; give a whole rank"),
        ({**LORA, "rank": True}, "lora is .*True.*; give a whole rank"),
        ({**LORA, "targets": []}, "and a list of targets"),
        ({**LORA, "targets": "q_proj"}, "and a list of targets"),
        ({**LORA, "targets": ["q_proj", "c_attn"]}, "the model has no 'c_attn' for lora; give names of its layers"),
        ({**LORA, "targets": ["proj"]}, "the model has no 'proj' for lora"),
        ({**LORA, "alpha": 0}, "an alpha above 0"),
        ({**LORA, "alpha": "x"}, "the fit cannot be set up .*; change its settings"),
        ({**LORA, "targets": ["norm"]}, "the fit cannot be set up .Target module LlamaRMSNorm"),
        ({**LORA, "targets": ["lm_head"]}, "the fit cannot be set up .Applying a PEFT adapter to `lm_head`"),
        ({**LORA, "parameters": ["mlp.gate_up"]}, "the model has no 'mlp.gate_up' for lora"),
    ],
)
def test_a_wrong_adapter_is_told_before_anything_is_trained(place, tmp_path, changed, says):
    with pytest.raises(TrainingError, match=says):
        _tune(place, tmp_path / "out", lora=changed)
    assert not list((tmp_path / "out").glob("*.*"))


@pytest.mark.parametrize("target", ["q_proj", "embed_tokens", "mlp.down_proj", "model.layers.1.self_attn.v_proj"])
def test_an_adapter_goes_where_it_is_asked_and_comes_back(place, tmp_path, target):
    _tune(place, tmp_path / "out", lora={"rank": 2, "targets": [target]})
    tuned, tokenizer = causal_lm.load(place / "llama", adapter=tmp_path / "out")
    ids = torch.tensor([tokenizer("w1 w2 w3")["input_ids"]])
    with torch.no_grad(), tuned.disable_adapter():
        plain = tuned(input_ids=ids).logits
    with torch.no_grad():
        assert (tuned(input_ids=ids).logits - plain).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"max_length": 5000}, "max_length 5000 exceeds the 4096 positions of the model; lower it"),
        ({"steps": 0}, "give either steps or epochs, above 0"),
        ({"steps": None, "epochs": 0.0}, "give either steps or epochs, above 0"),
    ],
)
def test_lengths_and_steps_that_cannot_be_are_told(place, tmp_path, changed, says):
    with pytest.raises(TrainingError, match=says):
        _tune(place, tmp_path / "out", **changed)


def test_a_base_without_chat_template_is_tuned_in_a_given_one_alone(place, tmp_path):
    import shutil

    bare = shutil.copytree(place / "llama", tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    given = {"steps": 2, "batch": 8, "learning_rate": 1e-2, "max_length": 32, "rows": place / "rows.jsonl"}
    for name in ("refused", "given"):
        (tmp_path / name).mkdir()
    with pytest.raises(TrainingError, match="the chat template cannot write a dialogue"):
        sft.finetune(tmp_path / "refused", checkpoint=bare, **given)
    sft.finetune(tmp_path / "given", checkpoint=bare, chat_template="mistral", **given)
    assert _tune(place, tmp_path / "own", steps=2) == json.loads((tmp_path / "given" / "losses.json").read_text())
    assert _same(tmp_path / "given", tmp_path / "own")


@pytest.mark.slow
def test_less_housekeeping_changes_no_weight_and_is_put_back(place, tmp_path, monkeypatch):
    options = {"base": "mixtral", "lora": {**LORA, "dropout": 0.1}, "quantisation": "nf4"}
    torch.use_deterministic_algorithms(True)
    try:
        quick = _tune(place, tmp_path / "quick", **options)
        monkeypatch.setattr(sft, "less_housekeeping", nullcontext)
        assert _tune(place, tmp_path / "usual", **options) == quick
    finally:
        torch.use_deterministic_algorithms(False)
    one, other = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in ("quick", "usual"))
    assert one == other
    monkeypatch.undo()
    with pytest.raises(TrainingError), sft.less_housekeeping():
        assert gc.get_freeze_count() and not torch.utils.deterministic.fill_uninitialized_memory
        raise TrainingError("stopped")
    assert not gc.get_freeze_count() and torch.utils.deterministic.fill_uninitialized_memory
