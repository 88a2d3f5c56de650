"""Teachers as ONNX graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from reinforced.errors import RequestError
from reinforced.features import by_place, pooled
from reinforced.teacher import Loaded, Preprocessing, Teacher
from reinforced.weight_files import read_file
from reinforced.weights import base_name

if TYPE_CHECKING:
    from torch import Tensor, device


class OnnxTeacher(Teacher):
    """An ONNX graph with its weights inside, run by onnxruntime: one float32 input (N, 3, height, width), logits out.

    Its size is the graph's, if that is fixed; the format has no place for a normalization, so give mean and std.
    """

    native: ClassVar[bool] = False

    onnx: Annotated[str, Field(description="The .onnx file: a path, an fsspec URL, or package:path.")]
    output: Annotated[str | None, Field(description="Name of the output with the logits; default: the first.")] = None
    features: Annotated[
        str | None, Field(description="Output that `teachers probe` and `embed.image` take; default: the logits.")
    ] = None

    @property
    def name(self) -> str:
        """The file's name."""
        return base_name(self.onnx)

    def files(self) -> tuple[str, ...]:
        """Return the file."""
        return (self.onnx,)

    def load(self, device: device) -> Loaded:
        """Load the graph; on a GPU if this onnxruntime can use one."""
        import numpy as np
        import onnxruntime
        import torch

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        wanted = (
            ["CUDAExecutionProvider", "CPUExecutionProvider"] if device.type == "cuda" else ["CPUExecutionProvider"]
        )
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        data = read_file(self.onnx)
        try:
            session = onnxruntime.InferenceSession(data, options, providers=providers)
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise RequestError(f"teacher {self.name} is no ONNX graph that can be loaded: {error}") from error
        source, output = self._ends(session)

        def network(images: Tensor, named: str = output) -> Tensor:
            try:
                found = session.run([named], {source.name: images.cpu().numpy()})[0]
            except Exception as error:  # as above
                raise RuntimeError(str(error)) from error
            return torch.from_numpy(np.asarray(found)).to(images.device)

        def features(images: Tensor) -> Tensor:
            return pooled(network(images, self.features or output))

        def tokens(images: Tensor) -> Tensor:
            return by_place(network(images, self.features or output))

        height, width = source.shape[2:]
        fixed = isinstance(height, int) and isinstance(width, int)
        return Loaded(
            network, Preprocessing(size=(width, height) if fixed else None), features, tokens if self.features else None
        )

    def _ends(self, session: Any) -> tuple[Any, str]:
        """Return the input and the output's name. Raises: RequestError when they are not as they must be."""
        inputs, outputs = session.get_inputs(), [found.name for found in session.get_outputs()]
        found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            raise RequestError(f"teacher {self.name} must have one float32 input (N, 3, height, width), it has {found}")
        output = self.output or outputs[0]
        if lacking := {output, self.features or output} - set(outputs):
            raise RequestError(f"teacher {self.name} has no output '{lacking.pop()}', it has {', '.join(outputs)}")
        return inputs[0], output
