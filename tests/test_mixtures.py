"""What vectors tell of their kind, against numpy."""

import numpy as np

from bycatch.kernels.mixtures import kinds


def test_kinds_are_those_of_their_densities():
    rng = np.random.default_rng(1)
    n, j, k = 30, 4, 6
    root, added = rng.normal(size=(n, k, k)), rng.normal(size=(j, k, k))
    covariance = root @ root.transpose(0, 2, 1) + np.eye(k)
    wide = added @ added.transpose(0, 2, 1)
    shift, residual = rng.normal(size=(j, k)), rng.normal(size=(n, k))
    share = np.array([0.5, 0.3, 0.15, 0.05])
    result = kinds(residual, covariance, shift, wide, share)
    matrix = covariance[:, None] + wide
    inverse = np.linalg.inv(matrix)
    off = residual[:, None] - shift
    pulled = (inverse @ off[..., None])[..., 0]
    density = share * np.exp(-0.5 * ((pulled * off).sum(axis=2) + np.linalg.slogdet(matrix)[1]))
    odds = density / density.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(result.log, np.log(density.sum(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(result.odds, odds, rtol=1e-10)
    np.testing.assert_allclose(result.pulled, pulled, rtol=1e-9)
    np.testing.assert_allclose(
        result.weight, np.einsum("ij,ijkl->ikl", odds, inverse), rtol=1e-9, atol=1e-12
    )


def test_a_vector_far_from_all_kinds_has_odds():
    eye = np.eye(2)
    result = kinds(
        np.full((1, 2), 1e4), eye[None], np.zeros((2, 2)), np.stack([0 * eye, eye]), np.ones(2) / 2
    )
    np.testing.assert_allclose(result.odds, [[0.0, 1.0]], atol=1e-12)
