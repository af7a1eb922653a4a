"""The figure of an alignment: what it shows, and that it can be made of anything."""

import io

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from bycatch.figures.alignment import MANY, FigureImage, alignment_figure
from bycatch.figures.style import COLOURS
from bycatch.tangent import sky_of_tangent


def image(filter_name="F775W", n=12, grade="A", *, seed=1, ra=36.92, dec=-8.47, **changes):
    """Return an image of 200 x 200 arcsec with residuals of 3 mas."""
    rng = np.random.default_rng(seed)
    corners = np.array([[-1e5, -1e5], [1e5, -1e5], [1e5, 1e5], [-1e5, 1e5]])
    stars = sky_of_tangent(rng.uniform(-9e4, 9e4, (n, 2)), ra, dec)
    values = {
        "filter": filter_name,
        "grade": grade,
        "reason": "as it should be",
        "n_stars": n,
        "odds": 1e-8 if n else np.nan,
        "error_mas": 1.5,
        "corners_deg": np.column_stack(sky_of_tangent(corners, ra, dec)),
        "ra_deg": stars[0],
        "dec_deg": stars[1],
        "dra_mas": rng.normal(0, 3, n),
        "ddec_mas": rng.normal(0, 3, n),
        "error_pair_mas": np.full(n, 3.0),
        "weight": np.ones(n),
        "mag": np.linspace(18, 21, n),
    }
    return FigureImage(**values | changes)


def texts(figure):
    """Return all that is written in a figure."""
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


def png(figure):
    """Draw a figure; return its bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=40, metadata={"Software": None})
    return stream.getvalue()


def test_it_names_field_grades_stars_odds_and_rms():
    figure = alignment_figure("jabc_01", [image("F475W", 3, "B"), image("F775W", 20, seed=2)])
    words = texts(figure)
    for part in ("jabc_01", "grades BA", "Gaia: 20 stars", "odds of chance 1e-08"):
        assert part in words
    assert "F475W  grade B, 3 stars, rms" in words
    assert png(figure).startswith(b"\x89PNG")


def test_a_field_without_pairs_says_why():
    figure = alignment_figure(
        "jabc_01",
        [
            image("F475W", 0, "E", reason="2 pairs may be chance"),
            image("F775W", 0, "F", reason="no detections"),
        ],
    )
    words = texts(figure)
    assert "2 pairs may be chance" in words
    assert "no detections" in words
    assert "grades EF" in words
    assert png(figure)


@pytest.mark.parametrize(
    "images",
    [
        [],
        [image(n=1, grade="D")],
        [image(n=2, mag=np.array([np.nan, np.nan]))],
        [image(n=5, dra_mas=np.zeros(5), ddec_mas=np.zeros(5))],
        [image(n=4, weight=np.zeros(4))],
        [image(n=4, weight=np.array([1, 1, 0.1, 1]))],
        [image(n=MANY + 50, seed=3)],
        [image(f"F{k}W", seed=k) for k in range(100, 112)],
        [image(ra=359.99), image("F475W", ra=0.005)],
        [image(dec=89.99)],
    ],
    ids=["none", "one star", "no mags", "perfect", "all outliers", "an outlier", "crowd",
         "many filters", "at 0 h", "at the pole"],
)  # fmt: skip
def test_it_can_be_made_of_anything(images):
    assert png(alignment_figure("field", images))


def test_the_same_numbers_give_the_same_picture():
    first, second = (png(alignment_figure("field", [image(), image("F475W")])) for _ in range(2))
    assert first == second


def test_images_in_one_filter_share_a_colour_and_differ_in_shape():
    figure = alignment_figure("field", [image("F475W"), image("F475W", seed=2), image("F775W")])
    handles = figure.legends[0].legend_handles
    assert [h.get_color() for h in handles] == [COLOURS[0], COLOURS[0], COLOURS[1]]
    assert len({h.get_marker() for h in handles}) == 3


def test_east_is_left_and_north_is_up():
    sky = alignment_figure("field", [image()]).axes[0]
    assert sky.get_xlim()[0] > sky.get_xlim()[1]
    assert sky.get_ylim()[0] < sky.get_ylim()[1]


def test_pyplot_is_left_alone():
    import sys

    before = "matplotlib.pyplot" in sys.modules
    alignment_figure("field", [image()])
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_rms_is_weighted_per_axis():
    picture = image(n=3, dra_mas=np.array([3.0, -3, 900]), ddec_mas=np.array([3.0, 3, 900]),
                  weight=np.array([1.0, 1, 0]))  # fmt: skip
    assert picture.rms_mas == pytest.approx(3.0)
    assert np.isnan(image(n=0).rms_mas)
