"""A step whose results change has another revision; else old products would pass for new ones.

Of a small field every column of every product is put into a few numbers and compared with those of
``data/revisions.json``.  They may differ by what the last bits of another processor or library do.
After a change on purpose: bump `REVISIONS` in ``pipeline/keys.py``, and
``python tests/test_revisions.py --renew``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import bycatch
from bycatch import Inputs, Settings, read_table
from bycatch.pipeline.keys import REVISIONS
from bycatch.products import STAGES, read_extension, read_pixels
from bycatch.simulate import simulate_visit, write_visit

STORED = Path(__file__).parent / "data/revisions.json"
RTOL = 1e-5
"""Of the numbers; another processor's exp and log change 1e-9 of some (../shared/scale.md)."""
SMALL = ["simulate.n_columns=300", "simulate.n_rows=140", "simulate.gap_px=10",
         "simulate.stars_per_arcmin2=3000"]  # fmt: skip


def digest_of(values):
    """Return a few numbers that change with any value of a column, or a plane."""
    array = np.ma.asarray(values)
    if array.dtype.kind not in "biuf":
        words = "|".join(str(value) for value in array.filled("").tolist())
        return {"n": array.size, "words": len(words), "sum": sum(words.encode()) % 65536}
    known = array.compressed().astype(float)
    known = known[np.isfinite(known)]
    weights = 1 + np.arange(known.size) % 7  # the order counts
    return {
        "n": array.size,
        "known": known.size,
        "mean": float(known.mean()) if known.size else 0.0,
        "rms": float(np.sqrt((known**2).mean())) if known.size else 0.0,
        "weighted": float((known * weights).sum() / weights.sum()) if known.size else 0.0,
    }


def digests(out):
    """Return the digests of what each step has made, by step, image and column."""
    result_of = {stage: {} for stage in STAGES}
    for sources in sorted(out.glob("*/*/*_sources.ecsv")):
        folder = sources.parent
        root = sources.name.removesuffix("_sources.ecsv")
        tables = {
            "detect": [read_table(sources), read_extension(folder / f"{root}_segm.fits.gz",
                                                           "REMOVED")],
            "measure": [read_table(folder / f"{root}_phot.ecsv"),
                        read_extension(folder / f"{root}_depth.fits", "SKY")],
            "finalize": [read_table(folder / f"{root}_cat.ecsv")],
        }  # fmt: skip
        planes = {
            "detect": {"SEGM": read_pixels(folder / f"{root}_segm.fits.gz")},
            "crmask": {"CRMASK": read_pixels(folder / f"{root}_drc.mask.fits")},
            "align": {"FRAMEERR": fits.getdata(folder / f"{root}_wcs.fits", "FRAMEERR")},
            "measure": {"DEPTH": read_pixels(folder / f"{root}_depth.fits")},
        }
        header = fits.getheader(folder / f"{root}_wcs.fits")
        wcs = [header[f"{name}{k}"] for name in ("CRVAL", "CRPIX") for k in (1, 2)]
        planes["align"]["WCS"] = np.array([*wcs, header["CD1_1"] * 1e6, header["CD2_1"] * 1e6])
        for stage in STAGES:
            here = result_of[stage][root] = {}
            for table in tables.get(stage, ()):
                here |= {name: digest_of(table[name]) for name in table.colnames}
            here |= {name: digest_of(plane) for name, plane in planes.get(stage, {}).items()}
    return result_of


def made(folder):
    """Return the output folder of a small field."""
    files = write_visit(simulate_visit(Settings.load(assignments=SMALL).simulate), folder / "visit")
    inputs = Inputs(gaia=folder / "visit/gaia.ecsv")
    report = bycatch.run(list(files.images), folder / "out", Settings.load(preset="deep"), inputs)
    assert report.all_done
    return folder / "out"


def changes(before, after):
    """Return which columns of which steps changed."""
    result_of = {}
    for stage in STAGES:
        names = [
            f"{root} {column}"
            for root, columns in (before[stage] | after[stage]).items()
            for column in {**before[stage].get(root, {}), **columns}
            if not _same(before[stage].get(root, {}).get(column),
                         after[stage].get(root, {}).get(column))
        ]  # fmt: skip
        if names:
            result_of[stage] = names
    return result_of


def _same(one, other):
    if one is None or other is None or one.keys() != other.keys():
        return False
    return all(abs(one[k] - other[k]) <= RTOL * max(abs(one[k]), abs(other[k])) for k in one)


@pytest.mark.slow
def test_results_change_with_their_revisions_only(tmp_path):
    stored = json.loads(STORED.read_text())
    result = changes(stored["digests"], digests(made(tmp_path)))
    # A step that builds on one whose revision is another has other results as well.
    bumped = [stage for stage in STAGES if stored["revisions"][stage] != REVISIONS[stage]]
    assert not bumped, f"renew {STORED.name}: {', '.join(bumped)} have other revisions by now"
    first = next(iter(result), None)
    assert first is None, f"the results of '{first}' changed, its revision did not: {result[first]}"


def test_a_change_is_seen(tmp_path):
    before = {stage: {} for stage in STAGES}
    before["measure"] = {"a": {"flux": digest_of(np.array([1.0, 2.0, 3.0]))}}
    for values, column in (
        ([1.0, 3.0, 2.0], "flux"), ([1.0, 2.0], "flux"), ([1.0, 2.0, 3.001], "flux"),
        ([1.0, 2.0, np.nan], "flux"), ([1.0, 2.0, 3.0], "rate"),
    ):  # fmt: skip
        after = {**before, "measure": {"a": {column: digest_of(np.array(values))}}}
        assert list(changes(before, after)) == ["measure"]
    assert changes(before, before) == {}


if __name__ == "__main__" and "--renew" in sys.argv:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        content = {"revisions": REVISIONS, "digests": digests(made(Path(name)))}
    STORED.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
