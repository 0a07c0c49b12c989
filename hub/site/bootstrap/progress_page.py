"""The page that answers while there is no site yet: plain HTML that reloads itself, from the standard library alone."""

import json
import socket
import threading
from collections.abc import Callable
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hub.site.bootstrap.setup_progress import SetupProgress, Step

REFRESH_S = 2
SIGNS = {
    "done": ("&#10003;", "done"),
    "now": ("&#9679;", "now"),
    "next": ("&#9675;", "next"),
    "failed": ("!", "failed"),
}

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{refresh}">
<title>{title} · Model Commons</title>
<style>
:root {{ color-scheme: light dark; --ink: #1d2228; --quiet: #5c6670; --surface: #fbfaf7; --line: #dcd8cf;
  --accent: #1f5fa8; --danger: #a32020 }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e6e4df; --quiet: #a2a7ad; --surface: #16181b; --line: #34383d;
  --accent: #83b4ea; --danger: #f09a9a }} }}
body {{ margin: 0; background: var(--surface); color: var(--ink);
  font: 1rem/1.6 system-ui, sans-serif; font-variant-numeric: tabular-nums }}
main {{ max-width: 34rem; margin: 0 auto; padding: 12vh 1.25rem 3rem }}
h1 {{ font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem }}
p {{ margin: 0 0 1.5rem; color: var(--quiet) }}
ol {{ list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--line) }}
li {{ display: grid; grid-template-columns: 1.5rem 1fr auto; gap: 0 .5rem; padding: .6rem 0;
  border-bottom: 1px solid var(--line) }}
.next {{ color: var(--quiet) }} .now .sign, .done .sign {{ color: var(--accent) }} .failed {{ color: var(--danger) }}
.state {{ color: var(--quiet) }} .detail {{ grid-column: 2 / -1; color: var(--quiet); overflow-wrap: anywhere }}
progress {{ grid-column: 2 / -1; width: 100%; height: .5rem; accent-color: var(--accent) }}
</style>
</head>
<body><main>
<h1>{title}</h1>
<p>This page reloads itself and becomes the site as soon as it is there.</p>
<ol>
{steps}
</ol>
</main></body>
</html>
"""


def render(progress: SetupProgress) -> str:
    current = progress.current
    title = "Setting up" if current is None else current.name
    return PAGE.format(refresh=REFRESH_S, title=escape(title), steps="\n".join(_render_step(s) for s in progress.steps))


def _render_step(step: Step) -> str:
    sign, word = SIGNS[step.state]
    if step.state == "done":
        word = f"{step.seconds:.0f} s"
    parts = [f'<span class="sign" aria-hidden="true">{sign}</span><span>{escape(step.name)}</span>']
    parts.append(f'<span class="state">{word}</span>')
    if step.state == "now" and step.share:
        parts.append(f'<progress max="100" value="{step.share * 100:.0f}">{step.share:.0%}</progress>')
    if step.detail and step.state in ("now", "failed"):
        parts.append(f'<span class="detail">{escape(step.detail)}</span>')
    return f'<li class="{step.state}">{"".join(parts)}</li>'


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # The site's server sets this option too, so both listen for a moment and no visitor is refused in between.
        if hasattr(socket, "SO_REUSEPORT"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


class ProgressPage:
    """Answers every address with the progress until `close`. Browsers get the page, programs a 503 to try again."""

    def __init__(self, host: str, port: int, current: Callable[[], SetupProgress]) -> None:
        handler = type("Handler", (_Handler,), {"current": staticmethod(current)})
        server = type("Server", (_Server,), {"address_family": socket.getaddrinfo(host, port)[0][0]})
        self._server: ThreadingHTTPServer = server((host, port), handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    current: Callable[[], SetupProgress]
    timeout = 10  # seconds; a silent visitor must not hold a thread for ever
    server_version = "ModelCommonsSetup"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.close_connection = True  # its body stays unread
        self._answer()

    do_PUT = do_DELETE = do_PATCH = do_POST

    def _answer(self) -> None:
        progress = self.current()
        if "text/html" in self.headers.get("Accept", ""):
            kind, body = "text/html; charset=utf-8", render(progress).encode()
        else:
            name = progress.current.name if progress.current else "Setting up"
            sentence = {"error": f"The hub is being set up ({name}); try again in a moment.", **progress.as_json()}
            kind, body = "application/json", json.dumps(sentence).encode()
        self.send_response(503)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", str(REFRESH_S))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal belongs to the start itself."""
