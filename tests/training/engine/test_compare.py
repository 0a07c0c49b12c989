"""Two models tensor by tensor: what is equal, how far apart the rest is, and what no tolerance covers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from training.engine.compare import compare_models, main, measure
from training.engine.errors import EngineError

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.tensor(3)}


def write(folder: Path, tensors: dict[str, torch.Tensor], **files: Any) -> Path:
    folder.mkdir()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    for name, value in {"config": {"layers": 2, "transformers_version": "5.0"}, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def test_the_same_weights_are_equal_however_they_are_cut_into_files(tmp_path: Path) -> None:
    one = write(tmp_path / "one", WEIGHTS)
    two = write(tmp_path / "two", {"a": WEIGHTS["a"]}, config={"layers": 2, "transformers_version": "5.1"})
    save_file({"b": WEIGHTS["b"].clone(), "c": WEIGHTS["c"].clone()}, two / "more.safetensors")
    (one / "README.md").write_text("Words.")
    assert main(["compare", "--recorded", str(one), "--remade", str(two), "--out", str(tmp_path / "c.json")][1:]) == 0
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["recorded_tensors"] == found["remade_tensors"] and (found["equal"], found["tensors"]) == (3, 3)
    assert found["other_files"] == [] and found["largest"] == 0 and found["recorded_model"] != found["remade_model"]


def test_the_distance_is_the_largest_and_the_mean_over_all_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engine.compare.PIECE", 2)  # over the end of a piece, too
    moved = WEIGHTS["a"].clone()
    moved[1, 2] += 0.5
    moved[0, 0] -= 0.25
    found = compare_models(
        write(tmp_path / "one", WEIGHTS), write(tmp_path / "two", WEIGHTS | {"a": moved}, config={"layers": 3})
    )
    assert (found["equal"], found["largest"], found["largest_in"]) == (2, 0.5, "a")
    assert found["mean"] == pytest.approx(0.75 / 11) and found["differing"][0]["mean"] == pytest.approx(0.75 / 6)
    assert found["recorded_tensors"] != found["remade_tensors"] and found["other_files"] == ["config.json"]


def test_other_names_shapes_and_types_are_told_apart(tmp_path: Path) -> None:
    other = {"a": torch.arange(6.0), "b": torch.ones(4), "d": torch.tensor(3)}
    found = compare_models(write(tmp_path / "one", WEIGHTS), write(tmp_path / "two", other))
    assert (found["reshaped"], found["missing"], found["added"]) == (["a", "b"], ["c"], ["d"])


def test_what_is_no_number_is_no_small_difference() -> None:
    assert measure(torch.tensor([1.0, math.nan]), torch.tensor([1.0, 2.0])) == (math.inf, math.inf)
    assert measure(torch.tensor([]), torch.tensor([])) == (0.0, 0.0)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="holds no safetensors"):
        compare_models(tmp_path, tmp_path)
