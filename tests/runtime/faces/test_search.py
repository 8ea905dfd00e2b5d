"""Search gives what comparing with everybody gives, whatever the sizes, ties and blocks."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl_runtime.faces import search as module
from facectl_runtime.faces.search import Found, Templates, search


def brute(queries: np.ndarray, templates: Templates, k: int) -> Found:
    """Compare with everybody, in 64 bits, and sort."""
    scores = queries.astype(np.float64) @ templates.rows.T.astype(np.float64)
    ends = [*templates.starts[1:], len(templates.rows)]
    best = np.stack([scores[:, a:b].max(axis=1) for a, b in zip(templates.starts, ends, strict=True)], axis=1)
    order = np.argsort(-best, axis=1, kind="stable")[:, :k]
    return Found(order, np.take_along_axis(best, order, 1).astype(np.float32))


def exact(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw embeddings of sixteen numbers, ±1/4, whose cosines are exact: many of them are equal."""
    return (rng.integers(0, 2, (count, 16)) / 2 - 0.25).astype(np.float32)


def drawn(rng: np.random.Generator, people: int, most: int, embeddings=exact) -> Templates:
    counts = rng.integers(1, most + 1, people)
    names = [f"{number:06}" for number in range(people)]
    return Templates.of(names, embeddings(rng, int(counts.sum())), np.cumsum(counts) - counts)


def faces(rng: np.random.Generator, count: int, size: int = 128) -> np.ndarray:
    drawn = rng.standard_normal((count, size), np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def assert_same(found: Found, expected: Found) -> None:
    np.testing.assert_array_equal(found.people, expected.people)
    np.testing.assert_array_equal(found.similarities, expected.similarities)
    assert found.similarities.dtype == np.float32


@settings(deadline=None, max_examples=300)
@given(
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.sampled_from([1, 2, 30]),
    st.integers(1, 9),
    st.integers(1, 50),
    st.integers(8, 400),
    st.sampled_from([1, 3, 8]),
    st.sampled_from([1, 50]),
    st.sampled_from([2, 64]),
)
def test_it_finds_what_sorting_all_finds(seed, people, most, queries, k, scores, group, few, many):
    rng = np.random.default_rng(seed)
    templates = drawn(rng, people, most)
    asked = exact(rng, queries)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_QUERIES": 4, "_SCORES": scores, "_GROUP": group, "_FEW": few, "_MANY": many}.items():
            patch.setattr(module, name, value)
        assert_same(search(asked, templates, k), brute(asked, templates, k))


@pytest.mark.parametrize(("people", "most"), [(300, 1), (20_000, 1), (3_000, 30), (40, 9_000), (1, 100_000)])
@pytest.mark.parametrize("k", [1, 5, 64, 65])
@pytest.mark.parametrize("queries", [1, 70])
def test_it_is_exact_in_its_own_sizes(people, most, k, queries):
    rng = np.random.default_rng(people + k)
    templates = drawn(rng, people, most)
    asked = exact(rng, queries)
    assert_same(search(asked, templates, k), brute(asked, templates, k))


@pytest.mark.parametrize("queries", [1, 32])
@pytest.mark.parametrize("k", [1, 5, 100])
@pytest.mark.parametrize("most", [1, 7])
def test_real_numbers_are_found_but_for_rounding(most, k, queries):
    rng = np.random.default_rng(0)
    templates = drawn(rng, 30_000, most, faces)
    asked = faces(rng, queries)
    found, expected = search(asked, templates, k), brute(asked, templates, k)
    np.testing.assert_allclose(found.similarities, expected.similarities, atol=1e-6)
    near = np.abs(np.diff(expected.similarities, axis=1)) < 1e-6
    assert (found.people == expected.people)[:, 1:][~near].all()
    scores = np.einsum("qd,qkd->qk", asked, templates.rows[templates.starts[found.people]])
    if most == 1:
        np.testing.assert_allclose(found.similarities, scores, atol=1e-6)


def test_everybody_finds_themselves_first():
    templates = drawn(np.random.default_rng(0), 3_000, 1, faces)
    found = search(templates.rows, templates, 3)
    np.testing.assert_array_equal(found.people[:, 0], np.arange(3_000))
    np.testing.assert_allclose(found.similarities[:, 0], 1, atol=1e-6)
    assert (np.diff(found.similarities, axis=1) <= 0).all()


def test_those_who_are_equal_come_in_the_order_of_their_names():
    rows = np.repeat(exact(np.random.default_rng(0), 1), 10_000, axis=0)
    templates = Templates.of([f"{number:05}" for number in range(5_000)], rows, np.arange(0, 10_000, 2))
    for k in (1, 2, 64, 65, 5_000):
        found = search(rows[:3], templates, k)
        np.testing.assert_array_equal(found.people, np.tile(np.arange(k), (3, 1)))
        assert (found.similarities == 1).all()


def test_fewer_people_than_are_asked_for():
    templates = drawn(np.random.default_rng(0), 3, 2)
    assert search(exact(np.random.default_rng(1), 2), templates, 10).people.shape == (2, 3)
    nobody = Templates.of([], np.empty((0, 16), np.float32), [])
    assert search(exact(np.random.default_rng(1), 2), nobody, 10).people.shape == (2, 0)
    assert search(np.empty((0, 16), np.float32), templates, 2).similarities.shape == (0, 2)


@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul")
@pytest.mark.parametrize("k", [1, 3, 65])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_query_that_is_not_finite_is_refused(k, wrong):
    templates = drawn(np.random.default_rng(0), 100, 1)
    queries = exact(np.random.default_rng(1), 3)
    queries[1, 2] = wrong
    with pytest.raises(ValueError, match="not finite"):
        search(queries, templates, k)


def test_what_does_not_fit_is_refused():
    templates = drawn(np.random.default_rng(0), 10, 1)
    for shape in ((16,), (1, 15), (1, 1, 16)):
        with pytest.raises(ValueError, match="Q × 16 are needed"):
            search(np.zeros(shape, np.float32), templates)
    with pytest.raises(ValueError, match="1 or more"):
        search(np.zeros((1, 16), np.float32), templates, 0)
    rows = exact(np.random.default_rng(0), 4)
    for names, starts in ((["a"], [1]), (["a", "b"], [0, 0]), (["a", "b"], [0]), (["a"], [0, 4]), ([], [])):
        with pytest.raises(ValueError, match="do not begin at starts"):
            Templates.of(names, rows, starts)


def test_neither_queries_nor_embeddings_are_changed():
    templates = drawn(np.random.default_rng(0), 9_000, 3)
    queries = exact(np.random.default_rng(1), 70)
    before = templates.columns.copy(), queries.copy()
    search(queries, templates, 5)
    np.testing.assert_array_equal(templates.columns, before[0])
    np.testing.assert_array_equal(queries, before[1])


@pytest.mark.parametrize("k", [1, 5, 70])
def test_memory_is_bounded_however_many_are_compared(k):
    rng = np.random.default_rng(0)
    templates = drawn(rng, 150_000, 2)
    queries = exact(rng, 80)
    tracemalloc.start()
    search(queries, templates, k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 45e6  # where all scores at once are 72 MB
