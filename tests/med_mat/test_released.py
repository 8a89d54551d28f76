"""Released questions and a released model's class, offline: a tiny LLaVA is tuned and scored on files of both layouts."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from med_mat_release import write_release
from med_mat_table import write_registry

from lib.data.files import DataError
from lib.machine import Machine
from lib.models import ModelError
from lib.workflow import paths
from papers.med_mat import arms as med_mat_arms
from papers.med_mat import released as med_mat_released
from papers.med_mat import study as med_mat
from papers.med_mat.adapters import IGNORED, answer_batch, tune, with_adapters
from papers.med_mat.checkpoints import load
from papers.med_mat.data.files import SUBSET_FILES
from papers.med_mat.data.registry import Registry, Source, read_registry
from papers.med_mat.data.selection import Subset
from papers.med_mat.released import fit_released, prepare_all

FACTS = paths.paper("med_mat")
SUBSETS = {no: Subset(no, "CT", area, "tone", "State") for no, area in (("01", "Lung"), ("02", "Brain"))}
SIZES = {"missing": "stop", "cap": 40, "tests": 12, "pool": 6}
GIVEN = {"rank": 8, "steps": 30, "batch": 8, "learning_rate": 2e-2}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Two subsets, one in each layout."""
    root = tmp_path_factory.mktemp("release")
    sources = {no: Source(no, f"set {no}", f"https://example.org/{no}", (no.zfill(2),)) for no in ("1", "2")}
    registry = Registry(SUBSETS, sources, {"01": ("1",), "02": ("2",)}, {})
    write_registry(root / "datasets.csv", registry)
    write_release(root, registry, count=80)
    return root


def _job(amounts, tests, *, permuted=(), seed=0):
    return {"amounts": amounts, "permuted": list(permuted), "tests": tests, "seed": seed}


def _fit(release, folder, jobs, **changed):
    folder.mkdir(exist_ok=True)
    given = {"source": release / "llava", "root": release, "table": release / "datasets.csv"}
    fit_released(folder, jobs=jobs, **{**given, **SIZES, **GIVEN, **changed})
    return dict(np.load(folder / "scores.npz"))


def _prepared(release, **changed):
    """What is ready under ``release``, and the sentences told about the rest."""
    told = []
    return prepare_all(release, read_registry(release / "datasets.csv"), **{**SIZES, **changed}, tell=told.append), told


# ---------------------------------------------------------------------- what is not there
@pytest.fixture
def copy(release, tmp_path):
    """The release to be damaged: a copy without the model."""
    return Path(shutil.copytree(release, tmp_path / "copy", ignore=shutil.ignore_patterns("llava")))


@pytest.mark.parametrize("no", SUBSETS)
def test_a_missing_image_stops_naming_dataset_and_address_or_is_left_out_and_told(copy, tmp_path, no):
    (copy / f"med-mat/{no}/7.png").unlink()
    with pytest.raises(DataError) as error:
        _prepared(copy)
    said, source = str(error.value), int(no)
    assert f"-{no}-train.json, row 8: image med-mat/{no}/7.png of dataset {source} (set {source})" in said
    assert f"https://example.org/{source}" in said and "\n" not in said
    with pytest.raises(DataError, match="row 8: image"):
        _fit(copy, tmp_path / "stop", [_job({}, [no])])
    assert not list((tmp_path / "stop").iterdir())
    ready, told = _prepared(copy, missing="skip")
    assert len(told) == 1 and f"dataset {source} (set {source}): 1 of 80 images are missing" in told[0]
    held = [*ready[no].rows.train, *ready[no].rows.test, *ready[no].pool]
    assert len(ready) == 2 and f"med-mat/{no}/7.png" not in [one.image for one in held]


@pytest.mark.parametrize(("no", "layout"), zip(SUBSETS, SUBSET_FILES, strict=True))
def test_a_question_file_that_is_not_there_stops_or_its_subset_is_left_out(copy, no, layout):
    (copy / layout.format(no=no)).unlink()
    with pytest.raises(DataError, match=f"has no question file of subset {no}; it was looked for as Aggregated"):
        _prepared(copy)
    ready, told = _prepared(copy, missing="skip")
    assert no not in ready and len(ready) == 1
    assert len(told) == 1 and told[0].startswith(f"subset {no} is left out: ") and "\n" not in told[0]


def test_a_subset_with_too_few_images_is_left_out_and_without_any_subset_nothing_runs(copy):
    for place in sorted((copy / "med-mat/02").iterdir())[4:]:
        place.unlink()
    shutil.rmtree(copy / "med-mat/01")
    with pytest.raises(DataError, match="copy has no subset that can be used"):
        _prepared(copy, missing="skip")
    told = []
    with pytest.raises(DataError):
        prepare_all(copy, read_registry(copy / "datasets.csv"), **{**SIZES, "missing": "skip"}, tell=told.append)
    assert len(told) == 2 and "none of its 80 images is under" in told[0] and "balanced test needs two" in told[1]


# ---------------------------------------------------------------------- what cannot be used
def _row(key, value):
    return lambda rows: [*rows[:2], rows[2] | {key: value}, *rows[3:]]


FIVE = "\n".join(["Which?", *(f"{letter}: {letter}" for letter in "ABCDE")])
FAULTS = {
    "no options": (_row("Question-choice", "Is it dark?"), "row 3 the options are lettered ''"),
    "wrong letter": (_row("Answer-choice", "D"), "row 3 answers 'D', which is none of its options A, B"),
    "five options": (lambda rows: _row("Question-choice", FIVE)(rows), "row 3 has 5 options; leave at most 4"),
    "one id twice": (_row("id", 0), "row 3 has the id 0, which row 1 of dataset"),
    "path above": (_row("image", "med-mat/../../1.png"), "row 3 has the image path 'med-mat/../../1.png'"),
    "unknown dataset": (_row("data-no", "300"), "row 3: dataset 300 is not in the table of sources"),
    "no rows": (lambda rows: [], "holds no row"),
}


@pytest.mark.parametrize("missing", ["stop", "skip"])
@pytest.mark.parametrize(("no", "layout"), zip(SUBSETS, SUBSET_FILES, strict=True))
def test_faults_of_a_question_file_stop_with_one_sentence_also_when_skipping(copy, no, layout, missing):
    path = copy / layout.format(no=no)
    whole = path.read_text()
    for case, (change, sentence) in FAULTS.items():
        path.write_text(json.dumps(change(json.loads(whole))))
        with pytest.raises(DataError) as error:
            _prepared(copy, missing=missing)
        said = str(error.value)
        assert str(path) in said and sentence in said and "\n" not in said, case
    path.write_text(whole[:-9])
    with pytest.raises(DataError, match=r"is not JSON .*fetch or generate it again"):
        _prepared(copy, missing=missing)


def test_a_truncated_image_stops_the_fit_with_one_sentence_and_the_model_is_left_as_it_was(release, copy, tmp_path):
    for place in (copy / "med-mat/01").iterdir():
        place.write_bytes(place.read_bytes()[:50])
    before = {name: p.clone() for name, p in load(str(release / "llava")).model.named_parameters()}
    source = str(release / "llava")
    with pytest.raises(DataError, match=r"\.png is not an image \(.*\); fetch dataset 1 again"):
        _fit(copy, tmp_path / "fit", [_job({"01": 8}, ["02"])], source=source)
    after = med_mat_released._loaded(source, "cpu", "no").model.named_parameters()
    assert all(torch.equal(p, before.pop(name)) for name, p in after) and not before


def test_a_source_that_cannot_be_used_is_told(release, tmp_path):
    with pytest.raises(ModelError, match=r"is no image-text checkpoint .*; give a folder or a hub id"):
        _fit(release, tmp_path / "fit", [_job({}, ["01"])], source=release)


# ---------------------------------------------------------------------- what is asked
def test_the_multiple_choice_question_is_what_is_tuned_on_and_scored(release, tmp_path, monkeypatch):
    """Question-choice as it is written and the letter; the open Question and Answer are not used."""
    tuned, asked = [], []
    scored = med_mat_released.ReleasedCheckpoint.letter_scores

    def letter_scores(self, images, questions, *, letters):
        asked.extend(questions)
        return scored(self, images, questions, letters=letters)

    monkeypatch.setattr(
        med_mat_released, "tune", lambda folder, c, read, questions, answers, **how: tuned.append((questions, answers))
    )
    monkeypatch.setattr(med_mat_released.ReleasedCheckpoint, "letter_scores", letter_scores)
    _fit(release, tmp_path / "fit", [_job({"01": 10}, ["02"])])
    ready, _ = _prepared(release)
    (questions, answers), written = tuned[0], {one.question_choice for one in ready["01"].rows.train}
    assert len(questions) == 10 and set(questions) <= written and set(answers) == {"A", "B"}
    test = [one.question_choice for one in ready["02"].rows.test]
    assert asked[: 2 * len(test) : 2] == test and not any("Describe" in text for text in asked)
    for first, second in zip(asked[::2], asked[1::2], strict=True):
        swapped = first.replace("A: ", "?: ").replace("B: ", "A: ").replace("?: ", "B: ").splitlines()
        assert second.splitlines() == [swapped[0], swapped[2], swapped[1], swapped[3]]


def test_training_rows_tests_and_pool_have_no_image_in_common(release):
    ready, _ = _prepared(release, tests=12, pool=6)
    for one in ready.values():
        parts = [{row.image for row in rows} for rows in (one.rows.train, one.rows.test, one.pool)]
        assert [len(part) for part in parts] == [40, 8, 6] and len(set.union(*parts)) == 54 and one.options == 2


# ---------------------------------------------------------------------- fits
def test_only_the_answer_counts_in_the_loss(release):
    """The labels are the letter and the end of text, whatever the length of question and padding."""
    checkpoint = load(str(release / "llava"))
    images = [np.zeros((8, 8), np.uint8)] * 2
    made = answer_batch(checkpoint, images, ["What does it show? A: dark", "dark"], ["A", "B"])
    vocabulary = checkpoint.processor.tokenizer.get_vocab()
    for row, letter in enumerate("AB"):
        counted = made["labels"][row][made["labels"][row] != IGNORED]
        assert counted.tolist() == [vocabulary[letter], vocabulary["</s>"]]


def test_training_is_seen_in_the_scores_and_the_untrained_model_is_the_released_one(release, tmp_path):
    scores = _fit(release, tmp_path / "fit", [_job({"01": 40}, ["01", "02"]), _job({}, ["01"])])
    right = scores["0/01/test_right"]
    assert scores["0/01/test"].shape == (8, 2, 2) and scores["0/01/pool"].shape == (6, 2, 2)

    def loss(which):
        return -np.take_along_axis(scores[which], right[..., None], axis=2).mean()

    assert loss("0/01/test") < loss("1/01/test") - 0.3  # before, any word was as likely as the right letter
    again = _fit(release, tmp_path / "again", [_job({}, ["01"])])
    assert np.allclose(again["0/01/test"], scores["1/01/test"])


def test_adapters_leave_the_released_weights_alone(release, tmp_path):
    checkpoint = load(str(release / "llava"))
    before = {name: p.clone() for name, p in checkpoint.model.named_parameters()}
    checkpoint = with_adapters(checkpoint, rank=8, seed=0)
    images = [np.zeros((8, 8), np.uint8), np.full((8, 8), 200, np.uint8)]
    told = {"steps": 5, "batch": 2, "learning_rate": 1e-2, "seed": 0}
    losses = tune(tmp_path, checkpoint, lambda row: images[row], ["dark", "bright"], ["A", "B"], **told)
    assert losses[-1] < losses[0]
    after = {
        name.replace("base_model.model.", "").replace(".base_layer", ""): p
        for name, p in checkpoint.model.named_parameters()
    }
    assert all(torch.equal(p, after[name]) for name, p in before.items())
    adapters = [name for name in after if "lora" in name]
    assert adapters and all("language_model" in name for name in adapters)


def test_a_fit_that_was_killed_goes_on_inside_a_job_and_micro_batches_take_the_same_steps(
    release, tmp_path, monkeypatch
):
    told = {"jobs": [_job({"01": 20}, ["02"])], "steps": 6}
    whole = _fit(release, tmp_path / "whole", **told)
    read, seen = med_mat_released.read_image, []

    def killed(*args):
        seen.append(args)
        if len(seen) == 4 * GIVEN["batch"]:
            raise KeyboardInterrupt
        return read(*args)

    monkeypatch.setattr(med_mat_released, "read_image", killed)
    with pytest.raises(KeyboardInterrupt):
        _fit(release, tmp_path / "fit", machine=Machine(checkpoint_every=2), **told)
    monkeypatch.setattr(med_mat_released, "read_image", read)
    again = _fit(release, tmp_path / "fit", machine=Machine(checkpoint_every=2), **told)
    parts = _fit(release, tmp_path / "parts", machine=Machine(micro_batch=2, recompute=True), **told)
    for name, values in whole.items():
        assert np.array_equal(again[name], values) and np.allclose(parts[name], values, atol=1e-4)


@pytest.mark.slow
def test_the_null_differs_and_what_is_tested_is_not_trained_on(release, tmp_path, monkeypatch):
    jobs = [_job({"01": 30}, ["02"], permuted=permuted) for permuted in ([], ["01"])]
    scores = _fit(release, tmp_path / "fit", jobs)
    assert np.abs(scores["0/02/test"] - scores["1/02/test"]).max() > 1e-3
    seen = []
    monkeypatch.setattr(med_mat_released, "without_tested", lambda one, test: seen.append(test) or one)
    _fit(release, tmp_path / "again", [_job({"01": 30}, ["02"])])
    assert len(seen) == 1 and len(seen[0]) == 8 and {row.data_no for row in seen[0]} == {"2"}


@pytest.mark.slow
def test_one_loaded_model_gives_each_job_what_a_fresh_one_gives_to_the_bit(release, tmp_path, monkeypatch):
    jobs = [_job({"01": 30}, ["02"], seed=3), _job({"02": 20}, ["01", "02"], seed=5), _job({}, ["01"])]
    loads = []
    monkeypatch.setattr(med_mat_released, "load", lambda *args, **how: loads.append(args) or load(*args, **how))
    med_mat_released._loaded.cache_clear()
    together = _fit(release, tmp_path / "together", jobs, steps=6)
    assert len(loads) == 1
    for number, job in enumerate(jobs):
        med_mat_released._loaded.cache_clear()
        for name, values in _fit(release, tmp_path / f"alone-{number}", [job], steps=6).items():
            assert np.array_equal(values, together[name.replace("0/", f"{number}/", 1)])
    assert len(loads) == 4


def test_a_fit_that_was_killed_goes_on_after_its_last_finished_job(release, tmp_path, monkeypatch):
    jobs = [_job({"01": 20}, ["02"], seed=seed) for seed in (0, 1)]
    whole = _fit(release, tmp_path / "whole", jobs, steps=4)
    seeds = []

    def killed(*args, seed, **how):
        seeds.append(seed)
        if seeds == [0, 1]:
            raise KeyboardInterrupt
        return tune(*args, seed=seed, **how)

    monkeypatch.setattr(med_mat_released, "tune", killed)
    with pytest.raises(KeyboardInterrupt):
        _fit(release, tmp_path / "fit", jobs, steps=4)
    again = _fit(release, tmp_path / "fit", jobs, steps=4)
    assert seeds == [0, 1, 1] and all(np.array_equal(whole[name], again[name]) for name in whole)


def test_a_blind_model_is_shown_the_same_picture_for_an_image_and_never_the_image(release, tmp_path, monkeypatch):
    def seen(*args):
        raise AssertionError("an image was read")

    monkeypatch.setattr(med_mat_released, "read_image", seen)
    first, again = (_fit(release, tmp_path / name, [_job({}, ["01"])], blind=True) for name in ("first", "again"))
    assert np.array_equal(first["0/01/test"], again["0/01/test"])


# ---------------------------------------------------------------------- the study
FETCHED = ("03", "04", "05", "06", "07", "08", "09")  # enough for the first three pairs of Table 3 and their controls


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    """Seven of the 37 subsets of the paper's own table."""
    root = tmp_path_factory.mktemp("partial")
    whole = read_registry(FACTS / "datasets.csv")
    fetched = {no: whole.subsets[no] for no in FETCHED}
    write_release(root, replace(whole, subsets=fetched), count=40, labels=("bright", "dark", "grey"))
    return root


def _profile(**changed):
    released = {**SIZES, "missing": "skip", "root": "questions", "model": "llava", "rank": 2}
    tuning = {"batch": 8, "epochs": 1, "learning_rate": 1.0e-3}
    return {"verdicts": True, "released": {**released, **changed}, "tuning": tuning, "volume": 16}


def _study(root, *, given=None, **how):
    found = {"questions": root, "llava": root / "llava", "other": root / "other"}
    told = {"settings": _profile(**(given or {})), "seeds": [0], "profile": "full", "facts": FACTS}
    run = SimpleNamespace(**told, source=found.__getitem__)
    return med_mat.prepare(run, **how)


def test_what_was_not_fetched_is_told_and_what_needs_it_is_left_out(partial, capsys):
    study = _study(partial)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 30 + 2 and sum(" is left out: " in line for line in told) == 30
    assert told[-2].startswith("tab3_combinations: 40 printed combinations need a subset that is left out")
    assert told[-1].startswith("tab10_triples: 9 printed")
    assert [subset.no for subset in study.cells] == list(FETCHED) == list(study.available)
    pairs = {pair.row[:2]: [m.no for m in (*pair.members, pair.target)] for pair in study.pairs()}
    assert pairs == {"01": ["03", "06", "04"], "02": ["04", "05", "03"], "03": ["06", "03", "05"]}
    assert [s.no for s in study.role("OOD")] == ["04", "05", "06"] and study.cell(study.registry.subsets["25"]) is None
    assert set(study.options.values()) == {3}
    empty = (
        lambda: study.pairs("tab10_triples"), study.repeated, lambda: study.role("det/seg"),
        lambda: med_mat_arms.balanced_targets(study, 5), lambda: med_mat_arms.failing_in_the_paper(study),
    )  # fmt: skip
    for choose in empty:
        with pytest.raises(DataError, match=r"can be run with subsets 03, 04, .* alone; fetch the others"):
            choose()
    with pytest.raises(DataError, match="has no question file of subset 01"):
        _study(partial, given={"missing": "stop"})


def test_every_fit_takes_the_same_number_of_steps_whatever_it_is_trained_on(partial):
    study = _study(partial)
    assert (
        study.recipe()["steps"] == 2 and study.recipe(volume=80)["steps"] == 10 and study.recipe(steps=7)["steps"] == 7
    )


def test_exhibits_that_need_more_than_there_is_say_so(partial):
    with pytest.raises(DataError, match=r"names one model; name the source of another under .*second_model"):
        _study(partial, encoder="transformer")
    second = _study(partial, given={"second_model": "other"}, encoder="transformer")
    assert second.source["source"] == partial / "other" and _study(partial, blind=True).source["blind"]
    study = _study(partial, tests={"seed": 1, "images": 999, "test": 288})
    assert study.source["tests"] == 288
    with pytest.raises(DataError, match="has 3 test images, not 3 times 96; give the notebook test=1 or fewer"):
        med_mat_arms.repeat_arms(study, study.pairs(), repeats=3, test=96)
    with pytest.raises(DataError, match="run tab16_few_shot at mini or gpu"):
        med_mat_arms.few_shot_arms(study, study.pairs(), shots=[0], images=8)


# ---------------------------------------------------------------------- the notebook
@pytest.fixture
def checkout(partial, tmp_path):
    """The parts of the repository that a run of Table 3 needs, with a `full` profile that names the partial release."""
    root = tmp_path / "checkout"
    shutil.copytree(paths.ROOT / "lib", root / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(FACTS, root / "papers" / "med_mat", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(paths.PAPERS / "__init__.py", root / "papers")
    place = Path("notebooks/med_mat/tab3_combinations.ipynb")
    (root / place).parent.mkdir(parents=True)
    shutil.copy(paths.ROOT / place, root / place)
    plan = root / "papers/med_mat/experiments.yml"
    told = yaml.safe_load(plan.read_text())
    folders = {"questions": partial, "llava": partial / "llava"}
    told["sources"] = {name: {"folder": str(folder), "licence": None} for name, folder in folders.items()}
    told["profiles"]["full"] = _profile()
    told["profiles"]["stop"], told["stands_on"]["stop"] = _profile(missing="stop"), "real"
    plan.write_text(yaml.safe_dump(told))
    return root


def _execute(checkout, profile):
    command = [sys.executable, "-m", "lib.workflow", "execute", "med_mat/tab3_combinations", "--profile", profile]
    places = {"PYTHONPATH": str(checkout), "REPRISE_RUNS": str(checkout / "runs"), "REPRISE_OUT": str(checkout / "out")}
    environment = {k: v for k, v in os.environ.items() if k != "REPRISE_CACHE"} | places
    given = [*command, "-p", "seeds=2"]
    return subprocess.run(given, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.notebooks
def test_table_3_runs_on_a_partial_release_from_fits_to_verdict(checkout):
    done = _execute(checkout, "full")
    assert done.returncode == 0, done.stderr
    result = json.loads((checkout / "out/papers/med_mat/results/tab3_combinations.full.json").read_text())
    assert result["claims"]["C3"]["outcome"] and result["seeds"] == [0, 1]
    assert (checkout / "out/figures/med_mat/tab3_combinations.full.png").is_file()


@pytest.mark.notebooks
def test_what_is_missing_stops_the_notebook_with_one_sentence(checkout):
    done = _execute(checkout, "stop")
    said = (done.stdout + done.stderr).strip()
    assert done.returncode != 0 and "Traceback (" not in said
    assert "has no question file of subset 01; it was looked for as Aggregated_Subsets" in said.splitlines()[-1]
