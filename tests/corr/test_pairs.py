import logging

import numpy as np
import pytest

from corr import retrieval
from corr.errors import UserError
from corr.matchers.xfeat import load_xfeat
from corr.pairs import all_pairs, choose_pairs, describe, looks, select_pairs
from corr.retrieval import pooled_features


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


@pytest.mark.weights
def test_pooled_features_find_the_same_place_under_other_light(texture, as_image):
    """Three places, each seen twice: moved, in other colours, half as bright."""
    images = []
    for seed in range(3):
        wide = texture(420, 300, seed)
        images.append(as_image(wide[:240, :320], f"{seed}a"))
        other = (0.5 * wide[40:280, 70:390, [1, 2, 0]] + 20).astype(np.uint8)
        images.append(as_image(other, f"{seed}b"))
    found = pooled_features(images, load_xfeat())
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    alike = found @ found.T - 2 * np.eye(6)
    assert alike.argmax(1).tolist() == [1, 0, 3, 2, 5, 4]
    assert np.array_equal(found, pooled_features(images, load_xfeat()))


@pytest.mark.weights
def test_what_is_masked_is_not_pooled(texture, as_image):
    mask = np.zeros((240, 320), bool)
    mask[:, :160] = True
    left = texture(320, 240, 1)
    right = left.copy()
    right[:, 176:] = texture(320, 240, 2)[:, 176:]
    third = as_image(texture(320, 240, 3), "c")
    one, two = (
        as_image(left, "one", mask), as_image(right, "two", mask)
    )  # fmt: skip
    found = pooled_features([one, two, third], load_xfeat())
    assert found[0] @ found[1] > 0.6 > found[0] @ found[2]


def test_without_weights_looks_fall_back_and_say_so(texture, as_image, monkeypatch, caplog):
    def missing(*_):
        raise UserError("the xfeat weights were not found")

    monkeypatch.setattr("corr.matchers.xfeat.find_weights", missing)
    images = [as_image(texture(97, 61, seed), f"p{seed}") for seed in range(3)]
    with caplog.at_level(logging.INFO, "corr.pairs"):
        found = looks(images)
    assert np.array_equal(found, np.stack([describe(image) for image in images]))
    assert "xfeat weights were not found" in caplog.text


def test_blocks_do_not_change_the_selection(monkeypatch):
    rng = np.random.default_rng(0)
    found = rng.standard_normal((57, 9))
    found[31] = found[12]  # equals are taken in the list's order
    whole = select_pairs(found, similar=5)
    monkeypatch.setattr("corr.pairs.BLOCK_BYTES", 8 * 57 * 10)
    assert select_pairs(found, similar=5) == whole
    similarity = found @ found.T
    np.fill_diagonal(similarity, -np.inf)
    for i in range(57):
        for j in np.argsort(-similarity[i], kind="stable")[:5]:
            assert (min(i, int(j)), max(i, int(j))) in whole


def test_no_photo_is_in_more_pairs_than_asked():
    rng = np.random.default_rng(1)
    found = rng.standard_normal((80, 3)) + np.array([2, 0, 0])  # some are like all others
    pairs = select_pairs(found, similar=10, per_photo=10)
    assert np.bincount(np.array(pairs).ravel()).max() == 10
    assert {(i, i + 1) for i in range(79)} <= set(pairs)


def test_pool_samples_as_if_features_were_one_array(tmp_path, monkeypatch):
    monkeypatch.setattr(retrieval, "SAMPLE", 20)
    rng = np.random.default_rng(2)
    parts = [rng.standard_normal((m, 8)).astype(np.float32) for m in (13, 1, 40, 7)]
    files = [tmp_path / f"{k}.npy" for k in range(4)]
    for file, part in zip(files, parts, strict=True):
        np.save(file, part)
    given = []
    monkeypatch.setattr(retrieval, "_words", lambda f: given.append(f) or f[:4])
    retrieval.pool(files)
    assert np.array_equal(given[0], np.concatenate(parts)[::3])


@pytest.mark.weights
def test_features_of_many_photos_are_kept(texture, as_image, tmp_path, monkeypatch):
    images = [as_image(texture(97, 61, seed), f"p{seed}") for seed in range(5)]
    first = choose_pairs(images, all_up_to=4, folder=tmp_path / "looks")
    assert len(list((tmp_path / "looks").glob("*.npy"))) == 5
    monkeypatch.setattr(retrieval, "_local", lambda *_: pytest.fail("computed again"))
    assert choose_pairs(images, all_up_to=4, folder=tmp_path / "looks") == first
