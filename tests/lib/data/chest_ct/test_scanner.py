"""The drawn chest: shapes against closed forms, findings against the same scan without them."""

import numpy as np
import pytest

from lib.data.chest_ct.findings import FINDINGS, LEXICON, LOCATION_WORDS
from lib.data.chest_ct.scanner import Anatomy, Observation, observe, reconstruct, render_scan
from lib.data.chest_ct.shapes import Grid, ball, capsule, disc, ellipsoid, half_space, paint, shell
from lib.data.ct_rate import CT_RATE_LABELS, CT_RATE_LT_LABELS

EVERY_ZONE = [(name, zone) for name, finding in FINDINGS.items() for zone in finding.zones]


def draw(observations, *, seed=3, **grid):
    return render_scan(np.random.default_rng(seed), observations, **grid)


# ---- the table ----
def test_findings_are_the_33_labels_in_falling_frequency():
    names = list(FINDINGS)
    assert set(names[:18]) == set(CT_RATE_LABELS) and set(names[18:]) == set(CT_RATE_LT_LABELS)
    frequent = [FINDINGS[n].prevalence for n in names[:18]]
    rare = [FINDINGS[n].prevalence for n in names[18:]]
    assert frequent == sorted(frequent, reverse=True) and rare == sorted(rare, reverse=True)
    assert (frequent[0], rare[0]) == pytest.approx((0.35, 0.06)) and (frequent[-1], rare[-1]) == pytest.approx(
        (0.10, 0.012)
    )
    slopes = np.diff(np.log(frequent)) / np.diff(np.log(np.arange(1, 19)))
    assert np.allclose(slopes, slopes[0])  # a straight line of log frequency over log rank


def test_every_zone_has_words_and_no_two_findings_look_and_lie_alike():
    assert {zone for f in FINDINGS.values() for zone in f.zones} == set(LOCATION_WORDS)
    looks = [(f.shape, f.zones, f.hu) for f in FINDINGS.values()]
    assert len(set(looks)) == len(looks)
    assert all(len(phrases) >= 5 and phrases[0] == name.lower() for name, phrases in LEXICON.items())


# ---- shapes ----
@pytest.mark.parametrize("spacing", [(5, 5, 5), (4, 4, 9), (7.5, 7.5, 15)])
@pytest.mark.parametrize(
    "shape, volume",
    [
        (ball((3, -2, 5), 40), 4 / 3 * np.pi * 40**3),
        (ellipsoid((3, -2, 5), (50, 35, 42)), 4 / 3 * np.pi * 50 * 35 * 42),
        (capsule((0, 0, -30), (20, 10, 40), 30), np.pi * 30**2 * np.sqrt(400 + 100 + 4900) + 4 / 3 * np.pi * 30**3),
        (disc((1, 2, 3), (0.2, -0.1, 1), 60, 40), np.pi * 60**2 * 40),
        (shell(ball((0, 0, 0), 40), 24), 4 / 3 * np.pi * (64**3 - 40**3)),
        (half_space(ball((0, 0, 0), 50), (0, 0.6, 0.8), 0), 2 / 3 * np.pi * 50**3),
    ],
)
def test_a_painted_shape_has_its_volume(shape, volume, spacing):
    grid = Grid.of(tuple(int(200 / s) for s in spacing), spacing)
    painted = np.zeros(grid.shape, dtype=np.float32)
    paint(painted, shape, grid, hu=1)
    assert painted.sum() * np.prod(spacing) == pytest.approx(volume, rel=0.06)
    assert painted.min() >= 0 and painted.max() <= 1


def test_painting_keeps_to_the_box_and_leaves_what_is_outside_the_grid():
    grid = Grid.of((20, 20, 20), (5, 5, 5))
    whole = Grid.of((20, 20, 20), (5, 5, 5))
    volume = np.zeros(grid.shape, dtype=np.float32)
    paint(volume, ball((900, 0, 0), 20), grid, hu=1)
    assert not volume.any()
    shape = ball((10, -15, 5), 22)
    paint(volume, shape, grid, hu=1)
    everywhere = np.clip(0.5 - shape.distance(*whole.axes) / whole.voxel, 0, 1)  # no bounding box
    assert np.allclose(volume, everywhere, atol=1e-6)


# ---- findings ----
@pytest.mark.parametrize("name, zone", EVERY_ZONE)
def test_a_finding_changes_its_mask_and_little_else(name, zone):
    anatomy = Anatomy.sample(np.random.default_rng(3))
    for severity in (0.0, 1.0):
        without, scan = (draw(o, anatomy=anatomy) for o in ([], [Observation(name, zone, severity)]))
        mask, change = scan.masks[name], np.abs(scan.hu - without.hu)
        voxel_signal = change.sum() * np.prod(scan.spacing) / (9.6 * 9.6 * 19.2)
        assert change[mask].mean() > 50 and change[mask].mean() > 20 * change[~mask].mean()
        assert voxel_signal > 1.5 * 900  # at least 1.5 voxels of the 40 x 40 x 20 grid turned from air to tissue
        x, y, _ = Grid.of(scan.hu.shape, scan.spacing).axes
        width, depth = anatomy.body
        reach = np.sqrt(((x - anatomy.middle[0]) / width) ** 2 + ((y - anatomy.middle[1]) / depth) ** 2)
        assert reach[:, :, 0][np.nonzero(mask)[:2]].max() < 1.03  # inside the skin


@pytest.mark.parametrize("name, zone", [(n, z) for n, z in EVERY_ZONE if z.startswith(("left", "right"))])
def test_a_finding_lies_on_its_side_and_at_its_height(name, zone):
    for seed in range(3):
        anatomy = Anatomy.sample(np.random.default_rng(seed))
        scan = draw([Observation(name, zone, 0.5)], seed=seed, anatomy=anatomy)
        x, _, z = (a.ravel() for a in Grid.of(scan.hu.shape, scan.spacing).axes)
        where = np.argwhere(scan.masks[name])
        side = "left" if zone.startswith("left") else "right"
        centre, _ = anatomy.lungs[side]
        assert np.sign(x[where[:, 0]].mean() - anatomy.spine[0]) == (1 if side == "left" else -1)
        if "upper" in zone:
            assert z[where[:, 2]].mean() > centre[2]
        if "lower" in zone:
            assert z[where[:, 2]].mean() < centre[2]


def test_severity_makes_it_more_visible():
    for name, finding in FINDINGS.items():
        zone = finding.zones[0]
        base = draw([]).hu
        mild, severe = (np.abs(draw([Observation(name, zone, s)]).hu - base).sum() for s in (0.0, 1.0))
        assert severe > 1.1 * mild, name


# ---- scans ----
def test_the_same_stream_draws_the_same_scan_and_another_seed_another():
    several = [Observation("Lung mass", "left upper lung", 0.4), Observation("Spondylosis", "spine", 0.9)]
    one, again, other = draw(several), draw(several), draw(several, seed=4)
    assert np.array_equal(one.hu, again.hu) and np.abs(one.hu - other.hu).mean() > 1
    assert all(np.array_equal(one.masks[n], again.masks[n]) for n in one.masks)


def test_leaving_one_finding_out_leaves_the_others_where_they_were():
    both = [Observation("Pleural effusion", "left pleura", 0.5), Observation("Lung mass", "right upper lung", 0.5)]
    scan, alone, reordered = draw(both), draw(both[:1]), draw(both[::-1])
    assert np.array_equal(scan.masks["Pleural effusion"], alone.masks["Pleural effusion"])
    assert np.array_equal(scan.hu, reordered.hu)
    far = ~scan.masks["Lung mass"]
    assert np.abs(scan.hu - alone.hu)[far].mean() < 1


def test_a_finer_grid_shows_the_same_chest():
    observations = [observe(np.random.default_rng(1), n) for n in ("Lung mass", "Pleural effusion", "Cardiomegaly")]
    coarse = draw(observations, shape=(36, 36, 18), spacing=(10, 10, 20))
    fine = draw(observations, shape=(72, 72, 36), spacing=(5, 5, 10))
    averaged = fine.hu.reshape(36, 2, 36, 2, 18, 2).mean((1, 3, 5))
    assert np.corrcoef(averaged.ravel(), coarse.hu.ravel())[0, 1] > 0.99
    assert np.abs(averaged - coarse.hu).mean() < 40


def test_densities_are_those_of_a_chest():
    anatomy = Anatomy.sample(np.random.default_rng(3))
    scan = draw([], anatomy=anatomy)

    def at(point):
        index = np.rint(np.array(point) / scan.spacing + (np.array(scan.hu.shape) - 1) / 2).astype(int)
        return scan.hu[tuple(index)]

    assert at(anatomy.lungs["right"][0]) == pytest.approx(-850, abs=90)
    assert at(anatomy.heart[0]) == pytest.approx(45, abs=20)
    assert at([*anatomy.spine, 0]) > 180
    assert at((-175, -175, 0)) == -1000


def test_two_reconstructions_of_one_scan():
    rng = np.random.default_rng(5)
    scan = render_scan(rng, [observe(rng, "Lung nodule")])
    soft, spacing = reconstruct(scan, np.random.default_rng(1), kernel="soft", noise=20)
    sharp, thin = reconstruct(scan, np.random.default_rng(2), kernel="sharp", noise=20)
    assert soft.shape == scan.hu.shape and spacing == scan.spacing and sharp.shape == (48, 48, 32)
    assert thin[2] * sharp.shape[2] == pytest.approx(spacing[2] * soft.shape[2])  # the same extent
    clean, _ = reconstruct(scan, np.random.default_rng(2), kernel="sharp", noise=0)
    body = (scan.hu > -500).all(axis=2)
    assert (soft - scan.hu)[body].std() == pytest.approx(20, rel=0.03)
    assert (sharp - clean)[body].std() == pytest.approx(30, rel=0.03)
    means = sharp.mean(axis=2), soft.mean(axis=2)
    assert np.corrcoef(means[0].ravel(), means[1].ravel())[0, 1] > 0.99
    edge_energy = [np.abs(np.diff(v.mean(axis=2), axis=0)).sum() for v in (clean, scan.hu)]
    assert edge_energy[0] > 1.05 * edge_energy[1]
    with pytest.raises(ValueError, match="'soft' or 'sharp'"):
        reconstruct(scan, rng, kernel="bone", noise=20)
