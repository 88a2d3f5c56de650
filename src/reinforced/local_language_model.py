"""Models in a local folder that transformers saved: images and text in, text out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from reinforced.answers import Answer
from reinforced.errors import RequestError
from reinforced.images import ImageError, decode
from reinforced.language_model import LanguageModel, Question, Speaker, Text, Use
from reinforced.weight_files import hash_file

if TYPE_CHECKING:
    from PIL.Image import Image

_WEIGHTS = (".safetensors", ".json", ".jinja", ".model", ".txt")


class LocalLanguageModel(LanguageModel):
    """An image-text-to-text model of transformers in a local folder; nothing is downloaded, no code in it is run."""

    transformers: Annotated[str, Field(description="Local folder with configuration, processor and safetensors.")]
    batch_size: Annotated[int, Field(ge=1, description="Questions answered at once.")] = 8

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of the folder's files."""
        folder = Path(self.transformers)
        if not (folder / "config.json").is_file():
            raise RequestError(f"'{folder}' is no local folder of a transformers model: it has no config.json")
        return {f.name: hash_file(str(f)) for f in sorted(folder.iterdir()) if f.suffix in _WEIGHTS}

    def open(self, use: Use) -> Speaker:
        """Load the model, to the GPU where the step has one."""
        return _Local(self, "cuda" if use.gpus else "cpu")


class _Local:
    def __init__(self, model: LocalLanguageModel, device: str) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        safe = {"local_files_only": True, "trust_remote_code": False}
        self.model, self.device = model, device
        processors: Any = AutoProcessor
        try:
            self.processor: Any = processors.from_pretrained(model.transformers, **safe)
            loaded: Any = AutoModelForImageTextToText.from_pretrained(model.transformers, use_safetensors=True, **safe)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise RequestError(f"{model.transformers} is no image-text-to-text model: {error}") from error
        self.network: Any = loaded.to(device).eval()
        self.processor.tokenizer.padding_side = "left"
        if self.processor.tokenizer.pad_token is None:
            self.processor.tokenizer.pad_token = self.processor.tokenizer.eos_token

    def ask(self, questions: Sequence[Question]) -> list[Answer | Text]:
        """Answer batch by batch; greedily, or with a temperature by random numbers of the question's own."""
        said: list[Answer | Text] = []
        step = 1 if self.model.temperature else self.model.batch_size
        for start in range(0, len(questions), step):
            said.extend(self._ask(questions[start : start + step]))
        return said

    def _ask(self, questions: Sequence[Question]) -> list[Answer | Text]:
        pictures: list[Image | Text | None] = [self._picture(question) for question in questions]
        good = [i for i, picture in enumerate(pictures) if not isinstance(picture, str)]
        answers: list[Answer | Text] = [picture if isinstance(picture, str) else "" for picture in pictures]
        if good:
            made = self._generate([questions[i] for i in good], [pictures[i] for i in good])
            for i, answer in zip(good, made, strict=True):
                answers[i] = answer
        return answers

    def _picture(self, question: Question) -> Image | Text | None:
        from PIL import Image

        if question.image is None:
            return None
        try:
            picture = Image.fromarray(decode(question.image))
        except ImageError as error:
            return f"corrupt: {error}"
        picture.thumbnail((self.model.image_side_px, self.model.image_side_px))
        return picture

    def _generate(self, questions: Sequence[Question], pictures: Sequence[Any]) -> list[Answer]:
        import torch

        texts = [self._prompt(question) for question in questions]
        images = [picture for picture in pictures if picture is not None]
        given = self.processor(text=texts, images=images or None, return_tensors="pt", padding=True).to(self.device)
        temperature = self.model.temperature
        chosen = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        with torch.inference_mode(), torch.random.fork_rng(enabled=bool(temperature)):
            if temperature:
                torch.manual_seed(_seed(questions[0]))
            made = self.network.generate(**given, max_new_tokens=self.model.max_tokens, **chosen)
        start, tokenizer = given["input_ids"].shape[1], self.processor.tokenizer
        answers = []
        for row, mask in zip(made[:, start:], given["attention_mask"], strict=True):
            length = int((row != tokenizer.pad_token_id).sum())
            ended = length < self.model.max_tokens or int(row[length - 1]) == tokenizer.eos_token_id
            text = tokenizer.decode(row, skip_special_tokens=True)
            name = Path(self.model.transformers).name
            answers.append(Answer(text, "stop" if ended else "length", name, int(mask.sum()), length))
        return answers

    def _prompt(self, question: Question) -> str:
        content = [{"type": "image"}] if question.image is not None else []
        message = {"role": "user", "content": [*content, {"type": "text", "text": question.prompt}]}
        return str(self.processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False))


def _seed(question: Question) -> int:
    from reinforced.counter import hash64

    return hash64(json.dumps([question.key, question.prompt, question.draw])) >> 1
