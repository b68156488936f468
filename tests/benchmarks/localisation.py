"""New photos placed against a finished run: median errors against true cameras.

`CORR_DATA=… python -m tests.benchmarks.localisation out=outputs/localisation` reconstructs every
second photo of each posed set (unknown cameras, `quality=quick`) and localizes the others with
`python -m recon localize`; finished sets are not done again. Errors are in the truth's world, to
which the run's own cameras are aligned; centres in per cent of the true cameras' extent.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

from recon.camera_metrics import read_cameras

SETS = {"fountain-P11": 1, "temple-ring": 1, "fox": 5}  # every n-th photo takes part
QUALITY = "quick"


def data_folder() -> Path:
    """Where the real photos lie."""
    return Path(os.environ.get("CORR_DATA", "../shared/data")).resolve()


def photo_names(name: str, every: int) -> list[str]:
    """The photos of a set whose cameras are known, thinned."""
    folder = data_folder() / "photos" / name
    known = read_cameras(folder)
    return [f.name for f in sorted((folder / "images").iterdir()) if f.name in known][::every]


def command(*arguments: str) -> None:
    """One of the project's commands; what it prints goes to the screen."""
    subprocess.run([sys.executable, "-m", "recon", *arguments], check=True)


def measure(name: str, every: int, out: Path) -> dict:
    """Errors of every photo that was not reconstructed from."""
    folder, names = data_folder() / "photos" / name, photo_names(name, every)
    used, new = names[::2], names[1::2]
    lists = out / name
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "used.txt").write_text("\n".join(used))
    photos = lists / "new"
    photos.mkdir(exist_ok=True)
    for photo in new:
        if not (photos / photo).exists():
            (photos / photo).symlink_to(folder / "images" / photo)
    run = lists / "run"
    command("run", f"scene.images={folder / 'images'}", f"scene.use=@{lists / 'used.txt'}",
            f"out={run}", f"quality={QUALITY}")  # fmt: skip
    start = perf_counter()
    command("localize", f"run={run}", f"image={photos}", f"cameras={folder / 'transforms.json'}",
            f"out={lists / 'found'}")  # fmt: skip
    seconds = (perf_counter() - start) / len(new)
    errors = json.loads((lists / "found" / "errors.json").read_text())
    truth = read_cameras(folder)
    centres = np.array([truth[n].cam_from_world.centre for n in names])
    extent = float(np.linalg.norm(centres[:, None] - centres, axis=-1).max())
    return {
        "used": len(used), "asked": len(new), "placed": len(errors),
        "rotation_deg": float(np.median([e["rotation_deg"] for e in errors.values()])),
        "worst_deg": float(max(e["rotation_deg"] for e in errors.values())),
        "centre_percent": 100 * float(np.median([e["centre"] for e in errors.values()])) / extent,
        "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    """Measure every set that has no result yet; print the table."""
    given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    if set(given) - {"out", "sets"}:
        sys.exit("options are out=<folder> and sets=<name,name>")
    out = Path(given.get("out", "outputs/localisation"))
    wanted = [s for s in given.get("sets", "").split(",") if s] or list(SETS)
    print(f"{'set':14s} {'used':>4s} {'placed':>7s} {'rotation':>9s} {'worst':>7s} "
          f"{'centre':>7s} {'s/photo':>8s}")  # fmt: skip
    for name in wanted:
        file = out / f"{name}.json"
        if not file.exists():
            found = measure(name, SETS[name], out)
            file.write_text(json.dumps(found))
        r = json.loads(file.read_text())
        print(f"{name:14s} {r['used']:4d} {r['placed']:3d}/{r['asked']:<3d} "
              f"{r['rotation_deg']:8.3f}° {r['worst_deg']:6.2f}° {r['centre_percent']:6.2f}% "
              f"{r['seconds']:8.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
