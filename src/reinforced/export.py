"""Write an existing dataset in another form: a sink, run over its shards."""

from __future__ import annotations

from collections.abc import Iterator

from reinforced.dataset import open_dataset
from reinforced.errors import RequestError, nearest
from reinforced.operator import Sink
from reinforced.registry import find_operator, operator_names
from reinforced.storage import Storage


def export(dataset: str, to: str, destination: str) -> Iterator[tuple[str, list[str]]]:
    """Write a dataset's kept rows with all their columns; yields each shard's name and the paths written for it.

    to: the name of a sink `write.TO`: webdataset, parquet, imagefolder. Raises: RequestError, before anything is
    written, for another one, a column that the sink cannot write, or a destination that holds something already.
    """
    known = [name.removeprefix("write.") for name in operator_names() if name.startswith("write.")]
    if to not in known:
        raise RequestError(f"export --to {to} is unknown{nearest(to, known)}")
    opened = open_dataset(dataset)
    sink = find_operator(f"write.{to}").model_validate({"path": destination})
    assert isinstance(sink, Sink)
    missing = [name for name in sink.inputs().names if name not in opened.schema.names]
    if missing:
        raise RequestError(f"export --to {to} needs column '{missing[0]}', which {opened.path} does not have")
    sink.check(opened.schema)
    there = Storage(destination)
    if there.listing("") or there.folders():
        raise RequestError(f"{destination} is not empty; export into a new folder, or empty this one first")
    sink.setup()
    for shard in opened.shards:
        yield shard.name, sink.write(shard.name, opened.read_shard(shard.name))
    sink.finish(opened)
