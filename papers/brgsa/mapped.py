"""Cells of a real CT and names of structures in one space: a linear map brings each cell to the names of what it shows.

A pair is a cell and the name of one structure in it; the map that brings the cell was fitted on other slabs of the body and
on other names. A ridge map shrinks what it predicts towards the mean of all names; what shrinkage takes can be given back.

    vectors = map_pairs(features, shown, [names], slab=slab, fold=fold, pairs=pairs)[0]
"""

from __future__ import annotations

import numpy as np

from lib.evaluation import unit
from lib.streams import stream
from papers.brgsa.grounding import LEAST, SHOWN, apart, told

PENALTY = 0.1  # as in the grounding of cells


def draw_pairs(shown: np.ndarray, *, seed: int) -> np.ndarray:
    """(S * 8, 2): eight cells of each structure and the structure, so that a lung weighs no more than a rib."""
    draw = stream(seed, "pairs")
    cells = [draw.choice(np.flatnonzero(column), LEAST, replace=False) for column in (shown >= SHOWN).T]
    return np.stack([np.concatenate(cells), np.repeat(np.arange(len(cells)), LEAST)], axis=1)


def predict(train: np.ndarray, targets: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(held, d): what the ridge map of the grounding, fitted from ``train`` (n, C) to ``targets`` (n, d), makes of ``held``.

    Solved over cells, which are fewer than features. Features are centred, so that the intercept is the mean of the targets;
    a map without one would leave a gap wherever names have a mean.
    """
    mean, scale = train.mean(axis=0), train.std(axis=0) + 1e-8
    standard = (train - mean) / scale
    kernel = standard @ standard.T
    kernel[np.diag_indices_from(kernel)] += PENALTY * len(train)
    return targets.mean(axis=0) + np.linalg.solve(kernel, standard @ ((held - mean) / scale).T).T @ targets


def map_pairs(
    features: np.ndarray, shown: np.ndarray, names: list[np.ndarray], *, slab: np.ndarray, fold: np.ndarray, pairs: np.ndarray
) -> list[np.ndarray]:  # fmt: skip
    """The cell of each pair as a vector (pairs, d), by a map that saw neither its slab nor any name of its structure's fold.

    ``features`` (cells, C); ``shown`` (cells, S), shares; ``slab`` (cells,); ``fold`` (S,); ``pairs`` (N, 2), cell and structure.
    ``names``: unit vectors (S, d) of the structures, once for each set of maps to be fitted; one result for each.
    """
    cell, structure = pairs.T
    found = np.zeros((len(pairs), len(names) * names[0].shape[1]))
    for unseen in np.unique(fold):
        shares = told(shown, fold != unseen)
        for number in np.unique(slab):
            train = apart(slab, number) & (shares.sum(axis=1) > 0)
            targets = np.hstack([unit(shares[train] @ one[fold != unseen]) for one in names])
            mine = (fold[structure] == unseen) & (slab[cell] == number)
            found[mine] = predict(features[train], targets, features[cell[mine]])
    return np.split(found, len(names), axis=1)


def _others(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean of ``values`` (N, d) over the rows of all groups but a row's own, (N, d)."""
    names, member = np.unique(groups, return_inverse=True)
    sums, counts = np.zeros((len(names), values.shape[1])), np.bincount(member)
    np.add.at(sums, member, values)
    return ((sums.sum(axis=0) - sums) / (len(values) - counts)[:, None])[member]


def _variance(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(N, 1): the total variance of the rows of all groups but a row's own."""
    squares = (values**2).sum(axis=1, keepdims=True)
    return _others(squares, groups) - (_others(values, groups) ** 2).sum(axis=1, keepdims=True)


def give_spread(image: np.ndarray, text: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """``image`` (N, d) stretched about its mean until its total variance is the text's; both as the other groups have them."""
    mean, stretch = _others(image, groups), np.sqrt(_variance(text, groups) / _variance(image, groups))
    return mean + stretch * (image - mean)


def give_noise(image: np.ndarray, text: np.ndarray, groups: np.ndarray, *, seed: int) -> np.ndarray:
    """``image`` with as much more variance as :func:`give_spread` gives, in directions that say nothing."""
    lacking = np.maximum(_variance(text, groups) - _variance(image, groups), 0)
    return image + np.sqrt(lacking / image.shape[1]) * stream(seed, "noise").standard_normal(image.shape)


def remove_mean(vectors: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Unit vectors less their mean over the other groups."""
    return unit(vectors) - _others(unit(vectors), groups)
