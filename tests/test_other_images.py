"""The other images of a field, as one of them sees them."""

import numpy as np
import pytest

from bycatch.catalogs.tables import read_table
from bycatch.kernels.blocks import BLOCK_PX, block_sums, covered_blocks
from bycatch.pipeline.frames import read_frame
from bycatch.pipeline.jobs import ImageJob
from bycatch.pipeline.other_images import other_images
from bycatch.pipeline.workbench import Workbench
from bycatch.products import FieldFolder, find_records, read_field
from bycatch.settings import Settings


@pytest.mark.parametrize("shape", [(16, 16), (17, 31), (50, 5), (1, 1), (64, 33)])
def test_blocks_are_covered_where_every_pixel_is(shape):
    valid = np.random.default_rng(1).random(shape) < 0.995
    blocks = covered_blocks(valid)
    for row in range(blocks.shape[0]):
        for column in range(blocks.shape[1]):
            part = valid[
                row * BLOCK_PX : (row + 1) * BLOCK_PX, column * BLOCK_PX : (column + 1) * BLOCK_PX
            ]
            assert blocks[row, column] == part.all()
    assert blocks.shape == tuple(-(-n // BLOCK_PX) for n in shape)


def two_images(out):
    """Return the records of the two images of the finished visit, and their common sources."""
    red, blue = sorted(find_records(out), key=lambda r: r.filter, reverse=True)
    return red, blue


def bench(record, out):
    """Return an image with its products, as on the disk."""
    folder = FieldFolder(out, read_field(out, record.field))
    return Workbench(folder, ImageJob(out, record, Settings()))


def test_sources_of_the_other_image_lie_on_those_of_this_one(finished):
    red, blue = two_images(finished)
    own = read_table(red.paths(finished).product("sources"))
    wcs = read_frame(red.paths(finished).wcs).wcs
    x, y = np.asarray(own["x"]), np.asarray(own["y"])
    (view,) = other_images([bench(blue, finished)], wcs, x, y)
    assert view.name == f"{blue.filter}/{blue.root}"
    apart = np.hypot(x[:, None] - view.x, y[:, None] - view.y).min(axis=1)
    assert np.median(apart[apart < 3]) < 0.2
    assert (apart < 1.0).mean() > 0.5
    assert view.covers[apart < 1.0].mean() > 0.9


def test_a_position_off_the_other_image_is_not_covered(finished):
    red, blue = two_images(finished)
    wcs = read_frame(red.paths(finished).wcs).wcs
    x, y = np.array([-1e4, np.nan, 250.0]), np.array([50.0, 50.0, np.nan])
    (view,) = other_images([bench(blue, finished)], wcs, x, y)
    assert not view.covers.any()


def test_without_positions_or_images_there_is_nothing(finished):
    red, blue = two_images(finished)
    wcs = read_frame(red.paths(finished).wcs).wcs
    assert other_images([], wcs, np.empty(0), np.empty(0)) == ()
    (view,) = other_images([bench(blue, finished)], wcs, np.empty(0), np.empty(0))
    assert len(view.covers) == 0
    assert len(view.x) > 0


def test_an_image_that_can_not_be_read_is_left_out(finished, tmp_path, caplog):
    red, blue = two_images(finished)
    wcs = read_frame(red.paths(finished).wcs).wcs
    (tmp_path / blue.field).mkdir()
    gone = [bench(blue, tmp_path)]
    assert other_images(gone, wcs, np.array([1.0]), np.array([1.0])) == ()
    assert f"{blue.filter}/{blue.root}: not compared" in caplog.text


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (33, 50), (7, 100)])
def test_block_sums_are_those_of_the_pixels(shape):
    plane = np.random.default_rng(1).random(shape).astype(np.float32)
    sums = block_sums(plane)
    assert sums.shape == tuple(-(-size // BLOCK_PX) for size in shape)
    for row, column in np.ndindex(sums.shape):
        block = plane[row * BLOCK_PX :, column * BLOCK_PX :][:BLOCK_PX, :BLOCK_PX]
        assert sums[row, column] == pytest.approx(block.sum(dtype=float), rel=1e-5)
