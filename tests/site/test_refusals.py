"""What cannot work is told in one sentence, before anything is made or installed."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hub.site.bootstrap import commands, environment
from hub.site.bootstrap.refusals import (
    Refusal,
    check_free_space,
    check_port,
    hold_data_dir,
    hold_port,
    prepare_data_dir,
)
from hub.site.bootstrap.requirements import CHECKOUT


def run_up(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "DATA_DIR"}
    command = [sys.executable, str(CHECKOUT / "manage.py"), "up", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)


def assert_one_sentence(text: str) -> None:
    assert "Traceback" not in text
    assert len(text.strip().splitlines()) == 1


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = run_up("--port", str(port), "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken" in done.stderr and "for example --port " in done.stderr
    assert_one_sentence(done.stderr)


def test_the_port_that_is_suggested_is_free_and_so_is_the_one_of_its_listener() -> None:
    """It was the next one, where the listener of the hub that held the port was found."""
    port = find_three_free_ports()
    with socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", port + 1)):
        with pytest.raises(Refusal) as refused:
            check_port("127.0.0.1", port)
        suggested = int(str(refused.value).rpartition("--port ")[2].rstrip("."))
        assert suggested >= port + 2
        assert check_port("127.0.0.1", suggested) and check_port("127.0.0.1", suggested + 1)


def find_three_free_ports() -> int:
    for port in range(20_000, 60_000, 7):
        with suppress(Refusal):
            return [check_port("127.0.0.1", one) for one in (port, port + 1, port + 2)][0]
    raise AssertionError("no three ports in a row are free")


@pytest.mark.parametrize("port", ["80000", "taken", "word"])
def test_a_refused_start_leaves_no_folder(port: str, tmp_path: Path) -> None:
    """It was made before the arguments were looked at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = ("--port", str(server.getsockname()[1]) if port == "taken" else port)
        assert run_up(*words, "--data-dir", str(tmp_path / "data")).returncode in (1, 2)
    assert not (tmp_path / "data").exists()


def test_a_port_shared_with_reuse_is_taken_too() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as server, pytest.raises(Refusal, match="taken"):
        check_port("127.0.0.1", server.getsockname()[1])


def test_a_held_port_is_refused_to_others_and_left_to_who_shares_it() -> None:
    """Two hubs that began in the same minute on neighbouring ports answered on each other's."""
    with hold_port("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with pytest.raises(Refusal, match=f"Port {port} of 127.0.0.1 is taken"):
            hold_port("127.0.0.1", port)
        with socket.create_server(("127.0.0.1", port), reuse_port=True) as site:
            site.settimeout(5)
            for _ in range(8):  # all visitors reach the site
                with socket.create_connection(("127.0.0.1", port), timeout=5), site.accept()[0]:
                    pass
        with pytest.raises(Refusal, match="taken"):
            check_port("127.0.0.1", port)
    assert check_port("127.0.0.1", port) == port


def test_a_free_port_is_found_for_zero() -> None:
    assert check_port("127.0.0.1", 0) > 0


@pytest.mark.parametrize(("host", "port"), [("no such host", 8000), ("203.0.113.7", 8000)])
def test_an_address_of_another_machine_is_refused(host: str, port: int) -> None:
    with pytest.raises(Refusal, match="--host"):
        check_port(host, port)


def test_a_port_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Refusal, match="no port 70000; choose one between"):
        check_port("127.0.0.1", 70000)


def test_an_unwritable_data_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = run_up("--data-dir", str(tmp_path / "file" / "data"))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr and "--data-dir" in done.stderr
    assert_one_sentence(done.stderr)


@pytest.mark.parametrize("command", ["up", "account", "migrate"])
def test_a_file_is_no_data_folder(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    assert commands.main([command, "--data-dir", str(tmp_path / "file")]) == 2
    said = capsys.readouterr().err
    assert said == f"The data folder {tmp_path / 'file'} is a file; name a folder with --data-dir.\n"


def test_a_read_only_data_folder_is_refused(tmp_path: Path) -> None:
    with read_only(tmp_path), pytest.raises(Refusal, match="cannot be written"):
        prepare_data_dir(tmp_path)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:  # root may write everywhere: be nobody for a moment
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """tmp_path lies in a folder that is closed to nobody."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("command", ["test", "demo", "up"])
def test_a_checkout_that_cannot_be_written_is_refused_when_packages_are_missing(
    command: str, public_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout, data_dir = public_folder / "checkout", public_folder / "data"
    for folder in (checkout, data_dir):
        folder.mkdir()
        folder.chmod(0o777)
    monkeypatch.setattr(environment, "CHECKOUT", checkout)
    monkeypatch.setattr(environment, "VENV", checkout / ".venv")
    monkeypatch.setattr(environment, "VENV_PYTHON", checkout / ".venv" / "bin" / "python")
    monkeypatch.setattr(environment, "is_own_environment", lambda: False)
    monkeypatch.setattr(environment, "missing_sections", lambda sections: list(sections))
    monkeypatch.setattr(commands.packages, "ensure_programs", lambda: None)
    with read_only(checkout):
        assert commands.main([command, "--port", "0", "--data-dir", str(data_dir)]) == 1
    said = capsys.readouterr().err
    assert f"Packages are missing, and {checkout} cannot be written (Permission denied)" in said
    assert_one_sentence(said)


def test_a_full_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="499 MB free and at least 500 MB are needed"):
        check_free_space(tmp_path, measure=lambda folder: 499_999_999)
    check_free_space(tmp_path, measure=lambda folder: 500_000_000)


def test_free_space_is_measured_where_the_folder_will_lie(tmp_path: Path) -> None:
    check_free_space(tmp_path / "not" / "there" / "yet", needed=1)


def test_a_second_start_on_the_same_data_folder_is_refused(tmp_path: Path) -> None:
    with hold_data_dir(tmp_path):
        done = run_up("--port", "0", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert f"in use by another `./manage.py up` (process {os.getpid()})" in done.stderr
    assert_one_sentence(done.stderr)


def test_the_data_folder_is_free_again_after_a_crash(tmp_path: Path) -> None:
    code = "import os,sys,pathlib; from hub.site.bootstrap.refusals import hold_data_dir;"
    code += "held = hold_data_dir(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=CHECKOUT).returncode == -9
    hold_data_dir(tmp_path).close()


@pytest.mark.parametrize("words", [["--data-dir"], ["--data-dir", "--no-demo"], ["--data-dir", "-x"]])
def test_a_data_dir_without_a_folder_is_refused(words: list[str]) -> None:
    done = run_up(*words)
    assert done.returncode == 2
    assert_one_sentence(done.stderr)


def test_an_old_python_is_told_what_to_do() -> None:
    source = (CHECKOUT / "manage.py").read_text().replace("sys.version_info < (3, 11)", "True")
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert_one_sentence(done.stderr)
