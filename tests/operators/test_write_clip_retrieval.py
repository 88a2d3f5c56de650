"""`write.clip_retrieval`: vectors and metadata that its tools join by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photos import make_photos

from reinforced.operators.write.clip_retrieval import WriteClipRetrieval
from reinforced.run import run

MLP = {"factory": "reinforced.models.mlp", "arguments": {"inputs": 192}, "features": "1", "size_px": 8}


def test_row_i_of_the_metadata_is_row_i_of_the_vectors(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 7)
    dataset = run(
        {
            "name": "seen",
            "out": str(tmp_path / "seen"),
            "source": {"op": "read.images", "path": str(tmp_path / "photos"), "shard_rows": 4},
            "steps": [{"op": "embed.image", "teacher": MLP, "normalize": False}],
            "sinks": [{"op": "write.clip_retrieval", "path": str(tmp_path / "clip")}],
        }
    ).dataset
    stored = dataset.to_arrow(columns=["key", "embedding"])
    own = dict(zip(stored.column("key").to_pylist(), stored.column("embedding").to_pylist(), strict=True))
    keys = []
    for number in ("00000", "00001"):
        vectors = np.load(tmp_path / f"clip/img_emb/img_emb_{number}.npy")
        metadata = pq.read_table(tmp_path / f"clip/metadata/metadata_{number}.parquet")
        assert vectors.dtype == np.float16 and vectors.shape == (metadata.num_rows, 32)
        assert {"key", "image_path", "width"} <= set(metadata.column_names)
        assert not {"image", "embedding"} & set(metadata.column_names)
        for key, vector in zip(metadata.column("key").to_pylist(), vectors.astype(np.float32), strict=True):
            expected = np.array(own[key], np.float32)
            np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-3)
            keys.append(key)
    assert sorted(keys) == sorted(own)


def test_captions_have_a_folder_of_their_own(tmp_path: Path) -> None:
    kind = pa.list_(pa.float32(), 2)
    table = pa.table({"key": ["a", "b"], "embedding": pa.array([[3, 4], [0, 2]], kind)})
    table = table.append_column("said", pa.array([[0, 0], [1, 0]], kind))
    sink = WriteClipRetrieval(path=str(tmp_path), text_column="said")
    sink.check(table.schema)
    files = sink.write("00000", pa.concat_tables([table.slice(0, 1), table.slice(1)]))
    assert [file.removeprefix(f"{tmp_path}/") for file in files] == [
        "img_emb/img_emb_00000.npy",
        "text_emb/text_emb_00000.npy",
        "metadata/metadata_00000.parquet",
    ]
    np.testing.assert_allclose(np.load(files[0]).astype(float), [[0.6, 0.8], [0, 1]], atol=1e-3)
    assert np.load(files[1]).tolist() == [[0, 0], [1, 0]]


def test_a_row_without_a_vector_is_refused_because_rows_would_shift(tmp_path: Path) -> None:
    table = pa.table({"key": ["a", "b"], "embedding": pa.array([[1.0], None], pa.list_(pa.float32(), 1))})
    with pytest.raises(ValueError, match="1 rows have no 'embedding'"):
        WriteClipRetrieval(path=str(tmp_path)).write("00000", table)


def test_columns_that_hold_no_vectors_are_refused_before_anything_runs() -> None:
    schema = pa.schema([("key", pa.string()), ("embedding", pa.list_(pa.list_(pa.float16(), 2), 3))])
    with pytest.raises(ValueError, match="one vector of fixed length"):
        WriteClipRetrieval(path="x").check(schema)
    with pytest.raises(ValueError, match="'seen' is not there"):
        WriteClipRetrieval(path="x", column="seen").check(schema)
