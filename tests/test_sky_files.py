"""Background and noise on disk: what is read gives the maps that detection had."""

from types import SimpleNamespace

import numpy as np
import pytest

from bycatch.errors import UnreadableFile
from bycatch.pipeline.provenance import plain_settings
from bycatch.pipeline.sky_files import read_sky, sky_hdus
from bycatch.pipeline.workbench import Workbench
from bycatch.products import StageRecord
from bycatch.settings import DetectSettings, Settings
from bycatch.stages import detect


def image_of(as_image, *, nebula):
    """Return an image of two depths, with or without light that changes within boxes."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:420, :440]
    sci = rng.normal(0.02, 0.01, x.shape)
    if nebula:
        waves = np.sin(x / 24.0) * np.sin(y / 24.0)
        sci += 0.2 * np.where((x > 150) & (y > 150), np.maximum(waves, 0.0), 0.0)
    image = as_image(sci.astype(np.float32))
    image.exptime_map_s.flags.writeable = True
    image.exptime_map_s[:, 200:] *= 0.5
    return image


@pytest.mark.parametrize("nebula", [False, True])
def test_maps_from_the_file_are_the_same(as_image, tmp_path, nebula):
    image, path = image_of(as_image, nebula=nebula), tmp_path / "a_sky.fits"
    sky = detect.sky_of(image, DetectSettings(background="fine" if nebula else "auto"))
    assert (sky.model.structure is not None) == nebula
    sky_hdus(sky.model).writeto(path)
    again = read_sky(path).on(image)
    np.testing.assert_array_equal(again.background, sky.background)
    np.testing.assert_array_equal(again.noise, sky.noise)
    assert (again.box_px, again.n_oversubtracted) == (sky.box_px, sky.n_oversubtracted)
    assert sky.box_px == (16 if nebula else 100)
    assert path.stat().st_size < 50_000


def test_another_file_is_not_a_sky(as_image, tmp_path):
    path = tmp_path / "a_sky.fits"
    hdus = sky_hdus(detect.sky_of(image_of(as_image, nebula=False), DetectSettings()).model)
    del hdus[1].header["BOXX"]
    hdus.writeto(path)
    with pytest.raises(UnreadableFile, match="not the sky of an image"):
        read_sky(path)


def test_the_sky_is_measured_again_only_with_other_settings(as_image, tmp_path, monkeypatch):
    image, settings = image_of(as_image, nebula=False), Settings()
    path = tmp_path / "a_sky.fits"
    sky = detect.sky_of(image, settings.detect)
    sky_hdus(sky.model).writeto(path)
    made = StageRecord("key", {}, 1.0, {}, plain_settings(settings, "detect"))
    record = SimpleNamespace(stages={"detect": made}, has_whole=lambda file: file == path)
    job, paths = SimpleNamespace(settings=settings), SimpleNamespace(sky=path)
    bench = SimpleNamespace(record=record, job=job, paths=paths, image=image)
    calls = []
    monkeypatch.setattr(detect.sky, "sky_of", lambda *args: calls.append(args) or sky)
    deeper = settings.detect.replace(n_sigma=1.0)
    np.testing.assert_array_equal(Workbench.sky(bench, deeper).noise, sky.noise)
    assert not calls
    Workbench.sky(bench, settings.detect.replace(box_px=64))
    assert len(calls) == 1
    path.unlink()
    record.has_whole = lambda _: False
    Workbench.sky(bench, settings.detect)
    assert len(calls) == 2
