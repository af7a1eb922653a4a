"""Light in other images: what colours leave possible, and what only charge explains."""

import numpy as np
import pytest

from bycatch import photcal
from bycatch.catalogs.tables import read_table
from bycatch.images.drc import read_drc
from bycatch.pipeline.frames import read_frame
from bycatch.pipeline.jobs import ImageJob
from bycatch.pipeline.other_images import other_images
from bycatch.pipeline.workbench import Workbench
from bycatch.products import FieldFolder, find_records, read_field
from bycatch.settings import Settings
from bycatch.stages.measure import elsewhere
from bycatch.stages.measure.elsewhere import Light, absence, light_at, seen_elsewhere

BLUE, RED = 4746.0, 7693.0


def told(own, other, *, wavelengths=(BLUE, RED), errors=(1.0, 1.0)):
    own_light = Light(np.array([own]), np.array([errors[0]]), wavelengths[0])
    return float(absence(own_light, Light(np.array([other]), np.array([errors[1]]),
                                          wavelengths[1]))[0])  # fmt: skip


def test_what_has_no_light_in_a_redder_filter_is_no_star():
    assert told(20.0, 0.0) > 5.0
    assert told(20.0, -1.5) > 5.0


@pytest.mark.parametrize("colour", [-0.5, 0.0, 1.7, 4.0])
def test_light_of_usual_colours_speaks_for_a_source(colour):
    expected = 20.0 * 10 ** (0.4 * colour * np.log(RED / BLUE))
    assert told(20.0, expected) < -1.0


def test_the_reddest_stars_and_drop_outs_survive_in_bluer_filters():
    red = {"wavelengths": (RED, BLUE)}
    very_red = 20.0 * 10 ** (-0.4 * 8.0 * np.log(RED / BLUE))
    assert told(20.0, very_red, **red) < 2.5
    # Nothing at all: no more than one in a hundred sources allows.
    assert told(20.0, 0.0, **red) < np.log(1 / elsewhere.DROPOUT_SHARE) + 0.1


def test_an_image_that_is_not_deep_says_nothing():
    assert abs(told(5.0, 3.0, errors=(1.0, 60.0))) < 0.3
    assert told(np.nan, 1.0) == told(5.0, np.nan) == 0.0
    assert abs(told(-3.0, 1.0)) < elsewhere.MOST_ABSENT


def test_images_add_up_where_they_look():
    own = Light(np.array([20.0, 20.0]), np.ones(2), BLUE)
    nothing = Light(np.zeros(2), np.ones(2), RED)

    class Other:
        x = y = np.empty(0)
        covers = np.array([True, False])
        light = nothing

    place = np.array([10.0, 50.0])
    elsewhere = seen_elsewhere(place, place, [Other(), Other()], own=own)
    assert elsewhere.absent[0] == pytest.approx(2 * absence(own, nothing)[0])
    assert elsewhere.absent[1] == 0
    assert not seen_elsewhere(place, place, [Other()]).absent.any()


def test_the_light_of_a_star_is_in_microjansky(as_image, psf):
    rate, shape = 50.0, (80, 90)
    sci = np.random.default_rng(1).normal(0.1, 0.01, shape) + rate * psf(shape, 40.0, 30.0, 2.2)
    image = as_image(sci.astype(np.float32))
    result = light_at(
        image, np.array([40.0, 70.0, -50.0, np.nan]), np.array([30.0, 60.0, 5.0, 5.0])
    )
    zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
    unit = 10 ** (0.4 * (23.9 - zeropoint))
    assert 0.5 * rate * unit < result.flux[0] < rate * unit
    assert abs(result.flux[1]) < 4 * result.err[1]
    assert np.isnan(result.flux[2:]).all()


def test_the_other_image_is_measured_where_its_own_frame_has_the_positions(finished):
    red, blue = sorted(find_records(finished), key=lambda r: r.filter, reverse=True)
    bench = Workbench(
        FieldFolder(finished, read_field(finished, blue.field)),
        ImageJob(finished, blue, Settings()),
    )
    wcs = read_frame(red.paths(finished).wcs).wcs
    x, y = np.array([200.0, 150.0]), np.array([180.0, 90.0])
    (view,) = other_images([bench], wcs, x, y)
    there = read_frame(blue.paths(finished).wcs).wcs.all_world2pix(*wcs.all_pix2world(x, y, 0), 0)
    image = read_drc(blue.paths(finished).folder / blue.name)
    assert view.light is not None
    np.testing.assert_allclose(view.light.flux, light_at(image, *there).flux)
    assert "image" not in bench.__dict__


def test_it_does_not_matter_when_the_other_image_was_measured(done, finished, visit, bycatch):
    """One image made again, with the other one on the disk, comes out as before."""
    for record in find_records(done):
        phot = record.paths(done).product("phot")
        phot.unlink()
        result = bycatch("run", visit.raw, "-o", done, "--gaia", visit.gaia)
        assert result.status == 0, result.out + result.err
        now, before = (read_table(record.paths(out).product("phot")) for out in (done, finished))
        for name in ("p_cr", "flags", "n_seen"):
            np.testing.assert_array_equal(now[name], before[name])
