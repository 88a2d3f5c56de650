from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from clip_dataset import DRAWS, SYNTHETIC, pairs, reinforced, teachers

pytest.importorskip("open_clip")

from reinforced.clip_step import ClipEnsemble
from reinforced.errors import RequestError
from reinforced.images import decode
from reinforced.layers import rows_of_draws
from reinforced.multimodal import ClipEpochReader
from reinforced.operators.reinforce_clip import ReinforceClip
from reinforced.run import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("clip")
    reinforced(place)
    return place


@pytest.fixture(scope="module")
def reader(folder: Path) -> ClipEpochReader:
    return ClipEpochReader(str(folder / "clip"), seed=5)


def test_a_sample_is_a_view_and_two_texts_with_the_teachers_embeddings_of_each(
    reader: ClipEpochReader, folder: Path
) -> None:
    step: Any = ReinforceClip(teachers=teachers(folder), draws=1, augment={"size_px": 16}, batch_size=8)  # type: ignore[arg-type]
    ensemble = ClipEnsemble(step)
    rows = {row["key"]: row for row in pairs(20).to_pylist()}
    samples = list(reader.samples(1))
    assert sorted(sample.key for sample in samples) == sorted(rows)
    views = ensemble.images([np.stack([s.pixels for s in samples[i : i + 8]]) for i in range(0, 20, 8)])
    np.testing.assert_array_equal(np.stack([sample.view_embedding for sample in samples]), views)
    for name in ("caption", "synthetic"):
        expected = ensemble.texts([getattr(sample, name) for sample in samples])
        np.testing.assert_array_equal(np.stack([getattr(sample, f"{name}_embedding") for sample in samples]), expected)
    for sample in samples:
        assert sample.caption == rows[sample.key]["caption"] and sample.synthetic in rows[sample.key]["captions"]


def test_the_pixels_are_the_stored_augmentation_replayed(reader: ClipEpochReader) -> None:
    files = dict(zip(*(reader.dataset.to_arrow(columns=[n])[n].to_pylist() for n in ("key", "image")), strict=True))
    augment = reader.views.reinforcement.augment
    shown = {sample.key: sample.pixels for sample in reader.samples(2)}
    for shard, found in enumerate(reader.dataset.shards):
        stored = reader.dataset.read("reinforced_clip", found.name).to_pylist()
        keys = reader.dataset.read("samples", found.name, ["key"])["key"].to_pylist()
        for row, key in enumerate(keys):
            made = augment.apply(decode(files[key]), stored[reader.views.draw(shard, 2) * found.rows + row])
            np.testing.assert_array_equal(made, shown[key])


def test_draws_rotate_and_every_synthetic_caption_comes_once_in_a_round(reader: ClipEpochReader) -> None:
    for shard in range(len(reader.dataset.shards)):
        assert {reader.views.draw(shard, epoch) for epoch in range(DRAWS)} == set(range(DRAWS))
        for start in (0, SYNTHETIC):
            drawn = [reader.caption_draw(shard, epoch) for epoch in range(start, start + SYNTHETIC)]
            assert sorted(drawn) == list(range(1, SYNTHETIC + 1))
    orders = {tuple(reader.caption_draw(0, SYNTHETIC * i + j) for j in range(SYNTHETIC)) for i in range(10)}
    assert len(orders) > 3, "a view would always meet the same caption"
    seen: dict[str, set[str]] = {}
    for epoch in range(SYNTHETIC):
        for sample in reader.samples(epoch):
            seen.setdefault(sample.key, set()).add(sample.synthetic)
    assert seen == {row["key"]: set(row["captions"]) for row in pairs(20).to_pylist()}


def test_an_epoch_again_is_the_same_and_its_parts_cover_it(reader: ClipEpochReader) -> None:
    whole = [(s.key, s.pixels.tobytes(), s.synthetic) for s in reader.samples(4)]
    again = ClipEpochReader(reader.dataset, seed=5)
    assert [(s.key, s.pixels.tobytes(), s.synthetic) for s in again.samples(4)] == whole
    parts = [s.key for part in range(3) for s in reader.samples(4, part=part, parts=3)]
    assert sorted(parts) == sorted(key for key, _, _ in whole)


def test_wide_rows_are_read_draw_by_draw_and_narrow_ones_are_not() -> None:
    assert rows_of_draws(1000, 30, 3072 + 40) == 1000, "an epoch would decode other draws' embeddings"
    assert rows_of_draws(1000, 30, 60) == rows_of_draws(1000, 30) == 4000


def test_layers_of_other_teachers_are_refused(folder: Path, tmp_path: Path) -> None:
    one = {"teachers": teachers(folder)[:1]}
    more = {
        "name": "more",
        "out": str(folder / "clip"),
        "source": {"op": "read.dataset", "path": str(folder / "clip")},
        "steps": [{"op": "embed.captions", "into": "one_teacher", "draws": 2, **one}],
    }
    dataset = run(more).dataset
    with pytest.raises(RequestError, match=r"'reinforced_clip' and 'one_teacher' are of other teachers"):
        ClipEpochReader(dataset, captions="one_teacher")
    with pytest.raises(RequestError, match=r"layer 'samples' has no"):
        ClipEpochReader(dataset, captions="samples")


def test_a_row_without_captions_costs_only_itself_and_readers_skip_it(folder: Path, tmp_path: Path) -> None:
    table = pairs(20)
    lists = table.column("captions").to_pylist()
    lists[3] = []
    broken = table.set_column(table.column_names.index("captions"), "captions", [lists])
    pq.write_table(broken, tmp_path / "broken.parquet")
    source = {"op": "read.parquet", "path": str(tmp_path / "broken.parquet"), "shard_rows": 8}
    (tmp_path / "clip16").symlink_to(folder / "clip16")
    (tmp_path / "clip32").symlink_to(folder / "clip32")
    result = reinforced(tmp_path, source=source, max_failure_rate=0.1, compact=False)
    found = ClipEpochReader(result.dataset)
    keys = table.column("key").to_pylist()
    assert sorted(sample.key for sample in found.samples(0)) == sorted(set(keys) - {keys[3]})
