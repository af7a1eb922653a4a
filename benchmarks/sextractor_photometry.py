"""Fluxes in equal apertures: bycatch against SExtractor, at SExtractor's own detections.

    python benchmarks/sextractor_photometry.py IMAGE [IMAGE ...]

Prints a Markdown table: differences by folder of the images and radius.  No sky is
subtracted by either.  SExtractor divides pixels into 5 x 5 where a circle cuts them;
bycatch's overlap is exact.  The last column holds SExtractor against photutils with the
same subpixels: it shows that what differs is the overlap and nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from common import head, row, source_extractor
from numpy.typing import NDArray

from bycatch.kernels.apertures import circle_sums

RADII_PX = (2.0, 4.0, 6.0, 8.0, 10.0)
SUBPIXELS = 5
COLUMNS = ("NUMBER", "X_IMAGE", "Y_IMAGE", "FLAGS", f"FLUX_APER({len(RADII_PX)})")
SETTINGS = {
    "DETECT_MINAREA": "10", "DETECT_THRESH": "3", "CATALOG_TYPE": "ASCII_HEAD",
    "BACK_TYPE": "MANUAL", "BACK_VALUE": "0", "MASK_TYPE": "NONE", "VERBOSE_TYPE": "QUIET",
    "PHOT_APERTURES": ",".join(f"{2 * r:g}" for r in RADII_PX),
}  # fmt: skip


def pixels(path: Path) -> NDArray[np.float32]:
    """Return the SCI pixels of an image, what is unknown as 0: SExtractor has no NaN."""
    with fits.open(path) as hdus:
        data = next(h.data for h in hdus if h.data is not None and h.data.ndim == 2)
        return np.nan_to_num(np.asarray(data, dtype=np.float32))


def sextractor(data: NDArray[np.float32]) -> Table:
    """Run SExtractor on an image and return its catalog; its noise is that of the whole image."""
    command = source_extractor()
    assert command is not None
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        fits.writeto(here / "image.fits", data)
        (here / "columns.param").write_text("\n".join(COLUMNS) + "\n")
        (here / "filter.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
        (here / "empty.sex").write_text("")
        given = {
            **SETTINGS, "PARAMETERS_NAME": "columns.param", "FILTER_NAME": "filter.conv",
            "CATALOG_NAME": "out.cat",
        }  # fmt: skip
        options = [word for name, value in given.items() for word in (f"-{name}", value)]
        subprocess.run([command, "image.fits", "-c", "empty.sex", *options], cwd=here, check=True)
        return Table.read(here / "out.cat", format="ascii.sextractor")


def subpixel_sums(
    data: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Return sums in circles with pixels divided into n x n, as SExtractor does with n = 5."""
    from photutils.aperture import CircularAperture

    circles = [CircularAperture(np.column_stack([x, y]), r) for r in RADII_PX]
    sums = [c.do_photometry(data.astype(float), method="subpixel", subpixels=n)[0] for c in circles]
    return np.column_stack(sums)


def differences(path: Path) -> NDArray[np.float64]:
    """Return ratios to SExtractor less 1, (2, N, R): exact sums, and sums of 5 x 5 subpixels.

    NaN where an aperture reaches beyond the image, or SExtractor's flux is not positive.
    """
    data = pixels(path)
    table = sextractor(data)
    x, y = np.asarray(table["X_IMAGE"]) - 1.0, np.asarray(table["Y_IMAGE"]) - 1.0
    names = ["FLUX_APER", *(f"FLUX_APER_{k}" for k in range(1, len(RADII_PX)))]
    theirs = np.column_stack([np.asarray(table[name], dtype=float) for name in names])
    exact, _ = circle_sums(data, np.ones(data.shape, bool), x, y, RADII_PX)
    ny, nx = data.shape
    room = np.minimum(np.minimum(x, nx - 1 - x), np.minimum(y, ny - 1 - y))
    theirs[(room[:, None] <= np.array(RADII_PX)) | (theirs <= 0)] = np.nan
    return np.stack([exact, subpixel_sums(data, x, y, SUBPIXELS)]) / theirs - 1.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path)
    images = parser.parse_args().images
    if source_extractor() is None:
        raise SystemExit("source-extractor is not installed")
    groups: dict[str, list[Path]] = {}
    for path in images:
        groups.setdefault(path.absolute().parent.name, []).append(path)
    names = ("median", "16 to 84 %", "same subpixels, 95 % within")
    print(head("images", "radius, px", "sources", *names))
    for name, paths in groups.items():
        found = np.concatenate([differences(path) for path in paths], axis=1)
        for k, radius in enumerate(RADII_PX):
            exact, same = (v[np.isfinite(v)] for v in found[:, :, k])
            low, high = np.percentile(exact, [16, 84])
            cells = (f"{np.median(exact):+.3%}", f"{low:+.2%} to {high:+.2%}")
            within = f"{np.percentile(np.abs(same), 95):.4%}"
            print(row(f"{len(paths)} in {name}", f"{radius:g}", exact.size, *cells, within))


if __name__ == "__main__":
    main()
