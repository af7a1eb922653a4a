"""Losses of charge transfer show in the trails that they leave."""

import numpy as np
import pytest

from bycatch.images.drc import read_drc
from bycatch.settings import Settings, SimulateSettings
from bycatch.simulate import simulate_visit, write_visit
from bycatch.stages import detect, measure
from bycatch.stages.measure import transfer


def searched(folder, **changes):
    """A single exposure of a small frame, and its detections."""
    settings = SimulateSettings(
        filters=("F606W",), n_exposures=(1,), stars_per_arcmin2=300.0, seed=3, **changes
    )
    image = read_drc(write_visit(simulate_visit(settings), folder).images[0])
    return image, detect.run(image, Settings.load(preset="deep").detect)


def transfer_in(image, detection):
    """The loss that all its detections show."""
    columns = (np.asarray(detection.sources[name], float) for name in ("x", "y", "flux"))
    return transfer.transfer_of(image, detection.segmentation, *columns)


def test_a_loss_is_reported_and_none_is_not(tmp_path):
    lossy, plain = (
        transfer_in(*searched(tmp_path / str(loss), cte_loss_percent=loss)) for loss in (10.0, 0.0)
    )
    assert lossy.loss_percent == pytest.approx(10.0, abs=3.5 * lossy.err_percent)
    assert "charge transfer" in " ".join(lossy.warnings())
    assert abs(plain.loss_percent) < 3.5 * plain.err_percent
    assert not plain.warnings()
    assert plain.summary()["cte_n_sources"] > transfer.LEAST_ROWS


def test_knots_of_a_nebula_have_no_say(tmp_path):
    image, detection = searched(tmp_path, nebula_percent=60.0)
    x, y, ids = (np.asarray(detection.sources[name]) for name in ("x", "y", "id"))
    result = measure.run(
        image, measure.Targets(x, y, ids), pixels=measure.Pixels(None, detection.segmentation)
    )
    every = transfer_in(image, detection).summary()["cte_n_sources"]
    assert result.transfer.summary()["cte_n_sources"] < 0.5 * every


def test_without_segments_or_with_few_sources_nothing_is_measured(as_image):
    image = as_image(np.random.default_rng(1).normal(0, 0.01, (200, 200)))
    nothing = np.zeros(0)
    for segmentation in (None, np.zeros((200, 200), np.int32)):
        result = transfer.transfer_of(image, segmentation, nothing, nothing, nothing)
        assert np.isnan(result.loss_percent)
        assert result.summary()["cte_loss_percent"] is None
        assert not result.warnings()


@pytest.mark.parametrize(
    ("loss", "error", "says"), [(9.0, 1.9, True), (9.0, 2.1, False), (1.9, 0.1, False)]
)
def test_a_loss_has_to_be_large_and_certain(loss, error, says):
    assert bool(transfer.Transfer(loss, error, 100, False).warnings()) == says


def test_a_late_drz_is_named():
    assert "drz" in transfer.Transfer(np.nan, np.nan, 0, True).warnings()[0]
