"""The weights of a network as YAML names them: one file, a soup of several, or a base with task vectors added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from reinforced.augmentation import Settings
from reinforced.errors import RequestError
from reinforced.weight_files import read_state

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

State = dict[str, "Tensor"]


class Soup(Settings):
    """The mean of the weights of networks fine-tuned from one start, one network at inference.

    The uniform soup of Wortsman et al. 2022, *Model soups*; `greedy_soup` chooses the files of the greedy one.
    """

    soup: Annotated[tuple[str, ...], Field(min_length=1, description="Files of weights that are averaged.")]

    @property
    def name(self) -> str:
        """The files' names."""
        return "soup(" + ", ".join(base_name(file) for file in self.soup) + ")"

    def files(self) -> tuple[str, ...]:
        """Return the files."""
        return self.soup

    def state(self) -> State:
        """Average the tensors, in float64; those that are no floats come from the first file."""
        states = _alike(self.soup)
        first = states[0]
        return {
            name: (sum(state[name].double() for state in states) / len(states)).to(tensor.dtype)  # type: ignore[union-attr]
            if tensor.is_floating_point()
            else tensor
            for name, tensor in first.items()
        }


class TaskVector(Settings):
    """What fine-tuning changed: a fine-tuned network's weights minus the base's."""

    file: Annotated[str, Field(description="File of the fine-tuned network's weights.")]
    scale: Annotated[float, Field(description="How much of the change is added; negative takes it away.")] = 1.0


class TaskVectors(Settings):
    """The weights of a base network with scaled task vectors added.

    Ilharco et al. 2023, *Editing Models with Task Arithmetic*.
    """

    base: Annotated[str, Field(description="File of the weights that the others were fine-tuned from.")]
    add: Annotated[tuple[TaskVector, ...], Field(min_length=1, description="The task vectors.")]

    @property
    def name(self) -> str:
        """The files' names and scales."""
        return base_name(self.base) + "".join(f" {v.scale:+g}*{base_name(v.file)}" for v in self.add)

    def files(self) -> tuple[str, ...]:
        """Return the files, the base first."""
        return (self.base, *(vector.file for vector in self.add))

    def state(self) -> State:
        """Add the vectors up, in float64; tensors that are no floats come from the base."""
        base, *others = _alike(self.files())
        made = dict(base)
        for name, tensor in base.items():
            if tensor.is_floating_point():
                start = tensor.double()
                changes = ((v.scale * (s[name].double() - start)) for v, s in zip(self.add, others, strict=True))
                made[name] = sum(changes, start).to(tensor.dtype)
        return made


Weights = str | Soup | TaskVectors


def base_name(reference: str) -> str:
    """Return a file's name without its folder."""
    return reference.rstrip("/").rpartition("/")[2]


def name_of(weights: Weights) -> str:
    """Return what messages call these weights."""
    return base_name(weights) if isinstance(weights, str) else weights.name


def files_of(weights: Weights | None) -> tuple[str, ...]:
    """Return the files these weights are made from."""
    if weights is None:
        return ()
    return (weights,) if isinstance(weights, str) else weights.files()


def fill(module: Module, weights: Weights, network: str) -> None:
    """Load weights into a network, all of its own and no others. Raises: RequestError when they do not fit."""
    state = read_state(weights) if isinstance(weights, str) else weights.state()
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise RequestError(f"teacher {name_of(weights)}: its weights do not fit {network}: {error}") from error


def greedy_soup(files: Sequence[str], score: Callable[[tuple[str, ...]], float]) -> tuple[str, ...]:
    """Choose which files to average: from the best one on, each that does not make the soup worse.

    score: how good the soup of these files is on held-out images, higher is better; `calibration.held_out_accuracy`
    is one. Returns the chosen files, best first, for `weights: {soup: [...]}` (Wortsman et al. 2022, *Model soups*,
    recipe 1).
    """
    if not files:
        raise RequestError("a soup needs at least one file of weights")
    alone = {file: score((file,)) for file in files}
    first, *others = sorted(alone, key=lambda file: -alone[file])
    chosen: tuple[str, ...] = (first,)
    best = alone[first]
    for file in others:
        found = score((*chosen, file))
        if found >= best:
            chosen, best = (*chosen, file), found
    return chosen


def _alike(files: Sequence[str]) -> list[State]:
    """Read files that must have tensors of the same names and shapes."""
    states = [read_state(file) for file in files]
    shapes: list[dict[str, Any]] = [{name: tuple(t.shape) for name, t in state.items()} for state in states]
    for file, found in zip(files, shapes, strict=True):
        if found != shapes[0]:
            differ = sorted(n for n in found.keys() | shapes[0].keys() if found.get(n) != shapes[0].get(n))
            raise RequestError(
                f"weights '{file}' and '{files[0]}' are of different networks: tensors {', '.join(differ[:5])} differ"
            )
    return states
