"""Read a reinforced dataset with nothing but pyarrow: print what the teachers said of one view of one image.

python examples/read_reinforced.py data/digits-plus 00000 3 0     (dataset, shard, draw, row)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq


def read(dataset: str, shard: str, draw: int, row: int) -> dict[str, Any]:
    """Return the image's key, how it was augmented, the probability of each listed class, and the tail."""
    file = Path(dataset) / "reinforced" / f"{shard}.parquet"
    rows = pq.read_table(file, filters=pc.field("row") == row).sort_by("draw").to_pylist()
    layer, table = next(found for found in rows if found["draw"] == draw), rows[0]["class_table"]
    about = json.loads(pq.read_schema(file).metadata[b"reinforced.reinforcement"])
    sample = pq.read_table(Path(dataset) / "samples" / f"{shard}.parquet", columns=["key"]).slice(row, 1).to_pylist()[0]
    if table is None:
        raise SystemExit(f"{sample['key']} was dropped after it was stored")

    *others, tail = layer["shares"]  # ranks 2, 3, ... and the classes that are not listed
    first = about["steps"] - sum(layer["shares"])  # rank 1 has what is left
    probabilities = [count / about["steps"] for count in [first, *others]]

    parameters = {name: value for name, value in layer.items() if name not in ("class_table", "class_places", "shares")}
    answer = dict(zip((table[place] for place in layer["class_places"]), probabilities, strict=True))
    return {**sample, "parameters": parameters, "probabilities": answer, "tail": tail / about["steps"]}


if __name__ == "__main__":
    dataset, shard, draw, row = sys.argv[1:]
    for name, value in read(dataset, shard, int(draw), int(row)).items():
        print(f"{name}: {value}")
