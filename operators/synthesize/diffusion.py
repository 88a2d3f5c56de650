"""Images of a diffusion model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns, counter
from reinforced.errors import RequestError
from reinforced.operator import ShardSpec, Source
from reinforced.synthesis import Encoding, encode
from reinforced.weight_files import hash_file

from ._prompts import PromptColumn

Prompt = Annotated[str, Field(min_length=1)]


class SynthesizeDiffusion(Source):
    """Makes images of prompts with a text-to-image pipeline of the package diffusers, from a local folder.

    A prompt is a class: `label` counts them from 0, `instances` images each. Each image is made by itself from a seed
    of its own, which is a column beside the prompt and the hash of the pipeline's files: all that makes it again on the
    same hardware. Weights are read from safetensors; nothing is downloaded. On a GPU set `resources: {gpus: 1}`.
    """

    writes: ClassVar = ("key", "image", "label", "prompt", "diffusion_seed", "checkpoint_sha256")
    alone: ClassVar = True
    examples: ClassVar = ({"pipeline": "models/stable-diffusion", "prompts": ["a photo of a mug"]},)

    pipeline: Annotated[str, Field(min_length=1, description="Folder of the pipeline, with model_index.json.")]
    prompts: Annotated[
        Annotated[list[Prompt], Field(min_length=1)] | PromptColumn, Field(description="Prompts, or where they are.")
    ]
    adapter: Annotated[str | None, Field(description="Safetensors file of a LoRA (PEFT) for the pipeline.")] = None
    instances: Annotated[int, Field(ge=1, le=1_000_000, description="Images of each prompt.")] = 1
    steps: Annotated[int, Field(ge=1, le=1000, description="Steps of denoising.")] = 50
    guidance: Annotated[float, Field(ge=0, description="Scale of classifier-free guidance.")] = 7.5
    width_px: Annotated[int, Field(ge=8, le=4096, multiple_of=8, description="Width of an image.")] = 512
    height_px: Annotated[int, Field(ge=8, le=4096, multiple_of=8, description="Height of an image.")] = 512
    half: Annotated[bool, Field(description="Compute in bfloat16 instead of float32.")] = False
    encoding: Annotated[Encoding, Field(description="How images are stored: JPEG of quality 95, or PNG.")] = "jpeg"
    shard_rows: Annotated[int, Field(gt=0, description="Images in a shard.")] = 100
    seed: Annotated[int, Field(ge=0, description="Decides the seed of every image.")] = 0

    _ready: tuple[Any, list[str], str] | None = PrivateAttr(None)

    def columns(self) -> pa.Schema:
        """Return the columns; RequestError where the pipeline or the prompts are not there."""
        if not (Path(self.pipeline) / "model_index.json").is_file():
            raise RequestError(f"{self.name()}: '{self.pipeline}' has no model_index.json; give a pipeline's folder")
        self._prompts()
        return columns.resolve(self.writes)

    def ingredients(self) -> dict[str, str]:
        """Return the hash of the pipeline's files with the adapter's, and that of the prompts."""
        prompts = "\0".join(self._prompts())
        return {"checkpoint": self._checkpoint(), "prompts": hashlib.sha256(prompts.encode()).hexdigest()}

    def shards(self) -> Iterator[ShardSpec]:
        """Yield the first and the last image (exclusive) of every shard."""
        total = len(self._prompts()) * self.instances
        for start in range(0, total, self.shard_rows):
            yield {"start": start, "stop": min(start + self.shard_rows, total)}

    def read(self, shard: ShardSpec) -> pa.Table:
        """Make the images of a shard, one by one."""
        pipeline, prompts, checkpoint = self._ready or self._load()
        rows: list[dict[str, Any]] = []
        for i in range(shard["start"], shard["stop"]):
            label, instance = divmod(i, self.instances)
            key = f"{label:05d}/{instance:06d}"
            low, high = counter.words(self.seed, self.name(), [key], [0], 2)[0, 0].tolist()
            seed = low | (high & 0x7FFFFFFF) << 32
            row = {"key": key, "label": label, "prompt": prompts[label], "diffusion_seed": seed}
            rows.append(row | {"checkpoint_sha256": checkpoint} | self._image(pipeline, prompts[label], seed))
        return pa.Table.from_pylist(rows, schema=columns.resolve(self.writes).append(pa.field("_error", pa.string())))

    def _image(self, pipeline: Any, prompt: str, seed: int) -> dict[str, Any]:
        import torch

        made = pipeline(
            prompt,
            width=self.width_px,
            height=self.height_px,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="pil",
        )
        if any(getattr(made, "nsfw_content_detected", None) or ()):
            return {"_error": "refused by the pipeline's safety checker"}
        return {"image": encode(np.asarray(made.images[0].convert("RGB")), self.encoding)}

    def _prompts(self) -> list[str]:
        return self.prompts if isinstance(self.prompts, list) else self.prompts.read()

    def _checkpoint(self) -> str:
        files = sorted(path for path in Path(self.pipeline).rglob("*") if path.is_file())
        hashes = [(path.relative_to(self.pipeline).as_posix(), hash_file(str(path))) for path in files]
        return hashlib.sha256(repr([*hashes, self.adapter and hash_file(self.adapter)]).encode()).hexdigest()

    def _load(self) -> tuple[Any, list[str], str]:
        try:
            import diffusers
        except ImportError as error:
            raise RequestError(f"{self.name()} needs diffusers; install reinforced[diffusion]") from error
        import torch

        kind = torch.bfloat16 if self.half else torch.float32
        options = {"local_files_only": True, "use_safetensors": True}
        build: Any = diffusers.DiffusionPipeline
        pipeline = build.from_pretrained(self.pipeline, torch_dtype=kind, **options)
        if self.adapter:
            weights = Path(self.adapter)
            pipeline.load_lora_weights(str(weights.parent), weight_name=weights.name, **options)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.to("cuda" if self.resources.gpus > 0 and torch.cuda.is_available() else "cpu")
        self._ready = pipeline, self._prompts(), self._checkpoint()
        return self._ready

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_ready": None}}
