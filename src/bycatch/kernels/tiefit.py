"""One least-squares fit for all images of a field: tied to one another and to reference stars.

Each object has a true position that is not known.  Every image that detects it
measures that position through a frame that is off by a few numbers; a reference
catalog, where it knows the object, measures it in the true frame.  Eliminating
the positions leaves a small linear problem for the frames' numbers (the "within"
estimator of block-adjustment; Eichhorn 1960, Astron. Nachr. 285, 233).  Where images
of several epochs are tied, each object has a motion, too, of which only the scatter
is known: it is eliminated likewise, so that what the stars of a field move by in the
mean does not turn into a drift of the frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Floats, Ints

REFERENCE = -1
"""The "image" of observations that come from the reference catalog."""
TERMS = ("xi", "eta", "roll", "scale", "skew", "shear")
"""Names of the common numbers, in their order; a fit takes the first 3, 4 or 6."""
STUDENT_NU = 4.0
"""Degrees of freedom of Student's t, whose weights make outliers harmless."""
N_ROUNDS = 8


@dataclass(frozen=True, eq=False)
class Observations:
    """Positions of objects, by image and by the reference catalog.

    Attributes
    ----------
    xy : (K, 2) float, mas; in the plane tangent at the field's centre
    variance : (K, 2) float, mas^2
    image : (K,) int; REFERENCE for those of the catalog
    obj : (K,) int; 0 ... n_objects - 1
    centres : (n_images, 2) float, mas; about which images turn against one another
    hub : the image that the others are tied to
    years : (K,) float; time of each, from any; None: all at one time
    motion_variance : (n_objects,) float; of each object's motion about 0, (mas/yr)^2 per axis
    """

    xy: Floats
    variance: Floats
    image: Ints
    obj: Ints
    centres: Floats
    hub: int
    years: Floats | None = None
    motion_variance: Floats | None = None


@dataclass(frozen=True, eq=False)
class Frames:
    """The result: what has to be added to the positions of each image.

    Attributes
    ----------
    common : (n_terms,) float
        xi, eta in mas; the linear terms in mas per arcsec about the origin.
    relative : (n_images, 3) float
        xi, eta, roll of each image beyond the common ones, about its centre; 0 for the hub.
    covariance : (P, P) float
        Of the common numbers and then 3 for each image but the hub, in their order.
    residuals : (K, 2) float, mas
        Corrected positions minus the position of their object.
    standard : (K,) float
        Size of the residual over its expected error, per axis.
    weights : (K,) float
        Between 0 (outlier) and 1.
    left_out : (K, 2) float, mas
        For the catalog's observations: object minus catalog in a fit without this star.  Else NaN.
    """

    common: Floats
    relative: Floats
    covariance: Floats
    residuals: Floats
    standard: Floats
    weights: Floats
    left_out: Floats


def fitted_frames(data: Observations, n_terms: int, prior_variance: Floats) -> Frames:
    """Fit the frames of all images at once.

    Parameters
    ----------
    data : Observations
        At least one of them the catalog's.
    n_terms : 3 (shift, roll), 4 (and scale) or 6 (general)
    prior_variance : (n_terms,) float
        Of the common numbers about 0; infinite where nothing is known.
    """
    n_images = len(data.centres)
    design = np.stack([_design(data, n_terms, axis) for axis in (0, 1)])
    prior = np.zeros(design.shape[2], dtype=np.float64)
    prior[:n_terms] = 1.0 / prior_variance
    trust = np.ones(len(data.obj))
    # Few pairs can't distinguish outliers from errors: start from the middle, not from the mean.
    for _ in range(N_ROUNDS):
        weights = np.asarray(trust[:, np.newaxis] / data.variance, dtype=np.float64)
        normal, right = np.diag(prior), np.zeros(len(prior))
        for axis in (0, 1):
            w = weights[:, axis]
            rows = _within(design[axis], w, data.obj)
            target = _within(data.xy[:, axis, np.newaxis], w, data.obj)[:, 0]
            at_rest = _without_motion(rows, w, data)
            normal = normal + (rows * w[:, np.newaxis]).T @ at_rest
            right -= at_rest.T @ (w * target)
        # An image without ties leaves its numbers undetermined.
        covariance = np.asarray(np.linalg.pinv(normal, hermitian=True), dtype=np.float64)
        solution = covariance @ right
        positions = data.xy + np.stack([d @ solution for d in design], axis=1)
        residuals, standard = _residuals(positions, data, weights)
        before, trust = trust, (STUDENT_NU + 1) / (STUDENT_NU + np.maximum(standard, 1.0) ** 2)
        if np.abs(trust - before).max(initial=0) < 1e-3:
            break
    relative = np.zeros((n_images, 3))
    relative[_others(data)] = solution[n_terms:].reshape(-1, 3)
    left_out = _left_out(positions, data, design, weights, covariance)
    return Frames(solution[:n_terms], relative, covariance, residuals, standard, trust, left_out)


def image_covariance(frames: Frames, data: Observations, image: int) -> Floats:
    """Return the (6, 6) covariance of an image's affine correction about its centre.

    In the order of t_xi, t_eta and the matrix row by row; mas, and mas per arcsec.

    Parameters
    ----------
    frames : Frames
    data : Observations
    image : index of the image
    """
    n_terms = len(frames.common)
    x, y = data.centres[image] / 1000.0
    jacobian = np.zeros((6, len(frames.covariance)))
    jacobian[:, :n_terms] = _common_jacobian(x, y)[:, :n_terms]
    if image != data.hub:
        at = n_terms + 3 * int(np.flatnonzero(_others(data) == image)[0])
        jacobian[:, at : at + 3] = _common_jacobian(0.0, 0.0)[:, :3]
    return np.asarray(jacobian @ frames.covariance @ jacobian.T)


def common_variance(frames: Frames, xy_arcsec: Floats) -> Floats:
    """Return the variances (M, 2), mas^2, that the common numbers' errors make at positions.

    Parameters
    ----------
    frames : Frames
    xy_arcsec : (M, 2) float, arcsec in the tangent plane
    """
    n = len(frames.common)
    terms = [common_terms(xy_arcsec, axis)[:, :n] for axis in (0, 1)]
    part = frames.covariance[:n, :n]
    return np.stack([np.einsum("mi,ij,mj->m", t, part, t) for t in terms], axis=1)


def image_affine(frames: Frames, data: Observations, image: int) -> tuple[Floats, Floats]:
    """Return matrix (2, 2) and shift (2,), mas, that correct an image's positions in the plane.

    Parameters
    ----------
    frames : Frames
    data : Observations
    image : index of the image
    """
    x, y = data.centres[image] / 1000.0
    common = _common_jacobian(0.0, 0.0)[:, : len(frames.common)] @ frames.common
    own = frames.relative[image]
    matrix = np.eye(2) + common[2:].reshape(2, 2) / 1000.0
    turn = own[2] / 1000.0 * np.array([[0.0, -1.0], [1.0, 0.0]])
    shift = common[:2] + own[:2] - turn @ np.array([x, y]) * 1000.0
    return matrix + turn, shift


def _common_jacobian(x: float, y: float) -> Floats:
    """Return the affine numbers (t_xi, t_eta, a, b, c, d) about a point [arcsec] by the TERMS."""
    # columns: xi, eta, roll (-y, x), scale (x, y), skew (x, -y), shear (y, x)
    return np.array(
        [
            [1, 0, -y, x, x, y],
            [0, 1, x, y, -y, x],
            [0, 0, 0, 1, 1, 0],
            [0, 0, -1, 0, 0, 1],
            [0, 0, 1, 0, 0, 1],
            [0, 0, 0, 1, -1, 0],
        ],
        dtype=np.float64,
    )


def common_terms(xy_arcsec: Floats, axis: int) -> Floats:
    """Return the (K, 6) derivatives of one axis of positions by the TERMS.

    Parameters
    ----------
    xy_arcsec : (K, 2) float, arcsec in the tangent plane
    axis : 0 for xi, 1 for eta
    """
    x, y = xy_arcsec.T
    zero, one = np.zeros(len(x)), np.ones(len(x))
    columns = [one, zero, -y, x, x, y] if axis == 0 else [zero, one, x, y, -y, x]
    return np.stack(columns, axis=1)


def _others(data: Observations) -> Ints:
    """Return the images but the hub."""
    return np.delete(np.arange(len(data.centres), dtype=np.int64), data.hub)


def _design(data: Observations, n_terms: int, axis: int) -> Floats:
    """Return the (K, P) derivatives of one axis of the positions by the numbers."""
    zero, one = np.zeros(len(data.xy)), np.ones(len(data.xy))
    common = common_terms(data.xy / 1000.0, axis)[:, :n_terms]
    columns = [np.where(data.image[:, np.newaxis] == REFERENCE, 0.0, common)]
    for other in _others(data):
        mine = (data.image == other).astype(np.float64)[:, np.newaxis]
        dx, dy = (data.xy - data.centres[other]).T / 1000.0
        own = [np.stack([one, zero, -dy], axis=1), np.stack([zero, one, dx], axis=1)][axis]
        columns.append(own * mine)
    return np.concatenate(columns, axis=1)


def _within(values: Floats, weights: Floats, obj: Ints) -> Floats:
    """Return values (K, c) minus the weighted mean of their object."""
    total = np.bincount(obj, weights)
    means = np.stack([np.bincount(obj, weights * column) for column in values.T], axis=1)
    return values - (means / np.maximum(total, 1e-300)[:, np.newaxis])[obj]


def _without_motion(values: Floats, weights: Floats, data: Observations) -> Floats:
    """Return values (K, c), of which the means are gone, minus what their object's motion does."""
    if data.years is None or data.motion_variance is None:
        return values
    years, share = _motion_share(weights, data)
    slope = np.stack([np.bincount(data.obj, weights * years * c) for c in values.T], axis=1)
    return np.asarray(values - years[:, np.newaxis] * (slope * share[:, np.newaxis])[data.obj])


def _motion_share(weights: Floats, data: Observations) -> tuple[Floats, Floats]:
    """Return times from each object's mean, (K,), and variances of the motions, (n_objects,)."""
    assert data.years is not None
    assert data.motion_variance is not None
    years = _within(data.years[:, np.newaxis], weights, data.obj)[:, 0]
    square = np.bincount(data.obj, weights * years**2)
    prior = data.motion_variance[: len(square)]
    return years, prior / (1.0 + prior * square)


def _residuals(positions: Floats, data: Observations, weights: Floats) -> tuple[Floats, Floats]:
    """Return residuals against the objects' positions, and their size over its expectation."""
    residuals = np.empty_like(positions)
    squares = np.zeros(len(positions))
    for axis in (0, 1):
        w = weights[:, axis]
        about_mean = _within(positions[:, axis, np.newaxis], w, data.obj)
        residuals[:, axis] = _without_motion(about_mean, w, data)[:, 0]
        total = np.bincount(data.obj, w)[data.obj]
        # The position of the object contains this observation: less is left of its error.
        share_left = np.maximum(1.0 - w / np.maximum(total, 1e-300), 0.0)
        if data.years is not None:
            years, motion = _motion_share(w, data)
            share_left = np.maximum(share_left - w * years**2 * motion[data.obj], 0.0)
        expected = data.variance[:, axis] * share_left
        alone = share_left < 1e-9
        squares += np.where(alone, 0.0, residuals[:, axis] ** 2 / np.where(alone, 1.0, expected))
    return residuals, np.sqrt(squares / 2.0)


def _left_out(
    positions: Floats, data: Observations, design: Floats, weights: Floats, covariance: Floats
) -> Floats:
    """Return object minus catalog for each catalog star in a fit without it."""
    out = np.full(positions.shape, np.nan)
    stars = np.flatnonzero(data.image == REFERENCE)
    own = data.image != REFERENCE
    if not stars.size:
        return out
    n = int(data.obj.max()) + 1
    rows, apart, variance = [], [], []
    for axis in (0, 1):
        w = np.where(own, weights[:, axis], 0.0)
        total = np.bincount(data.obj, w, n)
        safe = np.where(total > 0, total, np.nan)
        mean = np.bincount(data.obj, w * positions[:, axis], n) / safe
        at = np.stack([np.bincount(data.obj, w * c, n) for c in design[axis].T], axis=1)
        here = data.obj[stars]
        rows.append((at / safe[:, np.newaxis])[here])
        apart.append(mean[here] - positions[stars, axis])
        variance.append(1.0 / safe[here] + 1.0 / weights[stars, axis])
    jacobian = np.stack(rows, axis=1)  # (S, 2, P)
    difference, sum_variance = np.stack(apart, axis=1), np.stack(variance, axis=1)
    hat = (
        np.einsum("sip,pq,sjq->sij", jacobian, covariance, jacobian)
        / sum_variance[:, np.newaxis, :]
    )
    is_finite = np.isfinite(difference).all(axis=1)
    rest = np.eye(2) - hat[is_finite]
    # A star that alone determines a number has no residual without itself.
    solvable = np.abs(np.linalg.det(rest)) > 1e-6
    values = np.full((int(is_finite.sum()), 2), np.nan)
    values[solvable] = np.linalg.solve(
        rest[solvable], difference[is_finite][solvable][..., np.newaxis]
    )[..., 0]
    out[stars[is_finite]] = values
    return out
