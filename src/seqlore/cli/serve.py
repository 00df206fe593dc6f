"""``seqlore serve``: models over HTTP, and a page to look at them."""

from __future__ import annotations

import gc
import os
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqlore.cli._common import SetOption
from seqlore.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from seqlore.recommender import Model


def serve(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER…", help="Model folders, or run folders.")],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the bearer token; default: SEQLORE_TOKEN, or none.")
    ] = None,
    lore: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.parquet", help="Knowledge about items (`seqlore lore make`). Repeatable."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Host name that requests may address. Repeatable; * = any.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each matrix product.")] = 1,
    changes: SetOption = None,
) -> None:
    """Serve recommendations over HTTP, with a page at /.

    Listens on this machine alone unless told otherwise. Without a token, nobody on another machine may change
    anything. SIGHUP reads the model folders again; requests under way are not disturbed.

    Example: seqlore serve runs/demo models/sasrec --port 8000
    """
    try:
        import uvicorn

        from seqlore.serve.app import create_app
    except ImportError as error:
        raise MissingExtraError(f"serving needs {error.name}: pip install 'seqlore[serve]'") from error
    # oneDNN keeps compiled code for each shape it meets, 1,024 by default, and requests come in all shapes: that was
    # most of what memory grew by, and no request was faster for it. Read when the first is made.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    import torch

    from seqlore.experiment.overrides import nested
    from seqlore.serve.settings import ServeSettings

    told = nested(changes or [])
    if "token" in told:
        raise ConfigError("--set token: a token on the command line is seen by all; use SEQLORE_TOKEN or --token-file")
    token = _token(token_file)
    local = _is_local(host)
    names = tuple(allow_host or ()) or (() if local else ("*",))
    own = {
        "token": token,
        "writes": local or token is not None,
        "hosts": (*ServeSettings().hosts, *(name.lower() for name in names)),
    }
    settings = ServeSettings.parse({**own, **told}, "--set")
    torch.set_num_threads(threads)
    app = create_app(folders, settings, lore=lore or ())
    if all(_is_small(lane.served.model) for lane in app.state.registry.lanes):
        torch.backends.mkldnn.set_flags(False)  # it compiles code for each new shape: a tenth of the time
    shown = f"[{host}]" if ":" in host else host
    served = ", ".join(lane.served.name for lane in app.state.registry.lanes)
    print(f"seqlore: {served} at http://{shown}:{port}/", file=sys.stderr)
    if not local and token is None:
        print(
            "seqlore: anybody who reaches this address may read; set SEQLORE_TOKEN to ask for a token", file=sys.stderr
        )
    # What is loaded stays: a collection need not look at it again, which took longer than a request.
    gc.collect()
    gc.freeze()
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,
        log_level="warning",
        server_header=False,
        # Longer than clients and balancers keep a connection that rests (httpx 5 s, nginx 60 s): who closes first
        # must be the one who sends, or a request is lost on a connection that is just being closed.
        timeout_keep_alive=75,
        limit_concurrency=_connections(),
        timeout_graceful_shutdown=int(settings.timeout) + 1,
    )


def _is_small(model: Model) -> bool:
    """A net in 32 bits: in 16, as language models are kept, oneDNN is what makes a processor fast."""
    import torch

    from seqlore.models.net import NetRecommender

    return isinstance(model, NetRecommender) and all(p.dtype == torch.float32 for p in model.net.parameters())


def _connections() -> int | None:
    """Connections that may be open; more are answered 503, and not broken for want of a file descriptor."""
    try:
        import resource
    except ImportError:  # Windows counts otherwise
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(16, max(soft, most) - 64)  # files, the log, the loop itself


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("SEQLORE_TOKEN") or None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{file}: the token cannot be read ({why})") from None
    if not token:
        raise ConfigError(f"{file}: there is no token in it")
    return token


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
