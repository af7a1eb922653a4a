"""Planes of ours are read as they were written, packed or not, and damage is told."""

import numpy as np
import pytest
from astropy.io import fits

from bycatch.errors import UnreadableFile
from bycatch.products import read_pixels

NAMES = ("plane.fits", "plane.fits.gz")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.float32])
@pytest.mark.parametrize("is_first", [True, False])
def test_pixels_come_back_in_native_order(tmp_path, name, kind, is_first):
    pixels = np.arange(35).reshape(5, 7).astype(kind)
    hdus = [fits.PrimaryHDU(pixels)] if is_first else [fits.PrimaryHDU(), fits.ImageHDU(pixels)]
    fits.HDUList(hdus).writeto(tmp_path / name)
    image = read_pixels(tmp_path / name)
    assert image.dtype == np.dtype(kind)
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("name", NAMES)
def test_missing_empty_and_damaged_planes_are_refused(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(UnreadableFile, match="there is no such file"):
        read_pixels(path)
    noise = np.random.default_rng(0).integers(0, 2**31 - 1, (200, 90), dtype=np.int32)
    fits.PrimaryHDU(noise).writeto(path)
    content = path.read_bytes()
    for damaged in (
        b"",
        b"no such thing",
        content[: len(content) // 2],
        content[: len(content) - 4],
    ):
        path.write_bytes(damaged)
        with pytest.raises(UnreadableFile, match=name):
            read_pixels(path)
    fits.PrimaryHDU().writeto(path, overwrite=True)
    with pytest.raises(UnreadableFile, match="no image in it"):
        read_pixels(path)
