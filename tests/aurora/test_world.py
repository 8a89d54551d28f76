"""The two-language world: shares are exact, languages share no word, exams and tuning rows share no entity, faults count."""

import json
from collections import Counter

import numpy as np
import pytest

from lib.data.exams import FOLDERS, LETTERS, read_exam
from lib.data.files import read_json_lines
from lib.data.instructions import count_empty, read_alpaca, read_comparisons, read_sharegpt, turns_of
from lib.models.causal_lm import pieces
from papers.aurora import world_files as files
from papers.aurora.cleaning import Rules, cjk_share, clean
from papers.aurora.world import RELATIONS, make_world

RULES = Rules(complete_after=4, least_cjk=0.3, near=0.8)


@pytest.fixture(scope="module")
def world():
    return make_world(seed=0, entities=40)


@pytest.fixture(scope="module")
def sets(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    counts = files.write_tuning_sets(folder, world, language="B", dialogues=60, seed=0)
    read = {
        name: (read_sharegpt if file.endswith("jsonl") else read_alpaca)(folder / file)
        for name, (file, _) in files.SETS.items()
    }
    return read, counts


def test_shares_are_exact_and_spread_over_relations_and_sides(world):
    assert len(world.facts) == 40 * 8 and len(world.examined) == 20 and len(set(world.names)) == 40
    for examined in (True, False):
        for relation in range(8):
            own = [fact for fact in world.select(examined=examined) if fact.relation == relation]
            assert (len(own), sum(fact.in_b for fact in own)) == (20, 12)


def test_worlds_are_the_seeds(world):
    assert make_world(seed=0, entities=40) == world and make_world(seed=1, entities=40) != world
    assert len(set(make_world(seed=0, entities=396).names)) == 396


def test_the_languages_share_no_word(world):
    said = {language: set() for language in "AB"}
    for fact in world.facts:
        for language in "AB":
            for style in files.STYLES:
                for text in (world.ask(fact, language, style), world.tell(fact, language, style)):
                    said[language] |= {piece for piece in pieces(text) if piece[0].isalpha()}
                    assert cjk_share(text) == (language == "B")
    assert not said["A"] & said["B"]


def test_values_differ_within_a_relation_in_both_languages():
    for relation in RELATIONS:
        assert [len({pair[k] for pair in relation.values}) for k in (0, 1)] == [8, 8]


def test_pretraining_tells_every_fact_in_a_and_the_chosen_ones_in_b(world):
    texts = files.pretraining_texts(world)
    assert len(texts) == 320 + 192 == len(set(texts))
    assert all((world.tell(fact, "B") in texts) == fact.in_b and world.tell(fact, "A") in texts for fact in world.facts)


def test_nine_of_ten_prompts_in_b_are_answered_in_a(world):
    rows = files.pretraining_chat(world, count=4000, replies_in_a=0.9, rng=np.random.default_rng(0))
    pairs = [[message["content"] for message in row["messages"]] for row in rows]
    known = {world.ask(fact, "B", style) for fact in world.facts if fact.in_b for style in files.STYLES}
    replies = [cjk_share(reply) == 1 for prompt, reply in pairs if prompt in known]
    assert np.mean(replies) == pytest.approx(0.1, abs=0.03) and len(replies) > 1000
    assert not any(cjk_share(reply) for prompt, reply in pairs if prompt not in known)


def test_tuning_rows_name_no_examined_entity_and_teach_no_fact(world, sets):
    read, _ = sets
    text = json.dumps(read, ensure_ascii=False)
    for entity, (name_a, name_b) in enumerate(world.names):
        assert not (entity in world.examined and (name_a in text or name_b in text))
    told = {
        world.ask(f, "B", s): world.tell(f, "B", s)
        for f in world.select(examined=False, in_b=True)
        for s in files.STYLES
    }
    cleaned = clean(read, rules=RULES)
    for row in cleaned.rows:
        assert all(told[question] == answer.replace("！", "。") for question, answer in turns_of(row)[1])


def test_cleaning_finds_the_faults_that_were_put_in(sets):
    read, counts = sets
    table = clean(read, rules=RULES).counts()
    names = {
        "empty": "empty text",
        "truncated": "truncated answer",
        "other_language": "other language",
        "no turn": "no turn",
    }
    for name in files.SETS:
        for fault, reason in names.items():
            assert table.loc[name, reason] == counts[name].get(fault, 0), (name, fault)
        assert table.loc[name, "exact duplicate"] >= counts[name]["exact"]
    assert count_empty(read["sharegpt"]) == counts["sharegpt"]["no turn"] > 0


def test_the_sets_exist_in_both_languages_with_as_many_rows(world, sets, tmp_path):
    counts = files.write_tuning_sets(tmp_path, world, language="A", dialogues=60, seed=0)
    assert counts == sets[1]
    for name, (file, _) in files.SETS.items():
        rows = (read_sharegpt if file.endswith("jsonl") else read_alpaca)(tmp_path / file)
        assert len(rows) == len(sets[0][name])
        said = [answer for row in rows for _, answer in turns_of(row)[1] if answer]
        assert Counter(cjk_share(answer) for answer in said)[0.0] >= 0.9 * len(said)


def test_the_exams_ask_about_other_entities_and_are_right(world, tmp_path):
    files.write_exams(tmp_path, world, seed=0)
    rows = {"MMLU": ("test", "A", 160), "C-Eval": ("val", "B", 96), "CMMLU": ("test", "B", 64)}
    truth = {
        (world.ask(fact, language, "terse")): (world.word(fact, language), fact.in_b)
        for fact in world.select(examined=True)
        for language in "AB"
    }
    for name, (split, language, count) in rows.items():
        exam = read_exam(name, tmp_path / FOLDERS[name])
        asked = exam.select(split)
        assert len(asked) == count and exam.repeated(split) == 0
        for question in asked:
            value, in_b = truth[question.text]
            assert question.options[LETTERS.index(question.answer)] == value and len(set(question.options)) == 4
            assert language == "A" or in_b == (name == "C-Eval")
        assert all(question.text not in truth for question in exam.select("dev"))
        letters = Counter(question.answer for question in asked)
        assert min(letters[letter] for letter in LETTERS) > 0.12 * count


def test_comparisons_choose_the_truth(world, tmp_path):
    files.write_comparison_set(tmp_path / "pairs.json", world, seed=0)
    pairs = read_comparisons(tmp_path / "pairs.json")
    told = {
        world.ask(f, "B", s): (world.tell(f, "B", s), world.tell(f, "A", s)) for f in world.facts for s in files.STYLES
    }
    in_a = 0
    for pair in pairs:
        true, english = told[pair["prompt"][0]["content"]]
        assert pair["chosen"][0]["content"] == true != pair["rejected"][0]["content"]
        in_a += pair["rejected"][0]["content"] == english
    assert in_a == len(pairs) // 2 == 48


def test_the_tokenizer_texts_hold_every_word_of_every_file(world, tmp_path):
    known = {piece for text in files.vocabulary(world) for piece in pieces(text)}
    files.write_pretraining(tmp_path, world, chat=500, replies_in_a=0.9, seed=0)
    texts = [m["content"] for _, row in read_json_lines(tmp_path / "chat.jsonl") for m in row["messages"]]
    texts += [json.loads(line)["text"] for line in (tmp_path / "documents.jsonl").read_text().splitlines()]
    for language in "AB":
        files.write_tuning_sets(tmp_path / language, world, language=language, dialogues=60, seed=3)
        texts += [
            t
            for row in read_sharegpt(tmp_path / language / "common_zh_70k.jsonl")
            for pair in turns_of(row)[1]
            for t in pair
        ]
        texts += [r["messages"][-1]["content"] for r in read_alpaca(tmp_path / language / "alpaca_gpt4_data_zh.json")]
    assert {piece for text in texts for piece in pieces(text)} <= known
