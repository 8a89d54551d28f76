"""Somebody's own volumes and reports through a trained BrgSA: two Parquet files for the explorer (:mod:`lib.embeddings`).

What ``python -m lib.workflow embed FOLDER --checkpoint CHECKPOINT`` does. Each volume's vector is kept as it is made, under the
hash of its bytes and of the checkpoint: a run that was stopped goes on, a volume or checkpoint that changed is computed again.

    embed_folder(Path("scans"), Path("runs/checkpoints/full"), Path("runs/embed/scans"), reports=Path("reports.csv"))
"""

from __future__ import annotations

import hashlib
import io
import sys
import time
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib import embeddings
from lib.data.files import DataError, write_atomic
from lib.data.volumes import normalise
from lib.explorer_points import png, slices
from lib.machine import CPU, Machine
from lib.models import ModelError
from lib.models.text_encoder import POSITIONS
from papers.brgsa import checkpoint as checkpoints
from papers.brgsa.folder import Case, load_volume, read_cases
from papers.brgsa.prepare import sentences

SPACES = ("raw", "reconstructed")  # as the encoders give them, and after the knowledge bank
THUMBNAIL = 48
ERRORS = (DataError, ModelError, embeddings.ExplorerError)


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _content(path: Path) -> str:
    try:
        return _sha256(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); mend that.") from None


def _kept(path: Path) -> dict[str, np.ndarray] | None:
    """What was kept of a volume; ``None`` where nothing is, or something that cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in ("vector", "thumbnail")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _keep(path: Path, one: dict[str, np.ndarray]) -> None:
    stream = io.BytesIO()
    np.savez(stream, **one)
    write_atomic(path, stream.getvalue())


def _made(net: Any, path: Path, grid: dict[str, Any], machine: Machine) -> dict[str, np.ndarray]:
    """The vector v (width,) and the middle slices (48, 96) of one volume."""
    import torch

    hu = load_volume(path, **grid)
    seen = normalise(hu).astype(np.float16).astype(np.float32)  # as the prepared volumes that arms are trained on
    with torch.inference_mode():
        vector = net.encode_image(torch.from_numpy(seen)[None, None].to(machine.device))[0].cpu().numpy()
    if not np.isfinite(vector).all():
        raise ModelError(f"{path}: the model gives a vector that is not finite; look at the volume and the checkpoint.")
    return {"vector": vector, "thumbnail": slices(hu[None], [0], size=THUMBNAIL)[0]}


def _left(done: int, total: int, made: int, seconds: float) -> str:
    """The time left by those made so far, as told behind a volume.

    >>> _left(2, 8, 2, 20.0), _left(2, 50, 1, 20.0), _left(8, 8, 8, 20.0)
    (', about 60 s left', ', about 16 min left', '')
    """
    left = seconds / made * (total - done) if made else 0
    return "" if not left else f", about {left:.0f} s left" if left < 100 else f", about {left / 60:.0f} min left"


def _embed_volumes(
    net: Any, folder: Path, cases: Sequence[Case], kept: Path, *, weights: str, grid: dict[str, Any], machine: Machine
) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """Name -> vector and thumbnail of each volume that can be read, and a sentence for each that cannot."""
    found: dict[str, dict[str, np.ndarray]] = {}
    problems, seen, made, started = [], {}, 0, time.monotonic()
    for number, case in enumerate(cases, start=1):
        path = folder / case.name
        try:
            content = _content(path)
            if content in seen:
                raise DataError(f"{path} is {seen[content]} again, byte for byte; take one of the two out.")
            seen[content] = case.name
            place = kept / f"{hashlib.sha256(f'{content}{weights}'.encode()).hexdigest()[:24]}.npz"
            if (one := _kept(place)) is None:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always", UserWarning)
                    one = _made(net, path, grid, machine)
                for warning in caught:
                    print(f"note: {warning.message}", flush=True)
                _keep(place, one)
                made += 1
        except ERRORS as error:
            problems.append(str(error))
        else:
            found[case.name] = one
            left = _left(number, len(cases), made, time.monotonic() - started)
            print(f"[{number}/{len(cases)}] {case.name}{left}", flush=True)
    return found, problems


def _embed_texts(net: Any, reports: Sequence[str]) -> np.ndarray:
    """t (N, width): of each report's sentences of more than one word, or of all of it where it has none."""
    from papers.brgsa.training import embed_texts

    texts = [" ".join(sentences(report)) or report for report in reports]
    longer = sum(len(ids) > POSITIONS for ids in net.text.tokenizer(texts, verbose=False)["input_ids"])
    if longer:
        print(f"note: {longer} of {len(texts)} reports are longer than the {POSITIONS} pieces of words "
              "that the model reads; it reads their beginning", flush=True)  # fmt: skip
    return embed_texts(net, texts).numpy()


def _table(cases: Sequence[Case], found: dict[str, dict[str, np.ndarray]], arm: str) -> pd.DataFrame:
    rows = pd.DataFrame([case.more for case in cases], index=range(len(cases))).replace({"": None})
    if "labels" in rows:
        cut = [[word.strip() for word in str(told or "").split(";")] for told in rows["labels"]]
        rows["labels"] = [[word for word in words if word] for words in cut]
    rows["path"], rows["text"] = [case.name for case in cases], [case.report for case in cases]
    rows["thumbnail"], rows["arm"] = [png(found[case.name]["thumbnail"]) for case in cases], arm
    return pd.concat([rows.assign(modality="image"), rows.assign(modality="text")], ignore_index=True)


def embed_folder(
    scans: Path, checkpoint: Path, output: Path, *, reports: Path | None = None, machine: Machine = CPU
) -> int:
    """Embed what can be embedded, write ``raw.parquet`` and ``reconstructed.parquet`` into ``output``, say how to open them.

    Returns 0, or 1 when something was left out; each such thing is listed at the end. Raises one of ``ERRORS`` when nothing can
    be done: no folder, no volume, no table, no checkpoint.
    """
    import torch

    cases, problems = read_cases(scans, reports)
    net, grid = checkpoints.load(checkpoint)
    if machine.device == "cuda" and not torch.cuda.is_available():
        raise ModelError("torch sees no CUDA GPU here; leave --device out, or install a CUDA build of torch (README).")
    net.to(machine.device)
    print(
        f"{len(cases)} volumes with a report in {scans}, {len(problems)} left out; checkpoint {checkpoint}", flush=True
    )
    weights = _sha256(checkpoint / checkpoints.WEIGHTS, checkpoint / checkpoints.SETTINGS)
    how = {"weights": weights, "grid": grid, "machine": machine}
    found, unread = _embed_volumes(net, scans, cases, output / "volumes", **how)
    problems += unread
    cases = [case for case in cases if case.name in found]
    if cases:
        _write(net, cases, found, output, arm=checkpoint.name)
    if problems:
        print(f"\n{len(problems)} left out:", *(f"  {problem}" for problem in problems), sep="\n", file=sys.stderr)
    return 1 if problems else 0


def _write(net: Any, cases: Sequence[Case], found: dict[str, dict[str, np.ndarray]], output: Path, *, arm: str) -> None:
    import torch

    both = [
        np.stack([found[case.name]["vector"] for case in cases]),
        _embed_texts(net, [case.report for case in cases]),
    ]
    raw, table = np.concatenate(both).astype(np.float32), _table(cases, found, arm)
    net.cpu()
    with torch.inference_mode():
        spaces = {"raw": raw, "reconstructed": net.bank(torch.from_numpy(raw))[0].numpy()}
    files = [embeddings.write(output / f"{name}.parquet", spaces[name], table) for name in SPACES]
    print(f"\n{len(cases)} volumes and their reports: {', '.join(map(str, files))}")
    print("To look at them (--picture umap: placed by a UMAP):")
    here = Path(sys.executable)
    python = here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here
    print(f"  {python} -m lib.explorer {' '.join(map(str, files))} --output {output / 'page.html'}")
