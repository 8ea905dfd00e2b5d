"""Recipes: everything that decides how a run is trained, in one TOML file."""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from facectl_runtime.errors import UsageError, did_you_mean
from facectl_runtime.spec import CenterCrop, Letterbox, Squash

Share = Annotated[float, Meta(gt=0, lt=1)]


class SplitPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the data is kept from training."""

    test: Share
    """Reported once, chosen for nothing."""
    val: Share
    """Early stopping and temperature."""

    def __post_init__(self) -> None:
        if self.test + self.val >= 1:
            raise ValueError(f"test {self.test} and val {self.val} leave nothing to train on")


class HeadPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the softmax layer on frozen features is trained."""

    optimizer: Literal["adam", "sgd", "rmsprop"]
    rate: Annotated[float, Meta(gt=0)]
    batch: Annotated[int, Meta(ge=1)]
    epochs: Annotated[int, Meta(ge=1)]
    """At most; early stopping on the loss of val ends training sooner."""
    patience: Annotated[int, Meta(ge=1)]
    """Epochs without a better loss on val before training stops; the best epoch's weights are kept."""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Share of features dropped in training."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to train a classifier."""

    backbone: str
    resize: Squash | CenterCrop | Letterbox
    split: SplitPlan
    head: HeadPlan
    people: bool = False
    """Whether the photographs show people: an exported file then carries drawn patterns, and never one of them."""


def load_recipe(name: str) -> tuple[str, Recipe]:
    """Read a recipe of ours by name, or a user's by the path of a .toml file; gives (name, recipe).

    Raises `UsageError` for an unknown name, a missing file, a misspelt key or a value out of range.
    """
    path = Path(name)
    if path.suffix != ".toml":
        if name not in (ours := names()):
            raise UsageError(
                f"no recipe {name!r}{did_you_mean(name, ours)}; there are {', '.join(ours)}, or give a .toml file"
            )
        path = Path(str(resources.files("facectl_trainer") / "recipes" / f"{name}.toml"))
    try:
        return path.stem, msgspec.toml.decode(path.read_bytes(), type=Recipe)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; give a recipe's name or the path of a .toml file") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}{_key_hint(str(error))}") from error


def names() -> list[str]:
    """Give the names of the recipes that come with facectl."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in (resources.files("facectl_trainer") / "recipes").iterdir()
        if entry.name.endswith(".toml")
    )


def _key_hint(message: str) -> str:
    """Suggest a key for msgspec's "Object contains unknown field `x`"."""
    if "unknown field" not in message:
        return ""
    known: list[str] = []
    structs: list[Any] = [Recipe, SplitPlan, HeadPlan, CenterCrop, Letterbox]
    for struct in structs:
        known += struct.__struct_fields__
    return did_you_mean(message.split("`")[1], known)
