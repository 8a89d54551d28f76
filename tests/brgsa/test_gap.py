"""Pairs whose gap is measured: cells mapped to names they never saw, spread given back, and what is judged by which rule."""

import json

import numpy as np
import pytest

from lib.evaluation import EvaluationError
from lib.evaluation.modality_gap import gap_along_others, measure_gap
from lib.workflow import paths
from lib.workflow.session import SessionError, start
from papers.brgsa import gap, grounding, mapped

GRID, STRUCTURES = (4, 4, 20), 24


@pytest.fixture
def scan(tmp_path):
    """Cells whose features are the mean name of what they show, twisted; two structures a kind."""
    rng = np.random.default_rng(0)
    vectors = grounding.unit(rng.standard_normal((STRUCTURES, 16)) + 0.2)
    shown = np.where(rng.random((int(np.prod(GRID)), STRUCTURES)) < 0.08, 0.5, 0.0)
    features = shown @ vectors @ rng.standard_normal((16, 40)) + 0.02 * rng.standard_normal((len(shown), 40))
    names = [f"{side} {'abcdefghijkl'[number]}" for number in range(STRUCTURES // 2) for side in ("left", "right")]
    noise = [rng.standard_normal(features.shape) for _ in range(2)]
    return grounding.Scan(tmp_path, GRID, names, vectors, shown, features, noise)


def setting(scan, seed=0):
    slab, fold = grounding.slabs_of(GRID, 5), grounding.folds_of(STRUCTURES, 4, seed)
    return {"slab": slab, "fold": fold, "pairs": mapped.draw_pairs(scan.shown, seed=seed)}


def test_every_structure_gives_eight_different_cells_that_show_it(scan):
    cell, structure = mapped.draw_pairs(scan.shown, seed=1).T
    assert np.bincount(structure).tolist() == [grounding.LEAST] * STRUCTURES
    assert (scan.shown[cell, structure] >= grounding.SHOWN).all()
    assert len({tuple(pair) for pair in zip(cell, structure, strict=True)}) == len(cell)


def test_the_map_is_the_grounding_s_with_an_intercept(scan):
    rng = np.random.default_rng(1)
    train, targets, held = scan.pretrained[:90], rng.standard_normal((90, 5)), scan.pretrained[90:95]
    weights, mean, scale = grounding._ridge(train, targets, mapped.PENALTY)
    wanted = (held - mean) / scale @ weights + targets.mean(axis=0)
    np.testing.assert_allclose(mapped.predict(train, targets, held), wanted, atol=1e-9)


def test_cells_come_to_names_that_the_map_never_saw_and_shuffled_ones_do_not(scan):
    how = setting(scan)
    shuffled = scan.vectors[np.random.default_rng(2).permutation(STRUCTURES)]
    found = mapped.map_pairs(scan.pretrained, scan.shown, [scan.vectors, shuffled], **how)
    leads = []
    for image, names in zip(found, (scan.vectors, shuffled), strict=True):
        text = names[how["pairs"][:, 1]]
        others = np.roll(text, len(text) // 2, axis=0)
        leads.append([measure_gap(image, side, seed=0).paired_cosine for side in (text, others)])
    right, shuffled = (own - others for own, others in leads)
    assert right > 0.1 and shuffled < right / 2


def test_neither_the_name_nor_the_slab_of_a_pair_is_in_its_map(scan):
    how = setting(scan)
    cell, structure = how["pairs"].T
    before = mapped.map_pairs(scan.pretrained, scan.shown, [scan.vectors], **how)[0]
    others = scan.vectors.copy()
    others[how["fold"] == 0] *= -1  # names of a fold change: nothing that is paired with them may
    after = mapped.map_pairs(scan.pretrained, scan.shown, [others], **how)[0]
    mine = how["fold"][structure] == 0
    np.testing.assert_array_equal(before[mine], after[mine])
    assert not np.allclose(before[~mine], after[~mine])
    shown = scan.shown.copy()
    shown[how["slab"] == 2] = 0  # what a slab shows is forgotten: only maps of other slabs may change
    after = mapped.map_pairs(scan.pretrained, shown, [scan.vectors], **how)[0]
    same = np.isclose(before, after).all(axis=1)
    assert same[how["slab"][cell] == 2].all() and not same.all()


def test_spread_and_noise_give_the_variance_back_and_means_are_of_the_others():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 10)
    image, text = 0.2 * rng.standard_normal((400, 6)) + 1, rng.standard_normal((400, 6))
    for given in (mapped.give_spread(image, text, groups), mapped.give_noise(image, text, groups, seed=0)):
        assert given.var(axis=0).sum() == pytest.approx(text.var(axis=0).sum(), rel=0.1)
        np.testing.assert_allclose(given.mean(axis=0), image.mean(axis=0), atol=0.2)
    centred = mapped.remove_mean(image, groups)
    np.testing.assert_allclose(
        centred[:10], grounding.unit(image)[:10] - grounding.unit(image)[10:].mean(axis=0), atol=1e-12
    )


def test_a_gap_of_all_groups_is_seen_along_the_others_and_one_of_a_single_group_is_not():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(20), 10)
    text = rng.standard_normal((200, 8))
    everywhere = gap_along_others(text + 4, text - 4, groups=groups)
    assert everywhere.mean() == pytest.approx(measure_gap(text + 4, text - 4, seed=0).centroid_distance, rel=1e-3)
    image = text + 0.3 * rng.standard_normal(text.shape)
    image[groups == 0] = 9
    alone = gap_along_others(image, text, groups=groups)
    assert abs(alone.mean()) < 0.5 * measure_gap(image, text, seed=0).centroid_distance
    with pytest.raises(EvaluationError, match="two groups or more"):
        gap_along_others(image, text, groups=np.zeros(200))


def test_the_claims_of_mapped_cells_are_judged_over_kinds_and_no_others(scan, monkeypatch, capsys):
    monkeypatch.setattr(gap, "read_scan", lambda run, stage: scan)
    run = start("brgsa", "fig_modality_gap", profile="real", seeds=2)
    found = gap.mapped(run, text="names")
    assert set(found.arms) == set(gap.ARMS["mapped"])  # what a notebook may draw is said before it is built
    assert f"{8 * STRUCTURES} pairs" in found.about and f"{STRUCTURES // 2} kinds" in found.about
    image, text = found.drawn("pretrained", 50)
    assert len(image) == len(text) == 64 and np.allclose(np.linalg.norm(text, axis=1), 1)
    found.judge({})
    assert list(run.judged) == ["R2a", "R2b", "R2c", "R2d"]
    assert {one["effect"]["n"] for one in run.judged.values()} == {STRUCTURES // 2}
    assert capsys.readouterr().out.index("could not be told from none") < 80  # said before the outcome
    each = found.along("pretrained").mean() - found.along("random weights").mean()
    assert run.judged["R2d"]["effect"]["mean"] == pytest.approx(each)


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": "summaries"},
        {"pairs": "trained"},
        {"pairs": "trained", "text": "summaries"},
        {"shown": ["nce_raw"]},
        {"picture": "tsne"},
        {"points": 2},
    ],
)
def test_what_a_source_does_not_have_is_refused_before_anything_is_built(wrong):
    good = {"pairs": "mapped", "text": "names", "shown": ["pretrained"], "picture": "pca", "points": 9}
    gap.check(**good)
    with pytest.raises(SessionError, match=r"^parameter '(text|shown|picture|points)'"):
        gap.check(**(good | wrong))


@pytest.mark.parametrize(("pairs", "profile"), [("trained", "mini"), ("mapped", "real")])
def test_the_arms_that_may_be_drawn_are_those_that_were_measured(pairs, profile):
    numbers = json.loads(paths.result("brgsa", "fig_modality_gap", profile).read_text(encoding="utf-8"))["numbers"]
    assert {one["arm"] for one in numbers if one["quantity"] == "mean paired cosine"} == set(gap.ARMS[pairs])
