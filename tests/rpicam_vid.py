"""What stands in for the Raspberry Pi's `rpicam-vid`: the same words on the command line, on stderr and on stdout.

`put_on_path` installs it. Like the real one (raspberrypi/rpicam-apps) it writes to stderr for every picture unless
`--verbose 0`, keeps the end of a picture back until the next one unless `--flush`, ends by itself after five seconds
unless `-t 0`, and fails when its pipe is closed. Pictures are as `clips.numbered` gives them, from 0 at every start.
The environment makes it misbehave:

RPICAM_FAIL=message     does not start: `ERROR: *** message ***`, exit status 255
RPICAM_DIE=k            fails after k pictures
RPICAM_STALL=k          writes nothing more after k pictures
RPICAM_GARBAGE=k        writes k random bytes before every picture
RPICAM_LOG=file         a line `start PROCESS` for every start, and one of NUMBER SECONDS (monotonic) a picture
"""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from clips import WHEEL, jpeg, picture
from streams import Sent

NO_CAMERA = "no cameras available"
BUFFER = 4096
"""Bytes that C's stdio keeps back on a pipe."""
VALUES = {
    ("-t", "--timeout"): "5sec",
    ("-o", "--output"): "",
    ("--codec",): "h264",
    ("--width",): 640,
    ("--height",): 480,
    ("--framerate",): 30.0,
    ("--camera",): 0,
    ("-q", "--quality"): 50,
    ("--buffer-count",): 0,
    ("--rotation",): 0,
    ("--denoise",): "auto",
    ("--mode",): "",
}
SWITCHES = {("-n", "--nopreview"), ("--flush",), ("--hflip",), ("--vflip",), ("--no-raw",), ("--inline",)}


def put_on_path(folder: Path, name: str = "rpicam-vid") -> str:
    """Install the program in a folder, and give a PATH with that folder first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$@"\n')
    (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def sent(log: Path) -> list[Sent]:
    """Read `RPICAM_LOG`; the `connection` of a picture is how often the program had started before."""
    starts, pictures = -1, []
    for line in log.read_text().splitlines():
        if line.startswith("start"):
            starts += 1
        else:
            number, at = line.split()
            pictures.append(Sent(starts, int(number), float(at)))
    return pictures


def process(log: Path) -> int:
    """Give the process that was started last."""
    return int([line for line in log.read_text().splitlines() if line.startswith("start")][-1].split()[1])


class Options(argparse.ArgumentParser):
    """Options as the real program takes them: no guesses, and its own way of saying no."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        for words, default in VALUES.items():
            self.add_argument(*words, type=type(default), default=default)
        for words in SWITCHES:
            self.add_argument(*words, nargs="?", const=True, default=False)
        self.add_argument("-v", "--verbose", nargs="?", type=int, const=2, default=1)

    def error(self, message: str) -> NoReturn:
        fail(message)

    def read(self) -> argparse.Namespace:
        options, unknown = self.parse_known_args()
        if unknown and unknown[0].startswith("-"):
            fail(f"unrecognised option '{unknown[0]}'")
        if unknown:
            fail("too many positional options have been specified on the command line")
        return options


def fail(message: str) -> NoReturn:
    print(f"ERROR: *** {message} ***", file=sys.stderr)
    sys.exit(255)


def note(*words: object) -> None:
    if path := os.environ.get("RPICAM_LOG"):
        with Path(path).open("a") as file:
            print(*words, file=file)


def setting(name: str) -> int | None:
    value = os.environ.get(f"RPICAM_{name}")
    return int(value) if value else None


def pictures(options: argparse.Namespace) -> Iterator[bytes]:
    """Give JPEGs at the frame rate, until the time is over or the environment says so."""
    began, number = time.monotonic(), 0
    seconds = float("inf") if options.timeout == "0" else 5.0
    while number / options.framerate < seconds:
        time.sleep(max(0, began + number / options.framerate - time.monotonic()))
        if number == setting("DIE"):
            fail("failed to queue request")
        if number == setting("STALL"):
            print("ERROR: Device timeout detected, attempting a restart!!!", file=sys.stderr)
            signal.pause()
        note(number, time.monotonic())
        yield jpeg(picture(WHEEL[number // 10 % 3], (options.width, options.height), number), quality=options.quality)
        if options.verbose:
            print(f"#{number} ({options.framerate:.2f} fps) exp 33239.00 ag 1.00 dg 1.00", file=sys.stderr)
        number += 1


def main() -> None:
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    options = Options().read()
    note(f"start {os.getpid()}")
    if message := os.environ.get("RPICAM_FAIL"):
        fail(message)
    if options.camera:
        fail("selected camera is not available")
    if options.codec != "mjpeg" or options.output != "-":
        fail("this camera films in mjpeg to -o - alone")
    if options.verbose:
        print("[0:13:57.732391469] [810]  INFO Camera camera_manager.cpp:326 libcamera v0.5.0", file=sys.stderr)
    film(options)


def film(options: argparse.Namespace) -> None:
    garbage, kept = setting("GARBAGE") or 0, b""
    for jpeg_ in pictures(options):
        kept += random.randbytes(garbage) + jpeg_
        whole = len(kept) if options.flush else len(kept) // BUFFER * BUFFER
        try:
            sys.stdout.buffer.write(kept[:whole])
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            fail("failed to write output bytes")
        kept = kept[whole:]


if __name__ == "__main__":
    main()
