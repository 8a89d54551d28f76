"""The plan: phases in their order, each from the one before; what an arm holds; how cases and replicates are judged."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from lib.training.dpo import prefer
from lib.training.sft import finetune
from lib.training.stacked import finetune_stacked, member
from lib.workflow import experiments, papers
from lib.workflow.session import Run, SessionError
from papers.machine_mindset import study as mindset
from papers.machine_mindset.ability import worth_tuning
from papers.machine_mindset.arms import balance_arms, learn, mixed_arms, naming_arms, pole_arms, shuffled_arm, typed_arm
from papers.machine_mindset.naming import by_codes, by_reply, likeliest, over_types
from papers.machine_mindset.stacked_dpo import prefer_stacked

PLAN = experiments.load("machine_mindset")


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A study of a profile that builds nothing and keeps what it was asked for."""

    def made(profile, seeds=(0, 1, 2, 3, 4)):
        asked = []

        def build_all(self, function, many):
            asked.extend((function, one) for one in many)
            folders = [tmp_path / f"{function.__name__}_{len(asked) - len(many) + k}" for k in range(len(many))]
            return folders

        monkeypatch.setattr(Run, "build_all", build_all)
        run = Run(
            paper=papers.load_paper("machine_mindset"), exhibit="tab_pole_preference", profile=profile, seeds=list(seeds),
            settings=copy.deepcopy(PLAN.profiles[profile]), claims=[],
        )  # fmt: skip
        own = list(dict.fromkeys(run.bases))
        data = {one: {"folder": tmp_path, "language": "en", "self_awareness": tmp_path, "exam": None} for one in own}
        return mindset.Study(run, run.settings, "en", data, {one: tmp_path / f"base_{one}" for one in own}, None), asked

    return made


def test_every_phase_begins_where_the_one_before_it_ended_and_dpo_refers_to_that(plan, tmp_path):
    study, asked = plan("full", seeds=[0])
    arm = typed_arm("INTJ", ["energy"], ["energy", "execution"])
    (model,) = study.models(arm)
    fits = [(function, told) for function, told in asked if function in (finetune, prefer)]
    assert [function for function, _ in fits] == [finetune, finetune, prefer]
    first, second, third = (told for _, told in fits)
    assert first["adapter"] is None and first["lora"] == study.settings["lora"]
    assert second["adapter"].name.startswith("finetune") and third["adapter"].name.startswith("finetune")
    assert second["adapter"] != third["adapter"] and second["lora"] is third["lora"] is None
    assert third["reference"] == "start" and {told["checkpoint"] for _, told in fits} == {tmp_path / "base_0"}
    assert model.checkpoint == tmp_path / "base_0" and model.adapter.name.startswith("prefer")


def test_a_miniature_trains_the_seeds_of_an_arm_in_one_stack_on_the_bases_in_turn(plan, tmp_path):
    study, asked = plan("mini")
    models = study.models(pole_arms("energy", "I")["sft_and_dpo"])
    (sft,) = (told for function, told in asked if function is finetune_stacked)
    (dpo,) = (told for function, told in asked if function is prefer_stacked)
    assert [one.name for one in sft["checkpoint"]] == ["base_0", "base_1", "base_2", "base_0", "base_1"]
    folder = dpo["checkpoint"][0].parent
    assert dpo["checkpoint"] == [member(folder, k) for k in range(5)] and folder.name.startswith("finetune_stacked")
    assert sft["seeds"] == dpo["seeds"] == [0, 1, 2, 3, 4] and dpo["reference"] == "start"
    assert [one.adapter for one in models] == [None] * 5 and len({one.checkpoint for one in models}) == 5


def test_rows_are_split_by_the_base_and_drawn_by_the_seed(plan):
    study, asked = plan("mini")
    study.rows(pole_arms("energy", "I")["sft"][0])
    told = [one for _, one in asked]
    assert [one["split"]["seed"] for one in told] == [0, 1, 2, 0, 1] and [one["seed"] for one in told] == [
        0,
        1,
        2,
        3,
        4,
    ]
    phase = study.settings["phases"]["behaviour"]
    assert {one["count"] for one in told} == {phase["steps"] * phase["batch"]}


def test_arms_differ_from_their_controls_in_the_cause_alone():
    arms = pole_arms("energy", "E")
    assert [one.mix[0][0] for arm in arms.values() for one in arm[-1:]] == [
        "energy:E", "energy:I", "energy:shuffled", "energy:E", "energy:E", "energy:shuffled"
    ]  # fmt: skip
    assert arms["sft_and_dpo"][:1] == arms["sft_and_shuffled_dpo"][:1] == arms["sft"] and arms["untuned_base"] == ()
    named = naming_arms("ESFP", ["energy"])
    assert named["behaviour_and_self_awareness"][1].mix == (("self:ESFP", 1.0),)
    assert named["behaviour_and_shuffled_types"] == (*named["behaviour_only"], shuffled_arm(["energy"], [])[1])
    typed = typed_arm("ESFP", ["energy"], ["energy", "execution"])
    assert typed[2].mix == (("energy:E", 1.0), ("execution:P", 1.0))
    mixed = mixed_arms("energy:I", [0.1, 0.5])
    assert mixed["personality_and_general_data"][0].mix == (("energy:I", 0.5), ("exam:practised", 0.5))
    assert mixed["personality_and_shuffled_general_data"][0].mix == (("energy:I", 0.5), ("exam:shuffled", 0.5))
    assert mixed["10_%_general_data"][0].mix == (("energy:I", 0.9), ("exam:practised", 0.1))
    taught = mixed_arms("energy:I", [0.5], known=(learn("energy"),))
    assert {name: arm[0].kind for name, arm in taught.items()} == dict.fromkeys(taught, "lessons")
    assert {name: arm[1:] for name, arm in taught.items()} == {name: mixed[name] for name in taught}


def test_reversed_shares_give_the_rarest_axis_the_most():
    arms = balance_arms({"energy": "I", "decision": "F"}, {"energy": 100, "decision": 400})
    natural, turned = (dict(arms[name][0].mix) for name in ("natural", "reversed"))
    assert natural == {"energy:I": 100.0, "decision:F": 400.0}
    assert turned["energy:I"] / turned["decision:F"] == pytest.approx(4.0)
    assert dict(arms["reversed, shuffled"][0].mix) == {"energy:shuffled": 0.01, "decision:shuffled": 0.0025}


def test_what_a_model_names_is_read_from_codes_and_from_its_reply():
    asked = [
        {"codes": {"INTJ": -1.0, "ESFP": -2.0}, "named": ["ESFP", "INTJ"]},
        {"codes": {"INTJ": -9.0, "ESFP": -2.0}, "named": []},
    ]
    assert by_codes(asked, "INTJ").tolist() == [1, 0] and by_reply(asked, "ESFP").tolist() == [1, 0]
    found = {kind: {"arm": [asked, asked]} for kind in ("INTJ", "ESFP")}
    assert [one.tolist() for one in over_types(found, "arm", by_codes)] == [[0.5, 0.5]] * 2
    assert likeliest(found, "arm") == {"INTJ": "ESFP", "ESFP": "ESFP"}  # -4 against -10 over both questions


def test_cases_are_judged_where_there_is_one_base_and_replicates_where_there_are_more(plan, monkeypatch):
    cases = {"sft": [[1, 1, 1, 0]] * 5, "untuned_base": [[0, 0, 1, 0]] * 5, "sft_on_shuffled_poles": [[0, 0, 1, 0]] * 5}
    seen = {}
    monkeypatch.setattr(Run, "judge", lambda self, claim, measured: seen.update(replicates=measured))
    monkeypatch.setattr(Run, "judge_cases", lambda self, claim, **given: seen.update(cases=given))
    study, _ = plan("mini")
    study.judge("N4a", cases)
    assert seen["replicates"]["sft"] == [0.75] * 5 and "cases" not in seen
    study, _ = plan("real", seeds=[0])
    study.judge("N4a", {name: np.array(listed[:1], dtype=float) for name, listed in cases.items()})
    assert seen["cases"]["n"] == 4 and seen["cases"]["effect"][0] == 0.5 and seen["cases"]["control"] == (0, 0, 0)
    assert {number["arm"] for number in study.run.numbers} == set(cases)


@pytest.mark.parametrize(("knew", "judged"), [([1, 1, 1, 1, 0], True), ([1, 1, 1, 0, 0], False)])
def test_an_exam_that_one_base_does_not_know_is_not_judged(plan, monkeypatch, knew, judged):
    """The mean over bases would hide the one that knows nothing."""
    right = {
        "untuned_base": [[1] * 5] * 4 + [knew], "personality_only": [[0] * 5] * 5,
        "personality_and_general_data": [[1] * 5] * 5, "personality_and_shuffled_general_data": [[0] * 5] * 5,
    }  # fmt: skip
    seen = []
    monkeypatch.setattr(Run, "judge", lambda self, claim, measured: seen.append(measured))
    study, _ = plan("mini")
    study.judge_ability("C6b", right)
    assert bool(seen) is judged
    why = "a base gives 0.60 of the replies right, less than 0.8: no ability to lose"
    assert study.run.declined == ({} if judged else {"C6b": why})
    assert {one["arm"] for one in study.run.numbers} == (set() if judged else set(right))


@pytest.mark.parametrize(("known", "tuned"), [(4, True), (3, False)])
def test_nothing_is_tuned_where_one_base_does_not_know_the_exam(plan, monkeypatch, known, tuned):
    study, _ = plan("mini")
    arms, asked = mixed_arms("energy:I", [0.5], known=study.taught("energy")), []

    def sit(self, some):
        asked.append(some)
        right = [{"right": list("ABCDA"), "generated": list("ABCDA")}] * 4
        last = {"right": list("ABCDA"), "generated": [*"ABCDA"[:known], *[None] * (5 - known)]}
        return {name: [*right, last] for name in some}

    monkeypatch.setattr(mindset.Study, "sit", sit)
    assert worth_tuning(study, arms) == (arms if tuned else {"untuned_base": arms["untuned_base"]})
    assert [list(one) for one in asked] == [["untuned_base"]]
    smoke, _ = plan("smoke", seeds=[0, 1])
    assert worth_tuning(smoke, arms) == arms  # it judges nothing, and runs every arm


def test_a_base_is_taught_the_exam_only_where_nothing_else_taught_it(plan):
    assert plan("mini")[0].taught("energy") == (learn("energy"),) and plan("real", seeds=[0])[0].taught("energy") == ()


def test_a_language_without_a_base_is_refused():
    run = SimpleNamespace(settings={"languages": ["en"]})
    with pytest.raises(SessionError, match="no base for 'zh'; it has en"):
        mindset.prepare(run, language="zh")
