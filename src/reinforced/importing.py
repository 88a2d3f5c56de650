"""`reinforced import`: published reinforcements become a layer of a dataset, by a pipeline that adds it in place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reinforced.errors import RequestError, nearest

_FAMILY = "reinforcements."


def import_pipeline(form: str, paths: list[str], dataset: str, **settings: Any) -> dict[str, Any]:
    """Return the pipeline that adds published reinforcements to a dataset; settings are the operator's, None left out.

    Raises: RequestError for an unknown form.
    """
    from reinforced.registry import operator_names

    forms = [name.removeprefix(_FAMILY).replace("_", "-") for name in operator_names() if name.startswith(_FAMILY)]
    if form not in forms:
        raise RequestError(f"import of '{form}' is unknown{nearest(form, forms)}")
    whole = [str(Path(path).absolute()) for path in paths]  # workers may have another working directory
    if len(whole) > 1 and form != "ml-dr":
        raise RequestError(f"import {form} takes one PATH, got {len(whole)}: {', '.join(paths)}")
    given: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    if form == "ml-dr" and "key_column" not in given:
        given.setdefault("order", dataset)
    step = {"op": _FAMILY + form.replace("-", "_"), "path": whole if form == "ml-dr" else whole[0]} | given
    name = f"import-{form}" + (f"-{given['into']}" if "into" in given else "")
    return {"name": name, "out": dataset, "source": {"op": "read.dataset", "path": dataset}, "steps": [step]}


def command(
    form: Annotated[str, typer.Argument(metavar="FORM", help="ml-dr, tinyvit or fkd.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="What was published: a folder or a tar.")],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Folder or fsspec URL of a dataset.")],
    key_column: Annotated[str | None, typer.Option(help="Column that names each sample's published entry.")] = None,
    order: Annotated[
        str | None, typer.Option(help="Text file of paths, or a dataset, that numbers the images.")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Classes the teacher knew, for tinyvit and fkd.")] = None,
    size_px: Annotated[int | None, typer.Option(help="Side of the views, for tinyvit and fkd; default 224.")] = None,
    precision: Annotated[float | None, typer.Option(help="Largest error of the probabilities; default 0.001.")] = None,
    into: Annotated[str | None, typer.Option(help="Name of the layer; default: reinforced.")] = None,
    max_failure_rate: Annotated[float, typer.Option(help="Share of samples that may have no entry.")] = 0.1,
) -> None:
    """Add reinforcements that others published to a dataset, as a layer of its own."""
    from reinforced import cli

    numbers = {"classes": classes, "size_px": size_px, "precision": precision}
    pipeline = import_pipeline(form, paths, dataset, key_column=key_column, order=order, into=into, **numbers)
    cli.execute(pipeline | {"max_failure_rate": max_failure_rate})
