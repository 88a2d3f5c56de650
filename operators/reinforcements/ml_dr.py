"""Reinforcements of ml-dr: ImageNet+ and its siblings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from reinforced.errors import RequestError
from reinforced.reinforcement import Origin

from ._archive import Archive
from ._imported import Imported, Published, Size, Values, joined
from ._ml_dr_file import read_image
from ._ml_dr_recipe import Recipe, find_recipes
from ._order import image_order, order_signature
from ._torchvision import NOTE

_EXACT = "crops, flips and erased boxes are as published; images are decoded, and views resized, by the Pillow here"


class ImportMlDr(Imported):
    """Brings in reinforcements in the form of ml-dr (Faghri et al. 2023, *Reinforce Data, Multiply Impact*).

    One `{index}.pth.tar` an image, a `config.pth.tar` beside them, in a folder or a tar; index is the image's place in
    torchvision's ImageFolder: the value of `key_column`, or the place of the sample's `path` in `order`. Several
    publications of the same images become one, their draws one after the other. Those with MixUp or CutMix are refused.
    """

    path: Annotated[
        tuple[str, ...], Field(min_length=1, description="Folders or uncompressed tars, as published; at least one.")
    ]
    order: Annotated[
        str | None,
        Field(description="Text file of all images' paths by index, or the dataset whose paths are to be sorted."),
    ] = None

    def open(self) -> Published:
        """Read the configurations; they must agree in all but their number of draws."""
        if (self.key_column is None) == (self.order is None):
            raise RequestError("give either key_column, a column with each image's index, or order")
        parts = [(archive, *part) for archive in map(Archive, self.path) for part in find_recipes(archive)]
        recipes = [recipe for _, _, recipe in parts]
        first = recipes[0]
        for recipe in recipes:
            for what in ("top_k", "classes", "augment", "transforms"):
                if getattr(recipe, what) != getattr(first, what):
                    raise RequestError(
                        f"{', '.join(self.path)} differ in {what}: {getattr(first, what)} and {getattr(recipe, what)}; "
                        "bring them in as layers of their own (into)"
                    )
        approximate = first.augment.rand_augment is not None
        origin = Origin(
            form="ml-dr",
            replay="approximate" if approximate else "yes",
            note=NOTE if approximate else _EXACT,
            teachers=first.teachers,
        )
        signatures = {f"{i}:{folder}": archive.signature for i, (archive, folder, _) in enumerate(parts)}
        if self.order is not None:
            signatures["order"] = order_signature(self.order)
        draws = sum(recipe.draws for recipe in recipes)
        return Published(
            draws, first.top_k, first.classes, first.augment, origin, signatures, (parts, self._index(parts))
        )

    def _index(self, parts: list[tuple[Archive, str, Recipe]]) -> dict[str, int] | None:
        if self.order is None:
            return None
        index = image_order(self.order)
        archive, folder, _ = parts[0]
        published = sum(name.startswith(folder) and name.endswith(".pth.tar") for name in archive.files) - 1
        if published != len(index):
            raise RequestError(
                f"{archive.path} has reinforcements of {published:,} images and order {self.order} has {len(index):,}: "
                "places in it would be those of other images; give a text file of all paths (order), or a column with "
                "the index of each image (key_column)"
            )
        return index

    def name_of(self, value: Any) -> Any:
        """Return the image's index."""
        _, index = self.published.found
        if index is None:
            return int(value)
        if value not in index:
            raise ValueError(f"order {self.order} does not have path {value}")
        return index[value]

    def entries(self, names: Sequence[Any], sizes: Sequence[Size]) -> Values:
        """Read each image's file of each publication."""
        parts, _ = self.published.found
        read = []
        for name, size in zip(names, sizes, strict=True):
            read += [read_image(archive, folder, recipe, name, size) for archive, folder, recipe in parts]
        return joined(read)
