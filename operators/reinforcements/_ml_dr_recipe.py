"""The configuration beside ml-dr's reinforcements, told as this package's augmentations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reinforced.augment import Augment
from reinforced.errors import RequestError, nearest

from ._archive import Archive
from ._pickles import load

CONFIG = "config.pth.tar"

_SETTINGS = {
    "uint8": (),
    "resize": ("size",),
    "center_crop": ("size",),
    "random_crop": ("size", "padding"),
    "random_resized_crop": ("size", "scale", "ratio"),
    "random_horizontal_flip": ("p",),
    "rand_augment": ("p", "num_ops", "magnitude", "num_magnitude_bins"),
    "to_tensor": (),
    "random_erase": ("p", "scale", "ratio", "value"),
    "normalize": ("mean", "std"),
    "mixup": ("alpha", "div_by", "p"),
    "cutmix": ("alpha", "p"),
}
"""Its transforms in the order in which it applies them whatever the order of its configuration, with settings."""
_SILENT = ("uint8", "center_crop", "to_tensor", "normalize")
"""Those without an entry in the parameter lists."""


@dataclass(frozen=True)
class Recipe:
    """What one `config.pth.tar` says."""

    draws: int
    top_k: int
    classes: int
    teachers: str
    augment: Augment
    transforms: tuple[str, ...]
    """Those that have an entry in each parameter list, in its order."""


def find_recipes(archive: Archive) -> list[tuple[str, Recipe]]:
    """Return each folder of an archive with a configuration, and what that says.

    Raises: RequestError when there is none, or one that cannot be read or brought in.
    """
    found = sorted(name.removesuffix(CONFIG) for name in archive.files if f"/{name}".endswith(f"/{CONFIG}"))
    if not found:
        raise RequestError(f"{archive.path} holds no {CONFIG}, which says how its reinforcements were made")
    recipes = []
    for folder in found:
        where = f"{archive.path}: {folder}{CONFIG}"
        try:
            config = load(archive.read(folder + CONFIG))
        except ValueError as error:
            raise RequestError(f"{where} {error}") from error
        recipes.append((folder, _read_recipe(config, where)))
    return recipes


def _read_recipe(config: Any, where: str) -> Recipe:
    try:
        made, classes = config["reinforce"], int(config["num_classes"])
        draws, top_k = int(made["num_samples"]), int(made["topk"])
        enabled = {name: dict(settings) for name, settings in made["image_augmentation"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"{where} is no configuration of ml-dr: {type(error).__name__}: {error}") from error
    if made.get("joblib") or not made.get("compress", True):
        raise RequestError(f"{where}: only files written with compress: true and joblib: false can be read")
    enabled = {name: settings for name, settings in enabled.items() if settings.pop("enable", True)}
    for name, settings in enabled.items():
        if name not in _SETTINGS:
            raise RequestError(f"{where}: transform '{name}' is not one of ml-dr's{nearest(name, _SETTINGS)}")
        if unknown := [setting for setting in settings if setting not in _SETTINGS[name]]:
            raise RequestError(f"{where}: {name} has '{unknown[0]}', which cannot be brought in")
    if refused := [name for name in ("mixup", "cutmix", "center_crop") if name in enabled]:
        raise RequestError(
            f"{where}: made with {' and '.join(refused)}, which cannot be brought in; take a publication without"
        )
    transforms = tuple(name for name in _SETTINGS if name in enabled and name not in _SILENT)
    teacher = config.get("teacher")
    teachers = str(teacher.get("name", "")) if isinstance(teacher, dict) else ""
    try:
        return Recipe(draws, top_k, classes, teachers, _augment(enabled), transforms)
    except ValueError as error:
        raise RequestError(f"{where}: {' '.join(str(error).split())}") from error


def _augment(enabled: dict[str, dict[str, Any]]) -> Augment:
    """Say the same in this package's configuration."""
    crop, resize, padded = (enabled.get(name) for name in ("random_resized_crop", "resize", "random_crop"))
    if (crop is None) == (resize is None):
        raise ValueError("either random_resized_crop or resize must make the view")
    height, width = _sides((crop or resize or {})["size"])
    said: dict[str, Any] = {"size_px": (width, height)}
    if crop is not None:
        said["random_resized_crop"] = {name: crop[name] for name in ("scale", "ratio") if name in crop}
    if padded is not None:
        if resize is None or _sides(padded["size"]) != (height, width) or not isinstance(padded.get("padding"), int):
            raise ValueError("random_crop can be brought in after a resize to its own size, with one padding")
        said["random_crop"] = {"padding_px": padded["padding"]}
    if (flip := enabled.get("random_horizontal_flip")) is not None:
        said["horizontal_flip"] = {"probability": flip.get("p", 0.5)}
    if (operations := enabled.get("rand_augment")) is not None:
        bins = operations.get("num_magnitude_bins", 31)
        magnitude = round(30 * operations.get("magnitude", 9) / (bins - 1))
        said["rand_augment"] = {"operations": operations.get("num_ops", 2), "magnitude": magnitude}
    if (erase := enabled.get("random_erase")) is not None:
        said["random_erasing"] = {"probability": erase.get("p", 0.5)} | {
            name: erase[name] for name in ("scale", "ratio") if name in erase
        }
    return Augment.model_validate(said)


def _sides(size: Any) -> tuple[int, int]:
    """Return height and width, as torchvision orders them."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
