"""The training loop: a resumed run is the uninterrupted one to the bit; losses that are not finite; foreign files."""

import math

import pytest
import torch
from torch import nn

from lib.machine import Machine
from lib.training.loop import TrainingError, train, warmup_cosine


class Stop(Exception):
    """The process is killed."""


def model_of(width=6, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.Dropout(0.3), nn.BatchNorm1d(width), nn.Linear(width, 1))


def squared(model, step):
    """A batch that is a function of the step; dropout draws from torch's own stream."""
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
    return (model(x) - x.sum(dim=1, keepdim=True)).square().mean()


def run(model, *, loss=squared, steps=9, checkpoint_every=0, **options):
    adam = torch.optim.Adam(model.parameters(), lr=0.05, betas=(0.5, 0.999), weight_decay=1e-3)
    options = {"clip": 1.0, "schedule": warmup_cosine(steps, warmup=3), "optimiser": adam, **options}
    return train(model, loss, steps=steps, machine=Machine(checkpoint_every=checkpoint_every), **options)


def killed_at(step):
    def loss(model, current):
        if current == step:
            raise Stop
        return squared(model, current)

    return loss


def equal(one, two):
    states = one.state_dict(), two.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])


# ---------------------------------------------------------------------- what a step may return
def test_parts_of_a_loss_go_back_one_before_the_next_is_computed():
    def linear():
        torch.manual_seed(0)
        return nn.Linear(4, 1)

    def parts(model, step):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        for rows in Machine(micro_batch=3).parts(range(8)):
            gradients.append(model.weight.grad is not None)
            yield (model(x[rows]) - x[rows].sum(dim=1, keepdim=True)).square().sum() / 8

    gradients, one, two = [], linear(), linear()
    whole, divided = run(one), run(two, loss=parts)
    assert divided == pytest.approx(whole, rel=1e-5) and torch.allclose(one.weight, two.weight, rtol=1e-5)
    assert gradients[:4] == [False, True, True, False]  # three parts of the first step, then the next begins anew


def test_activations_that_are_computed_again_give_the_same_weights_to_the_bit():
    from lib.models.vision_transformer_3d import VisionTransformer3D

    def fitted(again):
        torch.manual_seed(0)
        model = VisionTransformer3D(patch=(2, 2, 2), base_grid=(2, 2, 2), width=12, depth=3, heads=2)
        x = torch.randn(2, 1, 4, 4, 4)
        adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
        kept = {"steps": 3, "optimiser": adam, "clip": 1.0, "machine": Machine(recompute=again)}
        return model, train(model, lambda m, step: m(x).square().mean(), **kept)

    (one, losses), (two, again) = fitted(False), fitted(True)
    assert two.recompute and losses == again and equal(one, two)


def test_several_losses_count_as_their_mean_and_go_back_one_by_one():
    def linear():
        torch.manual_seed(0)
        return nn.Linear(4, 1)

    def half(model, step, part):
        return squared(model, 2 * step + part)

    one, two = linear(), linear()
    whole = run(one, loss=lambda m, step: (half(m, step, 0) + half(m, step, 1)) / 2)
    parts = run(two, loss=lambda m, step: [half(m, step, 0), half(m, step, 1)])
    assert parts == pytest.approx(whole) and torch.allclose(one.weight, two.weight)


def test_none_ends_the_training():
    assert len(run(model_of(), loss=lambda m, step: squared(m, step) if step < 3 else None)) == 3


def test_a_function_may_bound_the_gradients():
    def clip(parameters):
        torch.nn.utils.clip_grad_norm_(parameters, 0.05)

    losses = [run(whole := model_of(), clip=0.05), run(by_hand := model_of(), clip=clip)]
    assert losses[0] == losses[1]
    assert equal(whole, by_hand)


# ---------------------------------------------------------------------- resuming
@pytest.mark.parametrize("stop", [1, 4, 5, 8])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(tmp_path, stop):
    whole = model_of()
    losses = run(whole)
    checkpoint = tmp_path / "inside" / "state.pt"
    options = {"checkpoint": checkpoint, "checkpoint_every": 2}
    with pytest.raises(Stop):
        run(model_of(), loss=killed_at(stop), **options)
    assert checkpoint.exists() == (stop >= 2)
    torch.manual_seed(99)  # another process: other random state, other weights before they are restored
    resumed = model_of(seed=0 if stop < 2 else 5)
    asked = []

    def watched(model, step):
        asked.append(step)
        return squared(model, step)

    assert run(resumed, loss=watched, **options) == losses
    assert asked == list(range(stop // 2 * 2, 9))
    assert equal(resumed, whole) and len(set(losses)) == 9


def test_a_run_that_was_killed_twice_and_one_that_is_done(tmp_path):
    whole = model_of()
    losses = run(whole)
    options = {"checkpoint": tmp_path / "state.pt", "checkpoint_every": 3}
    for stop in (4, 7):
        with pytest.raises(Stop):
            run(model_of(), loss=killed_at(stop), **options)
    resumed = model_of()
    assert run(resumed, **options) == losses and equal(resumed, whole)
    again = model_of(seed=3)
    assert run(again, loss=killed_at(0), **options) == losses and equal(again, whole)  # nothing left to do


def test_checkpoints_change_nothing_and_are_written_whole(tmp_path, monkeypatch):
    plain = model_of()
    losses = run(plain)
    kept = model_of()
    assert run(kept, checkpoint=tmp_path / "state.pt", checkpoint_every=1) == losses and equal(plain, kept)
    before = (tmp_path / "state.pt").read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]

    def full(state, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        run(model_of(), steps=12, checkpoint=tmp_path / "state.pt", checkpoint_every=1)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_without_a_checkpoint_or_an_interval_nothing_is_written(tmp_path):
    run(model_of(), checkpoint=tmp_path / "state.pt", checkpoint_every=0)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- what stops it
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_at_its_step_with_the_weights_before_it(tmp_path, bad):
    def loss(model, step):
        return squared(model, step) * (bad if step == 5 else 1.0)

    broken = model_of()
    options = {"checkpoint": tmp_path / "state.pt", "checkpoint_every": 1}
    with pytest.raises(TrainingError, match=rf"^the loss is {bad} at step 5 of 9; lower the learning rate"):
        run(broken, loss=loss, **options)
    before = model_of()
    with pytest.raises(Stop):
        run(before, loss=killed_at(5))
    assert all(torch.equal(b, p) for b, p in zip(before.parameters(), broken.parameters(), strict=True))
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 5 and all(map(math.isfinite, state["losses"]))


def one_sentence(error):
    return "\n" not in str(error.value) and str(error.value).endswith("; delete it to start again")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_told_and_left(tmp_path, content):
    path = tmp_path / "state.pt"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"state\.pt is not a checkpoint of this model \(.+\)") as error:
        run(model_of(), checkpoint=path, checkpoint_every=2)
    assert one_sentence(error) and path.read_bytes() == content


def test_the_checkpoint_of_another_model_is_told_and_left(tmp_path):
    path = tmp_path / "state.pt"
    run(model_of(), checkpoint=path, checkpoint_every=2)
    before = path.read_bytes()
    deeper = nn.Sequential(model_of(), nn.Linear(1, 1))
    for other in (model_of(width=7), deeper):
        with pytest.raises(TrainingError, match=r"state\.pt is not a checkpoint of this model \(.+\)") as error:
            run(other, checkpoint=path, checkpoint_every=2)
        assert one_sentence(error) and path.read_bytes() == before
    fewer = model_of()
    adam = torch.optim.Adam(list(fewer.parameters())[:2], lr=0.1)
    with pytest.raises(TrainingError, match="not a checkpoint of this model") as error:
        run(fewer, optimiser=adam, checkpoint=path, checkpoint_every=2)
    assert one_sentence(error) and path.read_bytes() == before


def test_a_checkpoint_is_loaded_without_running_what_is_in_it(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"model": Bomb()}, tmp_path / "state.pt")
    with pytest.raises(TrainingError, match="not a checkpoint"):
        run(model_of(), checkpoint=tmp_path / "state.pt")


# ---------------------------------------------------------------------- steps
def straight(slope):
    """One weight whose gradient is ``slope`` at every step."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    return model, lambda module, step: slope * module(torch.ones(1, 1)).sum()


def test_the_schedule_multiplies_each_group_s_own_rate():
    first, second = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([1.0]))
    model = nn.Module()
    model.first, model.second = first, second
    model.forward = lambda: (model.first + model.second).sum()
    sgd = torch.optim.SGD([{"params": [first], "lr": 0.1}, {"params": [second], "lr": 0.02}])
    factors = [1.0, 0.5, 0.25, 0.0]
    losses = train(model, lambda m, step: m(), steps=4, optimiser=sgd, clip=100.0, schedule=lambda step: factors[step])
    assert first.item() == pytest.approx(1 - 0.1 * sum(factors)) and second.item() == pytest.approx(1 - 0.02 * 1.75)
    travelled = [0, 1.0, 1.5, 1.75]
    assert losses == pytest.approx([2 - 0.12 * t for t in travelled])  # the loss before its step
    assert not model.training


def test_the_gradient_is_clipped_to_the_norm_and_not_stretched():
    for slope, expected in ((50.0, 0.25), (0.1, 0.1)):
        model, loss = straight(slope)
        train(model, loss, steps=3, optimiser=torch.optim.SGD(model.parameters(), lr=1.0), clip=0.25)
        assert model.weight.item() == pytest.approx(1 - 3 * expected, rel=1e-4)


def test_the_clip_is_the_norm_over_all_parameters():
    model = nn.Linear(3, 1)
    before = [p.detach().clone() for p in model.parameters()]

    def loss(module, step):
        return module(torch.tensor([[3.0, 4.0, 12.0]])).sum()

    train(model, loss, steps=1, optimiser=torch.optim.SGD(model.parameters(), lr=1.0), clip=0.25)
    moved = torch.cat([(b - p.detach()).flatten() for b, p in zip(before, model.parameters(), strict=True)])
    expected = torch.tensor([3.0, 4.0, 12.0, 1.0])
    torch.testing.assert_close(moved, 0.25 * expected / expected.norm(), rtol=1e-4, atol=1e-6)


def test_warmup_then_half_a_cosine():
    factor = warmup_cosine(100, warmup=10)
    assert factor(0) == pytest.approx(0.1) and factor(100) == pytest.approx(0, abs=1e-12)
    assert factor(50) == pytest.approx(0.5) and factor(25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    values = [factor(step) for step in range(101)]
    assert values[:10] == sorted(values[:10]) and values[10:] == sorted(values[10:], reverse=True)
    assert warmup_cosine(4, warmup=0)(0) == 1.0
