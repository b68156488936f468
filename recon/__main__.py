"""`python -m recon`: run, eval, eval-mesh, compare, features, localize, export, render, view."""

from corr.cli import Command, dispatch
from recon.options import EvalOptions, RunOptions, register_eval, register_run
from recon.options_compare import CompareOptions, register_compare
from recon.options_eval_mesh import EvalMeshOptions, register_eval_mesh
from recon.options_export import ExportOptions, register_export
from recon.options_features import FeaturesOptions, register_features
from recon.options_localize import LocalizeOptions, register_localize
from recon.options_render import RenderOptions, register_render
from recon.options_view import ViewOptions, register_view


def _run(options: RunOptions) -> None:
    from recon.pipeline import run

    print(run(options).text())


def _eval(options: EvalOptions) -> None:
    from recon.evaluate import evaluate

    print(evaluate(options))


def _eval_mesh(options: EvalMeshOptions) -> None:
    from recon.eval_mesh import eval_mesh

    print(eval_mesh(options))


def _compare(options: CompareOptions) -> None:
    from recon.comparison.command import compare

    print(compare(options))


def _features(options: FeaturesOptions) -> None:
    from pathlib import Path

    from recon.workspace import check_finished

    check_finished(Path(options.run).expanduser())  # torch would load for seconds to say no
    from recon.semantic.run import features

    print(features(options))


def _localize(options: LocalizeOptions) -> None:
    from pathlib import Path

    from recon.workspace import check_finished

    check_finished(Path(options.run).expanduser())
    from recon.localize import localize

    print(localize(options))


def _export(options: ExportOptions) -> None:
    from pathlib import Path

    from recon.workspace import check_finished

    if options.run:
        check_finished(Path(options.run).expanduser())
    from recon.export_command import export

    print(export(options))


def _render(options: RenderOptions) -> None:
    from pathlib import Path

    from recon.workspace import check_finished

    check_finished(Path(options.run).expanduser())
    from recon.render_command import render

    print(render(options))


def _view(options: ViewOptions) -> None:
    from importlib.util import find_spec
    from pathlib import Path

    from corr.errors import UserError
    from recon.workspace import check_finished

    check_finished(Path(options.run).expanduser())
    if find_spec("viser") is None:
        raise UserError("viser is not installed; pip install 'few-view-recon[view]'")
    from recon.view_command import view

    print(view(options))


COMMANDS = {
    "run": Command("recon_run", "photos to cameras, splats, mesh and report", _run, register_run),
    "eval": Command("recon_eval", "score a finished run", _eval, register_eval),
    "eval-mesh": Command(
        "recon_eval_mesh",
        "a mesh beside the true surface: distances, F1, normals, pictures",
        _eval_mesh,
        register_eval_mesh,
    ),
    "compare": Command(
        "recon_compare",
        "finished runs side by side: a table and a page",
        _compare,
        register_compare,
        positional="runs",
    ),
    "features": Command(
        "recon_features",
        "semantic features on a run's points, and a place found again in another run",
        _features,
        register_features,
    ),
    "localize": Command(
        "recon_localize",
        "where new photos were taken, against a finished run",
        _localize,
        register_localize,
    ),
    "export": Command(
        "recon_export",
        "splats in another format or frame, checked by rendering them again",
        _export,
        register_export,
    ),
    "render": Command(
        "recon_render",
        "pictures and a video of a run's splats along a new camera path",
        _render,
        register_render,
    ),
    "view": Command("recon_view", "a run live in the browser", _view, register_view),
}

if __name__ == "__main__":
    dispatch("recon", COMMANDS)
