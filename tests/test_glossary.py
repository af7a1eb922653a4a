"""One word for one thing: the glossary, the page's headings, and the terminal's."""

import re

import pytest

from bycatch.catalogs.tables import quoted_radius
from bycatch.cli import printing
from bycatch.display.glossary import meaning_of, meanings, term_of
from bycatch.display.summary_values import WORDS
from bycatch.pipeline.outcomes import ImageReport, Outcome
from bycatch.report.objects import HEADINGS
from bycatch.report.overview import FIELDS, IMAGES
from bycatch.report.page import HERE

PAGE = [*(heading.text for heading in (*FIELDS, *IMAGES)), *HEADINGS]
TERMINAL = [*printing.RUN_HEADINGS, *printing.GROUP_HEADINGS]


@pytest.mark.parametrize("heading", sorted({*PAGE, *TERMINAL}))
def test_every_heading_is_a_word_of_the_glossary(heading):
    assert meaning_of(heading)


def test_terminal_and_page_use_the_same_headings():
    """What only one of them shows has no other heading for the same word."""
    of_page: dict[str, set[str]] = {}
    for heading in PAGE:
        of_page.setdefault(term_of(heading), set()).add(heading)
    for heading in TERMINAL:
        assert heading in of_page.get(term_of(heading), {heading})
    assert {"n_exp", "sources", "likely CR", "Gaia stars", "frame error, mas"} <= set(PAGE)
    assert {"n_exp", "sources", "clean", "Gaia stars", "frame error, mas"} <= set(TERMINAL)


def test_the_closing_table_has_the_columns_of_its_rows():
    image = ImageReport("root", "field", "F606W", "root_drc.fits", Outcome.DONE)
    assert tuple(image.row()) == printing.RUN_HEADINGS


def test_the_headings_of_sections_carry_their_meanings():
    template = (HERE / "page.html.j2").read_text(encoding="utf-8")
    words = re.findall(r"meaning_of\(['\"]([^'\"]+)['\"]\)", template)
    assert {"Objects", "Group", "Image", "Source", "Kinds", "Exposures", "Flags"} <= set(words)
    assert all(meaning_of(word) for word in words)


def test_no_word_is_explained_twice_and_none_with_marks():
    page = meanings()
    assert len(page) > 60
    assert all(text.endswith(".") and not set("`[]") & set(text) for text in page.values())


@pytest.mark.parametrize(
    ("name", "word"),
    [("n_likely_cosmic_ray", "likely cosmic ray"), ("n_gaia", "Gaia match"),
     ("n_stars", "Gaia stars"), ("astrom_err_mas", "frame error"), ("reach_mag", "half found"),
     ("depth_mag", "5-sigma depth"), ("odds", "odds of chance")],
)  # fmt: skip
def test_cards_use_the_same_words(name, word):
    assert word in meanings()
    assert WORDS[name][0].startswith(word)


def test_the_glossary_names_the_aperture_that_is_quoted():
    from astropy.table import Table

    assert "nearest to 4 px" in meaning_of("quoted aperture")
    names = [f"mag_ab_{r}" for r in (2, 4, 6, 8, 10)]
    assert quoted_radius(Table({name: [1.0] for name in names})) == "4"
