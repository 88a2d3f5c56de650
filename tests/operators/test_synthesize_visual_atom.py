from __future__ import annotations

import numpy as np
import pytest

from reinforced.images import decode
from reinforced.operators.synthesize.visual_atom import SynthesizeVisualAtom


def atoms(**parameters: object) -> SynthesizeVisualAtom:
    return SynthesizeVisualAtom.model_validate({"classes": 4, "instances": 3, "size_px": 96, **parameters})


def test_instances_share_the_shape_of_their_class_and_differ_in_pixels() -> None:
    source = atoms()
    table = source.read(next(source.shards()))
    by_class = {}
    for row in table.to_pylist():
        shape = (row["ring_count"], row["vertex_count"], *row["wave_frequencies"], *row["wave_heights"], row["tremble"])
        by_class.setdefault(row["label"], set()).add(shape)
        assert 200 <= row["vertex_count"] <= 1000
    assert [len(shapes) for shapes in by_class.values()] == [1, 1, 1, 1]
    assert len(set.union(*by_class.values())) == 4 and len(set(table["image"].to_pylist())) == 12


def test_without_waves_and_tremble_a_ring_is_an_ellipse() -> None:
    source = atoms(max_rings=1, max_height=0, max_tremble=0, encoding="png")
    picture = decode(source.encode(source.make(0, 0).pixels))[..., 0]
    rows, columns = np.nonzero(picture)
    moments = np.cov(np.stack([rows, columns]))
    middle = np.array([rows.mean(), columns.mean()])
    points = np.stack([rows, columns]) - middle[:, None]
    distance = np.einsum("ip,ij,jp->p", points, np.linalg.inv(moments), points)
    assert np.ptp(distance) / distance.mean() < 0.3, "all points are equally far in the ellipse's own metric"


def test_a_ring_is_closed() -> None:
    from scipy.ndimage import label

    picture = atoms(max_rings=1, max_tremble=0, max_height=0.1).make(1, 0).pixels
    assert label(picture == 0)[1] >= 2, "an inside apart from the outside"


@pytest.mark.parametrize(
    "wrong", [{"min_vertices": 500, "max_vertices": 300}, {"max_height": 0.9}, {"min_vertices": 2}]
)
def test_impossible_atoms_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"min_vertices|max_height"):
        atoms(**wrong)
