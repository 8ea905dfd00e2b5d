"""Cameras and network streams through PyAV: how they are opened, and their frames as they come."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic, sleep
from typing import Any

from facectl_runtime.devices import usable_cores
from facectl_runtime.errors import UsageError, reason
from facectl_runtime.video.frames import decoder_options, pyav, to_picture
from facectl_runtime.video.live import Arrived

OPEN_CAMERAS = "sudo usermod -aG video $USER, and log in again"
"""What lets a user open the cameras of a Linux machine."""
# What an address may lead to, also by a playlist behind it: files of this machine are not among it.
_PROTOCOLS = "crypto,http,https,httpproxy,rtmp,rtp,srtp,rtsp,rtsps,tcp,tls,udp"
_CONTAINERS = (
    "rtsp,rtp,sdp,mpegts,hls,flv,live_flv,mpjpeg,mjpeg,mov,mp4,matroska,webm,ogg,avi,asf,mpeg,mpegvideo,h264,hevc,m4v,"
    "image2,jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,gif,aac,mp3"
)
_WAITED = 0.005  # seconds; a packet that took longer to come was not there before it was asked for
_WINDOW, _IDLE = 1.0, 0.1
"""Seconds, and the share of them that has to be spent on waiting for packets: else they come faster than decoded."""
_BARREN = 100  # packets one after the other that give no picture: the stream has become another
_PLUGGED_IN = 1.0  # seconds until the system has said who may open a camera that was just plugged in
_SILENT = 20.0  # seconds with packets, but without a picture


@contextmanager
def open_stream(address: str, name: str, timeout: float) -> Iterator[Iterator[Arrived | None]]:
    """Open a network stream, which counts as lost where nothing comes for `timeout` seconds.

    `name` is the address as it may be printed. Raises what `live.Connect` says.
    """
    av = pyav(f"{name}: a stream")
    options = {
        "rtsp_transport": "tcp",  # what is lost on the way comes late, but pictures stay whole
        "analyzeduration": "500000",  # microseconds: longer waits would delay every reconnection, and so would
        "fpsprobesize": "0",  # frames from which the rate is guessed, which nothing here asks for
        "protocol_whitelist": _PROTOCOLS,
        "format_whitelist": _CONTAINERS,
    }
    with (
        _lost(av, timeout),
        av.open(address, "r", options=options, timeout=timeout, metadata_errors="replace") as container,
    ):
        kind = container.format.name
        if "pipe" in kind or kind == "image2":
            raise UsageError(f"{name}: it is one picture, not a stream; download it, and give the file")
        if container.duration is not None:
            length = f"a file of {container.duration / 1e6:.1f} s"
            raise UsageError(f"{name}: it is {length}, not a stream; download it, and give the file")
        yield _arrivals(av, container)


@contextmanager
def open_camera(device: str, timeout: float) -> Iterator[Iterator[Arrived | None]]:
    """Open a camera by its index or, on Linux, by the path of its device. Raises what `live.Connect` says."""
    av = pyav(f"{device}: a camera")
    if sys.platform == "darwin":
        file, kind, choices = device, "avfoundation", [{"framerate": "30"}, {}]
    else:
        file, kind = f"/dev/video{device}" if device.isdecimal() else device, "v4l2"
        choices = [{"input_format": "mjpeg"}, {}]  # uncompressed, USB carries a few frames a second at most
        if _stays_shut(file):
            raise UsageError(f"{device}: {file} may not be opened by this user; {OPEN_CAMERAS}")
    with _lost(av, timeout), _opened_as(av, file, kind, choices, timeout) as container:
        yield _arrivals(av, container)


def _stays_shut(file: str) -> bool:
    """Tell whether a device is there that this user may not open, also some time after it came."""

    def is_shut() -> bool:
        return os.path.exists(file) and not os.access(file, os.R_OK | os.W_OK)  # noqa: PTH110  # as a path is typed

    if not is_shut():
        return False
    sleep(_PLUGGED_IN)
    return is_shut()


def _opened_as(av: Any, file: str, kind: str, choices: list[dict[str, str]], timeout: float) -> Any:
    """Open a device with the first choice of options that it has."""
    for options in choices[:-1]:
        try:
            return av.open(file, "r", format=kind, options=options, timeout=timeout)
        except ValueError:  # PyAV's for what a device cannot do
            continue
    return av.open(file, "r", format=kind, options=choices[-1], timeout=timeout)


@contextmanager
def _lost(av: Any, timeout: float) -> Iterator[None]:
    """Turn PyAV's errors, which have many classes, into `OSError`."""
    try:
        yield
    except av.error.ExitError as error:  # PyAV's own way to end what takes longer than `timeout` seconds
        raise TimeoutError(f"nothing has come for {timeout:g} s") from error
    except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError) as error:
        raise PermissionError(error.errno, error.strerror) from error
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror or reason(error)) from error


def _arrivals(av: Any, container: Any) -> Iterator[Arrived | None]:
    """Give the frames of the first video as they come; raises `EOFError` at the end."""
    if not container.streams.video:
        raise ValueError("it has no pictures in it")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None:
        raise ValueError("its pictures are in a coding that is not known")
    context.options = {**context.options, **decoder_options()}
    context.thread_type, context.thread_count = "SLICE", max(1, usable_cores() // 2)  # FRAME would delay each frame
    came: dict[int | None, float] = {}
    barren, shown, pictured = 0, False, monotonic()
    for packet, now, passed_over in _caught_up(container, stream, context):
        if passed_over:
            yield None
            continue
        came[packet.pts] = now
        try:
            frames = packet.decode()
            barren = barren + 1 if shown and not frames else 0  # the first picture may be long in coming
        except (av.error.InvalidDataError, av.error.PatchWelcomeError):
            barren += 1
            frames = []
        for frame in frames:
            shown, pictured = True, now
            yield Arrived(came.pop(frame.pts, now), partial(to_picture, frame))
        if barren > _BARREN or now - pictured > _SILENT:
            raise ValueError("what comes cannot be decoded any more")
        while len(came) > _BARREN:
            del came[next(iter(came))]


def _caught_up(container: Any, stream: Any, context: Any) -> Iterator[tuple[Any, float, bool]]:
    """Give each packet with the time it came, and whether to pass over it.

    Packets that wait to be read are old, however new they look. Where hardly any had to be waited for, they pile up:
    then all are passed over until one has to be waited for, and further until a picture begins that needs no other.
    """
    packets, passing, caught_up = container.demux(), False, False
    began = heard = since = monotonic()
    waited = 0.0
    while True:
        asked = monotonic()
        packet = next(packets, None)
        now = monotonic()
        if packet is None or packet.size == 0:
            raise EOFError("it ended")
        # Of sound too: where it is sent just before its pictures, these never have to be waited for.
        waited += now - asked
        caught_up = caught_up or now - asked > _WAITED
        if packet.stream.index != stream.index:
            if now - heard > _SILENT:
                raise ValueError("no picture has come for a while")
            continue
        heard = now
        if passing and now - since > _SILENT:
            raise ValueError(
                "no picture to go on from has come" if caught_up else "it comes faster than it can be decoded"
            )
        if passing and packet.is_keyframe and caught_up:
            passing, began, waited = False, now, 0.0
            context.flush_buffers()
        elif now - began > _WINDOW:
            if not passing and waited < _IDLE * (now - began):
                passing, caught_up, since = True, False, now
            began, waited = now, 0.0
        yield packet, now, passing
