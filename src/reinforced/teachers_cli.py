"""The commands about teachers: `reinforced teachers probe`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reinforced.errors import RequestError

if TYPE_CHECKING:
    from reinforced.teacher import Teacher

teachers_app = typer.Typer(help="Compare teachers.", no_args_is_help=True)

_KINDS = {".pt2": "torch_export", ".onnx": "onnx"}
"""Files that are teachers by themselves."""


@teachers_app.callback()
def _group() -> None:
    pass


@teachers_app.command()
def probe(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Folder or fsspec URL of a labelled dataset.")],
    teachers: Annotated[
        list[str],
        typer.Option(help="YAML file with a list of teachers, a .pt2 or .onnx file, or a folder; may be repeated."),
    ],
    size_px: Annotated[
        int | None, typer.Option(help="Side images are resized to; default: each teacher's own.", min=1)
    ] = None,
    split: Annotated[str, typer.Option(help="Column that says which part an image belongs to.")] = "split",
    train: Annotated[str, typer.Option(help="Part the classifiers learn from.")] = "train",
    test: Annotated[str, typer.Option(help="Part they are judged on.")] = "test",
    images: Annotated[int | None, typer.Option(help="Most images of each part; default: all.", min=1)] = None,
    cpus: Annotated[int, typer.Option(help="Compute threads.", min=1)] = 1,
    gpus: Annotated[float, typer.Option(help="1 to use a GPU.", min=0)] = 0,
    out: Annotated[str, typer.Option(help="Folder for probe.json and probe.html.")] = "teachers-probe",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Rank networks on a dataset by what simple classifiers make of their features, before one teaches."""
    from dataclasses import asdict

    from reinforced.dataset import open_dataset
    from reinforced.display import json_line, show
    from reinforced.probe import probe as rank
    from reinforced.probe_report import probe_table, write_probe

    named = [teacher for given in teachers for teacher in named_teachers(given)]
    side = None if size_px is None else (size_px, size_px)
    found = rank(
        open_dataset(dataset),
        named,
        size_px=side,
        split=split,
        train=train,
        test=test,
        images=images,
        cpus=cpus,
        gpus=gpus,
    )
    paths = write_probe(found, f"Teachers on {dataset}", out)
    if as_json:
        print(json_line([asdict(one) for one in found]))
    else:
        show([probe_table(found), f"Written: {', '.join(map(str, paths))}"])


def named_teachers(given: str) -> list[Teacher]:
    """Return the teachers that an argument names: those of a YAML file, or the one that a file or folder is.

    The YAML is a list of teachers, or a mapping with one at `teachers`. Raises: RequestError saying what it is instead.
    """
    import yaml

    from reinforced.teachers import parse_teacher
    from reinforced.weight_files import read_file

    path = Path(given)
    listed: Any
    if path.is_dir():
        listed = [{"transformers": given}]
    elif path.suffix in _KINDS:
        listed = [{_KINDS[path.suffix]: given}]
    else:
        try:
            listed = yaml.safe_load(read_file(given))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RequestError(f"teachers '{given}' is no YAML file: {error}") from error
        listed = listed.get("teachers", [listed]) if isinstance(listed, dict) else listed
    if not isinstance(listed, list) or not listed:
        raise RequestError(f"teachers '{given}' must hold a list of teachers, or a mapping with one at `teachers`")
    try:
        return [parse_teacher(one) for one in listed]
    except ValueError as error:
        raise RequestError(f"teachers '{given}': {error}") from error
