"""What results show of themselves in a notebook, and the notebook of the documentation."""

import json
import re
import struct
import warnings
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

import bycatch
from bycatch.cli import printing
from bycatch.display import notebook
from bycatch.display.summary_values import WORDS
from bycatch.pipeline import Inputs
from bycatch.settings import walk

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "first_field.ipynb"
VOID = {"img"}


class Checked(HTMLParser):
    """HTML whose elements are all closed; its text, and its pictures."""

    def __init__(self, html):
        super().__init__()
        self.open, self.words, self.pictures = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag in VOID:
            self.pictures.append(dict(attrs))
        else:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " | ".join(self.words)


def pixels_of(html):
    """Return the pixels of the picture in a card, first row on top, by the PNG specification."""
    import base64

    (picture,) = Checked(html).pictures
    data = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + content) == struct.unpack(">I", data[at + 8 + size :][:4])[0]
        chunks[kind] = content
        at += 12 + size
    nx, ny, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 0, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(ny, nx + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


# ---------------------------------------------------------------- parts


def test_everything_is_escaped():
    evil = "<script>alert('&')</script>"
    table = Table({"a<b": [evil]})
    table["a<b"].unit = "pix"
    html = notebook.card(
        evil,
        {evil: evil},
        groups={evil: {evil: 1}},
        table=notebook.first_rows(table) + notebook.rows_table([{evil: evil}]),
        picture=notebook.image_picture(np.eye(4), f'"{evil}'),
        notes=[evil],
    )
    assert "<script" not in html
    result = Checked(html)
    assert result.text.count(evil) == 9
    assert result.pictures[0]["alt"] == f'"{evil}'


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (None, "", "-"), (float("nan"), "mas", "-"), (True, "", "yes"), (False, "", "no"),
        (2.47, "%", "2.47 %"), (25.65234, "mag", "25.652 mag"), (0.5432, "mas", "0.5 mas"),
        (8.66e-79, "", "8.66e-79"), (1234, "", "1234"), ("blank sky", "", "blank sky"),
        (0.0, "", "0"), (np.float64(1.5), "px", "1.50 px"), (-351.44, "mas", "-351.4 mas"),
        (-0.001, "mas", "0.0 mas"), (2e-5, "e/s", "2e-05 e/s"),
    ],
)  # fmt: skip
def test_values_in_words(value, unit, words):
    assert notebook.in_words(value, unit) == words


def test_parts_of_a_summary_that_have_parts_are_left_out():
    html = notebook.card("x", {"n_sources": 3, "closure": {"a": 1}, "list": [1], "n_snr5_4px": 2})
    text = Checked(html).text
    assert "sources | 3" in text
    assert "rows of S/N 5 or more, 4 px | 2" in text
    assert "closure" not in text
    assert "list" not in text


def test_tables_show_their_first_rows():
    table = Table({"id": np.arange(8), "x": MaskedColumn(np.arange(8.0), mask=np.arange(8) == 1)})
    table["x"].unit = "pix"
    text = Checked(notebook.first_rows(table, ("x", "gone"), n_rows=2)).text
    assert text == "x | pix | 0.00 | and 6 more rows"
    assert "and 7 more rows" in notebook.first_rows(table, n_rows=1)
    assert "and 1 more row<" in notebook.first_rows(table, n_rows=7)
    assert "more" not in notebook.first_rows(table, n_rows=8)
    assert "no rows" in notebook.first_rows(table[:0])
    assert notebook.rows_table([]) == ""


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (361, 10), (1441, 1083), (360, 360)])
def test_block_means_are_means(shape):
    image = np.random.default_rng(1).normal(5.0, 0.1, shape).astype(np.float32)
    image[0, 0] = np.nan
    means = notebook.small(image)
    block = -(-max(shape) // 360)
    assert means.shape == tuple(-(-n // block) for n in shape)
    assert max(means.shape) <= 360
    if shape == (1, 1):
        assert np.isnan(means).all()
    else:
        assert np.nanmean(means) == pytest.approx(5.0, abs=0.02)
    if block == 2:
        assert means[1, 1] == pytest.approx(image[2:4, 2:4].mean())


def test_a_picture_shows_sources_dark_sky_light_and_nothing_white():
    image = np.random.default_rng(2).normal(0, 1, (50, 80))
    image[40:44, 10:14] = 1000.0  # up and left
    image[:10] = np.nan
    grey = pixels_of(notebook.image_picture(image, "x"))
    assert grey.shape == (50, 80)
    assert (grey[50 - 44 : 50 - 40, 10:14] == 0).all()
    assert (grey[40:] == 255).all()
    assert 120 < np.median(grey[:40]) < 250
    assert len(np.unique(grey)) <= notebook.GREY_LEVELS + 2


@pytest.mark.parametrize("image", [np.full((5, 5), np.nan), np.zeros((0, 4)), np.zeros(3)])
def test_where_nothing_can_be_shown_there_is_no_picture(image):
    class Thing:
        @notebook.safe_repr
        def _repr_html_(self):
            return notebook.card("x", {}, picture=notebook.image_picture(image, "x"))

    assert "<img" not in Thing()._repr_html_()


def test_a_flat_image_has_a_picture():
    assert (pixels_of(notebook.image_picture(np.zeros((5, 5)), "x")) < 255).all()


@pytest.mark.parametrize("shape", [(7, 9), (721, 365)])
def test_a_mask_shows_every_pixel_that_is_set(shape):
    mask = np.zeros(shape, bool)
    mask[-1, 0] = True
    grey = pixels_of(notebook.mask_picture(mask, "x"))
    assert grey[0, 0] == 0
    assert (grey == 0).sum() == 1
    assert max(grey.shape) <= 360


def test_what_goes_wrong_is_reported_and_not_raised():
    class Thing:
        @notebook.safe_repr
        def _repr_html_(self):
            raise ValueError("<no>")

    assert Checked(Thing()._repr_html_()).text == "Thing | : can't be shown (ValueError: <no>)"


# ---------------------------------------------------------------- results


@pytest.fixture(scope="module")
def stages(visit):
    """Every result of the stages on one image of a visit."""
    image = bycatch.read_drc(visit.raw / "jabc01010_drc.fits")
    detection = bycatch.detect.run(image)
    mask = bycatch.crmask.run(image)
    gaia = bycatch.sky.gaia.read_local(str(visit.gaia))
    one = bycatch.align.FieldImage.of(image, detection.sources, detection.segmentation, mask.grown)
    field = bycatch.align.run([one], gaia, bycatch.Settings().align)
    (aligned,) = field.images
    settings = bycatch.Settings()
    measured = bycatch.measure.run(
        image,
        bycatch.measure.Targets(detection.sources["x"], detection.sources["y"]),
        pixels=bycatch.measure.Pixels(cr_mask=mask.grown, segmentation=detection.segmentation),
        frame=bycatch.measure.SkyFrame(aligned.wcs, aligned.frame_error),
        field=bycatch.measure.FieldContext(reference=gaia),
    )
    annulus = (settings.measure.annulus_inner_px, settings.measure.annulus_outer_px)
    final = bycatch.finalize.run(
        measured.table, measured.radii_px, image.meta, image.scale_arcsec, annulus
    )
    return {
        "image": image, "found": detection, "mask": mask, "field": field,
        "aligned": aligned, "measured": measured, "final": final, "gaia": gaia,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("image", ("jabc01010", "ACS/WFC, F775W", "2, 1000 s together", "240 x 200 px of 0.050")),
        ("found", ("Detections", "sources | 7", "id | x | y")),
        ("mask", ("Cosmic-ray mask", "cosmic-ray tracks")),
        ("field", ("Alignment of a field", "Gaia stars | 6", "grade", "frame error")),
        ("aligned", ("A, on Gaia: 5 or more stars", "Gaia stars in this image | 6", "source_id")),
        ("measured", ("Photometry", "sources | 7", "countrate_", "covered by sources | 4.39 %")),
        ("final", ("Catalog", "AB zero point | 25.", "mag_ab_", "RA_GAIA_WCS")),
    ],
)
def test_results_show_themselves(stages, name, words):
    text = Checked(stages[name]._repr_html_()).text
    assert "can't be shown" not in text
    for part in words:
        assert part in text, text
    has_picture = bool(Checked(stages[name]._repr_html_()).pictures)
    assert has_picture == (name in {"image", "found", "mask"})


def test_the_depth_of_an_image_is_about_what_its_noise_gives(stages, scene):
    image = stages["image"]
    # 0.2 arcsec = 4 px; noise of 0.008 e/s per pixel, correlated by 1.5 at pixfrac 1 as is assumed;
    # 84 % of the light of a star.
    rate = 5 * 0.008 * np.sqrt(np.pi * 16) * 1.5 / 0.84
    zeropoint = -2.5 * np.log10(9.93e-20) - 21.1 - 5 * np.log10(7693) + 18.6921
    expected = zeropoint - 2.5 * np.log10(rate)
    from bycatch.images.drc import rough_depth

    assert rough_depth(image) == pytest.approx(expected, abs=0.1)


def test_a_field_image_of_arrays_is_that_of_the_products(stages, finished):
    from bycatch.pipeline.field_image import field_image
    from bycatch.pipeline.jobs import ImageJob
    from bycatch.pipeline.workbench import Workbench
    from bycatch.products import FieldFolder, read_field

    folder = FieldFolder(finished, read_field(finished, "abc_01"))
    (record,) = (r for r in folder.state.images if r.filter == "F775W")
    stored = field_image(Workbench(folder, ImageJob(finished, record, bycatch.Settings())))
    made = bycatch.align.FieldImage.of(
        stages["image"], stages["found"].sources, stages["found"].segmentation, stages["mask"].grown
    )
    for name in ("name", "filter", "wcsname", "shape", "mjd", "exptime_s", "saturation_rate"):
        assert getattr(made, name) == getattr(stored, name)
    assert made.zeropoint_ab == stored.zeropoint_ab
    np.testing.assert_allclose(made.sources["on_cr_mask"], stored.sources["on_cr_mask"], atol=1e-6)
    assert "on_cr_mask" not in stages["found"].sources.colnames
    without = bycatch.align.FieldImage.of(stages["image"], stages["found"].sources)
    assert "on_cr_mask" not in without.sources.colnames


def test_settings_show_themselves():
    settings = bycatch.Settings.load(preset="deep", assignments=["detect.n_pixels=7"])
    text = Checked(settings.detect._repr_html_()).text
    assert "DetectSettings" in text
    assert "n_pixels | 7" in text
    for name, info in type(settings.detect).model_fields.items():
        assert f"{name} | " in text
        assert info.description in text
    every = Checked(settings._repr_html_()).text
    assert "detect.n_pixels | 7" in every
    assert "measure.radii_px | (2.0, " in every
    assert len(settings.rows()) == len(list(walk()))


def test_a_run_shows_itself(visit, done, tmp_path):
    bad = tmp_path / "jabc01090_drc.fits"
    bad.write_bytes(b"no FITS")
    report = bycatch.run([visit.raw, bad], done, inputs=Inputs(gaia=visit.gaia))
    text = Checked(report._repr_html_()).text
    assert "2 of 3" in text
    assert "! dropped: jabc01090_drc.fits" in text
    for image in report.images:
        assert f"{image.field}/{image.filter} | {image.root} | done" in text
        own = Checked(image._repr_html_()).text
        assert all(step in own for step in ("detect", "crmask", "align", "measure", "finalize"))
    assert [list(row) for row in report.rows()] == [[*printing.RUN_HEADINGS]] * 2


def test_a_full_frame_shows_itself_at_once():
    # No timing: what is looked at is small.
    means = notebook.small(np.zeros((4300, 4250), np.float32))
    assert means.shape == (-(-4300 // 12), -(-4250 // 12))


# ---------------------------------------------------------------- the notebook of the documentation


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook with its outputs, as a new kernel makes them in a folder of its own."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the machinery; the kernel has its own
        book = nbformat.read(NOTEBOOK, as_version=4)
        nbformat.validate(book)
        folder = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
        nbclient.NotebookClient(
            book, timeout=300, kernel_name="python3", resources=folder
        ).execute()
    return book


def outputs(book, part):
    """Return the outputs of the cell whose source has some words: kinds, and texts by kind."""
    cell = next(c for c in book.cells if c.cell_type == "code" and part in c.source)
    result_of = {}
    for output in cell.outputs:
        if output.output_type == "stream":
            result_of[output.name] = result_of.get(output.name, "") + output.text
        else:
            result_of |= output.get("data", {})
    return result_of


def test_the_notebook_is_kept_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert cell.cell_type == "markdown" or (not cell.outputs and cell.execution_count is None)
        assert all(len(line) <= 100 for line in cell.source.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("read_drc(files", ("jsim01020", "F625W", "1, 600 s together", "data:image/png")),
        ("detect.run(image, settings.detect)\nfound", ("Detections", "data:image/png")),
        ("crmask.run(image, settings.crmask)\nmask", ("Cosmic-ray mask", "data:image/png")),
        ("gaia, settings.align)\nfield", ("Alignment of a field", "grade", "mas")),
        ("aligned = field.images[1]", ("on Gaia", "residuals in RA")),
        ("measured = bycatch.measure.run", ("Photometry", "likely cosmic rays", "p_cr")),
        ("calibrated = bycatch.finalize.run", ("Catalog", "AB zero point", "mag_ab_4")),
        ("report = bycatch.run(", ("3 of 3", "F475W", "F625W", "F775W", "done")),
        ("report.images[1]", ("detect", "finalize")),
        ('catalog["id", ', ("RA_GAIA_WCS", "mag_ab_4", "p_star")),
        ("assess_visit(", ("F475W", "found", "position")),
    ],
)
def test_the_cells_of_the_notebook_show_their_results(executed, part, words):
    html = outputs(executed, part)["text/html"]
    assert "can't be shown" not in html
    for word in words:
        assert word in html


@pytest.mark.slow
def test_the_plots_of_the_notebook_are_there(executed):
    for part in ("ax.imshow(image.sci", "ax.semilogy(", "ax.scatter("):
        assert len(outputs(executed, part)["image/png"]) > 5000


@pytest.mark.slow
def test_the_notebook_says_no_more_than_warnings_of_the_run(executed):
    for cell in executed.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                assert "Warning" not in output.text
                assert re.match(r"sim_01/F\d{3}W jsim010\d0: ", output.text), output.text


@pytest.mark.slow
def test_the_notebook_finds_the_truth(executed):
    text = outputs(executed, "assess_visit(")["text/plain"]
    shares = re.findall(r"F\d{3}W +\d +(\d+)/(\d+)", text)
    assert len(shares) == 3
    assert all(int(result) > 0.9 * int(there) for result, there in shares)


def test_cards_name_their_values_in_words(with_objects):
    """`n_trails` is a name for programs; a card says 'trails'."""
    summary = json.loads((with_objects / "summary.json").read_text())
    steps = [step for image in summary["images"] for step in image["summary"].values()]
    steps += [group["summary"] for group in summary["groups"].values()]
    names = {
        name
        for step in steps
        for name, value in step.items()
        if not isinstance(value, (dict, list)) and name not in notebook.NOT_SHOWN
    }
    raw = {name for name in names if name not in WORDS and not name.startswith("n_snr5")}
    assert raw == set()
