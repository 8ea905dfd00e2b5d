"""A second implementation, in float64 from docs/preprocessing.md alone, against the first and against the vectors."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facectl_runtime import image
from facectl_runtime.spec import CenterCrop, FaceAlign, InputSpec, Letterbox, Squash

VECTORS = Path(__file__).parents[2] / "docs" / "vectors"
CASES: list[dict[str, Any]] = json.loads((VECTORS / "vectors.json").read_text(encoding="utf-8"))


def half_up(values):
    return np.floor(values + 0.5)


def filter_weights(count, low, high, size):
    """Follow the page's loop for one direction: size x count."""
    scale = (high - low) / size
    support = max(1.0, scale)
    weights = np.zeros((size, count))
    for j in range(size):
        centre = low + (j + 0.5) * scale
        first = max(0, int(np.floor(centre - support + 0.5)))
        last = min(count, int(np.floor(centre + support + 0.5)))
        for i in range(first, last):
            weights[j, i] = max(0.0, 1 - abs(i + 0.5 - centre) / support)
    return weights / weights.sum(axis=1, keepdims=True)


def resize(pixels, box, width, height):
    left, upper, right, lower = box
    rows = np.einsum("ji,yic->yjc", filter_weights(pixels.shape[1], left, right, width), pixels)  # not rounded
    return half_up(np.einsum("ji,ixc->jxc", filter_weights(pixels.shape[0], upper, lower, height), rows))


def center_crop(pixels, spec):
    height, width = pixels.shape[:2]
    box_width = max(1, spec.resize.fraction * min(width, height * spec.width / spec.height))
    box_height = max(1, spec.resize.fraction * min(height, width * spec.height / spec.width))
    left, upper = (width - box_width) / 2, (height - box_height) / 2
    return resize(pixels, (left, upper, left + box_width, upper + box_height), spec.width, spec.height)


def letterbox(pixels, spec):
    height, width = pixels.shape[:2]
    fit_width = min(spec.width, max(1, int(half_up(width * spec.height / height))))
    fit_height = min(spec.height, max(1, int(half_up(height * spec.width / width))))
    result = np.empty((spec.height, spec.width, 3))
    result[:] = spec.resize.fill
    x, y = (spec.width - fit_width) // 2, (spec.height - fit_height) // 2
    result[y : y + fit_height, x : x + fit_width] = resize(pixels, (0, 0, width, height), fit_width, fit_height)
    return result


def umeyama(source, target):
    """Follow the paper's equations 38 to 43, by singular values: scale * rotation, and translation."""
    centred, wanted = source - source.mean(0), target - target.mean(0)
    u, d, vt = np.linalg.svd(wanted.T @ centred / len(source))
    sign = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    matrix = u @ sign @ vt * (d * np.diag(sign)).sum() / (centred**2).sum(1).mean()
    return matrix, target.mean(0) - matrix @ source.mean(0)


def face_align(pixels, spec, landmarks):
    matrix, shift = umeyama(np.array(landmarks), np.array(spec.resize.landmarks))
    height, width = pixels.shape[:2]
    scale = np.sqrt(np.linalg.det(matrix))
    if scale < 1:
        size = max(1, int(half_up(width * scale))), max(1, int(half_up(height * scale)))
        pixels = resize(pixels, (0, 0, width, height), *size)
    rows, columns = pixels.shape[:2]
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    result = np.zeros((spec.height, spec.width, 3))
    for v in range(spec.height):
        for u in range(spec.width):
            x, y = np.linalg.solve(matrix, np.array([u + 0.5, v + 0.5]) - shift) * (columns / width, rows / height)
            if 0 <= x < columns and 0 <= y < rows:
                i, j = int(x + 0.5), int(y + 0.5)  # in `padded`, the pixel whose centre is left of and above (x, y)
                across, down = x + 0.5 - i, y + 0.5 - j
                upper = (1 - across) * padded[j, i] + across * padded[j, i + 1]
                lower = (1 - across) * padded[j + 1, i] + across * padded[j + 1, i + 1]
                result[v, u] = half_up((1 - down) * upper + down * lower)
    return result


def reference(pixels, spec, landmarks=None):
    pixels = np.asarray(pixels, float)
    match spec.resize:
        case CenterCrop():
            return center_crop(pixels, spec)
        case Letterbox():
            return letterbox(pixels, spec)
        case FaceAlign():
            return face_align(pixels, spec, landmarks)
    return resize(pixels, (0, 0, pixels.shape[1], pixels.shape[0]), spec.width, spec.height)


def display_p3_to_srgb(pixels):
    """By the primaries of the two standards, both with sRGB's curve and D65."""
    to_xyz = np.array([[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0, 0.04511, 1.04394]])
    to_srgb = np.array([[3.24097, -1.53738, -0.49861], [-0.96924, 1.87597, 0.04156], [0.05563, -0.20398, 1.05697]])
    v = pixels / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) @ (to_srgb @ to_xyz).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def decode_by_the_page(path):
    picture = Image.open(path)
    values = np.asarray(picture)
    match path.stem:
        case "grey16":
            return np.stack([values >> 8] * 3, -1)
        case "rgba" | "palette":
            values = np.asarray(picture.convert("RGBA")).astype(float)
            alpha = values[..., 3:]
            return half_up((values[..., :3] * alpha + 255 * (255 - alpha)) / 255)
        case "p3":
            return half_up(display_p3_to_srgb(values))
        case "orientation6":
            return np.rot90(values, -1)
    return values


def largest_difference(one, other):
    return np.abs(np.asarray(one, float) - np.asarray(other, float)).max()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_facectl_gives_what_each_vector_expects(case):
    spec = msgspec.convert(case["spec"], InputSpec)
    expected = np.asarray(Image.open(VECTORS / case["expected"]))
    found = image.to_input(image.decode(VECTORS / case["input"], spec), spec, case.get("landmarks"))
    assert found.dtype == np.uint8
    assert found.shape == expected.shape == (spec.height, spec.width, 3)
    assert largest_difference(found, expected) <= 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_page_alone_leads_to_what_each_vector_expects(case):
    spec = msgspec.convert(case["spec"], InputSpec)
    expected = np.asarray(Image.open(VECTORS / case["expected"]))
    pixels = decode_by_the_page(VECTORS / case["input"])
    assert largest_difference(reference(pixels, spec, case.get("landmarks")), expected) <= 1


def test_vectors_are_small_and_all_of_their_files_are_listed():
    listed = {case[key] for case in CASES for key in ("input", "expected")}
    assert {path.name for path in VECTORS.glob("*.png")} == listed
    assert sum(path.stat().st_size for path in VECTORS.iterdir() if path.is_file()) < 300_000


SIDES = st.integers(1, 48)
KINDS = st.one_of(
    st.just(Squash()),
    st.floats(0.01, 1).map(CenterCrop),
    st.tuples(*[st.integers(0, 255)] * 3).map(Letterbox),
)


@given(SIDES, SIDES, st.builds(InputSpec, SIDES, SIDES, KINDS), st.integers(0, 99))
@settings(max_examples=250, deadline=None)
def test_resize_follows_the_page_for_any_size(width, height, spec, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = image.to_input(pixels, spec)
    assert found.shape == (spec.height, spec.width, 3)
    assert found.flags.c_contiguous
    assert largest_difference(found, reference(pixels, spec)) <= 1


@pytest.mark.parametrize("seed", range(6))
def test_face_align_follows_the_page_for_any_face(seed):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (60, 70, 3), dtype=np.uint8)
    wanted = random.uniform(4, 20, (5, 2))
    found = wanted * random.uniform(0.3, 5) + random.normal(0, 2, (5, 2)) + random.uniform(-5, 30, 2)
    spec = InputSpec(24, 20, FaceAlign(tuple(map(tuple, wanted.tolist()))))
    assert largest_difference(image.to_input(pixels, spec, found), reference(pixels, spec, found)) <= 1


def test_a_face_at_its_place_stays_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    wanted = ((12.0, 12.0), (28.0, 12.0), (20.0, 20.0), (14.0, 30.0), (26.0, 30.0))
    assert largest_difference(image.to_input(pixels, InputSpec(40, 40, FaceAlign(wanted)), wanted), pixels) <= 1
