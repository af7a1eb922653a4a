"""What archives want of a survey, and objects shown over images."""

import re
import shlex
import shutil
import subprocess
import time
import warnings
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from bycatch.catalogs.tables import read_table
from bycatch.errors import SettingsError
from bycatch.pipeline.object_regions import object_regions
from bycatch.pipeline.object_shapes import shapes_of
from bycatch.survey import view
from bycatch.survey.cds import bytes_of, data_lines, text_columns
from bycatch.survey.digits import format_of
from bycatch.survey.methods import LIBRARIES, bibtex, methods
from bycatch.survey.publish import publish_survey
from bycatch.survey.release import Release, content_of
from bycatch.system.disk import checksum

pytest.importorskip("pyarrow")
pytest.importorskip("duckdb")
pytest.importorskip("mocpy")
STILTS = shutil.which("stilts")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "surveys.md"


@pytest.fixture(scope="module")
def published(with_objects, tmp_path_factory, bycatch):
    """A folder where the commands of the page were run, on a folder ``out``."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(with_objects, folder / "out", symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        session = {}
        blocks = re.findall(
            r"^```(sh|python)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
        )
        for language, text in blocks:
            if language == "python":
                exec(text, session)
                continue
            for line in text.splitlines():
                result = bycatch(*shlex.split(line)[1:])
                assert result.status == 0, f"{line}\n{result.err}"
    assert len(session["matched"]) == len(session["bright"]) == 5
    assert len(session["curve"]) == 2
    assert session["covered"].all()
    return folder


def floats_of(column):
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)


@pytest.mark.skipif(STILTS is None, reason="stilts is not installed")
def test_votlint_finds_no_fault_and_stilts_reads_the_same(published):
    path = published / "survey_votable" / "survey.vot"
    process = subprocess.run([STILTS, "votlint", path], check=False, capture_output=True, text=True)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    command = [STILTS, "tpipe", f"in={path}#0", "cmd=meta name units ucd", "ofmt=csv"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    meta = Table.read(text.splitlines(), format="ascii.csv")
    row = meta[list(meta["Name"]).index("mag_F775W")]
    assert (row["Units"], row["UCD"]) == ("mag", "phot.mag;em.opt")
    columns = "object_id ra dec flux_F775W maglim_F475W flags"
    command = [STILTS, "tpipe", f"in={path}#0", f"cmd=keepcols '{columns}'", "ofmt=csv"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = Table.read(text.splitlines(), format="ascii.csv")
    ours = read_table(next(published.glob("out/objects/*/*_objects.ecsv")))
    ours = ours[floats_of(ours["p_real"]) >= 0.5]
    theirs.sort("object_id")
    ours.sort("object_id")
    for name in columns.split():
        # ECSV has six digits of fluxes.
        np.testing.assert_allclose(floats_of(theirs[name]), floats_of(ours[name]), rtol=1e-5)


@pytest.mark.parametrize("name", ["objects", "epochs", "images"])
def test_the_readers_of_cds_and_journals_read_the_same(published, name):
    folder = published / "survey_cds"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = Table.read(folder / f"{name}.dat", readme=folder / "ReadMe", format="ascii.cds")
        mrt = Table.read(folder / f"{name}_mrt.txt", format="ascii.mrt")
        vot = Table.read(published / "survey_votable" / "survey.vot", table_id=name)
    assert table.colnames == mrt.colnames
    assert len(table) == len(mrt) == len(vot) > 0
    for label in table.colnames:
        ours = vot[{"RAdeg": "ra", "DEdeg": "dec"}.get(label, label)]
        if ours.dtype.kind in "iu":
            assert (np.ma.getdata(table[label]) == np.ma.getdata(ours)).all()
        elif ours.dtype.kind == "f":
            form = format_of(ours.name, str(ours.unit or ""))
            near = 5e-9 if label in {"RAdeg", "DEdeg"} else 1e-2
            if form.endswith(("e", "g")):
                np.testing.assert_allclose(floats_of(table[label]), floats_of(ours), rtol=1e-3)
            else:
                np.testing.assert_allclose(
                    floats_of(table[label]), floats_of(ours), atol=near, err_msg=label
                )
    assert table["RAdeg"].unit == "deg"
    for file in (folder / "ReadMe", folder / f"{name}_mrt.txt"):
        head = file.read_text().split("\n------")[0]
        assert max(map(len, head.splitlines())) <= 81


def test_digits_follow_the_errors():
    assert format_of("ra", "deg") == ".8f"
    assert format_of("mag_F606W", "mag") == ".4f"
    assert format_of("flux_F606W", "erg / (Angstrom s cm2)") == ".4e"
    assert format_of("pmra", "mas / yr") == ".3f"
    assert format_of("half_light_arcsec", "arcsec") == ".4f"
    assert format_of("pa_deg", "deg", ".8f") == ".2f"
    assert format_of("mag_F606W", "mag", ".2f") == ".2f"


def test_cells_are_as_wide_as_the_description_says():
    table = Table(
        {
            "n": np.ma.array([1, 20, -300], mask=[False, True, False]),
            "p_real": [0.5, np.nan, 1e-9],
            "other": [1e-9, 2.0, 3e7],
            "word": ["a", "", "tall"],
            "yes": [True, False, True],
            "never": np.ma.masked_all(3),
        }
    )
    columns = text_columns(table, {})
    assert [column.form for column in columns] == ["I4", "F6.4", "E10.4", "A4", "I1"]
    lines = data_lines(columns)
    assert len(set(map(len, lines))) == 1
    text = "\n".join(bytes_of(columns))
    assert "   1-   4 I4" in text
    assert "27 I1" in text or "29 I1" in text


def test_names_of_files_are_those_of_mast(published):
    folder = published / "survey_hlsp"
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        assert re.fullmatch(
            r"hlsp_mycatch_hst_acs_cosmos-parallels_f[0-9a-z-]+_v1\.0_[a-z-]+\.[a-z]+", name
        )
        assert len(name) <= 90
    catalog = next(folder.glob("*_cat.fits"))
    with fits.open(catalog, checksum=True) as hdus:
        header = hdus[0].header
        assert (header["HLSPID"], header["HLSPVER"]) == ("mycatch", "1.0")
        assert hdus[1].header["TUNIT2"] == "deg"
    lines = next(folder.glob("*manifest.csv")).read_text().splitlines()[1:]
    files = [line.split(",") for line in lines]
    listed = {name: digest for name, _, digest, _ in files if name}
    assert set(listed) == set(names) - {next(n for n in names if n.endswith("manifest.csv"))}
    for name, digest in listed.items():
        assert checksum(folder / name) == f"sha256:{digest}"
    assert sum(not name for name, *_ in files) == 2


def test_the_methods_have_the_numbers_of_the_run(published):
    folder = published / "survey_cds"
    text = " ".join((folder / "methods.txt").read_text().split())
    assert "2 images of HST/ACS, drizzled (Fruchter & Hook 2002), in F475W, F775W" in text
    assert "aligned to Gaia DR3" in text
    assert "apertures of 2, 4, 6, 8, 10 pixels" in text
    assert "are those of the survey survey, made on" in text
    objects = content_of(published / "survey", Release()).tables["objects"]
    n_psf = np.count_nonzero(objects["psf_flux"])
    assert f"gave {len(objects)} objects" in text
    assert f"The fluxes of {n_psf} of them are those of fits of the PSF" in text
    assert "[detect]" in (folder / "settings.toml").read_text()


def test_every_work_and_library_that_is_named_can_be_cited(published):
    folder = published / "survey_cds"
    text = " ".join((folder / "methods.txt").read_text().split())
    entries = (folder / "references.bib").read_text()
    assert entries.count("{") == entries.count("}")
    assert not re.search(r"(?<!\\)[&%#_]", re.sub(r"(doi|howpublished) = .*", "", entries))
    keys = re.findall(r"^@\w+\{(\w+),$", entries, re.MULTILINE)
    assert len(keys) == len({*keys}) == entries.count("@")
    names = {"bycatch", *LIBRARIES}
    for name in names:
        assert any(key.startswith(name.replace("-", "")) for key in keys), name
    # By the first author and the year: "van Dokkum 2001", "Bohlin (2016)", "2016, 2023".
    named = re.findall(r"([A-Z][a-z]+)(?: & [A-Z][a-z]+| et al\.| Collaboration)? \(?(\d{4})", text)
    named += re.findall(r"(Collaboration) \d{4}, (\d{4})", text)
    assert len(named) >= 9
    plain = re.sub(r"[{}\\']", "", entries)
    for author, year in named:
        assert re.search(rf"author = [^\n]*{author}[^@]*year = {year}", plain), (author, year)


def test_frames_that_are_not_aligned_do_not_count_as_such(published):
    content = content_of(published / "survey", Release(name="survey", title="survey"))
    images = content.tables["images"].copy()
    images["grade"] = ["A", "F"]
    images["frame_err"] = np.array([3.0, 1000.0])
    tables = {**content.tables, "images": images}
    text = " ".join(methods(content.notes, tables, None).split())
    assert "1 of 2 images are aligned" in text
    assert "the median error of their frames is 3.0 mas" in text
    assert "gaia2023" in bibtex(content.notes, tables)
    images["grade"] = ["F", "F"]
    assert "No image could be aligned" in " ".join(methods(content.notes, tables, None).split())
    assert "gaia2" not in bibtex(content.notes, tables)


def test_an_output_folder_is_published_as_it_is(with_objects, tmp_path):
    release = Release(name="Mine, 1", everything=True)
    files = publish_survey(with_objects, "cds", tmp_path / "p", release)
    assert (tmp_path / "p" / "ReadMe") in files
    assert "Mine, 1: photometry" in (tmp_path / "p" / "ReadMe").read_text()
    methods = " ".join((tmp_path / "p" / "methods.txt").read_text().split())
    assert "1 group of overlapping" in methods
    assert "the survey" not in methods  # of a scratch folder that is gone
    n = len(read_table(next(with_objects.glob("objects/*/*_objects.ecsv"))))
    assert len((tmp_path / "p" / "objects.dat").read_text().splitlines()) == n
    for wrong in ({"project": "A b"}, {"version": "1"}, {"name": "***"}):
        with pytest.raises(SettingsError):
            publish_survey(with_objects, "cds", tmp_path / "q", Release(**wrong))
    with pytest.raises(SettingsError, match="nothing is written as 'xls'"):
        publish_survey(with_objects, "xls")


# ---------------------------------------------------------------- shown


def test_regions_are_those_of_export(published):
    from regions import Regions

    path = next((published / "out" / "view").glob("*.reg"))
    objects = read_table(next(published.glob("out/objects/*/*_objects.ecsv")))
    assert len(Regions.read(path, format="ds9")) >= len(objects)
    assert path.read_text() == object_regions(objects)


def test_the_page_asks_the_network_by_a_click_only(published):
    page = next((published / "out" / "view").glob("*.html")).read_text()
    assert page.count("https://") == 1
    assert page.index("script.src = ALADIN") > page.index('querySelector("#load").onclick')
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert "F475W" in page
    assert "data:image/png;base64," in page


def test_marks_lie_on_the_objects(published, visit):
    page = next((published / "out" / "view").glob("*.html")).read_text()
    first = page.split("</figure>")[0]
    marks = re.findall(r'<ellipse cx="([\d.]+)" cy="([\d.]+)"', first)
    at = np.array(marks, dtype=float)
    shapes = shapes_of(read_table(next(published.glob("out/objects/*/*_objects.ecsv"))))
    shown = [shape for shape in shapes if shape.object_class in {"point", "extended"}]
    assert len(shown) == len(at) > 3
    ra, dec = np.array([(shape.ra_deg, shape.dec_deg) for shape in shown]).T
    x, y = visit.wcs.all_world2pix(ra, dec, 0)
    assert np.hypot(at[:, 0] - x - 0.5, 200 - at[:, 1] - y - 0.5).max() < 1.5


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The library of SAMP, and a hub of its own that runs."""
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'hub').as_uri()}")
    library = view.samp()
    hub = library.SAMPHubServer(web_profile=False, lockfile=str(tmp_path / "hub"), addr="localhost")
    hub.start()
    yield library
    hub.stop()


def listener(library, answers):
    """Return a program that listens, and the list of what it gets.

    Its answers, by the kind of message: "" for done, else what is wrong.
    """
    client, got = library.SAMPIntegratedClient(name="listener"), []
    client.connect()

    def take(_key, _sender, message_id, mtype, words, _extra):
        got.append((mtype, words["url"].removeprefix("file://")))
        wrong = {"samp.status": "samp.error", "samp.error": {"samp.errortxt": answers[mtype]}}
        done = {"samp.status": "samp.ok", "samp.result": {}}
        time.sleep(0.2)  # astropy's hub loses an answer that is there before it waits for it
        client.reply(message_id, wrong if answers[mtype] else done)

    for mtype in answers:
        client.bind_receive_call(mtype, take)
    return client, got


def test_programs_that_listen_get_table_and_images(published, hub):
    client, got = listener(hub, {"table.load.votable": "", "image.load.fits": ""})
    sent = view.send_group(published / "out")
    client.disconnect()
    assert len(sent) == 3
    assert all(sentence.endswith("loaded by listener") for sentence in sent)
    assert [mtype for mtype, _ in got] == ["table.load.votable", *2 * ["image.load.fits"]]
    paths = [Path(unquote(path)) for _, path in got]
    assert len(Table.read(paths[0])) > 5
    for path in paths[1:]:
        assert fits.getdata(path, "SCI").shape == (200, 240)


def test_programs_that_take_tables_only_get_the_table(published, hub):
    client, got = listener(hub, {"table.load.votable": "no room"})
    (sentence,) = view.send_group(published / "out")
    client.disconnect()
    assert sentence.endswith("listener has a problem: no room")
    assert [mtype for mtype, _ in got] == ["table.load.votable"]


def test_that_nobody_listens_is_said(published, hub):
    with pytest.raises(SettingsError, match="no program that takes tables or images"):
        view.send_group(published / "out")


def test_that_no_hub_runs_is_said(published, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'hub').as_uri()}")
    with pytest.raises(SettingsError, match="no SAMP hub runs"):
        view.send_group(published / "out")


def test_a_group_that_is_not_there_is_named(published, tmp_path, bycatch):
    result = bycatch("view", published / "out", "J000", "--no-browser")
    assert result.status == 2
    assert "no group 'J000' - there are J" in result.err
    (tmp_path / "empty").mkdir()
    assert "run 'bycatch objects OUT'" in bycatch("view", tmp_path / "empty").err


def test_shapes_of_what_is_not_real(published):
    objects = read_table(next(published.glob("out/objects/*/*_objects.ecsv")))
    objects["p_real"][0] = 0.1
    objects["list_row"][1], objects["p_real"][1], objects["p_star"][1] = 3, 1.0, 0.9
    first, second = shapes_of(objects)[:2]
    assert (first.object_class, first.is_listed) == ("not real", False)
    assert (second.object_class, second.is_listed) == ("point", True)
