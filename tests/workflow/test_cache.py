"""The artefact cache: what is in a key, one build for two racing processes, kills, damage, full disks, list and clean."""

import errno
import json
import multiprocessing
import os
import re
import time
from pathlib import Path

import pytest
import toy_project as toy
from filelock import FileLock

from lib.workflow import cache, paths
from lib.workflow.__main__ import main
from lib.workflow.cache import CacheError, build, build_all, describe

BASE = "CONSTANT = 3\n"
ARMS = '''
import os
import time
from pathlib import Path

from lib.toy import base


def _log(text):
    with open(os.environ["TOY_LOG"], "a") as log:
        log.write(f"{os.getpid()} {text}\\n")


def world(folder, *, seed, scale=1.0):
    """A world."""
    _log(f"world {seed}")
    time.sleep(float(os.environ.get("TOY_SLEEP", "0")))
    (folder / "parts").mkdir()
    (folder / "parts" / "world.txt").write_text(f"{seed} {scale} {base.CONSTANT}")


def arm(folder, *, world, seed):
    (folder / "arm.txt").write_text(f"{(Path(world) / 'parts/world.txt').read_text()} {seed}")


def dies(folder, *, seed):
    """Killed on the first try, goes on from its checkpoint on the second."""
    saved = folder / "checkpoint" / "step.txt"
    assert not (folder / "half.txt").exists()
    (folder / "half.txt").write_text("half")
    if not saved.exists():
        saved.parent.mkdir()
        saved.write_text("40")
        os._exit(9)
    (folder / "half.txt").unlink()
    (folder / "whole.txt").write_text(f"went on from {saved.read_text()}")


def fails(folder, *, how):
    (folder / "half.txt").write_text("half")
    if how == "disk":
        (folder / "big.bin").symlink_to("/dev/full")  # every write there ends in a true ENOSPC
        (folder / "big.bin").write_bytes(b"0" * 100_000)
    if how == "wrapped":
        raise RuntimeError("SafetensorError: IoError: No space left on device (os error 28)")
    if how == "input":
        Path("/nowhere/labels.csv").read_text()
    raise ValueError("row 3 of labels.csv is empty; fill it")


def misplaced(seed, folder):
    pass
'''
needs_dev_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@pytest.fixture
def arms(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    (tmp_path / "log").touch()
    toy.load_module(monkeypatch, "base", BASE)
    return toy.load_module(monkeypatch, "arms", ARMS)


def _log() -> list[str]:
    return [line.split(" ", 1)[1] for line in Path(os.environ["TOY_LOG"]).read_text().splitlines()]


def _rewrite(module: str, old: str, new: str) -> None:
    path = paths.ROOT / f"lib/toy/{module}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _key(function, **arguments) -> str:
    return describe(function, arguments)[1].name


def _in_processes(*targets) -> list[int]:
    """Exit codes of processes that run the targets at the same time."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=target) for target in targets]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    return [process.exitcode for process in processes]


# ---------------------------------------------------------------------- keys
def test_an_artefact_is_built_once(arms):
    first = build(arms.world, seed=0)
    assert (first / "parts/world.txt").read_text() == "0 1.0 3"
    assert build(arms.world, seed=0) == first and _log() == ["world 0"]
    manifest = json.loads((first / cache.MANIFEST).read_text())
    assert manifest["function"] == "lib.toy.arms.world" and manifest["arguments"] == {"seed": 0}


def test_each_argument_is_in_the_key_and_so_is_the_order_inside_one(arms):
    keys = [_key(arms.world, **a) for a in ({"seed": 0}, {"seed": 1}, {"seed": 0, "scale": 2.0}, {"seed": "0"})]
    assert len(set(keys)) == 4
    assert _key(arms.world, seed=0, scale=2.0) == _key(arms.world, scale=2.0, seed=0)
    assert _key(arms.world, seed={"a": [1, 2], "b": None}) == _key(arms.world, seed={"a": (1, 2), "b": None})
    assert _key(arms.world, seed={"a": 1, "b": 2}) != _key(arms.world, seed={"b": 2, "a": 1})  # a fit may follow it
    assert _key(arms.world, seed={"a": 1}) != _key(arms.world, seed=[["a", 1]])
    assert _key(arms.world, seed={"a": [1, 2]}) != _key(arms.world, seed={"a": [2, 1]})
    assert _key(arms.world, seed=0) != _key(arms.dies, seed=0)


def test_source_is_in_the_key_and_comments_are_not(arms):
    key = _key(arms.world, seed=0)
    _rewrite("arms", '"""A world."""', '"""A world, better explained."""  # and commented')
    _rewrite("base", "CONSTANT = 3", "CONSTANT = 3  # why three")
    assert _key(arms.world, seed=0) == key
    _rewrite("base", "CONSTANT = 3", "CONSTANT = 4")  # in a module it imports
    other = _key(arms.world, seed=0)
    _rewrite("arms", "{seed} {scale}", "{scale} {seed}")
    assert len({key, other, _key(arms.world, seed=0)}) == 3


def test_an_artefact_upstream_is_in_the_key(arms):
    worlds = [build(arms.world, seed=s) for s in (0, 1)]
    keys = [_key(arms.arm, world=w, seed=0) for w in worlds]
    inner = _key(arms.arm, world=worlds[0] / "parts", seed=0)
    assert len({*keys, inner}) == 3
    _rewrite("base", "3", "4")
    assert build(arms.world, seed=0) != worlds[0]


def test_a_file_from_outside_is_in_the_key_by_what_it_is(arms, tmp_path):
    labels = tmp_path / "labels" / "a.csv"
    labels.parent.mkdir()
    labels.write_text("1,2")
    keys = [_key(arms.arm, world=labels, seed=0), _key(arms.arm, world=labels.parent, seed=0)]
    labels.write_text("1,2,3")
    keys += [_key(arms.arm, world=labels, seed=0), _key(arms.arm, world=labels.parent, seed=0)]
    assert len(set(keys)) == 4


def test_a_release_of_a_numerical_library_is_in_the_key(arms, monkeypatch):
    key = _key(arms.world, seed=0)
    monkeypatch.setattr(cache, "version", lambda name: "99.0" if name == "torch" else "1.0")
    newer = _key(arms.world, seed=0)
    monkeypatch.setattr(cache, "version", lambda name: "99.0+cpu" if name == "torch" else "1.0")
    assert key != newer == _key(arms.world, seed=0)  # the build tag does not count


def test_what_cannot_be_a_key_is_refused(arms, tmp_path):
    with pytest.raises(CacheError, match="not set"):
        build(arms.world, seed={1, 2})
    with pytest.raises(CacheError, match=r"nowhere does not exist.*correct the path"):
        build(arms.arm, world=tmp_path / "nowhere", seed=0)
    with pytest.raises(CacheError, match="first parameter must be 'folder'"):
        build(arms.misplaced, seed=0)
    with pytest.raises(CacheError, match=r"<lambda> cannot be cached.*top of a module of lib or papers"):
        build(lambda folder, seed: None, seed=0)  # its source is in no file whose hash could change
    with pytest.raises(CacheError, match="top of a module of lib or papers"):
        build(_outside, seed=0)


def _outside(folder, seed):
    pass


# ---------------------------------------------------------------------- two processes
def test_two_processes_racing_build_once(arms, monkeypatch):
    monkeypatch.setenv("TOY_SLEEP", "0.5")
    assert _in_processes(*[lambda: build(arms.world, seed=0)] * 3) == [0, 0, 0]
    assert _log() == ["world 0"]


def test_two_processes_share_the_work_of_build_all(arms, monkeypatch):
    monkeypatch.setenv("TOY_SLEEP", "0.15")
    many = [{"seed": s} for s in range(6)]
    started = time.monotonic()
    assert _in_processes(*[lambda: build_all(arms.world, many)] * 2) == [0, 0]
    took = time.monotonic() - started
    assert sorted(_log()) == [f"world {s}" for s in range(6)]
    builders = {line.split()[0] for line in Path(os.environ["TOY_LOG"]).read_text().splitlines()}
    assert len(builders) == 2, f"one process built everything ({took:.1f} s)"
    assert [f.is_dir() for f in build_all(arms.world, many)] == [True] * 6 and len(_log()) == 6


def test_build_all_keeps_the_order_and_tells_how_far_it_is(arms):
    build(arms.world, seed=2)
    told = []
    folders = build_all(arms.world, [{"seed": s} for s in (3, 2, 1, 3)], progress=told.append)
    assert [(f / "parts/world.txt").read_text()[0] for f in folders] == ["3", "2", "1", "3"]
    assert told == sorted(told) and told[0] == 1 and told[-1] == 4
    assert sorted(_log()) == ["world 1", "world 2", "world 3"]


# ---------------------------------------------------------------------- kills and faults
def test_a_killed_build_leaves_nothing_and_the_next_goes_on_from_its_checkpoint(arms):
    folder = describe(arms.dies, {"seed": 0})[1]
    assert _in_processes(lambda: build(arms.dies, seed=0)) == [9]
    assert not folder.exists() and cache.entries() == []
    assert (folder.with_name(f"{folder.name}.part") / "checkpoint/step.txt").read_text() == "40"
    assert build(arms.dies, seed=0) == folder
    assert sorted(f.name for f in folder.iterdir()) == [cache.MANIFEST, "whole.txt"]  # no checkpoint, no half file
    assert (folder / "whole.txt").read_text() == "went on from 40"
    assert not list(paths.CACHE.glob("*/*.part"))


def test_a_build_that_fails_keeps_its_own_error_and_leaves_nothing(arms):
    for how, error in (("value", ValueError), ("input", FileNotFoundError)):
        folder = describe(arms.fails, {"how": how})[1]
        with pytest.raises(error, match=r"labels\.csv"):  # not "the disk is full"
            build(arms.fails, how=how)
        assert not folder.exists()


@needs_dev_full
def test_a_full_disk_is_one_sentence_with_a_remedy(arms):
    for how in ("disk", "wrapped"):
        with pytest.raises(CacheError) as caught:
            build(arms.fails, how=how)
        assert "\n" not in str(caught.value)
        assert re.fullmatch(
            r"cannot write runs/cache/fails/\w+: No space left on device; free space, or .*", str(caught.value)
        )
        assert not describe(arms.fails, {"how": how})[1].exists()


def test_a_disk_that_fills_while_the_manifest_is_written(arms, monkeypatch):
    def full(self, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", full)
        with pytest.raises(CacheError, match="No space left"):
            build(arms.world, seed=0)
    folder = describe(arms.world, {"seed": 0})[1]
    assert not folder.exists() and build(arms.world, seed=0) == folder


def test_a_cache_that_is_no_folder(arms, tmp_path):
    (tmp_path / "runs").mkdir()
    paths.CACHE.write_text("a file")
    with pytest.raises(CacheError, match="set REPRISE_CACHE to another folder"):
        build(arms.world, seed=0)


DAMAGE = {
    "one byte": lambda f: (f / "parts/world.txt").write_text("1 1.0 3"),
    "cut off": lambda f: (f / "parts/world.txt").write_text("0 1."),
    "file gone": lambda f: (f / "parts/world.txt").unlink(),
    "manifest gone": lambda f: (f / cache.MANIFEST).unlink(),
    "manifest cut off": lambda f: (f / cache.MANIFEST).write_text('{"files": {'),
    "manifest of another form": lambda f: (f / cache.MANIFEST).write_text("[]"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_artefact_is_built_again_with_a_notice(arms, case, capsys):
    folder = build(arms.world, seed=0)
    DAMAGE[case](folder)
    assert build(arms.world, seed=0) == folder
    assert (folder / "parts/world.txt").read_text() == "0 1.0 3" and len(_log()) == 2
    assert f"runs/cache/world/{folder.name} is damaged" in capsys.readouterr().err
    build(arms.world, seed=0)
    assert len(_log()) == 2 and capsys.readouterr().err == ""


# ---------------------------------------------------------------------- list and clean
def test_list_tells_what_is_old_and_what_is_damaged(arms, capsys):
    kept, broken = build_all(arms.world, [{"seed": 0}, {"seed": 1}])
    (broken / cache.MANIFEST).write_text("{")
    assert main(["cache"]) == 0
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith("world")}
    assert "(" not in lines[kept.name] and "(damaged)" in lines[broken.name]
    _rewrite("base", "3", "4")
    main(["cache", "list"])
    out = capsys.readouterr().out
    assert "(of older source)" in next(line for line in out.splitlines() if kept.name in line)
    assert "2 artefacts" in out and "runs/cache" in out


def test_clean_deletes_what_nobody_would_build_and_keeps_the_rest(arms, capsys):
    old, broken = build_all(arms.world, [{"seed": 0}, {"seed": 1}])
    _rewrite("base", "3", "4")
    new = build(arms.world, seed=0)
    other = build(arms.arm, world=new, seed=0)
    (new.with_name("0123456789abcdef.part") / "checkpoint").mkdir(parents=True)
    (broken / "parts/world.txt").unlink()
    assert main(["cache", "clean"]) == 0
    assert "deleted 2 artefacts" in capsys.readouterr().out
    assert sorted(f.name for f in paths.CACHE.glob("*/*") if f.is_dir()) == sorted([new.name, other.name])
    assert not old.exists()
    assert cache.clean(everything=True)[0] == 2 and cache.entries() == []


def test_clean_leaves_alone_what_is_being_built(arms):
    folder = build(arms.world, seed=0)
    part = folder.with_name("0123456789abcdef.part")
    part.mkdir()
    with FileLock(f"{folder}.lock"), FileLock(str(part.with_suffix(".lock"))):
        assert cache.clean(everything=True) == (0, 0)
    assert folder.is_dir() and part.is_dir()
    assert cache.clean(everything=True)[0] == 1 and not folder.exists() and not part.exists()
