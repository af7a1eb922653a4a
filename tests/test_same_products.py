"""The comparison of output folders, with which the runs that were killed are judged."""

import gzip

import pytest

from bycatch.testing.same_products import damaged_products, differences, leftovers


def first(out, pattern):
    return min(out.rglob(pattern))


@pytest.fixture
def again(visit, bycatch, finished):
    """The output folder of another run on the same images, under another name."""
    out = finished.with_name("again")
    if not out.exists():
        assert bycatch("run", visit.raw, "-o", out, "--gaia", visit.gaia).status == 0
    return out


def test_two_runs_are_the_same(finished, again):
    assert differences(finished, again) == []
    assert damaged_products(again) == []
    assert leftovers(again) == []
    catalog = first(again, "*_cat.ecsv").relative_to(again)
    assert (finished / catalog).read_bytes() != (again / catalog).read_bytes()  # their DATEs


@pytest.mark.parametrize("kind", ["_cat.ecsv", "_wcs.fits", "_segm.fits.gz", ".mask.fits"])
def test_one_byte_of_a_product_is_a_difference_and_damage(finished, done, kind):
    path = first(done, f"*{kind}")
    content = path.read_bytes()
    plain = gzip.decompress(content) if kind.endswith("gz") else content
    changed = plain[:-1] + bytes([plain[-1] ^ 1])
    path.write_bytes(gzip.compress(changed) if kind.endswith("gz") else changed)
    name = path.relative_to(done)
    assert differences(finished, done) == [f"{name}: differs"]
    assert damaged_products(done) == [f"{name}: not what was made"]


def test_so_is_a_file_too_few_or_too_many(finished, done):
    path = first(done, "*_phot.ecsv")
    path.rename(path.with_name("other.ecsv"))
    name = path.relative_to(done)
    assert differences(finished, done) == [
        f"{name}: only in {finished}",
        f"{name.with_name('other.ecsv')}: only in {done}",
    ]
    assert damaged_products(done) == [f"{name}: missing"]


def test_so_is_a_value_of_a_state_and_another_target_of_a_link(finished, done):
    states = [path for path in sorted(done.glob("*/**/*.json")) if "n_sources" in path.read_text()]
    states[0].write_text(states[0].read_text().replace('"n_sources":', '"n_sources_":'))
    summary = done / "summary.json"
    summary.write_text(summary.read_text().replace('"done"', '"lost"'))
    link = next(path for path in sorted(done.rglob("*")) if path.is_symlink())
    link.unlink()
    link.symlink_to("elsewhere")
    changed = [summary, states[0], link]
    names = sorted(str(path.relative_to(done)) for path in changed)
    assert differences(finished, done) == [f"{name}: differs" for name in names]


def test_drafts_and_locks_are_left_over(done):
    (first(done, "*.mask.fits").parent / ".part-x").mkdir()
    (done / ".lock").write_text("")
    assert [name.rpartition("/")[2] for name in leftovers(done)] == [".lock", ".part-x"]
