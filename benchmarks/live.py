"""A camera of 30 frames a second and a model that is slower: age of answers, the way back after a loss, memory.

python benchmarks/live.py                             trains and exports a ResNet50 first
python benchmarks/live.py --minutes 0.5 --cuts 3      shorter, to try it
"""

import argparse
import json
import random
import resource
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Any, NamedTuple

import numpy as np
from scipy import stats

from cameras import FPS, Camera, http_camera, rtsp_camera
from common import FACECTL, facectl, keep, test_data
from facectl_runtime.bench.latency import answering, in_turn
from facectl_runtime.cli import INTERRUPTED
from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of
from facectl_runtime.output import columns
from facectl_runtime.video.connect import live_sources
from facectl_runtime.video.selection import ALL
from mosaics import write_mosaics
from scenes import SCENE, scenes

SIZE, PICTURES = (1280, 720), 120
MINUTES, CUTS = 5.0, 20
AWAY, STEADY, INFERENCE, PATIENCE = (0.2, 5.0), 1.0, 5.0, 30.0
"""Seconds: a camera is away, and there before; inference is timed; a wait may last."""
SETTLED, BLOCKS = 30, 27
"""Seconds until memory has settled, and into how many parts the rest is cut."""
WANTED_BACK, WANTED_SLOPE = 3.0, 70.0
"""Seconds; kB a minute, which would make 100 MB a day."""


class Answer(NamedTuple):
    """A row of `facectl predict`."""

    read: float
    """When it was read here, by `time.monotonic`, in seconds."""
    frame: int
    age: float
    """Seconds from the arrival of the frame to its answer, as the row says."""

    @property
    def came(self) -> float:
        """When the frame came, within some milliseconds; by `time.monotonic`, in seconds."""
        return self.read - self.age


def main() -> None:
    """Measure each camera, print and keep the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="that each camera is watched (%(default)s)")
    parser.add_argument("--cuts", type=int, default=CUTS, help="how often each camera is cut off (%(default)s)")
    parser.add_argument("--model", type=Path, help="an exported file, rather than to train one")
    given = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or _exported(Path(folder, "zoo"))
        mosaics = write_mosaics(test_data("zoo"), Path(folder, "mosaics"), PICTURES // SCENE)
        pictures = list(scenes(mosaics, PICTURES, SIZE))
        cameras = {"MJPEG over HTTP": http_camera(pictures), "H.264 over RTSP": rtsp_camera(pictures, Path(folder))}
        for name, filming in cameras.items():
            with ExitStack() as stack:
                try:
                    camera = stack.enter_context(filming)
                except FileNotFoundError as error:
                    print(f"{name}: left out: {error}")
                    continue
                figures[name] = {
                    **_watched(model, camera, 60 * given.minutes),
                    "back": _back(model, camera, given.cuts),
                }
                report(name, figures[name])
    keep("live", {"fps": FPS, "width": SIZE[0], "height": SIZE[1], "minutes": given.minutes, "cameras": figures})


def _exported(run: Path) -> Path:
    data = test_data("zoo")
    facectl("train", "zoo", "--backbone", "resnet50", "--data", data, "--out", run, "--no-report", "--quiet")
    facectl("export", run, "--quiet")
    return run / "export" / "zoo.onnx"


def _watched(model: Path, camera: Camera, seconds: float) -> dict[str, Any]:
    """Answer a camera for so long: how old the answers are, what became of the frames, how memory grows."""
    alone = _inference(model, None)
    beside = [_inference(model, camera)]
    connections = {one.connection for one in camera.sent()}
    with _predicting(model, camera) as (process, answers):
        samples = [_resident_kb(process.pid) for _ in _every_second(seconds)]
        answered = list(answers)
    sent = {one.number: one.at for one in camera.sent() if one.connection not in connections}
    beside.append(_inference(model, camera))
    bound = 2 / FPS + alone
    seen = answered[-1].frame + 1
    figures = {
        "inference": {"alone": alone, "beside_the_camera": statistics.mean(beside)},
        "age": {**_percentiles([one.age for one in answered]), "bound": bound},
        "frames": {"seen": seen, "answered": len(answered), "dropped": seen - len(answered)},
        "memory": _growth(samples),
    }
    if camera.all_seen:
        figures["since_sending"] = _percentiles([one.read - sent[one.frame] for one in answered if one.frame in sent])
    return figures


def _inference(model: Path, camera: Camera | None) -> float:
    """Give the median seconds of one inference, while a thread reads the camera if one is given."""
    reader = format_of(model)
    spec = reader.read_spec(model)
    answer = answering(reader.open(model, spec, Device("cpu")), spec.input)
    addresses = [camera.address] if camera else []
    sources = live_sources(addresses, ALL, retries=None, timeout=5, say=print)
    for source in sources:
        source.start(Condition())
    _wait(lambda: all(source.seen for source in sources), f"no frame of {addresses}")
    turns = in_turn({"": answer}, INFERENCE)[""]
    for source in sources:
        source.close()
    return statistics.median(seconds for turn in turns for seconds in turn)


def _back(model: Path, camera: Camera, cuts: int) -> list[dict[str, float]]:
    """Cut a camera off again and again, for times at random."""
    chance = random.Random(0)
    with _predicting(model, camera) as (_, answers):
        return [_lost_and_found(camera, answers, chance.uniform(*AWAY)) for _ in range(cuts)]


def _lost_and_found(camera: Camera, answers: list[Answer], away: float) -> dict[str, float]:
    """Give the seconds that a camera was away, and those from its being there again to the first answer."""
    time.sleep(STEADY)
    camera.cut()
    cut = time.monotonic()
    time.sleep(away)
    restoring = time.monotonic()
    camera.restore()
    restored = time.monotonic()
    _wait(lambda: answers[-1].came > restoring, "no answer since the camera was restored")
    first = next(answer for answer in answers if answer.came > restoring)
    return {"away": restored - cut, "back": first.read - restored}


@contextmanager
def _predicting(model: Path, camera: Camera) -> Iterator[tuple["subprocess.Popen[str]", list[Answer]]]:
    """Run `facectl predict` on a camera, from its first answer on; further ones are appended as they come."""
    command = [FACECTL, "predict", str(model), camera.address, "--jsonl", "--quiet"]
    answers: list[Answer] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        Thread(target=_listen, args=(process.stdout, answers), daemon=True).start()
        try:
            _wait(lambda: answers, "no answer")
            yield process, answers
        finally:
            process.send_signal(signal.SIGINT)
        said = process.stderr.read().strip()
    if process.returncode != INTERRUPTED:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}: {said}")


def _listen(lines: IO[str], answers: list[Answer]) -> None:
    for line in lines:
        row = json.loads(line)
        answers.append(Answer(time.monotonic(), row["frame"], row["age"]))


def _wait(come: Callable[[], object], otherwise: str) -> None:
    until = time.monotonic() + PATIENCE
    while not come():
        if time.monotonic() > until:
            raise SystemExit(f"{otherwise} in {PATIENCE:g} s")
        time.sleep(0.005)


def _every_second(seconds: float) -> Iterator[int]:
    begun = time.monotonic()
    for number in range(int(seconds)):
        time.sleep(max(0, begun + number - time.monotonic()))
        yield number


def _resident_kb(process: int) -> float:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 1e3


def _growth(samples: Sequence[float]) -> dict[str, Any]:
    """Say how the resident kB of each second grow, once memory has settled: a line, the steady part, the change.

    Samples of one moment are alike, and an interval that took them for independent would be too narrow: the means of
    `BLOCKS` parts of the time are used. A leak adds to each part, and so to the median of the growths from one part to
    the next; an allocator that takes more memory once does not. Its interval is that of the sign test.
    """
    settled = samples[min(SETTLED, len(samples) // 5) :]
    parts = np.array_split(np.array(settled), min(BLOCKS, len(settled)))
    levels, minutes = np.array([part.mean() for part in parts]), len(settled) / len(parts) / 60
    line = stats.linregress(np.arange(len(levels)) * minutes, levels)
    half = stats.t.ppf(0.975, len(levels) - 2) * line.stderr
    growths = np.sort(np.diff(levels) / minutes)
    outside = max(0, int(stats.binom.ppf(0.025, len(growths), 0.5)) - 1)
    return {
        "line_kb_a_minute": float(line.slope),
        "line_interval": [float(line.slope - half), float(line.slope + half)],
        "kb_a_minute": float(np.median(growths)),
        "interval": [float(growths[outside]), float(growths[-1 - outside])],
        "change_kb": float(levels[-1] - levels[0]),
        "resident_kb": samples,
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.percentile(values, (50, 95))
    return {"p50": float(p50), "p95": float(p95), "n": len(values)}


def report(name: str, figures: dict[str, Any]) -> None:
    """Print what was measured of one camera, beside what is wanted."""
    age, since, memory = figures["age"], figures.get("since_sending"), figures["memory"]
    inference, frames, back = figures["inference"], figures["frames"], figures["back"]
    wanted = f"at most {_ms(age['bound'])}: two frames and an inference"
    rows = [(name, "measured", "wanted")]
    beside = f"({_ms(inference['beside_the_camera'])} while the camera is read)"
    rows.append(("inference", f"{_ms(inference['alone'])} {beside}", ""))
    rows += [(f"age of an answer, {key}", _ms(age[key]), wanted) for key in ("p50", "p95")]
    rows += [(f"the same since it was sent, {key}", _ms(since[key]), "") for key in ("p50", "p95") if since]
    rows.append(("frames", ", ".join(f"{count:,} {what}" for what, count in frames.items()), ""))
    rows.append(
        (
            f"back after a loss, longest of {len(back)}",
            f"{max(one['back'] for one in back):.2f} s",
            f"at most {WANTED_BACK:g} s",
        )
    )
    for what, key, wanted in (("steadily", "", f"interval not above {WANTED_SLOPE:g}"), ("by a line", "line_", "")):
        low, high = memory[f"{key}interval"]
        growth = f"{memory[f'{key}kb_a_minute']:+.0f} [{low:+.0f}, {high:+.0f}]"
        rows.append((f"memory, kB a minute, {what}", growth, wanted))
    rows.append(("memory, change", f"{memory['change_kb']:+.0f} kB of {memory['resident_kb'][-1] / 1e3:.0f} MB", ""))
    print(columns(rows))


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


if __name__ == "__main__":
    main()
