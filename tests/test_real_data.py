"""Real images, and a visit from another simulator, through the command line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from bycatch import read_table
from bycatch.catalogs.flags import Flag

pytestmark = pytest.mark.realdata

DEBIAN = Path("/usr/share/python-drizzle/test_data")
"""Where Debian's package python-drizzle-testdata puts the drizzles of the 47 Tuc frame."""

HRC = {
    "detector": "HRC",
    "filter": "F606W",
    "exptime_s": 60,
    "photflam": 1.278e-19,
    "photplam": 5888,
    "bunit": "electrons",
    "mjd": 52377.86,
}
"""What the bare headers of that drizzle do not say; from the calibrated frame."""
STATED = [word for name, value in HRC.items() for word in ("--set", f"input.{name}={value}")]


def data(name):
    """Return the path of real data beside the repository, or skip."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"{name} is not there (it is not part of the repository)")
    return path


def hrc_file(name):
    """Return a drizzle of the 47 Tuc frame, from beside the repository or from Debian's package."""
    if (DEBIAN / name).exists():
        return DEBIAN / name
    return data(f"real_hrc/{name}")


# ---------------------------------------------------------------- ACS/HRC, 47 Tuc


@pytest.fixture(scope="module")
def hrc(bycatch, tmp_path_factory):
    """The drizzle of the core of 47 Tuc, its headers completed by the user."""
    file = hrc_file("reference_square_image.fits")
    gaia = data("gaia/gaia_dr3_47tuc_10000.csv")
    out = tmp_path_factory.mktemp("hrc")
    result = bycatch("run", file, "-o", out, *STATED, "--field", "tuc_47", "--gaia", gaia)
    assert result.status == 0, result.out + result.err
    return file, out, result


def test_hrc_gives_a_crowded_catalog(hrc):
    _, out, result = hrc
    catalog = read_table(out / "tuc_47/F606W/reference_square_image_cat.ecsv")
    assert len(catalog) > 200
    assert "1 of 1 image(s) done" in result.out
    meta = catalog.meta
    assert (meta["DETECTOR"], meta["FILTER"], meta["EXPTIME"]) == ("HRC", "F606W", 60.0)
    assert meta["ZPORIGIN"] == "settings"
    assert meta["PIXSCALE"] == pytest.approx(0.025, rel=0.01)
    good = catalog[np.ma.filled(catalog["snr_4"], 0) > 50]
    assert len(good) > 50
    # 47 Tuc's main sequence and giants in a 60 s frame.
    assert 14 < np.ma.median(good["mag_ab_4"]) < 22


def test_hrc_fluxes_are_those_of_the_pixels(hrc):
    """Another way to the same numbers: hand-made sums of the file's own pixels."""
    file, out, _ = hrc
    sci = fits.getdata(file, "SCI").astype(float) / 60.0
    phot = read_table(out / "tuc_47/F606W/reference_square_image_phot.ecsv")
    sound = (phot["flags"] & int(Flag.EDGE | Flag.PARTIAL_APERTURE | Flag.OFF_IMAGE)) == 0
    phot = phot[sound]
    assert len(phot) > 100
    # Each pixel in 20 x 20 parts, those with their centre in the circle counted.
    part = (np.arange(20) + 0.5) / 20 - 0.5
    for row in phot[:20]:
        i, j = round(row["y"]), round(row["x"])
        box = sci[i - 12 : i + 13, j - 12 : j + 13]
        y = (np.arange(i - 12, i + 13)[:, None] + part).ravel() - row["y"]
        x = (np.arange(j - 12, j + 13)[:, None] + part).ravel() - row["x"]
        share = ((y[:, None] ** 2 + x**2) <= 10**2).reshape(25, 20, 25, 20).mean(axis=(1, 3))
        assert row["countrate_10"] == pytest.approx((box * share).sum(), rel=1e-3)


def test_hrc_through_a_sidecar_gives_the_same(bycatch, hrc, tmp_path):
    file, out, _ = hrc
    (tmp_path / file.name).symlink_to(file)
    lines = [f"{name} = {value!r}" for name, value in HRC.items()]
    (tmp_path / f"{file.stem}.bycatch.toml").write_text("\n".join(lines) + "\n")
    again = tmp_path / "out"
    words = ["--field", "tuc_47", "--set", "align.enabled=false"]
    result = bycatch("run", tmp_path / file.name, "-o", again, *words)
    assert result.status == 0, result.out + result.err
    name = "tuc_47/F606W/reference_square_image_cat.ecsv"
    one, two = read_table(out / name), read_table(again / name)
    for column in ("x_center", "flux_4_apcor", "err_4_apcor", "flags"):
        np.testing.assert_array_equal(np.ma.filled(one[column], 0), np.ma.filled(two[column], 0))


def test_hrc_without_statements_says_which_are_needed(bycatch, tmp_path):
    file = hrc_file("reference_square_image.fits")
    result = bycatch("run", file, "-o", tmp_path / "out", "--field", "tuc_47")
    assert result.status == 1
    assert "input.detector" in result.err
    assert "Traceback" not in result.err


def test_planes_of_different_shapes_are_refused(bycatch, tmp_path):
    file = hrc_file("reference_blot_image.fits")
    words = [*STATED, "--field", "tuc_47", "--set", "align.enabled=false"]
    result = bycatch("run", file, "-o", tmp_path / "out", *words)
    assert result.status == 1
    assert "dropped: reference_blot_image: " in result.out
    assert "SCI is (1024, 1024) but CTX is (1137, 1163)" in result.out


# ---------------------------------------------------------------- ACS/WFC cutouts


@pytest.fixture(scope="module")
def cutouts(bycatch, tmp_path_factory):
    raw = data("real_wfc_cutouts")
    out = tmp_path_factory.mktemp("cutouts")
    words = ["--field", "cosmos", "--set", "align.enabled=false"]
    result = bycatch("run", raw, "-o", out, *words)
    return raw, out, result


def test_every_cutout_is_done(cutouts):
    raw, out, result = cutouts
    assert result.status == 0, result.out + result.err
    images = sorted(raw.glob("*_sci.fits"))
    assert f"{len(images)} of {len(images)} image(s) done" in result.out
    for image in images:
        root = image.name.removesuffix("_sci.fits")
        assert len(list(out.glob(f"cosmos/*/{root}_cat.ecsv"))) == 1


def test_weights_of_cutouts_are_used_and_missing_ones_named(cutouts):
    raw, out, _ = cutouts
    for image in raw.glob("*_sci.fits"):
        root = image.name.removesuffix("_sci.fits")
        catalog = read_table(next(out.glob(f"cosmos/*/{root}_cat.ecsv")))
        weighted = (raw / f"{root}_wht.fits").exists()
        assert catalog.meta["WHTTYPE"] == ("ivm" if weighted else "none")
        assert any("no weight" in note for note in catalog.meta["NOTES"]) is not weighted
        assert any("no context image" in note for note in catalog.meta["NOTES"])
        assert (catalog["flags"] & int(Flag.NO_EXPOSURE_MAP)).all()
        assert catalog.meta["INSHA256"].count("sha256:") == (2 if weighted else 1)


def test_cutouts_can_be_inspected(bycatch, cutouts):
    raw, _, _ = cutouts
    result = bycatch("inspect", *sorted(raw.glob("*_sci.fits")))
    assert result.status == 0
    assert "BUNIT is 'ELECTRONS', but drizzle wrote cps" in result.out


def test_cutouts_without_a_field_ask_for_one(bycatch, cutouts, tmp_path):
    raw, _, _ = cutouts
    result = bycatch("sort", raw / "cosmos_147246_F814W_sci.fits", "-o", tmp_path / "out")
    assert result.status in {0, 1}
    if result.status == 1:
        assert "--field NAME" in result.err


# ---------------------------------------------------------------- a visit from another simulator


@pytest.fixture(scope="module")
def sim(bycatch, tmp_path_factory):
    folder = data("sim_visit")
    out = tmp_path_factory.mktemp("sim")
    result = bycatch("run", folder / "raw", "-o", out, "--gaia", folder / "gaia.ecsv")
    assert result.status == 0, result.out + result.err
    return folder, out, result


ROOTS = [("jcmdp9010", "F475W"), ("jcmdp9020", "F625W"), ("jcmdp9030", "F775W")]


def matched(sim, root, band):
    """Return catalog rows and true stars, one to one within 1 px, bright and isolated."""
    folder, out, _ = sim
    catalog = read_table(out / "cmd_p9" / band / f"{root}_cat.ecsv")
    truth = Table.read(folder / "truth" / f"{root}.ecsv")
    unusable = Flag.BLENDED | Flag.EDGE | Flag.PARTIAL_APERTURE | Flag.SATURATED | Flag.COSMIC_RAY
    good = ((catalog["flags"] & int(unusable)) == 0) & (np.ma.filled(catalog["snr_4"], 0) > 50)
    rows, stars = [], []
    for k in np.flatnonzero(good):
        dx, dy = truth["x"] - catalog["x_center"][k], truth["y"] - catalog["y_center"][k]
        distance = np.hypot(dx, dy)
        near = distance < 15
        j = int(distance.argmin())
        others = float(truth["rate"][near].sum() - truth["rate"][j])
        if distance[j] < 1 and truth["star"][j] and others < 0.01 * truth["rate"][j]:
            rows.append(k)
            stars.append(j)
    return catalog[rows], truth[stars]


@pytest.mark.parametrize(("root", "band"), ROOTS)
def test_positions_are_those_of_the_truth(sim, root, band):
    catalog, truth = matched(sim, root, band)
    assert len(catalog) >= 5
    assert catalog.meta["ALIGNMENT"]["aligned"] is True
    positions = SkyCoord(catalog["RA_GAIA_WCS"], catalog["DEC_GAIA_WCS"], unit="deg")
    true = SkyCoord(truth["ra"], truth["dec"], unit="deg")
    d_ra, d_dec = true.spherical_offsets_to(positions)
    rms_mas = np.sqrt(np.mean(d_ra.mas**2 + d_dec.mas**2) / 2)
    assert rms_mas < 5


@pytest.mark.parametrize(("root", "band"), ROOTS)
@pytest.mark.parametrize("radius", [4, 6, 8, 10])
def test_fluxes_of_isolated_bright_stars_are_unbiased(sim, root, band, radius):
    catalog, truth = matched(sim, root, band)
    rate = np.asarray(catalog[f"flux_{radius}_apcor"]) / catalog.meta["PHOTFLAM"]
    bias = np.median(rate / np.asarray(truth["rate"])) - 1
    assert abs(bias) < 0.01


@pytest.mark.parametrize(("root", "band"), ROOTS)
def test_the_aligned_wcs_takes_the_headers_error_away(sim, root, band):
    folder, out, _ = sim
    header = fits.getheader(out / "cmd_p9" / band / f"{root}_wcs.fits")
    header.remove("NAXIS")
    truth = Table.read(folder / "truth" / f"{root}.ecsv")
    x, y = WCS(header).all_world2pix(truth["ra"], truth["dec"], 0)
    # 5 mas are 0.1 px; rotation and scale hold over the whole frame, detected or not.
    assert np.sqrt(np.mean((x - truth["x"]) ** 2)) < 0.2
    assert np.sqrt(np.mean((y - truth["y"]) ** 2)) < 0.2


def test_exposures_are_those_of_the_visit(sim):
    _, out, _ = sim
    for (root, band), number in zip(ROOTS, (2, 1, 3), strict=True):
        catalog = read_table(out / "cmd_p9" / band / f"{root}_cat.ecsv")
        assert catalog.meta["NEXP"] == number
        assert catalog["n_exp"].max() == number
        assert not ((catalog["cr_flag"] == 1) & (catalog["n_exp"] != 1)).any()


def test_gzipped_input_keeps_its_suffix_and_products_do_not(sim):
    folder, out, _ = sim
    link = out / "cmd_p9/F475W/jcmdp9010_drc.fits.gz"
    assert link.samefile(folder / "raw/jcmdp9010_drc.fits.gz")
    assert (out / "cmd_p9/F475W/jcmdp9010_drc.mask.fits").exists()


def test_a_second_run_on_real_input_redoes_nothing(bycatch, sim, tmp_path):
    folder, out, _ = sim
    copy = tmp_path / "out"
    shutil.copytree(out, copy, symlinks=True)
    words = ["run", folder / "raw", "-o", copy, "--gaia", folder / "gaia.ecsv"]
    result = bycatch(*words)
    assert result.err.count("up to date") == 15
