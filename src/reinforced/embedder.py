"""A network's features of images: one vector each, or one for every place of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from reinforced.errors import RequestError
from reinforced.forward import BatchSize, Compute, Floats, Forward, measured_batch, threads
from reinforced.images import Pixels
from reinforced.resize import resize
from reinforced.teacher import Network, Preprocessing, Teacher
from reinforced.teachers import load
from reinforced.views import made_ahead


class Embedder:
    """A network on a device with its head left out; the same answers however images are batched."""

    def __init__(
        self,
        teacher: Teacher,
        *,
        tokens: bool = False,
        batch_size: BatchSize = 64,
        compute: Compute = "float32",
        gpus: float = 0,
        cpus: int = 1,
    ) -> None:
        """Load the network and ask it about a black image, which shows the shape of its features.

        Raises: RequestError when it cannot be loaded, has no such features, or says no size of its images.
        """
        import torch

        if compute != "float32" and not teacher.native:
            raise RequestError(
                f"teacher {teacher.name} is not run by PyTorch, so compute cannot hold for it: leave it out"
            )
        device = torch.device("cuda" if gpus > 0 and torch.cuda.is_available() else "cpu")
        with threads(cpus):
            loaded = load(teacher, device)
        if loaded.preprocessing.size is None:
            raise RequestError(f"teacher {teacher.name} does not say what size it wants its images: give size_px")
        network: Network | None = loaded.tokens if tokens else loaded.features or loaded.network
        if network is None:
            raise RequestError(
                f"teacher {teacher.name} gives no features by place; timm, transformers and open_clip do, and the "
                "other kinds where `features` names a layer"
            )
        own = replace(loaded, network=network)
        self.size, self.cpus = loaded.preprocessing.size, cpus
        self.preprocessing: Preprocessing = loaded.preprocessing
        count = measured_batch([own], device, self.size, compute) if isinstance(batch_size, str) else batch_size
        self._forward = Forward([own], device, batch_size=count, cpus=cpus, compute=compute)
        width, height = self.size
        try:
            black = self._forward.start(np.zeros((1, height, width, 3), np.uint8)).take()[0]
        except (RuntimeError, AssertionError, TypeError, IndexError, AttributeError) as error:
            raise RequestError(f"teacher {teacher.name} gives no features of {width} x {height} px: {error}") from error
        self.shape: tuple[int, ...] = black.shape[1:]

    def embed(self, images: Sequence[Pixels]) -> Floats:
        """Return the features of decoded images of any size, each resized whole: float32 (n, *shape)."""
        make: Callable[[int], Pixels] = lambda i: np.array(resize(images[i], self.size, "exact"))  # noqa: E731
        step = self._forward.batch_size
        parts = [range(start, min(start + step, len(images))) for start in range(0, len(images), step)]
        answers = [answer for (answer,) in self._forward.answers(made_ahead(make, parts, self.cpus))]
        return np.concatenate([np.empty((0, *self.shape), np.float32), *answers])
