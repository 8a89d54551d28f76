"""The plan of the Med-MAT experiments: pairs on the world, jobs, scores, and what is read from them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.models.multimodal_lm import MultimodalLM
from lib.workflow import paths
from papers.med_mat import arms as med_mat_arms
from papers.med_mat import tables as med_mat_tables
from papers.med_mat.bases import Ground, bases_of
from papers.med_mat.checkpoints import TinyCheckpoint
from papers.med_mat.data.published import read_combinations
from papers.med_mat.data.registry import read_registry
from papers.med_mat.data.selection import DIRECTION_TYPES, ELEMENTS, shared, tied_pairs
from papers.med_mat.fits import arms as med_mat_fits
from papers.med_mat.fits import few_shot as med_mat_few_shot
from papers.med_mat.fits.tuning import letter_scores
from papers.med_mat.scores import Scored, accuracies, over_targets
from papers.med_mat.study import Study
from papers.med_mat.world import world as mat_world

FACTS = paths.paper("med_mat")
ROWS = {"train": 16, "test": 8, "pool": 4}


def _ground(root, seed) -> Ground:
    folders = [root / name for name in ("world", "model", "rows")]
    for folder in folders:
        folder.mkdir(parents=True)
    mat_world.write_world(folders[0], table=(FACTS / "datasets.csv").read_text(), images=40, seed=seed)
    torch.manual_seed(seed)
    settings = {"encoder": "convolution", "vocabulary": 12, "width": 24, "depth": 2}
    words = ["<pad>", "A", "B", "C", "D", "quote", *(f"<{i}>" for i in range(6))]
    TinyCheckpoint(MultimodalLM(**settings), words, settings).save(folders[1])
    med_mat_fits.prepare_rows(folders[2], world=folders[0], tests_of=folders[0], base=folders[1], **ROWS)
    return Ground(*folders)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study whose fits are not cached: two bases, each with world, rows and an untrained model in temporary folders."""
    root = tmp_path_factory.mktemp("study")
    grounds = {seed: _ground(root / f"base-{seed}", seed) for seed in (0, 1)}
    registry = read_registry(FACTS / "datasets.csv")
    cells = mat_world.cells(registry.classification)
    made = []

    def build_all(function, many):
        for arguments in many:
            folder = root / f"artefact-{len(made)}"
            folder.mkdir()
            function(folder, **arguments)
            made.append(folder)
        return made[len(made) - len(many) :]

    run = SimpleNamespace(seeds=[0, 1], build_all=build_all, base_of=lambda seed: seed % 2)
    return Study(
        run, {"volume": 16, "tuning": {"batch": 8, "epochs": 1, "learning_rate": 1e-3}}, registry,
        read_combinations(FACTS / "combinations.csv", registry), cells, available={c.no: ROWS["train"] for c in cells},
        tests={c.no: ROWS["test"] for c in cells}, options={c.no: len(mat_world.TASKS[mat_world.rule(c)].labels) for c in cells},
        fitter=med_mat_fits.fit_group, source={}, grounds=grounds,
    )  # fmt: skip


def _first(study) -> Ground:
    return study.grounds[0]


# ---------------------------------------------------------------------- structure
def test_the_printed_pairs_are_laid_onto_the_world(study):
    pairs = study.pairs()
    assert len(pairs) >= 40 and {p.direction_type for p in pairs} == set(DIRECTION_TYPES)
    assert len({(frozenset(m.no for m in p.members), p.target.no) for p in pairs}) == len(pairs)
    numbers = {cell.no for cell in study.cells}
    for pair in pairs:
        assert {m.no for m in pair.members} | {pair.target.no} <= numbers
        assert pair.target.no not in {m.no for m in pair.members}
        held = set().union(*(shared(member, pair.target) for member in pair.members))
        by_name = any(set(m.readings) & set(pair.target.readings) for m in pair.members)
        assert held | ({"task"} if by_name else set()) == set(ELEMENTS)


def test_a_tied_pair_is_one_element(study):
    tied = tied_pairs(study.registry.classification)
    for pair in study.pairs():
        assert (pair.direction_type == "modality-area pair") == ((pair.target.modality, pair.target.area) in tied)


def test_triples_have_three_members_and_repeated_pairs_are_pairs(study):
    triples = study.pairs("tab10_triples")
    assert len(triples) == 9 and all(len({m.no for m in t.members} | {t.target.no}) == 4 for t in triples)
    assert {p.row for p in study.repeated()} < {p.row for p in study.pairs()} and len(study.repeated()) >= 7


def test_equal_triplets_are_one_subset(study):
    registry = study.registry.subsets
    assert study.cell(registry["35"]) == study.cell(registry["25"]) == registry["25"]
    assert study.cell(registry["04"]) != study.cell(registry["03"])  # a cancer and COVID are different lesions


# ---------------------------------------------------------------------- jobs
def test_no_job_is_trained_on_its_target_and_all_have_the_same_volume(study):
    for pair in study.pairs():
        jobs = [study.member_job(pair, seed=1), study.member_job(pair, seed=1, permuted=True)]
        jobs += [study.broken_job(pair, seed=1)]
        jobs += [study.condition_job(name, pair.target, seed=1) for name in ("baseline_plus", "task_only")]
        for job in jobs:
            assert job["tests"] == [pair.target.no] and pair.target.no not in job["amounts"]
            assert sum(job["amounts"].values()) == study.volume and min(job["amounts"].values()) > 0
        assert jobs[1]["permuted"] == list(jobs[1]["amounts"]) and jobs[1]["amounts"] == jobs[0]["amounts"]


def test_a_broken_pair_shares_everything_with_the_pair_but_the_targets_elements(study):
    """As many subsets, examples and options; no modality, area or task of the target; another draw at another seed."""
    for pair in [*study.pairs(), *study.pairs("tab10_triples")]:
        draws = [study.broken_job(pair, seed=seed) for seed in range(4)]
        for job in draws:
            chosen = [study.registry.subsets[no] for no in job["amounts"]]
            assert len(chosen) == len(pair.members) and not any(shared(one, pair.target) for one in chosen)
            far = [one for one in study.cells if one.no != pair.target.no and not shared(one, pair.target)]
            for count in (2, 4):  # as many options as the members have, as far as there are such subsets
                wanted, there, held = (
                    sum(study.options[no] == count for no in numbers)
                    for numbers in ([m.no for m in pair.members], [one.no for one in far], job["amounts"])
                )
                assert held >= min(wanted, there), pair.row
        assert len({tuple(job["amounts"]) for job in draws}) > 1


def test_breaking_conditions_are_of_equal_volume_without_the_target(study, monkeypatch):
    seen = {}
    monkeypatch.setattr(Study, "fit", lambda self, arms, **_: seen.update({k: v(2) for k, v in arms.items()}) or {})
    targets = med_mat_arms.balanced_targets(study, 4)
    med_mat_arms.breaking_arms(study, targets, examples=24)
    assert {t.no for t in targets[:2]} == {"03", "28"}
    for name in med_mat_arms.CONDITIONS:
        for target, job in zip(targets, seen[name], strict=True):
            volume = sum(seen["all_related"][targets.index(target)]["amounts"].values())
            assert 0 < volume <= 24 and sum(job["amounts"].values()) == volume
            assert (target.no in job["amounts"]) == (name == "target_itself")
    pool = study.role("ID")
    for at_random, removal in med_mat_arms.RANDOM.items():  # as many subsets left, whatever the element
        for target in targets:
            left = [
                med_mat_arms.select(name, target, pool, like=removal, seed=2) for name in ("without_random", removal)
            ]
            assert len(left[0]) == len(left[1]) and set(seen[at_random][targets.index(target)]["amounts"]) <= {
                one.no for one in left[0]
            }
    for target, job in zip(targets, seen["without_modality"], strict=True):
        assert all(study.registry.subsets[no].modality != target.modality for no in job["amounts"])


def test_target_arms_take_equal_steps(study, monkeypatch):
    told = []
    monkeypatch.setattr(
        Study, "fit", lambda self, arms, **kept: told.append((kept, {k: v(0) for k, v in arms.items()})) or {}
    )
    pairs = study.pairs()[:2]
    med_mat_arms.target_arms(study, pairs, sizes=[4, 8])
    assert [kept["volume"] for kept, _ in told] == [20, 24]
    for kept, arms in told:
        few = kept["volume"] - 16
        for pair, *jobs in zip(pairs, *arms.values(), strict=True):
            only, related, unrelated = (job["amounts"] for job in jobs)
            assert only == {pair.target.no: few} and related[pair.target.no] == unrelated[pair.target.no] == few
            assert sum(related.values()) == sum(unrelated.values()) == kept["volume"]
            far = [study.registry.subsets[no] for no in unrelated if no != pair.target.no]
            assert len(far) == 2 and not any(shared(one, pair.target) for one in far)


def test_the_control_of_multi_task_training_has_its_rows_its_steps_and_nothing_related(study, monkeypatch):
    told = {}
    monkeypatch.setattr(
        Study, "fit", lambda self, arms, **kept: {told.setdefault(k, (kept, v(1))) and k: [] for k, v in arms.items()}
    )
    tested = study.role("ID")[::7]
    med_mat_arms.multitask_arms(study, tested=tested, equal_steps=9)
    for name in ("multi_task", "multi_task_equal_steps"):
        control = name.replace("multi_task", "unrelated_partners")
        assert told[name][0] == told[control][0]  # the same number of steps
        (whole,) = (job["amounts"] for job in told[name][1])
        for one, job in zip(tested, told[control][1], strict=True):
            assert sum(job["amounts"].values()) == sum(whole.values()) and job["amounts"][one.no] == whole[one.no]
            others = [study.registry.subsets[no] for no in job["amounts"] if no != one.no]
            assert others and not any(shared(other, one) for other in others)
    assert told["single_task_equal_steps"][0]["steps"] == 9 and "steps" not in told["single_task"][0]


def test_choices_are_drawn_and_not_picked(study):
    pairs = study.pairs()
    assert med_mat_arms.one_a_type(pairs) == med_mat_arms.one_a_type(pairs)
    assert [p.direction_type for p in med_mat_arms.one_a_type(pairs)] == list(DIRECTION_TYPES)
    failed = med_mat_arms.failing_in_the_paper(study)
    marks = {row.row: row.mark for row in study.published}
    assert failed and not any(marks[pair.row] for pair in failed)


# ---------------------------------------------------------------------- bases
def test_the_bases_of_a_run_are_its_different_ones_in_order():
    assert bases_of(SimpleNamespace(bases=[4, 7, 9, 4, 7])) == [4, 7, 9]


def test_fits_of_different_bases_in_one_pass_are_what_each_would_be_alone(study):
    """The scores of every seed, on its own base, with the jobs of both seeds in one stacked pass."""
    pair = study.pairs()[0]
    (by_seed,) = study.fit({"pair": lambda seed: [study.member_job(pair, seed=seed)]}).values()
    bases = list(study.grounds.values())
    for seed, ((job,), ground) in enumerate(zip(by_seed, bases, strict=True)):
        alone = next(
            med_mat_fits.fitted(
                [study.member_job(pair, seed=seed)], rows=[ground.rows], models=[ground.model], grounds=[0],
                steps=2, batch=8, learning_rate=1e-3,
            )
        )  # fmt: skip
        _, checkpoint, rows, _ = alone
        scores = med_mat_fits.score(checkpoint, rows, pair.target.no)
        np.testing.assert_allclose(job[pair.target.no].test, scores["test"], atol=0.01)  # kept in half precision
        other = med_mat_fits.score(checkpoint, med_mat_fits.Rows(bases[1 - seed].rows), pair.target.no)
        assert np.abs(job[pair.target.no].test - other["test"]).max() > 0.02  # another base's pictures


# ---------------------------------------------------------------------- rows
def test_drawn_rows_pair_pictures_with_their_questions_and_exchanged_ones_do_not(study):
    rows = med_mat_fits.Rows(_first(study).rows)
    amounts = {"02": 12, "13": 12}
    pictures, asked = rows.draw(amounts, permuted=[], seed=0)
    own = {q: row["picture"] for no in amounts for row in rows.subsets[no]["train"] for q in row["questions"]}
    assert [own[q] for q in asked] == list(pictures) and len(set(pictures)) == 24
    mixed, same = rows.draw(amounts, permuted=["13"], seed=0)
    assert list(same) == list(asked) and list(mixed[:12]) == list(pictures[:12])
    assert sorted(mixed[12:]) == sorted(pictures[12:]) and list(mixed[12:]) != list(pictures[12:])


def test_more_rows_than_there_are_go_through_all_of_them_again(study):
    rows = med_mat_fits.Rows(_first(study).rows)
    pictures, asked = rows.draw({"02": 40}, permuted=[], seed=0)
    assert len(pictures) == len(asked) == 40 and set(np.unique(asked, return_counts=True)[1]) == {2, 3}


def test_parts_of_a_subset_have_no_picture_in_common(study):
    rows = med_mat_fits.Rows(_first(study).rows)
    for no, subset in rows.subsets.items():
        parts = [{row["picture"] for row in subset[part]} for part in ("train", "test", "pool")]
        assert [len(part) for part in parts] == [16, 8, 4] and len(set().union(*parts)) == 28
        images = [{rows.features[p].numpy().tobytes() for p in part} for part in parts]
        assert not images[0] & images[1] and not images[1] & images[2], no


def test_scores_of_a_group_and_the_untrained_model(study):
    pairs = study.pairs()[:2]
    scores = med_mat_tables.combination_arms(study, pairs)
    arms = med_mat_tables.by_pair(pairs, scores)
    assert set(arms) == set(med_mat_tables.ARMS) and all(values.shape == (2, 2) for values in arms.values())
    first = scores["related_pair"][0][0][pairs[0].target.no]
    options = study.options[pairs[0].target.no]
    assert first.test.shape == (8, options, options) and first.pool.shape == (4, options, options)
    checkpoint = med_mat_fits.with_world_words(_first(study).model, seed=0)
    untrained = scores["baseline"][0][0][pairs[0].target.no]
    rows = med_mat_fits.Rows(_first(study).rows)
    features, questions, _ = rows.of(pairs[0].target.no, "test")
    letters = [checkpoint.index[letter] for letter in "ABCD"[:options]]
    alone = letter_scores(checkpoint.model, features, questions, letters=letters)
    np.testing.assert_allclose(untrained.test.reshape(-1, options), alone, atol=0.01)  # kept in half precision
    assert np.abs(untrained.test - first.test).max() > 0.01


def test_a_model_that_cannot_see_has_other_features(study, tmp_path):
    med_mat_fits.blind_rows(tmp_path, rows=_first(study).rows, seed=0)
    blind, seeing = med_mat_fits.Rows(tmp_path), med_mat_fits.Rows(_first(study).rows)
    assert blind.subsets == seeing.subsets and torch.equal(blind.questions.ids, seeing.questions.ids)
    assert blind.features.shape == seeing.features.shape and abs(float(blind.features.mean())) < 0.01
    assert not torch.allclose(blind.features, seeing.features)


# ---------------------------------------------------------------------- reading scores
def _scored(test, right, pool) -> Scored:
    return Scored(np.array(test, float), np.array(right), np.array(pool, float))


def test_a_constant_letter_scores_chance_and_the_prior_takes_it_away():
    """Two images, two rotations: B is always preferred by 5, the truth by 1."""
    test = [[[1, 5], [0, 6]], [[0, 6], [1, 5]]]
    right = [[0, 1], [1, 0]]
    scored = _scored(test, right, [[[0, 5], [0, 5]]])
    assert scored.accuracy() == 0.5 and scored.accuracy(corrected=True) == 1.0


def test_pairs_that_share_a_target_count_once():
    targets = [SimpleNamespace(no=no) for no in ("03", "03", "03", "28")]
    values = np.array([[0.2, 0.4, 0.6, 1.0], [0.0, 0.0, 0.0, 0.5]])
    np.testing.assert_allclose(over_targets(values, targets), [0.7, 0.25])


def test_accuracies_are_seeds_by_jobs():
    good, bad = _scored([[[1, 0]]], [[0]], [[[0, 0]]]), _scored([[[0, 1]]], [[0]], [[[0, 0]]])
    np.testing.assert_array_equal(
        accuracies([[{"03": good}, {"28": bad}], [{"03": bad}, {"28": bad}]]), [[1, 0], [0, 0]]
    )


def test_the_rule_and_its_share(study):
    pairs = study.pairs()[:3]
    arms = {"baseline": [[0.5, 0.5, 0.5]], "baseline_plus": [[0.4, 0.6, 0.5]], "related_pair": [[0.6, 0.6, 0.7]]}
    arms |= {"broken_pair": [[0.5] * 3], "task_only": [[0.7, 0.1, 0.6]]}
    table = med_mat_tables.table(pairs, {name: np.array(values) for name, values in arms.items()})
    assert table["passes"].tolist() == [True, False, True]  # strictly above both
    assert table["passes with task-only"].tolist() == [False, False, True]
    line = med_mat_tables.by_type(table).loc["all"]
    assert (line["pairs"], line["pass"]) == (3, 2) and line["low"] < 2 / 3 < line["high"]
    gains, p = med_mat_tables.by_target(table)
    assert gains.mean() == pytest.approx(table.groupby("target")["gain"].mean().mean()) and 0 < p <= 1


def test_chance_is_measured_in_errors_of_one_test_set(study):
    import pandas as pd

    table = pd.DataFrame({"02": [0.25, 0.25], "03": [0.75, 0.5]})
    found = med_mat_arms.chance(study, table)
    assert found.loc["02", "errors away"] == 0
    assert found.loc["03", "errors away"] == pytest.approx(0.125 / np.sqrt(0.25 / 8))


# ---------------------------------------------------------------------- few shots
def test_contexts_hold_so_many_of_each_label():
    labels = ["cyst", "node", "cyst", "node", "cyst", "node"]
    drawn = med_mat_few_shot.contexts(labels, shots=2, count=5, seed=0)
    assert drawn.shape == (5, 4) and all(sorted(labels[i] for i in row) == ["cyst"] * 2 + ["node"] * 2 for row in drawn)
    assert all(len(set(row)) == 4 for row in drawn) and len({tuple(row) for row in drawn}) > 1
    assert med_mat_few_shot.contexts(labels, shots=0, count=5, seed=0).shape == (5, 0)


def test_a_prompt_without_examples_is_an_ordinary_one_and_examples_are_read(study):
    checkpoint, rows = med_mat_fits.with_world_words(_first(study).model, seed=0), med_mat_fits.Rows(_first(study).rows)
    features, q, options = rows.of("03", "test")
    letters = [checkpoint.index[letter] for letter in "AB"]
    ids, mask, none = q.ids[:, None], q.mask[:, None], torch.zeros(len(q.ids), 0, dtype=torch.long)
    plain = med_mat_few_shot.prompted_scores(checkpoint, features[:, None], ids, mask, none, letters=letters)
    np.testing.assert_allclose(plain, letter_scores(checkpoint.model, features, q, letters=letters), atol=1e-5)
    told = [torch.full((len(q.ids), 1), letter) for letter in letters]
    shown = [torch.cat([part, part], 1) for part in (features[:, None], ids, mask)]
    first, second = (med_mat_few_shot.prompted_scores(checkpoint, *shown, t, letters=letters) for t in told)
    assert options == 2 and np.abs(first - second).max() > 1e-3  # the examples' letters matter
