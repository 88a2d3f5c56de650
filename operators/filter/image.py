"""Size, shape, format and flatness limits, and the check that the image decodes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from reinforced.batch import Batch
from reinforced.images import ImageError, Pixels, measure, open_image
from reinforced.operator import Filter, Verdicts

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
Mode = Literal["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "I;16B", "F"]
Verdict = tuple[str, float | None]


class FilterImage(Filter):
    """Drops images that are too small, large, long or flat, of another format or colour mode, or do not decode.

    The reason is the limit's name and the score is the measured value; `formats: GIF`, `modes: CMYK` and
    `corrupt: ...` say what was found. Header limits come first, and what they drop is never decoded; what is decoded
    here is not decoded again by the steps that follow. Sizes are those of the upright image.
    """

    reads: ClassVar = ("image",)
    examples: ClassVar = ({"min_side_px": 64, "max_aspect": 3.0}, {"formats": ["PNG"], "min_std": 20.0})

    min_side_px: Annotated[int | None, Field(gt=0, description="Least length of the shorter side, in pixels.")] = None
    max_side_px: Annotated[int | None, Field(gt=0, description="Most length of the longer side, in pixels.")] = None
    max_aspect: Annotated[float | None, Field(ge=1, description="Most that longer side / shorter side may be.")] = None
    formats: Annotated[tuple[Format, ...] | None, Field(description="Formats to keep, told by content.")] = None
    modes: Annotated[tuple[Mode, ...] | None, Field(description="Colour modes to keep, by their Pillow names.")] = None
    min_std: Annotated[
        float | None, Field(gt=0, description="Least standard deviation of the grey values, 0 (one colour) to 127.5.")
    ] = None
    decode: Annotated[bool, Field(description="Decode every image, and drop those that cannot be.")] = True

    @model_validator(mode="after")
    def _check_decode(self) -> Self:
        if self.min_std is not None and not self.decode:
            raise ValueError("min_std needs the pixels: leave decode at true, or leave out min_std")
        return self

    def judge(self, batch: Batch) -> Verdicts:
        """Judge headers first, then the pixels of what is left."""
        verdicts = self._judge_headers(batch)
        if self.decode:
            left = [i for i, verdict in enumerate(verdicts) if verdict is None]
            for i, image in zip(left, batch.decoded(left), strict=True):
                verdicts[i] = self._judge_pixels(image)
        reasons, scores = zip(*(verdict or (None, None) for verdict in verdicts), strict=True) if verdicts else ((), ())
        return Verdicts(reasons, scores)

    def _judge_headers(self, batch: Batch) -> list[Verdict | None]:
        sized = self.min_side_px or self.max_side_px or self.max_aspect
        if not (sized or self.formats or self.modes):
            return [None] * len(batch)
        known = {"width", "height"} <= set(batch.table.column_names)
        unknown: list[Any] = [None] * len(batch)
        widths, heights = (batch.values(name) if known else unknown for name in ("width", "height"))
        verdicts: list[Verdict | None] = []
        for image, width, height in zip(batch.table.column("image"), widths, heights, strict=True):
            try:
                data = b"" if image.as_buffer() is None else image.as_buffer().to_pybytes()
                size = (width, height) if width and height else measure(data)
                verdicts.append(self._judge_size(*size) or self._judge_encoding(data))
            except ImageError as error:
                verdicts.append((f"corrupt: {error}", None))
        return verdicts

    def _judge_size(self, width: int, height: int) -> Verdict | None:
        shorter, longer = sorted((width, height))
        if self.min_side_px and shorter < self.min_side_px:
            return "min_side_px", shorter
        if self.max_side_px and longer > self.max_side_px:
            return "max_side_px", longer
        if self.max_aspect and longer > self.max_aspect * shorter:
            return "max_aspect", longer / shorter
        return None

    def _judge_encoding(self, data: bytes) -> Verdict | None:
        if not (self.formats or self.modes):
            return None
        header = open_image(data)
        found = "JPEG" if header.format == "MPO" else header.format  # a JPEG with more pictures behind the first
        if self.formats and found not in self.formats:
            return f"formats: {found}", None
        return (f"modes: {header.mode}", None) if self.modes and header.mode not in self.modes else None

    def _judge_pixels(self, image: Pixels | ImageError) -> Verdict | None:
        if isinstance(image, ImageError):
            return f"corrupt: {image}", None
        if self.min_std is None:
            return None
        import PIL.Image
        import PIL.ImageStat

        std = PIL.ImageStat.Stat(PIL.Image.fromarray(image).convert("L")).stddev[0]
        return ("min_std", std) if std < self.min_std else None
