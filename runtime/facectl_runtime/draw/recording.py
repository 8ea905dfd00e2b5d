"""What a camera shows, drawn into a folder: a new video every ten minutes, so that none is lost but the last."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic

from PIL import Image

from facectl_runtime.draw.video import VideoWriter, cause
from facectl_runtime.errors import FacectlError, MissingExtraError
from facectl_runtime.names import Names

SECONDS = 600.0
"""From the first frame of a file to that of the next; an MP4 is nothing before it is finished."""
_RETRY = 10.0  # seconds until the next file is tried where one failed


class Recording:
    """The videos of one camera: `NAME-20261126T190501Z.mp4`, by the UTC time of the first frame in each."""

    def __init__(self, folder: Path, stem: str, names: Names, say: Callable[[str], None]) -> None:
        """Prepare to draw; `names` are those of the folder, and `say` is told in one line what goes wrong."""
        self._folder, self._stem, self._names, self._say = folder, stem, names, say
        self._video: VideoWriter | None = None
        self._began = 0.0
        self._failed_at: float | None = None
        self.is_whole = False
        """Whether one of the videos is there."""
        self._is_lost = False
        """Whether that files cannot be written was the last that was said."""

    def add(self, picture: Image.Image, arrived: float, at: str | None) -> None:
        """Draw a frame that came at `arrived` by `time.monotonic`, and `at` in UTC and ISO 8601.

        What cannot be written is said once, and another file is tried later. Raises `MissingExtraError`.
        """
        if self._video is not None and arrived - self._began >= SECONDS:
            self.close()
        if self._failed_at is not None and monotonic() - self._failed_at < _RETRY:
            return
        try:
            if self._video is None:
                self._video, self._began = VideoWriter(self._target(at), picture.size, self._stem), arrived
            self._video.write(picture, arrived)
        except MissingExtraError:
            raise
        except FacectlError as error:
            self._lose(error)

    def close(self) -> None:
        """Finish the file in hand; where that fails it is said."""
        video, self._video = self._video, None
        if video is None:
            return
        try:
            video.close()
        except FacectlError as error:
            self._lose(error)
            return
        self.is_whole = True
        if self._is_lost:
            self._is_lost = False
            self._say(f"--draw {self._folder}: {self._stem} can be written again")

    def _target(self, at: str | None) -> Path:
        stem = f"{self._stem}-{at[:19].replace('-', '').replace(':', '')}Z" if at else self._stem
        return self._folder / self._names.give(stem, ".mp4")

    def _lose(self, error: FacectlError) -> None:
        self._video, self._failed_at = None, monotonic()
        if not self._is_lost:
            self._is_lost = True
            self._say(
                f"--draw {self._folder}: the video of {self._stem} cannot be written ({cause(error)}); answers go on, "
                "and it is tried again"
            )
