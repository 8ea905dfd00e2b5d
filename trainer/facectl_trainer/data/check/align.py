"""Whether two small pictures show the same, up to a crop, a change of size, of brightness and of contrast.

One is laid onto the other by least squares (Lucas & Kanade 1981): shift and scale in each direction, gain and offset
of the grey levels, from a sixteenth of the pixels up. What is then left of the variance says how alike they are. Two
faces lit alike are much alike, though; what their details have in common tells them apart.
"""

import numpy as np
import numpy.typing as npt

from facectl_trainer.data.check.perceptual import CROPS, Thumbnails, interpolation

Values = npt.NDArray[np.float32]

_SMALLEST = 16  # pixels of the side at which a fit begins
_STEPS = 3  # at each size
_WORTH_A_LOOK, _WORTH_ANOTHER = 0.5, 0.6  # likeness from which there is a fit at the smallest size, and at others
_LAID = 0.998  # likeness that no fit need better
_SHIFT, _SCALE = 0.25, 1.25  # most, in halves of the side; most and, inverted, least
_NOISE = 16.0  # variance in grey levels²: what two pictures may differ by, however little variance they have
_FAINT = 0.25  # variance of details in grey levels²: these may be noise
_BORDER = 4  # pixels, where details are not compared: they depend on what lies beyond
_STARTS: Values = np.array(
    [
        (0, 1, 0, 1),
        *(((1 - part) * (2 * left - 1), part, (1 - part) * (2 * top - 1), part) for part, top, left in CROPS),
    ],
    np.float32,
)
"""Where a fit may begin: the whole, and the views by which a pair is found."""


def likeness(first: Thumbnails, second: Thumbnails) -> Values:
    """Give for N pairs of pictures (N × side × side) the share of variance that they have in common: at most 1.

    Either may be a crop of the other.
    """
    a, b = _smooth(first.astype(np.float32)), _smooth(second.astype(np.float32))
    alike: Values = np.maximum(_within(a, b)[1], _within(b, a)[1])
    return alike


def common_details(first: Thumbnails, second: Thumbnails) -> Values:
    """Give for N pairs of pictures (N × side × side) how far their details agree, once they are laid: -1 to 1.

    Details are what a blur over some five pixels takes away; they are compared by their correlation, in which what may
    be noise counts as agreeing.
    """
    a, b = _smooth(first.astype(np.float32)), _smooth(second.astype(np.float32))
    (there, well), (back, better) = _within(a, b), _within(b, a)
    alike: Values = np.where(well >= better, _details(a, b, there), _details(b, a, back))
    return alike


def _within(a: Values, b: Values) -> tuple[Values, Values]:
    """Lay `a` onto `b`, as if `b` were `a` or a crop of it: gives (N × 4 places; N: how alike they are)."""
    sizes = [(a, b)]
    while sizes[-1][0].shape[1] > _SMALLEST:
        sizes.append((_halved(sizes[-1][0]), _halved(sizes[-1][1])))
    begun = np.stack([_explained(*sizes[-1], np.tile(start, (len(a), 1))) for start in _STARTS])
    places: Values = _STARTS[begun.argmax(axis=0)]
    result: Values = begun.max(axis=0)
    for one, other in reversed(sizes):
        smallest = one.shape[1] == _SMALLEST
        if (hopeful := np.flatnonzero(result >= (_WORTH_A_LOOK if smallest else _WORTH_ANOTHER))).size:
            if not smallest:
                result[hopeful] = _explained(one[hopeful], other[hopeful], places[hopeful])
            loose = hopeful[result[hopeful] < _LAID]
            if loose.size:
                places[loose], result[loose] = _fit(one[loose], other[loose], places[loose])
    return places, result


def _details(a: Values, b: Values, places: Values) -> Values:
    laid, inside, _ = _lay(a, places)
    fine, other = ((each - _smooth(_smooth(each))) * inside for each in (laid, b))
    seen = (slice(None), slice(_BORDER, -_BORDER), slice(_BORDER, -_BORDER))
    noise = _FAINT * inside[seen].sum(axis=(1, 2)) + 1e-6
    both, one, two = ((x[seen] * y[seen]).sum(axis=(1, 2)) for x, y in ((fine, other), (fine, fine), (other, other)))
    agreeing: Values = (both + noise) / np.sqrt((one + noise) * (two + noise))
    return agreeing


def _smooth(pictures: Values) -> Values:
    """Blur by 1 2 1 in both directions: what is as fine as a pixel depends on where the pixels happened to lie."""
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    smooth: Values = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16
    return smooth


def _halved(pictures: Values) -> Values:
    n, side, _ = pictures.shape
    half: Values = pictures.reshape(n, side // 2, 2, side // 2, 2).mean(axis=(2, 4))
    return half


def _fit(a: Values, b: Values, places: Values) -> tuple[Values, Values]:
    """Lay `a` onto `b`. Gives (N × 4: shift and scale across, shift and scale down; N: the likeness)."""
    for _ in range(_STEPS):
        laid, inside, x = _lay(a, places)
        down, across = np.gradient(laid, axis=(1, 2))
        moves = [across, across * x, down, down * x[:, None], laid, np.ones_like(laid)]
        solved = _solve(np.stack([move * inside for move in moves], -1), b * inside)
        gain = np.where(np.abs(solved[:, 4]) < 0.2, 0.2, solved[:, 4])
        step = solved[:, :4] / gain[:, None] * (2 / a.shape[1])  # from pixels to halves of the side
        places = places + step.clip(-0.15, 0.15)
        places = np.clip(places, [-_SHIFT, 1 / _SCALE, -_SHIFT, 1 / _SCALE], [_SHIFT, _SCALE, _SHIFT, _SCALE])
        places = places.astype(np.float32)
    return places, _explained(a, b, places)


def _explained(a: Values, b: Values, places: Values) -> Values:
    """Give the share of the variance of `b`, where `a` covers it, that `a` explains by gain and offset."""
    laid, inside, _ = _lay(a, places)
    covered = inside.sum(axis=(1, 2))
    one, other = ((each - ((each * inside).sum(axis=(1, 2)) / covered)[:, None, None]) * inside for each in (laid, b))
    both, own, wanted = ((x * y).sum(axis=(1, 2)) for x, y in ((one, other), (one, one), (other, other)))
    rest = wanted - both**2 / (own + 1e-3 * covered)
    result: Values = 1 - rest / np.maximum(wanted, covered * _NOISE)
    return result


def _lay(a: Values, places: Values) -> tuple[Values, Values, Values]:
    """Give `a` as it lies at `places`, which of its pixels lie inside (0 or 1), and the pixels' places from -1 to 1."""
    side = a.shape[1]
    x = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    across, down = (
        (places[:, k, None] + places[:, k + 1, None] * x + 1) / 2 * side - 0.5 for k in (0, 2)
    )  # in pixels of `a`
    rows, columns = interpolation(down, side), interpolation(across, side)
    laid: Values = np.matmul(np.matmul(rows, a), columns.transpose(0, 2, 1))
    within = [(positions > -0.5) & (positions < side - 0.5) for positions in (down, across)]
    return laid, (within[0][:, :, None] & within[1][:, None, :]).astype(np.float32), x


def _solve(columns: npt.NDArray[np.float32], wanted: Values) -> Values:
    """Give the least squares solution of each of N systems: N × side × side × K and N × side × side → N × K."""
    n, count = len(columns), columns.shape[-1]
    flat, right = columns.reshape(n, -1, count), wanted.reshape(n, -1, 1)
    turned = flat.transpose(0, 2, 1)
    damping = np.float32(1e-3 * flat.shape[1]) * np.eye(count, dtype=np.float32)  # where a picture is blank
    result: Values = np.linalg.solve(turned @ flat + damping, turned @ right)[..., 0]
    return result
