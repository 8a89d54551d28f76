"""The embeddings a run has saved: vectors with what is known of each, in one documented Parquet file.

One row a case and modality. ``vector`` and ``modality`` must be there; what else is missing is empty when it is read.

===========  ===================  ==============================================================================
column       type                 meaning
===========  ===================  ==============================================================================
vector       list of float32      the embedding, as the model gave it; all of one length
x, y         float32              a projection to two dimensions: a picture, which decides nothing
modality     text                 "image", "text" ...; neighbours are looked for in another one
split        text                 "train", "valid", "external" ...
labels       list of text         the findings that are there
text         text                 the report, or what was read of it
path         text                 of the volume or image
seed, arm    whole number, text   of the run that made the vectors
thumbnail    bytes                a small PNG of the case, e.g. its middle slices
===========  ===================  ==============================================================================

Further columns (patient, age ...) are kept. The file says ``reprise.embeddings = 1`` in its metadata.

    write(Path("full.parquet"), vectors, table)
    found = read(Path("full.parquet"))
    rows, cosines = found.neighbours([0, 1, 2])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.explorer_points import ExplorerError, check_text
from lib.workflow import paths

TEXTS = ("modality", "split", "text", "path", "arm")
COLUMNS = ("x", "y", *TEXTS, "labels", "seed")  # each is there when embeddings are read, if only empty
_KEY, _VERSION = b"reprise.embeddings", b"1"
_BLOCK = 64  # columns of a similarity that are looked through at once
_CELLS = 4_000_000  # of a similarity held at a time: 16 MB


@dataclass(frozen=True)
class Embeddings:
    """``vectors`` (N, d) float32, and ``table`` with one row each: :data:`COLUMNS` and whatever else was saved."""

    vectors: np.ndarray
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.vectors)

    def subset(self, rows: Sequence[int] | np.ndarray) -> Embeddings:
        """Those rows (numbers, or a mask of N), in that order; ``table.index`` keeps their numbers here."""
        picked = np.asarray(rows)
        if picked.dtype != bool and picked.size and not (picked.min() > -1 and picked.max() < len(self)):
            raise ExplorerError(
                f"row {picked.max() if picked.min() >= 0 else picked.min()} is not among 0 to {len(self) - 1}."
            )
        return Embeddings(
            self.vectors[picked], self.table.iloc[np.flatnonzero(picked) if picked.dtype == bool else picked]
        )

    def project(self, picture: str = "umap", *, seed: int = 0) -> Embeddings:
        """The same with new ``x`` and ``y``: ``umap`` (seconds for 2,000 rows, one map for all modalities) or ``pca``."""
        from lib.evaluation.modality_gap import pca_embedding, umap_embedding

        embed = {"umap": lambda values: umap_embedding(values, seed=seed), "pca": pca_embedding}
        if picture not in embed:
            raise ExplorerError(f"picture is '{picture}'; choose from {', '.join(embed)}.")
        place = np.asarray(embed[picture](self.vectors), dtype=np.float32)
        return Embeddings(self.vectors, self.table.assign(x=place[:, 0], y=place[:, 1]))

    def shown(self) -> pd.DataFrame:
        """The table as a page shows it: placed (by ``pca`` where it is not), findings as text and, up to 40, as a column each,
        empty columns left out."""
        run = self if self.table[["x", "y"]].notna().all(axis=None) else self.project("pca")
        findings = sorted({label for labels in run.table["labels"] for label in labels})
        own = [finding for finding in findings if finding not in run.table.columns] if len(findings) <= 40 else []
        columns = {name: ["yes" if name in labels else "no" for labels in run.table["labels"]] for name in own}
        spoken = [", ".join(labels) for labels in run.table["labels"]]
        table = pd.concat([run.table.assign(labels=spoken), pd.DataFrame(columns, index=run.table.index)], axis=1)
        empty = [name for name in table.columns if table[name].isna().all() or (name == "labels" and not findings)]
        return table.drop(columns=empty)

    def neighbours(
        self, rows: Sequence[int] | np.ndarray | None = None, *, k: int = 5
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` rows of another modality nearest to each of ``rows`` (all by default), by cosine, nearest first.

        Returns (rows (n, k) int32, cosines (n, k) float32); -1 and nan where there are fewer than ``k``.
        """
        units = unit(self.vectors)
        asked = np.arange(len(self)) if rows is None else np.asarray(rows, dtype=np.int64)
        found = np.full((len(asked), k), -1, dtype=np.int32), np.full((len(asked), k), np.nan, dtype=np.float32)
        modality = self.table["modality"].to_numpy()
        for kind in pd.unique(modality[asked]):
            mine, others = np.flatnonzero(modality[asked] == kind), np.flatnonzero(modality != kind)
            if not others.size:
                continue
            there = np.ascontiguousarray(units[others].T)
            step = max(1, _CELLS // len(others))
            for begin in range(0, len(mine), step):
                part = mine[begin : begin + step]
                place, cosine = _greatest(units[asked[part]] @ there, min(k, len(others)))
                found[0][part, : place.shape[1]], found[1][part, : place.shape[1]] = others[place], cosine
        return found


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows divided by their lengths, in float32."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _greatest(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and values of the ``k`` greatest of each row, greatest first.

    The greatest lie in the ``k`` blocks with the greatest maxima, so only these are sorted: ten times faster than argpartition.
    """
    rows, columns = values.shape
    blocks = -(-columns // _BLOCK)
    if blocks > 2 * k:
        padded = np.pad(values, ((0, 0), (0, blocks * _BLOCK - columns)), constant_values=-np.inf)
        cut = padded.reshape(rows, blocks, _BLOCK)
        chosen = np.argpartition(-cut.max(axis=2), k - 1, axis=1)[:, :k]
        places = (chosen[:, :, None] * _BLOCK + np.arange(_BLOCK)).reshape(rows, -1)
        near = np.take_along_axis(cut, chosen[:, :, None], axis=1).reshape(rows, -1)
    else:
        places, near = np.broadcast_to(np.arange(columns), values.shape), values
    order = np.argsort(-near, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(near, order, axis=1)


# ---------------------------------------------------------------------- checks
def checked(vectors: Any, metadata: pd.DataFrame, *, name: str = "vectors") -> Embeddings:
    """Vectors and metadata as :class:`Embeddings`; :class:`ExplorerError` names the first row and column that cannot be."""
    try:
        values = np.asarray(vectors, dtype=np.float32)
    except (ValueError, TypeError):
        raise ExplorerError(f"{name} is no table of numbers; give (N, d), all rows of one length.") from None
    if values.ndim != 2 or 0 in values.shape:
        raise ExplorerError(f"{name} has shape {values.shape}; give (N, d).")
    if len(values) != len(metadata):
        raise ExplorerError(f"{name} has {len(values)} rows and the metadata {len(metadata)}; give one a vector.")
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if wrong.size:
        raise ExplorerError(f"row {wrong[0]} of {name} holds a number that is not finite; drop that row.")
    still = np.flatnonzero(~values.any(axis=1))
    if still.size:
        raise ExplorerError(f"row {still[0]} of {name} is zero and has no direction; drop that row.")
    if "modality" not in metadata.columns or metadata["modality"].isna().any():
        raise ExplorerError("the metadata need a column 'modality' with a word in each row, e.g. image or text.")
    table = metadata.reset_index(drop=metadata.index.name is None)
    table.columns = table.columns.map(str)
    for column in ("x", "y", "seed"):
        try:
            numbers = pd.to_numeric(table[column]) if column in table else pd.Series(np.nan, table.index)
        except (ValueError, TypeError):
            raise ExplorerError(
                f"column '{column}' holds something that is no number; repair it or leave it out."
            ) from None
        table[column] = numbers.astype("Int64" if column == "seed" else np.float32)
    for column in TEXTS:
        given = table[column] if column in table else pd.Series(None, table.index, dtype=object)
        texts = [None if missing else str(one) for one, missing in zip(given, given.isna(), strict=True)]
        check_text(**{f"row {row} of column '{column}'": one for row, one in enumerate(texts) if one})
        table[column] = texts
    table["labels"] = _labels(table["labels"]) if "labels" in table else [[] for _ in range(len(table))]
    return Embeddings(values, table)


def _labels(column: pd.Series) -> list[list[str]]:
    found = []
    for row, labels in enumerate(column):
        if labels is None or isinstance(labels, float):
            labels = []
        if isinstance(labels, str) or not hasattr(labels, "__iter__"):
            raise ExplorerError(f"row {row} of column 'labels' is {str(labels)[:40]!r}; give a list of findings.")
        found.append([str(label) for label in labels])
        check_text(**{f"row {row} of column 'labels'": "".join(found[-1])})
    return found


# ---------------------------------------------------------------------- the file
def write(path: Path, vectors: Any, metadata: pd.DataFrame) -> Path:
    """Save embeddings; the file appears whole or not at all. Raises what :func:`checked` raises."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = checked(vectors, metadata)
    values = pa.FixedSizeListArray.from_arrays(pa.array(found.vectors.ravel()), found.vectors.shape[1])
    try:
        table = pa.Table.from_pandas(found.table, preserve_index=False).add_column(0, "vector", values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeError) as error:
        raise ExplorerError(f"the metadata cannot be saved: {' '.join(str(error).split())[:200]}.") from None
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: _VERSION})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    paths.write(Path(path), sink.getvalue().to_pybytes())
    return Path(path)


def read(path: Path) -> Embeddings:
    """What :func:`write` saved; :class:`ExplorerError` with the file's name for one that is not such a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    label = paths.relative(Path(path))
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise ExplorerError(f"{label} does not exist; save embeddings there (lib.embeddings.write) first.") from None
    except (pa.ArrowException, OSError) as error:
        raise ExplorerError(f"{label} is no Parquet file: {str(error).splitlines()[0][:120]}; save it again.") from None
    version = (table.schema.metadata or {}).get(_KEY, _VERSION)
    if version != _VERSION:
        raise ExplorerError(
            f"{label} has version {version.decode(errors='replace')} of the format, and 1 is read here."
        )
    if "vector" not in table.column_names:
        raise ExplorerError(f"{label} has no column 'vector'; it has {', '.join(table.column_names[:10])}.")
    column = table["vector"].combine_chunks()
    try:
        lengths = set(map(len, column)) if not pa.types.is_fixed_size_list(column.type) else {column.type.list_size}
        if len(lengths) != 1 or column.null_count:
            raise ExplorerError(
                f"{label}: vectors have {len(lengths)} lengths or are missing; give one a row, equally long."
            )
        vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        return checked(vectors, table.drop_columns(["vector"]).to_pandas(), name="column 'vector'")
    except (TypeError, pa.ArrowException, AttributeError):
        raise ExplorerError(f"{label}: column 'vector' holds no lists of numbers; save it again.") from None
    except ExplorerError as error:
        raise ExplorerError(str(error) if str(error).startswith(label) else f"{label}: {error}") from None


def beside(runs: Mapping[str, Embeddings]) -> tuple[pd.DataFrame, dict[str, tuple[str, str]]]:
    """Several runs on the same cases (``path`` and ``modality``) as one table and one panel each, for ``explore``: what is
    chosen in one is seen in all."""
    whole: pd.DataFrame | None = None
    panels = {}
    for number, (title, run) in enumerate(runs.items()):
        key = pd.MultiIndex.from_frame(run.table[["path", "modality"]].astype(object))
        if key.has_duplicates or run.table["path"].isna().any():
            raise ExplorerError(f"'{title}' has a case twice, or without a path; give each path and modality one row.")
        panels[title] = (f"x{number}", f"y{number}")
        placed = run.shown().set_axis(key).rename(columns={"x": f"x{number}", "y": f"y{number}"})
        if whole is None:
            whole = placed
            continue
        if len(lost := whole.index.symmetric_difference(key)):
            raise ExplorerError(f"{' '.join(map(str, lost[0]))} is not in every run; show the same cases of each.")
        whole = whole.join(placed[list(panels[title])])
    if whole is None:
        raise ExplorerError("there is no run to show; give at least one.")
    return whole.reset_index(drop=True), panels


def selected(path: Path, embeddings: Embeddings) -> Embeddings:
    """The rows that were saved as CSV on the explorer's page, back in Python: ``selected(p, run).project()`` maps them anew."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, UnicodeError) as error:
        raise ExplorerError(
            f"{path} is no CSV of the explorer: {str(error).splitlines()[0][:120]}; save it again."
        ) from None
    if "row" not in table.columns or not pd.api.types.is_integer_dtype(table["row"]):
        raise ExplorerError(f"{path} has no column 'row' of numbers; save it again from the explorer's page.")
    return embeddings.subset(table["row"].to_numpy())
