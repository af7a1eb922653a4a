"""The joint fit of a field's images: against truth, and against brute-force least squares."""

from dataclasses import replace

import numpy as np
import pytest

from bycatch.kernels.tiefit import (
    REFERENCE,
    Observations,
    fitted_frames,
    image_affine,
    image_covariance,
)

NO_PRIOR = np.full(6, np.inf)


def turned(xy, roll_mas_per_arcsec, shift, centre):
    w = roll_mas_per_arcsec / 1000.0
    return xy + (xy - centre) @ np.array([[0, w], [-w, 0]]) + shift


def field(seed, n_objects=60, n_stars=20, n_images=3, noise=2.0, star_noise=1.0, scale=0.0):
    """Observations of a field whose images are off by known shifts and rolls."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(-1e5, 1e5, (n_objects, 2))
    centres = rng.uniform(-3e3, 3e3, (n_images, 2))
    shifts, rolls = rng.normal(0, 50, (n_images, 2)), rng.normal(0, 0.3, n_images)
    xy, image, obj = [], [], []
    for k in range(n_images):
        seen = np.flatnonzero(rng.random(n_objects) < 0.9)
        here = turned(true[seen], rolls[k], shifts[k], centres[k]) * (1 + scale)
        xy.append(here + rng.normal(0, noise, here.shape))
        image.append(np.full(len(seen), k))
        obj.append(seen)
    xy.append(true[:n_stars] + rng.normal(0, star_noise, (n_stars, 2)))
    image.append(np.full(n_stars, REFERENCE))
    obj.append(np.arange(n_stars))
    image = np.concatenate(image)
    variance = np.where(image[:, None] == REFERENCE, star_noise**2, noise**2) * np.ones((1, 2))
    data = Observations(np.concatenate(xy), variance, image, np.concatenate(obj), centres, 0)
    return data, true


@pytest.mark.parametrize("n_images", [1, 2, 4])
def test_true_positions_are_recovered(n_images):
    data, true = field(1, n_images=n_images, noise=1e-4, star_noise=1e-4)
    fit = fitted_frames(data, 3, NO_PRIOR[:3])
    for k in range(n_images):
        matrix, shift = image_affine(fit, data, k)
        mine = data.image == k
        corrected = data.xy[mine] @ matrix.T + shift
        # Small angles: 3e-4 squared at 100 arcsec is 0.01 mas.
        np.testing.assert_allclose(corrected, true[data.obj[mine]], rtol=0, atol=0.1)


def brute_force(data, n_terms, weights, prior):
    """The same problem with the objects' positions as unknowns, by dense least squares.

    Returns the frames' numbers, the covariance of those that are determined, and the positions.
    """
    others = [k for k in range(len(data.centres)) if k != data.hub]
    n_objects = int(data.obj.max()) + 1
    n_frames = n_terms + 3 * len(others)
    rows, right = [], []
    for k in range(len(data.obj)):
        x, y = data.xy[k] / 1000.0
        for axis in (0, 1):
            row = np.zeros(n_frames + 2 * n_objects)
            if data.image[k] != REFERENCE:
                row[:n_terms] = np.array(
                    [[1, 0, -y, x, x, y], [0, 1, x, y, -y, x]][axis], dtype=float
                )[:n_terms]
                if data.image[k] != data.hub:
                    dx, dy = (data.xy[k] - data.centres[data.image[k]]) / 1000.0
                    at = n_terms + 3 * others.index(data.image[k])
                    row[at : at + 3] = [[1, 0, -dy], [0, 1, dx]][axis]
            row[n_frames + 2 * data.obj[k] + axis] = -1.0
            w = np.sqrt(weights[k, axis])
            rows.append(row * w)
            right.append(-data.xy[k, axis] * w)
    for term in np.flatnonzero(np.isfinite(prior)):
        row = np.zeros(n_frames + 2 * n_objects)
        row[term] = 1 / np.sqrt(prior[term])
        rows.append(row)
        right.append(0.0)
    design = np.array(rows)
    used = np.abs(design).sum(axis=0) > 0
    solution = np.zeros(len(used))
    solution[used] = np.linalg.lstsq(design[:, used], np.array(right), rcond=None)[0]
    covariance = np.linalg.inv(design[:, used].T @ design[:, used])
    n = used[:n_frames].sum()
    return solution[:n_frames], covariance[:n, :n], solution[n_frames:].reshape(-1, 2)


def slow_residuals(fit, data, positions):
    """Return corrected positions minus those of their objects, from the frames as maps."""
    out = data.xy - positions[data.obj]
    for k in np.flatnonzero(data.image != REFERENCE):
        matrix, shift = image_affine(fit, data, int(data.image[k]))
        out[k] = matrix @ data.xy[k] + shift - positions[data.obj[k]]
    return out


def slow_standard(residuals, data, weights):
    """Return residuals over what is left of their errors; 0 where an object is seen once."""
    out = np.zeros(len(residuals))
    for k, mine in enumerate(data.obj):
        left = 1 - weights[k] / weights[data.obj == mine].sum(axis=0)
        if (left > 1e-9).all():
            out[k] = np.sqrt((residuals[k] ** 2 / (data.variance[k] * left)).mean())
    return out


def numbers_of(fit, data):
    """Return what `brute_force` solves for."""
    return np.concatenate([fit.common, np.delete(fit.relative, data.hub, axis=0).ravel()])


def field_with_lonely_objects(hub, along_y):
    """Return a field with an object that only the catalog sees, and one that only an image sees.

    Along y the variance is larger by a factor.
    """
    data, _ = field(2, n_objects=25, n_stars=12)
    return Observations(
        np.vstack([data.xy, [[1e4, 2e4], [3e4 + 0.1, -2e4 + 0.3]]]),
        np.vstack([data.variance, [[1.3, 1.3], [3.1, 3.1]]]) * [1, along_y],
        np.append(data.image, [REFERENCE, 1]),
        np.append(data.obj, [25, 26]),
        data.centres,
        hub,
    )


@pytest.mark.parametrize("n_terms", [3, 4, 6])
@pytest.mark.parametrize("hub", [0, 2])
@pytest.mark.parametrize("along_y", [1, 4])
@pytest.mark.parametrize("sigmas", [{}, {2: 0.05, 4: 0.02}])
def test_eliminating_the_positions_changes_nothing(n_terms, hub, along_y, sigmas):
    data = field_with_lonely_objects(hub, along_y)
    prior = NO_PRIOR.copy()
    for term, sigma in sigmas.items():
        prior[term] = sigma**2
    fit = fitted_frames(data, n_terms, prior[:n_terms])
    weights = fit.weights[:, None] / data.variance
    solution, covariance, positions = brute_force(data, n_terms, weights, prior[:n_terms])
    sigma = np.sqrt(np.diag(covariance))
    # The weights of the last round differ from those of the solution by their last change.
    np.testing.assert_allclose(numbers_of(fit, data) / sigma, solution / sigma, rtol=0, atol=2e-3)
    scale = np.outer(sigma, sigma)
    np.testing.assert_allclose(fit.covariance / scale, covariance / scale, rtol=0, atol=2e-3)
    assert not fit.relative[hub].any()
    residuals = slow_residuals(fit, data, positions)
    np.testing.assert_allclose(fit.residuals, residuals, rtol=0, atol=0.01)
    standard = slow_standard(residuals, data, weights)
    np.testing.assert_allclose(fit.standard, standard, rtol=0, atol=0.01)
    assert fit.standard[-2:].tolist() == [0, 0]
    assert np.isnan(fit.left_out[-2:]).all()
    assert np.median(standard) > 0.3


def without_reference(data):
    keep = data.image != REFERENCE
    return Observations(
        data.xy[keep], data.variance[keep], data.image[keep], data.obj[keep], data.centres, data.hub
    )


@pytest.mark.parametrize("hub", [0, 2])
def test_without_a_catalog_the_hub_stays_where_it_is(hub):
    data = without_reference(field_with_lonely_objects(hub, 1))
    held = np.full(3, 1e-12)
    fit = fitted_frames(data, 3, held)
    np.testing.assert_allclose(fit.common, 0, atol=1e-9)
    matrix, shift = image_affine(fit, data, hub)
    np.testing.assert_allclose(matrix, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(shift, 0, atol=1e-9)
    weights = fit.weights[:, None] / data.variance
    solution, covariance, positions = brute_force(data, 3, weights, held)
    sigma = np.sqrt(np.diag(covariance))[3:]
    result = numbers_of(fit, data)[3:] / sigma
    np.testing.assert_allclose(result, solution[3:] / sigma, rtol=0, atol=2e-3)
    result, expected = (c[3:, 3:] / np.outer(sigma, sigma) for c in (fit.covariance, covariance))
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-3)
    residuals = slow_residuals(fit, data, positions)
    np.testing.assert_allclose(fit.residuals, residuals, rtol=0, atol=0.01)
    standard = slow_standard(residuals, data, weights)
    np.testing.assert_allclose(fit.standard, standard, rtol=0, atol=0.01)
    assert np.isnan(fit.left_out).all()


def test_an_image_without_observations_changes_nothing():
    data, _ = field(3, n_objects=20, n_stars=8)
    keep = data.image != 2
    seen = (data.xy[keep], data.variance[keep], data.image[keep], data.obj[keep])
    three = fitted_frames(Observations(*seen, data.centres, 0), 3, NO_PRIOR[:3])
    two = fitted_frames(Observations(*seen, data.centres[:2], 0), 3, NO_PRIOR[:3])
    np.testing.assert_allclose(three.common, two.common, atol=1e-9)
    np.testing.assert_allclose(three.relative, [*two.relative, np.zeros(3)], atol=1e-9)
    np.testing.assert_allclose(three.covariance[:6, :6], two.covariance, rtol=1e-9)
    assert not three.covariance[6:].any()
    np.testing.assert_allclose(three.residuals, two.residuals, atol=1e-9)
    np.testing.assert_allclose(three.left_out, two.left_out, atol=1e-9)


@pytest.mark.parametrize("hub", [0, 2])
@pytest.mark.parametrize("n_terms", [3, 4, 6])
def test_the_covariance_of_an_image_is_that_of_its_map(hub, n_terms):
    data = replace(field(2, n_objects=25, n_stars=12)[0], hub=hub)
    fit = fitted_frames(data, n_terms, NO_PRIOR[:n_terms])
    others = [k for k in range(3) if k != hub]

    def about_the_centre(numbers, image):
        relative = np.zeros((3, 3))
        relative[others] = numbers[n_terms:].reshape(-1, 3)
        changed = replace(fit, common=numbers[:n_terms], relative=relative)
        matrix, shift = image_affine(changed, data, image)
        linear = matrix - np.eye(2)
        return np.concatenate([shift + linear @ data.centres[image], 1000 * linear.ravel()])

    numbers = numbers_of(fit, data)
    for image in range(3):
        # The map is linear in its numbers: any step gives the derivatives.
        jacobian = np.transpose(
            [
                (about_the_centre(numbers + step, image) - about_the_centre(numbers - step, image))
                / 2
                for step in np.eye(len(numbers))
            ]
        )
        expected = jacobian @ fit.covariance @ jacobian.T
        result = image_covariance(fit, data, image)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_the_covariance_is_that_of_repeated_fits():
    pulls = []
    for seed in range(200):
        data, _ = field(seed, n_objects=20, n_stars=8, n_images=2)
        fit = fitted_frames(data, 3, NO_PRIOR[:3])
        exact = fitted_frames(field_without_noise(seed), 3, NO_PRIOR[:3])
        for image in (0, 1):
            matrix, shift = image_affine(fit, data, image)
            right_matrix, right_shift = image_affine(exact, data, image)
            at = data.centres[image] + np.array([5e4, -3e4])
            off = (at @ matrix.T + shift) - (at @ right_matrix.T + right_shift)
            x, y = 50.0, -30.0
            covariance = image_covariance(fit, data, image)
            for axis, rows in ((0, [0, 2, 3]), (1, [1, 4, 5])):
                terms = np.array([1.0, x, y])
                pulls.append(off[axis] / np.sqrt(terms @ covariance[np.ix_(rows, rows)] @ terms))
    # 800 pulls, some of them correlated; Student's weights cost some per cent of the efficiency.
    assert np.std(pulls) == pytest.approx(1.0, abs=0.12)
    assert abs(np.mean(pulls)) < 0.15


def field_without_noise(seed):
    data, _ = field(seed, n_objects=20, n_stars=8, n_images=2)
    clean, _ = field(seed, n_objects=20, n_stars=8, n_images=2, noise=1e-9, star_noise=1e-9)
    return Observations(clean.xy, data.variance, data.image, data.obj, data.centres, data.hub)


def test_outliers_do_no_harm():
    data, _ = field(3, noise=1.0)
    clean = fitted_frames(data, 3, NO_PRIOR[:3])
    stars = np.flatnonzero(data.image == REFERENCE)
    data.xy[stars[:3]] += 60.0
    fit = fitted_frames(data, 3, NO_PRIOR[:3])
    assert fit.weights[stars[:3]].max() < 0.05
    sigma = np.sqrt(np.diag(clean.covariance)[:3])
    assert (np.abs(fit.common - clean.common) / sigma).max() < 1.5


def test_left_out_is_what_a_fit_without_the_star_gives():
    data, _ = field(4, n_objects=12, n_stars=5, n_images=2)
    data.variance[:] *= 16.0  # nothing looks like an outlier: all weights are 1
    fit = fitted_frames(data, 3, NO_PRIOR[:3])
    assert fit.weights.min() == 1.0
    stars = np.flatnonzero(data.image == REFERENCE)
    for star in stars:
        keep = np.arange(len(data.obj)) != star
        less = Observations(
            data.xy[keep], data.variance[keep], data.image[keep], data.obj[keep], data.centres, 0
        )
        other = fitted_frames(less, 3, NO_PRIOR[:3])
        total = np.zeros(2)
        weight = np.zeros(2)
        for k in np.flatnonzero((data.obj == data.obj[star]) & (data.image != REFERENCE)):
            matrix, shift = image_affine(other, less, int(data.image[k]))
            w = 1.0 / data.variance[k]
            total += w * (matrix @ data.xy[k] + shift)
            weight += w
        expected = total / weight - data.xy[star]
        np.testing.assert_allclose(fit.left_out[star], expected, rtol=0, atol=0.01)
    assert np.isnan(fit.left_out[data.image != REFERENCE]).all()


def test_a_prior_holds_what_one_star_leaves_open():
    data, _ = field(5, n_objects=1, n_stars=1, n_images=1)
    prior = np.array([np.inf, np.inf, 2.6**2])
    fit = fitted_frames(data, 3, prior)
    covariance = image_covariance(fit, data, 0)
    assert np.isfinite(fit.common).all()
    assert abs(fit.common[2]) < 1e-3 * 2.6
    assert covariance[4, 4] == pytest.approx(2.6**2, rel=1e-3)


def test_scale_and_skew_are_found():
    data, _ = field(6, n_objects=80, n_stars=80, n_images=1, scale=1e-4)
    fit = fitted_frames(data, 4, NO_PRIOR[:4])
    assert fit.common[3] == pytest.approx(-0.1, abs=4 * np.sqrt(fit.covariance[3, 3]))
    wider = fitted_frames(data, 6, NO_PRIOR)
    assert (np.abs(wider.common[4:]) < 4 * np.sqrt(np.diag(wider.covariance)[4:])).all()


def moving_field(seed=3, n_stars=8):
    """Four images of two epochs of a field whose objects move together; some are galaxies."""
    data, true = field(seed, n_images=4, n_objects=80, n_stars=n_stars, noise=0.5, star_noise=0.3)
    rng = np.random.default_rng(seed)
    years = np.array([-2.0, -2.0, 2.0, 2.0])
    motion = rng.normal(3.0, 4.0, (80, 2))
    motion[:n_stars] = 0.0  # taken off by what the catalog says
    motion[70:] = 0.0
    at = np.where(data.image == REFERENCE, 0.0, years[data.image])
    variance = np.full(80, 64.0)
    variance[:n_stars] = variance[70:] = 0.0
    xy = data.xy + motion[data.obj] * at[:, None]
    return replace(data, xy=xy), replace(data, xy=xy, years=at, motion_variance=variance), true


def test_motions_do_not_drag_the_frames():
    """A mean motion of 3 mas/yr is one of the stars, not a drift of 12 mas between the epochs."""
    without, with_motions, true = moving_field()

    def off(data):
        fit = fitted_frames(data, 3, NO_PRIOR[:3])
        found = []
        for k in range(4):
            matrix, shift = image_affine(fit, data, k)
            here = (data.image == k) & (data.obj >= 70)
            found.append(np.mean(data.xy[here] @ matrix.T + shift - true[data.obj[here]], axis=0))
        return np.abs(found).max(), fit

    assert off(without)[0] > 2.0
    worst, fit = off(with_motions)
    assert worst < 0.6
    assert 0.7 < np.sqrt(np.mean(fit.standard**2)) < 1.3


def test_motions_are_unknowns_like_positions():
    """Against dense least squares with a position and a motion for each object."""
    _, data, _ = moving_field(5)
    fit = fitted_frames(data, 3, NO_PRIOR[:3])
    weights = fit.weights[:, None] / data.variance
    n_objects, n_rows = 80, len(data.obj)
    columns = []
    for axis in (0, 1):
        rows = np.arange(n_rows)
        position, moved = np.zeros((n_rows, n_objects)), np.zeros((n_rows, n_objects))
        position[rows, data.obj] = 1.0
        moved[rows, data.obj] = data.years
        nothing = np.zeros((n_rows, 2 * n_objects))
        own = np.hstack([position, moved])
        columns.append(np.hstack([own, nothing] if axis == 0 else [nothing, own]))
    from bycatch.kernels.tiefit import _design

    frames = [-_design(data, 3, axis) for axis in (0, 1)]
    matrix = np.vstack([np.hstack([f, c]) for f, c in zip(frames, columns, strict=True)])
    root = np.sqrt(weights.T.ravel())
    n_frames = frames[0].shape[1]
    prior = np.zeros((2 * n_objects, matrix.shape[1]))
    sigma = np.maximum(np.sqrt(data.motion_variance), 1e-6)
    for axis in (0, 1):
        at = n_frames + 2 * n_objects * axis + n_objects
        prior[axis * n_objects + np.arange(n_objects), at + np.arange(n_objects)] = 1.0 / sigma
    full = np.vstack([matrix * root[:, None], prior])
    right = np.concatenate([data.xy.T.ravel() * root, np.zeros(2 * n_objects)])
    solution = np.linalg.lstsq(full, right, rcond=None)[0]
    numbers = np.concatenate([fit.common, fit.relative[1:].ravel()])
    assert np.allclose(solution[:n_frames], numbers, rtol=0, atol=2e-3)
