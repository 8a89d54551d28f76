"""What arms are tuned on and asked: held-out prompts stay out, draws depend on their seed, files and world give one form."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib.data.exams import FOLDERS
from lib.data.files import DataError
from lib.data.instructions import dialogue, turns_of, write_alpaca
from lib.models import causal_lm
from papers.aurora import artefacts, material
from papers.aurora.exam_sample import sample_exams
from papers.aurora.measures import _exam, measure_model
from papers.aurora.world import make_world

RULES = {"complete_after": 12, "least_cjk": None, "exact": True, "near": None}


@pytest.fixture
def chat(tmp_path):
    """Alpaca files in English and in Chinese with 200 prompts each, one of them far too long."""
    for name, say in {"en": "Tell me of number {}.", "zh": "请说说第{}个。"}.items():
        rows = [dialogue([(say.format(i), say.format(i) * (1 + 40 * (i == 7)))]) for i in range(200)]
        write_alpaca(tmp_path / f"{name}.json", rows, history=False)
    return tmp_path


def read(path):
    return [turns_of(json.loads(line))[1][0] for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_are_drawn_by_the_seed_and_no_prompt_is_both_trained_on_and_asked(chat, tmp_path):
    drawn = []
    for seed in (0, 0, 1):
        material.draw_rows(tmp_path, paths=[chat / "zh.json"], rules=RULES, count=150, longest=90, seed=seed)
        drawn.append(read(tmp_path / "rows.jsonl"))
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 150
    material.hold_prompts(tmp_path, paths={"A": [chat / "en.json"], "B": [chat / "zh.json"]}, count=8, longest=90)
    asked = json.loads((tmp_path / "prompts.json").read_text(encoding="utf-8"))
    assert {language: len(found) for language, found in asked.items()} == {"A": 8, "B": 8}
    held = {one["prompt"] for one in asked["B"]}
    assert len(held) == 8 and not held & {prompt for rows in drawn for prompt, _ in rows}
    assert all(one["reference"] == one["prompt"] for one in asked["B"]) and "请说说第7个。" not in held


def test_too_few_rows_or_prompts_are_told(chat, tmp_path):
    with pytest.raises(DataError, match=r"zh\.json have \d+ such rows, 500 are asked for"):
        material.draw_rows(tmp_path, paths=[chat / "zh.json"], rules=RULES, count=500, longest=90, seed=0)
    with pytest.raises(DataError, match=r"en\.json hold \d+ prompts out, 90 are asked for"):
        material.hold_prompts(tmp_path, paths={"A": [chat / "en.json"]}, count=90, longest=90)


def test_cleaning_applies_to_files_too(chat, tmp_path):
    with pytest.raises(DataError, match="have 0 such rows"):
        material.draw_rows(
            tmp_path, paths=[chat / "en.json"], rules=RULES | {"least_cjk": 0.3}, count=1, longest=90, seed=0
        )


def test_one_measure_reads_prompts_of_a_world_and_of_files(chat, tmp_path):
    made = make_world(seed=0, entities=8)
    material.write_prompts(tmp_path, world={"seed": 0, "entities": 8})
    world = json.loads((tmp_path / "prompts.json").read_text(encoding="utf-8"))
    texts = [one[key] for found in world.values() for one in found for key in ("prompt", "reference")]
    (tmp_path / "base").mkdir()
    causal_lm.write_checkpoint(
        tmp_path / "base", texts=[*texts, "Tell me of number 1 请说第个。"], chat_template="chatml", architecture="llama",
        width=16, depth=1,
    )  # fmt: skip
    how = {
        "base": tmp_path / "base",
        "adapter": None,
        "longest": 4,
        "batch": 8,
        "quantisation": None,
    }
    measure_model(tmp_path, prompts=tmp_path / "prompts.json", **how)
    found = json.loads((tmp_path / "measured.json").read_text(encoding="utf-8"))
    assert set(found["correct"]) == {"A", "B, told in B", "B, told in A only"} and found["usage"] == {}
    assert len(found["replies"]["B"]) == 2 * len(made.select(examined=True))
    material.hold_prompts(tmp_path, paths={"A": [chat / "en.json"], "B": [chat / "zh.json"]}, count=4, longest=90)
    measure_model(tmp_path, prompts=tmp_path / "prompts.json", **how)
    found = json.loads((tmp_path / "measured.json").read_text(encoding="utf-8"))
    assert found["correct"] == {} and 0 <= found["letters"]["B"] <= 1 and len(found["replies"]["A"]) == 4


def test_the_profile_says_which_material(monkeypatch):
    run = SimpleNamespace(settings={"files": {"rows": 3, "prompts": 2}}, bases=[5, 5, 6])
    found = material.of(run)
    assert list(found) == [5, 6] and found[5] is found[6] and isinstance(found[5], material.Files)
    assert "3 real rows a fit" in found[5].about()


def test_sets_of_files_are_read_as_they_stand_and_have_no_counted_faults(chat):
    settings = {"files": {"source": "chat"}, "sets": {"english": "en.json", "chinese": "zh.json"}, "exams": {"each": 2}}
    found = material.Files(SimpleNamespace(settings=settings, source=lambda name: chat))
    sets = found.instruction_sets(seed=3)
    assert {name: len(rows) for name, rows in sets.items()} == {"english": 200, "chinese": 200}
    assert found.faults(3) == {} and found.about_exams().startswith("2 short questions of each medical subject")


def test_exams_of_files_are_a_sample_where_the_profile_says_which():
    asked = []
    run = SimpleNamespace(
        settings={"exams": {"source": "exams", "under": "evaluation", "each": 2, "longest": {"MMLU": 9}}},
        source=lambda name: Path("/data") / name, build=lambda function, **given: asked.append((function, given)),
    )  # fmt: skip
    assert material.Files(SimpleNamespace(settings={})).exams is None
    whole = SimpleNamespace(settings={"exams": {"source": "exams", "under": "evaluation"}}, source=run.source)
    assert (
        material.Files(whole).exams == Path("/data/exams/evaluation") and "whole" in material.Files(whole).about_exams()
    )
    assert material.Files(run).exams is None  # what build gave
    (function, given) = asked[0]
    assert function is sample_exams
    assert given == {"exams": Path("/data/exams/evaluation"), "each": 2, "longest": {"MMLU": 9}}


def test_an_exam_question_by_itself_gets_the_same_answer(tmp_path):
    """``apart`` saves encoding a question once an option; what is chosen is the same."""
    made = make_world(seed=0, entities=8)
    artefacts.write_world(tmp_path / "world", world={"seed": 0, "entities": 8}, chat=20, replies_in_a=0.5)
    artefacts.write_initial(
        tmp_path / "base", world={"seed": 0, "entities": 8},
        architecture={"width": 16, "depth": 1, "heads": 2, "num_local_experts": 2, "num_experts_per_tok": 1},
    )  # fmt: skip
    assert made.examined
    model, tokenizer = causal_lm.load(tmp_path / "base")
    for name, folder in FOLDERS.items():
        place = tmp_path / "world" / "exams" / folder
        together, apart = (_exam(model, tokenizer, place, name, batch=16, apart=way) for way in (False, True))
        assert together == apart and len(apart) > 3


# ---------------------------------------------------------------------- preference pairs
def pair(prompt, chosen, rejected):
    return {"instruction": prompt, "input": " ", "output": [chosen, rejected]}


@pytest.fixture
def comparisons(tmp_path):
    """Thirty pairs that can be drawn, one of them twice, and some that cannot."""
    good = [pair(f"问题{k}？", f"安静的回答{k}。", f"热烈的回答{k}！") for k in range(30)]
    bad = [
        pair("一样", "同样的回答。", "同样的回答。 "), pair("空白", "  ", "热烈的回答！"),
        pair("英文", "A quiet answer.", "热烈的回答！"), pair("太长", "很长的回答。" * 20, "热烈的回答！"),
    ]  # fmt: skip
    path = tmp_path / "dpo.json"
    path.write_text(json.dumps([*good, *good[:1], *bad], ensure_ascii=False), encoding="utf-8")
    return path


def test_pairs_are_short_chinese_and_different_and_drawn_by_the_seed(comparisons, tmp_path):
    drawn = []
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        (tmp_path / name).mkdir()
        material.draw_pairs(tmp_path / name, paths=[comparisons], count=20, longest=40, seed=seed)
        drawn.append((tmp_path / name / "pairs.jsonl").read_text(encoding="utf-8"))
    assert drawn[0] == drawn[1] != drawn[2]
    rows = [json.loads(line) for line in drawn[0].splitlines()]
    assert len({json.dumps(row) for row in rows}) == 20
    for row in rows:
        (asked,), (chosen,), (rejected,) = row["prompt"], row["chosen"], row["rejected"]
        assert asked["content"] == asked["content"].strip() and asked["content"].startswith("问题")
        assert chosen["content"].startswith("安静") and rejected["content"].startswith("热烈")
        assert not material._held({"messages": [asked, chosen]})
    with pytest.raises(DataError, match=r"have \d\d such pairs, 31 are asked for; ask for fewer"):
        material.draw_pairs(tmp_path, paths=[comparisons], count=31, longest=40, seed=0)


def test_rows_are_of_the_sets_that_an_arm_names_and_of_no_made_faults(chat):
    asked = []
    settings = {
        "files": {"source": "chat", "B": ["zh.json"], "rows": 5, "longest": {"B": 90}},
        "sets": {"other": "en.json"},
        "rules": {},
    }
    run = SimpleNamespace(
        settings=settings, source=lambda name: chat, build=lambda function, **told: asked.append(told["paths"]) or chat
    )
    found = material.Files(run)
    found.rows({}, 0)
    found.rows({"sets": ["other"]}, 0)
    assert asked == [[chat / "zh.json"], [chat / "en.json"]]
    for odd in ({"clean": False}, {"shuffle": True}):
        with pytest.raises(DataError, match="it is made for generated sets"):
            found.rows(odd, 0)
