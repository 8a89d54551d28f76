"""BrgSA's losses against naive numpy, their invariances, and two processes against one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.models.knowledge_bank import KnowledgeBank
from papers.brgsa.losses import SCALE, brgsa_loss, gather_with_gradient, info_nce

ROOT = Path(__file__).resolve().parents[2]


def vectors(batch=6, width=5, *, seed=0, length=1.0):
    return [
        length * torch.randn(batch, width, generator=torch.Generator().manual_seed(10 * seed + k), dtype=torch.float64)
        for k in range(4)
    ]


def naive_nce(a, b, scale=10.0):
    a, b = a.detach().numpy(), b.detach().numpy()
    total = 0.0
    for x, y in ((a, b), (b, a)):  # the sum of the two directions
        rows = []
        for i in range(len(x)):
            similar = [scale * x[i] @ y[j] / np.linalg.norm(x[i]) / np.linalg.norm(y[j]) for j in range(len(y))]
            rows.append(-similar[i] + np.log(np.sum(np.exp(similar))))
        total += np.mean(rows)
    return total


def naive_mse(a, b):
    a, b = a.detach().numpy(), b.detach().numpy()
    return sum((a[i, k] - b[i, k]) ** 2 for i in range(a.shape[0]) for k in range(a.shape[1])) / a.size


# ---------------------------------------------------------------------- InfoNCE
@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 9), width=st.integers(2, 7), seed=st.integers(0, 999))
def test_info_nce_is_the_formula_summed_over_both_directions(batch, width, seed):
    a, b, *_ = vectors(batch, width, seed=seed)
    assert SCALE == 10.0 and info_nce(a, b).item() == pytest.approx(naive_nce(a, b), rel=1e-9, abs=1e-9)


def test_info_nce_of_known_answers():
    corners = torch.eye(4)
    expected = 2 * np.log(1 + 3 * np.exp(-10))  # positives at cosine 1, the three others at 0
    assert info_nce(corners, corners).item() == pytest.approx(expected, rel=1e-3)
    assert info_nce(corners, corners.roll(1, dims=0)).item() == pytest.approx(2 * (10 + np.log(1 + 3 * np.exp(-10))))
    same = torch.ones(4, 3)
    assert info_nce(same, same).item() == pytest.approx(2 * np.log(4), rel=1e-6)


def test_info_nce_ignores_lengths_and_the_order_of_the_batch_and_is_symmetric():
    a, b, lengths, _ = vectors()
    loss = info_nce(a, b)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for other in (
        info_nce(a * lengths[:, :1].abs(), b * 1e-3),
        info_nce(a[order], b[order]),
        info_nce(b, a),
    ):
        torch.testing.assert_close(other, loss, rtol=1e-12, atol=1e-12)
    assert (info_nce(a[order], b) - loss).abs() > 1e-3


# ---------------------------------------------------------------------- the whole loss
@pytest.mark.parametrize("alpha, beta, gamma", [(0.5, 1, 1), (0, 1, 0), (0.5, 1, 0), (0, 1, 1), (2, 0, 0), (0, 0, 3)])
def test_terms_and_weights(alpha, beta, gamma):
    v, t, v_hat, t_hat = vectors()
    mse = naive_mse(v_hat, v) + naive_mse(t_hat, t)  # raw vectors, mean over B x d
    expected = alpha * mse + beta * naive_nce(v, t) + gamma * naive_nce(v_hat, t_hat)
    found = brgsa_loss(v, t, v_hat, t_hat, alpha=alpha, beta=beta, gamma=gamma)
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_the_defaults_are_the_shipped_weights():
    args = vectors()
    shipped = brgsa_loss(*args, alpha=0.5, beta=1.0, gamma=1.0)
    torch.testing.assert_close(brgsa_loss(*args), shipped, rtol=0, atol=0)


def test_a_term_of_weight_0_gives_no_gradient_and_no_nan():
    v, t, v_hat, t_hat = (x.requires_grad_(True) for x in vectors())
    brgsa_loss(v, t, v_hat * float("nan"), t_hat, alpha=0, beta=1, gamma=0).backward()
    assert v.grad.isfinite().all() and v.grad.any() and t.grad.any() and v_hat.grad is None and t_hat.grad is None


def test_no_gradient_is_stopped():
    """The MSE pulls v and t towards the bank as well as the bank towards them; NCE reaches both sides."""
    v, t, v_hat, t_hat = (x.requires_grad_(True) for x in vectors(3, 4))
    assert torch.autograd.gradcheck(brgsa_loss, (v, t, v_hat, t_hat))
    brgsa_loss(v, t, v_hat, t_hat, alpha=1, beta=0, gamma=0).backward()
    torch.testing.assert_close(v.grad, 2 * (v - v_hat).detach() / v.numel())
    torch.testing.assert_close(v_hat.grad, -v.grad)
    torch.testing.assert_close(t.grad, 2 * (t - t_hat).detach() / t.numel())


def test_alone_nothing_is_gathered():
    x = vectors()[0]
    assert gather_with_gradient(x) is x


# ---------------------------------------------------------------------- two processes
def modules():
    torch.manual_seed(0)
    image, text = torch.nn.Linear(5, 4).double(), torch.nn.Linear(3, 4).double()
    return torch.nn.ModuleDict({"image": image, "text": text, "bank": KnowledgeBank(7, 4).double()})


class Both(torch.nn.Module):
    """One forward, as a distributed wrapper wants it."""

    def __init__(self):
        super().__init__()
        self.parts = modules()

    def forward(self, x, y):
        v, t = self.parts["image"](x), self.parts["text"](y)
        return v, t, self.parts["bank"](v)[0], self.parts["bank"](t)[0]


def batch():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, width, generator=generator, dtype=torch.float64) for width in (5, 3)]


def step(model, rows):
    x, y = batch()
    loss = brgsa_loss(*model(x[rows], y[rows]))
    loss.backward()
    grads = {name: p.grad.tolist() for name, p in model.named_parameters()}
    return {"loss": loss.item(), "grads": grads}


def half_of_the_batch(rank, folder):
    """What one of two processes does; gradients are averaged over processes, as torch's data parallel wrapper does."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    model = Both()
    found = step(model, slice(4 * rank, 4 * rank + 4))
    for name, parameter in model.named_parameters():
        dist.all_reduce(parameter.grad)
        found["grads"][name] = (parameter.grad / 2).tolist()
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()


@pytest.mark.slow
def test_two_processes_give_the_loss_and_gradients_of_one_with_the_whole_batch(tmp_path):
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, str(tmp_path)]
    logs = [(tmp_path / f"{rank}.log").open("w+") for rank in range(2)]
    started = [
        subprocess.Popen([*command, str(rank)], env=environment, stdout=log, stderr=log)
        for rank, log in enumerate(logs)
    ]
    try:
        codes = [process.wait(timeout=90) for process in started]
    finally:
        for process, log in zip(started, logs, strict=True):
            process.kill()
            log.close()
    assert codes == [0, 0], "".join((tmp_path / f"{rank}.log").read_text() for rank in range(2))
    expected = step(Both(), slice(None))
    half = step(Both(), slice(0, 4))
    assert abs(half["loss"] - expected["loss"]) > 0.1  # without the other half's negatives it would be this
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["loss"] == pytest.approx(expected["loss"], abs=1e-9)
        assert set(found["grads"]) == set(expected["grads"])
        for name, gradient in expected["grads"].items():
            np.testing.assert_allclose(found["grads"][name], gradient, rtol=0, atol=1e-9, err_msg=name)


if __name__ == "__main__":
    half_of_the_batch(int(sys.argv[2]), Path(sys.argv[1]))
    os._exit(0)  # gloo's threads may abort the interpreter's own way out
