"""Which exposures look at a position, against masks that are known."""

import numpy as np
import pytest
from astropy.io import fits

from bycatch.images.drc import read_drc
from bycatch.images.exposures import exposure_sets, mean_mjd
from bycatch.images.headers import Exposure


@pytest.fixture(scope="module")
def image(visit):
    return read_drc(visit.raw / "jabc01010_drc.fits")


def test_sets_have_as_many_exposures_as_the_map_says(image):
    rng = np.random.default_rng(1)
    ny, nx = image.shape
    x, y = rng.uniform(0, nx - 1, 500), rng.uniform(0, ny - 1, 500)
    sets = exposure_sets(image.path, image.meta, x, y)
    counts = np.bitwise_count(sets.astype(np.uint64))
    np.testing.assert_array_equal(
        counts, image.n_exp[np.rint(y).astype(int), np.rint(x).astype(int)]
    )


def test_off_the_image_there_are_none(image):
    ny, nx = image.shape
    x, y = [-5.0, nx + 3.0, 4.0, np.nan, 4.0], [4.0, 4.0, ny + 0.5, 4.0, np.inf]
    assert not exposure_sets(image.path, image.meta, x, y).any()
    assert exposure_sets(image.path, image.meta, [], []).shape == (0,)


def write_context(path, source, context):
    with fits.open(source) as hdus:
        hdus["CTX"].data = context
        hdus.writeto(path)


def test_the_last_bit_of_a_plane_counts(image, tmp_path, visit):
    # Bit 31 makes the number negative; a second plane goes on with bit 32.
    from dataclasses import replace

    chips = tuple(replace(image.meta.chips[0], exposure=f"e{k:02d}") for k in range(34))
    meta = replace(image.meta, chips=chips)
    context = np.zeros((2, *image.shape), np.int32)
    context[0, 3, 5] = np.int32(-(2**31) + 1)
    context[1, 3, 5] = 2
    write_context(tmp_path / "x_drc.fits", image.path, context)
    (result,) = exposure_sets(tmp_path / "x_drc.fits", meta, [5.2], [2.9])
    assert result == 1 | 1 << 31 | 1 << 33


def test_without_a_context_image_nothing_is_known(image, tmp_path):
    with fits.open(image.path) as hdus:
        del hdus["CTX"]
        hdus.writeto(tmp_path / "x_drc.fits")
    assert not exposure_sets(tmp_path / "x_drc.fits", image.meta, [50.0], [50.0]).any()


def test_times_are_means_over_the_exposures():
    exposures = (Exposure("a", 100.0, 1.0), Exposure("b", 300.0, 2.0), Exposure("c", 100.0, np.nan))
    sets = np.array([0b001, 0b010, 0b011, 0b111, 0b100, 0])
    np.testing.assert_allclose(mean_mjd(sets, exposures, 9.0), [1, 2, 1.75, 1.75, 9, 9])
    np.testing.assert_allclose(mean_mjd(sets, (), 9.0), 9.0)


def test_two_chips_are_one_exposure(simulated_meta):
    assert len(simulated_meta.exposures) * 2 == len(simulated_meta.chips)
    times = [e.mjd_mid for e in simulated_meta.exposures]
    assert times == sorted(times)
    assert np.diff(times) == pytest.approx(600 / 86400)


@pytest.fixture(scope="module")
def simulated_meta(tmp_path_factory):
    pytest.importorskip("drizzle")
    from bycatch.images.headers import read_headers
    from bycatch.images.meta import image_meta
    from bycatch.settings import Settings
    from bycatch.simulate import simulate_visit, write_visit

    folder = tmp_path_factory.mktemp("exposures")
    settings = Settings().simulate.replace(
        n_columns=64, n_rows=32, filters=("F606W",), n_exposures=(3,), gap_px=4
    )
    write_visit(simulate_visit(settings), folder)
    return image_meta(read_headers(next((folder / "raw").glob("*_drc.fits"))))
