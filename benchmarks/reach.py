"""What the catalog reaches by its own reckoning, against artificial stars, as a Markdown table.

    python benchmarks/reach.py FOLDER [--recipes stack silicon points] [--seed 3] [--stars 700]

Visits of the training family (`families.py`), two chips of 600 x 285 px, go through `bycatch run`
with each preset and through `inject` with stars only: ``reach_mag`` of the summary beside the
magnitude at which the injected stars fall to 50 %.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import families
from common import head, row

import bycatch
from bycatch.pipeline.injection import inject
from bycatch.products import find_records
from bycatch.settings import PRESETS, Settings
from bycatch.simulate import simulate_visit, write_visit


def rows(folder: Path, name: str, seed: int, preset: str, n_stars: int) -> list[str]:
    """Return a row for each image of a visit."""
    visit, out = folder / f"{name}{seed}", folder / f"{name}{seed}-{preset}"
    if not (visit / "gaia.ecsv").is_file():
        recipe = families.TRAINING[name]
        chosen = families.settings_of(recipe, seed, n_columns=600, n_rows=285)
        write_visit(simulate_visit(chosen), visit)
    wishes = ("objects.enabled=false", "output.report=false", "inject.galaxy_share=0")
    number = f"inject.n_sources={n_stars}"
    settings = Settings.load(preset=preset, assignments=[*wishes, number])
    bycatch.run(visit / "raw", out, settings, bycatch.Inputs(visit / "gaia.ecsv"), 1)
    records = {record.root: record for record in find_records(out)}
    made = []
    for report in inject(out, settings, 1):
        stages = records[report.root].stages
        reach = stages["detect"].summary["reach_mag"]
        (limit,) = (found for found in report.summary["limits"] if found["n_exp"] == 0)
        mag, error = limit["mag_50_found"], limit["mag_50_found_err"]
        told = "-" if mag is None else f"{mag:.2f} ± {error:.2f}"
        off = "-" if mag is None else f"{reach - mag:+.2f}"
        depth = f"{stages['measure'].summary['depth_mag']:.2f}"
        made.append(row(f"{name}, {report.filter}", preset, depth, f"{reach:.2f}", told, off))
    return made


def main() -> None:
    """Simulate, run, inject, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipes", nargs="+", default=["stack", "silicon", "points"])
    parser.add_argument("--seed", type=int, default=3, help="below 200")
    parser.add_argument("--stars", type=int, default=700)
    given = parser.parse_args()
    if given.seed >= families.JUDGING_SEED:
        parser.error("seeds from 1000 on judge")
    names = ("recipe, filter", "preset", "5 sigma", "reach", "half of the injected", "difference")
    print(head(*names, n_words=2))
    for name in given.recipes:
        for preset in PRESETS:
            print("\n".join(rows(given.folder, name, given.seed, preset, given.stars)), flush=True)


if __name__ == "__main__":
    main()
