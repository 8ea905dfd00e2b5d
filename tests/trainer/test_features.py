"""Each photograph's features are its own, and are computed once."""

import numpy as np
import pytest

pytest.importorskip("tf_keras")

from facectl_runtime.image import load
from facectl_runtime.labelled import class_folders, content_hash
from facectl_runtime.spec import InputSpec, Squash
from facectl_trainer.augment import CopiesPlan, apply, copies
from facectl_trainer.data.cache import FeatureCache
from facectl_trainer.features import BATCH, ORIGINAL, Extractor
from tiny_network import full_disk

SPEC = InputSpec(8, 6, Squash())


class Means:
    """A trunk whose features are the mean colours of a picture and of its left half."""

    def __init__(self):
        self.seen = 0

    def __call__(self, pixels):
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == (6, 8, 3)
        assert len(pixels) <= BATCH
        self.seen += len(pixels)
        means = [pixels.mean(axis=(1, 2)), pixels[:, :, :4].mean(axis=(1, 2))]
        return np.concatenate(means, axis=1).astype(np.float32)


def expected(path):
    return Means()(load(path, SPEC)[None])[0]


class Work:
    """What one extraction did."""

    def __init__(self, folder, cache, changes=ORIGINAL, **more):
        self.images = class_folders(folder)
        self.hashes = {image.path: content_hash(folder / image.path) for image in self.images}
        self.trunk, self.steps = Means(), []
        rows = np.zeros((len(self.images), len(changes), 6), np.float32)
        extractor = Extractor(self.trunk, SPEC, folder, self.hashes, FeatureCache("means", cache), changes, **more)
        self.errors = extractor.extract(self.images, rows, self.steps.append)
        paths = [image.path for image in self.images]
        self.all = {path: row for path, row in zip(paths, rows, strict=True) if path not in self.errors}
        self.found = {path: vectors[0] for path, vectors in self.all.items()}
        self.seen = self.trunk.seen


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "features.sqlite"


@pytest.fixture
def folder(tmp_path, draw_classes):
    return draw_classes(tmp_path / "photos", {"red": 40, "blue": 40})


def test_every_image_gets_its_own_features(folder, cache):
    work = Work(folder, cache)
    assert set(work.found) == {image.path for image in work.images}
    assert work.errors == {}
    for path, vector in work.found.items():
        np.testing.assert_array_equal(vector, expected(folder / path))
    assert sum(work.steps) == 80


def test_of_more_than_the_cache_may_hold_the_first_are_kept(folder, cache):
    first, second = Work(folder, cache, kept=50), Work(folder, cache, kept=50)
    assert (first.seen, second.seen) == (80, 30)
    for path, vector in second.found.items():
        np.testing.assert_array_equal(vector, first.found[path])


def test_a_photograph_that_changed_since_it_was_hashed_is_an_error_and_is_not_kept(folder, cache, monkeypatch):
    class Hurried(Extractor):
        def extract(self, images, *rest):
            (folder / "red" / "00.png").write_bytes((folder / "blue" / "00.png").read_bytes())
            return super().extract(images, *rest)

    with monkeypatch.context() as patch:
        patch.setitem(globals(), "Extractor", Hurried)
        work = Work(folder, cache)
    assert list(work.errors) == ["red/00.png"]
    assert "has changed since training began" in work.errors["red/00.png"]
    assert Work(folder, cache).errors == {}


def test_the_second_time_nothing_is_computed(folder, cache):
    first, second = Work(folder, cache), Work(folder, cache)
    assert (first.seen, second.seen) == (80, 0)
    assert sum(second.steps) == 80
    assert set(second.found) == set(first.found)
    for path, vector in second.found.items():
        assert vector.tobytes() == first.found[path].tobytes()


def test_only_new_photographs_are_computed(folder, cache, draw):
    Work(folder, cache)
    draw(folder / "red" / "new.png", "red", 999)
    (folder / "blue" / "00.png").rename(folder / "blue" / "moved.png")
    work = Work(folder, cache)
    assert work.seen == 1
    np.testing.assert_array_equal(work.found["red/new.png"], expected(folder / "red" / "new.png"))
    np.testing.assert_array_equal(work.found["blue/moved.png"], expected(folder / "blue" / "moved.png"))


def test_a_photograph_that_changed_is_computed_anew(folder, cache, draw):
    before = Work(folder, cache).found["red/00.png"]
    draw(folder / "red" / "00.png", "blue", 0)
    after = Work(folder, cache).found["red/00.png"]
    assert np.abs(after - before).max() > 50
    np.testing.assert_array_equal(after, expected(folder / "red" / "00.png"))


def test_copies_are_computed_once(folder, cache):
    (folder / "red" / "copy.png").write_bytes((folder / "red" / "00.png").read_bytes())
    work = Work(folder, cache)
    assert work.seen == 80
    np.testing.assert_array_equal(work.found["red/copy.png"], work.found["red/00.png"])


def test_corrupt_images_are_listed_and_shift_no_other(folder, cache):
    broken = ["red/00.png", "red/17.png", "red/39.png", "blue/05.png"]
    for number, path in enumerate(broken):
        (folder / path).write_bytes((folder / path).read_bytes()[: 300 + number])
    for work in (Work(folder, cache), Work(folder, cache)):
        assert sorted(work.errors) == sorted(broken)
        assert all("damaged" in reason for reason in work.errors.values())
        assert len(work.found) == 76
        for path, vector in work.found.items():
            np.testing.assert_array_equal(vector, expected(folder / path))


def test_copies_of_a_corrupt_image_are_all_listed(folder, cache):
    for path in ("red/00.png", "blue/00.png", "blue/01.png"):
        (folder / path).write_bytes(b"no picture")
    assert set(Work(folder, cache).errors) == {"red/00.png", "blue/00.png", "blue/01.png"}


def test_a_whole_batch_of_corrupt_images(tmp_path, cache, draw):
    for number in range(BATCH):
        path = tmp_path / "photos" / "bad" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no picture %d" % number)
    draw(tmp_path / "photos" / "good" / "1.png", "red", 1)
    work = Work(tmp_path / "photos", cache)
    assert set(work.found) == {"good/1.png"}
    assert len(work.errors) == BATCH


def test_a_disk_that_fills_up_costs_the_cache_and_no_features(folder, cache, capsys):
    with full_disk():
        work = Work(folder, cache)
    assert len(work.found) == 80
    np.testing.assert_array_equal(work.found["red/00.png"], expected(folder / "red" / "00.png"))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "going on without it" in said
    assert Work(folder, cache).seen == 80


# Fixed changes of each image


SHIFTED = copies(CopiesPlan(shift=2, flip=True), 8)


def test_each_copy_has_features_of_its_own_in_the_order_of_the_changes(folder, cache):
    work = Work(folder, cache, SHIFTED)
    assert work.seen == 6 * 80
    assert sum(work.steps) == 80
    pixels = load(folder / "red" / "07.png", SPEC)[None]
    for vector, (name, change) in zip(work.all["red/07.png"], SHIFTED, strict=True):
        np.testing.assert_array_equal(vector, Means()(apply(pixels, change) if name else pixels)[0])
    left_half_before, left_half_flipped = work.all["red/07.png"][0][3:], work.all["red/07.png"][1][3:]
    assert not np.array_equal(left_half_before, left_half_flipped)


def test_copies_are_kept_like_any_features(folder, cache):
    first, second = Work(folder, cache, SHIFTED), Work(folder, cache, SHIFTED)
    assert second.seen == 0
    assert sum(second.steps) == 80
    for path, vectors in second.all.items():
        np.testing.assert_array_equal(vectors, first.all[path])
    assert Work(folder, cache).seen == 0  # the original is the same, with copies or without


def test_what_is_known_of_an_image_is_not_computed_again_for_its_other_copies(folder, cache):
    Work(folder, cache)
    assert Work(folder, cache, SHIFTED).seen == 5 * 80
