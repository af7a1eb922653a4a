"""A catalog against the truth of the simulation that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats
from bycatch.catalogs.flags import Flag
from bycatch.kernels.exposures import box_fraction
from bycatch.kernels.matching import match_one_to_one
from bycatch.kernels.neighbourhood import pixels_at
from bycatch.kernels.smoothing import gaussian_kernel, smooth_image
from bycatch.settings import DetectSettings
from bycatch.simulate.files import Truth
from bycatch.tangent import MAS_PER_DEG

MATCH_PX = 3.0
ISOLATION_PX = 15.0
ISOLATION_SHARE = 0.05
"""A star is isolated if no neighbour within 15 px has more than this share of its flux."""
MIN_SNR = 50.0


@dataclass(frozen=True, eq=False)
class TruthComparison:
    """Row by row, what each catalog entry is; and which true objects were found.

    Attributes
    ----------
    catalog, truth : tables
    radii : names of the aperture radii
    photflam : of the image
    match : (N,) row of the truth table that each catalog row is, -1 if none
    is_real : (N,) the row's light comes from a true object
    is_cosmic_ray : (N,) it does not, and a cosmic ray lies within 2 px
    clear_of_cosmic_rays : (N,) no true cosmic ray within 3 px
    detectable, found : (M,) the object has enough pixels above the threshold, in the area that the
        coverage rule leaves; and a detection lies on it
    """

    catalog: Table
    truth: Table
    radii: tuple[str, ...]
    photflam: float
    match: NDArray[np.int64]
    is_real: Bools
    is_cosmic_ray: Bools
    clear_of_cosmic_rays: Bools
    detectable: Bools
    found: Bools

    def good_stars(self) -> NDArray[np.int64]:
        """Return the rows of isolated, unsaturated stars with S/N > 50 and no cosmic ray near."""
        rows = self.match >= 0
        truth = self.truth[np.where(rows, self.match, 0)]
        is_isolated = _are_isolated(self.truth)[np.where(rows, self.match, 0)]
        bad = int(Flag.EDGE | Flag.PARTIAL_APERTURE | Flag.SATURATED | Flag.OFF_IMAGE)
        snr = np.ma.filled(self.catalog["snr_" + self.radii[len(self.radii) // 2]], 0)
        return np.flatnonzero(
            rows & np.asarray(truth["star"]) & ~np.asarray(truth["saturated"]) & is_isolated
            & (np.asarray(self.catalog["flags"]) & bad == 0) & (snr > MIN_SNR)
            & self.clear_of_cosmic_rays
        )  # fmt: skip

    def flux_ratio(self, radius: str) -> Floats:
        """Return measured over true flux of the good stars."""
        rows = self.good_stars()
        true = np.asarray(self.truth["rate"])[self.match[rows]] * self.photflam
        return np.asarray(self.catalog[f"flux_{radius}_apcor"])[rows] / true

    def position_errors_mas(self) -> tuple[Floats, Floats]:
        """Return RA (times cos Dec) and Dec errors of the good stars."""
        rows = self.good_stars()
        truth = self.truth[self.match[rows]]
        dec = np.asarray(truth["dec"])
        d_ra = np.asarray(self.catalog["RA_GAIA_WCS"])[rows] - np.asarray(truth["ra"])
        d_dec = np.asarray(self.catalog["DEC_GAIA_WCS"])[rows] - dec
        return d_ra * np.cos(np.radians(dec)) * MAS_PER_DEG, d_dec * MAS_PER_DEG

    def summary(self) -> dict[str, Any]:
        """Return the counts and numbers of the comparison."""
        has_cr_flag = np.asarray(self.catalog["cr_flag"]) == 1
        single = np.asarray(self.catalog["n_exp"]) == 1
        deep = ~has_cr_flag & ~single
        stars = (self.match >= 0) & single & self.clear_of_cosmic_rays
        stars &= np.asarray(self.truth["star"])[np.where(self.match >= 0, self.match, 0)]
        d_ra, d_dec = self.position_errors_mas()
        out: dict[str, Any] = {
            "n_rows": len(self.catalog),
            "n_detectable": int(self.detectable.sum()),
            "n_found": int((self.detectable & self.found).sum()),
            "n_deep_rows": int(deep.sum()),
            "n_deep_real": int((deep & self.is_real).sum()),
            "n_cosmic_rays": int((self.is_cosmic_ray & single).sum()),
            "n_cosmic_rays_flagged": int((self.is_cosmic_ray & single & has_cr_flag).sum()),
            "n_single_stars": int(stars.sum()),
            "n_single_stars_flagged": int((stars & has_cr_flag).sum()),
            "n_good_stars": len(d_ra),
            "position_rms_mas": _rms(np.concatenate([d_ra, d_dec])),
        }
        for radius in self.radii:
            ratio = self.flux_ratio(radius)
            out[f"flux_bias_{radius}"] = float(np.median(ratio) - 1) if len(ratio) else np.nan
        return out


def compare(
    catalog: Table,
    radii: tuple[str, ...],
    photflam: float,
    files: Truth,
    segmentation: NDArray[np.int32],
    noise: NDArray[np.float32],
    has_data: Bools,
    settings: DetectSettings,
    n_exposures: int,
) -> TruthComparison:
    """Compare a final catalog with the truth.

    Parameters
    ----------
    catalog : table with catalog_columns.CAT
    radii : names of its aperture radii
    photflam : of the image
    files : its truth
    segmentation : of the detection, with the catalog's ids
    noise : of unsmoothed sky pixels, e/s
    has_data : pixels with data
    settings : of the detection
    n_exposures : of the image
    """
    x, y = np.asarray(catalog["x_center"]), np.asarray(catalog["y_center"])
    truth = files.table
    kernel = gaussian_kernel(settings.kernel_fwhm_px, settings.kernel_size_px)
    light = smooth_image(files.model, has_data, kernel)
    visible = np.asarray(truth["rate"]) * 0.12 > np.median(noise[has_data])
    match = np.full(len(x), -1)
    mine, theirs = match_one_to_one(
        np.column_stack([x, y]),
        np.column_stack([truth["x"], truth["y"]])[visible],
        MATCH_PX,
    )
    match[mine] = np.flatnonzero(visible)[theirs]
    # Extended objects and their pieces are real, too, by the noiseless image.
    is_real = (match >= 0) | (_near_max(light / np.maximum(noise, 1e-9), x, y, 1.0) > 1.0)
    ray = files.cosmic_rays
    detectable = detectable_objects(truth, light, noise, has_data, settings, n_exposures)
    return TruthComparison(
        catalog, truth, radii, photflam, match, is_real,
        ~is_real & (_near_max(ray, x, y, 2.0) > 0), _near_max(ray, x, y, 3.0) == 0,
        detectable, _are_found(truth, segmentation, set(np.asarray(catalog["id"]).tolist()), match),
    )  # fmt: skip


def detectable_objects(
    truth: Table,
    light: NDArray[np.float32],
    noise: NDArray[np.float32],
    has_data: Bools,
    settings: DetectSettings,
    n_exposures: int,
) -> Bools:
    """Return which objects have enough connected pixels above the threshold without noise.

    Where several share one connected area, the brightest counts.
    """
    from scipy.ndimage import label

    areas, n = label((light > settings.n_sigma * noise) & has_data, structure=np.ones((3, 3)))
    size = np.bincount(areas.ravel(), minlength=n + 1)
    column = np.rint(np.asarray(truth["x"])).astype(int)
    row = np.rint(np.asarray(truth["y"])).astype(int)
    ny, nx = light.shape
    inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    home = np.where(inside, areas[np.clip(row, 0, ny - 1), np.clip(column, 0, nx - 1)], 0)
    n_least = settings.n_pixels_single if n_exposures == 1 else settings.n_pixels
    coverage = box_fraction(has_data, truth["x"], truth["y"], settings.coverage_box_px)
    enough = (home > 0) & (size[home] >= n_least)
    brightest = np.zeros(len(truth), dtype=bool)
    order = np.argsort(-np.asarray(truth["rate"]), kind="stable")
    _, first = np.unique(home[order], return_index=True)
    brightest[order[first]] = True
    return enough & brightest & (np.nan_to_num(coverage) >= settings.min_coverage)


def _are_found(
    truth: Table, segmentation: NDArray[np.int32], labels: set[int], match: NDArray[np.int64]
) -> Bools:
    """Return which objects were matched, or lie in the segment of a catalog row."""
    at = pixels_at(segmentation.shape, truth["x"], truth["y"])
    is_found = np.isin(segmentation[at], list(labels))
    is_found[match[match >= 0]] = True
    return is_found


def _near_max(image: NDArray[Any], x: Floats, y: Floats, radius_px: float) -> Floats:
    """Return the largest pixel within a radius of each position."""
    from bycatch.kernels.neighbourhood import neighbourhood

    near = neighbourhood((image.shape[0], image.shape[1]), x, y, radius_px)
    values = np.where(near.distance <= radius_px, near.take(image).astype(float), -np.inf)
    return np.asarray(values.max(axis=1, initial=-np.inf))


def _are_isolated(truth: Table) -> Bools:
    """Return which objects have no neighbour within 15 px of more than 5 % of their flux."""
    from scipy.spatial import KDTree

    points = np.column_stack([truth["x"], truth["y"]])
    rate = np.asarray(truth["rate"])
    is_isolated = np.ones(len(truth), dtype=bool)
    # Extended neighbours reach farther than their centre.
    reach = ISOLATION_PX + 2 * np.asarray(truth["re"]) / 0.05
    for a, b in KDTree(points).query_pairs(float(reach.max(initial=ISOLATION_PX))):
        distance = np.hypot(*(points[a] - points[b]))
        for one, other in ((a, b), (b, a)):
            if distance < reach[other] and rate[other] > ISOLATION_SHARE * rate[one]:
                is_isolated[one] = False
    return is_isolated


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")
