"""`facectl convert`."""

from pathlib import Path
from typing import Annotated

import typer

from facectl_runtime.cli.options import JsonOption
from facectl_runtime.errors import one_line


def convert(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.mlpackage", help="A Core ML package, of whoever made it.", readable=False)
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The ONNX file to write.")],
    declared_types: Annotated[
        bool, typer.Option("--declared-types", help="Round each value to the type that the program declares for it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Turn a Core ML program into ONNX, which runs anywhere.

    A package that `facectl export` wrote keeps its labels, resize and golden images, and leaves only if it still gives
    the answers to those. One of others keeps its inputs and outputs; an image input becomes uint8 pixels. Compressed
    weights become 32-bit floats.
    """
    import shlex

    import msgspec

    from facectl_export.mlprogram.convert import convert

    done = convert(model, out, declared_types, force)
    if json:
        typer.echo(msgspec.json.encode(done).decode())
        return
    size = f"{done.bytes / 1e6:.2f} MB" if done.bytes >= 1e5 else f"{done.bytes / 1e3:.1f} kB"
    typer.echo(f"{done.out}: {done.ops} ops, {size} (weights in 32 bits)")
    for name, ends in (("takes", done.inputs), ("gives", done.outputs)):
        for end in ends:
            typer.echo(one_line(f"  {name} {end.name}: {end.type} {' × '.join(map(str, end.shape)) or 'one value'}"))
    if done.replayed is not None:
        typer.echo(f"  golden images: largest |Δ| {done.replayed:.2g}")
        typer.echo(f"next: facectl predict {shlex.quote(done.out)} IMAGE...")
        return
    if done.labels:
        typer.echo(one_line(f"  labels: {', '.join(done.labels)}"))
    typer.echo("  it carries no golden images, so no answer was compared")
