"""What this machine computes, to the bit: a fingerprint of single operations and of two training steps.

Two machines with the same fingerprint give the same digits; with another one they agree in what the numbers mean, and
are compared by that (:mod:`lib.workflow.compare`). The settings that make processors alike are in ``lib/__init__.py``.

>>> len(fingerprint())                  # hexadecimal digits; tens of milliseconds, once a process
12
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import random
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lib
from lib.workflow import paths

COMMITTED = Path(__file__).with_suffix(".json")  # operation -> hash, where the committed results were made


def _hash(*arrays) -> str:
    import numpy as np

    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.sha256(content).hexdigest()[:12]


def _of_torch() -> dict[str, str]:
    """Odd sizes, so that the remainders of vector loops count; nothing here touches the caller's random numbers."""
    import torch
    from torch.nn import functional as F

    draw = torch.Generator().manual_seed(1)
    a, b = torch.randn(131, 97, generator=draw), torch.randn(97, 67, generator=draw)
    volume, kernel3 = torch.randn(2, 1, 20, 20, 10, generator=draw), torch.randn(8, 1, 5, 5, 5, generator=draw)
    image, kernel2 = torch.randn(2, 3, 32, 32, generator=draw), torch.randn(8, 3, 3, 3, generator=draw)
    query = torch.randn(2, 4, 64, 16, generator=draw)
    many = a.expand(3, -1, -1).contiguous(), b.expand(3, -1, -1).contiguous()
    square = a.T @ a + 97 * torch.eye(97)
    turns = torch.arange(600.0)[:, None] / 1e4 ** torch.arange(0, 1, 0.125)  # angles of rotary positions
    long = torch.randn(70, 1531, generator=draw)
    adam = [
        [tensor] for tensor in (a.clone(), a.tanh(), 0.1 * a, 0.01 * a.square())
    ]  # weight, gradient, its two moments
    rates = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.1, "eps": 1e-8}
    torch._fused_adamw_(*adam, [], [torch.tensor(3.0)], amsgrad=False, maximize=False, **rates)
    results = {
        "randn": (a, b),
        "rand": (torch.rand(131, 97, generator=draw),),  # what masks of dropout are drawn from
        "matmul": (a @ b,),
        "bmm": (torch.bmm(*many),),
        "matmul, float64": (a.double() @ b.double(),),
        "exp, log, tanh, sin": (a.exp(), a.abs().log(), a.tanh(), a.sin()),
        "softmax": (a.softmax(-1), a.log_softmax(-1)),
        "gelu": (F.gelu(a), F.silu(a)),
        "layer norm": (F.layer_norm(a, (97,)),),
        "sums": (a.sum(), a.mean(0), a.std(1)),
        "convolution, 3-D": (F.conv3d(volume, kernel3, stride=5),),
        "convolution, 2-D": (F.conv2d(image, kernel2),),
        "attention": (F.scaled_dot_product_attention(query, query, query, is_causal=True),),
        "linear algebra": (torch.linalg.cholesky(square), torch.linalg.eigvalsh(square)),
        "cos, power, root": (turns.cos(), turns.sin(), 1e4 ** -a.abs(), a.abs().rsqrt(), a.sigmoid(), a.erf()),
        "norms": (F.rms_norm(a, (97,)), torch.linalg.vector_norm(a), *torch._foreach_norm([a, b])),
        "AdamW": (adam[0][0],),
        "products, larger than a cache": (long @ long.T, long.T @ long),
        "interpolation": (F.interpolate(image, size=(21, 45), mode="bilinear"),),
    }
    return {name: _hash(*(t.numpy() for t in found)) for name, found in results.items()}


def _of_training() -> dict[str, str]:
    """Two steps of one encoder layer: the backward passes, and Adam's update written out (importing torch's optimisers
    imports its compiler: two seconds)."""
    import torch

    draw = torch.Generator().manual_seed(2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0)
        embedding, head = torch.nn.Embedding(50, 32), torch.nn.Linear(32, 50)
    weights = [*layer.parameters(), *embedding.parameters(), *head.parameters()]
    for _ in range(2):
        words = torch.randint(0, 50, (8, 24), generator=draw)
        loss = torch.nn.functional.cross_entropy(head(layer(embedding(words))).flatten(0, 1), words.flip(1).flatten())
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.addcdiv_(gradient, gradient.square().sqrt().add_(1e-8), value=-1e-3)
    return {"training": _hash(*(weight.detach().numpy() for weight in weights))}


def _of_numpy() -> dict[str, str]:
    import numpy as np

    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((131, 97)), draw.standard_normal((97, 67))
    single = a.astype(np.float32)
    results = {
        "numpy random": (a, b),
        "numpy matmul": (a @ b, single @ b.astype(np.float32)),
        "numpy exp, log, sin": (np.exp(a), np.exp(single), np.log1p(np.abs(a)), np.log1p(np.abs(single)), np.sin(a)),
        "numpy sums": (a.sum(), single.mean(0), a.std(1)),
        "numpy linear algebra": (np.linalg.svd(a[:40, :40])[1], np.linalg.solve(a[:60, :60], a[:60, 60:80])),
    }
    return {name: _hash(*found) for name, found in results.items()}


def _of_libm() -> dict[str, str]:
    points = [0.1 + 0.37 * i for i in range(200)]
    functions: tuple[Callable[[float], float], ...] = (math.exp, math.log, math.sin, math.tanh, math.lgamma, math.erf)
    return {"libm": _hash([[function(x) for x in points] for function in functions])}


@cache
def operations() -> Mapping[str, str]:
    """Hash of each operation's result on this machine, in this process, on one thread."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("default")
    try:
        return {**_of_torch(), **_of_training(), **_of_numpy(), **_of_libm()}
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(deterministic)


def _together(hashes: Mapping[str, str]) -> str:
    text = "\n".join(f"{name}={digest}" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fingerprint() -> str:
    """One hash of all operations: equal where two machines give the same digits."""
    return _together(operations())


@cache
def committed() -> Mapping[str, str]:
    """The operations where the committed results were made; empty before anything was published."""
    return json.loads(COMMITTED.read_text(encoding="utf-8"))["operations"] if COMMITTED.is_file() else {}


def committed_fingerprint() -> str:
    return _together(committed())


def different() -> list[str]:
    """Operations whose result here is not that of the committed results."""
    here, there = operations(), committed()
    return [name for name in here | there if here.get(name) != there.get(name)]


def why_different() -> str:
    """What a reader should know when :func:`different` is not empty: one sentence."""
    set_otherwise = [k for k, v in lib.arithmetic_settings().items() if os.environ.get(k) != v]
    if lib.IMPORTED_BEFORE:
        return f"{' and '.join(lib.IMPORTED_BEFORE)} came before lib; start with `make lab`, or import lib first"
    if set_otherwise:
        return f"{', '.join(set_otherwise)} set otherwise"
    if set(lib.arithmetic_settings()) == set(lib.THREADS):
        return "the kernels are this machine's own"
    return "another processor or another version of a library"


def publish() -> bool:
    """Make this machine's operations the committed ones; ``False`` when they are already."""

    if dict(operations()) == dict(committed()):
        return False
    told = {key: value for key, value in provenance("cpu").items() if key in ("hardware", "python", "versions")}
    content = {**told, "settings": lib.arithmetic_settings(), "operations": dict(operations())}
    paths.write(COMMITTED, json.dumps(content, indent=1) + "\n")
    committed.cache_clear()
    return True


def make_deterministic(device: str) -> None:
    """One thread and deterministic kernels: the same seed with 1 and 2 torch threads gives different weights."""
    import numpy as np
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    # not use_deterministic_algorithms: that one imports the compiler, a second in which nothing is computed
    torch.set_deterministic_debug_mode("warn" if device == "cuda" else "error")
    if device == "cpu":
        torch.set_num_threads(1)


# ---------------------------------------------------------------------- on what a number is made
def _commit() -> str:
    answer = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True)
    return answer.stdout.strip() or "unknown"


def _hardware(device: str) -> str:
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name(0)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, 1 thread"


def provenance(device: str) -> dict[str, Any]:
    """On what a number is made: hardware, versions, arithmetic, commit."""
    libraries = ("torch", "numpy", "transformers", "monai", "peft", "trl")
    return {
        "hardware": _hardware(device),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in libraries},
        "arithmetic": fingerprint(),
        "commit": _commit(),
    }
