"""Recipes are read strictly, and a mistake in one is named with what was probably meant."""

import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.spec import CenterCrop, Letterbox, Squash
from facectl_trainer.backbones import BACKBONES
from facectl_trainer.recipe import load_recipe, names

WHOLE = """
backbone = "efficientnet_lite0"
resize = { kind = "letterbox", fill = [1, 2, 3] }
[split]
test = 0.25
val = 0.1
[head]
optimizer = "sgd"
rate = 0.5
batch = 8
epochs = 3
patience = 2
"""


@pytest.fixture
def written(tmp_path):
    def write(*changes, name="mine.toml"):
        text = WHOLE
        for old, new in changes:
            assert text.count(old) == 1
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def refused(path):
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path in message
    return message


@pytest.mark.parametrize("name", names())
def test_ours_can_be_trained(name):
    given, recipe = load_recipe(name)
    assert given == name
    assert recipe.backbone in BACKBONES


def test_ours_are_those_promised():
    assert "zoo" in names()


def test_a_user_s_file_is_read_whole(written):
    name, recipe = load_recipe(written())
    assert name == "mine"
    assert recipe.resize == Letterbox((1, 2, 3))
    assert (recipe.split.test, recipe.split.val) == (0.25, 0.1)
    head = recipe.head
    assert (head.optimizer, head.rate, head.batch, head.epochs, head.patience) == ("sgd", 0.5, 8, 3, 2)
    assert head.dropout == 0


@pytest.mark.parametrize(
    ("text", "resize"),
    [
        ('{ kind = "squash" }', Squash()),
        ('{ kind = "center_crop" }', CenterCrop(1.0)),
        ('{ kind = "center_crop", fraction = 0.875 }', CenterCrop(0.875)),
    ],
)
def test_every_way_to_resize(written, text, resize):
    assert load_recipe(written(('{ kind = "letterbox", fill = [1, 2, 3] }', text)))[1].resize == resize


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("patience", "pateince"), ("optimizer", "optimiser"), ("backbone", "backbon"), ("fill", "fil"), ("val", "vall")],
)
def test_a_misspelt_key_is_suggested(written, right, wrong):
    message = refused(written((f"{right} =", f"{wrong} =")))
    assert f"`{wrong}`" in message
    assert f"did you mean {right!r}?" in message


def test_a_key_like_no_other_is_named_without_a_guess(written):
    message = refused(written(("batch = 8", "batch = 8\nzzzzzz = 1")))
    assert "`zzzzzz`" in message
    assert "did you mean" not in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rate = 0.5", "rate = 0", "head.rate"),
        ("rate = 0.5", 'rate = "fast"', "head.rate"),
        ("batch = 8", "batch = 0", "head.batch"),
        ("epochs = 3", "epochs = 1.5", "head.epochs"),
        ("patience = 2", "patience = 2\ndropout = 1.0", "head.dropout"),
        ("patience = 2", "", "patience"),
        ("test = 0.25", "test = 1", "split.test"),
        ("test = 0.25", "test = 0.9", "leave nothing to train on"),
        ('"sgd"', '"adamw"', "head.optimizer"),
        ('"letterbox"', '"stretch"', "resize"),
        ("[1, 2, 3]", "[1, 2]", "RGB has 3"),
        ("[1, 2, 3]", "[1, 2, 256]", "resize.fill"),
        ("[head]", "[head", "line"),
    ],
)
def test_a_value_out_of_range_is_named(written, old, new, words):
    assert words in refused(written((old, new)))


def test_a_file_that_is_not_there(tmp_path):
    assert "No such file" in refused(str(tmp_path / "none.toml"))


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    refused(str(tmp_path / "bytes.toml"))


def test_an_unknown_name_is_suggested():
    with pytest.raises(UsageError, match=r"no recipe 'zo'; did you mean 'zoo'\?; there are .*zoo.*\.toml") as caught:
        load_recipe("zo")
    assert "\n" not in str(caught.value)
