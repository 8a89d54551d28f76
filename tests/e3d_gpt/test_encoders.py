"""Encoders and tuned models on small files: what is trained in which stage, resuming, stored features, adapters, answers."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.data.files import write_json
from lib.machine import Machine
from lib.models import ModelError, causal_lm
from papers.e3d_gpt import answering, encoders, tuning, world
from papers.e3d_gpt.findings import SHOWN
from papers.e3d_gpt.prepare import Crops, scaled

VIT = {
    "patch": [4, 4, 2],
    "base_grid": [2, 2, 2],
    "width": 12,
    "depth": 2,
    "heads": 2,
    "positions": "index",
    "spread": 1.0,
}
CROP = [8, 8, 4]
MASKED = {
    "decoder": {"width": 12, "depth": 1, "heads": 2}, "ratio": 0.5, "steps": 4, "batch": 8, "learning_rate": 1e-2, "warmup": 1,
}  # fmt: skip
STAGES = {
    "dtype": "float32", "attention": "products", "longest": 90, "lora": None, "batch": 4, "question_batch": 6,
    "align": {"steps": 2, "learning_rate": 1e-2, "warmup": 1}, "tune": {"steps": 4, "learning_rate": 1e-2, "warmup": 1},
}  # fmt: skip
ANSWERS = {"new": 60, "batch": 5, "longest": 90, "dtype": "float32"}
LORA = {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": ["q_proj", "v_proj"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Prepared volumes, gathered texts and labels, an untrained encoder, its tokens, a language model."""
    root, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    for name in ("volumes", "texts", "encoder", "tokens", "language"):
        (root / name).mkdir()
    np.save(root / "volumes/volumes.npy", rng.normal(size=(16, *CROP)).astype(np.float16))
    write_json(root / "volumes/names.json", [str(n) for n in range(16)])
    shown = [{name: "left upper lung" for name in SHOWN if rng.random() < 0.4} for _ in range(16)]
    reports = [(row, world.report_item(str(row), one, rng)) for row, one in enumerate(shown)]
    questions = [(row, item) for row, one in enumerate(shown) for item in world.ask(str(row), one, rng)[0]]
    told = {
        key: [(row, item.image, item.question, item.answer, item.kind) for row, item in many]
        for key, many in (("reports", reports), ("questions", questions))
    }
    write_json(root / "texts/instructions.json", told)
    write_json(root / "texts/reports.json", [item.answer for _, item in reports])
    np.save(root / "texts/labels.npy", np.array([[name in one for name in SHOWN] for one in shown]))
    encoders.initialise(root / "encoder", prepared=[root / "volumes"], vit=VIT, crop=CROP, seed=0)
    encoders.encode(root / "tokens", prepared=[root / "volumes"], vit=VIT, crop=CROP, encoder=root / "encoder")
    how = {
        "steps": 2,
        "batch": 4,
        "question_batch": 6,
        "learning_rate": 1e-3,
        "warmup": 1,
        "longest": 90,
        "attention": "products",
    }
    architecture = {"architecture": "llama", "width": 16, "depth": 2, "heads": 2}
    tuning.make_language_model(root / "language", texts=root / "texts", architecture=architecture, how=how, seed=0)
    return root


def vision(made):
    return {"vit": VIT, "crop": CROP, "encoder": made / "encoder", "standardise": True}


def tune(made, folder, **told):
    folder.mkdir(exist_ok=True)
    given = {"projector": "convolution", "how": STAGES, "seed": 1, "tokens": [made / "tokens"]} | told
    tuning.tune(folder, texts=made / "texts", vision=vision(made), language=made / "language", **given)
    return folder


def answered(made, arm, folder, **told):
    folder.mkdir()
    given = {"projector": "convolution", "tokens": [made / "tokens"]} | told
    answering.answer(
        folder, arm=arm, texts=made / "texts", vision=vision(made), language=made / "language", how=ANSWERS,
        findings=SHOWN[:3], count=16, **given,
    )  # fmt: skip
    return json.loads((folder / "answers.json").read_text()), np.load(folder / "diagnosis.npy")


def test_the_start_of_an_encoder_tells_volumes_apart(made):
    net, volumes = encoders.build_vision(VIT, seed=0), Crops([made / "volumes"], crop=CROP).draw(range(16)) - 4
    encoders.centre_tokens(net, volumes, spread=1.0)
    tokens = net.embed(volumes)
    wanted = net.positions.flatten(0, 2)
    assert float((tokens - tokens.mean(dim=0)).std().detach()) == pytest.approx(1, abs=0.01)
    assert (
        wanted.shape == tokens.shape[1:] and tokens.mean(dim=0).abs().max() < 2
    )  # the places' own vectors, without -4


def test_pretraining_resumes_to_the_bit(made, tmp_path):
    """The third of four steps saved its state; a second fit begins there."""
    shared = {
        "prepared": [made / "volumes"],
        "vit": VIT,
        "crop": CROP,
        "seed": 3,
        "machine": Machine(checkpoint_every=3),
    }
    for name in ("whole", "resumed/checkpoint"):
        (tmp_path / name).mkdir(parents=True)
    encoders.pretrain_masked(tmp_path / "whole", how=MASKED, **shared)
    saved = tmp_path / "whole/checkpoint/state.pt"
    assert torch.load(saved, weights_only=True)["step"] == 3
    shutil.copy(saved, tmp_path / "resumed/checkpoint/state.pt")
    encoders.pretrain_masked(tmp_path / "resumed", how=MASKED, **shared)
    first, second = (load_file(tmp_path / name / encoders.WEIGHTS) for name in ("whole", "resumed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_batch_in_parts_gives_the_loss_of_the_whole(made, tmp_path):
    shared = {"prepared": [made / "volumes"], "vit": VIT, "crop": CROP, "seed": 3, "how": {**MASKED, "steps": 2}}
    losses = []
    for name, machine in (("whole", Machine()), ("parts", Machine(micro_batch=3))):
        (tmp_path / name).mkdir()
        encoders.pretrain_masked(tmp_path / name, machine=machine, **shared)
        losses.append(json.loads((tmp_path / name / "losses.json").read_text())[0])
    assert losses[0] == pytest.approx(losses[1], rel=0.2)  # masks are drawn part by part


def test_shuffled_voxels_keep_the_intensities_and_lose_the_places(made):
    volumes = Crops([made / "volumes"], crop=CROP).draw(range(4))
    shuffled = encoders.shuffle_voxels(volumes, np.random.default_rng(0))
    assert torch.equal(shuffled.flatten(1).sort(dim=1).values, volumes.flatten(1).sort(dim=1).values)
    assert not torch.equal(shuffled, volumes)


def test_tuning_starts_where_it_is_told_and_scores_the_test_volumes(made, tmp_path):
    shared = {
        "prepared": [made / "volumes"], "labels": made / "texts", "test": [made / "volumes"] * 2, "vit": VIT, "crop": CROP,
        "seed": 0, "encoder": made / "encoder",
    }  # fmt: skip
    how = {"steps": 30, "batch": 16, "learning_rate": 1e-2, "warmup": 1}
    encoders.fine_tune(tmp_path, how=how, **shared)
    losses, scores = json.loads((tmp_path / "losses.json").read_text()), np.load(tmp_path / "scores.npy")
    assert scores.shape == (32, len(SHOWN)) and np.array_equal(scores[:16], scores[16:])
    assert losses[-1] < 0.5 * losses[0]


def test_the_first_stage_trains_the_projector_alone(made, tmp_path, monkeypatch):
    trained = []
    real = tuning.train

    def watch(net, *rest, **more):
        trained.append({name.split(".")[0] for name, one in net.named_parameters() if one.requires_grad})
        return real(net, *rest, **more)

    monkeypatch.setattr(tuning, "train", watch)
    tune(made, tmp_path / "a", tokens=(), prepared=[made / "volumes"])
    assert trained == [{"projector"}, {"projector", "language", "vision"}]
    trained.clear()
    tune(made, tmp_path / "b", projector=None)
    assert trained == [{"language"}]


def test_stored_tokens_and_a_frozen_encoder_give_the_same(made, tmp_path):
    """The stored ones are of half precision."""
    how = {**STAGES, "tune": {**STAGES["tune"], "steps": 1, "learning_rate": 1e-9}}
    stored = tune(made, tmp_path / "stored", how=how)
    live = tune(made, tmp_path / "live", how=how, tokens=(), prepared=[made / "volumes"])
    losses = [json.loads((one / "losses_align.json").read_text()) for one in (stored, live)]
    assert np.allclose(*losses, rtol=1e-3)


def test_an_adapter_is_saved_as_peft_saves_it_and_answers_alike(made, tmp_path):
    arm = tune(made, tmp_path / "arm", how={**STAGES, "lora": LORA})
    assert (arm / "adapter/adapter_model.safetensors").is_file() and (arm / "adapter/adapter_config.json").is_file()
    assert not (arm / "language").exists()
    said, yes = answered(made, arm, tmp_path / "one")
    again, same = answered(made, arm, tmp_path / "two")
    assert said == again and np.array_equal(yes, same)
    assert len(said["reports"]) == 16 and yes.shape == (16, 3) and np.all((yes > 0) & (yes < 1))


def test_another_patients_volume_gives_another_answer_and_a_blind_model_the_same(made, tmp_path):
    arm, blind = tune(made, tmp_path / "arm"), tune(made, tmp_path / "blind", projector=None)
    own, rolled = (answered(made, arm, tmp_path / f"a{roll}", roll=roll)[1] for roll in (0, 3))
    assert np.allclose(np.roll(own, -3, axis=0), rolled, atol=1e-5) and not np.allclose(own, rolled)
    _, unseen = answered(made, blind, tmp_path / "b", projector=None)
    assert np.allclose(unseen, unseen[0])


def test_a_checkpoint_with_a_missing_or_extra_key_is_one_sentence(made, tmp_path):
    arm = tune(made, tmp_path / "arm")
    path = arm / tuning.PROJECTOR
    state = load_file(path)
    given = {"language": made / "language", "projector": "convolution", "vision": vision(made), "dtype": "float32"}
    save_file({**state, "extra": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match=r"has the weight .extra"):
        tuning.load_tuned(arm, **given)
    save_file({name: value for name, value in state.items() if name != "mean"}, path)
    with pytest.raises(ModelError, match=r"lacks the weight .mean"):
        tuning.load_tuned(arm, **given)
    save_file(state, path)
    tuning.load_tuned(arm, **given)


def test_prompts_end_where_the_answer_begins(made):
    _, tokenizer = causal_lm.load(made / "language")
    from papers.e3d_gpt.prompts import IGNORED, Encoder

    encoder = Encoder(tokenizer, slots=1, longest=90)
    batch = encoder.batch([(world.is_there(SHOWN[0]), "yes"), (world.is_there("Cardiomegaly"), "no")])
    for row, said in enumerate(("yes", "no")):
        kept = batch["labels"][row] != IGNORED
        assert tokenizer.decode(batch["labels"][row][kept]).split() == [said, tokenizer.eos_token]
        assert torch.equal(batch["input_ids"][row][kept], batch["labels"][row][kept])
    alone = encoder.prompts([world.is_there("Cardiomegaly")])["input_ids"][0].tolist()
    assert batch["input_ids"][1].tolist()[: len(alone)] == alone


def test_intensities_are_scaled_as_in_the_code_line():
    hu = np.array([-3000.0, -1000.0, 0.0, 1000.0, 4000.0])
    wanted = (np.array([-1, -1, 0, 1, 1]) - 0.4978) / 0.2449
    assert np.allclose(scaled(hu, mean=0.4978, sd=0.2449), wanted, atol=1e-5)
