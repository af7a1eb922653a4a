"""Every error names a way out, and the way exists: commands, options and settings in the hints."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from astropy.table import Table

from bycatch import errors, photcal
from bycatch.catalogs.tables import read_table
from bycatch.cli.app import app
from bycatch.compare import read_catalog
from bycatch.errors import BycatchError, MissingKeyword, MissingProduct, NoReferenceStars
from bycatch.images.drc import read_drc
from bycatch.images.headers import headers_of
from bycatch.images.meta import image_meta
from bycatch.pipeline import (
    Inputs,
    export,
    intake,
    lists,
    placing,
    reference,
    run,
    run_stages,
    status,
)
from bycatch.pipeline.assessment import assess_visit
from bycatch.pipeline.explanation import explain, sky_position
from bycatch.pipeline.injection import inject
from bycatch.pipeline.quality import read_quality
from bycatch.settings import Settings, parse_assignment, walk
from bycatch.sky.tap import Services
from bycatch.survey.view import view_group

SOURCE = Path(__file__).resolve().parents[1] / "src" / "bycatch"


def hints():
    """Every text of a hint in the sources, without what is filled in."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            values = []
            if isinstance(node, ast.Call):
                values = [word.value for word in node.keywords if word.arg == "hint"]
            elif isinstance(node, ast.Assign) and path.name == "errors.py":
                values = [node.value] if ast.unparse(node.targets[0]) == "hint" else []
            for value in values:
                texts = [n.value for n in ast.walk(value) if isinstance(n, ast.Constant)]
                text = " ".join(t for t in texts if isinstance(t, str))
                if text:
                    yield pytest.param(text, id=f"{path.stem}-{value.lineno}")


COMMANDS = typer.main.get_command(app).commands
OPTIONS = {opt for command in COMMANDS.values() for p in command.params for opt in p.opts}
SETTINGS = {f"{section}.{name}" for section, name, _ in walk()}


def test_only_errors_of_settings_point_to_the_settings():
    """What is wrong with a file or a position is not mended by `bycatch config`."""
    for path in sorted(SOURCE.rglob("*.py")):
        if path.parent.name in ("settings", "simulate"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "SettingsError":
                assert "hint" in {word.arg for word in node.keywords}, f"{path}:{node.lineno}"


@pytest.mark.parametrize("hint", list(hints()))
def test_a_hint_names_what_there_is(hint):
    for command in re.findall(r"'bycatch ([a-z]+)", hint):
        assert command in COMMANDS
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", hint):
        assert option in OPTIONS
    sections = "|".join(Settings.model_fields)
    for setting in re.findall(rf"\b((?:{sections})\.[a-z_]+)", hint):
        assert setting in SETTINGS


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("SettingsError", "bycatch config"),
        ("UnusableData", "bycatch inspect FILE"),
        ("InconsistentImage", "bycatch inspect FILE"),
        ("UnsupportedImage", "bycatch inspect FILE"),
        ("UnreadableFile", "from the archive"),
        ("MissingKeyword", "--set input.NAME=VALUE"),
        ("MissingKeyword", "<stem>.bycatch.toml"),
        ("MissingProduct", "bycatch run"),
        ("NoReferenceStars", "--gaia FILE"),
    ],
)
def test_every_kind_of_error_has_its_way_out(kind, way):
    assert way in str(getattr(errors, kind)("what is wrong"))


# ---------------------------------------------------------------- what a header lacks


def without(hdus, name):
    for hdu in hdus:
        hdu.header.remove(name, ignore_missing=True, remove_all=True)
    return hdus


@pytest.mark.parametrize(
    "lost", [("FILTER1",), ("EXPTIME", "TEXPTIME"), ("PHOTFLAM",), ("INSTRUME", "DETECTOR")]
)
def test_doing_what_the_hint_says_mends_it(new_drc, lost):
    hdus = new_drc(np.ones((4, 5), dtype=np.float32))
    for name in lost:
        without(hdus, name)
    headers = headers_of(Path("jabc01010_drc.fits"), hdus)
    with pytest.raises(MissingKeyword) as excinfo:
        image_meta(headers)
    text = re.search(r"--set (input\.\w+=\S+)", excinfo.value.hint)[1].rstrip(",)")
    section, name, value = parse_assignment(text.replace("VALUE", "1e-19"))
    given = Settings.load(assignments=[f"{section}.{name}={value}"]).input
    assert image_meta(headers, given).root == "jabc01010"


def test_a_bundled_zero_point_is_offered_only_where_there_is_one(new_drc):
    for filters, is_offered in ((("F775W", "CLEAR2L"), True), (("F999W", "CLEAR2L"), False)):
        hdus = without(new_drc(np.ones((4, 5), dtype=np.float32), filters=filters), "PHOTFLAM")
        with pytest.raises(MissingKeyword) as excinfo:
            image_meta(headers_of(Path("jabc01010_drc.fits"), hdus))
        assert ("input.zeropoint_fallback=true" in excinfo.value.hint) == is_offered


def test_an_unknown_filter_lists_the_known_ones():
    with pytest.raises(BycatchError) as excinfo:
        photcal.encircled_energy("WFC", "F999W")
    assert {"F435W", "F606W", "F814W"} <= set(re.findall(r"F\d+W", excinfo.value.hint))


# ---------------------------------------------------------------- the pipeline


def named(folder, text):
    path = folder / "given.txt"
    path.write_text(text, encoding="utf-8")
    return path


WRONG = [
    (lambda _: Inputs(gaia="no.csv").check(), "check the path"),
    (lambda t: run_stages(t, ["detect"]), "bycatch run"),
    (lambda t: status.status(t, Settings()), "bycatch run"),
    (lambda t: inject(t, Settings()), "bycatch run"),
    (lambda t: assess_visit(t, t), "bycatch run"),
    (lambda t: explain(t, xy=(1.0, 1.0)), "the OUT of a run"),
    (explain, "--xy X Y, or --radec RA DEC"),
    (lambda t: explain(t, xy=(1.0, 1.0), radec=("1", "2")), "--xy X Y, or --radec RA DEC"),
    (lambda t: export.export(t, ["doc"]), "choose from ecsv, fits, "),
    (lambda t: export.export(t, ["fits"]), "bycatch run"),
    (lambda t: intake.find_files([t / "nothing"], t), "check the path"),
    (lambda t: Settings.load(t / "no.toml"), "check the path"),
    (lambda t: Settings.load(str(t / "no.toml")), "check the path"),
    (lambda t: run(t, t / "out", "deep"), "bycatch.Settings.load(preset='deep')"),
    (lambda t: run(t, t / "out", inputs="gaia.csv"), "bycatch.Inputs(gaia="),
    (lambda t: run_stages(t, ["photometry"]), "measure, finalize"),
    (lambda t: read_table(t / "no.ecsv"), "check the path"),
    (lambda _: Settings.load(preset="faint"), "classic, deep, crowded"),
    (read_catalog, "two output folders"),
    (view_group, "bycatch objects OUT"),
    (read_drc, "the drc file itself"),
    (lambda _: sky_position("150", "95"), "in degrees"),
    (lambda t: intake.scan([t], t / "out", Settings()), "mastDownload/"),
    (lambda t: lists.read_positions(named(t, "")), "x, y or ra, dec"),
    (lambda t: lists.read_positions(named(t, "a b\n1 2\n")), "ra, dec (degrees)"),
    (lambda t: lists.read_regions(named(t, "")), "ds9 format"),
    (lambda t: lists.read_regions(named(t, "image\ncircle(1,\n")), "ds9 format"),
]


@pytest.mark.parametrize(("wrong", "way"), WRONG)
def test_wrong_questions_get_a_hint(tmp_path, wrong, way):
    with pytest.raises(BycatchError) as excinfo:
        wrong(tmp_path)
    assert way in excinfo.value.hint


@pytest.mark.parametrize(
    ("given", "way"),
    [
        ({"xy": (3.0, 3.0)}, "--image ROOT"),
        ({"radec": ("north", "2")}, "150.1 2.2"),
        ({"xy": (3.0, 3.0), "image": "nobody"}, "jabc01010 (F775W)"),
    ],
)
def test_questions_about_a_run_list_what_it_holds(finished, given, way):
    with pytest.raises(BycatchError) as excinfo:
        explain(finished, **given)
    assert way in excinfo.value.hint


def test_an_image_whose_detections_are_gone_names_the_step(done):
    for path in done.rglob("jabc01010_*.ecsv"):
        path.unlink()
    with pytest.raises(MissingProduct) as excinfo:
        explain(done, xy=(120.0, 3.0), image="jabc01010")
    assert "bycatch detect OUT" in excinfo.value.hint


def test_a_visit_without_truth_names_simulate(finished, tmp_path):
    with pytest.raises(BycatchError) as excinfo:
        assess_visit(finished, tmp_path)
    assert "bycatch simulate" in excinfo.value.hint
    (tmp_path / "truth").mkdir()  # of another simulation
    with pytest.raises(BycatchError, match="no truth of jabc010"):
        assess_visit(finished, tmp_path)


def test_radii_that_were_not_measured_name_the_step(done, bycatch):
    result = bycatch("finalize", done, "--set", "measure.radii_px=[2,5.5]")
    assert result.status != 0
    assert "nothing was measured in 5.5 px" in result.out + result.err
    assert "bycatch measure" in (result.out + result.err).replace("\n", " ")


def test_a_step_whose_product_is_gone_names_the_one_before(done, bycatch):
    for path in done.rglob("*_sources.ecsv"):
        path.unlink()
    result = bycatch("measure", done)
    assert "is missing" in result.out + result.err
    assert "bycatch detect" in (result.out + result.err).replace("\n", " ")


def test_an_input_that_moved_away_gets_a_hint(done, tmp_path, bycatch):
    (link,) = done.rglob("jabc01010_drc.fits")
    link.unlink()
    link.symlink_to(tmp_path / "moved_drc.fits")
    result = bycatch("detect", done, "--set", "detect.n_pixels=80")
    text = " ".join((result.out + result.err).split())
    assert "no longer points to a file" in text
    assert "where it is now" in text


def test_one_weight_for_two_images_gets_a_hint(visit, tmp_path, bycatch):
    weight = named(tmp_path, "")
    result = bycatch("run", visit.raw, "-o", tmp_path / "out", "--wht", weight)
    assert result.status == 2
    assert "<stem>_wht.fits" in (result.out + result.err).replace("\n", "")


def test_a_place_that_is_taken_must_be_cleared(tmp_path):
    one, two = named(tmp_path, "one"), tmp_path / "two"
    two.write_text("two")
    for place in (placing._link, placing._copy, placing._move):
        with pytest.raises(BycatchError) as excinfo:
            place(one, two, "")
        assert "another output folder" in excinfo.value.hint
        assert two.read_text() == "two"


def test_exposures_without_quality_name_those_that_have_it(tmp_path, new_drc):
    path = tmp_path / "some_flc.fits"
    new_drc(np.ones((4, 5), dtype=np.float32)).writeto(path)
    with pytest.raises(BycatchError) as excinfo:
        read_quality([path])
    assert "flc or flt" in excinfo.value.hint


def test_stars_elsewhere_without_a_network_get_a_hint(tmp_path):
    table = Table({"source_id": [1], "ra": [10.0], "dec": [10.0], "pmra": [0.0], "pmdec": [0.0],
                   "phot_g_mean_mag": [18.0]})  # fmt: skip
    table.write(tmp_path / "gaia.csv")
    cone = reference.Cone(150.0, 2.0, 0.05)
    with pytest.raises(NoReferenceStars) as excinfo:
        reference._local_stars(tmp_path / "gaia.csv", cone)
    assert "covers the field" in excinfo.value.hint
    services = Services(Settings().align.replace(offline=True, gaia_cache="off"))
    with pytest.raises(NoReferenceStars) as excinfo:
        reference._query_stars("a field", cone, services)
    assert "without --offline" in excinfo.value.hint
    assert "--gaia FILE" in excinfo.value.hint


def test_tables_without_positions_are_no_regions():
    with pytest.raises(BycatchError) as excinfo:
        export._pixel_names(Table({"a": [1]}))
    assert "cat, phot or sources" in excinfo.value.hint
