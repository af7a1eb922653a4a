"""Settings: every field is declared in full, and every mistake is refused with its place."""

import math
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bycatch.errors import SettingsError
from bycatch.settings import (
    PRESETS,
    DetectSettings,
    InputSettings,
    MeasureSettings,
    Settings,
    build,
    parse_assignment,
    preset_values,
    read_sidecar,
    read_toml,
    to_toml,
    unit_of,
    walk,
)

EVERY = [pytest.param(s, n, i, id=f"{s}.{n}") for s, n, i in walk()]
# Shares, contrasts and factors are pure numbers.
PURE_NUMBERS = {
    "detect.deblend_contrast",
    "detect.deblend_prominence",
    "detect.min_coverage",
    "crmask.sigfrac",
    "crmask.objlim",
    "crmask.snr_floor",
    "crmask.grow_threshold",
    "align.max_ellipticity",
    "align.max_cr_share",
    "align.min_evidence",
    "align.max_chance",
    "finalize.clean_min_snr",
    "objects.min_p_real",
    "simulate.cosmic_ray_share",
    "simulate.hot_pixel_share",
    "simulate.pixfrac",
    "inject.galaxy_share",
    "inject.sersic_index",
}


# ---------------------------------------------------------------- declarations


@pytest.mark.parametrize(("section", "name", "info"), EVERY)
def test_every_setting_says_what_it_means(section, name, info):
    assert len(info.description) > 5
    assert not info.description.endswith(".")
    assert "unit" in info.json_schema_extra


@pytest.mark.parametrize(("section", "name", "info"), EVERY)
def test_names_carry_the_unit_of_lengths_times_and_angles(section, name, info):
    unit = unit_of(info)
    for suffix, its_unit in {
        "_px": "px",
        "_s": "s",
        "_mas": "mas",
        "_deg": "deg",
        "_arcsec": "arcsec",
        "_mag": "mag",
    }.items():
        if name.endswith(suffix):
            assert unit == its_unit


@pytest.mark.parametrize(("section", "name", "info"), EVERY)
def test_every_default_is_valid_and_the_classic_one(section, name, info):
    value = getattr(getattr(Settings(), section), name)
    assert value == info.default
    section_class = Settings.model_fields[section].annotation
    assert section_class.model_validate({name: value}) == section_class()


def test_the_defaults_are_those_of_the_classic_chain():
    detect, measure = DetectSettings(), MeasureSettings()
    assert (detect.box_px, detect.n_sigma, detect.n_pixels, detect.n_pixels_single) == (
        100,
        2.0,
        75,
        150,
    )
    assert (detect.kernel_fwhm_px, detect.kernel_size_px) == (2.5, 3)
    assert (detect.deblend_n_pixels, detect.deblend_n_levels, detect.deblend_contrast) == (
        60,
        3,
        0.4,
    )
    assert (detect.coverage_box_px, detect.min_coverage) == (100, 0.98)
    assert measure.radii_px == (2, 4, 6, 8, 10)
    assert (measure.annulus_inner_px, measure.annulus_outer_px) == (10, 15)
    assert (measure.sky_clip_sigma, measure.fwhm_radius_px, measure.cr_radius_px) == (3, 5, 2)


def test_settings_are_frozen_and_refuse_unknown_names():
    with pytest.raises(ValidationError, match="frozen"):
        DetectSettings().n_pixels = 3
    with pytest.raises(ValidationError, match="n_pixel"):
        DetectSettings(n_pixel=3)
    with pytest.raises(ValidationError, match="n_pixel"):
        DetectSettings().replace(n_pixel=3)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        DetectSettings().replace(n_pixels=0)
    assert DetectSettings().replace(n_pixels=60).n_pixels == 60


# ---------------------------------------------------------------- limits


def limits(info):
    """Return the lower and upper limits of a number."""
    result_of = {}
    for rule in info.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if getattr(rule, name, None) is not None:
                result_of[name] = getattr(rule, name)
    return result_of


@pytest.mark.parametrize(("section", "name", "info"), EVERY)
def test_every_number_and_list_has_an_upper_limit_and_a_lower_one(section, name, info):
    kinds = [info]
    if typing.get_origin(info.annotation) is tuple:
        assert any(getattr(rule, "max_length", None) for rule in info.metadata)
        (inner, _) = typing.get_args(info.annotation)
        kinds = [typing.get_args(inner)[1]] if typing.get_origin(inner) is typing.Annotated else []
    elif info.annotation not in (int, float):
        return
    for kind in kinds:
        groups = limits(kind)
        assert {"ge", "gt"} & set(groups)
        assert {"le", "lt"} & set(groups)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("detect.box_px=1000000000", 10_000),
        ("detect.n_pixels=1e9", 10_000_000),
        ("detect.kernel_size_px=101", 99),
        ("detect.deblend_n_levels=1000000000", 1000),
        ("measure.radii_px=[2,1e6]", 500),
        ("measure.annulus_outer_px=501", 500),
        ("measure.n_blank=1000000000000", 1_000_000),
        ("inject.n_sources=1000000000", 1_000_000),
        ("simulate.n_columns=100000", 4096),
        ("simulate.stars_per_arcmin2=1e9", 100_000),
        ("align.gaia_max_rows=1000000000", 3_000_000),
        ("align.max_shift_arcsec=3600", 20),
        ("align.gaia_total_s=1e9", 86_400),
        ("input.exptime_s=1e9", 100_000_000),
        ("input.n_exposures=10001", 10_000),
        ("input.mjd=1e6", 100_000),
    ],
)
def test_impossible_sizes_are_refused_by_name(text, limit):
    with pytest.raises(
        SettingsError, match=rf"{text.partition('=')[0]}.* than or equal to {limit}"
    ):
        Settings.load(assignments=[text])


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("section", "changes", "what"),
    [
        ("detect", {"kernel_size_px": 4}, "must be odd"),
        ("detect", {"filter_boxes": 2}, "must be odd"),
        ("detect", {"n_sigma": 0}, "greater than or equal to 0.1"),
        ("detect", {"n_sigma": math.nan}, "n_sigma"),
        ("detect", {"n_sigma": math.inf}, "n_sigma"),
        ("detect", {"min_coverage": 1.2}, "less than or equal to 1"),
        ("detect", {"n_pixels": 7.5}, "n_pixels"),
        ("detect", {"n_pixels": "many"}, "n_pixels"),
        ("measure", {"radii_px": []}, "radii_px"),
        ("measure", {"radii_px": [4, 2]}, "must increase"),
        ("measure", {"radii_px": [2, 2]}, "must increase"),
        ("measure", {"radii_px": [2, 2.0000001]}, "same column name"),
        ("measure", {"radii_px": [0, 2]}, "greater than or equal to 0.1"),
        ("measure", {"annulus_inner_px": 15, "annulus_outer_px": 10}, "annulus"),
        ("measure", {"annulus_inner_px": 20}, "annulus"),
        ("input", {"detector": "SBC"}, "detector"),
        ("input", {"exptime_s": -1}, "exptime_s"),
        ("output", {"formats": ["ecsv", "xlsx"]}, "formats"),
        ("sort", {"mode": "steal"}, "mode"),
        ("sort", {"field": "a\nb"}, "control characters"),
        ("output", {"formats": ["fits", "c\x1bsv"]}, "control characters"),
        ("input", {"exposures_dir": "a\0b"}, "control characters"),
        ("detect", {"n_pixels": True}, "not true or false"),
        ("measure", {"radii_px": [True, 4]}, "not true or false"),
        ("detect", {"clip_sigma": 1.4}, "greater than or equal to 1.5"),
        ("measure", {"sky_clip_sigma": 1.4}, "greater than or equal to 1.5"),
        ("align", {"gaia_services": ["https://x y"] * 21}, "at most 20"),
    ],
)
def test_wrong_values_are_refused(section, changes, what):
    with pytest.raises(SettingsError, match=what):
        build(Settings, {section: changes}, where="test")


def test_every_mistake_is_named_in_one_message():
    with pytest.raises(SettingsError, match=r"(?s)n_sigma.*n_pixels"):
        build(Settings, {"detect": {"n_sigma": -1, "n_pixels": 0}}, where="test")


# ---------------------------------------------------------------- --set


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("detect.n_pixels=60", 60),
        (" detect.n_pixels = 60 ", 60),
        ("measure.radii_px=[2,4]", (2, 4)),
        ("measure.radii_px=2,4,6.5", (2, 4, 6.5)),
        ("measure.correlated_noise=false", False),
        ("input.filter=F606W", "F606W"),
        ('input.filter="F606W"', "F606W"),
        ("input.filter=", ""),
        ("input.photflam=1.278e-19", 1.278e-19),
        ("input.wht_type=ivm", "ivm"),
        ("output.formats=ecsv,fits", ("ecsv", "fits")),
        ("sort.field=my_field", "my_field"),
        ("sort.field=007", "007"),
        ("sort.field=2024", "2024"),
        ("sort.field=a=b", "a=b"),
        ("measure.radii_px=4", (4,)),
        ("output.formats=fits", ("fits",)),
    ],
)
def test_assignments(text, value):
    section, name = text.partition("=")[0].strip().split(".")
    settings = Settings.load(assignments=[text])
    assert getattr(getattr(settings, section), name) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("detect.n_pixel=60", "has no 'n_pixel'. Did you mean 'n_pixels'?"),
        ("detect.treshold=60", "has no 'treshold'"),
        ("detekt.n_pixels=60", "no section 'detekt'. Did you mean 'detect'?"),
        ("detect.radii_px=3", r"belongs to \[measure\]"),
        ("n_pixels=60", "write it as section.name=value"),
        ("detect.n_pixels", "write it as section.name=value"),
        ("detect.n_pixels=few", "n_pixels"),
        ("=", "write it as"),
        ("detect.=3", r"\[detect\] has no ''"),
        ("detect.n_pixels=1e999", "finite number"),
        ("detect.n_pixels=\uff16\uff10", "valid integer"),
        ("detect.n_pixels=" + "9" * 5000, "n_pixels"),
        ("detect.n_pixels=" + "[" * 10_000, "n_pixels"),
        ("detect.n_pixels=5\n[align]\nmin_ties=3", "control characters"),
        ("detect.n_pixels={a=1}", "valid integer"),
        ("", "write it as"),
        (".=", "there is no section ''"),
    ],
)
def test_wrong_assignments_name_the_way_out(text, message):
    with pytest.raises(SettingsError, match=message):
        Settings.load(assignments=[text])


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(max_size=20))
def test_any_assignment_is_accepted_or_refused_cleanly(text):
    refused = [""]
    for left in ("", "detect.n_pixels=", "sort.field=", "measure.radii_px="):
        try:
            Settings.load(assignments=[left + text])
        except SettingsError as err:
            refused.append(str(err))
    assert all(refused[1:])


def test_parse_assignment_gives_its_parts():
    assert parse_assignment("detect.n_sigma=2.5") == ("detect", "n_sigma", 2.5)


# ---------------------------------------------------------------- files


def written(tmp_path, text, name="my.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[detect]\nn_pixels = 60\ntreshold = 3\n", 3, "has no 'treshold'"),
        ("# mine\n\n[detect]\nn_pixel = 60\n", 4, "Did you mean 'n_pixels'"),
        ("[detect] # my values\nn_pixel = 60\n", 2, "Did you mean 'n_pixels'"),
        ("[ detect ]\nn_pixel = 60\n", 2, "Did you mean 'n_pixels'"),
        ("[measure]\nbox_px = 3\n", 2, r"belongs to \[detect\]"),
        ("[detect]\nbox_px = 90\n[measure]\nbox_px = 3\n", 4, r"belongs to \[detect\]"),
        ("\n[detec]\nn_pixels = 60\n", 2, "no section 'detec'. Did you mean 'detect'"),
        ("detect.n_pixel = 60\n", 1, "Did you mean 'n_pixels'"),
        ("\n\ndetect.n_pixel = 60\n", 3, "Did you mean 'n_pixels'"),
        ('[detect]\n"n_pixel" = 60\n', 2, "Did you mean 'n_pixels'"),
        ("\ndetect = 3\n", 2, r"is a section: write \[detect\]"),
        ("\nn_pixels = 60\n", 2, "n_pixels"),
    ],
)
def test_files_with_wrong_names_are_refused_with_the_line(tmp_path, text, line, message):
    path = written(tmp_path, text)
    with pytest.raises(SettingsError, match=message) as excinfo:
        read_toml(path)
    assert f"{path}:{line}:" in str(excinfo.value)


def test_a_setting_without_its_section_gets_a_hint(tmp_path):
    with pytest.raises(SettingsError, match=r"'n_pixels' belongs to \[detect\]"):
        read_toml(written(tmp_path, "n_pixels = 60\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[detect\nn_pixels = 3", "not valid TOML"),
        (b"[detect]\nn_pixels = 3\nn_pixels = 4\n", "not valid TOML"),
        (b"\xff\xfe\x00", "can't be read"),
        (b"[detect]\nn_pixels = 'x'\n", "detect.n_pixels"),
    ],
)
def test_files_with_other_mistakes_are_refused(tmp_path, content, message):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=message) as excinfo:
        Settings.load(config=path)
    assert str(path) in str(excinfo.value)


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="can't be read"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="can't be read"):
        read_toml(tmp_path)


def test_empty_files_change_nothing(tmp_path):
    assert Settings.load(config=written(tmp_path, "# nothing\n[detect]\n")) == Settings()


def test_later_sources_win(tmp_path):
    path = written(tmp_path, "[detect]\nn_pixels = 20\nn_sigma = 4.0\n")
    settings = Settings.load(config=path, assignments=["detect.n_sigma=5"], preset="deep")
    assert settings.detect.n_pixels == 20
    assert settings.detect.n_sigma == 5
    assert settings.detect.deblend_n_levels == PRESETS["deep"]["detect"]["deblend_n_levels"]
    again = Settings.load(assignments=["detect.n_pixels=3", "detect.n_pixels=4"])
    assert again.detect.n_pixels == 4


# ---------------------------------------------------------------- presets


def test_presets_are_valid_and_classic_is_the_default():
    for name, sections in PRESETS.items():
        settings = Settings.load(preset=name)
        for section, values in sections.items():
            for key, value in values.items():
                assert getattr(getattr(settings, section), key) == value
    assert Settings.load(preset="classic") == Settings()
    assert Settings.load(preset="deep") != Settings()


def test_a_named_preset_takes_back_the_other_one_but_not_the_users_values():
    deep = PRESETS["deep"]
    base = {"detect": {**deep["detect"], "n_sigma": 4.0}}
    before = {"detect": dict(base["detect"])}
    settings = Settings.load(preset="classic", base=base)
    assert settings == Settings.load(assignments=["detect.n_sigma=4.0"])
    assert base == before
    assert Settings.load(base=base).detect.n_pixels == deep["detect"]["n_pixels"]


def test_unknown_presets_are_refused():
    with pytest.raises(SettingsError, match="Did you mean 'classic'"):
        preset_values("clasic")


def test_loading_does_not_change_the_presets():
    Settings.load(preset="deep", assignments=["detect.n_pixels=3"])
    assert Settings.load(preset="deep").detect.n_pixels != 3


# ---------------------------------------------------------------- sidecars


def test_sidecars_hold_input_settings_with_or_without_section(tmp_path):
    plain = read_sidecar(written(tmp_path, "filter = 'F606W'\nexptime_s = 60\n"))
    section = read_sidecar(written(tmp_path, "[input]\nfilter = 'F606W'\nexptime_s = 60\n"))
    assert plain == section == {"filter": "F606W", "exptime_s": 60}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filtre = 'F606W'\n", "Did you mean 'filter'"),
        ("exptime_s = -3\n", "exptime_s"),
        ("exptime_s = \n", "not valid TOML"),
        ("input = 3\n", "input"),
        ("[detect]\nn_pixels = 3\n", "detect"),
        ("[input]\nfilter = 'F606W'\n[detect]\nn_pixels = 3\n", "detect"),
    ],
)
def test_wrong_sidecars_are_refused(tmp_path, text, message):
    path = written(tmp_path, text, "x.bycatch.toml")
    with pytest.raises(SettingsError, match=message) as excinfo:
        read_sidecar(path)
    assert str(path) in str(excinfo.value)


# ---------------------------------------------------------------- writing, digests


def changed_settings():
    return Settings.load(
        assignments=[
            "detect.n_pixels=60",
            "measure.radii_px=[2.5, 3]",
            "sort.field='a \"b\" c'",
            "input.photflam=1.278e-19",
            "finalize.annulus_correction=false",
            "output.formats=[]",
            "input.filter=F606W",
        ]
    )


@pytest.mark.parametrize("settings", [Settings(), changed_settings()], ids=["default", "changed"])
def test_toml_round_trip(tmp_path, settings):
    path = written(tmp_path, to_toml(settings))
    assert Settings.load(config=path) == settings


def test_the_template_explains_every_setting():
    text = to_toml(Settings())
    for _, name, info in walk():
        assert f"{name} = " in text
        assert info.description in text
        if unit_of(info):
            assert f"[{unit_of(info)}]" in text
    assert '"link", "copy", "move"' in text


def another_value(kind, name, info):
    value = info.default
    if isinstance(value, bool):
        candidates = [not value]
    elif isinstance(value, int | float):
        candidates = [value + 2, value + 1, value / 2, 0.05]
    elif isinstance(value, str):
        candidates = [*typing.get_args(info.annotation), "x", "abc", "99"]
    else:
        candidates = [value[:-1], (*value, value[-1]), ("fits",)]
    for other in candidates:
        try:
            if other != value and kind().replace(**{name: other}):
                return other
        except ValidationError:
            pass
    pytest.fail(f"no other value of {name} is valid")


@pytest.mark.parametrize(("section", "name", "info"), EVERY)
def test_the_digest_changes_with_every_value_that_matters(section, name, info):
    kind = Settings.model_fields[section].annotation
    changed = kind().replace(**{name: another_value(kind, name, info)})
    assert (changed.digest() == kind().digest()) == (name in kind.NOT_IN_DIGEST)
    assert len(kind().digest()) == 16
    assert kind().digest() == kind.model_validate({}).digest()


def test_int_and_float_of_one_value_have_one_digest():
    assert DetectSettings(n_sigma=2).digest() == DetectSettings(n_sigma=2.0).digest()


def test_input_settings_leave_everything_to_the_headers_by_default():
    stated = InputSettings().model_dump(exclude={"verify"})  # is no word on what a header says
    assert not any(stated.values())
    assert InputSettings().verify


def test_pure_numbers_are_the_only_floats_without_a_unit():
    floats = {f"{s}.{n}" for s, n, i in walk() if isinstance(i.default, float) and not unit_of(i)}
    assert floats <= PURE_NUMBERS


def test_paths_may_be_given_as_path(tmp_path):
    assert isinstance(tmp_path, Path)
    assert Settings.load(config=Path(written(tmp_path, "")), preset=None) == Settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[detect]\nn_pixels = " + "[" * 10_000 + "]" * 10_000, "nested too deeply"),
        ("[detect]\nn_pixels = " + "9" * 5000, "4300 digits"),
        ("#" * 1_000_001, "more than 1000000 bytes"),
        ("[[detect]]\nn_pixels = 5\n", "'detect' is a section"),
        ("[detect.n_pixels]\na = 1\n", "valid integer"),
    ],
    ids=["deep", "digits", "huge", "a list of sections", "a section in a section"],
)
def test_monsters_are_refused_with_their_file(tmp_path, content, message):
    file = tmp_path / "monster.toml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=rf"monster\.toml.*{message}"):
        read_toml(file)


def test_a_device_is_no_endless_file():
    with pytest.raises(SettingsError, match="more than 1000000 bytes"):
        read_toml(Path("/dev/zero"))


def test_a_sidecar_is_a_file(tmp_path):
    with pytest.raises(SettingsError, match="not a file"):
        read_sidecar(tmp_path)


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf[detect]\nn_pixels = 60\n")
    assert read_toml(tmp_path / "a.toml") == {"detect": {"n_pixels": 60}}


def test_capitals_of_a_choice_do_not_matter():
    words = ["input.bunit=ELECTRONS/S", "input.detector=hrc", "sort.mode=Copy"]
    settings = Settings.load(assignments=words)
    assert (settings.input.bunit, settings.input.detector) == ("electrons/s", "HRC")
    assert settings.sort.mode == "copy"
    with pytest.raises(SettingsError, match="'electrons/s' or 'electrons'"):
        Settings.load(assignments=["input.bunit=cps"])
