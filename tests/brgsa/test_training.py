"""Training one arm on random volumes: what moves, what is drawn, what a seed decides, and what is stored of it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.machine import Machine
from lib.models.knowledge_bank import KnowledgeBank
from lib.models.vision_transformer_3d import VisionTransformer3D
from lib.training.loop import TrainingError, epoch_order
from papers.brgsa import training as alignment
from papers.brgsa.model import BrgSA, frozen_tokens, score_variants
from papers.brgsa.training import merged_statements

REPORTS = 16
SIDES = (8, 6, 9)
VIT = {"patch": [4, 2, 3], "base_grid": [2, 3, 3], "width": 16, "depth": 3, "heads": 2}
MODEL = {"width": 12, "last_layers": 2, "frozen_blocks": 1, "vit": VIT}
BANK = {"size": 20, "initialisation": "orthogonal", "scale": 1.0, "linear": False}
FULL = {"alpha": 0.5, "beta": 1.0, "gamma": 1.0}
WORDS = [f"{a}{b}" for a in "abcd" for b in "efgh"]  # the finding that report n, and no other, names


def write_pairs(folder, statements, *, rows=2):
    folder.mkdir()
    pairs = [{"rows": [rows * n + k for k in range(rows)], "statements": s} for n, s in enumerate(statements)]
    (folder / "pairs.json").write_text(json.dumps(pairs))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Volumes 2n and 2n + 1 belong to report n; every voxel of volume r is near r, so that a crop tells its row."""
    root = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    (root / "prepared").mkdir()
    rows = np.arange(2 * REPORTS).reshape(-1, 1, 1, 1) / 8
    np.save(root / "prepared" / "volumes.npy", (rows + 0.02 * rng.normal(size=(32, *SIDES))).astype(np.float16))
    paths = {
        "prepared": root / "prepared",
        "pairs": write_pairs(root / "pairs", [[f"there is {word}"] for word in WORDS]),
        "many": write_pairs(root / "many", [[f"{word} one", f"{word} two", f"{word} three"] for word in WORDS]),
        "encoder": root / "encoder",
        "text": root / "text",
        "tokens": root / "tokens",
    }
    for name in ("encoder", "text", "tokens"):
        paths[name].mkdir()
    torch.manual_seed(0)
    save_file(VisionTransformer3D(**VIT).state_dict(), paths["encoder"] / "vit.safetensors")
    made = [paths["pairs"], paths["many"]]
    alignment.make_text_checkpoint(paths["text"], pairs=made, width=16, depth=2, heads=2)
    shared = {"prepared": paths["prepared"], "encoder": paths["encoder"], "vit": VIT}
    alignment.compute_frozen_tokens(paths["tokens"], blocks=1, **shared)
    return paths


def recipe(world, **changes):
    options = {
        "prepared": world["prepared"], "tokens": world["tokens"], "pairs": world["pairs"], "encoder": world["encoder"],
        "text": world["text"], "model": MODEL, "bank": BANK, "loss": FULL, "merge": 1, "crop": list(SIDES),
        "share": 1.0, "shuffle": False, "steps": 4, "batch": 4, "learning_rate": 1e-2, "seed": 0,
    }  # fmt: skip
    machine = Machine(checkpoint_every=changes.pop("checkpoint_every", 0))
    return {**options, "machine": machine, **changes}


def train(folder, world, **changes):
    folder.mkdir()
    alignment.train_arm(folder, **recipe(world, **changes))
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def untrained(world, *, seed=0, model=MODEL):
    torch.manual_seed(seed)
    return alignment.build_model(encoder=world["encoder"], text=world["text"], model=model, bank=BANK)


def drawn(world, tmp_path, monkeypatch, *, steps, **changes):
    """What reaches the model, one (row of the volume, text) for each item of each step; and the model."""
    found, nets = [], []

    def watch(net, loss_of_step, **options):
        assert options["steps"] == steps and options["clip"] == 0.25
        nets.append(net)

        def module(image, input_ids, attention_mask):
            rows = (8 * image.flatten(1).mean(dim=1)).round().int().tolist()
            texts = net.text.tokenizer.batch_decode(input_ids, skip_special_tokens=True)
            found.append(list(zip(rows, texts, strict=True)))
            return tuple(torch.randn(4, len(rows), 3))

        return [float(loss_of_step(module, step)) for step in range(steps)]

    monkeypatch.setattr(alignment, "train", watch)
    changes = {"tokens": None, "model": {**MODEL, "frozen_blocks": 0}, **changes}
    train(tmp_path / f"drawn{len(list(tmp_path.iterdir()))}", world, steps=steps, **changes)
    monkeypatch.undo()
    return found, nets[0]


def pairing(found):
    """Report number of the text -> report numbers of the volumes it was shown with."""
    seen = {}
    for row, text in (item for step in found for item in step):
        seen.setdefault(WORDS.index(text.split()[-1]), set()).add(row // 2)
    return seen


# ---------------------------------------------------------------------- what moves
def test_frozen_parameters_stay_and_all_others_move(world, tmp_path):
    train(tmp_path / "arm", world)
    after, net = load_file(tmp_path / "arm" / "model.safetensors"), untrained(world)
    before = net.state_dict()
    stay = {name for name in before if torch.equal(before[name], after[name])}
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert stay == frozen
    assert {n.rsplit(".", 1)[0] for n in frozen} >= {"image.patch_embed", "image.blocks.0.qkv"}
    assert {"image.positions", "image.cls_token"} <= frozen and not any("image.blocks.1" in n for n in frozen)
    assert "bank.bank" not in frozen and "global_embedder.weight" not in frozen


def test_unfrozen_everything_but_the_positions_moves(world, tmp_path):
    model = {**MODEL, "frozen_blocks": 0}
    train(tmp_path / "arm", world, model=model, tokens=None)
    after, before = load_file(tmp_path / "arm" / "model.safetensors"), untrained(world, model=model).state_dict()
    assert {name for name in before if torch.equal(before[name], after[name])} == {"image.positions"}


def test_plain_alignment_leaves_the_bank_alone(world, tmp_path):
    train(tmp_path / "arm", world, loss={"alpha": 0.0, "beta": 1.0, "gamma": 0.0})
    after = load_file(tmp_path / "arm" / "model.safetensors")
    torch.testing.assert_close(after["bank.bank"], untrained(world).bank.bank.detach(), rtol=0, atol=0)


def test_an_arm_learns_its_pairs(world, tmp_path):
    """The volumes of different reports differ by more than noise, so that 60 steps must find them."""
    train(tmp_path / "arm", world, steps=60, batch=8, learning_rate=3e-3)
    losses = json.loads((tmp_path / "arm" / "losses.json").read_text())
    assert len(losses) == 60 and np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


# ---------------------------------------------------------------------- what a seed decides
def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(world, tmp_path):
    first = train(tmp_path / "a", world)
    torch.rand(5)  # whatever the process drew before
    assert train(tmp_path / "b", world) == first and set(first) == {"model.safetensors", "losses.json"}
    other = train(tmp_path / "c", world, seed=1)
    assert all(other[name] != first[name] for name in first)


def test_arms_of_one_seed_share_their_start_and_their_batches(world, tmp_path, monkeypatch):
    """Arms are paired by seed: a loss or a bank that differs must be all that differs."""
    one, first = drawn(world, tmp_path, monkeypatch, steps=8)
    two, second = drawn(world, tmp_path, monkeypatch, steps=8, loss={**FULL, "gamma": 0.0})
    three, linear = drawn(world, tmp_path, monkeypatch, steps=8, bank={**BANK, "linear": True})
    assert one == two == three
    for other in (second, linear):
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    other_seed, _ = drawn(world, tmp_path, monkeypatch, steps=8, seed=1)
    assert one != other_seed


def test_a_killed_arm_goes_on_to_the_same_bytes(world, tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", world, steps=6, checkpoint_every=0)
    real = alignment.epoch_order

    def killed(*, step, **options):
        if step == 5:
            raise KeyboardInterrupt
        return real(step=step, **options)

    monkeypatch.setattr(alignment, "epoch_order", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", world, steps=6, checkpoint_every=2)
    monkeypatch.undo()
    alignment.train_arm(tmp_path / "killed", **recipe(world, steps=6, checkpoint_every=2))
    assert {name: (tmp_path / "killed" / name).read_bytes() for name in whole} == whole


# ---------------------------------------------------------------------- what is drawn
def test_every_report_is_shown_with_its_own_volumes_once_an_epoch(world, tmp_path, monkeypatch):
    found, _ = drawn(world, tmp_path, monkeypatch, steps=40)
    assert pairing(found) == {n: {n} for n in range(REPORTS)}
    for epoch in range(10):
        texts = [text for step in found[4 * epoch : 4 * epoch + 4] for _, text in step]
        assert len(set(texts)) == REPORTS
    assert {row for step in found for row, _ in step} == set(range(2 * REPORTS))  # either volume of a report


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_every_report_has_another_report_s_volumes(world, tmp_path, monkeypatch, seed):
    found, _ = drawn(world, tmp_path, monkeypatch, steps=16, shuffle=True, seed=seed)
    seen = pairing(found)
    assert all(len(rows) == 1 for rows in seen.values())  # one report's, the same at every epoch
    given = {report: rows.pop() for report, rows in seen.items()}
    assert sorted(given) == sorted(given.values()) == list(range(REPORTS))
    assert [report for report, volumes in given.items() if report == volumes] == []


@pytest.mark.parametrize("share, kept", [(0.5, 8), (0.8, 13), (1.0, 16)])
def test_share_takes_that_part_of_the_reports_and_the_seed_decides_which(world, tmp_path, monkeypatch, share, kept):
    chosen = []
    for seed in range(3):
        found, _ = drawn(world, tmp_path, monkeypatch, steps=30, share=share, seed=seed)
        assert all(report in rows and len(rows) == 1 for report, rows in pairing(found).items())
        chosen.append(frozenset(pairing(found)))
    assert [len(reports) for reports in chosen] == [kept] * 3
    assert len(set(chosen)) == (1 if share == 1.0 else 3)


@pytest.mark.parametrize("merge", [1, 2, 5])
def test_up_to_merge_statements_are_joined(world, tmp_path, monkeypatch, merge):
    found, _ = drawn(world, tmp_path, monkeypatch, steps=24, pairs=world["many"], merge=merge)
    texts = [text.split() for step in found for _, text in step]
    said = {tuple(words[1::2]) for words in texts}
    assert all(len(set(words[::2])) == 1 for words in texts)  # statements of one report
    assert all(len(s) == len(set(s)) == min(merge, 3) for s in said)  # without replacement
    assert len(said) == {1: 3, 2: 6, 5: 6}[merge]  # every choice and order occurs


def test_merged_statements_of_a_short_list():
    rng = np.random.default_rng(0)
    assert merged_statements(["a b"], merge=5, rng=rng) == ["a b"]
    assert sorted(merged_statements(["a", "b", "c"], merge=5, rng=rng)) == ["a", "b", "c"]


def test_an_epoch_is_a_fresh_permutation_whose_incomplete_batch_is_dropped():
    orders = [epoch_order(count=11, batch=3, seed=4, step=step) for step in range(12)]
    epochs = [np.concatenate(orders[3 * e : 3 * e + 3]) for e in range(4)]
    assert all(len(set(epoch)) == 9 and epoch.max() <= 10 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert set(np.concatenate(epochs)) == set(range(11))  # what is dropped changes
    assert (epoch_order(count=11, batch=3, seed=5, step=0) != orders[0]).any()
    with pytest.raises(TrainingError, match=r"^3 items do not fill one batch of 4; use a smaller batch or more data$"):
        epoch_order(count=3, batch=4, seed=0, step=0)


# ---------------------------------------------------------------------- the bank
def test_a_k_means_bank_starts_at_centres_of_both_modalities(world, tmp_path, monkeypatch):
    """As many centres as points: the centres are the points, untrained images and texts alike."""
    bank = {**BANK, "size": 2 * REPORTS, "initialisation": "kmeans"}
    _, net = drawn(world, tmp_path, monkeypatch, steps=1, bank=bank)
    array = np.load(world["prepared"] / "volumes.npy")[::2].astype(np.float32)
    with torch.no_grad():
        points = [net.encode_image(torch.from_numpy(array)[:, None])]
        points.append(net.encode_text(**net.text.tokenize([f"there is {word}" for word in WORDS])))
    distance = (torch.cat(points)[:, None] - net.bank.bank.detach()).abs().amax(dim=2)
    assert distance.amin(dim=1).max() < 1e-5 and distance.amin(dim=0).max() < 1e-5
    few = {**bank, "size": 3}
    _, net = drawn(world, tmp_path, monkeypatch, steps=1, bank=few)
    assert net.bank.bank.shape == (3, 12)
    assert net.bank.bank.requires_grad


# ---------------------------------------------------------------------- the encoder
def test_stored_tokens_stand_for_the_volume(world):
    net, whole = untrained(world).eval(), untrained(world, model={**MODEL, "frozen_blocks": 0}).eval()
    array = np.load(world["prepared"] / "volumes.npy")
    volume = torch.from_numpy(array.astype(np.float32))[:, None]
    with torch.no_grad():
        expected = whole.encode_image(volume)
        torch.testing.assert_close(net.encode_image(net.frozen_tokens(volume)), expected, rtol=0, atol=1e-6)
        exact = frozen_tokens(net.image, volume, 1)
    stored = np.load(world["tokens"] / "tokens.npy")
    assert stored.dtype == np.float16 and stored.shape == (32, 1 + 18, 16)
    np.testing.assert_allclose(stored, exact.numpy(), rtol=2**-10, atol=1e-6)
    scale = expected.std()
    from_tokens = alignment.embed_volumes(net, stored)
    torch.testing.assert_close(from_tokens / scale, expected / scale, rtol=0, atol=2e-2)  # float16
    torch.testing.assert_close(alignment.embed_volumes(net, array), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(alignment.embed_volumes(whole, array), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("change", [{"width": 32}, {"depth": 2}, {"depth": 4}, {"base_grid": [3, 3, 3]}])
def test_an_encoder_of_another_shape_is_told_in_one_sentence(world, change):
    with pytest.raises(TrainingError, match=r"vit\.safetensors does not fit the settings 'vit': .+") as error:
        alignment.load_image_encoder(world["encoder"], {**VIT, **change})
    assert "\n" not in str(error.value)


def test_permuted_positions_are_the_same_rows_in_another_order(world):
    net, other = untrained(world), untrained(world)
    alignment.permute_positions(net, seed=0)
    alignment.permute_positions(other, seed=0)
    before, after = (n.image.positions.flatten(0, 2) for n in (untrained(world), net))
    assert torch.equal(net.image.positions, other.image.positions) and not torch.equal(before, after)
    assert sorted(map(tuple, after.tolist())) == sorted(map(tuple, before.tolist()))


# ---------------------------------------------------------------------- what is stored of an arm
@pytest.mark.parametrize("linear", [False, True])
def test_stored_embeddings_are_those_of_a_direct_forward(world, tmp_path, linear):
    bank = {**BANK, "linear": linear}
    train(tmp_path / "arm", world, bank=bank)
    shared = {"encoder": world["encoder"], "text": world["text"], "model": MODEL, "bank": bank}
    texts = [f"there is {word}" for word in WORDS] * 8  # more than one batch of texts
    (tmp_path / "out").mkdir()
    alignment.embed_arm(
        tmp_path / "out", arm=tmp_path / "arm", images={"volumes": world["prepared"], "tokens": world["tokens"]},
        texts={"said": texts}, **shared,
    )  # fmt: skip
    stored = load_file(tmp_path / "out" / "embeddings.safetensors")
    assert set(stored) == {f"{n}{e}" for n in ("volumes", "tokens", "said") for e in ("", "_hat", "_atoms")}

    net = untrained(world)  # its weights are replaced by the trained ones
    net.bank.linear = linear
    net.load_state_dict(load_file(tmp_path / "arm" / "model.safetensors"))
    net.eval()
    volume = torch.from_numpy(np.load(world["prepared"] / "volumes.npy").astype(np.float32))[:, None]
    words = net.text.tokenize(texts)
    with torch.no_grad():
        _, t, v_hat, t_hat = net(net.frozen_tokens(volume[:1].expand(128, -1, -1, -1, -1)), **words)
        all_v = net.encode_image(net.frozen_tokens(volume))
    torch.testing.assert_close(stored["said"], t, rtol=0, atol=1e-5)
    torch.testing.assert_close(stored["said_hat"], t_hat, rtol=0, atol=1e-5)
    torch.testing.assert_close(stored["volumes"], all_v, rtol=0, atol=1e-5)
    torch.testing.assert_close(stored["volumes_hat"][0], v_hat[0], rtol=0, atol=1e-5)
    weights = net.bank(t)[1].detach()
    torch.testing.assert_close(stored["said_atoms"], 1 / weights.square().sum(dim=1), rtol=1e-4, atol=1e-5)
    if not linear:
        assert (stored["said_atoms"] >= 1).all() and (stored["said_atoms"] <= 20 + 1e-3).all()


def test_score_variants_are_the_cosines_they_are_named_after():
    generator = torch.Generator().manual_seed(0)
    v, v_hat = torch.randn(2, 5, 4, generator=generator)
    t, t_hat = torch.randn(2, 3, 4, generator=generator)
    scores = score_variants(v, v_hat, t, t_hat)
    pairs = {"vt": (v, t), "v^t": (v_hat, t), "vt^": (v, t_hat), "v^t^": (v_hat, t_hat)}
    for name, (a, b) in pairs.items():
        expected = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1)
        torch.testing.assert_close(scores[name], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(scores["mean"], (scores["vt"] + scores["v^t"]) / 2, rtol=0, atol=1e-6)
    assert set(scores) == {*pairs, "mean"}


def test_the_paper_s_model_takes_the_paper_s_input():
    """3-D ViT-B of 2,744 tokens, embeddings of 768 and a bank of 2,048 atoms: shapes only."""
    with torch.device("meta"):
        vit = VisionTransformer3D(patch=(16, 16, 8), base_grid=(14, 14, 14), width=768, depth=12, heads=12)
        net = BrgSA(vit, torch.nn.Identity(), KnowledgeBank(2048, 768), width=768)
        v = net.encode_image(torch.empty(2, 1, 224, 224, 112))
        reconstruction, weights = net.bank(v)
    assert v.shape == reconstruction.shape == (2, 768) and weights.shape == (2, 2048)
