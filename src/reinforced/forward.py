"""Networks run over uint8 images on one device: the copy there, the arithmetic and the copy back, overlapped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from reinforced.images import Pixels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from reinforced.teacher import Loaded, Preprocessing

Floats = npt.NDArray[np.float32]
Compute = Literal["float32", "bfloat16"]
BatchSize = int | Literal["auto"]

CPU_BATCH, FIRST_BATCH, LARGEST_BATCH = 64, 16, 1024
"""Images of a batch of size `auto`: on a CPU, and on a GPU the first size tried and the last."""
MEMORY_SHARE = 0.4
"""Of a GPU's free memory that one batch may use: two are under way at once."""


@dataclass(frozen=True)
class Pending:
    """A batch under way: what each network answers, on its way back to the host."""

    answers: Sequence[Tensor]
    images: int
    arrived: torch.cuda.Event | None

    def take(self) -> list[Floats]:
        """Wait for the answers and return them, one array (images, outputs) a network."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return [answer[: self.images].numpy() for answer in self.answers]


class Forward:
    """Runs networks over batches; every batch has the same shape, whatever its images, and is copied once for all."""

    def __init__(
        self,
        networks: Sequence[Loaded],
        on: torch.device,
        *,
        batch_size: int,
        cpus: int = 1,
        compute: Compute = "float32",
    ) -> None:
        """Take networks that are on the device.

        cpus: compute threads. compute: the arithmetic of their layers; bfloat16 is PyTorch's automatic mixed precision,
        with what needs it (softmax, normalization) still in float32.
        """
        import torch

        self.networks, self.device, self.batch_size, self.cpus = list(networks), on, batch_size, cpus
        self._bfloat16 = compute == "bfloat16"
        self._copies = torch.cuda.Stream(on) if on.type == "cuda" else None  # type: ignore[no-untyped-call]

    def answers(self, batches: Iterable[Pixels], only: int | None = None) -> Iterator[list[Floats]]:
        """Yield what all networks, or one, answer to each batch (at most batch_size images); float32 (n, outputs).

        While the caller looks at one batch's answers, a GPU already works on the next.
        """
        under_way: Pending | None = None
        for pixels in batches:
            following = self.start(pixels, only)
            if under_way is not None:
                yield under_way.take()
            under_way = following
        if under_way is not None:
            yield under_way.take()

    def start(self, pixels: Pixels, only: int | None = None) -> Pending:
        """Begin on uint8 images (n, height, width, 3), n at most batch_size; a CPU returns when it is done."""
        import torch

        networks = self.networks if only is None else [self.networks[only]]
        if len(pixels) < self.batch_size:  # always the same shape: another would pick other kernels, which round anew
            padded = np.zeros((self.batch_size, *pixels.shape[1:]), np.uint8)
            padded[: len(pixels)] = pixels
        else:
            padded = pixels
        answers = []
        with torch.inference_mode(), threads(self.cpus):
            images = self._on_device(torch.from_numpy(padded))
            for loaded in networks:
                seen = prepared(images, loaded.preprocessing, self._copies is not None and loaded.channels_last)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
                    answers.append(loaded.network(seen).float().to("cpu", non_blocking=True))
        arrived = None
        if self._copies is not None:
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(torch.cuda.current_stream(self.device))
        return Pending(answers, len(pixels), arrived)

    def _on_device(self, images: Tensor) -> Tensor:
        """Copy a batch to a GPU on a stream of its own, so that it does not wait for the networks before it."""
        import torch

        if self._copies is None:
            return images
        with torch.cuda.stream(self._copies):
            copied = images.pin_memory().to(self.device, non_blocking=True)
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._copies)
        copied.record_stream(current)
        return copied


def prepared(pixels: Tensor, how: Preprocessing, channels_last: bool = False) -> Tensor:
    """Turn uint8 images (n, height, width, 3) into what a network takes: float32 (n, 3, height, width)."""
    import torch

    values = pixels.permute(0, 3, 1, 2).to(torch.float32).div(255)
    if how.size is not None and how.size != (values.shape[3], values.shape[2]):
        size = (how.size[1], how.size[0])
        values = torch.nn.functional.interpolate(values, size, mode=how.interpolation, antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (how.mean, how.std))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return values.sub(mean).div(std).contiguous(memory_format=layout)


def largest_batch(peak_bytes: Callable[[int], int | None], free_bytes: int) -> int:
    """Return the largest batch, a power of two from 16 to 1,024, whose measured memory stays within a share of what is
    free.

    peak_bytes: measures how much memory a batch of so many images takes; None where there was not enough.
    """
    size = FIRST_BATCH
    while size < LARGEST_BATCH:
        peak = peak_bytes(2 * size)
        if peak is None or peak > MEMORY_SHARE * free_bytes:
            break
        size *= 2
    return size


def measured_batch(networks: Sequence[Loaded], on: torch.device, size: tuple[int, int], compute: Compute) -> int:
    """Return the images of a batch of (width, height) px that suit a device: measured on a GPU, 64 on a CPU."""
    import torch

    if on.type != "cuda":
        return CPU_BATCH
    free, _ = torch.cuda.mem_get_info(on)

    def peak_bytes(images: int) -> int | None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(on)
        before = torch.cuda.memory_allocated(on)
        try:
            black = np.zeros((images, size[1], size[0], 3), np.uint8)
            Forward(networks, on, batch_size=images, compute=compute).start(black).take()
        except torch.OutOfMemoryError:
            return None
        return int(torch.cuda.max_memory_allocated(on)) - before

    return largest_batch(peak_bytes, free)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on so many threads: the number decides how sums are split, and so how they round."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
