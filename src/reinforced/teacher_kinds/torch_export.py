"""Teachers exported by PyTorch."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from reinforced.errors import RequestError
from reinforced.features import at_layer, tokens_at_layer
from reinforced.teacher import Loaded, Teacher
from reinforced.weight_files import read_file, weights_only
from reinforced.weights import base_name

if TYPE_CHECKING:
    from torch import device


class TorchExportTeacher(Teacher):
    """A program that `torch.export.save` wrote, with its weights inside."""

    torch_export: Annotated[str, Field(description="The .pt2 file: a path, an fsspec URL, or package:path.")]
    features: Annotated[
        str | None,
        Field(description="Layer whose output `teachers probe` and `embed.image` take; default: its answer."),
    ] = None

    @property
    def name(self) -> str:
        """The file's name."""
        return base_name(self.torch_export)

    def files(self) -> tuple[str, ...]:
        """Return the file."""
        return (self.torch_export,)

    def load(self, device: device) -> Loaded:
        """Load the program; one whose weights need more than `weights_only` loading is refused."""
        import torch

        data = read_file(self.torch_export)
        with weights_only():
            try:
                program = torch.export.load(io.BytesIO(data))
            except Exception as error:  # torch raises many kinds for a file that is none
                raise RequestError(f"teacher {self.name} is no exported program that can be loaded: {error}") from error
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        network = program.module()
        if self.features is None:
            return Loaded(network, features=network)
        layered = torch.export.unflatten(program)
        layer = (layered, layered, self.features)
        return Loaded(network, features=at_layer(*layer), tokens=tokens_at_layer(*layer))
