"""What `./manage.py up` was asked for."""

import argparse
from dataclasses import dataclass
from pathlib import Path

WILDCARDS = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class Options:
    host: str
    port: int
    data_dir: Path
    with_demo: bool

    @property
    def address(self) -> str:
        host = "127.0.0.1" if self.host in WILDCARDS else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def parse_options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="manage.py up", description="Start Model Commons; Ctrl-C stops everything.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port, 0 for any free one (default: %(default)s)")
    parser.add_argument("--no-demo", action="store_true", help="start without the demo community")
    parser.epilog = "--data-dir D or the DATA_DIR variable: where everything is kept (default: ./data)"
    return parser.parse_args(argv)
