"""TensorBoard's files, read back by TensorBoard's own reader."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from facectl_runtime.errors import UsageError
from facectl_trainer.tensorboard import MOST_THUMBNAILS, TensorBoard, _sprite
from helpers import no_file_over

pytest.importorskip("tf_keras")
accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder):
    # Files of one second and one process are named by a count, and read as 1, 10, 2: none may purge another's points.
    size = {accumulator.TENSORS: 0}
    reader = accumulator.EventAccumulator(str(folder), size_guidance=size, purge_orphaned_data=False)
    reader.Reload()
    return reader


def points(folder, tag):
    """Every point of a scalar: (step, value)."""
    from tensorboard.util.tensor_util import make_ndarray

    events = read(folder).Tensors(tag)
    return sorted((event.step, round(float(make_ndarray(event.tensor_proto)), 6)) for event in events)


def tags(folder):
    return set(read(folder).Tags()["tensors"])


def write(board, stage, epochs, offset=0.0):
    for epoch in epochs:
        board.scalars(stage, epoch, {"loss": 1 / epoch + offset, "val_loss": 2 / epoch + offset, "rate": 0.01})


def test_train_and_val_share_a_chart(tmp_path):
    board = TensorBoard(tmp_path)
    write(board, "head", [1, 2, 4])
    board.close()
    assert points(tmp_path / "train", "head/loss") == [(1, 1.0), (2, 0.5), (4, 0.25)]
    assert points(tmp_path / "val", "head/loss") == [(1, 2.0), (2, 1.0), (4, 0.5)]
    assert tags(tmp_path / "train") == {"head/loss", "head/rate"}
    assert tags(tmp_path / "val") == {"head/loss"}


def test_points_can_be_read_while_training_goes_on(tmp_path):
    board = TensorBoard(tmp_path)
    write(board, "head", [1])
    assert points(tmp_path / "val", "head/loss") == [(1, 2.0)]
    board.close()


def test_an_interruption_doubles_no_point_and_loses_none(tmp_path):
    for begin in range(3):
        done = {"head": 3, "tune": begin} if begin else {}
        board = TensorBoard(tmp_path, done)
        if not begin:
            write(board, "head", range(1, 4))
        write(board, "tune", range(begin + 1, begin + 4), offset=begin)
        board.image("tune/confusion", np.zeros((4, 4, 3), np.uint8), begin + 4)
        board.image("confusion", np.zeros((4, 4, 3), np.uint8), 0)
        board.close()
    assert points(tmp_path / "train", "head/loss") == [(1, 1.0), (2, 0.5), (3, 0.333333)]
    assert points(tmp_path / "train", "tune/loss") == [(1, 1.0), (2, 1.5), (3, 2.333333), (4, 2.25), (5, 2.2)]
    assert [step for step, _ in points(tmp_path / "val", "tune/loss")] == [1, 2, 3, 4, 5]
    assert [event.step for event in read(tmp_path / "val").Tensors("tune/confusion")] == [6]
    assert [event.step for event in read(tmp_path / "val").Tensors("confusion")] == [0]


def test_a_training_from_the_start_begins_with_an_empty_folder(tmp_path):
    for _ in range(2):
        board = TensorBoard(tmp_path)
        write(board, "head", [1])
        board.close()
    assert points(tmp_path / "train", "head/loss") == [(1, 1.0)]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_file_cut_short_keeps_what_is_whole(tmp_path, cut):
    board = TensorBoard(tmp_path)
    write(board, "head", [1, 2, 3])
    board.close()
    (file,) = (tmp_path / "train").iterdir()
    file.write_bytes(file.read_bytes()[:-cut])
    board = TensorBoard(tmp_path, {"head": 2})
    write(board, "head", [3])
    board.close()
    assert points(tmp_path / "train", "head/loss") == [(1, 1.0), (2, 0.5), (3, 0.333333)]
    assert not list((tmp_path / "train").glob(".*"))


def test_a_picture_is_shown_to_the_bit(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    board = TensorBoard(tmp_path)
    board.image("head/array", pixels, 2)
    board.image("head/bytes", stream.getvalue(), 2)
    board.close()
    for tag in ("head/array", "head/bytes"):
        (event,) = read(tmp_path / "val").Tensors(tag)
        width, height, encoded = event.tensor_proto.string_val
        assert (event.step, width, height) == (2, b"7", b"9")
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded))), pixels)


def test_the_graph_names_the_layers(tmp_path):
    import tf_keras

    images = tf_keras.Input((8, 8, 3), dtype="uint8")
    floats = tf_keras.layers.Rescaling(1 / 255, name="scaled")(images)
    model = tf_keras.Model(images, tf_keras.layers.Conv2D(3, 2, name="first")(floats))
    two = tf_keras.Model(
        [images, other := tf_keras.Input((3,))], tf_keras.layers.Add(name="sum")([model(images), other])
    )
    for name, what in (("one", model), ("two", two)):
        board = TensorBoard(tmp_path / name)
        board.graph(what)
        board.close()
        nodes = [node.name for node in read(tmp_path / name / "train").Graph().node]
        assert any("first/Conv2D" in node for node in nodes)


def projector(folder):
    """Give a function that asks TensorBoard's projector for something of what lies below `folder`, over HTTP."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client

    runs = EventMultiplexer()
    runs.AddRunsFromDirectory(str(folder))
    runs.Reload()
    context = TBContext(logdir=str(folder), data_provider=MultiplexerDataProvider(runs, str(folder)))
    routes = ProjectorPlugin(context).get_plugin_apps()

    def ask(what, run="mine/tensorboard/val"):
        answer = Client(routes[f"/{what}"]).get("/", query_string={"run": run, "name": "test"})
        return answer.data if answer.status_code == 200 else None

    return ask


POINTS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
NAMES = ["Ann", "tab\there", "two\nlines", "\u2028", "Zoë", '"quoted', "7"]


def show(folder, thumbnails, points=POINTS):
    board = TensorBoard(folder)
    board.embeddings(points, {"person": NAMES, "photograph": [f"{name}/1.jpg" for name in NAMES]}, thumbnails)
    board.close()


def test_the_projector_serves_embeddings_names_and_pictures(tmp_path):
    wide = [np.full((32, 64, 3), 30 * place, np.uint8) for place in range(7)]
    show(tmp_path / "mine" / "tensorboard", [*wide[:3], None, *wide[4:]])
    ask = projector(tmp_path)
    assert json.loads(ask("runs")) == ["mine/tensorboard/val"]
    (embedding,) = json.loads(ask("info"))["embeddings"]
    assert (embedding["tensorName"], embedding["tensorShape"]) == ("test", [7, 3])
    np.testing.assert_allclose(np.frombuffer(ask("tensor"), np.float32).reshape(7, 3), POINTS, rtol=1e-6)
    header, *rows = ask("metadata").decode().removesuffix("\n").split("\n")
    assert header == "person\tphotograph"
    assert [row.split("\t")[0] for row in rows] == [
        "Ann", r"tab\there", r"two\nlines", r"\u2028", "Zoë", '"quoted', "7"
    ]  # fmt: skip
    assert {row.count("\t") for row in rows} == {1}
    sprite = np.asarray(Image.open(io.BytesIO(ask("sprite_image"))))
    assert sprite.shape == (3 * 64, 3 * 64, 3)
    assert [int(sprite[32 + 64 * (k // 3), 32 + 64 * (k % 3), 0]) // 10 for k in range(7)] == [0, 3, 6, 12, 12, 15, 18]


def test_points_without_pictures_and_points_shown_anew(tmp_path):
    show(tmp_path / "mine" / "tensorboard", [np.zeros((8, 8, 3), np.uint8)] * 7)
    show(tmp_path / "mine" / "tensorboard", [None] * 7, points=POINTS + 1)
    ask = projector(tmp_path)
    assert "sprite" not in json.loads(ask("info"))["embeddings"][0]
    assert ask("sprite_image") is None
    np.testing.assert_allclose(np.frombuffer(ask("tensor"), np.float32).reshape(7, 3), POINTS + 1, rtol=1e-6)
    assert not list(tmp_path.rglob(".*"))


def test_a_training_that_goes_on_drops_the_points_of_an_earlier_end(tmp_path):
    show(tmp_path / "mine" / "tensorboard", [None] * 7)
    TensorBoard(tmp_path / "mine" / "tensorboard").close()
    assert json.loads(projector(tmp_path)("runs")) == []


def test_as_many_pictures_as_a_browser_draws_make_one_sprite():
    assert _sprite([None] * MOST_THUMBNAILS).size == (8192, 8192)
    assert _sprite([None] * 2000).size == (45 * 64, 45 * 64)
    assert _sprite([None] * 2).size == (128, 64)


def test_points_on_a_full_disk_are_said_and_leave_nothing(tmp_path):
    board = TensorBoard(tmp_path)
    with no_file_over(30), pytest.raises(UsageError, match=r"TensorBoard's files cannot be written: .*large"):
        board.embeddings(POINTS, {"person": NAMES, "photograph": NAMES}, [None] * 7)
    board.close()
    assert not list((tmp_path / "val" / "plugins").iterdir())


def test_a_full_disk_is_said_in_one_line(tmp_path):
    resource = pytest.importorskip("resource")
    board = TensorBoard(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(UsageError, match=r"TensorBoard's files cannot be written: .*large") as said:
            write(board, "head", range(1, 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        board.close()
    assert "\n" not in str(said.value)
    assert "{{" not in str(said.value)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file/board: TensorBoard's files cannot be written: "):
        TensorBoard(tmp_path / "file" / "board")
