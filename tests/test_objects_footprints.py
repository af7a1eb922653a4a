"""Footprints on the sky, groups of those that overlap, and tiles of large groups."""

import random

import numpy as np
import pytest
from astropy.wcs import WCS

from bycatch.kernels.blocks import BLOCK_PX
from bycatch.sky import footprints
from bycatch.sky.footprints import (
    footprint_of_blocks,
    footprint_of_corners,
    groups,
    shared_area_arcmin2,
    sky_cell,
    sky_name,
    tiles,
)
from bycatch.tangent import sky_of_tangent

SIDE_ARCSEC = 202.0


def square(name, ra, dec, roll_deg=0.0, side_arcsec=SIDE_ARCSEC, mjd=55000.0):
    half, c, s = 500.0 * side_arcsec, np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    corners = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    return footprint_of_corners(
        name, mjd, *sky_of_tangent(corners @ np.array([[c, s], [-s, c]]), ra, dec)
    )


PLACES = [(150.0, 2.0), (0.0, 0.0), (359.999, -30.0), (12.0, 89.999), (200.0, 90.0), (7.0, -90.0)]


@pytest.mark.parametrize(("ra", "dec"), PLACES)
def test_shared_area(ra, dec):
    area = (SIDE_ARCSEC / 60) ** 2
    whole = square("a", ra, dec)
    assert shared_area_arcmin2(whole, whole) == pytest.approx(area, rel=1e-6)
    turned = square("b", ra, dec, 45.0)
    octagon = area * (2 * np.sqrt(2) - 2)
    assert shared_area_arcmin2(whole, turned) == pytest.approx(octagon, rel=1e-6)
    assert shared_area_arcmin2(turned, whole) == pytest.approx(octagon, rel=1e-6)
    within = square("c", ra, dec, 20.0, 26.0)
    assert shared_area_arcmin2(whole, within) == pytest.approx((26 / 60) ** 2, rel=1e-6)
    moved = [float(v[0]) for v in sky_of_tangent(np.array([[101e3, 101e3]]), ra, dec)]
    quarter = square("d", *moved)
    expected = area / 4
    if abs(dec) < 80:  # elsewhere north is another direction there
        assert shared_area_arcmin2(whole, quarter) == pytest.approx(expected, rel=1e-3)
    far = [float(v[0]) for v in sky_of_tangent(np.array([[300e3, 0.0]]), ra, dec)]
    assert shared_area_arcmin2(whole, square("e", *far)) == 0.0
    assert shared_area_arcmin2(whole, square("f", ra + 180.0, -dec, 0.0)) == 0.0
    assert whole.covers(np.array([ra, far[0]]), np.array([dec, far[1]])).tolist() == [True, False]
    assert whole.covers(whole.ra_deg, whole.dec_deg).all()


def test_groups_do_not_depend_on_the_order():
    images = [
        square(f"i{k}", 10.0 + 0.03 * (k % 5), 5.0 * (k // 5), mjd=55000 + k) for k in range(20)
    ]
    expected = [[f.name for f in group] for group in groups(images)]
    assert expected == [[f"i{k}" for k in range(n, n + 5)] for n in (0, 5, 10, 15)]
    random.Random(1).shuffle(images)
    assert [[f.name for f in group] for group in groups(images)] == expected
    names = [tile.name for tile in tiles(groups(images))]
    assert len(set(names)) == 4
    later = [*images, square("x", 10.15, 0.0, mjd=59000)]
    assert [tile.name for tile in tiles(groups(later))] == names


def test_identical_pointings_and_images_far_apart():
    same = [square(f"i{k}", 0.0, 0.0) for k in range(8)]
    away = square("j", 180.0, 0.0, mjd=np.nan)
    rows = groups([away, *same])
    assert [len(group) for group in rows] == [8, 1]
    assert [tile.cell for tile in tiles(rows)] == [None, None]
    assert groups([]) == []
    assert tiles([]) == []


def test_a_corner_in_common_makes_no_group():
    a, b = square("a", 40.0, 0.0), square("b", 40.0 + 200 / 3600, 200 / 3600)
    assert 0 < shared_area_arcmin2(a, b) < footprints.LEAST_AREA_ARCMIN2
    assert len(groups([a, b])) == 2
    assert len(groups([a, b], least_area_arcmin2=0.0)) == 1


def test_groups_at_one_place_have_different_names():
    image = square("a", 40.0, 0.0)
    names = [tile.name for tile in tiles([(image,)] * 30)]
    assert len(set(names)) == 30
    assert names[0] == "J024000.0+000000"


@pytest.mark.parametrize(("ra", "dec"), [(358.9, 10.0), (100.0, -0.1), (30.0, 88.6), (0.0, -75.0)])
def test_a_chain_is_cut_into_tiles_that_share_the_sky(ra, dec):
    step = 0.045
    images = [
        square(f"i{k:02d}", ra + step * k / np.cos(np.radians(dec)), dec, 30.0, mjd=55000 + k)
        for k in range(50)
    ]
    (group,) = groups(images)
    cut = tiles([group])
    assert len({tile.name for tile in cut}) == len(cut) >= 9
    rng = np.random.default_rng(0)
    by_name = {f.name: f for f in images}
    for image in images:
        at = rng.uniform(-130e3, 130e3, (300, 2))
        points = sky_of_tangent(at, *image.centre)
        points = [p[image.covers(*points)] for p in points]
        owners = np.array([tile.owns(*points) for tile in cut])
        assert (owners.sum(axis=0) == 1).all()
        # Who shows sky within the margin of a cell is there.
        for tile, own in zip(cut, owners, strict=True):
            assert image.name in tile.members or not own.any()
    for tile in cut:
        centres = np.array([by_name[name].centre for name in tile.members])
        span = np.ptp((centres[:, 0] - ra) % 360) * np.cos(np.radians(dec))
        assert span < 0.45
    # One more image at the end leaves the tiles before as they were.
    later = [*images, square("x", ra + step * 50 / np.cos(np.radians(dec)), dec, 30.0, mjd=56000)]
    again = {tile.name: tile.members for tile in tiles(groups(later))}
    assert sum(again.get(tile.name) == tile.members for tile in cut) >= len(cut) - 4
    assert set(again) >= {tile.name for tile in cut}


def test_cells_are_no_larger_than_the_limit_and_cover_the_sky():
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(-360, 720, 20000), np.degrees(np.arcsin(rng.uniform(-1, 1, 20000)))
    cells = sky_cell(ra, dec, 10.0)
    assert (cells == sky_cell(ra + 360, dec, 10.0)).all()
    for cell in np.unique(cells):
        own = cells == cell
        span = np.ptp(np.sort(ra[own] % 360)) * np.cos(np.radians(np.abs(dec[own]).min()))
        assert np.ptp(dec[own]) <= 10.0
        assert span <= 10.0 or np.abs(dec[own]).min() >= 80.0
    edge = sky_cell(np.array([0.0, 360.0, 0.0, 0.0]), np.array([0.0, 0.0, 90.0, -90.0]))
    assert edge[0] == edge[1]


def test_names():
    assert sky_name(83.80875, -5.389722223) == "J053514.1-052323"
    assert sky_name(359.99999999999, -0.0) == "J000000.0+000000"
    assert sky_name(15.0, 89.99999) == "J010000.0+895959"
    assert sky_name(-15.0, 0.5) == "J230000.0+003000"


def test_footprint_of_covered_blocks():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [0.001, 20.0]
    wcs.wcs.cdelt = [-0.05 / 3600, 0.05 / 3600]
    wcs.wcs.crpix = [500, 400]
    blocks = np.zeros((63, 70), bool)
    blocks[10:, 20:60] = True
    footprint = footprint_of_blocks("a", 55000.0, blocks, wcs, BLOCK_PX, (1000, 1120))
    area = (40 * 16 * 0.05) * ((1000 - 160) * 0.05) / 3600
    assert shared_area_arcmin2(footprint, footprint) == pytest.approx(area, rel=1e-5)
    inside = wcs.all_pix2world([[320.0, 170.0], [310.0, 170.0], [950, 998], [950, 1003]], 0)
    assert footprint.covers(*inside.T).tolist() == [True, False, True, False]
    with pytest.raises(ValueError, match="covers no block"):
        footprint_of_blocks("a", 0.0, blocks[:0], wcs, BLOCK_PX, (1000, 1120))


def test_corners_without_an_area_are_refused():
    with pytest.raises(ValueError, match="no area"):
        footprint_of_corners("a", 0.0, np.zeros(4), np.array([0.0, 1, 2, 3]))
    with pytest.raises(ValueError, match="corners"):
        footprint_of_corners("a", 0.0, np.array([1.0, np.nan, 2]), np.zeros(3))


def test_numbers_that_the_documentation_states():
    assert (footprints.TILE_DEG, footprints.MARGIN_ARCSEC) == (0.25, 10.0)
    assert footprints.LEAST_AREA_ARCMIN2 == 0.05
