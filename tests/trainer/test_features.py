"""Each photograph's features are its own, and are computed once."""

import numpy as np
import pytest

from facectl_runtime.image import load
from facectl_runtime.labelled import class_folders, content_hash
from facectl_runtime.spec import InputSpec, Squash
from facectl_trainer.data.cache import FeatureCache
from facectl_trainer.features import BATCH, extract

SPEC = InputSpec(8, 6, Squash())


class Means:
    """A backbone whose features are the mean colours of a picture and of its left half."""

    def __init__(self):
        self.seen = 0

    def predict_on_batch(self, pixels):
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == (6, 8, 3)
        assert len(pixels) <= BATCH
        self.seen += len(pixels)
        means = [pixels.mean(axis=(1, 2)), pixels[:, :, :4].mean(axis=(1, 2))]
        return np.concatenate(means, axis=1).astype(np.float32)


def expected(path):
    return Means().predict_on_batch(load(path, SPEC)[None])[0]


class Work:
    """What one extraction did."""

    def __init__(self, folder, cache):
        self.images = class_folders(folder)
        self.hashes = {image.path: content_hash(folder / image.path) for image in self.images}
        self.built, self.steps = [], []

        def build():
            self.built.append(Means())
            return self.built[-1]

        self.found, self.errors = extract(
            build, SPEC, folder, self.images, self.hashes, FeatureCache("means", cache), self.steps.append
        )

    @property
    def seen(self):
        return sum(backbone.seen for backbone in self.built)


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


def test_the_second_time_no_backbone_is_built(folder, cache):
    first, second = Work(folder, cache), Work(folder, cache)
    assert (len(first.built), len(second.built)) == (1, 0)
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
