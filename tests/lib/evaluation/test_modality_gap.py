"""The modality gap: closed forms, invariances, and cases where the answer is known to be a gap or none."""

import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA

from lib.evaluation import EvaluationError
from lib.evaluation.modality_gap import (
    measure_gap,
    modality_classifier_accuracy,
    pca_embedding,
    umap_embedding,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_opposite_corners_in_closed_form():
    image, text = np.tile([3.0, 0.0], (20, 1)), np.tile([0.0, 5.0], (20, 1))
    gap = measure_gap(image, text, seed=0)
    assert gap.centroid_distance == pytest.approx(np.sqrt(2))
    assert (gap.classifier_accuracy, gap.paired_cosine) == (1.0, 0.0)
    assert (gap.image_norm, gap.text_norm, gap.pairs) == (3.0, 5.0, 20)


def test_identical_pairs_have_no_gap():
    image = normal(60, 8)
    gap = measure_gap(image, 2 * image, seed=3)  # longer, same direction
    assert gap.centroid_distance == pytest.approx(0, abs=1e-12)
    assert gap.paired_cosine == pytest.approx(1)
    assert gap.classifier_accuracy == 0.5  # of each held-out pair one member is right, one wrong
    assert gap.text_norm == pytest.approx(2 * gap.image_norm)


def test_the_same_distribution_is_mixed_and_a_shift_is_not():
    accuracies = [
        modality_classifier_accuracy(normal(400, 8, seed=s), normal(400, 8, seed=s + 50), seed=s) for s in range(4)
    ]
    assert np.mean(accuracies) == pytest.approx(0.5, abs=0.04)
    shifted = measure_gap(normal(400, 8, seed=1), normal(400, 8, seed=2) + 3, seed=0)
    assert shifted.classifier_accuracy > 0.95 and shifted.centroid_distance > 0.5


def test_the_gap_ignores_rotation_and_length():
    image, text = normal(80, 6, seed=1), normal(80, 6, seed=2) + 0.5
    gap = measure_gap(image, text, seed=0)
    rotation = np.linalg.qr(normal(6, 6, seed=3))[0]
    turned = measure_gap(image @ rotation, text @ rotation, seed=0)
    assert turned.centroid_distance == pytest.approx(gap.centroid_distance)
    assert turned.paired_cosine == pytest.approx(gap.paired_cosine)
    lengths = np.random.default_rng(4).uniform(0.1, 9, size=(80, 1))
    scaled = measure_gap(image * lengths, text, seed=0)
    assert scaled.classifier_accuracy == gap.classifier_accuracy
    assert scaled.centroid_distance == pytest.approx(gap.centroid_distance)
    assert scaled.image_norm != pytest.approx(gap.image_norm)


def test_pairing_matters_to_the_cosine_only():
    image = normal(50, 5, seed=1) + 1
    text = image + 0.1 * normal(50, 5, seed=2)
    paired, crossed = measure_gap(image, text, seed=0), measure_gap(image, text[::-1], seed=0)
    assert paired.paired_cosine > 0.95 > crossed.paired_cosine
    assert crossed.centroid_distance == pytest.approx(paired.centroid_distance)


def test_same_seed_same_accuracy_and_the_seed_chooses_the_split():
    image, text = normal(60, 4, seed=1), normal(60, 4, seed=2) + 0.3
    values = [modality_classifier_accuracy(image, text, seed=s) for s in range(6)]
    assert values == [modality_classifier_accuracy(image, text, seed=s) for s in range(6)]
    assert len(set(values)) > 1


def test_groups_keep_copies_of_a_pair_on_one_side():
    # 12 patients with 10 near-copies each and labels a classifier can only memorise: leaking patients looks like a gap
    patients = np.repeat(np.arange(12), 10)
    image = normal(12, 60, seed=1)[patients] + 1e-3 * normal(120, 60, seed=2)
    text = normal(12, 60, seed=3)[patients] + 1e-3 * normal(120, 60, seed=4)
    leaking = np.mean([modality_classifier_accuracy(image, text, seed=s) for s in range(5)])
    honest = np.mean([modality_classifier_accuracy(image, text, seed=s, groups=patients) for s in range(5)])
    assert leaking == 1.0 and honest < 0.75


def test_pca_is_the_best_linear_map_of_the_unit_vectors():
    vectors = normal(40, 6) * np.array([5, 3, 1, 1, 1, 1])
    embedded = pca_embedding(vectors)
    assert embedded.shape == (40, 2)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    singular = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=0), singular[:2])
    np.testing.assert_allclose(embedded, PCA(2, svd_solver="full").fit_transform(unit), atol=1e-10)
    np.testing.assert_allclose(pca_embedding(vectors * 7), embedded, atol=1e-10)


@pytest.mark.slow
def test_umap_keeps_two_clusters_apart_quietly_and_repeats():
    centre = np.repeat(9 * np.eye(5)[:2], 25, axis=0)
    vectors = normal(50, 5) + centre
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        first = umap_embedding(vectors, seed=4)
    np.testing.assert_array_equal(umap_embedding(vectors, seed=4), first)
    assert first.shape == (50, 2)
    centres = first[:25].mean(axis=0), first[25:].mean(axis=0)
    nearer = np.linalg.norm(first - centres[0], axis=1) < np.linalg.norm(first - centres[1], axis=1)
    np.testing.assert_array_equal(nearer, np.repeat([True, False], 25))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure_gap(normal(5, 3), normal(4, 3), seed=0), r"shape \(5, 3\) and text \(4, 3\)"),
        (lambda: measure_gap(np.eye(5) * [1, 1, 0, 1, 1], np.eye(5), seed=0), r"image\[2\] is the zero vector"),
        (lambda: measure_gap(normal(3, 3), normal(3, 3), seed=0), "3 pairs in 3 groups cannot be split"),
        (lambda: measure_gap(normal(6, 3), normal(6, 3), seed=0, groups=[1] * 6), "in 1 groups cannot be split"),
        (lambda: measure_gap(normal(6, 3), normal(6, 3), seed=0, groups=[1] * 5), "5 entries for 6 pairs"),
        (lambda: measure_gap(normal(6, 3) * [1, np.nan, 1], normal(6, 3), seed=0), r"image\[0, 1\] is nan"),
        (lambda: umap_embedding(normal(4, 3), seed=0), "at least 5"),
        (lambda: pca_embedding(normal(1, 3)), "at least 2 rows"),
        (lambda: umap_embedding(normal(6, 3) * np.eye(6)[:, 1:2], seed=0), r"vectors\[0\] is a zero vector"),
        (lambda: pca_embedding(np.diag([1.0, 2.0, 0.0])), r"vectors\[2\] is a zero vector"),
        (lambda: pca_embedding(np.diag([1.0, 1e-200, 1.0])), r"vectors\[1\] is a zero vector"),
        (lambda: umap_embedding(np.diag([1.0, 1, 1, 1, 1e200]), seed=0), r"vectors\[4\] is .* too long"),
    ],
)
def test_bad_input_names_the_row(call, message):
    with pytest.raises(EvaluationError, match=message):
        call()
