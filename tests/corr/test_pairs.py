import logging

import numpy as np

from corr.pairs import all_pairs, choose_pairs, describe, select_pairs


def ring(n: int) -> np.ndarray:
    """Unit vectors on a circle: neighbours in the list, ends included, look alike."""
    angle = np.arange(n) * 2 * np.pi / n
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def test_all_pairs_are_each_pair_once():
    pairs = all_pairs(5)
    assert len(pairs) == len(set(pairs)) == 10
    assert all(i < j for i, j in pairs)
    assert all_pairs(1) == []


def test_selection_finds_the_loop_and_the_sequence():
    pairs = select_pairs(ring(40), similar=4, following=2)
    assert (0, 39) in pairs  # alike though far apart in the list
    assert {(i, i + 2) for i in range(38)} <= set(pairs)
    assert (0, 20) not in pairs
    assert pairs == sorted(set(pairs))


def test_selection_keeps_the_sequence_connected_under_a_limit():
    pairs = select_pairs(ring(40), max_pairs=50)
    assert len(pairs) == 50
    assert {(i, i + 1) for i in range(39)} <= set(pairs)


def test_few_photos_get_all_pairs_and_many_a_choice(texture, as_image, caplog):
    images = [as_image(texture(97, 61, seed), f"p{seed}") for seed in range(6)]
    assert choose_pairs(images) == all_pairs(6)
    assert len(choose_pairs(images, max_pairs=7)) == 7
    with caplog.at_level(logging.INFO, "corr.pairs"):
        chosen = choose_pairs(images, all_up_to=4)
    assert chosen == choose_pairs(images, all_up_to=4)
    assert "6 photos" in caplog.text


def test_description_is_a_unit_vector_that_knows_its_photo(texture, as_image):
    a, b = texture(97, 61, 1), texture(97, 61, 2)
    brighter = np.clip(a.astype(int) + 12, 0, 255).astype(np.uint8)
    x, y, z = (describe(as_image(p, n)) for p, n in ((a, "a"), (brighter, "a2"), (b, "b")))
    assert np.isclose(x @ x, 1)
    assert x @ y > x @ z
