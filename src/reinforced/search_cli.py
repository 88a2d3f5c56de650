"""The command `reinforced search`: which images are most like a text or an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reinforced.errors import RequestError


def command(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Folder or fsspec URL of a dataset.")],
    model: Annotated[
        str,
        typer.Option(
            help="The model that made the embeddings. Of embed.clip: a folder, or an architecture's name and --weights."
            " Of embed.image: a YAML file with a teacher, a .pt2 or .onnx file, or a folder."
        ),
    ],
    text: Annotated[
        str | None, typer.Option(help="What to look for, in words; needs embeddings of embed.clip.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="What to look for, as an image file.")] = None,
    weights: Annotated[str | None, typer.Option(help="The CLIP model's weights, with an architecture's name.")] = None,
    column: Annotated[str, typer.Option(help="Column with the embeddings.")] = "clip_embedding",
    limit: Annotated[int, typer.Option(help="Most rows to print.", min=1)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Print the keys of the images whose embeddings are nearest to a text or an image, with their cosines.

    All rows are compared. The model is checked by the hash of its weights against what the layer says.
    """
    from reinforced.clip import OpenClipModel
    from reinforced.dataset import open_dataset
    from reinforced.display import json_line, show, table
    from reinforced.search import clip_query, embedding_of, image_query, nearest_rows
    from reinforced.teachers_cli import named_teachers

    if (text is None) == (image is None):
        raise RequestError("search needs either --text or --image")
    opened = open_dataset(dataset)
    said = embedding_of(opened, column)
    data = image.read_bytes() if image else None
    if "clip" in said:
        query = clip_query(said, OpenClipModel(open_clip=model, weights=weights), text=text, image=data)
    elif text is not None:
        raise RequestError(f"{dataset}: '{column}' is of embed.image, which has no text side: search with --image")
    else:
        teachers = named_teachers(model)
        if len(teachers) != 1:
            raise RequestError(f"--model {model} names {len(teachers)} teachers; one made the embeddings")
        query = image_query(said, teachers[0], data)
    found = nearest_rows(opened, column, query, limit)
    if as_json:
        for key, cosine in found:
            print(json_line({"key": key, "cosine": cosine}))
    else:
        show([table("", ["key", "cosine"], [(key, f"{cosine:.4f}") for key, cosine in found], right=["cosine"])])
