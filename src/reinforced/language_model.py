"""What every language model behind an operator is: questions go in, answers or reasons come out, in the same order."""

from __future__ import annotations

import io
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reinforced.answers import Answer
from reinforced.images import decode

Text = str
"""Why a question has no answer; the part before a colon is the kind that the ledger counts."""

_REFUSAL = re.compile(
    r"^\W*((I'?m|I am|we'?re) (very |really |so )?(sorry|unable|not able)|(my )?apologies|sorry\b|"
    r"(unfortunately,? )?I (can'?t|cannot|can not|won'?t|will not|do not feel)\b.{0,40}\b(help|assist|describe|"
    r"identify|provide|comply|do that|discuss|view|see)|as an AI\b)",
    re.IGNORECASE,
)
_METADATA = (b"Exif\x00\x00", b"eXIf", b"http://ns.adobe.com/xap", b"Photoshop 3.0")
_KINDS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png"}


@dataclass(frozen=True)
class Question:
    """One prompt, with an image or without; `draw` tells several answers to the same question apart."""

    key: str
    prompt: str
    image: bytes | None = None
    """The encoded image as it is stored."""
    draw: int = 0
    schema: Mapping[str, Any] | None = field(default=None, hash=False)


class Requests(BaseModel):
    """How an endpoint is asked: none of it changes an answer, so none of it makes a layer anew."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrency: Annotated[int, Field(ge=1, description="Requests under way at once, in each worker.")] = 32
    timeout_s: Annotated[float, Field(gt=0, description="Longest time one attempt may take, in seconds.")] = 120
    attempts: Annotated[int, Field(ge=1, description="How often a question is sent before its row fails.")] = 8
    requests_per_minute: Annotated[float | None, Field(gt=0, description="Limit over all workers of a machine.")] = None
    tokens_per_minute: Annotated[
        float | None, Field(gt=0, description="Limit on tokens sent and received, over all workers of a machine.")
    ] = None
    usd_per_million_input: Annotated[float, Field(ge=0, description="Price of 1,000,000 tokens sent, in US$.")] = 0
    usd_per_million_output: Annotated[float, Field(ge=0, description="Price of 1,000,000 tokens received, in US$.")] = 0
    budget_usd: Annotated[
        float | None,
        Field(
            gt=0, description="Most to spend on this model and these prompts with this cache, over all runs, in US$."
        ),
    ] = None
    cache: Annotated[
        Path | None, Field(description="Local folder of the answers; default: reinforced/answers in the user's cache.")
    ] = None

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        if self.budget_usd is not None and not (self.usd_per_million_input or self.usd_per_million_output):
            raise ValueError("budget_usd needs usd_per_million_input and usd_per_million_output: the endpoint's prices")
        return self

    def price(self, input_tokens: float, output_tokens: float) -> float:
        """Return what so many tokens cost, in US dollars."""
        return (input_tokens * self.usd_per_million_input + output_tokens * self.usd_per_million_output) / 1e6


class Speaker(Protocol):
    """A model that is ready to answer."""

    def ask(self, questions: Sequence[Question]) -> list[Answer | Text]:
        """Return an answer a question, or why there is none. Raises: RunError when nothing can be asked any more."""


@dataclass(frozen=True)
class Use:
    """What a step wants of a model: how to ask, the account that pays, its seed, and the GPUs of a worker."""

    requests: Requests
    account: str
    seed: int
    gpus: float


class LanguageModel(BaseModel):
    """A model that answers questions about images and texts, named by where it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: Annotated[int, Field(ge=1, description="Longest answer, in tokens; a longer one is cut and fails.")] = (
        300
    )
    temperature: Annotated[
        float | None, Field(ge=0, description="0 answers alike every time; default: the model's own.")
    ] = None
    image_side_px: Annotated[int, Field(ge=16, description="Longer side of images as sent; larger ones shrink.")] = 1024

    def check(self) -> None:
        """Raise RequestError if it cannot be asked from here."""

    def ingredients(self) -> dict[str, str]:
        """Return content hashes of its files, by name; none where others hold them."""
        return {}

    @abstractmethod
    def open(self, use: Use) -> Speaker:
        """Get ready to answer, in this process."""


def as_sent(data: bytes, side_px: int) -> tuple[bytes, str, tuple[int, int]]:
    """Return an image as an endpoint gets it, its media type and its (width, height) in px.

    A JPEG or PNG within the limit goes as it is, unless it carries metadata: where a photograph was taken is nobody's
    business. Any other becomes a JPEG of quality 90. Raises: ImageError where it cannot be decoded.
    """
    from PIL import Image

    pixels = decode(data)
    height, width = pixels.shape[:2]
    kind = next((kind for signature, kind in _KINDS.items() if data.startswith(signature)), None)
    if kind and max(width, height) <= side_px and not any(mark in data for mark in _METADATA):
        return data, kind, (width, height)
    scale = min(1.0, side_px / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    return buffer.getvalue(), "image/jpeg", size


def fault(answer: Answer, max_words: int | None = None) -> Text | None:
    """Return why an answer is no caption: refused, cut, empty, repeating itself or too long; None if it is one."""
    text = answer.text.strip()
    shown = " ".join(text.split())[:120]
    if answer.finish in ("refusal", "content_filter") or _REFUSAL.match(text.replace("’", "'")):
        return f"refusal: {shown}"
    if not text:
        return "empty answer"
    if repeats(text):
        return f"repetition: {shown}"
    if answer.finish == "length":
        return f"cut at max_tokens: … {shown[-60:]}"
    if max_words is not None and len(text.split()) > max_words:
        return f"too long: {len(text.split())} words"
    return None


def repeats(text: str) -> bool:
    """Return whether a text of 20 words or more says most of its runs of three words again and again."""
    words = text.lower().split()
    if len(words) < 20:
        return False
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(runs)) < len(runs) / 2
