"""Near duplicates: what shows the same is found however it was changed, and what does not is left apart."""

import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from facectl_trainer.data.check import perceptual
from facectl_trainer.data.check.align import common_details, likeness
from facectl_trainer.data.check.near import LEAST, near_duplicates, nearest
from facectl_trainer.data.check.perceptual import SIDE, Index, hashes, is_near, mirrored, thumbnail, views
from facectl_trainer.data.check.scan import close_up
from facectl_trainer.data.groups import Groups
from soft_pictures import picture

COUNT = 16
seeds = st.integers(0, 2**32 - 1)


def small(*pictures):
    return np.stack([thumbnail(picture.convert("L")) for picture in pictures])


def near(pictures, groups, advance=lambda _: None):
    """Find near duplicates among pictures, of which a closer look is taken as at files."""
    pictures = list(pictures)
    thumbnails = small(*pictures) if pictures else np.empty((0, SIDE, SIDE), np.uint8)
    return near_duplicates(thumbnails, groups, lambda number: close_up(pictures[number].convert("L")), advance)


def nearest_of(picture, others):
    thumbnails = small(*others) if others else np.empty((0, SIDE, SIDE), np.uint8)
    grey = picture.convert("L")
    closer = lambda number: close_up(others[number].convert("L"))  # noqa: E731
    return nearest(thumbnail(grey), close_up(grey), thumbnails, closer)


def jpeg(image, quality=50):
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def crop(image, share=0.05, left=0.5, top=0.5):
    """Cut this share off each side's length, so much of it at the left and at the top."""
    width, height = image.size
    x, y = share * left * width, share * top * height
    return image.crop((round(x), round(y), round(x + width * (1 - share)), round(y + height * (1 - share))))


CHANGES = {
    "a JPEG of quality 50": jpeg,
    "resized to 60 %": lambda image: image.resize((image.width * 3 // 5, image.height * 3 // 5)),
    "cropped by 5 % all around": crop,
    "cropped by 5 % at the left and the top": lambda image: crop(image, left=1, top=1),
    "cropped by 5 % at one side": lambda image: crop(image, left=0.2, top=0.8),
    "cropped by 10 %": lambda image: crop(image, 0.1),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "of less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "softened": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "mirrored": ImageOps.mirror,
    "a crop of a mirrored one": lambda image: crop(ImageOps.mirror(image), left=0, top=1),
    "mirrored, small and a poor JPEG": lambda image: jpeg(ImageOps.mirror(image).resize((160, 120)), 30),
}


@pytest.fixture(scope="module")
def originals():
    return [picture(seed, (320, 240)) for seed in range(COUNT)]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found_beside_its_original_and_no_other(originals, change):
    changed = [CHANGES[change](image) for image in originals]
    groups = Groups(2 * COUNT)
    pairs = near([*originals, *changed], groups)
    assert [groups.of(number) for number in range(2 * COUNT)] == [*range(COUNT), *range(COUNT)]
    assert {(pair.first, pair.second) for pair in pairs} == {(number, COUNT + number) for number in range(COUNT)}
    assert all(LEAST <= pair.likeness <= 1 for pair in pairs)
    assert {pair.mirrored for pair in pairs} == {"mirrored" in change}


@pytest.mark.parametrize("change", CHANGES)
def test_the_nearest_of_many_is_the_one_that_was_changed(originals, change):
    others = [CHANGES[change](image) for image in originals[:4]]
    for number in range(4):
        assert nearest_of(others[number], originals) == number
        assert nearest_of(originals[number], others) == number  # whichever of the two is the crop


def test_the_nearest_is_the_most_like_of_those_that_are_near(originals):
    some = [jpeg(crop(originals[3], 0.1), 20), originals[5], originals[3], originals[4]]
    assert nearest_of(jpeg(originals[3], 90), some) == 2
    assert nearest_of(some[1], [some[0], *some[2:]]) is None


def test_unrelated_pictures_are_left_apart():
    many = [picture(seed, (96, 96)) for seed in range(1000, 1150)]
    groups = Groups(len(many))
    assert near(many, groups) == []
    assert [groups.of(number) for number in range(len(many))] == list(range(len(many)))


def test_all_of_a_family_come_into_one_group_whatever_their_order(originals):
    pictures = [*originals[:4], *(change(originals[0]) for change in CHANGES.values())]
    order = np.random.default_rng(5).permutation(len(pictures))
    groups = Groups(len(pictures))
    near((pictures[place] for place in order), groups)
    group = {int(place): groups.of(number) for number, place in enumerate(order)}
    assert len({group[place] for place in (0, *range(4, len(pictures)))}) == 1
    assert len({group[place] for place in range(4)}) == 4


def test_copies_are_not_compared(originals):
    many = [*originals[:3], *originals[:3], jpeg(originals[2])]
    groups = Groups(7)
    for number in range(3):
        groups.join(number, number + 3)
    pairs = near(many, groups)
    assert {frozenset((pair.first % 3, pair.second)) for pair in pairs} == {frozenset((2, 6))}
    assert [groups.of(number) for number in range(7)] == [0, 1, 2, 0, 1, 2, 2]


def test_blank_pictures_are_like_no_photograph(originals):
    blank = [Image.new("RGB", (100, 80), (shade, shade, shade)) for shade in (0, 90, 255)]
    groups = Groups(3 + COUNT)
    pairs = near([*blank, *originals], groups)
    assert all(pair.second < 3 for pair in pairs)
    assert [groups.of(number) for number in range(3, 3 + COUNT)] == list(range(3, 3 + COUNT))
    assert nearest_of(blank[1], originals) is None
    assert nearest_of(originals[0], blank) is None


@pytest.mark.parametrize("cores", [1, 3, 64])
def test_a_pair_is_found_on_however_many_cores(originals, monkeypatch, cores):
    monkeypatch.setattr("facectl_trainer.data.check.near.usable_cores", lambda: cores)
    groups = Groups(4)
    near([*originals[:2], *map(jpeg, originals[:2])], groups)
    assert [groups.of(number) for number in range(4)] == [0, 1, 0, 1]


def test_there_may_be_none_or_one(originals):
    assert near([], Groups(0)) == []
    assert near(originals[:1], Groups(1)) == []
    assert nearest_of(originals[0], []) is None


def test_every_picture_is_told_to_whoever_shows_the_progress(originals):
    told = []
    near(originals, Groups(COUNT), told.append)
    assert sum(told) == COUNT


def test_a_picture_is_wholly_like_itself_in_any_light_and_little_like_another(originals):
    own = small(*originals)
    dark = np.uint8(own * 0.5 + 20)
    assert likeness(own, own).min() > 0.999
    assert likeness(own, dark).min() > 0.99
    assert likeness(own, np.roll(own, 1, axis=0)).max() < LEAST
    assert likeness(own, 255 - own).max() <= 1
    alike = likeness(own, small(*map(crop, originals)))
    assert likeness(small(*map(crop, originals)), own) == pytest.approx(alike, abs=1e-3)  # in either order


def test_pictures_that_are_alike_by_their_light_alone_have_other_details():
    dice = np.random.default_rng(0)
    light = np.add.outer(np.linspace(0, 150, 64), np.linspace(0, 60, 64))
    one, other = (np.uint8(light + dice.normal(0, 12, (64, 64)).clip(-40, 40) + 40)[None] for _ in range(2))
    assert likeness(one, other)[0] > 0.9
    assert common_details(one, other)[0] < 0.5
    assert common_details(one, np.uint8(one * 0.6 + 30))[0] > 0.95
    assert common_details(np.full((1, 64, 64), 9, np.uint8), np.full((1, 64, 64), 200, np.uint8))[0] > 0.99


def test_thousands_of_pictures_that_are_all_alike_take_neither_long_nor_much_memory():
    dice = np.random.default_rng(0)
    frame = np.asarray(close_up(picture(0, (320, 240)).convert("L")))
    thumbnails = np.asarray(thumbnail(picture(0, (320, 240)).convert("L")))
    many = np.uint8((thumbnails + dice.normal(0, 1.5, (1500, SIDE, SIDE))).clip(0, 255))
    groups = Groups(len(many))
    tracemalloc.start()
    near_duplicates(many, groups, lambda _: frame, lambda _: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(groups.all().tolist()) == {0}
    assert peak < 300e6  # every pair at once would be 47 million of them


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_the_hash_of_a_mirrored_picture_is_told_from_that_of_the_picture(seed):
    one = small(picture(seed, (64, 64)))
    turned = one[:, :, ::-1]
    assert is_near(mirrored(hashes(one)), hashes(turned)).all()
    assert not is_near(hashes(one), hashes(turned)).any()
    assert (mirrored(mirrored(hashes(one))) == hashes(one)).all()


@settings(max_examples=30, deadline=None)
@given(seed=seeds, gain=st.floats(0.5, 1), offset=st.integers(0, 60))
def test_light_changes_few_bits_of_a_hash(seed, gain, offset):
    one = small(picture(seed, (64, 64)))
    assert is_near(hashes(one), hashes(np.uint8(np.clip(one * gain + offset, 0, 255)))).all()
    assert (views(one)[0] == hashes(one)).all()


@settings(max_examples=25, deadline=None)
@given(seed=seeds, n=st.integers(0, 40), count=st.integers(1, 3), together=st.integers(1, 50))
def test_candidates_are_all_pairs_of_few_differing_bits(seed, n, count, together):
    dice = np.random.default_rng(seed)
    kept = dice.integers(0, 2**64 - 1, 4, np.uint64)  # hashes near to one of four, so that many are near to each other
    flips = [sum(1 << int(bit) for bit in dice.choice(64, 5, replace=False)) for _ in range(n * count + n)]
    some = dice.choice(kept, n * count + n) ^ np.array(flips, np.uint64)
    of, seen_as = some[:n], some[n:].reshape(count, n)
    group = dice.integers(0, max(1, n // 2), n)
    expected = {
        (min(i, j), max(i, j))
        for i in range(n)
        for j in range(n)
        if group[i] != group[j] and any((int(of[i]) ^ int(view[j])).bit_count() <= 8 for view in seen_as)
    }
    told: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(perceptual, "_TOGETHER", together)  # in as many pieces as there may be
        patch.setattr(perceptual, "_AT_ONCE", together)
        batches = list(Index(seen_as).candidates(of, lambda: group, told.append))
    assert {(int(i), int(j)) for first, second in batches for i, j in zip(first, second, strict=True)} == expected
    assert sum(told) == n


@given(data=st.data(), n=st.integers(1, 30))
def test_groups_are_what_joins_lead_to(data, n):
    number = st.integers(0, n - 1)
    joins = data.draw(st.lists(st.tuples(number, number), max_size=40))
    groups, expected = Groups(n), [{each} for each in range(n)]
    for first, second in joins:
        groups.join(first, second)
        together = expected[first] | expected[second]
        for each in together:
            expected[each] = together
    assert [groups.of(each) for each in range(n)] == [min(some) for some in expected]
    assert groups.all().tolist() == [min(some) for some in expected]
