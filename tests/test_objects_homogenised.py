"""Colours of extended objects on images of one PSF, against galaxies whose light is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from bycatch.kernels.psf_grid import OVERSAMPLING, grid_side
from bycatch.kernels.stamps import NO_DATA, OTHERS, ellipses_north_up, north_up
from bycatch.stages.objects.homogenised import EllipseFluxes, colours, ellipse_fluxes, in_filters
from bycatch.stages.objects.matching import matching_kernels
from bycatch.stages.objects.stamps import Noise, SkyEllipses, Stamps, pixels_per_arcsec, stamps
from bycatch.stages.psf.model import WINGS_PX, PsfModel, distances_px
from bycatch.stages.psf.of_image import PSF_HALF, StarPsf, on_sky, radii

SCALE = 0.05
STEP_PX, N_SIDE = 48, 7
HALF = 22
MICROJANSKY = 0.5
SKY = 0.6
SHARP = ((0.72, 0.82), (0.22, 1.6), (0.06, 4.0))
"""Share and rms width (px) of the Gaussians that a PSF is made of: FWHM 2.0 px, with wings."""
BROAD = ((0.80, 1.10), (0.15, 2.0), (0.05, 4.5))
"""FWHM 2.6 px."""
EXPONENTIAL = (
    (0.00077, 0.02393), (0.01017, 0.06490), (0.07313, 0.13580), (0.37188, 0.25096),
    (1.39727, 0.42942), (3.56054, 0.69672), (4.74340, 1.08879), (1.78732, 1.67294),
)  # fmt: skip
"""Amplitude and width (half-light radii): an exponential disc, after Hogg & Lang (2013, PASP 125,
719, table 1)."""


def _disc() -> list[tuple[float, float]]:
    light = np.array([amplitude for amplitude, _ in EXPONENTIAL])
    return [(s, w) for s, (_, w) in zip(light / light.sum(), EXPONENTIAL, strict=True)]


@dataclass
class Galaxies:
    """Discs on a grid, some of them stars; the flux of each image is colour**k times the first."""

    seed: int = 0
    n_stars: int = 12
    flux: tuple[float, float] = (5.0, 50.0)
    radius_px: tuple[float, float] = (0.8, 3.0)
    bulge: float = 0.0
    bulge_colour: float = 2.0
    neighbours: bool = False
    n_side: int = N_SIDE
    size_px: int = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        n = self.n_side**2
        self.size_px = int(self.n_side * STEP_PX * 1.45) + 2 * HALF
        grid = (np.arange(self.n_side) - (self.n_side - 1) / 2) * STEP_PX
        east, north = (v.ravel() for v in np.meshgrid(grid, grid))
        self.east, self.north = east + rng.uniform(-1, 1, n), north + rng.uniform(-1, 1, n)
        self.total = np.exp(rng.uniform(*np.log(self.flux), n))
        self.radius = rng.uniform(*self.radius_px, n)
        self.axis_ratio = rng.uniform(0.4, 1.0, n)
        self.pa = rng.uniform(0.0, 180.0, n)
        self.is_star = np.zeros(n, dtype=bool)
        self.is_star[rng.choice(n, self.n_stars, replace=False)] = True
        semimajor = np.clip(3.5 * np.hypot(0.7 * self.radius, 1.1), 3.5, 12.0)
        semiminor = np.maximum(semimajor * self.axis_ratio, 3.5)
        self.ellipses = SkyEllipses(
            np.where(self.is_star, np.nan, semimajor * SCALE), semiminor * SCALE, self.pa
        )

    def components(self, i: int, colour: float) -> list[tuple[float, np.ndarray]]:
        """Return light and covariance (east, north) of the Gaussians of one of them."""
        if self.is_star[i]:
            return [(3000.0, np.zeros((2, 2)))]
        angle, parts = np.radians(self.pa[i]), []
        turn = np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]])
        for share, width in _disc():
            r = width * self.radius[i]
            cov = turn @ np.diag([r**2, (r * self.axis_ratio[i]) ** 2]) @ turn.T
            parts.append((self.total[i] * share * colour * (1.0 - self.bulge), cov))
        if self.bulge:
            cov = np.eye(2) * (0.2 * self.radius[i]) ** 2
            parts.append((self.total[i] * self.bulge * colour * self.bulge_colour, cov))
        return parts

    def true_fluxes(self, colour: float, psf: tuple[tuple[float, float], ...]) -> np.ndarray:
        """Return the light in the ellipses under a PSF, by sums over fine steps."""
        result = np.full(len(self.pa), np.nan)
        fine = (np.arange(5 * (2 * HALF + 1)) - 5 * HALF - 2) / 5
        north, east = np.meshgrid(fine, fine, indexing="ij")
        for i in np.flatnonzero(~self.is_star):
            a = self.ellipses.semimajor_arcsec[i] / SCALE
            b = self.ellipses.semiminor_arcsec[i] / SCALE
            angle = np.radians(self.pa[i])
            u = (north * np.cos(angle) + east * np.sin(angle)) / a
            v = (east * np.cos(angle) - north * np.sin(angle)) / b
            inside = u**2 + v**2 <= 1
            points = np.stack([east[inside], north[inside]])
            result[i] = _light(self.components(i, colour), psf, points, np.eye(2)).sum() / 25
        return result


def _light(parts, psf, points, to_image):
    """Return the sum of Gaussians at (2, P) offsets; their covariances are of the sky."""
    total = np.zeros(points.shape[1])
    for light, cov in parts:
        for share, width in psf:
            c = to_image @ cov @ to_image.T + np.eye(2) * width**2
            (a, b), (_, d) = c
            det = a * d - b * b
            square = (d * points[0] ** 2 - 2 * b * points[0] * points[1] + a * points[1] ** 2) / det
            total += light * share * np.exp(-0.5 * square) / (2 * np.pi * np.sqrt(det))
    return total


def psf_model(psf: tuple[tuple[float, float], ...], n_stars: int = 9) -> PsfModel:
    """Return the PSF that is a sum of Gaussians."""

    def at(distance: np.ndarray) -> np.ndarray:
        return sum(
            share / (2 * np.pi * width**2) * np.exp(-0.5 * (distance / width) ** 2)
            for share, width in psf
        )

    wings = at(np.arange(OVERSAMPLING * WINGS_PX + 2) / OVERSAMPLING)
    grid = at(distances_px(grid_side(12)))
    return PsfModel(grid[np.newaxis], (500, 500), n_stars, 1.0, wings, 0.01, 0.1 * wings)


@dataclass
class Shot:
    """An image: its pixels (microjansky, sky subtracted), and where the galaxies are on it."""

    scene: Galaxies
    psf: tuple[tuple[float, float], ...]
    roll_deg: float
    colour: float = 1.0
    neighbour_colour: float = 1.0
    noise: float = 0.0
    electrons: float = 300.0

    def __post_init__(self) -> None:
        scene, n = self.scene, self.scene.size_px
        self.wcs = WCS(naxis=2)
        self.wcs.wcs.ctype, self.wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 40.0]
        self.wcs.wcs.crpix = [n / 2 + 0.3 + self.roll_deg / 50, n / 2 - 0.2]
        c, s = np.cos(np.radians(self.roll_deg)), np.sin(np.radians(self.roll_deg))
        self.wcs.wcs.cd = SCALE / 3600 * np.array([[-c, s], [s, c]])
        flat = WCS(naxis=2)
        flat.wcs.ctype, flat.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 40.0]
        flat.wcs.crpix, flat.wcs.cdelt = [1, 1], [SCALE / 3600, SCALE / 3600]
        self.ra, self.dec = flat.all_pix2world(scene.east, scene.north, 0)
        self.x, self.y = self.wcs.all_world2pix(self.ra, self.dec, 0)
        self.matrix = pixels_per_arcsec(self.wcs, self.ra, self.dec)
        self.segments = np.zeros((n, n), np.int32)
        self.model = np.zeros((n, n))
        for i in range(len(self.x)):
            turn = self.matrix[i] * SCALE
            self._add(scene.components(i, self.colour), self.x[i], self.y[i], turn)
            if scene.neighbours and i % 2 and not scene.is_star[i]:
                self._add_neighbour(i, turn)
        self.good = np.ones((n, n), bool)

    def _add_neighbour(self, i: int, turn: np.ndarray) -> None:
        away = self.scene.ellipses.semimajor_arcsec[i] / SCALE + 3.0
        x, y = np.array([self.x[i], self.y[i]]) + turn @ (away * np.array([np.sin(i), np.cos(i)]))
        self._add([(self.scene.total[i] * self.neighbour_colour, np.eye(2))], x, y, turn)
        row, column = np.ogrid[: len(self.model), : len(self.model)]
        box = np.s_[round(y) - 7 : round(y) + 8, round(x) - 7 : round(x) + 8]
        self.segments[box][np.hypot(row[box[0]] - y, column[:, box[1]] - x) < 6] = i + 1000

    def _add(self, parts, x, y, turn) -> None:
        row, column = round(float(y)), round(float(x))
        rows, columns = np.mgrid[row - HALF : row + HALF + 1, column - HALF : column + HALF + 1]
        light = _light(parts, self.psf, np.stack([columns.ravel() - x, rows.ravel() - y]), turn)
        self.model[rows[:, 0][:, None], columns[0]] += light.reshape(rows.shape)

    def taken(self, seed: int = 0) -> tuple[Stamps, StarPsf | None]:
        """Return stamps and PSF of the image with noise."""
        scene, rng = self.scene, np.random.default_rng(seed)
        variance = self.noise**2 + (self.model / self.electrons if self.noise else 0.0)
        pixels = self.model + rng.normal(0.0, 1.0, self.model.shape) * np.sqrt(variance)
        sci = (pixels / MICROJANSKY + SKY).astype(np.float32)
        psf = on_sky(psf_model(self.psf), self.matrix[0], SCALE)
        areas = np.array([10.0, 1000.0])
        return stamps(
            sci, self.good, self.segments, self.x, self.y, np.zeros(len(self.x), int),
            np.full(len(self.x), SKY), self.matrix,
            rows=np.arange(len(self.x)), ellipses=scene.ellipses,
            noise=Noise(areas, max(self.noise, 1e-9) * np.sqrt(areas), self.electrons, 0.0),
            step_arcsec=SCALE, scale_arcsec=SCALE, microjansky=MICROJANSKY,
        ), psf  # fmt: skip


def fluxes_of(shots: list[Shot], *, matched: bool = True, seed: int = 0) -> EllipseFluxes:
    """Return the fluxes of galaxies in images."""
    taken = [shot.taken(10 * seed + k) for k, shot in enumerate(shots)]
    matching = matching_kernels([psf if matched else None for _, psf in taken])
    return ellipse_fluxes(shots[0].scene.ellipses, [one for one, _ in taken], matching)


def colour_of(flux: np.ndarray) -> np.ndarray:
    """Return the colour of the first two images."""
    return np.asarray(-2.5 * np.log10(flux[:, 0] / flux[:, 1]))


TRUE_COLOUR = 2.5 * np.log10(1.5)


def test_a_small_galaxy_has_its_colour_only_on_images_of_one_psf():
    scene = Galaxies()
    shots = [Shot(scene, SHARP, 0.0), Shot(scene, BROAD, 30.0, colour=1.5)]
    small = ~scene.is_star & (scene.radius < 1.5)
    error = colour_of(fluxes_of(shots).flux)[~scene.is_star] - TRUE_COLOUR
    without = colour_of(fluxes_of(shots, matched=False).flux)[small] - TRUE_COLOUR
    assert np.median(without) < -0.015
    assert np.abs(error).max() < 0.004


def test_the_colour_of_a_galaxy_with_a_red_bulge_is_that_of_the_ellipse():
    scene = Galaxies(bulge=0.3, n_side=5, n_stars=6)
    shots = [Shot(scene, SHARP, -12.0), Shot(scene, BROAD, 30.0, colour=1.2)]
    blue = scene.true_fluxes(1.0, BROAD)
    red = scene.true_fluxes(1.2, BROAD)
    result = fluxes_of(shots)
    galaxies = ~scene.is_star
    ratio = result.flux[galaxies] / np.stack([blue, red], axis=1)[galaxies]
    assert np.abs(ratio - 1).max() < 0.006
    assert np.abs(np.log(ratio[:, 0] / ratio[:, 1])).max() < 0.004


def test_pulls_of_colours_are_one():
    scene = Galaxies(flux=(1.0, 10.0))
    shots = [
        Shot(scene, SHARP, 10.0, noise=0.01),
        Shot(scene, BROAD, -20.0, colour=1.5, noise=0.012),
    ]
    pulls, errors = [], []
    for seed in range(5):
        result = fluxes_of(shots, seed=seed)
        colour, error = colours(*in_filters(result, [[0], [1]]))
        galaxies = ~scene.is_star
        pulls.append((colour[galaxies, 0] - TRUE_COLOUR) / error[galaxies, 0])
        errors.append(error[galaxies, 0])
    assert 0.9 < np.std(pulls) < 1.1
    assert abs(np.mean(pulls)) < 0.2
    assert 0.01 < np.median(errors) < 0.2


def test_cosmic_rays_and_neighbours_do_not_change_the_colour():
    scene = Galaxies(neighbours=True, seed=3)
    shots = [
        Shot(scene, SHARP, 5.0, neighbour_colour=0.5),
        Shot(scene, BROAD, 40.0, colour=1.5, neighbour_colour=0.3),
    ]
    rng = np.random.default_rng(1)
    for shot in shots:
        is_hit = rng.random(shot.model.shape) < 0.01
        shot.model[is_hit] += 100.0
        shot.good &= ~is_hit
    result = fluxes_of(shots)
    error = colour_of(result.flux)[~scene.is_star] - TRUE_COLOUR
    share = result.masked_share[~scene.is_star]
    assert 0.05 < share.mean() < 0.2
    assert share.max() < 0.5
    assert np.median(np.abs(error)) < 0.006
    assert np.percentile(np.abs(error), 90) < 0.02


@pytest.mark.parametrize(("dx", "dy"), [(2, 1), (-1, 2), (0, -2), (2, 2)])
def test_light_on_one_side_in_one_filter_is_in_the_error_of_the_colour(dx, dy):
    """As a cosmic ray that no mask knows; what both filters show there changes nothing."""
    scene = Galaxies(flux=(50.0, 80.0), n_stars=0, n_side=5)
    shots = [
        Shot(scene, SHARP, 0.0, noise=0.005),
        Shot(scene, SHARP, 0.0, colour=1.5, noise=0.005),
    ]
    hit = np.arange(0, scene.n_side**2, 2)
    for i, place in enumerate(zip(shots[0].y, shots[0].x, strict=True)):
        row, column = np.round(place).astype(int) + np.array([dy, dx])
        both = 0.2 * scene.total[i]
        extra = both if i in hit else 0.0
        shots[0].model[row, column] += both + extra
        shots[1].model[row, column] += 1.5 * both
    flux, err, sides = in_filters(fluxes_of(shots), [[0], [1]])
    colour, error = colours(flux, err, sides)
    _, plain = colours(flux, err, np.zeros_like(sides))
    off = np.abs(colour[:, 0] - TRUE_COLOUR)
    rest = np.setdiff1d(np.arange(len(off)), hit)
    assert np.all(off[hit] > 5 * plain[hit, 0])
    assert np.all(off[hit] < 2 * error[hit, 0])
    np.testing.assert_array_equal(error[rest], plain[rest])


def test_sides_of_faint_objects_are_not_compared():
    scene = Galaxies(flux=(0.01, 0.02), n_stars=0, n_side=3)
    result = fluxes_of([Shot(scene, SHARP, 0.0, noise=0.01)])
    assert np.all(result.sides == 0)


def test_an_image_without_half_of_an_ellipse_does_not_spoil_the_others():
    scene = Galaxies(n_side=4, n_stars=4)
    shots = [Shot(scene, SHARP, 0.0), Shot(scene, BROAD, 0.0), Shot(scene, BROAD, 0.0)]
    i = int(np.flatnonzero(~scene.is_star)[0])
    column = round(float(shots[2].x[i]))
    shots[2].good[:, column - 1 :] = False
    result, others = fluxes_of(shots), fluxes_of(shots[:2])
    assert np.isfinite(result.flux[i, :2]).all()
    assert np.isnan([result.flux[i, 2], result.err[i, 2]]).all()
    np.testing.assert_allclose(result.flux[i, :2], others.flux[i], rtol=2e-3)
    assert result.masked_share[i] == 0.0


def test_noise_of_blank_sky_is_as_stated_and_less_after_convolution():
    scene = Galaxies(flux=(1e-6, 2e-6))
    shots = [Shot(scene, SHARP, 12.0, noise=0.02), Shot(scene, BROAD, -33.0, noise=0.02)]
    galaxies = ~scene.is_star
    results = [fluxes_of(shots, seed=seed) for seed in range(6)]
    pulls = np.concatenate([(f.flux / f.err)[galaxies] for f in results])
    # White noise loses a little to the resampling (0.95); that of drizzled images next to nothing.
    assert np.all(np.abs(pulls.std(axis=0) - 0.95) < 0.1)
    raw = fluxes_of(shots, matched=False)
    ratio = (results[0].sky_err / raw.sky_err)[galaxies]
    np.testing.assert_allclose(ratio[:, 1], 1.0)
    assert np.all((ratio[:, 0] > 0.9) & (ratio[:, 0] < 0.97))


def test_the_sum_of_pixels_is_kept_whatever_the_grid():
    """A wide Gaussian: what a catalog would have as its total."""
    scene = Galaxies(n_side=3, n_stars=1, radius_px=(1.0, 1.0), bulge=0.0)
    scene.ellipses.semimajor_arcsec[:] = scene.ellipses.semiminor_arcsec[:] = 12 * SCALE
    shot = Shot(scene, BROAD, 25.0)
    result = fluxes_of([shot])
    galaxies = ~scene.is_star
    np.testing.assert_allclose(
        result.flux[galaxies, 0], scene.true_fluxes(1.0, BROAD)[galaxies], rtol=1e-3
    )


def test_images_of_one_filter_are_averaged_before_the_colour():
    flux = np.array([[1.0, 3.0, 4.0], [1.0, np.nan, -1.0]])
    err = np.array([[0.1, 0.2, 0.4], [0.1, np.nan, 0.1]])
    sides = np.zeros((2, 3, 4))
    sides[0, :, 1] = 0.1, -0.3, 0.4
    result = EllipseFluxes(flux, err, err, np.zeros(2), sides)
    mean, error, of_sides = in_filters(result, [[0, 1], [2]])
    np.testing.assert_allclose(of_sides[0, :, 1], [(10 - 7.5) / (100 + 75), 0.1])
    assert np.all(of_sides[:, :, [0, 2, 3]] == 0)
    np.testing.assert_allclose(mean[0], [(1 / 0.01 + 3 / 0.04) / 125, 4.0])
    np.testing.assert_allclose(error[0], [125**-0.5, 0.4])
    np.testing.assert_allclose(mean[1], [1.0, -1.0])
    colour, colour_error = colours(mean, error, of_sides)
    assert colour[0, 0] == pytest.approx(-2.5 * np.log10(mean[0, 0] / 4.0))
    assert colour_error[0, 0] == pytest.approx(1.0857 * np.hypot(125**-0.5 / 1.4, 0.1), rel=1e-4)
    assert np.isnan([colour[1, 0], colour_error[1, 0]]).all()


def test_without_stars_images_are_left_as_they_are():
    assert on_sky(psf_model(SHARP, n_stars=0), np.eye(2) / SCALE, SCALE) is None
    matching = matching_kernels([None, None])
    assert matching.target == -1
    assert np.isnan(matching.residual).all()
    assert matching.kernels.sum() == matching.kernels[:, 13, 13].sum() == 2.0


@pytest.mark.parametrize("step_px", [1.0, 0.8])
def test_a_psf_on_the_sky_is_what_stars_show_there(step_px):
    scene = Galaxies(n_side=4, n_stars=16)
    shot = Shot(scene, SHARP, 17.0)
    step = step_px * SCALE
    psf = on_sky(psf_model(SHARP), shot.matrix[0], step, share=0.97)
    n = len(shot.x)
    values, _ = north_up(
        shot.model.astype(np.float32), shot.good, shot.segments, shot.x, shot.y,
        np.zeros(n, int), np.zeros(n), shot.matrix * np.array([-1.0, 1.0]) * step,
        np.full(n, PSF_HALF),
    )  # fmt: skip
    mean = values.reshape(n, *psf.pixels.shape).mean(axis=0)
    middle = radii(PSF_HALF) < 8
    expected = mean / mean[middle].sum() * psf.pixels[middle].sum()
    assert psf.pixels.sum() == pytest.approx(0.97)
    assert psf.n_stars == 9
    assert np.abs(psf.pixels - expected)[middle].max() < 0.02 * psf.pixels.max()
    assert 1.9 * SCALE < psf.equivalent_fwhm_arcsec < 3.0 * SCALE


def test_kernels_bring_psfs_to_the_broadest_and_keep_the_light():
    def psf(width: float, enclosed: float) -> StarPsf:
        light = np.exp(-0.5 * (radii(PSF_HALF) / width) ** 2)
        return StarPsf(light * enclosed / light.sum(), SCALE, 9)

    matching = matching_kernels([psf(0.85, 0.96), None, psf(1.1, 0.94)])
    assert matching.target == 2
    assert matching.residual[0] < 1e-3
    assert matching.residual[2] == 0.0
    assert np.isnan(matching.residual[1])
    assert matching.kernels[0].sum() == pytest.approx(0.94 / 0.96)
    assert matching.kernels[1].sum() == 1.0
    with pytest.raises(ValueError, match="different grids"):
        matching_kernels([psf(1.0, 1.0), StarPsf(np.ones((31, 31)), 0.04, 1)])


def test_large_objects_have_no_stamp():
    semimajor = np.array([5.25, 5.35, 0.1, np.nan])
    ellipses = SkyEllipses(semimajor, np.full(4, 0.1), np.zeros(4))
    assert ellipses.half(SCALE).tolist() == [120, -1, 16, -1]


def test_noise_follows_a_power_law_between_and_beyond_areas():
    areas = np.array([10.0, 1000.0])
    noise = Noise(areas, 0.1 * areas**0.6, 100.0)
    rows = np.arange(3)
    np.testing.assert_allclose(
        noise.at(np.array([1.0, 50.0, 5000.0]), rows), 0.1 * np.array([1.0, 50.0, 5000.0]) ** 0.6
    )
    each = Noise(areas, np.array([[1.0, 10.0], [2.0, 20.0]]), 100.0)
    np.testing.assert_allclose(each.at(np.array([100.0]), np.array([1])), np.sqrt(40.0))


def test_kron_ellipses_are_those_of_total_fluxes():
    result = SkyEllipses.of_kron(
        np.array([4.0]), np.array([2.0]), np.array([1.6]), np.array([30.0]), SCALE
    )
    assert result.semimajor_arcsec[0] == pytest.approx(2.5 * 1.6 * 4.0 * SCALE)
    assert result.semiminor_arcsec[0] == pytest.approx(2.5 * 1.6 * 2.0 * SCALE)


def test_directions_on_the_image_are_those_of_the_sky():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [10.0, 60.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [50, 50], [-SCALE / 3600, SCALE / 3600]
    positions = pixels_per_arcsec(wcs, np.array([10.0]), np.array([60.0]))
    np.testing.assert_allclose(positions[0], [[-20.0, 0.0], [0.0, 20.0]], atol=1e-3)


TURNED = np.array([[-0.8, 0.5], [0.5, 0.8]])


def test_stamps_are_those_of_scipys_splines():
    """The slow twin."""
    sci = np.random.default_rng(4).normal(2.0, 1.0, (60, 70)).astype(np.float32)
    yes, none = np.ones(sci.shape, bool), np.zeros(sci.shape, np.int32)
    half, x, y = 7, 33.3, 28.8
    values, why_masked = north_up(sci, yes, none, [x], [y], [0], [2.0], TURNED[np.newaxis], [half])
    north, west = np.mgrid[-half : half + 1, -half : half + 1]
    column = x + TURNED[0, 0] * west + TURNED[0, 1] * north
    row = y + TURNED[1, 0] * west + TURNED[1, 1] * north
    expected = map_coordinates(sci.astype(float) - 2.0, [row, column], order=3)
    np.testing.assert_allclose(values.reshape(expected.shape), expected, atol=2e-3)
    assert not why_masked.any()


def test_what_does_not_count_is_masked_with_its_reason_and_filled_from_opposite():
    row, column = np.mgrid[:60, :70]
    x, y = 33.4, 28.7
    sci = np.exp(-0.5 * ((column - x) ** 2 + (row - y) ** 2) / 2.0**2).astype(np.float32)
    yes, none = np.ones(sci.shape, bool), np.zeros(sci.shape, np.int32)
    where = [x], [y], [3], [0.0], np.array([[[-1.0, 0.0], [0.0, 1.0]]]), [8]
    clean, _ = north_up(sci, yes, none, *where)
    good, labels, spoilt = yes.copy(), none.copy(), sci.copy()
    good[27, 30] = False
    labels[24:28, 34:40], labels[29, 35] = 7, 3
    spoilt[~good], spoilt[labels == 7], spoilt[36, 30] = 50.0, 5.0, np.nan
    values, why_masked = north_up(spoilt, good, labels, *where)
    assert set(np.unique(why_masked)) == {0, NO_DATA, OTHERS}
    assert np.abs(values - clean).max() < 0.02
    at = np.flatnonzero(why_masked.reshape(17, 17)[6] == NO_DATA)
    assert len(at) > 0
    assert (at > 8).all()  # rows go north, columns west: a pixel to the left lies east


@pytest.mark.parametrize("far", [np.nan, np.inf, -1e300, 1e9])
def test_there_is_nothing_far_off(far):
    sci = np.ones((30, 20), np.float32)
    yes, none = np.ones(sci.shape, bool), np.zeros(sci.shape, np.int32)
    for x, sky, matrix in ((far, 0.0, TURNED), (9.0, 0.0, TURNED * far)):
        values, why_masked = north_up(
            sci, yes, none, [x], [9.0], [0], [sky], matrix[np.newaxis], [3]
        )
        assert not values.any()
        assert (why_masked == NO_DATA).all()


def test_stamps_are_not_too_large():
    sci = np.ones((30, 20), np.float32)
    with pytest.raises(ValueError, match="121 steps"):
        north_up(
            sci, sci > 0, np.zeros(sci.shape, int), [9.0], [9.0], [0], [0.0],
            TURNED[np.newaxis], [121],
        )  # fmt: skip
    with pytest.raises(ValueError, match="121 steps"):
        ellipses_north_up([1.0], [1.0], [0.0], 121)


def test_ellipses_have_their_area_and_direction():
    shapes = ellipses_north_up([9.0, 4.0, np.nan], [3.0, 4.0, 1.0], np.radians([30.0, 0, 0]), 12)
    np.testing.assert_allclose(shapes.sum(axis=(1, 2)), [np.pi * 27, np.pi * 16, 0.0], rtol=5e-3)
    north, west = np.mgrid[-12:13, -12:13]
    # 30 degrees from north to east, and rows go west.
    assert (shapes[0] * north * west).sum() < 0
