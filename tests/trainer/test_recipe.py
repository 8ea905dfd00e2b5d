"""Recipes are read strictly, and a mistake in one is named with what was probably meant."""

from pathlib import Path

import msgspec
import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.spec import CenterCrop, Letterbox, Squash
from facectl_trainer.backbones import BACKBONES, backbone
from facectl_trainer.model import assemble, begins_at
from facectl_trainer.recipe import AlignPlan, Changes, load_recipe, names, variants

WHOLE = """
backbone = "efficientnet_lite0"
resize = { kind = "letterbox", fill = [1, 2, 3] }
[split]
test = 0.25
val = 0.1
[head]
hidden = [16]
[augment]
rotation = 10
[[stages]]
train = "head"
optimizer = "sgd"
rate = 0.5
batch = 8
epochs = 3
patience = 2
[[stages]]
train = "top"
optimizer = "adam"
rate = 1e-4
epochs = 5
patience = 4
augment = true
[variant.scratch]
weights = "none"
resize = { kind = "center_crop" }
head = { dropout = 0.25 }
stages = [{ train = "all", optimizer = "adamw", rate = 1e-3, epochs = 7, patience = 6 }]
[variant.plain]
"""


@pytest.fixture
def written(tmp_path):
    def write(*changes, name="mine.toml"):
        text = WHOLE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def refused(path, variant=None):
    with pytest.raises(UsageError) as caught:
        load_recipe(path, variant)
    message = str(caught.value)
    assert "\n" not in message
    assert path in message
    return message


EVERY = [(name, variant) for name in names() for variant in (None, *variants(name))]


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_ours_can_be_trained(name, variant):
    given, recipe = load_recipe(name, variant)
    assert given == (f"{name}/{variant}" if variant else name)
    assert recipe.backbone in BACKBONES
    assert recipe.about
    body = BACKBONES[recipe.backbone]
    assert recipe.weights in (None, "none", *(weights.name for weights in body.weights))
    assert body.weights or recipe.weights == "none"


def test_ours_are_those_promised():
    assert {"age", "lfw10", "shapes", "twins", "zoo"} <= set(names())


def test_a_user_s_file_is_read_whole(written):
    name, recipe = load_recipe(written())
    assert name == "mine"
    assert recipe.resize == Letterbox((1, 2, 3))
    assert (recipe.split.test, recipe.split.val) == (0.25, 0.1)
    assert (recipe.head.hidden, recipe.head.dropout) == ((16,), 0)
    head, top = recipe.stages
    assert (head.optimizer, head.rate, head.batch, head.epochs, head.patience) == ("sgd", 0.5, 8, 3, 2)
    assert (top.train, top.batch, top.schedule, top.augment) == ("top", 32, "constant", True)
    assert recipe.augment.rotation == 10
    assert recipe.balance == "none"
    assert recipe.copies is recipe.weights is recipe.side is None


def test_a_variant_s_keys_replace_the_recipe_s_and_all_others_stay(written):
    name, recipe = load_recipe(written(), "scratch")
    assert name == "mine/scratch"
    assert (recipe.head.hidden, recipe.head.dropout) == ((), 0.25)
    assert [stage.train for stage in recipe.stages] == ["all"]
    assert recipe.resize == CenterCrop()
    assert recipe.augment.rotation == 10
    assert load_recipe(written(), "plain")[1] == load_recipe(written())[1]


def test_variants_come_in_the_file_s_order(written):
    assert variants(written()) == ["scratch", "plain"]
    assert variants("zoo") == list(dict.fromkeys(variants("zoo")))


def test_an_unknown_variant_is_suggested(written):
    with pytest.raises(
        UsageError, match=r"mine: no variant 'scrach'; did you mean 'scratch'\?; there are scratch, plain"
    ):
        load_recipe(written(), "scrach")
    with pytest.raises(UsageError, match="the recipe has none"):
        load_recipe("shapes", "x")


def test_a_variant_that_is_no_table(written):
    assert "[variant.NAME]" in refused(
        written(("[variant.plain]", "[variant]\nplain = 3"), ("[variant.scratch]", "[x]"))
    )


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("rotation =", "rotatoin =", "rotation"),
        ("hidden =", "hiden =", "hidden"),
        ('train = "top"', 'trian = "top"', "train"),
        ("[augment]", "[augmnet]", "augment"),
        ('[[stages]]\ntrain = "head"', '[[stage]]\ntrain = "head"', "stages"),
    ],
)
def test_a_misspelt_key_or_table_is_suggested(written, old, new, wanted):
    assert f"did you mean {wanted!r}?" in refused(written((old, new)))


def test_a_misspelt_key_in_a_variant_is_suggested_and_the_variant_named(written):
    path = written(("dropout = 0.25", "dropuot = 0.25"))
    for asked in ("scratch", "plain", None):
        message = refused(path, asked)
        assert "did you mean 'dropout'?" in message
        assert "variant scratch" in message


def test_nothing_is_frozen_from_scratch(written):
    message = refused(written(("[split]", 'weights = "none"\n[split]')))
    assert "there is nothing to freeze" in message
    assert 'train = "all"' in message


def test_augmentation_without_a_plan_is_refused(written):
    assert "no [augment]" in refused(written(("[augment]\nrotation = 10\n", "")))


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
        ("rate = 0.5", "rate = 0", "rate"),
        ("rate = 0.5", 'rate = "fast"', "rate"),
        ("batch = 8", "batch = 0", "batch"),
        ("epochs = 3", "epochs = 1.5", "epochs"),
        ("hidden = [16]", "dropout = 1.0", "head.dropout"),
        ("patience = 2\n", "", "patience"),
        ("test = 0.25", "test = 1", "split.test"),
        ("test = 0.25", "test = 0.9", "leave nothing to train on"),
        ('"sgd"', '"lion"', "optimizer"),
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


@pytest.mark.parametrize("number", [0, 1])
def test_the_recipes_of_the_page_fit_their_networks(tmp_path, number):
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    text = page.split("```toml\n")[number + 1].split("```")[0]
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("side = 224", "side = 64"))
    for variant in (None, *variants(str(path))):
        recipe = load_recipe(str(path), variant)[1]
        body = backbone(recipe.backbone)
        model = assemble(body, recipe, 2, body.preprocess)
        assert all(begins_at(model, stage.train) >= 0 for stage in recipe.stages)


def test_what_embeds_or_aligns_faces_shows_people():
    for name, variant, people in (("zoo", None, False), ("twins", None, True), ("triplet", "facenet", True)):
        assert load_recipe(name, variant)[1].shows_people == people
    embeds = msgspec.structs.replace(load_recipe("triplet")[1], people=False)
    aligns = msgspec.structs.replace(load_recipe("zoo")[1], resize=AlignPlan())
    assert embeds.shows_people
    assert aligns.shows_people


def test_an_embedding_of_nothing_that_was_learnt_is_refused():
    with pytest.raises(UsageError, match="nothing pretrained"):
        Changes(weights="none", pretrained=True).of(load_recipe("triplet")[1])
    with pytest.raises(UsageError, match="--sampling is of triplets, and nothing is trained"):
        Changes(sampling="weighted").of(load_recipe("triplet", "facenet")[1])


def test_another_backbone_is_not_cut_where_the_recipe_s_own_is():
    age = load_recipe("age")[1]
    assert age.features.layer
    assert Changes(backbone=age.backbone, epochs=3).of(age).features == age.features
    other = Changes(backbone="mobilenet_v2").of(age)
    assert (other.features.layer, other.features.grid) == (None, age.features.grid)
