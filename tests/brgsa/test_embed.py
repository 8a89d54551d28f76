"""The command `embed`: somebody's own volumes and reports become two files for the explorer; a bad one hinders no other."""

import errno
import gzip
import os

import numpy as np
import pytest
import torch
from own_scans import GRID, phantom, write_checkpoint, write_nifti, write_scans

from lib import embeddings, explorer
from lib.data.volumes import normalise
from lib.workflow import paths
from lib.workflow.__main__ import main
from papers.brgsa import embed
from papers.brgsa.folder import load_volume
from papers.brgsa.training import embed_texts, embed_volumes


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder of four scans, a checkpoint and its model; the place that the files go to."""
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    names = write_scans(tmp_path / "scans")
    return tmp_path, names, write_checkpoint(tmp_path / "own")


def _embed(*more):
    return main(["embed", "scans", "--checkpoint", "own", *more])


def test_vectors_texts_and_slices_of_each_case_are_saved_in_both_spaces(made, capsys):
    root, names, net = made
    assert _embed() == 0
    raw, hat = (embeddings.read(root / "runs/embed/scans" / f"{name}.parquet") for name in embed.SPACES)
    assert raw.table["path"].tolist() == names * 2 and raw.table["modality"].tolist() == ["image"] * 4 + ["text"] * 4
    assert (
        set(raw.table["arm"]) == {"own"}
        and raw.table["text"][1] == "In scan 0 the heart is large. The lungs are clear."
    )
    hu = np.stack([load_volume(root / "scans" / name, **GRID) for name in names])
    v = embed_volumes(net, normalise(hu).astype(np.float16))
    t = embed_texts(net, [report.replace(".", "") for report in raw.table["text"][:4]])
    expected = torch.cat([v, t])
    np.testing.assert_allclose(raw.vectors, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(hat.vectors, net.bank(expected)[0].detach().numpy(), atol=1e-5)
    assert raw.table["thumbnail"].map(len).min() > 60 and len(set(raw.table["thumbnail"])) == 4
    said = capsys.readouterr()
    assert "[4/4] scan2.nii.gz" in said.out and said.err == ""
    command = next(line for line in said.out.splitlines() if "lib.explorer" in line).split()
    assert explorer.main(command[3:]) == 0 and (root / "runs/embed/scans/page.html").is_file()


def test_columns_of_the_table_are_kept_and_labels_cut(made):
    root, *_ = made
    rows = ["volume,report,labels,age", "scan0,a report,Nodule; Emphysema,60", "scan1,another one,,61",
            "scan2,a third one,Nodule,62", "more/scan3,a fourth one,,63"]  # fmt: skip
    (root / "reports.csv").write_text("\n".join(rows))
    assert _embed("--reports", "reports.csv", "--output", "here") == 0
    table = embeddings.read(root / "here" / "raw.parquet").table
    assert [list(labels) for labels in table["labels"][:4]] == [[], ["Nodule", "Emphysema"], [], ["Nodule"]]
    assert table["age"].tolist() == ["63", "60", "61", "62"] * 2


def test_bad_ones_are_listed_at_the_end_and_the_others_saved(made, capsys):
    root, *_ = made
    scans = root / "scans"
    (scans / "scan0.nii.gz").write_bytes(gzip.compress(b"no volume"))
    (scans / "scan1.txt").unlink()
    (scans / "scan9.txt").write_text("whose?")
    (scans / "twin.nii.gz").write_bytes((scans / "scan2.nii.gz").read_bytes())
    (scans / "twin.txt").write_text("the same volume again")
    assert _embed() == 1
    said = capsys.readouterr().err
    assert said.strip().startswith("4 left out:") and "Traceback" not in said
    for part in ("scan0.nii.gz is not a readable NIfTI volume", "scan1.nii.gz has no report",
                 "scan9.txt is a report without a volume", "twin.nii.gz is scan2.nii.gz again, byte for byte"):  # fmt: skip
        assert part in said
    found = embeddings.read(root / "runs/embed/scans/raw.parquet")
    assert found.table["path"].tolist() == ["more/scan3.nii.gz", "scan2.nii.gz"] * 2


def test_nothing_to_save_is_no_success(made, capsys):
    root, names, _ = made
    for name in names:
        (root / "scans" / name).write_bytes(b"")
    assert _embed() == 1 and not (root / "runs/embed/scans/raw.parquet").exists()
    assert "4 left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, sentence",
    [(["scans", "--checkpoint", "gone"], "gone has no model.safetensors"), (["gone", "--checkpoint", "own"], "gone is no folder"),
     (["scans", "--checkpoint", "own", "--reports", "gone.csv"], "gone.csv does not exist"),
     (["scans", "--checkpoint", "own", "--device", "cuda"], "no CUDA GPU")],
)  # fmt: skip
def test_what_nothing_can_be_done_with_is_one_sentence(made, capsys, monkeypatch, words, sentence):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["embed", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and sentence in said and said.count("\n") == 1


def test_a_stopped_run_goes_on_and_what_changed_is_computed_again(made, monkeypatch, capsys):
    root, names, _ = made
    computed, real = [], embed._made

    def watched(net, path, grid, machine):
        if len(computed) == 2 and stop:
            raise KeyboardInterrupt
        computed.append(path.name)
        return real(net, path, grid, machine)

    monkeypatch.setattr(embed, "_made", watched)
    stop = True
    assert _embed() == 130
    stop = False
    assert _embed() == 0 and sorted(computed) == sorted(name.rpartition("/")[2] for name in names)
    first = (root / "runs/embed/scans/raw.parquet").read_bytes()
    computed.clear()
    assert _embed() == 0 and computed == [] and (root / "runs/embed/scans/raw.parquet").read_bytes() == first
    write_nifti(root / "scans" / "scan1.nii.gz", phantom(9))
    next((root / "runs/embed/scans/volumes").glob("*.npz")).write_bytes(b"cut")
    assert _embed() == 0 and "scan1.nii.gz" in computed and len(computed) == 2
    computed.clear()
    write_checkpoint(root / "own", seed=1)
    assert _embed() == 0 and len(computed) == 4


def test_a_volume_in_doubt_and_a_long_report_are_noted(made, capsys):
    root, *_ = made
    write_nifti(root / "scans" / "scan1.nii.gz", phantom(1) + np.int16(1024))
    (root / "scans" / "scan0.txt").write_text("the heart is large and " * 60)
    assert _embed() == 0
    said = capsys.readouterr().out
    assert "note: scans/scan1.nii.gz has no voxel below 0" in said
    assert "note: 1 of 4 reports are longer than the 97 pieces of words" in said


def test_a_disk_that_is_full_stops_it_in_one_sentence(made, monkeypatch, capsys):
    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(embed, "write_atomic", full)
    assert _embed() == 2
    said = capsys.readouterr().err
    assert "No space left on device; make room" in said and said.count("\n") == 1
