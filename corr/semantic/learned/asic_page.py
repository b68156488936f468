"""What `method=asic` leaves to look at: the canonical grid as PNG, k-CyPCK, a page with both."""

from typing import cast

import numpy as np
from markupsafe import Markup
from PIL import Image as PilImage

from corr.page import assets
from corr.page.pictures import jpeg_uri
from corr.page.text import environment
from corr.semantic.cycles import CyclePck, cycle_pck
from corr.semantic.datasets.base import PairSet
from corr.semantic.features.cache import FeatureCache
from corr.semantic.features.extractor import Extractor
from corr.semantic.learned.canonical import CanonicalHead
from corr.semantic.learned.collection_picture import collection_picture
from corr.semantic.learned.headed import headed_cache
from corr.semantic.learned.method import HEAD_FILE, World
from corr.semantic.pck import ALPHAS
from corr.semantic.transfer import Window
from corr.store import strict_json, write_atomic

LENGTHS = (2, 3)  # photos of a walk
WALKS = 100
MOST_PHOTOS = 12
_PACKAGE = "corr.semantic.learned"


def show(world: World, network: CanonicalHead) -> None:
    """Write `collection.png`, `cycles.json` and `collection.html`.

    Args:
        world: Whose validation photos the walks go over, or those learned from.
        network: Trained, its file in place.
    """
    names = sorted(world.learned.photos)
    drawn = np.random.default_rng(world.seed).permutation(len(names))[:MOST_PHOTOS]
    few = [world.learned.photos[names[k]] for k in sorted(drawn)]
    picture = collection_picture(few, world.cache, network)
    PilImage.fromarray(picture).save(world.out / "collection.png")
    pairs = world.validated or world.learned
    cycles = {"frozen": walked(pairs, world), "with places": walked(pairs, world, trained=True)}
    table = [
        (c.length, name, c.shares) for k in range(len(LENGTHS)) for name, all_ in cycles.items()
        for c in all_[k : k + 1]
    ]  # fmt: skip
    found = [{"k": k, "features": name, "alphas": ALPHAS, "shares": s} for k, name, s in table]
    write_atomic(world.out / "cycles.json", strict_json({"split": pairs.split, "cycles": found}))
    write_atomic(world.out / "collection.html", environment().from_string(
        assets.read("collection.html.j2", _PACKAGE)
    ).render(
        title=f"A collection aligned: {world.learned.categories[0]}",
        setup=f"{world.about['benchmark']}, {len(world.about['photos'])} photos and frames learned "
        f"from, no key-points; seed {world.seed}",
        css=Markup(assets.read("page.css")), picture=jpeg_uri(picture, 1400), rows=table,
        alphas=ALPHAS, where=f"the split {pairs.split}",
        curve=Markup((world.out / "curve.svg").read_text()),
    ))  # fmt: skip


def walked(pairs: PairSet, world: World, *, trained: bool = False) -> tuple[CyclePck, ...]:
    """k-CyPCK of the frozen features, or with canonical places."""
    cache: FeatureCache = world.cache
    if trained:
        extractor = cast(Extractor, world.cache.extractor)
        head = world.out / HEAD_FILE
        cache = headed_cache(world.cache.folder, extractor, world.cache.memory_mb, head)
    return cycle_pck(pairs, cache, Window(), LENGTHS, walks=WALKS)
