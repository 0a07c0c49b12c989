"""What a replay means: equal, within tolerance, or different. A pure function of what was measured.

The tolerances are for a run that was made on another machine, with another number of threads or other versions: sums are
then rounded in another order, and steps carry that on. They stand in every report, so that a later change of them does not
change what an old replay says."""

from collections.abc import Sequence
from typing import Any

from training.models import Replay

State = Replay.State
TOLERANCES = {
    "largest": 1e-3,  # between two values of one weight
    "mean": 1e-5,  # over all weights
    "evaluation": 0.01,  # between two overall scores on the same suite
}


def judge(
    found: dict[str, Any], evaluations: Sequence[dict[str, Any]] = (), tolerances: dict[str, float] = TOLERANCES
) -> tuple[str, str]:
    """(state, sentence). `found` as training.engine.compare writes it; `evaluations` {"suite", "recorded", "remade"}."""
    structure = describe_structure(found)
    if structure:
        return State.DIFFERENT, structure
    if found["recorded_tensors"] == found["remade_tensors"]:
        return State.EQUAL, f"All {found['tensors']} tensors have the digests that were recorded."
    numbers = (
        f"{found['equal']} of {found['tensors']} tensors are equal; the largest difference of a weight is "
        f"{found['largest']:.2g} (in {found['largest_in']}), the mean {found['mean']:.2g}"
    )
    if not found["is_finite"]:
        return State.DIFFERENT, "A weight is no finite number where the other one is."
    scores = "; ".join(
        f"{row['suite']} {row['remade']:.4f} where {row['recorded']:.4f} was recorded" for row in evaluations
    )
    said = f"{numbers}{f'; {scores}' if scores else ''}."
    too_far = found["largest"] > tolerances["largest"] or found["mean"] > tolerances["mean"]
    if too_far or any(abs(row["remade"] - row["recorded"]) > tolerances["evaluation"] for row in evaluations):
        return State.DIFFERENT, said
    return State.CLOSE, said


def describe_structure(found: dict[str, Any]) -> str:
    """What no tolerance covers; "" when the two are made alike."""
    for key, words in (
        ("missing", "were not made again"),
        ("added", "were made that were not recorded"),
        ("reshaped", "have another shape or type"),
    ):
        if names := found[key]:
            return f"{len(names)} tensors {words}: {', '.join(names[:3])}."
    if names := found["other_files"]:
        return f"Files beside the weights differ: {', '.join(names[:5])}."
    return ""
