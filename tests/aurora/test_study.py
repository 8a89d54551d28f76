"""The Aurora study: shuffled answers keep the language, routing distances have closed forms, DPO starts where it should."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from lib.data.instructions import dialogue, turns_of, write_messages
from lib.models import causal_lm
from lib.streams import stream
from lib.training.dpo import prefer
from lib.training.loop import TrainingError
from lib.training.sft import finetune
from lib.workflow import paths
from lib.workflow.session import start
from papers.aurora import artefacts as aurora_artefacts
from papers.aurora import study as aurora
from papers.aurora import world_files as files
from papers.aurora.material import write_prompts
from papers.aurora.measures import answer_exams, expert_usage, measure_model, prompt_ids, total_variation, weigh_answers
from papers.aurora.pretraining import pretrain
from papers.aurora.world import make_world

WORLD = {"seed": 0, "entities": 8}
SIZE = {
    "width": 32, "depth": 2, "key_value_heads": 2, "intermediate_size": 32, "num_local_experts": 4,
    "num_experts_per_tok": 2, "output_router_logits": True, "router_aux_loss_coef": 0.02, "initializer_range": 0.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base of a few steps in a small world: initial weights, world files, pretrained checkpoint."""
    root = tmp_path_factory.mktemp("aurora")
    initial, world, done = root / "initial", root / "world", root / "base"
    for folder in (world, done):
        folder.mkdir()
    aurora_artefacts.write_initial(initial, world=WORLD, architecture=SIZE)
    aurora_artefacts.write_world(world, world=WORLD, chat=200, replies_in_a=0.9)
    sources = [{"rows": world / f"{name}.jsonl", "batch": 16} for name in ("documents", "chat")]
    pretrain(
        done, checkpoint=initial, sources=sources, steps=30, learning_rate=5e-3, warmup=5, max_length=64,
        config=aurora.FROZEN_ROUTER,
    )  # fmt: skip
    return initial, world, done


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory):
    root = tmp_path_factory.mktemp("tuned")
    made = make_world(**WORLD)
    rows = [dialogue([(made.ask(f, "B"), made.tell(f, "B"))]) for f in made.select(examined=False, in_b=True)]
    write_messages(root / "rows.jsonl", rows)
    finetune(
        root, checkpoint=base[2], rows=root / "rows.jsonl", batch=8, learning_rate=1e-2, max_length=64, steps=6,
        lora={"rank": 2, "targets": ["q_proj", "v_proj"]}, quantisation="nf4",
    )  # fmt: skip
    return root


def test_pretraining_learns_is_repeatable_and_sets_the_configuration(base, tmp_path):
    initial, world, done = base
    losses = np.array(json.loads((done / "losses.json").read_text()))
    assert losses.shape == (30, 2) and (losses[-5:].mean(axis=0) < 0.7 * losses[:3].mean(axis=0)).all()
    config = json.loads((done / "config.json").read_text())
    assert config["output_router_logits"] is False and config["router_aux_loss_coef"] == 0.0
    sources = [{"rows": world / f"{name}.jsonl", "batch": 16} for name in ("documents", "chat")]
    pretrain(
        tmp_path, checkpoint=initial, sources=sources, steps=30, learning_rate=5e-3, warmup=5, max_length=64,
        config=aurora.FROZEN_ROUTER,
    )  # fmt: skip
    assert (tmp_path / "model.safetensors").read_bytes() == (done / "model.safetensors").read_bytes()


def test_pretraining_stops_where_the_loss_is_no_number(base, tmp_path):
    sources = [{"rows": base[1] / "documents.jsonl", "batch": 8}]
    with pytest.raises(TrainingError, match=r"documents.jsonl is (nan|inf) at step \d+; lower"):
        pretrain(
            tmp_path,
            checkpoint=base[0],
            sources=sources,
            steps=40,
            learning_rate=1e25,
            warmup=0,
            max_length=64,
        )


def test_shuffled_answers_keep_prompts_and_language_but_not_the_facts(tmp_path):
    made = make_world(seed=0, entities=20)
    files.write_tuning_sets(tmp_path, made, language="B", dialogues=30, seed=0)
    (tmp_path / "rows").mkdir()
    options = {"sets": tmp_path, "use": list(files.SETS), "rules": {"complete_after": 4}, "seed": 0}
    aurora_artefacts.write_rows(tmp_path / "rows", shuffle=False, **options)
    plain = aurora_artefacts.instruction_cleaning.clean(
        aurora_artefacts.read_sets(tmp_path), rules=aurora_artefacts.instruction_cleaning.Rules(complete_after=4)
    ).rows
    shuffled = aurora_artefacts._shuffled(plain, np.random.default_rng(0))

    def pairs(rows):
        return [pair for row in rows for pair in turns_of(row)[1]]

    before, after = pairs(plain), pairs(shuffled)
    assert [q for q, _ in before] == [q for q, _ in after] and len(plain) == len(shuffled)
    assert sorted(a for _, a in before) == sorted(a for _, a in after)
    assert np.mean([a == b for (_, a), (_, b) in zip(before, after, strict=True)]) < 0.2
    assert all((len(a) < 6) == (len(b) < 6) for (_, a), (_, b) in zip(before, after, strict=True))


def test_the_english_rows_are_the_cleaned_chinese_ones_translated(tmp_path):
    made = make_world(seed=0, entities=20)
    for language in "AB":
        files.write_tuning_sets(tmp_path / language, made, language=language, dialogues=30, seed=4)
        (tmp_path / f"rows {language}").mkdir()
    options = {"sets": tmp_path / "B", "use": list(files.SETS), "shuffle": False, "seed": 4}
    rules = {"complete_after": 4, "least_cjk": 0.3, "near": 0.8}
    aurora_artefacts.write_rows(tmp_path / "rows B", rules=rules, **options)
    aurora_artefacts.write_rows(tmp_path / "rows A", rules=rules, translated=tmp_path / "A", **options)
    chinese, english = (
        [
            json.loads(line)["messages"]
            for line in (tmp_path / f"rows {language}" / "rows.jsonl").read_text().splitlines()
        ]
        for language in "BA"
    )
    translation = {
        tell(fact, "B", style): tell(fact, "A", style)
        for fact in made.facts
        for style in files.STYLES
        for tell in (made.ask, made.tell)
    }
    assert len(chinese) == len(english) > 90
    for before, after in zip(chinese, english, strict=True):
        assert [one["role"] for one in before] == [one["role"] for one in after]
        said = [translation[one["content"].replace("！", "。")] for one in before]
        assert said == [one["content"].replace("!", ".") for one in after]


@pytest.mark.slow
def test_replicates_stand_on_their_bases_in_turn(tmp_path, monkeypatch):
    """World, initial weights and pretraining are the base's; the rows are the replicate's, about its base's world."""
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    run = start("aurora", "tab_reply_language", profile="smoke", seeds=[4, 5, 6])
    size = {"world": {"entities": 8}, "pretraining_rows": {"chat": 40, "replies_in_a": 0.9}, "architecture": SIZE}
    run.settings = {**run.settings, **size, "pretraining": {**run.settings["pretraining"], "steps": 2}}
    study = aurora.prepare(run)
    assert list(study.bases) == [4, 5] and study.at(6) is study.at(4) is not study.at(5)
    assert study.at(4).material.world == make_world(seed=4, entities=8) != study.at(5).material.world
    weights = [(base.checkpoint / "model.safetensors").read_bytes() for base in study.bases.values()]
    assert weights[0] != weights[1]
    texts = [file.read_text(encoding="utf-8") for file in study.rows({})]
    assert len(set(texts)) == 3
    for seed, text in zip(run.seeds, texts, strict=True):
        known = [name for _, name in study.at(seed).material.world.names]
        assert all(any(name in line for name in known) for line in text.splitlines())
    run.seeds = [4]  # fewer replicates change nothing of those that stay
    assert aurora.prepare(run).at(4) == study.at(4)


def test_total_variation_has_its_closed_form():
    assert total_variation([[1, 0]], [[0, 1]]).tolist() == [1.0]
    assert total_variation([[0.5, 0.5], [0.2, 0.8]], [[0.5, 0.5], [0.3, 0.7]]) == pytest.approx([0.0, 0.1])


def test_expert_usage_counts_the_chosen_experts_of_real_tokens_only(base):
    model, _ = causal_lm.load(base[2])
    prompts = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
    counts = np.zeros((2, 4))
    with torch.inference_mode():
        for ids in prompts:
            logits = model(torch.tensor([ids]), output_router_logits=True).router_logits
            for layer, values in enumerate(logits):
                for row in values:
                    counts[layer, row.argsort(descending=True)[:2]] += 1
    wanted = counts / counts.sum(axis=1, keepdims=True)
    for batch in (1, 2, 8):
        assert np.allclose(expert_usage(model, prompts, batch=batch), wanted)


@pytest.mark.slow
def test_a_base_without_adapter_and_one_that_does_nothing_measure_the_same(base, tuned, tmp_path):
    from safetensors.torch import load_file, save_file

    nothing, folders = tmp_path / "nothing", [tmp_path / name for name in ("a", "b", "c")]
    nothing.mkdir()
    for file in ("adapter_config.json",):
        (nothing / file).write_bytes((tuned / file).read_bytes())
    weights = load_file(tuned / "adapter_model.safetensors")
    save_file(
        {k: torch.zeros_like(v) if "lora_B" in k else v for k, v in weights.items()},
        nothing / "adapter_model.safetensors",
    )
    measured, answers = [], []
    write_prompts(tmp_path, world=WORLD)
    for folder, adapter in zip(folders, (None, nothing, tuned), strict=True):
        folder.mkdir()
        how = {"base": base[2], "adapter": adapter, "batch": 16, "quantisation": "nf4"}
        measure_model(folder, prompts=tmp_path / "prompts.json", longest=8, **how)
        answer_exams(folder, exams=base[1] / "exams", **how)
        measured.append(json.loads((folder / "measured.json").read_text()))
        answers.append(json.loads((folder / "exams.json").read_text()))
    plain, idle, moved = measured
    assert plain == idle and moved["usage"] != plain["usage"] and answers[0] == answers[1]
    assert set(answers[0]) == {"MMLU", "C-Eval", "CMMLU"} and len(answers[0]["MMLU"]) == 32
    assert len(plain["replies"]["B"]) == 64 and {one["in_b"] for one in plain["replies"]["B"]} == {True, False}


def test_letters_are_scored_as_by_hand_with_exemplars_of_one_draw(base, tmp_path):
    from lib.data.exams import LETTERS, read_exam
    from lib.evaluation.exam_prompts import ENGLISH, chat_turns
    from papers.aurora.letters import score_letters

    options = {"checkpoint": base[2], "adapter": None, "exams": base[1] / "exams", "shots": 2}
    score_letters(tmp_path, seed=3, batch=4, quantisation=None, dtype="float32", **options)
    found = json.loads((tmp_path / "letters.json").read_text())["MMLU"]
    exam, (model, tokenizer) = read_exam("MMLU", base[1] / "exams" / "mmlu"), causal_lm.load(base[2])
    ids = [tokenizer(letter, add_special_tokens=False)["input_ids"][-1] for letter in LETTERS]
    by_hand = []
    for number, (subject, about) in enumerate(exam.subjects.items()):
        dev = exam.questions["dev"][subject]
        shots = [dev[i] for i in stream(3, "exemplars", "MMLU", number).permutation(len(dev))[:2]]
        for question in exam.questions["test"][subject]:
            turns = chat_turns(question, exemplars=shots, topic=about.name, wording=ENGLISH)
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            with torch.inference_mode():
                logits = model(torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])).logits[0, -1]
            assert tokenizer.unk_token_id not in tokenizer(text, add_special_tokens=False)["input_ids"]
            by_hand.append([subject, LETTERS[int(logits[ids].argmax())] == question.answer])
    assert found == by_hand and len(found) == 32


def test_adapters_on_a_quantised_base_are_trained_in_full_precision(tuned):
    from safetensors.torch import load_file

    weights = load_file(tuned / "adapter_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert {key.split(".")[-3] for key in weights} == {"q_proj", "v_proj"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    aurora_artefacts.write_pairs(root, world=WORLD, seed=0)
    return root / "pairs.jsonl"


def run_prefer(folder, base, tuned, pairs, reference, **more):
    options = {
        "beta": 0.1,
        "batch": 8,
        "learning_rate": 1e-2,
        "epochs": 2,
        "max_length": 64,
        "quantisation": "nf4",
        **more,
    }
    prefer(folder, checkpoint=base[2], adapter=tuned, rows=pairs, reference=reference, **options)
    return json.loads((folder / "history.json").read_text())


def test_dpo_against_the_tuned_model_starts_at_ln_2_and_against_the_base_does_not(base, tuned, pairs, tmp_path):
    found = {}
    for reference in ("start", "base"):
        (tmp_path / reference).mkdir()
        found[reference] = run_prefer(tmp_path / reference, base, tuned, pairs, reference)
    assert found["start"][0]["loss"] == pytest.approx(math.log(2), abs=1e-5)  # the resumed adapter is not rounded
    assert found["start"][0]["margin"] == pytest.approx(0, abs=1e-5)
    assert abs(found["base"][0]["margin"]) > 1e-3
    assert found["start"][-1]["margin"] > found["start"][0]["margin"] and len(found["start"]) > 2


def test_the_first_margin_against_the_base_is_that_of_the_two_models_themselves(base, tuned, pairs, tmp_path):
    model, tokenizer = causal_lm.load(base[2], adapter=tuned, quantisation="nf4")
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]

    def logp(row, key):
        prompt = prompt_ids(tokenizer, row["prompt"][0]["content"])
        text = tokenizer.apply_chat_template([*row["prompt"], *row[key]], tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            said = model(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        return sum(float(said[k - 1, ids[k]]) for k in range(len(prompt), len(ids)))

    on = [logp(row, "chosen") - logp(row, "rejected") for row in rows]
    with model.disable_adapter():
        off = [logp(row, "chosen") - logp(row, "rejected") for row in rows]
    for adapter, wanted in ((tuned, on), (None, off)):
        weigh_answers(tmp_path, base=base[2], adapter=adapter, pairs=pairs, batch=8, quantisation="nf4")
        found = np.array(json.loads((tmp_path / "answers.json").read_text()))
        assert found @ [1, -1] == pytest.approx(wanted, abs=1e-4)
    history = run_prefer(tmp_path, base, tuned, pairs, "base", batch=len(rows), learning_rate=1e-9, epochs=1)
    assert history[0]["margin"] == pytest.approx(0.1 * float(np.mean(np.array(on) - np.array(off))), abs=2e-4)


@pytest.mark.slow
def test_tuning_and_measuring_print_nothing(base, tuned, pairs, tmp_path):
    """A notebook's stderr is output, also where nothing was silenced before torch was imported."""
    code = f"""
import torch
from pathlib import Path
from papers.aurora.material import write_prompts
from papers.aurora.measures import answer_exams, measure_model
from lib.training.dpo import prefer
from lib.training.sft import finetune
from lib.workflow import paths
from lib.workflow.session import start
base, tuned, pairs, out = (Path(p) for p in {[str(p) for p in (base[2], tuned, pairs, tmp_path)]!r})
for name in ("sft", "dpo", "measured"):
    (out / name).mkdir()
finetune(out / "sft", checkpoint=base, rows=tuned / "rows.jsonl", batch=8, learning_rate=1e-3, max_length=64, steps=2,
         packing=True, lora={{"rank": 2, "targets": ["q_proj", "v_proj"]}}, quantisation="nf4", keep=[1])
prefer(out / "dpo", checkpoint=base, adapter=tuned, rows=pairs, reference="base", beta=0.1, batch=8, learning_rate=1e-3,
       epochs=1, max_length=64, quantisation="nf4")
write_prompts(out, world={WORLD!r})
measure_model(out / "measured", base=base, adapter=out / "dpo", prompts=out / "prompts.json",
              longest=4, batch=64, quantisation="nf4")
answer_exams(out / "measured", base=base, adapter=out / "dpo", exams=Path({str(base[1] / "exams")!r}), batch=64,
             quantisation="nf4")
"""
    environment = {key: value for key, value in os.environ.items() if key not in ("TQDM_DISABLE", "PYTHONWARNINGS")}
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pretraining_refuses_rows_longer_than_the_context(base, tmp_path):
    with pytest.raises(TrainingError, match="max_length 5000 exceeds the 4096 positions of the model"):
        pretrain(tmp_path, checkpoint=base[0], sources=[], steps=1, learning_rate=1e-3, warmup=0, max_length=5000)
