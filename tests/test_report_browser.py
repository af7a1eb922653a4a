"""The report in a real browser: opened from disk, the network off."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest

pytest.importorskip("bokeh")
pytest.importorskip("jinja2")
pytest.importorskip("playwright")

from playwright.sync_api import sync_playwright

from bycatch.catalogs.tables import read_table
from bycatch.report import page as report_page
from bycatch.report import write_report
from bycatch.report.image import KINDS

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome")
     if (found := shutil.which(name))), None,
)  # fmt: skip
if CHROMIUM is None:
    pytest.skip("no chromium is installed (Debian's package: chromium)", allow_module_level=True)

READY_MS = 30_000


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    # Chromium has no sandbox to offer to root.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(finished, tmp_path_factory, change_record):
    """A finished run, whose image in two exposures kept its own WCS and whose other one is fine."""
    out = tmp_path_factory.mktemp("browser") / "out"
    shutil.copytree(finished, out, symlinks=True)
    for root, grade in (("jabc01010", "F"), ("jabc01020", "A")):
        said = {"grade": grade, "reason": "as the test has it"}
        change_record(out, root, lambda r, said=said: r["stages"]["align"]["summary"].update(said))
    write_report(out)
    return out


@pytest.fixture(scope="module")
def window(browser, folder):
    """The page of the finished run in a window, and what it has complained of."""
    context, tab, complaints = open_page(browser, folder)
    yield tab, complaints
    context.close()


@pytest.fixture
def opened(window):
    """Return the page with its first image anew; whatever it complains of fails the test."""
    tab, complaints = window
    tab.evaluate("delete document.body.dataset.shown; bycatchReport.show(0)")
    tab.wait_for_function("document.body.dataset.shown", timeout=READY_MS)
    yield tab
    assert complaints == []


def open_page(browser, folder):
    """Open the page of a folder in a window of its own; return window, page, complaints."""
    context = browser.new_context(viewport={"width": 1366, "height": 900}, offline=True)
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None,
    )
    tab.on(
        "request",
        lambda asked: (
            complaints.append(asked.url)
            if not asked.url.startswith(("data:", "file:", "blob:"))
            else None
        ),
    )
    tab.goto((folder / "report.html").as_uri())
    tab.wait_for_function("document.body.dataset.shown", timeout=READY_MS)
    return context, tab, complaints


def column(tab, table, number):
    """Return the texts of a column of a table, numbered from 1."""
    return tab.locator(f"#{table} tbody td:nth-child({number})").all_inner_texts()


def heading(tab, table, text):
    """Return the button in the head of a column."""
    return tab.locator(f"#{table} th button", has_text=text).first


def place_in(tab, plot, x, y):
    """Return where a point of a plot lies on the screen."""
    return tab.evaluate(
        """([plot, x, y]) => {
            const view = [...Bokeh.index].flatMap((root) => [root, ...(root.child_views || [])])
                .find((part) => part.model.name === plot);
            const box = view.canvas_view.el.getBoundingClientRect();
            const frame = view.frame;
            return [box.left + frame.x_scale.compute(x), box.top + frame.y_scale.compute(y)];
        }""",
        [plot, x, y],
    )


def test_page_opens_and_shows_an_image(opened):
    assert re.search(r"browser\d+/out, \d{4}-\d\d-\d\d \d\d:\d\d UTC - bycatch$", opened.title())
    assert opened.locator("#images tbody tr").count() == 2
    assert opened.locator("#content").is_visible()
    # The picture, four plots, each drawn.
    assert opened.locator("figure .bk-Figure").count() == 5
    assert opened.locator("#exposures img").evaluate("image => image.naturalWidth") > 0


def test_what_is_wrong_stands_out_without_colour(opened):
    problem = opened.locator("#problems li").first.inner_text()
    assert "✖" in problem
    assert "jabc01010" in problem
    assert "grade F" in problem
    cell = opened.locator("#images td.bad").first
    assert cell.inner_text().split() == ["✖", "wrong:", "F"]


def test_tables_are_sorted_by_clicks(opened):
    head = heading(opened, "images", "n_exp")
    header = head.locator("xpath=..")
    assert header.get_attribute("aria-sort") == "none"
    head.click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(opened, "images", 8) == ["1", "2"]
    head.click()
    assert header.get_attribute("aria-sort") == "descending"
    assert column(opened, "images", 8) == ["2", "1"]


def test_tables_are_sorted_by_the_keyboard(opened):
    head = heading(opened, "images", "filter")
    head.focus()
    opened.keyboard.press("Enter")
    assert column(opened, "images", 2) == ["F475W", "F775W"]
    opened.keyboard.press("Space")
    assert column(opened, "images", 2) == ["F775W", "F475W"]
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.textContent") == "image"


def test_an_image_is_chosen_in_the_table(opened, folder):
    opened.locator("button.open", has_text="jabc01010").click()
    opened.wait_for_function("document.body.dataset.shown.endsWith('jabc01010')")
    assert opened.locator("#h-image").inner_text() == "abc_01/F775W jabc01010"
    (path,) = folder.glob("*/*/jabc01010_cat.ecsv")
    n_rows = len(read_table(path))
    assert opened.locator("#n-sources").inner_text() == f"{n_rows} rows of {n_rows}"
    assert opened.locator("#images tr.chosen").get_attribute("aria-current") == "true"
    opened.locator("#choose").select_option(label="abc_01/F475W jabc01020")
    opened.wait_for_function("document.body.dataset.shown.endsWith('jabc01020')")


def test_a_source_clicked_in_the_picture_shows_its_row(opened, folder):
    shown = opened.evaluate("document.body.dataset.shown").split("/")[-1]
    (path,) = folder.glob(f"*/*/{shown}_cat.ecsv")
    catalog = read_table(path)
    source = catalog[int(catalog["snr_4"].argmax())]
    opened.locator("#image").scroll_into_view_if_needed()
    x, y = place_in(opened, "picture", source["x_center"], source["y_center"])
    opened.mouse.click(x, y)
    opened.wait_for_function("document.getElementById('source').dataset.row")
    told = opened.locator("#source dl").inner_text().split("\n")
    assert told[told.index("id") + 1] == str(source["id"])
    assert told[told.index("mag_ab_4") + 1] == f"{source['mag_ab_4']:.3f} mag"
    row = opened.locator("#sources tr.chosen")
    assert row.locator("td").first.inner_text() == str(source["id"])


def test_hovering_over_a_source_shows_its_number(opened, folder):
    shown = opened.evaluate("document.body.dataset.shown").split("/")[-1]
    (path,) = folder.glob(f"*/*/{shown}_cat.ecsv")
    source = read_table(path)[0]
    opened.locator("#image").scroll_into_view_if_needed()
    x, y = place_in(opened, "picture", source["x_center"], source["y_center"])
    opened.mouse.move(x - 3, y)
    opened.mouse.move(x, y)
    tip = opened.locator(".bk-tooltip-row-value").first
    tip.wait_for(state="visible", timeout=READY_MS)
    assert tip.inner_text().strip() == str(source["id"])


def test_a_row_clicked_in_the_table_is_shown_in_the_picture(opened):
    button = opened.locator("#sources button.row").nth(2)
    number = button.inner_text()
    button.focus()
    opened.keyboard.press("Enter")
    state = opened.evaluate(
        """() => {
            const { models, chosen } = bycatchReport.state;
            const plot = Bokeh.documents[0].get_model_by_name("picture");
            const { id, x, y } = models.sources.data;
            return { chosen, indices: models.sources.selected.indices, id: id[chosen],
                x: x[chosen], y: y[chosen], ranges: [plot.x_range.start, plot.x_range.end,
                plot.y_range.start, plot.y_range.end] };
        }"""
    )
    assert state["indices"] == [state["chosen"]]
    assert str(state["id"]) == number
    left, right, low, high = state["ranges"]
    assert (left + right) / 2 == pytest.approx(state["x"])
    assert (low + high) / 2 == pytest.approx(state["y"])
    assert opened.locator("#source dd").nth(1).inner_text() == number


def test_the_address_holds_image_and_source(browser, folder, opened):
    opened.evaluate("bycatchReport.choose(2, true)")
    address = opened.url
    number = opened.evaluate(
        "bycatchReport.state.shown.sources.columns.find((c) => c.name === 'id').values[2]"
    )
    assert address.endswith(f"#image=abc_01%2FF475W%2Fjabc01020&source={number}")
    context, tab, complaints = open_page(browser, folder)
    tab.goto(address.replace("F475W%2Fjabc01020", "F775W%2Fjabc01010").replace("source", "no"))
    tab.wait_for_function("document.body.dataset.shown === 'abc_01/F775W/jabc01010'")
    tab.goto(address)
    tab.wait_for_function("bycatchReport.state.chosen === 2")
    assert tab.evaluate("document.body.dataset.shown") == "abc_01/F475W/jabc01020"
    assert complaints == []
    context.close()


def test_a_source_chosen_far_below_scrolls_to_the_picture(opened):
    opened.locator("#source-table").scroll_into_view_if_needed()
    opened.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    opened.evaluate("bycatchReport.choose(1, true)")
    top = opened.evaluate("document.querySelector('figure.wide').getBoundingClientRect().top")
    assert 0 <= top < 450


def test_the_wheel_zooms_at_once(opened):
    width = (
        "(() => { const { start, end } = bycatchReport.view('picture'); return end - start; })()"
    )
    opened.locator("figure.wide").scroll_into_view_if_needed()
    before = opened.evaluate(width)
    x, y = place_in(opened, "picture", 100, 100)
    opened.mouse.move(x, y)
    opened.mouse.wheel(0, -240)
    opened.wait_for_function(f"{width} < {0.95 * before}")


def test_the_table_shows_what_is_read_first_and_all_on_request(opened):
    first = opened.locator("#sources th").all_inner_texts()
    assert first[0] == "id"
    assert len(first) <= 15
    opened.locator("#all-columns").check()
    assert len(opened.locator("#sources th").all_inner_texts()) > len(first)
    opened.locator("#all-columns").uncheck()


def test_a_warning_leads_to_its_image(opened):
    opened.locator("#problems a", has_text="jabc01010").first.click()
    opened.wait_for_function("document.body.dataset.shown === 'abc_01/F775W/jabc01010'")


def test_sources_are_sorted_and_filtered(opened):
    before = column(opened, "sources", 1)
    heading(opened, "sources", "mag_ab_4").click()
    k = 1 + opened.locator("#sources th").all_inner_texts().index("mag_ab_4")
    values = [float(text) for text in column(opened, "sources", k) if text != "-"]
    assert values == sorted(values)
    opened.locator("#filter-id").fill(before[0])
    assert column(opened, "sources", 1) == [before[0]]
    opened.locator("#filter-id").fill("")
    assert sorted(column(opened, "sources", 1)) == sorted(before)


def test_outlines_are_switched_off(opened):
    visible = """Bokeh.documents[0].get_model_by_name("picture").renderers
        .find((part) => part.name === "outline").visible"""
    assert opened.evaluate(visible)
    opened.locator("#show-outlines").uncheck()
    assert not opened.evaluate(visible)


def test_images_beside_the_page_come_when_they_are_asked_for(
    browser, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(report_page, "MAX_INSIDE", 1)
    out = tmp_path / "out"
    shutil.copytree(folder, out, symlinks=True)
    write_report(out)
    context, tab, complaints = open_page(browser, out)
    tab.locator("button.open").last.click()
    tab.wait_for_function("document.body.dataset.shown.endsWith('jabc01010')", timeout=READY_MS)
    assert tab.locator("#sources tbody tr").count() > 0
    assert complaints == []
    context.close()


def test_a_missing_file_beside_the_page_is_reported(browser, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(report_page, "MAX_INSIDE", 1)
    out = tmp_path / "out"
    shutil.copytree(folder, out, symlinks=True)
    write_report(out)
    (out / "abc_01" / report_page.FIELD_PAGE).unlink()
    context = browser.new_context(offline=True)
    tab = context.new_page()
    tab.goto((out / "report.html").as_uri())
    tab.wait_for_function("document.getElementById('state').textContent.includes('missing beside')")
    assert not tab.locator("#content").is_visible()
    context.close()


def test_the_page_begins_with_an_image_that_has_a_catalog(browser, folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(folder, out, symlinks=True)
    for path in out.glob("*/F475W/*"):
        path.unlink()
    write_report(out)
    context, tab, complaints = open_page(browser, out)
    assert tab.locator("#h-image").inner_text() == "abc_01/F775W jabc01010"
    tab.locator("button.open", has_text="jabc01020").click()
    tab.wait_for_function("document.body.dataset.shown.endsWith('jabc01020')", timeout=READY_MS)
    assert tab.locator("#state").inner_text() == "There is nothing to show."
    assert not tab.locator("#content").is_visible()
    assert complaints == []
    context.close()


def test_a_run_that_lost_everything_has_a_page(browser, tmp_path):
    skipped = [{"path": "x_drc.fits", "reason": "not a <FITS> file", "dropped": True}]
    (tmp_path / "run.json").write_text(json.dumps({"skipped": skipped}))
    write_report(tmp_path)
    context = browser.new_context(offline=True)
    tab = context.new_page()
    tab.goto((tmp_path / "report.html").as_uri())
    tab.wait_for_function("document.getElementById('state').textContent.startsWith('There is no')")
    assert tab.locator("#problems").inner_text() == "✖x_drc.fits: not a <FITS> file"
    context.close()


def test_nothing_but_tables_is_wider_than_a_narrow_window(browser, folder):
    context, tab, complaints = open_page(browser, folder)
    tab.set_viewport_size({"width": 480, "height": 900})
    tab.wait_for_function("document.documentElement.scrollWidth <= 480", timeout=READY_MS)
    frame = tab.evaluate("Bokeh.documents[0].get_model_by_name('picture').frame_width")
    assert 220 <= frame < 480
    assert complaints == []
    context.close()


def test_legends_name_the_kinds_that_are_there(opened):
    """A kind without a source has no mark to show in a legend."""
    kinds = set(opened.evaluate("bycatchReport.state.shown.sources.kind"))
    for plot in ("picture", "errors", "shapes"):
        items = opened.evaluate(
            """(plot) => Bokeh.documents[0].get_model_by_name(plot).below.find((part) => part.items)
                .items.filter((item) => item.visible).map((item) => item.label.value)""",
            plot,
        )
        assert set(items) - {"left out", "expected", "stars"} == kinds


def test_the_table_of_kinds_says_what_each_means(opened):
    rows = opened.locator("#kinds tbody tr").all()
    cells = [row.locator("td").all_inner_texts() for row in rows]
    assert [(kind.split(" ", 1)[1], meaning) for kind, _, meaning in cells] == list(KINDS.items())


def test_page_prints(opened, tmp_path):
    opened.emulate_media(media="print")
    assert not opened.locator("#choose").is_visible()
    assert opened.locator("#images").is_visible()
    opened.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
    opened.emulate_media(media="screen")


# ---------------------------------------------------------------- groups


@pytest.fixture(scope="module")
def with_groups(browser, folder, tmp_path_factory, bycatch):
    """The page of a run with objects, in a window; and what it has complained of."""
    out = tmp_path_factory.mktemp("groups") / "out"
    shutil.copytree(folder, out, symlinks=True)
    assert bycatch("objects", out).status == 0
    write_report(out)
    context, tab, complaints = open_page(browser, out)
    tab.wait_for_function("document.body.dataset.group", timeout=READY_MS)
    yield tab, out
    assert complaints == []
    context.close()


def drag_over(tab, plot, tool):
    """Drag a selection over the whole frame of a plot."""
    tab.evaluate(
        """([plot, tool]) => {
            const model = bycatchReport.model(plot);
            model.toolbar.tools.find((part) => part.type === tool).active = true;
        }""",
        [plot, tool],
    )
    tab.locator("#group").scroll_into_view_if_needed()
    ends = tab.evaluate(
        """(plot) => {
            const { x_range, y_range } = bycatchReport.model(plot);
            const at = (range, share) => range.start + share * (range.end - range.start);
            return [[at(x_range, 0.01), at(y_range, 0.01)], [at(x_range, 0.99), at(y_range, 0.99)]];
        }""",
        plot,
    )
    first, last = (place_in(tab, plot, *end) for end in ends)
    tab.mouse.move(*first)
    tab.mouse.down()
    tab.mouse.move(*last, steps=6)
    tab.mouse.up()


@pytest.mark.parametrize("plot", ["cmd", "group_picture"])
def test_objects_chosen_in_one_plot_are_chosen_in_all(with_groups, plot):
    tab, out = with_groups
    tab.evaluate("bycatchGroups.state.models.objects.selected.indices = []")
    drag_over(tab, plot, "BoxSelectTool")
    tab.wait_for_function("document.getElementById('n-chosen')")
    chosen = tab.evaluate("bycatchGroups.state.models.objects.selected.indices")
    (path,) = out.glob("objects/*/*_objects.ecsv")
    n_objects = len(read_table(path))
    assert 0 < len(chosen) <= n_objects
    assert tab.locator("#chosen-objects tbody tr").count() == len(chosen)
    assert tab.locator("#n-chosen").inner_text().startswith(f"{len(chosen)} object")
    # One source of data: the same rows stand out in every plot.
    sources = tab.evaluate(
        """["group_picture", "cmd", "ccd"].map((name) => bycatchReport.model(name).renderers
            .find((part) => part.data_source.name === "objects").data_source.selected.indices)"""
    )
    assert sources == [chosen] * 3


def test_least_p_real_hides_objects(with_groups):
    tab, _ = with_groups
    drawn = "bycatchGroups.state.models.objects.data.x.filter(Number.isFinite).length"
    before = tab.evaluate(drawn)
    tab.locator("#least-real").fill("1.1")
    tab.locator("#least-real").press("Tab")
    assert tab.evaluate(drawn) == 0
    tab.locator("#least-real").fill("0.5")
    tab.locator("#least-real").press("Tab")
    assert tab.evaluate(drawn) == before > 0


def test_a_group_fits_a_narrow_window(with_groups):
    tab, _ = with_groups
    tab.set_viewport_size({"width": 480, "height": 900})
    tab.wait_for_function("document.documentElement.scrollWidth <= 480", timeout=READY_MS)
    frame = tab.evaluate("bycatchReport.model('group_picture').frame_width")
    assert 150 <= frame < 480
    tab.set_viewport_size({"width": 1366, "height": 900})
