"""Saved embeddings: what is written comes back, neighbours are the true ones, and a file that is none is told in a sentence."""

import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import embeddings
from lib.embeddings import Embeddings, beside, checked, read, selected, write
from lib.explorer import explore
from lib.explorer_points import ExplorerError


def table_of(n, **columns):
    return pd.DataFrame({"modality": ["image", "text"] * (n // 2), "path": [f"v{i // 2}" for i in range(n)], **columns})


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


def test_what_is_written_comes_back(tmp_path, vectors):
    table = table_of(12, split="valid", text="lungs \u0660 clear", seed=3, arm="full", labels=[["Nodule"], []] * 6)
    table = table.assign(age=np.linspace(20, 80, 12), x=np.arange(12.0), y=0.5)
    found = read(write(tmp_path / "a.parquet", vectors, table))
    np.testing.assert_array_equal(found.vectors, vectors)
    assert found.vectors.dtype == np.float32 and found.table["x"].dtype == np.float32
    for column in ("modality", "path", "split", "text", "arm", "seed", "age", "x", "y"):
        assert found.table[column].tolist() == table[column].tolist(), column
    assert [list(labels) for labels in found.table["labels"]] == table["labels"].tolist()
    kinds = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "a.parquet")}
    assert kinds["vector"].startswith("fixed_size_list<") and kinds["seed"] == "int64" and kinds["x"] == "float"
    assert "list<" in kinds["labels"] and pq.read_schema(tmp_path / "a.parquet").metadata[b"reprise.embeddings"] == b"1"


def test_a_file_of_other_makers_with_vector_and_modality_is_enough(tmp_path, vectors):
    pq.write_table(pa.table({"vector": vectors.tolist(), "modality": ["image"] * 12}), tmp_path / "b.parquet")
    found = read(tmp_path / "b.parquet")
    np.testing.assert_array_equal(found.vectors, vectors)
    assert set(embeddings.COLUMNS) <= set(found.table.columns) and found.table["text"].isna().all()


# ---------------------------------------------------------------------- neighbours
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 700), st.integers(1, 6))
def test_neighbours_are_those_of_a_full_sort_in_another_modality(seed, n, k):
    rng = np.random.default_rng(seed)
    kinds = rng.choice(["image", "text", "sound"], size=n, p=[0.6, 0.3, 0.1])
    vectors = rng.normal(size=(n, 4)).astype(np.float32)
    rows, cosines = checked(vectors, pd.DataFrame({"modality": kinds})).neighbours(k=k)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    same = kinds[:, None] == kinds[None, :]
    true = np.where(same, -np.inf, (units @ units.T).astype(np.float64))
    expected = -np.sort(-true, axis=1)[:, :k]
    got = np.where(rows < 0, -np.inf, cosines)
    width = expected.shape[1]
    np.testing.assert_allclose(got[:, :width], expected, atol=1e-5)
    for row in range(n):
        others = rows[row][rows[row] >= 0]
        assert len(set(others)) == len(others) and not same[row, others].any()
        np.testing.assert_allclose(true[row, others], cosines[row][: len(others)], atol=1e-5)


@pytest.mark.slow
def test_a_lasso_of_500_among_100000_has_its_neighbours_in_half_a_second():
    rng = np.random.default_rng(0)
    run = checked(rng.normal(size=(100_000, 128)), pd.DataFrame({"modality": ["image", "text"] * 50_000}))
    run.neighbours([0])
    spent = []
    for _ in range(3):
        begun = time.thread_time()  # of this thread: the machine may be busy
        rows, _ = run.neighbours(rng.choice(100_000, 500, replace=False), k=5)
        spent.append(time.thread_time() - begun)
    assert rows.shape == (500, 5) and min(spent) <= 0.5, spent


# ---------------------------------------------------------------------- subset, projection, selection
def test_a_selection_saved_on_the_page_comes_back_and_is_placed_anew(tmp_path, vectors):
    run = checked(vectors, table_of(12))
    (tmp_path / "selection.csv").write_text("row,path\r\n7,'=v3\r\n2,v1\r\n4,v2\r\n")
    part = selected(tmp_path / "selection.csv", run)
    np.testing.assert_array_equal(part.vectors, vectors[[7, 2, 4]])
    placed = part.project("pca")
    assert np.isfinite(placed.table[["x", "y"]].to_numpy()).all() and part.table["x"].isna().all()
    mask = run.table["modality"] == "image"
    np.testing.assert_array_equal(run.subset(mask.to_numpy()).vectors, vectors[::2])
    assert explore(placed).view["total"] == 3


@pytest.mark.slow
def test_a_selection_is_mapped_anew_by_a_umap_of_its_own_rows(vectors):
    rng = np.random.default_rng(0)
    run = checked(rng.normal(size=(40, 5)), table_of(40, x=0.0, y=0.0))
    rows = np.arange(1, 40, 2)
    part = run.subset(rows).project("umap")
    assert part.table.index.tolist() == rows.tolist() and run.table["x"].eq(0).all()
    assert np.isfinite(part.table[["x", "y"]].to_numpy()).all() and part.table["x"].nunique() == 20
    with pytest.raises(ValueError, match="a UMAP needs at least 5"):
        run.subset([0, 1, 2]).project("umap")


@pytest.mark.parametrize(
    "content, sentence",
    [("a,b\n1,2\n", "has no column 'row'"), ("row\nx\n", "has no column 'row' of numbers"), ("", "is no CSV"),
     ("row\n12\n", "row 12 is not among 0 to 11"), ("row\n-1\n", "row -1 is not among")],
)  # fmt: skip
def test_a_csv_that_is_no_selection_is_told(tmp_path, vectors, content, sentence):
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(ExplorerError, match=sentence):
        selected(tmp_path / "s.csv", checked(vectors, table_of(12)))


def test_runs_on_the_same_cases_stand_beside_each_other_whatever_their_order(vectors):
    one = checked(vectors, table_of(12, x=np.arange(12.0), y=0.0))
    order = np.random.default_rng(1).permutation(12)
    two = Embeddings(one.vectors[order], one.table.iloc[order].assign(x=100 + one.table["x"].iloc[order]))
    table, panels = beside({"nce": one, "full": two})
    assert panels == {"nce": ("x0", "y0"), "full": ("x1", "y1")}
    np.testing.assert_array_equal(table["x1"], table["x0"] + 100)
    with pytest.raises(ExplorerError, match="v5 text is not in every run"):
        beside({"nce": one, "full": one.subset(np.arange(11))})
    with pytest.raises(ExplorerError, match="has a case twice"):
        beside({"nce": one.subset([0, 0])})
    with pytest.raises(ExplorerError, match="there is no run"):
        beside({})


# ---------------------------------------------------------------------- malformed
@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda v, t: (v[:5], t), "vectors has 5 rows and the metadata 12; give one a vector"),
        (lambda v, t: (v.ravel(), t), r"vectors has shape \(60,\); give \(N, d\)"),
        (
            lambda v, t: (np.where(np.arange(60).reshape(12, 5) == 17, np.nan, v), t),
            "row 3 of vectors holds a number that",
        ),
        (lambda v, t: (v * (np.arange(12) != 4)[:, None], t), "row 4 of vectors is zero and has no direction"),
        (lambda v, t: ([[1, 2], [3]], t), "vectors is no table of numbers"),
        (lambda v, t: (v, t.drop(columns="modality")), "need a column 'modality'"),
        (lambda v, t: (v, t.assign(modality=[None] * 12)), "need a column 'modality'"),
        (lambda v, t: (v, t.assign(x="far")), "column 'x' holds something that is no number"),
        (lambda v, t: (v, t.assign(labels="Nodule")), "row 0 of column 'labels' is 'Nodule'; give a list"),
        (
            lambda v, t: (v, t.assign(text=pd.Series(["ok"] * 11 + ["cut \ud83d"], dtype=object))),
            "row 11 of column 'text' holds half a",
        ),
        (lambda v, t: (v, t.assign(own=[{"a": 1}, 3, "x"] * 4)), "the metadata cannot be saved"),
    ],
)
def test_what_cannot_be_saved_is_told_and_nothing_is_written(tmp_path, vectors, change, sentence):
    with pytest.raises(ExplorerError, match=sentence) as caught:
        write(tmp_path / "a.parquet", *change(vectors, table_of(12)))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def _parquet(path, **columns):
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda p: None, "does not exist; save embeddings there"),
        (lambda p: p.write_bytes(b"PAR1 nothing of the kind"), "is no Parquet file"),
        (lambda p: p.write_bytes(b""), "is no Parquet file"),
        (lambda p: _parquet(p, modality=["image"]), "has no column 'vector'; it has modality"),
        (lambda p: _parquet(p, vector=[[1.0], [1.0, 2.0]], modality=["a", "b"]), "vectors have 2 lengths"),
        (lambda p: _parquet(p, vector=["a", "b"], modality=["a", "b"]), "holds no lists of numbers"),
        (lambda p: _parquet(p, vector=[1.0, 2.0], modality=["a", "b"]), "holds no lists of numbers"),
        (lambda p: _parquet(p, vector=[["a"], ["b"]], modality=["a", "b"]), "no table of numbers"),
        (lambda p: _parquet(p, vector=[[1.0], [float("inf")]], modality=["a", "b"]), "row 1 of column 'vector' holds a num"),
        (lambda p: _parquet(p, vector=[[1.0, None]], modality=["a"]), "row 0 of column 'vector' holds a number"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_told_by_its_name(tmp_path, make, sentence):
    make(tmp_path / "a.parquet")
    with pytest.raises(ExplorerError, match=sentence) as caught:
        read(tmp_path / "a.parquet")
    assert "a.parquet" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ExplorerError, match="version 2"):
        table = pa.table({"vector": [[1.0]], "modality": ["a"]}).replace_schema_metadata({b"reprise.embeddings": b"2"})
        pq.write_table(table, tmp_path / "b.parquet")
        read(tmp_path / "b.parquet")
