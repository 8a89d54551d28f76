"""A study small enough to be killed many times: a world, arms trained on it by the project's own loop, a result.

Copied into a copy of the project as ``lib/toy_study.py``, where :func:`serve` forks one run a line of stdin: the libraries are
imported once. It prints the run's process and, after another line, its exit code.
"""

import json
import os
import signal
import sys
import time

import accelerate  # noqa: F401  the loop imports it when it begins
import numpy as np
import torch
import torch._dynamo  # as an optimiser does when it is made
from torch import nn

from lib.machine import Machine
from lib.training.loop import train
from lib.workflow import arithmetic, cache, paths

STEPS, ARMS = 30, 4


def write_world(folder, *, seed):
    np.save(folder / "world.npy", np.random.default_rng(seed).normal(size=(64, 8)).astype(np.float32))


def train_arm(folder, *, world, seed):
    rows = torch.from_numpy(np.load(world / "world.npy"))
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1), nn.Linear(8, 1))

    def loss_of_step(net, step):
        time.sleep(0.003)
        return (net(rows) - rows.sum(1, keepdim=True)).square().mean()

    told = {"optimiser": torch.optim.Adam(model.parameters(), lr=1e-2), "clip": 1.0}
    losses = train(
        model,
        loss_of_step,
        steps=STEPS,
        machine=Machine(checkpoint_every=4),
        checkpoint=folder / "checkpoint/fit.pt",
        **told,
    )
    np.save(folder / "losses.npy", np.array(losses))
    np.save(folder / "weights.npy", torch.cat([one.detach().flatten() for one in model.parameters()]).numpy())


def study():
    world = cache.build(write_world, seed=0)
    arms = cache.build_all(train_arm, [{"world": world, "seed": seed} for seed in range(ARMS)])
    found = [{name: np.load(arm / f"{name}.npy").tobytes().hex() for name in ("losses", "weights")} for arm in arms]
    paths.write(paths.RUNS / "result.json", json.dumps(found))


def serve():
    arithmetic.fingerprint()  # kept, like the hashes of the sources, and so known to every fork
    cache.describe(write_world, {"seed": 0})
    for _ in sys.stdin:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        pid = os.fork()
        if not pid:
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
                study()
                os._exit(0)
            except KeyboardInterrupt:
                os._exit(130)
        print(pid, flush=True)
        sys.stdin.readline()  # until then its number is nobody else's
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
