"""Small inputs that went wrong in tools like this one, as their public bug trackers report: what must come out here.

A test a fault: the right value, or one sentence of the project that names the place and the remedy.
"""

import gzip
import json
import os
import re
import shlex
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace as Names
from unittest.mock import patch

import faults
import nibabel
import numpy as np
import pandas as pd
import pytest
import toy_project as toy
import yaml
from faults import WORDS, put, refuses
from jupyter_client.kernelspec import KernelSpecManager
from PIL import Image

from lib.data import ct_rate, instructions
from lib.data.exams import Question
from lib.data.files import DataError, write_json
from lib.data.volumes import Geometry
from lib.evaluation import EvaluationError, classification, exam_prompts
from lib.evaluation import exams as scoring
from lib.evaluation.modality_gap import pca_embedding, umap_embedding
from lib.explorer import ExplorerError, export_html
from lib.explorer_points import unpacked
from lib.models import ModelError, causal_lm
from lib.training import chat_encoding, sft
from lib.workflow import commands, jobs, paths
from lib.workflow import execute as runner
from lib.workflow.__main__ import main
from lib.workflow.notebooks import NotebookError
from lib.workflow.session import SessionError
from papers.brgsa import prepare, rad_chestct
from papers.long_context import cmb
from papers.long_context.cmb_scoring import strict_letters
from papers.med_mat.data import files as med_mat

NAMES = [f"valid_{i}_a_1.nii.gz" for i in range(1, 7)]
GRID = {"target_spacing": (2, 2, 2), "shape": (8, 8, 8)}
REPORTS = "VolumeName,Findings_EN,Impressions_EN\n"
HALF = "\ud83d"  # half of a surrogate pair: no character


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """The notebook ``toy/tab_a`` of a toy project in a folder that a shell would split."""
    return toy.make(tmp_path / 'it\'s "my" {own} $HOME; #1', monkeypatch)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return faults.tiny(tmp_path_factory.mktemp("base"))


def test_a_table_row_wider_or_narrower_than_its_header_is_refused_by_its_line(tmp_path):
    first = "a,Small nodule in the left lobe, rest clear,Nodule.\n"
    labels, rad = "VolumeName,Emphysema,Nodule\na,1,0,\nb,0,1,\n", "NoteAcc_DEID,nodule\na,True,\n"
    read, shifted = ct_rate.read_reports, REPORTS + first + "b,Both lungs clear,Normal chest.\n"
    one = partial(ct_rate.read_labels, labels=["Emphysema"])
    told = {"line 2 has 4 fields where": [(read, shifted), (ct_rate.read_labels, labels), (one, labels)]}
    told |= {"line 3 has 2 fields": [(read, REPORTS + "a,Clear,Normal.\nb,Emphysema of both up\n")]}
    told |= {"line 2 has 3 fields": [(partial(rad_chestct.read_labels, sources={"N": ["nodule"]}), rad)]}
    refuses(DataError, lambda given: given[0](put(tmp_path / "t.csv", given[1])), told, "t.csv, line", "fetch it again")
    quoted = put(tmp_path / "q.csv", REPORTS + first.replace("Small", '"Small').replace("clear,", 'clear",'))
    assert ct_rate.read_reports(quoted).loc["a", "Findings_EN"] == "Small nodule in the left lobe, rest clear"


def test_volumes_without_a_report_share_none(tmp_path):
    names = [name.replace("valid", "train") for name in NAMES[:5]]
    said = ["Emphysema in both upper lobes.,Emphysema.", ",", "   ,", ",\u00a0\t", ",Normal."]
    rows = [f"{name},{text}\n" for name, text in zip(names, said, strict=True)]
    path = put(ct_rate.reports_path(tmp_path, "train"), REPORTS + "".join(rows))
    with pytest.warns(UserWarning, match=r"hence left out: 3 volumes: train_2_a_1\.nii\.gz, train_3"):
        found = ct_rate.images_by_report(ct_rate.read_reports(path))
    assert found == {"Emphysema in both upper lobes. Emphysema.": [names[0]], "Normal.": [names[4]]}
    with pytest.warns(UserWarning, match="neither findings nor impression"):
        prepare.summarise_by_rule(tmp_path, tree=tmp_path, split="train")
    written = ct_rate.read_training_json(tmp_path / "training.json")["train"]
    assert {text: entry["images"] for text, entry in written.items()} == found
    write_json(tmp_path / "b.json", {"train": {" ": {"images": names[:1], "processed_report": ["There is no lesion"]}}})
    told = {"is blank, so its volumes share no report; take it out": [tmp_path / "b.json"]}
    refuses(DataError, ct_rate.read_training_json, told, "b.json, train, report")


def test_a_rescale_that_was_applied_already_is_not_applied_again(tmp_path):
    hu = np.full((24, 24, 16), -1000)
    hu[3:21, 3:21], hu[6:11, 6:18], hu[13:18, 6:18], hu[11:13, 11:13] = 40, -800, -820, 700
    hu += np.random.default_rng(0).integers(-15, 15, hu.shape)
    padded = np.where(np.indices(hu.shape)[0] < 2, -3024, hu)
    kinds = [(hu + 1024, 1, -1024), (hu + 8192, 1, -8192), (hu // 2 + 600, 2, -1200), (hu, 1, -1024), (hu, 1, -8192)]
    metadata = faults.write_tree(tmp_path, dict(zip(NAMES, [*kinds, (padded, 1, -1024)], strict=True)))
    for name, truth in zip(NAMES, [hu, hu, hu // 2 * 2, hu, hu, padded], strict=True):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            found = ct_rate.load_volume(tmp_path, name, metadata[name], target_spacing=(2, 2, 2), shape=hu.shape)
        assert np.array_equal(found, truth.clip(-1000, 1000)), name
        assert [f"{name} is in HU already" in str(one.message) for one in seen] == [True] * (name in NAMES[3:]), name


def test_a_volume_that_holds_no_ct_numbers_is_refused_before_any_arithmetic(tmp_path):
    def load(array):
        put(path, gzip.compress(nibabel.Nifti1Image(array, np.eye(4)).to_bytes()))
        return ct_rate.load_volume(tmp_path, NAMES[0], geometry, **GRID)

    path, colour = ct_rate.volume_path(tmp_path, NAMES[0]), np.zeros((8, 8, 8), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    shapes = [np.ones(shape, np.int16) for shape in ((8, 8, 8, 1), (8, 8, 4, 3), (8, 8))]
    told = {"are not CT numbers; export the file as int16": [colour, np.ones((8, 8, 8), np.complex64)]}
    for intercept in (-1024, 0):
        geometry = Geometry((2, 2, 2), 1, intercept)
        refuses(DataError, load, told | {"is not a volume (X, Y, Z); export one 3D series": shapes}, str(path))


def test_a_volume_that_lies_otherwise_is_named(tmp_path):
    """Nothing is turned, as in the paper, so whoever mixes orientations must be told."""
    hu = np.full((8, 8, 8), -900)
    hu[1, 2, 6] = 900
    for turned in ("[-1, 0, 0, 0, 1, 0]", "[1, 0, 0, 0, 0, -1]", ""):
        with pytest.warns(UserWarning, match=r"no volume is turned, in 1 volumes: valid_1_a_1\.nii\.gz"):
            faults.write_tree(tmp_path, {NAMES[0]: (hu, 1, 0)}, ImageOrientationPatient=turned)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tilted = "[0.99, 0.1, 0, 0, 0.98, -0.17]"
        geometry = faults.write_tree(tmp_path, {NAMES[0]: (hu, 1, 0)}, ImageOrientationPatient=tilted)[NAMES[0]]
        assert np.argwhere(ct_rate.load_volume(tmp_path, NAMES[0], geometry, **GRID) == 900).tolist() == [[1, 2, 6]]
    image = nibabel.Nifti1Image(hu[::-1, :, ::-1].astype(np.int16), np.diag([2.0, -2, -2, 1]))
    put(ct_rate.volume_path(tmp_path, NAMES[0]), gzip.compress(image.to_bytes()))
    with pytest.warns(UserWarning, match=r"valid_1_a_1\.nii\.gz: its header says axes RPI, its metadata LPS"):
        assert ct_rate.load_volume(tmp_path, NAMES[0], geometry, **GRID)[6, 2, 1] == 900  # as stored


def test_a_checkout_in_a_folder_that_a_shell_would_split_is_quoted(notebook, monkeypatch):
    """Plan and command line; the whole run: ``test_under_a_path_that_a_shell_would_split...`` in workflow/test_run.py."""
    (one,) = jobs.plan(jobs.select("mini"))
    assert (one["notebook"], one["output"]) == ("notebooks/toy/tab_a.ipynb", "runs/mini/toy/tab_a.ipynb")
    said, started = {}, Names(run=lambda words, **how: said.update(how, words=words) or Names(returncode=0))
    monkeypatch.setattr(commands, "subprocess", started)
    assert main(["run"]) == 0 and said["cwd"] == paths.ROOT
    plan = next(word.removeprefix("plan=") for word in said["words"] if word.startswith("plan="))
    assert jobs.read_plan({"plan": yaml.safe_load(plan)}) == [one]  # Snakemake reads it as YAML
    snakefile = (Path(jobs.__file__).parents[2] / "Snakefile").read_text()
    for python in (str(paths.ROOT / "bin/python"), "/my project/python", "/usr/bin/python3"):
        names = {"shlex": shlex, "sys": Names(executable=python)}
        exec(re.search("^PYTHON = .*", snakefile, flags=re.MULTILINE)[0], names)
        assert shlex.split(names["PYTHON"].format()) == [python]  # Snakemake formats it, the shell splits it


def test_without_a_home_caches_go_below_runs_and_a_failure_has_a_reason(notebook, monkeypatch, capsys):
    """The places chosen; the whole run: ``test_under_a_path..._and_without_a_home`` in workflow/test_run.py."""
    kept, below = str(paths.ROOT / "cache"), {name: str(paths.RUNS / "home" / own) for name, own in paths._HOME.items()}
    a_file = put(paths.ROOT / "a_file", "")
    for home, expected in {"/proc/nohome": below, a_file: below, paths.ROOT: dict.fromkeys(below)}.items():
        with patch.dict(os.environ, {"HOME": str(home)}):
            for name in below:
                os.environ.pop(name, None)
            os.environ["XDG_CACHE_HOME"] = kept
            paths.caches_without_home()
            assert {name: os.environ.get(name) for name in below} == expected | {"XDG_CACHE_HOME": kept}
    why = b"FileNotFoundError: '/proc/nohome'\n"
    failing = Names(run=lambda _, stderr, **__: stderr.write(why) and Names(returncode=1))
    monkeypatch.setattr(commands, "subprocess", failing)
    assert main(["run"]) == 1
    said = capsys.readouterr().err
    assert "Snakemake's last lines:\nFileNotFoundError: '/proc/nohome'" in said and "Not finished: toy/tab_a" in said


def test_an_output_that_cannot_be_or_that_is_the_source_is_refused_before_any_work(notebook, monkeypatch, capsys):
    faults.replace_papermill(monkeypatch, lambda _: pytest.fail("the notebook was run"))
    mine, before = put(paths.RUNS / "mine/file", "").parent, notebook.read_bytes()
    (mine / "folder.ipynb").mkdir()
    for output, sentence in {
        mine: "is no name of a notebook; give a file that ends in .ipynb",
        mine / "folder.ipynb": "is no name of a notebook",
        notebook: "would overwrite what is run; name one elsewhere",
        notebook.with_name("tab_b.ipynb"): "would overwrite what is run",
        mine / "file/x.ipynb": "runs/mine/file: File exists; name another place",
    }.items():
        assert main(["execute", "toy/tab_a", "-p", "seeds=3", "--output", str(output)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: the output ") and sentence in said and said.count("\n") == 1
    assert notebook.read_bytes() == before and {one.name for one in mine.iterdir()} == {"file", "folder.ipynb"}


def test_runs_at_once_have_temporary_names_of_their_own(notebook, monkeypatch):
    """Runs within runs; four real ones: ``test_two_at_once_to_one_output_both_end_whole`` in workflow/test_run.py."""
    outputs = [paths.RUNS / "twice" / name for name in ("e.ipynb", "e.ipynb", "e.1.ipynb", "e.2.ipynb")]
    temporary = []

    def start(settings=None):
        temporary.extend([settings["output"]] if settings else [])
        if (number := len(temporary)) < 4:
            monkeypatch.setattr(os, "getpid", os.getppid if number else os.getpid)
            runner.execute(notebook, given={"seeds": 3 + number}, output=outputs[number])

    faults.replace_papermill(monkeypatch, start)
    start()
    assert len(set(temporary)) == 4 and all(name.endswith(".running.ipynb") for name in temporary)
    assert {one.name for one in outputs[0].parent.iterdir()} == {one.name for one in outputs}


def test_a_parameter_of_another_form_is_named_before_a_kernel_starts(capsys):
    def check(given, notebook: str = "long_context/fig_published"):
        return runner.check_parameters(paths.NOTEBOOKS / f"{notebook}.ipynb", given)

    told = {"'other_items' must be list like": [{"other_items": (300, 11200)}, {"other_items": [300, "11200"]}]}
    told |= {"'items' must be int like": [{"items": 2400.0}, {"items": True}], "1 or more, not -5": [{"items": -5}]}
    told |= {"has no parameter 'itms'; did you mean 'items'?": [{"itms": 5}]}
    refuses(NotebookError, check, told, "fig_published.ipynb")
    told = {"'grids' must be list like": [({"grids": [(40, 40, 15)]}, "brgsa/tab_input_resolution")]}
    told |= {"is quoted twice: -p \"brgsa_root='...'\"": [({"brgsa_root": 2024}, "brgsa/tab_released_scores")]}
    refuses(NotebookError, lambda given: check(*given), told, "notebooks/brgsa/tab_")
    assert check({"items": 2401, "other_items": [300]}) == {"items": 2401, "other_items": [300]}
    for word, sentence in {"items": "-p takes NAME=VALUE, not 'items'", "x=caf\udce9": "is not UTF-8 text"}.items():
        assert main(["execute", "long_context/fig_published", "-p", word]) == 2 and sentence in capsys.readouterr().err


def test_a_value_outside_the_choices_is_named_with_them_before_anything_is_built():
    built, page, gap = [], "explore_embeddings", "brgsa/fig_modality_gap"
    told = {"'picture' is 'tsne'; choose from umap, pca": [(page, {"picture": "tsne"}), (gap, {"picture": "tsne"})]}
    told |= {"'arm' is 'ful'; did you mean 'full'? choose from full, nce": [(page, {"arm": "ful"})]}
    told |= {"mean 'Cardiomegaly'?": [(page, {"colour": "Cardiomegali"})], "6 to 2000": [(page, {"points": 0})]}
    told |= {"did you mean 'summaries'? choose from": [(gap, {"text": "summary"})]}
    refuses(SessionError, lambda given: faults.begin(*given, built.append), told, "parameter '")
    assert not built
    with pytest.raises(AttributeError):  # nothing was prepared whose volumes it could count
        faults.begin(page, {"picture": "pca", "arm": "nce", "points": 6}, built.append)
    assert built == ["a run"]


@pytest.mark.slow
def test_rows_without_direction_are_refused_and_few_or_equal_ones_are_placed(monkeypatch):
    """What UMAP is given, which takes long to start: its own pictures are in lib/evaluation/test_modality_gap.py."""
    seen, placed = [], Names(fit_transform=lambda values: values[:, :2])
    monkeypatch.setitem(sys.modules, "umap", Names(UMAP=lambda n_neighbors, **_: seen.append(n_neighbors) or placed))
    place, rows = partial(umap_embedding, seed=0), np.random.default_rng(0).normal(size=(40, 8))
    zero, unknown, long = rows.copy(), rows.copy(), rows.copy()
    zero[7], unknown[3, 2], long[5] = 0, np.nan, 1e300
    told = {"vectors[7] is a zero": [zero], "vectors[3, 2] is nan": [unknown], "vectors[5] is": [long]}
    for embed in (place, pca_embedding):
        refuses(EvaluationError, embed, told, "drop")
        for values in (np.tile(rows[:1], (40, 1)), np.repeat(rows[:7], 20, axis=0), rows[[0, 0, 1, 1, 2, 3]], rows[:5]):
            assert np.isfinite(embed(values)).all()
    refuses(EvaluationError, place, {"has 4 rows; a UMAP needs at least 5: use pca_embedding": [rows[:4]]})
    assert seen == [15, 15, 5, 4]  # fewer than rows, and never one


def test_what_a_report_holds_stays_text_on_the_page_of_embeddings(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)> $$x$$ @{c0} {safe}"
    page = export_html(faults.explorer("report", evil, title=evil), tmp_path / "a.html", title=evil).read_text()
    assert "<script>alert(1)" not in page and "<img src=x" not in page and "onerror=alert(2)" in page
    told = {"row 1 of column 'report' holds half a surrogate": [("report", f"cut {HALF} here", 1)]}
    told |= {"row 0 of column 'group' holds": [("group", HALF)], "title holds": [("report", "fine", 0, "group", HALF)]}
    told |= {"row 3 of column 'x' is nan; drop that row": [("x", np.nan, 3)]}
    refuses(ExplorerError, lambda given: faults.explorer(*given), told)
    told, page = {"title holds half": [HALF]}, faults.explorer("y", 2)
    refuses(ExplorerError, lambda title: export_html(page, tmp_path / "b.html", title=title), told)
    for given in (("report", "word " * 400_000), ("report", ["a", "list"]), ("score", np.inf, 3, "score")):
        columns = faults.explorer(*given).view["columns"]
        shown = given[1] if given[0] == "score" else str(given[1])
        assert any(shown in (one["levels"] if "levels" in one else unpacked(one["values"])) for one in columns)


def test_a_repeated_key_or_half_a_character_is_refused_and_never_written(tmp_path):
    exam, alpaca = json.dumps([faults.question_row()]), '[{"instruction": "Say", "input": "", "output": "a"}]'
    twice, key = exam.replace('"Answer-choice"', '"Answer-choice": "B", "Answer-choice"'), "Question-choice"
    shared = '{"conversation": [{"human": "a", "human": "b", "assistant": "c"}]}'
    told = {
        "row 1 has the key 'Answer-choice' more than once": [(med_mat.read_records, twice)],
        f"row 1: '{key}' holds half": [(med_mat.read_records, exam.replace("What?", "\\ud83d?"))],
        "row 1 has the key 'output' more": [(instructions.read_alpaca, alpaca.replace("}", ', "output": "b"}'))],
        "row 1: 'instruction' holds half": [(instructions.read_alpaca, alpaca.replace("Say", "\\ud83d"))],
        "a number has thousands of digits": [(instructions.read_alpaca, alpaca.replace('"Say"', "9" * 5000))],
        "row 1 has the key 'A' more": [(cmb.read_items, '[{"option": {"A": "x", "B": "y", "A": "z"}}]')],
        "line 1 has the key 'human' more": [(instructions.read_sharegpt, shared)],
    }
    refuses(DataError, lambda given: given[0](put(tmp_path / "r.json", given[1])), told, "r.json")
    (good,) = med_mat.read_records(put(tmp_path / "good.json", exam))
    told = {"cannot hold half of a surrogate pair, which is no character; remove it": [replace(good, caption=HALF)]}
    refuses(DataError, lambda one: med_mat.write_records(tmp_path / "no.json", [one]), told, "no.json")
    assert not (tmp_path / "no.json").exists() and good.answer_choice == "A"


@pytest.mark.slow
def test_a_checkpoint_without_a_chat_template_is_told_where_one_is_used(base, tmp_path):
    bare = faults.without(tmp_path / "bare", base[0], "chat_template")
    rows = put(tmp_path / "rows.jsonl", json.dumps(instructions.dialogue([("what grows here ?", "mint grows .")])))
    fit = {"rows": rows, "batch": 1, "learning_rate": 1e-3, "max_length": 32, "steps": 1}
    told = {"the chat template cannot write a dialogue (it has none); give a chat_template": [bare]}
    refuses(sft.TrainingError, lambda checkpoint: sft.finetune(tmp_path, checkpoint=checkpoint, **fit), told)
    questions, how = [Question("plants", 0, "what grows ?", WORDS[:4], "A")], {"exemplars": [], "topic": "plants"}
    ask = partial(exam_prompts.encode_prompts, questions, wording=exam_prompts.ENGLISH, chat=True, **how)
    tokenizer, named = causal_lm.load(bare)[1], causal_lm.load(bare, chat_template="plain")[1]
    refuses(EvaluationError, ask, {"no chat template; give a chat checkpoint, or ask in plain form": [tokenizer]})
    assert tokenizer.decode(ask(tokenizer, chat=False)[0]).endswith("D. four\nAnswer:")
    assert ask(named) == ask(base[2])


@pytest.mark.slow
def test_questions_of_two_to_seven_options_are_asked_and_read(base):
    def ask(number: int) -> str:
        return exam_prompts.ask(Question("x", 0, "Which?", WORDS[:number], "A"), exam_prompts.ENGLISH)

    for number in (2, 3, 5, 7):
        lettered = [f"{letter}. {text}" for letter, text in zip("ABCDEFG"[:number], WORDS, strict=False)]
        assert ask(number) == "\n".join(["Which?", *lettered, "Answer: "])
        assert len(set(exam_prompts.letter_ids(base[2], before=" ", options=number))) == number
    refuses(EvaluationError, ask, {"has 2 to 7 options, not": [0, 1, 8]}, "correct it or take it out")
    answers = {"E": "E", "The answer is E.": "E", "Answer: A or E": None, "It must be femoral.": "", "Answer: G": "G"}
    assert {reply: strict_letters(reply, multiple=False) for reply in answers} == answers


def test_a_reply_gives_the_letters_it_settles_on_or_none():
    single = {
        "the answer is b": "B", "Answer: b": "B", "answer: c.": "C", "The answer is **B**.": "B", "Antwort: C": "C",
        "The answer is B because a car moves.": "B", "I would pick B - a safe choice.": "B", "ANSWER: $A$": "A",
        r"\boxed{\text{D}}": "D", "答案：Ｂ": "B", "答案是b": "B", "d": "D", "b. 4": "B", "(c) a bird": "C", "Ｂ": "B",
        "Answer seems to be A.": "A", "Option A is wrong. The answer is C.": "C", "A dog, so B": "B", "排除A，选C": "C",
        "The correct choice is (B), not (A).": "B", "Answer: A\n...\nWait. Answer: B": "B", "Either B or D": None,
        "The answer is B. Note that A is a distractor.": "B", "The answer is A or C": None, "The answer is not A.": "",
        "A dog.": "", "Answer: B. Correction: the answer is D.": "D", "The correct options are A and C.": None,
    }  # fmt: skip
    assert {reply: strict_letters(reply, multiple=False) for reply in single} == single
    several = {"abc": "ABC", "A、C": "AC", "The correct options are A and C.": "AC", "A or C": None, "ABD。": "ABD"}
    assert {reply: strict_letters(reply, multiple=True) for reply in several} == several


def test_a_picture_is_upright_and_of_finite_pixels_or_refused(tmp_path):
    read = partial(faults.picture, tmp_path)
    red, exif, odd = np.zeros((20, 40, 3), np.uint8), Image.Exif(), np.linspace(0, 1, 192).reshape(3, 8, 8)
    red[:, :10], exif[0x0112], odd[:, 0, 0] = (250, 20, 20), 6, (np.nan, np.inf, -np.inf)  # 6: a telephone held upright
    upright = read("phone.jpg", Image.fromarray(red), exif=exif, quality=95)
    assert upright.shape == (40, 20, 3) and upright[:8, :, 0].min() > 200 and upright[14:, :, 0].max() < 60
    told = {"1 pixels that are NaN or infinite; mend": [("f.tif", Image.fromarray(one)) for one in np.float32(odd)]}
    told |= {"is not an image": [("x.png", Names(save=lambda path: path.write_bytes(b"\0" * 128 + b"DICM")))]}
    refuses(DataError, lambda given: read(*given), told, str(tmp_path / "med-mat"))
    grey = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (7, 200, 90)]
    told = {"holds 3 frames; save the one": ["pages.tif", "moves.gif"]}
    refuses(DataError, lambda name: read(name, grey[0], save_all=True, append_images=grey[1:]), told, str(tmp_path))
    deep = read("deep.png", Image.fromarray((np.arange(64).reshape(8, 8) * 1000).astype(np.uint16)))
    assert deep.dtype == np.uint8 and (deep.min(), deep.max()) == (0, 255)
    assert read("ink.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)))[0, 0, 0] > 200
    assert read("clear.png", Image.new("RGBA", (8, 8), (255, 255, 255, 0))).shape == (8, 8, 3)


def test_labels_that_cannot_be_scored_are_named_and_a_class_without_a_positive_has_no_auc():
    scores, labels = np.random.default_rng(0).random((6, 2)), np.array([[1, 0], [0, 0]] * 3)
    auc = classification.auc_per_class(labels, scores)
    assert auc[0] == np.mean(scores[::2, :1] > scores[1::2, 0]) and np.isnan(auc[1])
    uncertain, unknown, endless = labels.copy(), scores.copy(), scores.copy()
    uncertain[1, 1], unknown[2, 0], endless[4, 1] = -1, np.nan, np.inf
    blank = pd.DataFrame({"a": pd.array([1, None, 0, 1, 0, 1], dtype="Int64")})
    told = {"labels[1, 1] is -1.0; labels must be 0 or 1: map or drop it": [(uncertain, scores)]}
    told |= {"labels[1, 0] is nan": [(blank, scores[:, :1])], "scores[2, 0] is nan; drop": [(labels, unknown)]}
    told |= {"scores[4, 1] is inf": [(labels, endless)], "have no rows": [(np.zeros((0, 2)), np.zeros((0, 2)))]}
    told |= {"not numbers in equal": [([["yes"], ["no"], ["yes"]], scores[:3, :1]), ([[1, 0], [1]], scores[:2])]}
    told |= {"an array with 2 axes is needed: reshape": [([1, 0, 1], [0.1, 0.2, 0.3])]}
    refuses(EvaluationError, lambda given: classification.auc_per_class(*given), told)


def test_a_prompt_longer_than_the_context_is_named_before_it_is_scored(base):
    _, model, tokenizer = base
    asked = [Question("x", i, "what grows here ? " * 6, WORDS[:4], "ABCD"[i % 4]) for i in range(9)]
    given = {"exemplars": asked[:5], "topic": "plants", "wording": exam_prompts.ENGLISH, "chat": True}
    long = exam_prompts.encode_prompts(asked[5:], tokenizer, **given)
    full, letters = [long[0][:64]], exam_prompts.letter_ids(tokenizer, before=" ")  # `full` has as many as fit
    told = {f"prompt 0 has {len(long[0])} tokens": [long], "prompt 0 has 64 tokens and its reply 1": [full]}
    more = "more than the 64 positions of the model; give fewer exemplars"
    refuses(EvaluationError, partial(scoring.generate, model, end=tokenizer.eos_token_id, longest=1), told, more)
    refuses(EvaluationError, lambda many: scoring.option_likelihood(model, many, [[[7], [8]]] * len(many)), told, more)
    told.popitem()
    refuses(EvaluationError, lambda prompts: scoring.option_logits(model, prompts, letters=letters), told)
    assert scoring.option_logits(model, full, letters=letters).shape == (1, 4)
    told = {"max_length 65 exceeds the 64 positions of the model; lower it": [65]}
    refuses(sft.TrainingError, lambda length: chat_encoding.check_positions(model, length), told)


def test_damaged_training_rows_are_named_by_their_line(base, tmp_path):
    row, path = instructions.dialogue([("hi", "hello \u2028 mint")]), tmp_path / "r.jsonl"
    turn = {"conversation": [{"human": "hi", "assistant": "hello \u2028 mint"}]}
    for read, record in ((instructions.read_sharegpt, turn), (chat_encoding.read_rows, row)):
        good = json.dumps(record, ensure_ascii=False)
        for content in (good, f"\ufeff{good}\n", f"{good}\r\n" * 3):
            assert read(put(path, content)) == [row] * content.count("hi")
        told = {"line 2 is not JSON": [f"{good}\n{good[:30]}"], "line 2 is blank; every": [f"{good}\n\n{good}"]}
        told |= {"is not a text file in UTF-8": [good.encode().replace(b"hi", b"h\xe9"), good.encode("utf-16")]}
        told |= {"line 1": ["[1]\n", '"x"', '{"conversation": [{"human": "hi"}]}']}
        refuses(DataError, lambda content, read=read: read(put(path, content)), told, "r.jsonl")
        refuses(DataError, read, {"nowhere.jsonl does not exist": [tmp_path / "nowhere.jsonl"]})
    user, answer = row["messages"]
    part, asked = {"type": "text", "text": "hi"}, {"from": "human", "value": "hi"}
    odd = {
        "a list, not text": [[user | {"content": [part]}, answer]],
        "2 is blank": [[user, answer | {"content": " "}]],
    }
    nameless = [[{"content": "hi"}, answer], [asked, answer]]
    odd |= {"a NoneType, not": [[user | {"content": None}, answer]], "1 lacks 'role'": nameless}
    odd |= {"has no answer, or other turns than user and assistant": [[user | {"role": "system"}, answer], [user]]}
    told = {sentence: [{"messages": said} for said in many] for sentence, many in odd.items()}
    told |= {"'content' is a int, not text": [{"text": 7}], "half of a surrogate pair": [{"text": f"hi {HALF}"}]}
    lines, tokenizer = f"{json.dumps(row)}\n", base[2]
    refuses(DataError, lambda one: chat_encoding.read_rows(put(path, lines + json.dumps(one))), told, "r.jsonl, line 2")
    refuses(DataError, lambda one: chat_encoding.encode([row, one], tokenizer, max_length=9), told, "row 1")


def test_padding_by_the_end_token_leaves_every_answer_its_end(base, tmp_path):
    tokenizer = causal_lm.load(faults.without(tmp_path / "no_pad", base[0], "pad_token"))[1]
    end = tokenizer.eos_token_id
    assert tokenizer.pad_token_id == end == base[2].eos_token_id != base[2].pad_token_id
    turns = [[("what grows here ?", "mint")], [("what grows ?", "mint grows here ."), ("hi", "hello")]]
    made = chat_encoding.encode(list(map(instructions.dialogue, turns)), tokenizer, max_length=32)
    rows = [{"input_ids": ids, "labels": own} for ids, own in zip(made.input_ids, made.labels, strict=True)]
    batch, (short, long) = sft.collate(rows, pad=end), map(len, made.input_ids)
    assert batch["attention_mask"].sum(dim=1).tolist() == [short, long] and short < long
    assert (batch["labels"] == end).sum(dim=1).tolist() == [1, 2]  # each answer's own, none of the padding
    assert (batch["labels"][0, short:] == chat_encoding.IGNORED).all() and (batch["input_ids"][0, short:] == end).all()
    neither = faults.without(tmp_path / "neither", base[0], "pad_token", "eos_token")
    refuses(ModelError, causal_lm.load, {"neither has no eos_token": [neither]}, "name one in tokenizer_config.json")


@pytest.mark.slow
def test_an_adapter_on_tied_layers_is_kept_or_refused_and_wrong_keys_are_named(base, tmp_path):
    rows = put(tmp_path / "rows.jsonl", json.dumps(instructions.dialogue([("what grows here ?", "mint")])))
    fit = {"checkpoint": base[0], "rows": rows, "batch": 1, "learning_rate": 5e-2, "max_length": 32, "steps": 2}
    ids = base[2]("what grows", return_tensors="pt")["input_ids"]
    for layer in ("q_proj", "embed_tokens"):
        (tmp_path / layer).mkdir()
        sft.finetune(tmp_path / layer, **fit, lora={"rank": 2, "targets": [layer]})
        tuned = causal_lm.load(base[0], adapter=tmp_path / layer)[0]
        assert (tuned(ids).logits - base[1](ids).logits).abs().max() > 1e-6
    told = {"the model has no 'c_attn' for lora; give": [{"targets": ["c_attn"]}, {"targets": ["q_proj", "c_attn"]}]}
    told |= {"cannot be set up": [{"targets": ["lm_head"]}], "a whole rank": [{"targets": ["q_proj"], "rank": 0}]}
    told |= {"unknown key 'targets'; its keys are rank, targets": [{"targetts": ["q_proj"]}]}
    refuses(sft.TrainingError, lambda lora: sft.finetune(tmp_path, **fit, lora={"rank": 2} | lora), told)


def test_cells_of_an_exam_stay_as_they_are_or_are_named(tmp_path):
    read = partial(faults.exam_rows, tmp_path)
    quoted = '"Line one\nline two, still",a,b,c,d,B\nQ?,"5\' 3""",a,"x,y",d,D\n'
    assert read(quoted) == [("Line one\nline two, still", *"abcdB"), ("Q?", "5' 3\"", "a", "x,y", "d", "D")]
    assert read("Q?,None,NA,nan,null,C\n") == [("Q?", "None", "NA", "nan", "null", "C")]
    assert read("Q?,a,b,c,d,B\r\nR?,a,b,c,d,C\r\n") == [("Q?", *"abcdB"), ("R?", *"abcdC")]
    odd = [f"Q?,a,b,c,d,{answer}\n" for answer in ("b", "Ｂ", " B", "")]
    told = {"; it must be A, B, C or D": odd, "1 has an empty question or option": ["Q?,a,,c,d,B\n"]}
    told |= {"1 has 5 cells where 6": ["Q?,a,b,c,d\n"], "1 has 7 cells where 6": ["Q?,a,b,c,d,e,E\n"]}
    refuses(DataError, read, told | {"2 has 0": ["Q?,a,b,c,d,B\n\n"]}, "mmlu.zip, data/test/anatomy_test.csv, quest")
    told = {"anatomy_test.csv is not a CSV table in UTF-8": ['Q?,"a,b,c,d,B\n', "问?,a,b,c,d,B\n".encode("gbk")]}
    refuses(DataError, read, told, "fetch it again")


def test_options_inside_a_question_are_found_whole_or_the_row_is_refused(tmp_path):
    firsts = ("What?", "Q: what is seen?", "T. solium cyst or not?", "A. fumigatus is seen where?", "B. cepacia?")
    read = partial(faults.options, tmp_path / "s.json")
    for first, end in ((first, end) for first in firsts for end in ("\n", "\r\n")):
        turned = [([first, "A: yes", "B: no"], 0), ([first, "A: no", "B: yes"], 1)]
        assert read(end.join(turned[0][0])) == ({"A": "yes", "B": "no"}, turned)
    options, turned = read("What?\nA: cyst\n(benign)\nB: tumour\n(malignant)", "B")
    assert options == {"A": "cyst (benign)", "B": "tumour (malignant)"}
    assert turned[1] == (["What?", "A: tumour", "(malignant)", "B: cyst", "(benign)"], 0)
    odd = ["A) yes/B) no", "(A) yes/(B) no", "a: yes/b: no", "A：yes/B：no", "A: a/C: c"]
    told = {"the options are lettered '": ["What? A: a B: b", *("What?\n" + one.replace("/", "\n") for one in odd)]}
    refuses(DataError, read, told, "s.json, row 1 ", "write two or more lines 'A: text', 'B: text'")
    told = {"answers 'A: yes', which is none of its options A, B; correct": ["A: yes"], "answers 'C'": ["C"]}
    refuses(DataError, lambda answer: read("What?\nA: yes\nB: no", answer), told, "s.json, row 1 ")


def test_spacings_and_rescales_are_numbers_in_mm_or_named(tmp_path):
    for xy in ("[0.7, 0.7]", "['0.7', '0.7']", "(0.7, 0.7)"):
        assert faults.geometry(tmp_path / "m.csv", NAMES[0], xy=xy) == Geometry((0.7, 0.7, 1.5), 1.0, -1024.0)
    odd = [{"xy": xy} for xy in ("", "[0.7 0.7]", "0.7\\0.7", "0.7", "{0.7, 0.8}", "[" * 3000, "[nan, 0.7]")]
    odd += [{"z": ""}, {"slope": ""}, {"intercept": "1_024"}]
    told = {"are not spacings in mm and a rescale; write them like": odd, "slope not 0; fix": [{"slope": "0"}]}
    told |= {"must be three positive finite numbers in mm; correct": [{"z": "-1.5"}, {"z": "0"}, {"z": "inf"}]}
    refuses(DataError, lambda cells: faults.geometry(tmp_path / "m.csv", NAMES[0], **cells), told, "m.csv", NAMES[0])
    table = f"{REPORTS}a,é,y\n"
    excel = put(tmp_path / "excel.csv", f"\ufeff{table}".replace("\n", "\r\n"))
    assert ct_rate.read_reports(excel).loc["a"].tolist() == ["é", "y"]
    told = {"lacks column 'VolumeName' (it has": [table.replace("VolumeName", "AccessionNo"), table.replace(",", ";")]}
    told |= {"is not a CSV table in UTF-8": [table.encode("latin-1")]}
    refuses(DataError, lambda content: ct_rate.read_reports(put(tmp_path / "r.csv", content)), told, "r.csv")


def test_the_kernel_is_this_interpreter_whatever_python3_points_to(notebook, tmp_path, monkeypatch):
    """What papermill is given; a real kernel: ``test_a_foreign_python3_is_not_used`` in workflow/test_execute.py."""
    given = []
    faults.replace_papermill(monkeypatch, lambda settings: given.append(settings["kernel_manager_class"]))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    for variable in ("JUPYTER_DATA_DIR", "JUPYTER_PATH"):
        put(tmp_path / variable / "kernels/python3/kernel.json", '{"argv": ["/bin/false"], "display_name": "Python 3"}')
        monkeypatch.setenv(variable, str(tmp_path / variable))
        assert KernelSpecManager().get_kernel_spec("python3").argv[0] == "/bin/false"
        runner.execute(notebook)
        assert given[-1](kernel_name="python3").kernel_spec.argv[0] == sys.executable
