"""The report of a run: a page that opens alone, and pictures beside it."""

import json
import re
import shutil
from html.parser import HTMLParser

import msgspec
import pytest

from drawn_run import draw_run, tiny_model
from facectl_runtime.errors import ModelError
from facectl_runtime.spec import encode

tf_keras = pytest.importorskip("tf_keras")
pytest.importorskip("matplotlib")

from facectl_trainer.reports.measured import curves, headline  # noqa: E402
from facectl_trainer.reports.photographs import Photographs  # noqa: E402
from facectl_trainer.reports.report import write_report  # noqa: E402
from facectl_trainer.reports.results import read_results  # noqa: E402
from facectl_trainer.reports.seen import test_images as shown_tests  # noqa: E402
from facectl_trainer.run import read_spec  # noqa: E402

HOSTILE = ['<script>alert("1")</script>', "a & b's", "$x_1$ \\ %"]
PICTURES = {"learning-curves", "confusion", "reliability", "composition", "examples", "test-images", "mistakes",
            "hardest-pairs", "activations", "grad-cam"}  # fmt: skip


class Page(HTMLParser):
    """What a browser finds in a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text, self.sections = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.links += [attributes[name] for name in ("src", "href", "srcset") if name in attributes]
        if tag == "section":
            self.sections.append(attributes["id"])
        assert not [name for name in attributes if name.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Draw a run whose labels are markup, and write its report."""
    place = tmp_path_factory.mktemp("hostile")
    folder = draw_run(place / "run", place / "data", HOSTILE, each=3, wrong=[0, 4], folders=["a", "b", "c"])
    written = write_report(folder, tiny_model(3), quiet=True)
    assert written == folder / "report.html"
    return folder


@pytest.fixture
def page(hostile):
    return Page((hostile / "report.html").read_text(encoding="utf-8"))


def test_the_page_opens_alone(page):
    assert len(page.links) > 30
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in "".join(page.text)


def test_labels_are_text_whatever_stands_in_them(page, hostile):
    text = "".join(page.text)
    assert all(label in text for label in HOSTILE)
    assert "<script" not in (hostile / "report.html").read_text(encoding="utf-8")


def test_the_sections_come_in_order_and_each_is_linked(page):
    assert page.sections == ["learning-curves", "confusion", "per-class", "reliability", "composition", "examples",
                             "test-images", "mistakes", "hardest-pairs", "activations", "grad-cam"]  # fmt: skip
    assert [link[1:] for link in page.links if link.startswith("#")] == page.sections


def test_the_headline_says_how_good_on_how_many_and_what_next(page):
    text = " ".join(page.text)
    assert "77.8 %" in text
    assert "always the commonest class: 33.3 %" in text
    assert "of 9 test images" in text
    assert "facectl export run" in text
    assert "efficientnet_lite0" in text
    assert "2026-01-02" in text


def test_the_headline_names_the_licence_of_the_weights(tmp_path):
    folder = draw_run(tmp_path / "run", tmp_path / "data", ["cat", "dog"], each=1)
    spec = read_spec(folder)
    source = msgspec.structs.replace(spec.provenance, weights_licence="unknown")
    (folder / "spec.json").write_text(encode(msgspec.structs.replace(spec, provenance=source)))
    assert "pretrained weights, licence unknown" in headline(read_results(folder))


def test_a_run_begun_from_another_names_it_and_is_not_said_to_be_from_scratch(tmp_path):
    folder = draw_run(tmp_path / "run", tmp_path / "data", ["cat", "dog"], each=1)
    assert "efficientnet_lite0, from scratch" in headline(read_results(folder))
    change(folder / "metrics.json", begun_from="runs/first, 0123abcd")
    text = headline(read_results(folder))
    assert "<dt>begun from</dt><dd>runs/first, 0123abcd</dd>" in text
    assert "from scratch" not in text


def test_the_page_counts_the_mistakes_it_shows(tmp_path):
    """Where most answers are wrong, so are most of those shown; a photograph that is gone is in neither."""
    folder = draw_run(tmp_path / "run", tmp_path / "data", ["cat", "dog"], each=15, wrong=range(9, 30))
    results = read_results(folder)
    assert "Mistakes are 15 of these 24, and 70.0 % of all" in shown_tests(results, Photographs(results.run)).reading
    (tmp_path / "data" / "dog" / "test0.png").unlink()
    assert "Mistakes are 14 of these 23, and 70.0 % of all" in shown_tests(results, Photographs(results.run)).reading


def test_the_learning_curves_say_where_the_losses_are_not_of_one_kind(tmp_path):
    folder = draw_run(tmp_path / "run", tmp_path / "data", ["cat", "dog"], each=1)
    assert "smoothing" not in curves(read_results(folder)).reading
    stages = json.loads((folder / "recipe.json").read_text())["stages"]
    change(folder / "recipe.json", stages=[*stages, {**stages[0], "label_smoothing": 0.1}])
    assert "loss on train is with label smoothing" in curves(read_results(folder)).reading


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_same_pictures_stand_beside_the_page(hostile):
    assert {path.stem for path in (hostile / "report").iterdir()} == PICTURES
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (hostile / "report").iterdir())
    assert not [path for path in hostile.iterdir() if path.name.startswith(".")]


def test_a_report_may_be_written_again(hostile):
    (hostile / "report" / "old.png").touch()
    write_report(hostile, tiny_model(3), quiet=True)
    assert {path.stem for path in (hostile / "report").iterdir()} == PICTURES


def test_photographs_that_are_gone_or_changed_are_passed_over_and_counted(tmp_path):
    folder = draw_run(tmp_path / "run", tmp_path / "data", ["cat", "dog"], each=2, wrong=[1])
    (tmp_path / "data" / "cat" / "test0.png").unlink()
    shutil.copy(tmp_path / "data" / "cat" / "train0.png", tmp_path / "data" / "dog" / "test1.png")
    text = write_report(folder, tiny_model(2), quiet=True).read_text(encoding="utf-8")
    assert "2 photographs could not be shown: " in text
    assert re.search(r"cat/test0\.png \(No such file or directory\)|dog/test1\.png \(changed since\)", text)
    shutil.rmtree(tmp_path / "data")
    text = write_report(folder, tiny_model(2), quiet=True).read_text(encoding="utf-8")
    sections = Page(text).sections
    assert sections == ["learning-curves", "confusion", "per-class", "reliability", "composition"]


def test_sixty_classes_without_a_mistake_and_without_maps(tmp_path):
    from tf_keras import layers

    labels = [f"class {number:02}" for number in range(60)]
    folder = draw_run(tmp_path / "run", tmp_path / "data", labels, each=1)
    image = layers.Input((32, 32, 3), dtype="uint8")
    dense = layers.Dense(60, activation="softmax")(layers.Flatten()(layers.Rescaling(1 / 255)(image)))
    page = write_report(folder, tf_keras.Model(image, dense), quiet=True)
    assert page.stat().st_size < 6_000_000
    found = Page(page.read_text(encoding="utf-8"))
    assert not {"mistakes", "activations", "grad-cam"} & set(found.sections)
    assert "There is no mistake" in "".join(found.text)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("predictions.csv", "path,label,other\n"),
        ("predictions.csv", "path,label,cat,dog\ncat/test0.png,cow,0.1,0.9\n"),
        ("predictions.csv", "path,label,cat,dog\ncat/test0.png,cat,much,0.9\n"),
        ("history.csv", "stage,epoch\nhead,first\n"),
        ("metrics.json", "{}"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    folder = draw_run(tmp_path / "run", tmp_path / "data", ["cat", "dog"], each=1)
    (folder / name).write_text(content)
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        write_report(folder, None, quiet=True)
    assert not (folder / "report.html").exists()
