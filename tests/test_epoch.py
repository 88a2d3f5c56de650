from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reinforced_dataset import AUGMENT, png, write_dataset

from reinforced.epoch import EpochReader, PixelMismatchError
from reinforced.errors import RequestError
from reinforced.images import decode
from reinforced.registry import find_operator
from reinforced.reinforcement import backends


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_dataset(tmp_path_factory.mktemp("data") / "small"))


def labels(samples: Any) -> list[int]:
    return [sample.label for sample in samples]


def rewrite(file: Path, **columns: Any) -> None:
    table = pq.read_table(file)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, file)


def describe(path: str, **changes: Any) -> None:
    for file in sorted(Path(path, "reinforced").iterdir()):
        table = pq.read_table(file)
        metadata = dict(table.schema.metadata)
        document = json.loads(metadata[b"reinforced.reinforcement"]) | changes
        table = table.replace_schema_metadata(metadata | {b"reinforced.reinforcement": json.dumps(document)})
        pq.write_table(table, file)


def test_as_many_epochs_as_draws_see_each_reinforcement_once(dataset: str) -> None:
    reader = EpochReader(dataset, seed=1)
    seen = [(shard, reader.draw(shard, epoch)) for epoch in range(reader.draws) for shard in range(len(reader.counts))]
    assert len(set(seen)) == len(seen) == reader.draws * 3
    pixels = {sample.pixels.tobytes() for epoch in range(reader.draws) for sample in reader.samples(epoch)}
    assert len(pixels) > 0.9 * reader.draws * len(reader), "epochs repeat each other's pixels"
    assert (
        len({tuple(reader.draw(s, 0) for s in range(3)) for reader in (EpochReader(dataset, seed=i) for i in range(8))})
        > 1
    )


def test_a_sample_is_what_the_teacher_saw_and_said(dataset: str) -> None:
    reader = EpochReader(dataset, shuffle=False)
    operator = find_operator("reinforce")(
        draws=4, top_k=3, augment=AUGMENT, batch_size=8,
        teachers=[{"factory": "small_teachers.cnn", "arguments": {"width": 4}}],
    )  # fmt: skip
    operator.setup()
    samples = list(reader.samples(2))
    answers = operator._ready().probabilities(np.stack([sample.pixels for sample in samples]))
    for sample, answer in zip(samples, answers, strict=True):
        np.testing.assert_allclose(sample.probabilities, answer[sample.classes], atol=1e-3)
        assert abs(sample.tail - (1 - answer[sample.classes].sum())) < 2e-3


@pytest.mark.parametrize("window", [1, 4, 1000])
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_parts_of_an_epoch_cover_it_without_overlap(dataset: str, window: int, parts: int) -> None:
    reader = EpochReader(dataset, window=window)
    found = [labels(reader.samples(3, part=part, parts=parts)) for part in range(parts)]
    assert sorted(label for mine in found for label in mine) == [0, 1, 2, 3, 4, 100, 101, 102, *range(200, 207)]
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_the_order_depends_on_seed_and_epoch_alone(dataset: str) -> None:
    orders = {
        (seed, epoch): labels(EpochReader(dataset, seed=seed).samples(epoch)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len({tuple(order) for order in orders.values()}) == 4
    assert orders[1, 1] == labels(EpochReader(dataset, seed=1).samples(1))
    assert labels(EpochReader(dataset, shuffle=False).samples(0)) == sorted(orders[0, 0])


@pytest.mark.parametrize("start", [0, 1, 5, 6, 14, 15])
def test_an_epoch_can_be_entered_anywhere(dataset: str, start: int) -> None:
    reader = EpochReader(dataset, window=6)
    assert labels(reader.samples(1, start=start)) == labels(reader.samples(1))[start:]


def test_batches_are_plain_arrays_for_any_framework(dataset: str) -> None:
    reader = EpochReader(dataset)
    batches = list(reader.batches(0, 4))
    assert [len(batch.labels) for batch in batches] == [4, 4, 4, 3]
    assert batches[0].pixels.shape == (4, 10, 12, 3) and batches[0].pixels.dtype == np.uint8
    assert [label for batch in batches for label in batch.labels] == labels(reader.samples(0))
    np.testing.assert_allclose(batches[0].dense(10).sum(axis=1), 1, atol=1e-5)
    apart = batches[0].dense(10, spread_tail=False).sum(axis=1) + batches[0].tail
    np.testing.assert_allclose(apart, 1, atol=1e-5)


def test_rows_that_were_dropped_are_skipped_and_the_others_keep_their_reinforcements(
    dataset: str, tmp_path: Path
) -> None:
    gone = [(0, 0), (1, 1), (2, 6)]
    reader = EpochReader(str(write_dataset(tmp_path / "small", dropped=gone)))
    assert len(reader) == 12
    whole = {sample.label: sample for sample in EpochReader(dataset).samples(1)}
    found = list(reader.samples(1))
    assert sorted(labels(found)) == sorted(whole.keys() - {0, 101, 206})
    for sample in found:
        np.testing.assert_array_equal(sample.pixels, whole[sample.label].pixels)
        np.testing.assert_array_equal(sample.probabilities, whole[sample.label].probabilities)


def test_samples_without_labels_say_so(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "small", rows=[3])
    file = path / "samples/00000.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["label"]), file)
    assert labels(EpochReader(str(path)).samples(0)) == [-1, -1, -1]


def test_pixels_that_drifted_are_an_error_with_a_name(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "small")
    file = path / "reinforced/00000.parquet"
    table = pq.read_table(file)
    hashes = table.column("pixel_crc").to_pylist()
    hashes[2] = 12345  # row 2 of draw 0
    rewrite(file, pixel_crc=pa.chunked_array([pa.array(hashes, pa.uint32())]))
    with pytest.raises(PixelMismatchError, match=r"shard 00000, row 2, draw 0: the replayed pixels differ"):
        EpochReader(str(path))


def test_pixel_hashes_that_agree_let_a_dataset_open(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "small", rows=[40, 2], dropped=[(0, 0), (0, 3)])
    hashes = pq.read_table(path / "reinforced/00000.parquet").column("pixel_crc")
    assert hashes.null_count < len(hashes), "no row has a hash: the check is not exercised"
    assert len(EpochReader(str(path))) == 40


def test_another_pillow_is_warned_about(tmp_path: Path) -> None:
    path = str(write_dataset(tmp_path / "small"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EpochReader(path)
    describe(path, backends=backends() | {"pillow": "1.0"})
    with pytest.warns(UserWarning, match=r"was made with pillow 1\.0, here is"):
        EpochReader(path)


def test_a_backend_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    path = str(write_dataset(tmp_path / "small"))
    describe(path, backends=backends() | {"no-such-resizer": "2.0"})
    with pytest.raises(RequestError, match=r"was made with no-such-resizer 2\.0, which is not installed"):
        EpochReader(path)


def test_a_layer_made_by_the_fast_backend_is_replayed_by_it(tmp_path: Path) -> None:
    path = str(write_dataset(tmp_path / "fast", rows=[40], augment=AUGMENT | {"backend": "fast"}))
    reader = EpochReader(path)
    assert reader.reinforcement.backends.keys() == {"pillow", "simplejpeg", "torch"}
    describe(path, augment=reader.reinforcement.augment.model_dump(mode="json") | {"backend": "exact"})
    with pytest.raises(PixelMismatchError, match="the replayed pixels differ"):
        EpochReader(path)


@pytest.mark.parametrize("field", ["format_version", "transform_version"])
def test_a_layer_of_a_newer_version_is_refused(tmp_path: Path, field: str) -> None:
    path = str(write_dataset(tmp_path / "small"))
    describe(path, **{field: 99})
    with pytest.raises(RequestError, match="newer version"):
        EpochReader(path)


def test_a_dataset_without_reinforcements_says_so(dataset: str) -> None:
    with pytest.raises(RequestError, match="no layer 'reinforce'; did you mean 'reinforced'"):
        EpochReader(dataset, layer="reinforce")
    with pytest.raises(RequestError, match="has no reinforced layer"):
        EpochReader(dataset, layer="samples")


def test_an_image_that_changed_since_is_named(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "small", rows=[3, 3])
    images = [png(1, 2, 2), b"no image", png(1, 2, 2)]
    rewrite(path / "samples/00001.parquet", image=pa.chunked_array([pa.array(images, pa.binary())]))
    reader = EpochReader(str(path), shuffle=False)
    with pytest.raises(RequestError, match=r"shard 00001, sample 1/0: crop .* has changed since"):
        list(reader.samples(0, start=3))
    with pytest.raises(RequestError, match=r"shard 00001, sample 1/1: not an image"):
        list(reader.samples(0, start=4))


def test_a_layer_that_misses_rows_is_refused_before_training(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "small", rows=[3])
    file = path / "reinforced/00000.parquet"
    table = pq.read_table(file)
    pq.write_table(table.slice(0, 5), file)
    with pytest.raises(RequestError, match="5 rows for 3 images x 4 draws"):
        next(EpochReader(str(path)).samples(0))
    emptied = table.column("class_places").to_pylist()
    emptied[:3] = [None] * 3
    pq.write_table(table, file)
    rewrite(file, class_places=pa.chunked_array([pa.array(emptied, table.schema.field("class_places").type)]))
    with pytest.raises(RequestError, match="3 images that were kept have no reinforcement"):
        for epoch in range(4):
            next(EpochReader(str(path)).samples(epoch))


def test_an_epoch_reads_its_own_draw_and_not_the_others(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "small", rows=[30])
    file = path / "reinforced/00000.parquet"
    expected = [sample.probabilities for sample in EpochReader(str(path)).samples(1)]
    pq.write_table(pq.read_table(file), file, row_group_size=30)
    reader = EpochReader(str(path))
    about = pq.read_metadata(file)
    data = bytearray(file.read_bytes())
    for draw in set(range(4)) - {reader.draw(0, 1)}:
        group = about.row_group(draw)
        start, end = (group.column(i).data_page_offset for i in (0, about.num_columns - 1))
        data[start:end] = b"x" * (end - start)
    file.write_bytes(data)
    np.testing.assert_array_equal([sample.probabilities for sample in reader.samples(1)], expected)
    with pytest.raises(OSError):
        next(reader.samples(2))


def test_an_empty_dataset_has_no_samples(tmp_path: Path) -> None:
    assert list(EpochReader(str(write_dataset(tmp_path / "small", rows=[0]))).samples(0)) == []


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_share_of_the_samples_are_originals_with_their_label(tmp_path: Path, share: float) -> None:
    path = str(write_dataset(tmp_path / "small", rows=[10, 8]))
    for file in sorted((tmp_path / "small/samples").iterdir()):
        rewrite(file, label=pa.chunked_array([pa.array([i % 10 for i in range(pq.read_metadata(file).num_rows)])]))
    plain, reader = EpochReader(path, shuffle=False), EpochReader(path, shuffle=False, originals=share)
    augment, chosen = reader.reinforcement.augment, []
    for epoch in (0, 1):
        pairs = list(zip(plain.samples(epoch), reader.samples(epoch), strict=True))
        images = [data for shard in range(2) for data in plain.images(shard).column("image").to_pylist()]
        chosen.append([found.tail == 0 and found.probabilities[0] == 1 for _, found in pairs])
        for image, (before, found) in zip(images, pairs, strict=True):
            assert len(set(found.classes)) == 3
            if found.tail == 0 and found.probabilities[0] == 1:
                assert found.classes[0] == found.label and found.probabilities.sum() == 1
                np.testing.assert_array_equal(found.pixels, augment.plain(decode(image)))
            else:
                np.testing.assert_array_equal(found.pixels, before.pixels)
                np.testing.assert_array_equal(found.probabilities, before.probabilities)
        batch = next(reader.batches(epoch, 18))
        np.testing.assert_allclose(batch.dense(10).sum(axis=1), 1, atol=1e-5)
    if share == 1:
        assert all(chosen[0])
    else:
        assert 4 <= sum(chosen[0]) <= 14 and chosen[0] != chosen[1]
        shuffled = EpochReader(path, seed=reader.seed, window=3, originals=share)
        found = [sample.label for sample in shuffled.samples(0) if sample.tail == 0 and sample.probabilities[0] == 1]
        assert len(found) == sum(chosen[0]), "which ones depends on the order"


def test_originals_need_labels_that_the_teachers_know(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "small", rows=[3, 3])
    with pytest.raises(RequestError, match=r"shard 00001: labels from 100 to 102 are not of the 10 classes"):
        list(EpochReader(str(path), originals=1.0).samples(0))
    with pytest.raises(RequestError, match=r"originals is 1\.5: it is a share, from 0 to 1"):
        EpochReader(str(path), originals=1.5)
    for file in sorted((path / "samples").iterdir()):
        table = pq.read_table(file)
        rewrite(file, label=pa.chunked_array([pa.array([None] * len(table), pa.int32())]))
    assert len(list(EpochReader(str(path), originals=1.0).samples(0))) == 6, "images without a label stay reinforced"
    for file in sorted((path / "samples").iterdir()):
        pq.write_table(pq.read_table(file).drop_columns(["label"]), file)
    with pytest.raises(RequestError, match="has no column 'label': originals, images with their label, must be 0"):
        EpochReader(str(path), originals=0.01)
