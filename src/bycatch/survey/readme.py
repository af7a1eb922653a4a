"""The README of a survey."""

from __future__ import annotations

from bycatch.catalogs.survey_columns import TABLES
from bycatch.survey.notes import Notes
from bycatch.system.words import counted

MEANING = {
    "object": "a star or galaxy: positions, fluxes and limits in all filters, colours, p_real",
    "epoch": "an object in an image or exposure: forced photometry, offsets, flags",
    "image": "an image: filter, time, depth, footprint",
    "exposure": "an exposure of an image",
}


def examples(notes: Notes) -> list[tuple[str, str]]:
    """Return questions and their SQL, with filters that the survey has."""
    filters = list(notes.summary.get("filters", {})) or ["F606W"]
    first, last = filters[0], filters[-1]
    questions = [
        (
            "Bright stars",
            f"SELECT object_id, ra, dec, mag_{last} FROM object "
            f"WHERE p_real > 0.5 AND p_star > 0.9 AND mag_{last} < 24 ORDER BY mag_{last}",
        ),
        (
            "Objects by filter",
            "SELECT filter, count(*) AS n, count(DISTINCT object_id) AS objects FROM epoch "
            "WHERE detected GROUP BY filter",
        ),
        (
            "The deepest images",
            "SELECT image, filter, exptime, depth FROM image ORDER BY depth DESC LIMIT 10",
        ),
    ]
    if first != last and f"colour_{first}_{last}" in notes.tables["object"].columns:
        colour = f"colour_{first}_{last}"
        questions.insert(
            1,
            (
                "Red objects",
                f"SELECT object_id, ra, dec, {colour} FROM object "
                f"WHERE p_real > 0.5 AND duplicate_of = 0 AND {colour} > 1 "
                f"AND colour_limit_{first}_{last} = 0",
            ),
        )
    return questions


def readme(notes: Notes) -> str:
    """Return the text."""
    numbers = notes.summary
    lines = [
        f"# {notes.name}",
        "",
        f"{numbers['n_objects']} objects, {numbers['n_real']} of them real "
        f"(p_real of 0.5 or more), in {counted(numbers['n_images'], 'image')} of "
        f"{counted(numbers['n_groups'], 'group')}; "
        f"{numbers['area_deg2'] * 3600:.2f} square arcmin. Made by {notes.creator} on "
        f"{notes.made[:10]}.",
        "",
        "| table | rows | a row is |",
        "| --- | ---: | --- |",
        *(f"| `{table}` | {numbers['n_rows'][table]} | {MEANING[table]} |" for table in TABLES),
        "",
        "Each table is a HATS catalog (`lsdb.open_catalog('object')`) of Parquet files, which any "
        "reader of Parquet can read: `object/object/dataset/**/*.parquet`. Columns, units and UCDs "
        "are in `schema.json`, and in the metadata of the Parquet files.",
        "",
        "- `footprint.fits`, `footprint_<filter>.fits`: MOCs of what is covered",
        "- `depth_<filter>.fits`: HEALPix maps of the 5-sigma limit of a point source, AB",
        "- `completeness.parquet`: fraction of artificial sources that are found, where measured",
        "- `coverage.parquet`: what the maps are made of",
        "- `survey.json`: the groups of images that are in it, for `bycatch survey build`",
        "- `index.html`: the same to look at",
        "",
        "Positions are ICRS at the time of the images (`mjd`), magnitudes AB. What is not detected "
        "has a flux, an error and a limit (`maglim_<filter>`).",
        "",
        "## Twice on the sky",
        "",
        f"Groups of different output folders may show the same sky. {numbers['n_same_id']} objects "
        "that both called the same stand once, as the group with more images has them; "
        f"{numbers['n_duplicates']} that lie within 0.15 arcsec of an object of such a group name "
        "it in `duplicate_of`. `WHERE duplicate_of = 0` counts each once.",
        "",
        "## Questions",
        "",
    ]
    for question, sql in examples(notes):
        lines += [f"{question}:", "", "```sql", sql, "```", ""]
    return "\n".join(lines)
