"""Reference stars of simulated visits: are they like Gaia's?"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import GCRS, SkyCoord
from astropy.table import Table
from astropy.time import Time

from bycatch.settings import SimulateSettings
from bycatch.simulate.reference import (
    FIRST_ID,
    GALAXY_ERROR_MAS,
    SkyObjects,
    gaia_like,
    is_reliable,
    object_rows,
    position_error_mas,
    sky_objects,
    with_n_usable,
)
from bycatch.simulate.scene import make_scene
from bycatch.simulate.visit import epoch_jyear, sky_positions
from bycatch.sky.gaia import from_table, parallax_shift, read_local

EPOCH = 2011.3


def many(n=20_000, seed=1, **changes):
    random = np.random.default_rng(seed)
    values = {
        "ra_deg": random.uniform(359.9, 360.1, n) % 360.0,
        "dec_deg": random.uniform(-60.1, -59.9, n),
        "g_mag": random.uniform(14.0, 22.0, n),
        "is_star": np.ones(n, dtype=bool),
        "re_arcsec": np.zeros(n),
        "pm_ra": random.normal(0, 6, n),
        "pm_dec": random.normal(0, 6, n),
        "parallax": random.exponential(1.0, n),
    }
    return SkyObjects(**{**values, **changes}, epoch=EPOCH)


def nobody():
    one = many(1)
    empty = {f.name: getattr(one, f.name)[:0] for f in fields(one) if f.name != "epoch"}
    return SkyObjects(**empty, epoch=EPOCH)


@pytest.fixture(scope="module")
def objects():
    return many()


@pytest.fixture(scope="module")
def stars(objects):
    return gaia_like(objects, np.random.default_rng(2))


def filled(table, name):
    return np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan)


def deviations_mas(stars, objects):
    """Catalog carried to the epoch minus truth, per axis, by formulas of first order."""
    rows = object_rows(stars)
    years = objects.epoch - 2016.0
    shift = parallax_shift(objects.ra_deg[rows], objects.dec_deg[rows], objects.epoch)
    parallax = np.nan_to_num(filled(stars, "parallax"))
    d_ra = (filled(stars, "ra") - objects.ra_deg[rows]) * 3.6e6
    d_ra *= np.cos(np.radians(objects.dec_deg[rows]))
    d_dec = (filled(stars, "dec") - objects.dec_deg[rows]) * 3.6e6
    return (
        d_ra + years * np.nan_to_num(filled(stars, "pmra")) + parallax * shift[0],
        d_dec + years * np.nan_to_num(filled(stars, "pmdec")) + parallax * shift[1],
    )


def test_the_shift_by_parallax_is_that_of_astropy():
    ra, dec, epoch = np.array([10.0, 150.0, 266.0]), np.array([-72.0, 2.0, 66.0]), 2011.37
    now = GCRS(obstime=Time(epoch, format="jyear", scale="tdb"))
    near = SkyCoord(ra * u.deg, dec * u.deg, [100.0] * 3 * u.pc).transform_to(now)
    far = SkyCoord(ra * u.deg, dec * u.deg, [1e9] * 3 * u.pc).transform_to(now)
    east, north = parallax_shift(ra, dec, epoch)
    d_ra = (near.ra - far.ra).to_value(u.mas) * np.cos(far.dec.radian)
    np.testing.assert_allclose(10.0 * east, d_ra, atol=0.02)
    np.testing.assert_allclose(10.0 * north, (near.dec - far.dec).to_value(u.mas), atol=0.02)


@pytest.mark.parametrize("axis", [0, 1])
def test_reliable_stars_deviate_from_the_truth_as_much_as_stated(objects, stars, axis):
    name = ("ra", "dec")[axis]
    motion = filled(stars, f"pm{name}_error")
    measured = np.isfinite(motion) & is_reliable(stars, objects)
    years = EPOCH - 2016.0
    shift = parallax_shift(objects.ra_deg, objects.dec_deg, EPOCH)[axis][object_rows(stars)]
    expected = np.sqrt(
        filled(stars, f"{name}_error") ** 2
        + (years * motion) ** 2
        + (shift * filled(stars, "parallax_error")) ** 2
    )
    pulls = (deviations_mas(stars, objects)[axis] / expected)[measured]
    assert measured.sum() > 8000
    assert np.std(pulls) == pytest.approx(1.0, abs=0.03)
    assert abs(np.mean(pulls)) < 0.04


def test_without_motions_they_are_off_by_tens_of_mas(objects, stars):
    rows = object_rows(stars)
    moved = (filled(stars, "dec") - objects.dec_deg[rows]) * 3.6e6
    assert np.std(moved) == pytest.approx(6 * (2016.0 - EPOCH), rel=0.1)


def test_stars_that_are_not_reliable_deviate_by_more_than_stated(objects, stars):
    measured = np.isfinite(filled(stars, "pmdec"))
    bad = measured & ~is_reliable(stars, objects)
    years = EPOCH - 2016.0
    expected = np.hypot(filled(stars, "dec_error"), years * filled(stars, "pmdec_error"))
    pulls = deviations_mas(stars, objects)[1] / expected
    assert 0.04 < bad.sum() / measured.sum() < 0.1
    assert np.std(pulls[bad]) > 1.7
    ruwe = filled(stars, "ruwe")
    assert (ruwe[measured & ~bad] <= 1.4).all()
    assert np.asarray(stars["duplicated_source"])[bad & (ruwe <= 1.4)].all()


def test_errors_grow_with_magnitude_as_published():
    np.testing.assert_allclose(
        position_error_mas(np.array([15.0, 17.0, 20.0, 21.0])), [0.02, 0.05, 0.4, 1.0], rtol=1e-6
    )
    g = np.linspace(14, 22, 100)
    assert (np.diff(position_error_mas(g)) >= 0).all()
    assert position_error_mas(np.array([21.5]))[0] > 1.5


def test_errors_and_missing_motions_agree_with_real_stars(shared, objects, stars):
    real = read_local(shared / "data" / "gaia" / "gaia_dr3_M92.csv").table
    for low in (17.0, 18.0, 19.0, 20.0):
        medians, shares = [], []
        for table in (real, stars):
            g = filled(table, "phot_g_mean_mag")
            some = (g >= low) & (g < low + 0.5)
            moves = np.isfinite(filled(table, "pmra"))
            medians.append(np.median(filled(table, "ra_error")[some & moves]))
            shares.append(1.0 - moves[some].mean())
        assert medians[1] == pytest.approx(medians[0], rel=0.35), low
        # The cluster is crowded: it lacks more motions, at all magnitudes.
        assert shares[1] < shares[0] + 0.03, low
    crowded = gaia_like(objects, np.random.default_rng(2), crowding=0.15)
    g, moves = filled(crowded, "phot_g_mean_mag"), np.isfinite(filled(crowded, "pmra"))
    assert 1 - moves[g < 18].mean() == pytest.approx(0.15, abs=0.03)


def test_faint_stars_lack_motions_and_the_faintest_are_missing(objects, stars):
    g = filled(stars, "phot_g_mean_mag")
    moves = np.isfinite(filled(stars, "pmra"))
    listed = np.zeros(len(objects), dtype=bool)
    listed[object_rows(stars)] = True
    for low, high, least, most in (
        (14.0, 19.0, 0.98, 1.0),
        (20.0, 20.5, 0.9, 0.98),
        (20.8, 21.0, 0.4, 0.6),
        (21.4, 22.0, 0.0, 0.0),
    ):
        some = (objects.g_mag >= low) & (objects.g_mag < high)
        assert least <= listed[some].mean() <= most
    assert moves[g < 18].mean() > 0.98
    assert moves[(g > 20.9) & (g < 21.1)].mean() < 0.3
    for name in ("pmdec", "pmra_error", "parallax", "parallax_error", "ruwe"):
        np.testing.assert_array_equal(np.isfinite(filled(stars, name)), moves)


def test_bright_stars_are_there_although_images_saturate(objects, stars):
    assert (filled(stars, "phot_g_mean_mag") < 15).sum() > 1000


def test_compact_galaxies_are_among_them():
    n = 4000
    galaxies = many(
        n,
        is_star=np.zeros(n, dtype=bool),
        re_arcsec=np.where(np.arange(n) % 2, 0.2, 0.8),
        g_mag=np.full(n, 20.0),
        pm_ra=np.zeros(n),
        pm_dec=np.zeros(n),
        parallax=np.zeros(n),
    )
    stars = gaia_like(galaxies, np.random.default_rng(5))
    assert len(stars) == pytest.approx(0.4 * n / 2, rel=0.1)
    assert (galaxies.re_arcsec[object_rows(stars)] < 0.4).all()
    assert not is_reliable(stars, galaxies).any()
    off = (filled(stars, "dec") - galaxies.dec_deg[object_rows(stars)]) * 3.6e6
    assert np.std(off) > GALAXY_ERROR_MAS * 0.9
    ruwe = filled(stars, "ruwe")
    assert np.isnan(ruwe).mean() == pytest.approx(0.5, abs=0.05)
    assert np.nanmin(ruwe) > 1.4


def test_g_follows_magnitude_and_colour():
    settings = SimulateSettings(n_columns=1000, n_rows=475, stars_per_arcmin2=2000.0)
    scene = make_scene(settings)
    ra, dec = sky_positions(settings, scene)
    blank = sky_objects(scene, ra, dec, epoch_jyear(settings), np.random.default_rng(3))
    difference = blank.g_mag - scene.mag
    # G's pivot lies 80 A blueward of the scene's magnitudes, its zero point is Vega's.
    assert np.median(difference) == pytest.approx(-0.1, abs=0.03)
    red = scene.colour > 2.5
    assert np.std(difference[red]) > 1.3 * np.std(difference[scene.colour < 0.5])
    assert (blank.parallax[scene.is_star] > 0).all()
    assert (blank.parallax[~scene.is_star] == 0).all()
    assert blank.epoch == pytest.approx(2012.75, abs=0.1)


def test_the_client_reads_them_back(stars, tmp_path):
    stars[:500].write(tmp_path / "gaia.ecsv", format="ascii.ecsv")
    read = read_local(tmp_path / "gaia.ecsv")
    assert len(read) == 500
    np.testing.assert_array_equal(read.table["source_id"], stars["source_id"][:500])
    np.testing.assert_array_equal(
        np.isfinite(read.table["pmra"]), np.isfinite(filled(stars[:500], "pmra"))
    )


def test_carried_by_the_client_they_meet_the_truth(objects, stars):
    bright = stars[
        (filled(stars, "phot_g_mean_mag") < 17)
        & np.isfinite(filled(stars, "pmra"))
        & is_reliable(stars, objects)
    ]
    client = from_table(bright, "simulated")
    mjd = 51544.5 + (EPOCH - 2000.0) * 365.25
    ra, dec = client.positions_at(mjd)
    truth = SkyCoord(
        objects.ra_deg[object_rows(bright)], objects.dec_deg[object_rows(bright)], unit="deg"
    )
    away = SkyCoord(ra, dec, unit="deg").separation(truth).to_value(u.mas)
    # Errors of motions below 0.1 mas/yr times 4.7 years, and of parallaxes.
    assert np.median(away) < 1.5


def test_a_number_of_usable_stars_is_left(objects, stars):
    usable = is_reliable(stars, objects)
    for n in (0, 1, 3, 100):
        left = with_n_usable(stars, usable, n, np.random.default_rng(n))
        assert is_reliable(left, objects).sum() == n
        # What is not usable stays in part, to be told from what is.
        assert 0.1 < (len(left) - n) / (~usable).sum() < 0.3
        assert len(np.unique(left["source_id"])) == len(left)
    everything = with_n_usable(stars, usable, int(usable.sum()), np.random.default_rng(1))
    assert len(everything) == len(stars)


def test_more_usable_stars_than_there_are_is_refused(stars):
    with pytest.raises(ValueError, match="3 usable stars wanted, but there are 1"):
        with_n_usable(stars[:5], np.array([1, 0, 0, 0, 0], dtype=bool), 3, np.random.default_rng(1))


def test_the_random_numbers_decide_everything(objects):
    first, again, other = (
        gaia_like(objects, np.random.default_rng(seed)).as_array() for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first["ra"], again["ra"])
    assert len(first) != len(other) or not np.array_equal(first["ra"], other["ra"])


@pytest.mark.filterwarnings("error")
def test_no_objects_give_an_empty_table_with_all_columns(stars):
    empty = gaia_like(nobody(), np.random.default_rng(1))
    assert isinstance(empty, Table)
    assert len(empty) == 0
    assert empty.colnames == stars.colnames
    assert len(with_n_usable(empty, np.zeros(0, dtype=bool), 0, np.random.default_rng(1))) == 0


def test_identifiers_lead_back_to_the_objects(objects, stars):
    assert object_rows(stars[:1])[0] == int(stars["source_id"][0]) - FIRST_ID
    rows = object_rows(stars)
    np.testing.assert_allclose(filled(stars, "phot_g_mean_mag"), objects.g_mag[rows], atol=0.05)
    assert len(replace(objects, epoch=2000.0)) == len(objects)
