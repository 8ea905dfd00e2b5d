"""`facectl demo`: the whole path, on drawn shapes, with no network and no data."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

FACECTL = (sys.executable, "-m", "facectl_runtime")
NEW = 12  # pictures to name at the end
_COLUMNS, _SIDE, _CAPTION = 6, 160, 24


def demo(out: Annotated[Path, typer.Option(help="The folder to make.")] = Path("demo")) -> int:
    """Run the whole path on drawn shapes.

    Two or three minutes, with no network and no data: draw, train, export at fp32 and int8, verify, name new pictures.
    Every step is a command that you could type, and is shown before it runs. At the end OUT/predictions.png shows the
    pictures with their names.
    """
    from facectl_runtime.errors import UsageError

    if out.exists():
        raise UsageError(f"{out}: already there; remove it, or give another --out")
    photographs, run, fresh = out / "photographs", out / "shapes", out / "new"
    fp32, int8 = run / "export" / "shapes.onnx", run / "export" / "shapes.int8.onnx"
    steps = [
        ["data", "shapes", "--to", photographs, "--count", "400"],
        ["train", "zoo", "--data", photographs, "--out", run],
        ["export", run, "--quantize", "fp32,int8"],
        ["verify", fp32, int8],
        ["data", "shapes", "--to", fresh, "--count", "48", "--seed", "1", "--quiet"],
        ["predict", int8, fresh / "test"],
    ]
    for step in steps:
        if code := _run([str(word) for word in step]):
            return code
    _picture(_predictions(int8, fresh / "test"), out / "predictions.png")
    typer.echo(f"\nlook at {out / 'predictions.png'}; with photographs of your own: facectl train zoo --data PHOTOS")
    return 0


def _run(arguments: list[str]) -> int:
    typer.secho(f"\n$ facectl {' '.join(arguments)}", bold=True)
    sys.stdout.flush()
    return subprocess.call([*FACECTL, *arguments])


def _predictions(model: Path, source: Path) -> list[dict[str, Any]]:
    document = subprocess.check_output([*FACECTL, "predict", str(model), str(source), "--json", "--quiet"])
    results: list[dict[str, Any]] = json.loads(document)["results"]
    return results[:: max(1, len(results) // NEW)][:NEW]


def _picture(predictions: list[dict[str, Any]], path: Path) -> None:
    """Draw the pictures in rows, what the model says under each: green where it is right, red where it is not."""
    from PIL import Image, ImageDraw, ImageFont

    rows = -(-len(predictions) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (_SIDE + 8) + 8, rows * (_SIDE + _CAPTION + 8) + 8), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, one in enumerate(predictions):
        left = 8 + number % _COLUMNS * (_SIDE + 8)
        top = 8 + number // _COLUMNS * (_SIDE + _CAPTION + 8)
        with Image.open(one["source"]) as picture:
            sheet.paste(picture.resize((_SIDE, _SIDE)), (left, top))
        right = one["label"] == Path(one["source"]).parent.name
        caption = f"{one['label']}  {one['probability']:.1%}"
        pen.text((left, top + _SIDE + 4), caption, "darkgreen" if right else "firebrick", font)
    sheet.save(path)
