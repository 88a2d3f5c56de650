"""Views mixed with others of their shard, from the draw of the parameters to the loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import make_photos

from reinforced import counter
from reinforced.augment import Augment
from reinforced.epoch import EpochReader
from reinforced.errors import RequestError
from reinforced.mixing import WHOLE, beta, partners
from reinforced.plan import plan
from reinforced.reinforcement import pixel_crc
from reinforced.run import run
from reinforced.verify import verify

TEACHER = {"factory": "small_teachers.cnn", "arguments": {"width": 4}}
MIXED: dict[str, Any] = {
    "op": "reinforce",
    "draws": 12,
    "top_k": 3,
    "augment": {"size_px": 12, "random_resized_crop": {}, "mix_up": {}, "cut_mix": {}},
    "teachers": [TEACHER],
}


def words(count: int) -> counter.U32:
    return counter.words(0, "test", [str(i) for i in range(count)], range(200), 1)[..., 0]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    from scipy import stats

    shares = beta(words(100).ravel(), alpha)
    assert shares.min() >= 0 and shares.max() <= WHOLE
    expected = stats.beta(alpha, alpha).cdf((np.arange(WHOLE) + 0.5) / WHOLE)
    found = np.searchsorted(np.sort(shares), np.arange(WHOLE), side="right") / shares.size
    assert np.abs(found - expected).max() < 1.63 / np.sqrt(shares.size)  # Kolmogorov's bound at 1 %


@given(st.integers(1, 50))
def test_every_partner_is_another_image_of_the_shard(count: int) -> None:
    found = partners(words(count), count)
    own = np.arange(count)[:, None]
    assert ((found == own) == (count == 1)).all()
    assert found.min() >= 0 and found.max() < count


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.05, 16))
def test_a_box_taken_from_the_partner_lies_within_the_view(width: int, height: int, alpha: float) -> None:
    augment = Augment.model_validate({"size_px": [width, height], "cut_mix": {"probability": 1, "alpha": alpha}})
    made = augment.parameters(0, ["a", "b"], range(50), [9, 9], [9, 9])
    assert (made["cut_x"].astype(int) + made["cut_width"] <= width).all()
    assert (made["cut_y"].astype(int) + made["cut_height"] <= height).all()
    assert ((made["cut_width"] == 0) == (made["cut_height"] == 0)).all()


def test_a_blend_is_rounded_to_the_nearest_level() -> None:
    augment = Augment.model_validate({"size_px": 2, "mix_up": {}})
    white, black = np.full((2, 2, 3), 255, np.uint8), np.zeros((2, 2, 3), np.uint8)
    for share in (0, 1, 128, 255):
        assert (augment.mix(white, black, {"mix_share": share}) == share).all()


def pipeline(folder: Path, *steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    source = {"op": "read.images", "path": str(folder / "photos"), "shard_rows": 16}
    return {"name": "mixed", "out": str(folder / "mixed"), "source": source, "steps": list(steps)} | more


def replayed(reader: EpochReader) -> int:
    """Compare every stored pixel hash with the pixels the loader makes; returns how many there were."""
    found = 0
    for shard, info in enumerate(reader.dataset.shards):
        hashes = reader.dataset.read("reinforced", info.name, ["draw", "row", "pixel_crc"]).to_pylist()
        for row in (row for row in hashes if row["pixel_crc"] is not None):
            epoch = reader.take(shard, reader.dataset.read_shard(info.name, ["key", "image"]), row["draw"])
            assert pixel_crc(epoch.sample(row["row"]).pixels) == row["pixel_crc"]
            found += 1
    return found


def test_mixed_views_replay_whatever_rows_fell_out_before_and_at_compaction(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 40)
    names = sorted(path for path in (tmp_path / "photos").rglob("*") if path.is_file())
    names[5].write_bytes(names[5].read_bytes()[:-200])
    result = run(pipeline(tmp_path, {"op": "engine_operators.DropHashed", "one_in": 5}, MIXED))
    assert result.counts["reinforce"].reasons, "the image that cannot be decoded has come through"
    assert verify(result.path) == []
    reader = EpochReader(result.path)
    assert replayed(reader) >= 3
    mixes = reader.dataset.to_arrow(["reinforced"], ["row", "mix_row"])
    share = np.mean(mixes.column("row").to_numpy() != mixes.column("mix_row").to_numpy())
    assert 0.65 < share < 0.85


def test_the_same_mixed_views_come_from_two_workers(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 40)
    one = run(pipeline(tmp_path, MIXED), [f"out={tmp_path / 'one'}"], workers=1).dataset
    two = run(pipeline(tmp_path, MIXED), [f"out={tmp_path / 'two'}"], workers=2).dataset
    assert [shard.files for shard in one.shards] == [shard.files for shard in two.shards]


def test_a_partner_that_was_dropped_since_is_named_before_training(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 20)
    made = run(pipeline(tmp_path, MIXED))
    later = {"name": "later", "out": made.path, "source": {"op": "read.dataset", "path": made.path}}
    run(later | {"steps": [{"op": "engine_operators.DropHashed", "one_in": 5}]})
    with pytest.raises(RequestError, match=r"shard 00000: sample \S+ was mixed with \S+, which was dropped since"):
        EpochReader(made.path)


def test_a_filter_after_mixing_is_refused_in_the_plan(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 2)
    with pytest.raises(RequestError, match=r"dedup.exact may drop images that reinforce has mixed into others"):
        plan(pipeline(tmp_path, MIXED, {"op": "dedup.exact"}))


def test_views_without_teachers_are_stored_and_replayed(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 20)
    result = run(pipeline(tmp_path, {name: value for name, value in MIXED.items() if name != "teachers"}))
    reader = EpochReader(result.path)
    assert reader.classes == 0 and replayed(reader) >= 1
    sample = next(reader.samples(0))
    assert sample.classes.size == 0 and sample.tail == 1


def test_more_draws_are_a_layer_beside_and_read_as_one(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 20)
    plain = MIXED | {"augment": {"size_px": 12, "random_resized_crop": {}}}
    whole = EpochReader(run(pipeline(tmp_path, plain), [f"out={tmp_path / 'whole'}"]).path, shuffle=False)
    made = run(pipeline(tmp_path, plain | {"draws": 4}))
    first = (Path(made.path) / "reinforced/00000.parquet").read_bytes()
    grown = {"name": "grow", "out": made.path, "source": {"op": "read.dataset", "path": made.path}}
    run(grown | {"steps": [plain | {"draws": 8, "first_draw": 4, "into": "reinforced_more"}]})
    assert (Path(made.path) / "reinforced/00000.parquet").read_bytes() == first
    reader = EpochReader(made.path, layer=["reinforced", "reinforced_more"], shuffle=False)
    assert reader.draws == 12
    for draw in range(12):
        images = reader.dataset.read_shard("00001", ["key", "image"])
        one, other = (own.take(1, images, draw) for own in (whole, reader))
        assert one.parameters["crop_x"].tolist() == other.parameters["crop_x"].tolist()
        assert one.targets.classes.tolist() == other.targets.classes.tolist()
        assert (one.sample(1).pixels == other.sample(1).pixels).all()
