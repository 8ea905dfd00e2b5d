"""A threshold in the spec of a Core ML package."""

import shutil

from facectl_runtime.coreml_metadata import graph_digest
from facectl_runtime.engines import format_of
from facectl_runtime.labelled import content_hash
from facectl_runtime.sums import SUMS, read_sums, written
from facectl_runtime.threshold.calibrated import Calibrated
from facectl_runtime.threshold.sign import sign

FOUND = Calibrated(
    value=0.75, score="margin", far_asked=0.1, far=0.09, far_interval=(0.05, 0.2), far_count=100, false_accepts=9,
    frr=0.02, frr_interval=(0.0, 0.1), frr_count=50, false_rejects=1, folds=3, groups=6,
)  # fmt: skip


def test_it_is_kept_with_the_sums_and_verify_still_passes(package, facectl, tmp_path):
    copy = tmp_path / "colours.mlpackage"
    shutil.copytree(package, copy)
    names = [str(path.relative_to(tmp_path)) for path in sorted(copy.rglob("*")) if path.is_file()]
    (tmp_path / SUMS).write_text(written({name: content_hash(tmp_path / name) for name in names}))
    before, digest = format_of(copy).read_spec(copy), graph_digest(copy)
    sign(copy, FOUND)
    after = format_of(copy).read_spec(copy)
    assert (before.threshold, after.threshold) == (None, FOUND.threshold())
    assert graph_digest(copy) == digest == after.graph_sha256
    assert facectl("verify", copy).code == 0
    assert "margin 0.750" in facectl("inspect", copy).out
    assert read_sums(tmp_path / SUMS) == {name: content_hash(tmp_path / name) for name in names}
    assert sorted(path.name for path in tmp_path.iterdir()) == [SUMS, "colours.mlpackage"]
