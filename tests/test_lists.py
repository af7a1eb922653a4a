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
        result = bycatch(*words, *more)
        assert result.status == 2
        assert "the 2 images have different grids" in result.err
        assert "--sources-image ROOT" in result.err
    result = bycatch(*words, "--sources-image", "jabc01099")
    assert result.status == 2
    assert "0 images of this name - of jabc01010, jabc01020" in result.err

    result = bycatch(*words, "--sources-image", "jabc01010")
    assert result.status == 0, result.err
    assert "X_IMAGE, Y_IMAGE are 1-based" in result.out + result.err
    assert bycatch("objects", out, "-q").status == 0
    measured = read_table(next(out.glob("objects/*/*_epochs.ecsv")))
    objects = read_table(next(out.glob("objects/*/*_objects.ecsv")))
    ids = objects["object_id"][objects["list_row"] > 0]
    assert sorted(objects["list_row"][objects["list_row"] > 0]) == [1, 2, 3]
    for root, shift in (("jabc01010", (0, 0)), ("jabc01020", (X0, Y0))):
        own = measured[[str(name).endswith(root) for name in measured["image"]]]
        own = own[np.isin(own["object_id"], ids)]
        for column, places, off in zip("xy", (x, y), shift, strict=True):
            np.testing.assert_allclose(sorted(own[column]), sorted(places - off), atol=0.1)
    # The list is remembered: nothing has to be done again.
    assert "up to date" in bycatch("objects", out).err


def test_physical_regions_are_those_of_each_image(bycatch, two_grids):
    folder, x, y = two_grids
    regions = "".join(f"circle({a + 1:.3f},{b + 1:.3f},3)\n" for a, b in zip(x, y, strict=True))
    (folder / "mine.reg").write_text(f"physical\n{regions}# text(5,5) text={{a}}\n")
    result = bycatch("run", folder, "-o", folder / "out", "--exclude", folder / "mine.reg", *QUICK)
    assert result.status == 0, result.err
    assert "skipped: text (line 5) has no area" in result.out + result.err
    for table in catalogs(folder / "out", "excluded").values():
        assert len(table) == 3


def test_an_image_of_no_list(bycatch, tmp_path):
    result = bycatch("run", tmp_path, "-o", tmp_path / "out", "--sources-image", "a", *QUICK)
    assert result.status == 2
    assert "--sources-image needs a list" in result.err
