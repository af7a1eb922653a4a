"""Several visits of one sky: where objects are, how bright, and what the images show of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from bycatch.settings import SimulateSettings
from bycatch.simulate import SimulatedGroup, read_truth, simulate_group, write_group
from bycatch.simulate.geometry import plane_to_sky, sky_to_plane
from bycatch.simulate.group import make_sky, scene_of_visit, visits_of
from bycatch.simulate.visit import epoch_jyear
from bycatch.sky.gaia import parallax_shift

SMALL = SimulateSettings(
    n_columns=160, n_rows=75, gap_px=10, filters=("F606W", "F814W"), n_exposures=(1, 2),
    n_epochs=3, epoch_years=2.0, epoch_roll_deg=40.0, epoch_offset_arcsec=1.0, epoch_n_filters=1,
    epoch_depths=(1.0, 0.5), stars_per_arcmin2=600.0, mag_faint=24.0, motion_mas_yr=50.0,
    variable_percent=50.0, cosmic_ray_share=0.0, hot_pixel_share=0.0, n_dead_columns=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def group() -> SimulatedGroup:
    return simulate_group(SMALL)


def test_visits_differ_in_what_the_settings_say() -> None:
    first, second, third = visits_of(SMALL)
    assert (first.visit, second.visit, third.visit) == ("01", "02", "03")
    assert (first.filters, second.filters, third.filters) == (("F606W",), ("F814W",), ("F606W",))
    assert second.n_exposures == (2,)
    assert (second.exptime_s, third.exptime_s) == (300.0, 600.0)
    assert third.mjd_start - first.mjd_start == pytest.approx(4 * 365.25)
    assert third.position_angle_deg - first.position_angle_deg == pytest.approx(80.0)
    away = [
        3600 * np.hypot((v.ra_deg - first.ra_deg) * np.cos(np.radians(2.2)), v.dec_deg - 2.2)
        for v in (second, third)
    ]
    assert away == pytest.approx([1.0, 1.0], abs=1e-6)
    assert first.pointing_error_ra_arcsec != second.pointing_error_ra_arcsec


def test_one_epoch_is_the_visit_itself() -> None:
    (only,) = visits_of(SMALL.replace(n_epochs=1, epoch_n_filters=0))
    assert only == SMALL.replace(n_epochs=1, epoch_n_filters=0)


@pytest.mark.parametrize("grid", ["detector", "north"])
def test_plane_and_sky_are_inverse(grid: str) -> None:
    settings = SMALL.replace(grid=grid)
    u, v = np.array([3.0, -2.0]), np.array([1.0, 4.0])
    assert np.allclose(sky_to_plane(settings, *plane_to_sky(settings, u, v)), (u, v), atol=1e-8)


def test_objects_move_and_vary(group: SimulatedGroup) -> None:
    sky = group.truth
    tables = [visit.images[0].truth for visit in group.visits]
    assert {len(table) for table in tables} == {len(sky)}
    for visit, table in zip(group.visits, tables, strict=True):
        year = epoch_jyear(visit.settings)
        years = year - (2000.0 + (sky["mjd"][0] - 51544.5) / 365.25)
        east, north = parallax_shift(np.asarray(sky["ra"]), np.asarray(sky["dec"]), year)
        cosine = np.cos(np.radians(sky["dec"]))
        ra = (table["ra"] - sky["ra"]) * cosine * 3.6e6
        dec = (table["dec"] - sky["dec"]) * 3.6e6
        assert np.allclose(ra, sky["pmra"] * years + east * sky["parallax"], atol=0.02)
        assert np.allclose(dec, sky["pmdec"] * years + north * sky["parallax"], atol=0.02)
    first, third = tables[0], tables[2]  # of one filter
    varies = np.asarray(sky["variable"])
    change = np.asarray(third["mag"] - first["mag"])
    assert np.all(change[~varies] == 0)
    assert not varies[~np.asarray(sky["star"])].any()
    assert 0.09 < np.std(change[varies]) < 0.2
    assert np.allclose((first["mag"] - sky["mag_F606W"])[~varies], 0)


def test_stars_are_where_the_truth_says(group: SimulatedGroup) -> None:
    """By centroids in the noiseless images, which are rolled and shifted against one another."""
    for visit in group.visits:
        (image,) = visit.images
        x, y = image.wcs_true.all_world2pix(image.truth["ra"], image.truth["dec"], 0)
        assert np.allclose(x, image.truth["x"], atol=1e-3)
        assert np.allclose(y, image.truth["y"], atol=1e-3)
        ny, nx = image.model.shape
        inside = (x > 20) & (y > 20) & (x < nx - 20) & (y < ny - 20)
        for k in np.argsort(np.where(inside, image.truth["mag"], 99.0))[:3]:
            column, row = round(x[k]), round(y[k])
            peak = image.model[row - 2 : row + 3, column - 2 : column + 3].argmax()
            assert abs(peak % 5 - 2) <= 1
            assert abs(peak // 5 - 2) <= 1


def test_galaxies_turn_with_the_roll() -> None:
    sky = make_sky(SMALL)
    visits = visits_of(SMALL)
    first, third = (scene_of_visit(sky, visits, k) for k in (0, 2))
    assert np.allclose(np.degrees(first.angle_rad - third.angle_rad), 80.0)


def test_group_on_disk(group: SimulatedGroup, tmp_path: Path) -> None:
    files = write_group(group, tmp_path)
    roots = [path.name for visit in files for path in visit.images]
    assert roots == ["jsim01010_drc.fits", "jsim02010_drc.fits", "jsim03010_drc.fits"]
    sky = Table.read(tmp_path / "truth" / "sky.ecsv")
    assert list(sky["id"]) == list(range(1, len(sky) + 1))
    assert len(read_truth(tmp_path, "jsim03010").table) == len(sky)
    assert len(Table.read(tmp_path / "gaia.ecsv")) == len(group.gaia) > 3
