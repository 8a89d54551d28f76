"""Where an artefact is computed, and how much of it at a time: what the profile says once and the session hands to every fit.

A function that computes on a device has a parameter ``machine``; :meth:`lib.workflow.session.Run.build_all` fills it from
the profile's ``machine:``, so that no study can forget it, and no study decides it.

>>> Machine(device="cuda", precision="bf16", micro_batch=8).accumulated(64)
8
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Precision = Literal["no", "fp16", "bf16"]


def _devices() -> int:
    """Over how many processes, each with its device, a step is divided: torchrun's and accelerate's count."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True, kw_only=True)
class Machine:
    """``device``: cpu or cuda. ``precision``: of autocast; weights and optimiser stay in float32.

    ``micro_batch``: rows that go through a model at a time on one device, where a fit can be divided; ``None``: the whole
    batch. ``recompute``: activations are computed again in the backward pass instead of being kept. ``checkpoint_every``:
    steps after which a fit saves its state, from which a killed one goes on; 0: never. ``processes``: of the work on the CPU
    that can be divided by files.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "no"
    micro_batch: int | None = None
    recompute: bool = False
    checkpoint_every: int = 0
    processes: int = 1

    def identity(self) -> dict[str, Any]:
        """What can change a digit; the rest says how long it takes and how much memory, and retrains nothing."""
        return {name: value for name, value in asdict(self).items() if name in ("device", "precision", "micro_batch")}

    def at_a_time(self, batch: int) -> int:
        """Rows of a batch over all devices that go through the model at a time on this one."""
        share = max(1, batch // _devices())
        return min(share, self.micro_batch or share)

    def accumulated(self, batch: int) -> int:
        """Micro-batches of one optimiser step of ``batch`` rows over all devices: what a paper states comes out exactly.

        >>> Machine(micro_batch=3).accumulated(8)
        Traceback (most recent call last):
        ValueError: a batch of 8 is not 1 device(s) x micro-batches of 3; change micro_batch
        """
        devices, size = _devices(), self.at_a_time(batch)
        if batch % (size * devices):
            raise ValueError(
                f"a batch of {batch} is not {devices} device(s) x micro-batches of {size}; change micro_batch"
            )
        return batch // (size * devices)

    def parts(self, rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """``rows`` of one step on this device, so many at a time; the last part may be smaller.

        >>> list(Machine(micro_batch=2).parts([1, 2, 3]))
        [[1, 2], [3]]
        """
        size = self.micro_batch or max(1, len(rows))
        return (rows[start : start + size] for start in range(0, len(rows), size))


CPU = Machine()
