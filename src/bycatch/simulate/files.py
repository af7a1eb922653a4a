"""Writing a simulated visit as the archive delivers one, and reading its truth."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.errors import SettingsError
from bycatch.settings import SimulateSettings
from bycatch.simulate.exposures import MAKER, flc_hdus
from bycatch.simulate.geometry import NATIVE_SCALE_ARCSEC
from bycatch.simulate.group import SimulatedGroup
from bycatch.simulate.throughput import PHOTBW, photflam_photplam
from bycatch.simulate.visit import SimulatedImage, SimulatedVisit
from bycatch.system.disk import atomic

# Gains of the four amplifiers, January 2016 (CCDTAB xa81715gj).
GAINS = {"A": 2.02, "B": 1.886, "C": 2.017, "D": 2.011}
_DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class VisitFiles:
    """Paths of a written visit.

    Attributes
    ----------
    images : the drc files
    truths : the truth tables
    cosmic_rays : maps of the surviving cosmic rays
    models : the noiseless images
    gaia : table of reference stars
    wcs_error : JSON with the error of the headers' WCS
    exposures : the flc files, with ``simulate.write_exposures``
    """

    images: tuple[Path, ...]
    truths: tuple[Path, ...]
    cosmic_rays: tuple[Path, ...]
    models: tuple[Path, ...]
    gaia: Path
    wcs_error: Path
    exposures: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth of one image.

    Attributes
    ----------
    table : the objects
    cosmic_rays : (ny, nx) bool, pixels where a cosmic ray has survived
    defects : (ny, nx) bool, likewise a hot pixel or dead column
    model : (ny, nx) float32, the objects without noise, e/s
    """

    table: Table
    cosmic_rays: NDArray[np.bool_]
    defects: NDArray[np.bool_]
    model: NDArray[np.float32]


def write_visit(visit: SimulatedVisit, directory: str | Path) -> VisitFiles:
    """Write a visit; files of the same names are replaced, each in one step.

    ``raw/<root>_drc.fits``, ``truth/<root>.ecsv`` (objects),
    ``truth/<root>_cr.fits.gz`` (uint8 map: 1 where a cosmic ray has survived, plus 2 where a hot
    pixel or a dead column has),
    ``truth/<root>_model.fits.gz`` (noiseless objects), ``gaia.ecsv``,
    ``truth/wcs_error.json``; with ``simulate.write_exposures`` also
    ``exposures/<exposure>_flc.fits``.
    """
    directory = Path(directory)
    raw, truth = directory / "raw", directory / "truth"
    raw.mkdir(parents=True, exist_ok=True)
    truth.mkdir(exist_ok=True)
    paths = []
    for image in visit.images:
        drc, table = raw / f"{image.name}.fits", truth / f"{image.root}.ecsv"
        rays, model = truth / f"{image.root}_cr.fits.gz", truth / f"{image.root}_model.fits.gz"
        _write_fits(drc_hdus(image, visit.settings), drc)
        _write_table(image.truth, table)
        _write_fits(_one_image(image.cosmic_rays + 2 * image.defects.astype(np.uint8)), rays)
        _write_fits(_one_image(_round_mantissa(image.model)), model)
        paths.append((drc, table, rays, model))
    gaia, error = directory / "gaia.ecsv", truth / "wcs_error.json"
    _write_table(visit.gaia, gaia)
    _write_text(json.dumps(wcs_error(visit.settings), indent=1) + "\n", error)
    drcs, tables, masks, models = zip(*paths, strict=True)
    exposures = tuple(
        path
        for image in visit.images
        for path in _write_exposures(image, directory, visit.settings)
    )
    return VisitFiles(drcs, tables, masks, models, gaia, error, exposures)


def write_group(group: SimulatedGroup, directory: str | Path) -> tuple[VisitFiles, ...]:
    """Write the visits of a group into one folder (see `write_visit`).

    ``truth/sky.ecsv`` holds the objects, their motions and mean magnitudes; each image's truth
    table has the same rows, with the places and magnitudes at its time.  ``truth/wcs_error.json``
    is that of the last visit.
    """
    directory = Path(directory)
    files = tuple(write_visit(visit, directory) for visit in group.visits)
    _write_table(group.truth, directory / "truth" / "sky.ecsv")
    return files


def _write_exposures(
    image: SimulatedImage, directory: Path, settings: SimulateSettings
) -> list[Path]:
    """Write the exposures of an image that kept them."""
    paths = []
    for name, chips in zip(exposure_names(image), image.exposures, strict=False):
        paths.append(directory / "exposures" / f"{name}_flc.fits")
        paths[-1].parent.mkdir(exist_ok=True)
        _write_fits(flc_hdus(chips, name, image.filter, image.grid, settings), paths[-1])
    return paths


def wcs_error(settings: SimulateSettings) -> dict[str, float]:
    """Return the error of the headers' WCS: header minus truth."""
    return {
        "ra_arcsec": settings.pointing_error_ra_arcsec,
        "dec_arcsec": settings.pointing_error_dec_arcsec,
        "roll_deg": settings.roll_error_deg,
    }


def read_truth(directory: Path, root: str) -> Truth:
    """Read the truth of an image that `write_visit` wrote below ``directory``.

    Raises
    ------
    SettingsError
        It holds no such truth.
    """
    folder = directory / "truth"
    if not (folder / f"{root}_cr.fits.gz").is_file():
        raise SettingsError(
            f"{folder}: no truth of {root} in it, as 'bycatch simulate' writes it",
            hint="give the folder that 'bycatch simulate' made",
        )
    charge = np.asarray(fits.getdata(folder / f"{root}_cr.fits.gz"))
    return Truth(
        Table.read(folder / f"{root}.ecsv"),
        charge & 1 > 0,
        charge & 2 > 0,
        np.asarray(fits.getdata(folder / f"{root}_model.fits.gz"), dtype=np.float32),
    )


def _round_mantissa(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image rounded to 12 bits of mantissa, which compresses well."""
    mantissa, exponent = np.frexp(image)
    return np.ldexp(np.round(mantissa * 4096) / 4096, exponent).astype(np.float32)


def _one_image(pixels: NDArray[Any]) -> fits.HDUList:
    return fits.HDUList([fits.PrimaryHDU(pixels)])


def _write_fits(hdus: fits.HDUList, path: Path) -> None:
    # The lowest compression is several times faster than astropy's and nearly as good.
    is_gzip = path.suffix == ".gz"
    with (
        atomic(path) as partial,
        gzip.open(partial, "wb", 1) if is_gzip else partial.open("wb") as stream,
    ):
        hdus.writeto(stream)


def _write_table(table: Table, path: Path) -> None:
    with atomic(path) as partial:
        table.write(partial, format="ascii.ecsv")


def _write_text(text: str, path: Path) -> None:
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def exposure_names(image: SimulatedImage) -> list[str]:
    """Return the names of an image's exposures, such as jsim01abq."""
    letter = _DIGITS[int(image.root[6:8]) - 1]
    return [f"{image.root[:6]}{letter}{_DIGITS[k]}q" for k in range(image.n_exposures)]


def drc_hdus(image: SimulatedImage, settings: SimulateSettings) -> fits.HDUList:
    """Return the image with the headers of a drizzled product of the archive."""
    wcs = _wcs_cards(image)
    return fits.HDUList(
        [
            fits.PrimaryHDU(header=_primary(image, settings)),
            fits.ImageHDU(image.sci, _sci_header(image, wcs, settings), name="SCI"),
            fits.ImageHDU(image.wht, wcs, name="WHT"),
            fits.ImageHDU(image.ctx, wcs, name="CTX"),
            _hdrtab(image, settings),
        ]
    )


def _primary(image: SimulatedImage, settings: SimulateSettings) -> fits.Header:
    from astropy.time import Time

    total = settings.exptime_s * image.n_exposures
    date, clock = Time(image.mjd_start, format="mjd").isot.split("T")
    header = fits.Header()
    cards: list[tuple[str, Any, str]] = [
        ("TELESCOP", "HST", "telescope used to acquire data"),
        ("INSTRUME", "ACS", "identifier for instrument used to acquire data"),
        ("PRIMESI", "WFC3", "instrument designated as prime"),
        ("TARGNAME", "ANY", "simulated field"),
        ("PROPOSID", 99999, "simulated"),
        ("DATE-OBS", date, "UT date of start of observation (yyyy-mm-dd)"),
        ("TIME-OBS", clock[:8], "UT time of start of observation (hh:mm:ss)"),
        ("EXPSTART", image.mjd_start, "exposure start time (Modified Julian Date)"),
        ("EXPEND", image.mjd_start + total / 86400.0, "exposure end time (Modified Julian Date)"),
        ("EXPTIME", total, "exposure duration (seconds)--calculated"),
        ("TEXPTIME", total, ""),
        ("OBSTYPE", "IMAGING", "observation type"),
        ("DETECTOR", "WFC", "detector in use: WFC, HRC, or SBC"),
        ("APERTURE", "WFC-FIX", "aperture name"),
        ("FILTER1", image.filter, "element selected from filter wheel 1"),
        ("FILTER2", "CLEAR2L", "element selected from filter wheel 2"),
        ("CCDGAIN", 2.0, "commanded gain of CCD"),
        ("RA_TARG", settings.ra_deg, "right ascension of the target (deg)"),
        ("DEC_TARG", settings.dec_deg, "declination of the target (deg)"),
        ("ROOTNAME", f"{image.name}.fits", ""),
        ("FILENAME", f"{image.name}.fits", "name of file"),
        ("PROD_VER", MAKER, "made by a simulation"),
        ("SIMSEED", settings.seed, "seed of the simulation"),
        ("NEXTEND", 4, "number of standard extensions"),
        ("NDRIZIM", 2 * image.n_exposures, "Drizzle, No. images drizzled onto output"),
    ]
    for amp, gain in GAINS.items():
        cards.append((f"ATODGN{amp}", gain, f"calibrated gain for amplifier {amp}"))
        cards.append((f"READNSE{amp}", settings.read_noise_e, "calibrated read noise"))
    for key, value, comment in cards:
        header[key] = (value, comment)
    for number, (name, chip) in enumerate(_chips(image), start=1):
        header.update(_drizzle_cards(image, settings, number, name, chip))
    return header


def _chips(image: SimulatedImage) -> list[tuple[str, int]]:
    """Return (exposure, science extension) of the drizzled chips, in the order of their bits."""
    return [(name, extension) for name in exposure_names(image) for extension in (1, 2)]


def _drizzle_cards(
    image: SimulatedImage, settings: SimulateSettings, number: int, name: str, extension: int
) -> dict[str, Any]:
    cards = {
        "VER": "drizzle",
        "DATA": f"{name}_flc.fits[sci,{extension}]",
        "DEXP": settings.exptime_s,
        "OUDA": f"{image.name}.fits",
        "OUUN": "cps",
        "FVAL": "INDEF",
        "SCAL": settings.scale_arcsec,
        "ISCL": NATIVE_SCALE_ARCSEC,
        "PIXF": settings.pixfrac,
        "WTSC": 1,
        "KERN": "square",
    }
    return {f"D{number:03d}{key}": value for key, value in cards.items()}


def _wcs_cards(image: SimulatedImage) -> fits.Header:
    wcs = image.wcs_header.wcs
    header = fits.Header()
    header["WCSAXES"] = 2
    for i in (1, 2):
        header[f"CTYPE{i}"] = wcs.ctype[i - 1]
        header[f"CUNIT{i}"] = "deg"
        header[f"CRVAL{i}"] = wcs.crval[i - 1]
        header[f"CRPIX{i}"] = wcs.crpix[i - 1]
        for j in (1, 2):
            header[f"CD{i}_{j}"] = wcs.cd[i - 1, j - 1]
    header["RADESYS"] = "ICRS"
    header["ORIENTAT"] = float(np.degrees(np.arctan2(wcs.cd[0, 1], wcs.cd[1, 1])))
    header["WCSNAME"] = "IDC_0461802ej"
    return header


def _sci_header(image: SimulatedImage, wcs: fits.Header, settings: SimulateSettings) -> fits.Header:
    flam, plam = photflam_photplam(image.filter)
    header = wcs.copy()
    header.update(
        {
            "BUNIT": "ELECTRONS/S",
            "PHOTMODE": f"ACS WFC1 {image.filter} MJD#{image.mjd_start:.4f}",
            "PHOTFLAM": flam,
            "PHOTZPT": -21.1,
            "PHOTPLAM": plam,
            "PHOTBW": PHOTBW.get(image.filter, 400.0),
            "CCDCHIP": -999,
            "NCOMBINE": -999,
            "EXPTIME": settings.exptime_s * image.n_exposures,
        }
    )
    return header


def _hdrtab(image: SimulatedImage, settings: SimulateSettings) -> fits.BinTableHDU:
    chips = _chips(image)
    n = len(chips)
    order = list(dict.fromkeys(name for name, _ in chips))
    days = settings.exptime_s / 86400.0
    starts = image.mjd_start + days * np.array([order.index(name) for name, _ in chips])
    return fits.BinTableHDU.from_columns(
        [
            fits.Column("ROOTNAME", "9A", array=np.array([name for name, _ in chips])),
            fits.Column("EXPTIME", "D", array=np.full(n, settings.exptime_s)),
            fits.Column("CCDCHIP", "K", array=np.array([3 - extension for _, extension in chips])),
            fits.Column("MDRIZSKY", "D", array=np.full(n, image.subtracted_sky_e)),
            fits.Column("EXPSTART", "D", array=starts),
            fits.Column("EXPEND", "D", array=starts + days),
        ],
        name="HDRTAB",
    )
