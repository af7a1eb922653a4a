"""Lists in pixels where images have different grids, and regions in the physical frame."""

import numpy as np
import pytest
from astropy.table import Table

from bycatch.catalogs.tables import read_table

X0, Y0 = 30, 20
"""Where the cutout begins in the first image."""
QUICK = ("-j", "1", "--set", "align.enabled=false")


@pytest.fixture
def two_grids(tmp_path, scene, new_drc):
    """A field of an image and of a cutout of it in another filter, and its brightest stars."""
    truth, image = scene
    new_drc(image).writeto(tmp_path / "jabc01010_drc.fits")
    cut = image[Y0:, X0:].copy()
    ny, nx = image.shape
    cards = {"CRPIX1": (nx + 1) / 2 - X0, "CRPIX2": (ny + 1) / 2 - Y0, "LTV1": -float(X0),
             "LTV2": -float(Y0), "PHOTFLAM": 1.19e-19, "PHOTPLAM": 6309.0}  # fmt: skip
    hdus = new_drc(cut, filters=("F625W", "CLEAR2L"), sci_cards=cards)
    hdus.writeto(tmp_path / "jabc01020_drc.fits")
    return tmp_path, truth.x[-3:], truth.y[-3:]


def catalogs(out, kind="cat"):
    return {path.name[:9]: read_table(path) for path in out.glob(f"*/*/*_{kind}.ecsv")}  # by root


def test_pixels_of_one_image_are_refused_unless_it_is_named(bycatch, two_grids):
    folder, x, y = two_grids
    out = folder / "out"
    Table({"X_IMAGE": x + 1, "Y_IMAGE": y + 1}).write(folder / "mine.csv")
    words = ("run", folder, "-o", out, "--sources", folder / "mine.csv", *QUICK)
    for more in ((), ("--dry-run",)):
        ended = bycatch(*words, *more)
        assert ended.status == 2
        assert "the 2 images are of different grids" in ended.err
        assert "--sources-image ROOT" in ended.err
    ended = bycatch(*words, "--sources-image", "jabc01099")
    assert ended.status == 2
    assert "0 images of this name - of jabc01010, jabc01020" in ended.err

    ended = bycatch(*words, "--sources-image", "jabc01010")
    assert ended.status == 0, ended.err
    assert "X_IMAGE, Y_IMAGE are 1-based" in ended.out + ended.err
    found = catalogs(out)
    np.testing.assert_allclose(found["jabc01010"]["x_center"], x)
    np.testing.assert_allclose(found["jabc01020"]["x_center"], x - X0, atol=1e-6)
    np.testing.assert_allclose(found["jabc01020"]["y_center"], y - Y0, atol=1e-6)
    # A step on its own keeps the list and its image; nothing is stale afterwards.
    assert bycatch("status", out).status == 0
    assert bycatch("measure", out, "-j", "1").status == 0
    assert bycatch("finalize", out, "-j", "1").status == 0
    again = catalogs(out)["jabc01020"]
    np.testing.assert_array_equal(again["x_center"], found["jabc01020"]["x_center"])
    other = bycatch(*words, "--sources-image", "jabc01020")
    assert other.status == 0
    np.testing.assert_allclose(catalogs(out)["jabc01010"]["x_center"], x + X0, atol=1e-6)


def test_physical_regions_are_those_of_each_image(bycatch, two_grids):
    folder, x, y = two_grids
    regions = "".join(f"circle({a + 1:.3f},{b + 1:.3f},3)\n" for a, b in zip(x, y, strict=True))
    (folder / "mine.reg").write_text(f"physical\n{regions}# text(5,5) text={{a}}\n")
    ended = bycatch("run", folder, "-o", folder / "out", "--exclude", folder / "mine.reg", *QUICK)
    assert ended.status == 0, ended.err
    assert "passed over: text (line 5) has no area" in ended.out + ended.err
    for table in catalogs(folder / "out", "excluded").values():
        assert len(table) == 3


def test_an_image_of_no_list(bycatch, tmp_path):
    ended = bycatch("run", tmp_path, "-o", tmp_path / "out", "--sources-image", "a", *QUICK)
    assert ended.status == 2
    assert "--sources-image: of which list?" in ended.err
