from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from seqlore.report.labels import overlap, place

AREA = (0.0, 0.0, 320.0, 240.0)
places = st.tuples(st.floats(0, 320), st.floats(0, 240))
extents = st.tuples(st.floats(5, 120), st.floats(6, 14))


def test_a_lonely_label_stands_right_of_its_point() -> None:
    assert place([(100, 100)], [(40, 10)], AREA) == [(107, 95, 147, 105)]


def test_at_the_right_edge_it_stands_left() -> None:
    assert place([(310, 100)], [(40, 10)], AREA) == [(263, 95, 303, 105)]


def test_without_room_there_is_no_label() -> None:
    assert place([(5, 5)], [(40, 10)], (0, 0, 20, 20)) == [None]


@given(st.lists(st.tuples(places, extents), max_size=14))
@settings(max_examples=60, deadline=None)
def test_labels_overlap_neither_each_other_nor_a_point(labels: list) -> None:
    points, sizes = [p for p, _ in labels], [s for _, s in labels]
    found = [b for b in place(points, sizes, AREA) if b is not None]
    assert not any(overlap(a, b) for a, b in combinations(found, 2))
    assert not any(overlap(b, (x - 4, y - 4, x + 4, y + 4)) for b in found for x, y in points)
    assert all(b[0] >= 0 and b[1] >= 0 and b[2] <= 320 and b[3] <= 240 for b in found)


def test_a_crowd_of_equal_points_is_all_labelled() -> None:
    assert None not in place([(160, 120)] * 12, [(70, 10)] * 12, AREA)
