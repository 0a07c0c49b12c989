"""`./manage.py up`: from whatever is there to a running site."""

import os
import sys
from pathlib import Path
from typing import IO

from hub.site.bootstrap import environment, front
from hub.site.bootstrap.options import Options, parse_options
from hub.site.bootstrap.refusals import (
    Refusal,
    check_free_space,
    check_port,
    hold_data_dir,
    hold_port,
    prepare_data_dir,
)
from hub.site.bootstrap.requirements import RUNTIME
from hub.site.bootstrap.start import Start
from hub.site.bootstrap.supervisor import StopRequested


def up(argv: list[str], *, data_dir: Path) -> int:
    """Start the site and stay until Ctrl-C; returns the exit code. Raises Refusal."""
    asked = parse_options(argv)
    # A folder that is there is taken first: another `up` that holds it has the port too, and it is the one to name.
    held = _take(data_dir) if os.path.exists(data_dir) else None
    port = check_port(asked.host, asked.port)
    # Replaces this process when .venv is not entered yet; the lock on the data folder is then taken anew.
    environment.enter_venv_unless_ready(["up", *argv, "--data-dir", str(data_dir)], sections=RUNTIME)
    held = held or _take(data_dir)  # a new one is made last: what is refused leaves no folder
    options = Options(asked.host, port, data_dir, not asked.no_demo)
    # The port stays held while the hub runs: of two hubs that begin in the same minute, one would answer on both's.
    with held, hold_port(asked.host, port):
        return front.run_behind(lambda front_pid: _carry_out(options, front_pid))


def _take(data_dir: Path) -> IO[str]:
    """Make the data folder where it is missing, and keep every other `up` out of it. Raises Refusal."""
    check_free_space(data_dir)
    prepare_data_dir(data_dir)
    return hold_data_dir(data_dir)


def _carry_out(options: Options, front_pid: int) -> int:
    start = Start(options, front_pid)
    try:
        start.run()
    except StopRequested:
        return 0
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return refusal.exit_code
    finally:
        start.stop()
    return 0
