"""Answers drawn on what was answered: a picture, a video, or a folder of them; each is there whole or not at all."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePath

from PIL import Image

from facectl_runtime.draw.picture import draw_answer
from facectl_runtime.draw.recording import Recording
from facectl_runtime.draw.video import VIDEOS, VideoWriter
from facectl_runtime.errors import FacectlError, ImageError, UsageError
from facectl_runtime.files import scratch_beside, unwritable
from facectl_runtime.names import Names, file_stem
from facectl_runtime.picture import picture_of
from facectl_runtime.rows import Answered, Row
from facectl_runtime.sources import Source
from facectl_runtime.video.frames import pyav

PICTURES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
"""Suffixes of the pictures that can be written, and Pillow's names for them."""
_QUALITY = 92  # of JPEG and WebP


def drawn(answered: Iterable[Answered], drawing: "Drawing") -> Iterator[Answered]:
    """Pass answers on, and draw each; what was begun is finished when the iteration ends, is closed, or fails.

    Raises what `Drawing.add` does.
    """
    try:
        for source, row in answered:
            drawing.add(source, row)
            yield source, row
    finally:
        drawing.close()


class Drawing:
    """Where answers are drawn: a picture of one image, the frames of one video or camera, or a folder for all."""

    def __init__(self, out: Path, *, force: bool = False, say: Callable[[str], None]) -> None:
        """Prepare to draw into `out`, which is a folder unless its suffix is of a picture or a video.

        `force` replaces what is there; in a folder, files of the same names. `say` is told in one line of cameras that
        cannot be drawn for a while. Raises `UsageError` where `out` is there already or cannot be written, and
        `MissingExtraError` for a video without PyAV.
        """
        suffix = out.suffix.lower()
        if suffix and suffix not in PICTURES | VIDEOS and not out.is_dir():
            kinds = ", ".join((*PICTURES, *VIDEOS))
            raise UsageError(
                f"--draw {out}: {suffix} is not written; give a name that ends in {kinds}, or a folder (one with a dot "
                "in its name has to be there)"
            )
        self._out, self._suffix, self._say = out, suffix if suffix in PICTURES | VIDEOS else "", say
        _check(out, is_folder=not self._suffix, force=force)
        if self._suffix in VIDEOS:
            pyav(f"--draw {out}: a video")
        try:
            with scratch_beside(out if self._suffix else out / out.name):
                pass  # it can be written
        except FacectlError as error:
            raise unwritable(f"--draw {out}", error.__cause__ or error) from error
        self.made = False
        """Whether something was drawn: a picture, or a video that is whole."""
        self._taken: str | None = None
        self._names, self._cameras = Names(), Names()
        self._file: tuple[str, VideoWriter] | None = None
        self._live: dict[str, VideoWriter | Recording] = {}

    def add(self, source: Source, row: Row) -> None:
        """Draw an answer; one whose picture cannot be read is passed over.

        Raises `UsageError`, `MissingExtraError`, and what `unwritable` gives.
        """
        try:
            picture = draw_answer(picture_of(source), row)
        except ImageError:
            return
        if source.time is not None:
            self._of_file(source, source.time, picture.size).write(picture, source.time)
        elif source.arrived is not None:
            video = self._of_camera(source, picture.size)
            if isinstance(video, Recording):
                video.add(picture, source.arrived, row.at)
            else:
                video.write(picture, source.arrived)
        else:
            _write(picture, self._target(source, ".png" if _is_png(source) else ".jpg"))
            self.made = True

    def close(self) -> None:
        """Finish every video that was begun. Raises what `unwritable` gives."""
        videos = list(self._live.values()) + ([self._file[1]] if self._file else [])
        self._live, self._file = {}, None
        with ExitStack() as stack:  # each is finished, whatever befalls another
            for video in videos:
                stack.callback(self._finish, video)

    def _finish(self, video: VideoWriter | Recording) -> None:
        video.close()
        self.made |= video.is_whole

    def _of_camera(self, source: Source, size: tuple[int, int]) -> VideoWriter | Recording:
        """Give the video that a frame of a camera belongs to, or in a folder the camera's videos."""
        if source.name not in self._live:
            if self._suffix:
                self._live[source.name] = VideoWriter(self._target(source, ".mp4"), size)
            else:
                stem = self._cameras.give(file_stem(source.name), "")
                self._live[source.name] = Recording(self._out, stem, self._names, self._say)
        return self._live[source.name]

    def _of_file(self, source: Source, seconds: float, size: tuple[int, int]) -> VideoWriter:
        """Give the video that a frame of a file belongs to; another begins where the file or the time says so."""
        if self._file is not None:
            name, video = self._file
            if name == source.name and video.last is not None and seconds > video.last:
                return video
            self._file = None
            self._finish(video)
        video = VideoWriter(self._target(source, ".mp4"), size)
        self._file = source.name, video
        return video

    def _target(self, source: Source, suffix: str) -> Path:
        """Give the file that a source is drawn into, in a folder one that ends in `suffix`. Raises `UsageError`."""
        if source.arrived is None and Path(source.name).resolve().is_relative_to(self._out.resolve()):
            raise UsageError(f"--draw {self._out}: {source.name} is there, and stays as it is; give another place")
        if not self._suffix:
            return self._out / self._name(source, suffix)
        if (suffix in VIDEOS) != (self._suffix in VIDEOS):
            what, kind = ("a video", ".mp4") if suffix in VIDEOS else ("a picture", ".jpg")
            raise UsageError(
                f"--draw {self._out}: {source.name} is {what}; give a name that ends in {kind}, or a folder"
            )
        if self._taken is not None:
            raise UsageError(f"--draw {self._out}: holds {self._taken}, and {source.name} comes too; give a folder")
        self._taken = source.name
        return self._out

    def _name(self, source: Source, suffix: str) -> str:
        """Name a file as its source is named; where that is taken, with the source's folder before it, or a number."""
        path = PurePath(source.name)
        stem = file_stem(path.stem)
        if f"{stem}{suffix}" in self._names and path.parent.name:
            stem = file_stem(f"{path.parent.name}-{stem}")
        return self._names.give(stem, suffix)


def _check(out: Path, *, is_folder: bool, force: bool) -> None:
    """Refuse a place where something else stands, before any work. Raises `UsageError`."""
    if is_folder:
        if out.exists() and not out.is_dir():
            raise UsageError(f"--draw {out}: a file stands there; give a folder, or a name that ends in .jpg or .mp4")
        if not force and out.is_dir() and any(out.iterdir()):
            raise UsageError(f"--draw {out}: already there; give another folder, or --force to draw into this one")
    elif out.is_dir():
        raise UsageError(f"--draw {out}: a folder; give the name of a file, or of a folder without {out.suffix}")
    elif out.exists() and not force:
        raise UsageError(f"--draw {out}: already there; give another name, or --force to replace it")


def _is_png(source: Source) -> bool:
    if isinstance(source.data, bytes):
        return source.data.startswith(b"\x89PNG")
    return isinstance(source.data, Path) and source.data.suffix.lower() == ".png"


def _write(picture: Image.Image, target: Path) -> None:
    """Write a picture beside, then rename it. Raises what `unwritable` gives."""
    kind = PICTURES[target.suffix.lower()]
    options = {"compress_level": 3} if kind == "PNG" else {"quality": _QUALITY, "subsampling": 0}
    with scratch_beside(target) as scratch:
        try:
            picture.save(scratch / target.name, kind, **options)
            (scratch / target.name).replace(target)
        except (OSError, ValueError) as error:
            raise unwritable(f"--draw {target}", error) from error
