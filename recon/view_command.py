"""`python -m recon view`: look at a finished run until Ctrl-C."""

import time
from pathlib import Path

from recon.options_view import ViewOptions
from recon.render.select import renderer_for
from recon.view_scene import serve
from recon.workspace import check_finished


def view(options: ViewOptions) -> str:
    """Serve the run until interrupted; returns the line to print then.

    Raises:
        UserError: No finished run, no viser, or no port.
    """
    run = Path(options.run).expanduser()
    check_finished(run)
    server = serve(run, options.host, options.port, renderer_for(options.device))
    shown = "127.0.0.1" if options.host == "0.0.0.0" else options.host
    print(f"open http://{shown}:{server.get_port()} in a browser; Ctrl-C ends it", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        server.stop()
    return "ended"
