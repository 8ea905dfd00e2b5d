"""Reductions over axes, all of them where none are named."""

import numpy as np

from facectl_export.mlprogram.graph import Graph, Writer, carried
from facectl_export.mlprogram.program import Op


def _reduce(kind: str, of_integers: bool = True) -> Writer:
    def write(g: Graph, op: Op) -> str:
        if not of_integers and carried(op["x"].kind) is not np.float32:
            raise op.unsupported("what Core ML makes of a fraction among integers is not written down")
        rank = len(op["x"].shape)
        axes = [axis % rank for axis in op.integers("axes", range(rank))]
        if not axes:
            raise op.unsupported("what it does over no axes is not written down")
        return g.add(kind, op["x"], axes, keepdims=int(op.flag("keep_dims")))

    return write


def _argument(kind: str) -> Writer:
    def write(g: Graph, op: Op) -> str:
        found = g.add(kind, op["x"], axis=op.integer("axis", -1), keepdims=int(op.flag("keep_dims")))
        return g.cast(found, np.int32)

    return write


OPS: dict[str, Writer] = {
    "reduce_argmax": _argument("ArgMax"),
    "reduce_argmin": _argument("ArgMin"),
    "reduce_l1_norm": _reduce("ReduceL1"),
    "reduce_l2_norm": _reduce("ReduceL2", of_integers=False),
    "reduce_log_sum": _reduce("ReduceLogSum", of_integers=False),
    "reduce_log_sum_exp": _reduce("ReduceLogSumExp", of_integers=False),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_mean": _reduce("ReduceMean", of_integers=False),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_prod": _reduce("ReduceProd"),
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_sum_square": _reduce("ReduceSumSquare"),
}
