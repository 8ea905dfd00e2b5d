"""Recipes: everything that decides how a run is trained, in one TOML file.

A recipe may have variants, tables `[variant.NAME]` of the keys that differ: each replaces the recipe's.
"""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import msgspec
from msgspec import Meta

from facectl_runtime.errors import UsageError, did_you_mean
from facectl_runtime.spec import CenterCrop, FaceAlign, InputSpec, Letterbox, Squash
from facectl_trainer.augment import AugmentPlan, CopiesPlan

Share = Annotated[float, Meta(gt=0, lt=1)]
Balance = Literal["none", "class_weights", "sampling"]
BALANCES: tuple[Balance, ...] = get_args(Balance)
Positive = Annotated[int, Meta(ge=1)]
HEAD, ALL = "head", "all"  # what a stage may train, beside a layer's name
SCRATCH = "none"  # in place of the name of pretrained weights
Sampling = Literal["random", "semi-hard", "weighted"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)


class _Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a recipe: immutable, and strict about its keys."""


class DataPlan(_Plan, frozen=True):
    """Which photographs of the data folder are used."""

    labels: str | None = None
    """A CSV of file names and classes inside the data folder; without, each folder is a class."""
    top: Annotated[int, Meta(ge=2)] | None = None
    """Only so many classes: those with most images."""
    per_class: Annotated[int, Meta(ge=3)] | None = None
    """At most so many images a class, chosen by content."""


class SplitPlan(_Plan, frozen=True):
    """How much of the data is kept from training."""

    test: Share
    """Reported once, chosen for nothing."""
    val: Share
    """Early stopping and temperature."""

    def __post_init__(self) -> None:
        if self.test + self.val >= 1:
            raise ValueError(f"test {self.test} and val {self.val} leave nothing to train on")


class AlignPlan(_Plan, frozen=True, tag_field="kind", tag="face_align"):
    """The face is found, and aligned by its five landmarks."""

    landmarks: tuple[tuple[float, float], ...] = (
        (0.331, 0.394), (0.669, 0.394), (0.5, 0.597), (0.356, 0.752), (0.644, 0.752),
    )  # fmt: skip
    """Where the points of `FaceAlign` belong, as shares of the input's width and height.

    These are where they lie on average in the square around a face's box: the mean of 600 photographs of LFW's people
    for development, left and right made alike. A face is then as large as without alignment.
    """

    def of(self, side: int) -> FaceAlign:
        """Give the same in pixels of an input of `side` × `side`."""
        return FaceAlign(tuple((round(x * side, 3), round(y * side, 3)) for x, y in self.landmarks))


class FeaturesPlan(_Plan, frozen=True):
    """What the head is given of the backbone."""

    layer: str | None = None
    """The layer where the backbone is cut; its own end where None."""
    grid: Annotated[int, Meta(ge=0)] = 1
    """The map is averaged into grid × grid cells, so that 1 is its mean; 0 keeps the whole map. Cells overlap where the
    map's sides are no multiples of the grid."""


class HeadPlan(_Plan, frozen=True):
    """The layers between features and probabilities."""

    hidden: tuple[Positive, ...] = ()
    """Widths of dense layers with ReLU."""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Share dropped in training, before each dense layer."""
    batch_norm: bool = False
    """Whether features are normalized first."""


class LayerPlan(_Plan, frozen=True):
    """A dense layer of an embedding's head."""

    width: Positive
    activation: Literal["linear", "relu", "sigmoid", "tanh"]
    norm: bool = False
    """Whether its output is brought to L2 norm 1."""


class EmbedPlan(_Plan, frozen=True):
    """How features become an embedding, and by which triplets that is trained.

    The loss of a triplet is max(0, |a - p|² - |a - n|² + margin): Schroff, Kalenichenko & Philbin, FaceNet: A Unified
    Embedding for Face Recognition and Clustering, CVPR 2015.
    """

    layers: tuple[LayerPlan, ...] = ()
    """Between features and embedding; without any, the features are it. Its L2 norm is 1 in any case."""
    margin: Annotated[float, Meta(gt=0, le=4)] = 0.2
    """By how much the squared distance to another's photograph is to be larger than that to one of the same person."""
    sampling: Sampling = "random"
    triplets: Positive | None = None
    """Drawn in each epoch; as many as there are photographs to train on where None."""


class StagePlan(_Plan, frozen=True):
    """One stretch of training."""

    train: str
    """`head`; the name of a layer, from which on the network is trained; or `all`."""
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"]
    rate: Annotated[float, Meta(gt=0)]
    epochs: Positive
    """At most; early stopping on the loss of val ends the stage sooner."""
    patience: Positive
    """Epochs without a better loss on val before the stage stops; the best epoch's weights are kept."""
    batch: Positive = 32
    schedule: Literal["constant", "cosine", "decay"] = "constant"
    """`cosine`: the rate falls from `rate` to 0 over `epochs` (Loshchilov & Hutter 2017, without restarts). `decay`: it
    is multiplied by `decay` after each epoch."""
    decay: Annotated[float, Meta(gt=0, le=1)] = 0.999
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Of sgd and rmsprop."""
    weight_decay: Annotated[float, Meta(ge=0)] = 0.0
    """Of adamw, decoupled (Loshchilov & Hutter 2019)."""
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    augment: bool = False
    """Whether images are changed anew each epoch, as `[augment]` says; the whole network then runs each epoch."""


class Recipe(_Plan, frozen=True):
    """One way to train a classifier, or with `embed` an embedding."""

    backbone: str
    resize: Squash | CenterCrop | Letterbox | AlignPlan
    split: SplitPlan
    """Shares of each class's photographs; of an embedding, shares of the people."""
    stages: tuple[StagePlan, ...]
    """One or more; none for an embedding that is used as it is."""
    about: str = ""
    """One line, for `facectl train --list`."""
    people: bool = False
    """Whether the photographs show people: an exported file then carries drawn patterns, and never one of them."""
    weights: str | None = None
    """Which of the backbone's pretrained weights; the first that is here where None; `none` trains from scratch."""
    side: Annotated[int, Meta(ge=16, le=1024)] | None = None
    """Width and height of the input in pixels; the backbone's own where None."""
    data: DataPlan = DataPlan()
    features: FeaturesPlan = FeaturesPlan()
    head: HeadPlan = HeadPlan()
    """Of a classifier."""
    embed: EmbedPlan | None = None
    balance: Balance = "none"
    """Against classes of unequal size: rare ones weigh more in the loss, or are drawn more often."""
    copies: CopiesPlan | None = None
    """Fixed copies of each training image; their features are kept like any other."""
    augment: AugmentPlan | None = None
    """Random changes of each training image, for stages with `augment`."""

    @property
    def shows_people(self) -> bool:
        """Whether the photographs show people: by `people`, or because faces are aligned or embedded."""
        return self.people or self.embed is not None or isinstance(self.resize, AlignPlan)

    def __post_init__(self) -> None:
        if self.weights == SCRATCH and any(stage.train != ALL for stage in self.stages):
            raise ValueError('from scratch (weights = "none") there is nothing to freeze; use train = "all" in stages')
        if self.augment is None and any(stage.augment for stage in self.stages):
            raise ValueError("a stage has augment = true and there is no [augment] that says how")
        if self.embed is None and not self.stages:
            raise ValueError("there is no stage; a classifier needs one or more [[stages]]")
        if self.embed:
            self._check_embed(self.embed)

    def _check_embed(self, plan: EmbedPlan) -> None:
        if self.head != HeadPlan() or self.balance != "none":
            raise ValueError("[embed] has layers of its own, and no classes to balance; leave head and balance out")
        if self.copies:
            raise ValueError("[embed] takes no copies, which would be their own positives; use augment")
        if any(stage.label_smoothing for stage in self.stages):
            raise ValueError("[embed] has no labels to smooth; leave label_smoothing out")
        if not self.stages and self.weights == SCRATCH:
            raise ValueError("there is no stage and nothing pretrained: such an embedding says nothing; give weights")
        if plan.layers and not self.stages:
            raise ValueError("[embed] has layers and there is no stage that trains them; leave one of the two out")
        if not plan.layers and any(stage.train == HEAD for stage in self.stages):
            raise ValueError('[embed] has no layers, and train = "head" trains nothing; use a layer\'s name or "all"')

    def input(self, side: int) -> InputSpec:
        """Describe an input of `side` × `side` pixels."""
        aligned = isinstance(self.resize, AlignPlan)
        return InputSpec(side, side, self.resize.of(side) if aligned else self.resize)  # type: ignore[union-attr,arg-type]


class Changes(NamedTuple):
    """What is asked for in place of a recipe's own; None asks for nothing."""

    backbone: str | None = None
    weights: str | None = None
    labels: str | None = None
    top: int | None = None
    balance: str | None = None
    epochs: int | None = None
    people: bool = False
    given_split: bool = False
    """Whether a split file says which photographs are used: in place of all that the recipe says of them."""
    sampling: str | None = None
    margin: float | None = None
    pretrained: bool = False
    """Whether an embedding is the backbone's own, and nothing is trained."""

    def of(self, recipe: Recipe) -> Recipe:
        """Give the recipe with these changes. Raises `UsageError` where they do not go together."""
        replace = msgspec.structs.replace
        if self.given_split and (self.labels or self.top):
            option = "--labels" if self.labels else "--top"
            raise UsageError(f"--split says which photographs are used, and of which class; leave {option} out")
        data = DataPlan() if self.given_split else recipe.data
        if self.balance not in (None, *BALANCES):
            raise UsageError(
                f"--balance {self.balance!r} is not known{did_you_mean(str(self.balance), BALANCES)}; "
                f"use {', '.join(BALANCES)}"
            )
        stages = () if self.pretrained else recipe.stages
        # Another backbone has other weights and other layers; but what is trained from scratch stays so.
        other = self.backbone not in (None, recipe.backbone)
        weights = None if self.backbone and recipe.weights != SCRATCH else recipe.weights
        try:
            return replace(
                recipe,
                backbone=self.backbone or recipe.backbone,
                weights=self.weights or weights,
                people=self.people or recipe.people,
                data=replace(data, labels=self.labels or data.labels, top=self.top or data.top),
                features=replace(recipe.features, layer=None) if other else recipe.features,
                balance=self.balance or recipe.balance,
                stages=tuple(replace(stage, epochs=self.epochs or stage.epochs) for stage in stages),
                embed=self._embed(recipe.embed, trained=bool(stages)),
            )
        except ValueError as error:
            raise UsageError(str(error)) from error

    def _embed(self, plan: EmbedPlan | None, *, trained: bool) -> EmbedPlan | None:
        if plan is None:
            asked = {"--sampling": self.sampling, "--margin": self.margin, "--pretrained": self.pretrained or None}
            if given := [option for option, value in asked.items() if value is not None]:
                raise UsageError(f"{given[0]} is of a recipe for embeddings, such as triplet; leave it out")
            return None
        if self.sampling not in (None, *SAMPLINGS):
            hint = did_you_mean(str(self.sampling), SAMPLINGS)
            raise UsageError(f"--sampling {self.sampling!r} is not known{hint}; use {', '.join(SAMPLINGS)}")
        if self.balance:
            raise UsageError("--balance is of a classifier; triplets are drawn by --sampling")
        for option, value in {"--sampling": self.sampling, "--margin": self.margin}.items():
            if value is not None and not trained:
                raise UsageError(f"{option} is of triplets, and nothing is trained; leave it out")
        return msgspec.structs.replace(
            plan,
            layers=() if self.pretrained else plan.layers,
            margin=self.margin or plan.margin,
            sampling=self.sampling or plan.sampling,
        )


def load_recipe(name: str, variant: str | None = None) -> tuple[str, Recipe]:
    """Read a recipe of ours by name, or a user's by the path of a .toml file; gives (name, recipe).

    The name of a variant is `RECIPE/VARIANT`. Raises `UsageError` for an unknown name, a missing file, a misspelt key
    or a value out of range.
    """
    path, tables, variants = _read(name)
    for each, other in variants.items():  # a misspelt key is said today, and not when that one is wanted
        _recipe(path, each, tables | other)
    if variant is not None:
        if variant not in variants:
            there = f"there are {', '.join(variants)}" if variants else "the recipe has none"
            raise UsageError(f"{path.stem}: no variant {variant!r}{did_you_mean(variant, variants)}; {there}")
        tables = tables | variants[variant]
    recipe = _recipe(path, variant, tables)
    return (f"{path.stem}/{variant}" if variant else path.stem), recipe


def _recipe(path: Path, variant: str | None, tables: Mapping[str, Any]) -> Recipe:
    try:
        return msgspec.convert(tables, Recipe)
    except msgspec.ValidationError as error:
        where = f"{path}, variant {variant}" if variant else str(path)
        raise UsageError(f"{where}: {error}{_key_hint(str(error))}") from error


def variants(name: str) -> list[str]:
    """Give the names of a recipe's variants, in the file's order. Raises `UsageError` as `load_recipe`."""
    return list(_read(name)[2])


def names() -> list[str]:
    """Give the names of the recipes that come with facectl."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in (resources.files("facectl_trainer") / "recipes").iterdir()
        if entry.name.endswith(".toml")
    )


def _read(name: str) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Give a recipe's file, its own keys, and its variants."""
    path = Path(name)
    if path.suffix != ".toml":
        if name not in (ours := names()):
            raise UsageError(
                f"no recipe {name!r}{did_you_mean(name, ours)}; there are {', '.join(ours)}, or give a .toml file"
            )
        path = Path(str(resources.files("facectl_trainer") / "recipes" / f"{name}.toml"))
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; give a recipe's name or the path of a .toml file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: {error}") from error
    variants = tables.pop("variant", {})
    if not isinstance(variants, dict) or not all(isinstance(table, dict) for table in variants.values()):
        raise UsageError(f"{path}: a variant is a table, [variant.NAME]")
    if odd := [name for name in variants if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}", name)]:
        raise UsageError(f"{path}: a variant's name becomes a folder's; letters, digits, '-' and '_', not {odd[0]!r}")
    return path, tables, variants


def _key_hint(message: str) -> str:
    """Say what msgspec does not: a key like the unknown one, or the words that a key takes."""
    fields = {name: kind for struct in _STRUCTS for name, kind in get_type_hints(struct).items()}
    if "unknown field" in message:
        return did_you_mean(message.split("`")[1], list(fields))
    asked = re.search(r"(?:enum value|value) '(.*?)' - at `\$.*?(\w+)`$", message)
    if asked is None:
        return ""
    resizes = ("squash", "center_crop", "letterbox", "face_align")
    words = resizes if asked[2] == "kind" else get_args(fields.get(asked[2]))
    return f"{did_you_mean(asked[1], words)}; use {', '.join(map(str, words))}" if words else ""


_STRUCTS: tuple[Any, ...] = (
    Recipe, DataPlan, SplitPlan, FeaturesPlan, HeadPlan, EmbedPlan, LayerPlan, StagePlan, AugmentPlan, CopiesPlan,
    AlignPlan, CenterCrop, Letterbox,
)  # fmt: skip
