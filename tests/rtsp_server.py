"""A camera on RTSP, which plays two files in endless loops; run by the system's Python, which has GStreamer.

    rtsp_server.py PORT WIDTH HEIGHT FPS GOP H264 JPEGS [NAME PASSWORD]

It films whether anyone looks or not: who connects gets what is taken from the next key frame on, H.264 at `/h264` and
JPEG at `/jpeg`, over TCP or UDP as asked. Prints `ready` when it listens, and `PATH NUMBER SECONDS` (monotonic) of
every frame that leaves; ends with 3 where GStreamer is not complete.
"""

import math
import os
import re
import sys
import threading
import time
from pathlib import Path

try:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer
except (ImportError, ValueError) as error:
    print(error)
    sys.exit(3)

DELIMITER, SOI = rb"\x00\x00\x00\x01\x09.", rb"(?=\xff\xd8\xff)"
"""What stands before a frame of H.264 (x264 writes it when asked to), and before a JPEG."""
SOURCE = "( appsrc name=camera is-live=true format=time do-timestamp=true caps={} name=pay0 )"
PATHS = {
    "/h264": "video/x-h264,stream-format=byte-stream,alignment=au ! rtph264pay",
    "/jpeg": "image/jpeg,width={},height={} ! rtpjpegpay pt=26",
}


def frames_of(file, mark):
    """Cut a file into its frames, each of which has `mark` before it."""
    return re.split(mark, Path(file).read_bytes(), flags=re.DOTALL)[1:]


def film(source, path, frames, fps, gop):
    """Push frame k at k / `fps` seconds by the clock, from the next key frame until nobody looks any more."""
    number = math.ceil(time.monotonic() * fps / gop) * gop
    while True:
        time.sleep(max(0, number / fps - time.monotonic()))
        shown = number % len(frames)
        os.write(1, f"{path} {shown} {time.monotonic()}\n".encode())  # whole, whoever else looks
        if source.emit("push-buffer", Gst.Buffer.new_wrapped(frames[shown])) != Gst.FlowReturn.OK:
            return
        number += 1


def camera(path, size, frames, fps, gop):
    def begin(_, media):
        source = media.get_element().get_by_name("camera")
        threading.Thread(target=film, args=(source, path, frames, fps, gop), daemon=True).start()

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(SOURCE.format(PATHS[path].format(*size)))
    factory.set_shared(True)
    factory.connect("media-configure", begin)
    return factory


def protect(server, factories, name, password):
    """Ask for a name and a password (HTTP basic)."""
    token, rights = GstRtspServer.RTSPToken(), GstRtspServer.RTSPPermissions()
    token.set_string("media.factory.role", name)
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(name, password), token)
    server.set_auth(auth)
    for right in ("media.factory.access", "media.factory.construct"):
        rights.add_permission_for_role(name, right, True)
    for factory in factories:
        factory.set_permissions(rights)


def main(port, width, height, fps, gop, h264, jpegs, *login):
    Gst.init(None)
    missing = {"appsrc", "rtph264pay", "rtpjpegpay"} - {
        feature.get_name() for feature in Gst.Registry.get().get_feature_list(Gst.ElementFactory)
    }
    if missing:
        print("no", *missing)
        return 3
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
    films = {"/h264": frames_of(h264, DELIMITER), "/jpeg": frames_of(jpegs, SOI)}
    factories = {path: camera(path, (width, height), frames, float(fps), int(gop)) for path, frames in films.items()}
    for path, factory in factories.items():
        server.get_mount_points().add_factory(path, factory)
    if login:
        protect(server, factories.values(), *login)
    if not server.attach(None):
        print("port", port, "is taken")
        return 1
    print("ready", flush=True)
    GLib.MainLoop().run()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
