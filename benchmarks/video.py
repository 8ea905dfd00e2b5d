"""A video file: frames a second of a whole process against what decode and session allow, and peak memory."""

import argparse
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace

from common import FACECTL, facectl, keep, measured, middle, test_data
from facectl_runtime import image
from facectl_runtime.devices import Device, usable_cores
from facectl_runtime.engines import Engine, format_of
from facectl_runtime.output import columns
from facectl_runtime.reading import BATCH
from facectl_runtime.sources import Source
from facectl_runtime.spec import InputSpec
from facectl_runtime.video.clip import clip
from facectl_runtime.video.selection import ALL
from mosaics import write_mosaics
from scenes import SCENE, scenes

FRAMES, FPS, SIZE, BIT_RATE = 600, 30, (1920, 1080), 16_000_000
"""As telephones film."""
ROUNDS, LONGER, AHEAD = 5, 5, 16


def main() -> None:
    """Film, measure D, S and `facectl predict` in turn, then memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=FRAMES, help="of the shorter video (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the three in turn (%(default)s)")
    parser.add_argument("--model", type=Path, help="an exported file, rather than to train one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or _exported(Path(folder, "zoo"))
        mosaics = write_mosaics(test_data("zoo"), Path(folder, "mosaics"), -(-given.frames // SCENE))
        film = _film(Path(folder, "film.mp4"), scenes(mosaics, given.frames, SIZE))
        longer = _repeated(film, Path(folder, "longer.mp4"))
        reader = format_of(model)
        spec = reader.read_spec(model)
        engine = reader.open(model, spec, Device("cpu"))
        rounds = [_round(model, engine, spec.input, film, given.frames) for _ in range(given.rounds)]
        lengths = {given.frames: film, given.frames * LONGER: longer}
        memory = {frames: measured(_command(model, path)).peak_mb for frames, path in lengths.items()}
        rate = film.stat().st_size * 8 / 1e6 / (given.frames / FPS)
    shown = middle(rounds)
    rows = [("", "frames a second"), ("decode alone, D", f"{shown['decode']:.1f}")]
    rows += [("session alone, S", f"{shown['session']:.1f}"), ("bound 1 / (1/D + 1/S)", f"{shown['bound']:.1f}")]
    rows += [
        ("facectl predict, whole process", f"{shown['predict']:.1f}"),
        ("share of the bound (at least 0.9)", f"{shown['ratio']:.3f}"),
    ]
    print(f"H.264, {SIZE[0]} × {SIZE[1]}, {FPS} frames a second, {rate:.1f} Mbit a second")
    print(columns(rows, right=(1,)))
    few, many = memory
    print(f"peak memory: {memory[few]:.0f} MB for {few} frames, {memory[many]:.0f} MB for {many}")
    figures = {"frames": given.frames, "width": SIZE[0], "height": SIZE[1], "mbit_a_second": rate}
    keep("video", {**figures, **shown, "rounds": rounds, "peak_mb": memory})


def _exported(run: Path) -> Path:
    facectl("train", "zoo", "--data", test_data("zoo"), "--out", run, "--no-report", "--quiet")
    facectl("export", run, "--quantize", "int8", "--quiet")
    return run / "export" / "zoo.int8.onnx"


def _film(path: Path, pictures: Iterable[np.ndarray]) -> Path:
    """Write an H.264 video."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.bit_rate = "yuv420p", BIT_RATE
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture)
            file.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)))
        file.mux(stream.encode())
    return path


def _repeated(film: Path, out: Path) -> Path:
    """Write a video that shows another one five times over."""
    with av.open(str(out), "w") as file:
        stream = None
        for number in range(LONGER):
            with av.open(str(film)) as source:
                shown = source.streams.video[0]
                stream = stream or file.add_stream_from_template(shown)
                for packet in source.demux(shown):
                    if packet.size:
                        packet.pts += number * shown.duration
                        packet.dts += number * shown.duration
                        packet.stream = stream
                        file.mux(packet)
    return out


def _round(model: Path, engine: Engine, spec: InputSpec, film: Path, frames: int) -> dict[str, float]:
    started = time.perf_counter()
    pixels = _decoded(film, spec)
    decode = frames / (time.perf_counter() - started)
    if len(pixels) != frames:
        raise SystemExit(f"{film}: {len(pixels)} frames were decoded, and {frames} written")
    started = time.perf_counter()
    for first in range(0, frames, BATCH):
        engine.infer(pixels[first : first + BATCH])
    session = frames / (time.perf_counter() - started)
    predict = frames / measured(_command(model, film)).seconds
    bound = 1 / (1 / decode + 1 / session)
    return {"decode": decode, "session": session, "bound": bound, "predict": predict, "ratio": predict / bound}


def _decoded(film: Path, spec: InputSpec) -> np.ndarray:
    """Bring all frames to the model's input on all cores, with few of them in memory at once: uint8, N × H × W × 3."""

    def load(source: Source) -> np.ndarray:
        assert callable(source.data), source.error
        return image.to_input(source.data(), spec)

    waiting: deque[Future[np.ndarray]] = deque()
    pixels = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for source in clip(film, ALL):
            waiting.append(pool.submit(load, source))
            if len(waiting) > AHEAD:
                pixels.append(waiting.popleft().result())
        return np.stack([*pixels, *(future.result() for future in waiting)])


def _command(model: Path, film: Path) -> list[object]:
    return [FACECTL, "predict", model, film, "--jsonl", "--quiet"]


if __name__ == "__main__":
    main()
