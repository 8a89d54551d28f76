"""Full disks, trees that take no files, and files that somebody prepared: one sentence that names the place, and nothing is lost.

Here are the real ones (a small disk, a process without rights). What a reader makes of a damaged file stands in
test_bad_input.py, and what the cache and the loop make of one beside them.
"""

import ctypes
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
import toy_project as toy
from faults import replace_papermill, tiny

from lib import embeddings
from lib.explorer import ExplorerError
from lib.models import ModelError, causal_lm
from lib.workflow import cache, notebooks, paths, sources
from lib.workflow import execute as runner
from lib.workflow.__main__ import main
from lib.workflow.cache import CacheError, build

ARMS = """
import numpy as np
import torch
from torch import nn

from lib.machine import Machine
from lib.training.loop import train


def world(folder, *, size):
    np.save(folder / "world.npy", np.zeros(size, np.uint8))


def fit(folder, *, width):
    model = nn.Linear(width, width)
    told = {"optimiser": torch.optim.SGD(model.parameters(), lr=0.1), "clip": 1.0, "steps": 2}
    train(model, lambda m, step: m(torch.ones(1, width)).square().mean(), machine=Machine(checkpoint_every=1),
          checkpoint=folder / "checkpoint/fit.pt", **told)
    (folder / "done.txt").write_text("done")
"""


@pytest.fixture
def arms(tmp_path, monkeypatch):
    toy.make(tmp_path / "project", monkeypatch)
    return toy.load_module(monkeypatch, "arms", ARMS)


def in_a_process(act, *, within=60) -> int:
    """Exit code of a fork that runs ``act``: limits and lost rights stay there."""
    process = multiprocessing.get_context("fork").Process(target=act)
    process.start()
    process.join(within)
    if process.exitcode is None:
        process.kill()
    return process.exitcode


def said_by(words, before, tmp_path) -> tuple[int, str]:
    """Exit code and stderr of a command in a process that does ``before`` first."""
    said = tmp_path / "said"
    said.touch()

    def act():
        with said.open("w") as sys.stderr, open(os.devnull, "w") as sys.stdout:
            before()
            code = main(words)
        os._exit(code)

    code = in_a_process(act)
    return code, said.read_text()


# ---------------------------------------------------------------------- a disk that is full
@pytest.fixture
def disk(tmp_path):
    """A disk of 300 kB, and a function that makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here (it takes Linux and root)")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a traceback may hold a file


def test_a_full_disk_stops_a_build_and_with_room_it_goes_on(arms, disk, monkeypatch):
    """numpy and torch do not say that the disk is full; the runner does."""
    folder, make_room = disk
    monkeypatch.setattr(paths, "CACHE", folder / "cache")
    small = build(arms.world, size=1000)
    for act, told in ((arms.world, {"size": 1_000_000}), (arms.fit, {"width": 400})):
        with pytest.raises((OSError, RuntimeError)) as caught:
            build(act, **told)
        said = runner._sentence(caught.value)
        assert (
            re.search(r"the disk is full; free space|No space left on device; free space", said) and "\n" not in said
        ), said
    assert build(arms.world, size=1000) == small and all(entry["complete"] for entry in cache.entries())
    make_room()
    assert (build(arms.world, size=1_000_000) / "world.npy").stat().st_size > 1_000_000
    assert (build(arms.fit, width=400) / "done.txt").is_file() and not list(paths.CACHE.glob("*/*.part"))


def test_a_full_disk_leaves_the_result_and_the_notebook_as_they_were(arms, disk, monkeypatch, capsys):
    folder, make_room = disk
    monkeypatch.setattr(paths, "RUNS", folder / "runs")
    replace_papermill(monkeypatch, lambda settings: None)
    assert main(["execute", "toy/tab_a"]) == 0
    output = paths.executed("toy", "tab_a", "mini")
    before = output.read_bytes()
    capsys.readouterr()
    with (folder / "junk").open("wb", buffering=0) as junk, pytest.raises(OSError, match="No space left"):
        while True:
            junk.write(b"0" * 1024)
    with pytest.raises(OSError, match="No space left"):
        paths.write(output, before + b" " * 100_000)
    assert main(["execute", "toy/tab_a"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "No space left on device" in said
    assert output.read_bytes() == before
    make_room()
    assert main(["execute", "toy/tab_a"]) == 0 and not list(output.parent.glob("*.running.ipynb"))


def test_a_file_that_may_not_grow_is_a_full_disk(arms):
    """The limit that quotas and batch systems set."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            build(arms.world, size=1_000_000)
        except (OSError, CacheError) as error:
            os._exit(7 if "free space" in runner._sentence(error) else 8)

    assert in_a_process(limited) == 7
    assert cache.entries() == [] and (build(arms.world, size=1_000_000) / "world.npy").is_file()


# ---------------------------------------------------------------------- a tree that takes no files
COMMANDS = [
    ["run"], ["tables"], ["format"], ["new-paper", "other"], ["gallery"],
    ["execute", "toy/tab_a"],
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_tree_that_cannot_be_written_is_one_sentence(arms, tmp_path, words):
    root = paths.ROOT
    toy.write_result(toy.result())  # so that the tables have something to say
    notebook = notebooks.read(paths.notebook("toy", "tab_a"))
    notebook.metadata["kernelspec"] = {
        "name": "other",
        "display_name": "Other",
    }  # so that there is a form to bring it in
    paths.notebook("toy", "tab_a").write_text(nbformat.writes(notebook))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    folders = [root, *(folder for folder in root.rglob("*") if folder.is_dir())]
    for folder in folders:
        folder.chmod(0o555)

    def without_rights():
        """Root may write everywhere by its capabilities; without them the modes of files count."""
        ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
        if os.access(root, os.W_OK):
            os._exit(77)

    code, text = said_by(words, without_rights, tmp_path)
    for folder in folders:
        folder.chmod(0o755)
    if code == 77:
        pytest.skip("this user may write everywhere")
    assert code == 2 and text.startswith("error: ") and text.count("\n") == 1 and "Permission denied" in text, text
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


# ---------------------------------------------------------------------- files that somebody prepared
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("command", [["run"], ["execute", "toy/tab_a"], ["lint"]], ids=lambda words: words[0])
@pytest.mark.parametrize("file", ["paper.yml", "experiments.yml"])
def test_a_yaml_bomb_is_told_before_it_unfolds(arms, file, command, tmp_path):
    """Nine lists of nine, each in each: 387 million words, were they written out."""
    path = paths.paper("toy") / file
    text = path.read_text()
    inside = "  mini:\n    bomb:\n" + "".join(f"      {line}\n" for line in BOMB.splitlines())
    path.write_text(
        text + BOMB if file == "paper.yml" else text.replace("  mini:\n    machine", f"{inside}    machine")
    )
    assert BOMB.splitlines()[0] in path.read_text()

    def limited():
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    code, said = said_by(command, limited, tmp_path)
    assert code == 2 and re.match(rf"error: papers/toy/{file}", said) and said.count("\n") == 1, (code, said)


def test_weights_that_are_cut_off_or_pickled_are_told(tmp_path):
    folder, _, _ = tiny(tmp_path / "base")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:5], b"", b"\xff" * 64):
        weights.write_bytes(content)
        with pytest.raises(ModelError, match="base") as caught:
            causal_lm.load(folder)
        assert "\n" not in str(caught.value)
    weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/ran'\ntR.")
    with pytest.raises(ModelError, match="safetensors"):
        causal_lm.load(folder)


def test_embeddings_that_are_cut_off_are_told(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + b"\0" * 100)
    with pytest.raises(ExplorerError, match=r"a\.parquet is no Parquet file: .*save it again"):
        embeddings.read(path)


def test_a_wheel_with_a_path_outside_writes_what_was_listed_alone(arms, tmp_path, monkeypatch):
    wheel = tmp_path / "evil.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("../../outside.txt", "/outside.txt", "part/../../outside.txt", "part/good.txt"):
            archive.writestr(name, "content")
    monkeypatch.setattr(sources, "_wheels", lambda packages, folder: [wheel])
    digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"  # of "content"
    facts = toy.experiment_facts() | {"sources": {"evil": {"packages": {"evil==1": digest}, "licence": None,
                                                           "files": {"part/good.txt": digest}}}}  # fmt: skip
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    folder = sources.fetch("toy", "evil")
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["good.txt"]
    assert not list(tmp_path.rglob("outside.txt")) and not Path("/outside.txt").exists()
