"""Fractals of iterated function systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from reinforced.ifs import Code, CodeKind, CodeRecipe, find_code
from reinforced.stream import Stream
from reinforced.synthesis import Picture, Synthesis

if TYPE_CHECKING:
    from reinforced.fractal import Shown


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"{list(value)} must be in rising order")
    return value


Maps = Annotated[int, Field(ge=2, le=16)]
Objects = Annotated[int, Field(ge=1, le=16)]
Share = Annotated[float, Field(ge=0.05, le=1)]


class SynthesizeFractal(Synthesis):
    """Makes pictures of fractals to pretrain on: a class is an iterated function system, an instance a view of it.

    Codes are sampled by their singular values (Anderson and Farrell 2022, *Improving Fractal Pre-training*), with
    uniform coefficients (Kataoka et al. 2020, *FractalDB*), or all from one code whose coefficients vary by `delta`
    (Nakamura et al. 2024, *1p-frac*). Codes that diverge or fill too little are drawn again (`code_attempts`), and so
    are views that show almost nothing (`attempts`). With several `objects`, `label` is the class of the topmost and
    `object_labels` has all.
    """

    made: ClassVar = (
        *("object_labels", "object_boxes", "codes", "code_attempts"),
        *("attempts", "background_decay", "blur_passes"),
    )
    writes: ClassVar = ("key", "image", "label", *made)

    codes: Annotated[CodeKind, Field(description="How codes are sampled: svd, uniform, or perturbed from one.")] = "svd"
    maps: Annotated[
        tuple[Maps, Maps], AfterValidator(_rising), Field(description="Least and most maps of a code, from 2 to 16.")
    ] = (2, 4)
    max_singular_value: Annotated[float, Field(gt=0, le=1, description="Largest of a map (svd, perturbed).")] = 1.0
    delta: Annotated[float, Field(gt=0, lt=1, description="Largest change of a coefficient (perturbed).")] = 0.1
    min_filling: Annotated[
        float, Field(ge=0, lt=1, description="Least share of 512 x 512 pixels that 100,000 points of a code fall on.")
    ] = 0.05
    vary: Annotated[
        Literal["view", "weights"],
        Field(
            description="What instances differ in: one map jittered and a random window (view), or FractalDB's 25 "
            "weights x 10 patches x 4 flips (weights)."
        ),
    ] = "view"
    points: Annotated[
        int, Field(ge=1000, le=10_000_000, description="Points of a fractal as large as the picture; fewer if smaller.")
    ] = 100_000
    patch: Annotated[bool, Field(description="Draw each point as 3 x 3 random pixels instead of one.")] = True
    flip: Annotated[bool, Field(description="Mirror at random in both directions.")] = True
    colour: Annotated[bool, Field(description="Colour by density; otherwise grey on black.")] = True
    background: Annotated[bool, Field(description="Put a coloured diamond-square texture behind.")] = True
    blur_probability: Annotated[
        float, Field(ge=0, le=1, description="Share of coloured pictures that are blurred, by 0.7 to 1.2 px.")
    ] = 0.5
    objects: Annotated[
        tuple[Objects, Objects],
        AfterValidator(_rising),
        Field(description="Least and most fractals in a picture, from 1 to 16; [1, 1] is one as large as the picture."),
    ] = (1, 1)
    object_size: Annotated[
        tuple[Share, Share],
        AfterValidator(_rising),
        Field(description="Least and largest side of a fractal among several, as a share of the picture's."),
    ] = (0.15, 0.6)

    @model_validator(mode="after")
    def _check_together(self) -> SynthesizeFractal:
        least = (6 + self.maps[0]) / (6 * self.maps[0])
        if self.codes != "uniform" and self.max_singular_value < least:
            raise ValueError(
                f"max_singular_value {self.max_singular_value:g} is impossible with {self.maps[0]} maps; it must be "
                f"from {least:.2f} to 1"
            )
        if self.background and not self.colour:
            raise ValueError("background: true needs colour: true; set background: false for grey pictures")
        return self

    def code(self, label: int) -> Code:
        """Return the code of a class, found once in each process and kept for a while."""
        from reinforced.fractal import fills

        recipe = (self.codes, self.maps, self.max_singular_value, self.delta, self.min_filling, self.seed)
        return find_code(CodeRecipe(*recipe), label, fills)

    def picture(self, label: int, instance: int, stream: Stream) -> Picture:
        """Render the objects from the back to the front; the last is of the class `label`."""
        from reinforced import fractal

        others = [stream.below(self.classes) for _ in range(stream.between(*self.objects) - 1)]
        shown = [self._show(own, instance, stream) for own in (*others, label)]
        decay = stream.uniform(0.4, 0.8) if self.background else None
        passes = stream.between(1, 3) if self.colour and stream.chance(self.blur_probability) else 0
        if self.colour:
            pixels = fractal.compose(shown, self.size_px, decay, passes, stream)
        else:
            pixels = fractal.compose_grey(shown, self.size_px)
        values = {
            "object_labels": [*others, label],
            "object_boxes": [(one.left, one.top, one.hits.shape[1], one.hits.shape[0]) for one in shown],
            "codes": [[value for own in one.code.maps for value in own] for one in shown],
            "code_attempts": shown[-1].code.attempts,
            "attempts": max(one.attempts for one in shown),
            "background_decay": decay,
            "blur_passes": passes,
        }
        return Picture(pixels, values)

    def _show(self, label: int, instance: int, stream: Stream) -> Shown:
        from reinforced import fractal

        alone = self.objects == (1, 1)
        side = self.size_px if alone else max(8, round(self.size_px * stream.uniform(*self.object_size)))
        points = max(1000, self.points * side * side // self.size_px**2)
        vary = fractal.Vary(self.vary, self.patch, self.flip, self.max_singular_value)
        return fractal.show(self.code(label), vary, instance, (side, self.size_px), points, stream)
