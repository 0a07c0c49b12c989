"""Whether the weights are those that the merged run made, and were evaluated with all that was merged."""

import re

from hub.community.recipe_locks import LOCK
from hub.repos.models import Repo
from hub.repos.reader import digest_of
from hub.storage.git import TreeEntry
from moderation.gate.origins import files_of, holds_lock, made_by
from moderation.gate.requirements import FAILED, PASSED, SHOWN, Requirement
from training.models import Run
from training.workers.materials import has_model

# What people may mend after the merge: words about the model, which nothing is loaded from.
WORDS = re.compile(r"(?:.*/)?(?:[^/]+\.md|\.gitattributes|LICENSE(?:-[A-Za-z0-9]+)*(?:\.txt)?)")
# Whatever some program loads weights from, also programs that this hub has not.
WEIGHT_ENDINGS = (
    ".safetensors", ".gguf", ".ggml", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".onnx", ".onnx_data", ".msgpack",
    ".tflite", ".mlmodel", ".npz", ".nemo", ".engine", ".pb", ".ot", ".llamafile",
)  # fmt: skip


def check_weights(repo: Repo, commit: str, entries: list[TreeEntry], run: Run | None) -> Requirement:
    """There is a model, and it is to the last file the one that was evaluated and screened."""
    if not has_model(repo, commit):
        return Requirement(
            "weights", FAILED, "The revision holds no safetensors weights with a config.json; merge some first."
        )
    if run is None or run.pull_request is None:
        return Requirement("weights", PASSED, "The revision holds config.json and safetensors weights.")
    number = run.pull_request.discussion.number
    changed = changed_since(files_of(repo, run.pull_request.merge_commit), entries, run)
    if changed:
        names = ", ".join(changed[:SHOWN])
        sentence = (
            f"What was evaluated and screened is not what would be released: {names} changed after pull request "
            f"#{number}; take the change back, or propose it through a recipe."
        )
        return Requirement("weights", FAILED, sentence, {"changed": changed[:100]})
    strange = strange_weights(entries, run)
    if strange:
        names = ", ".join(strange[:SHOWN])
        sentence = f"Run {run.pk} did not make {names}, so nobody evaluated what such weights say; take them out."
        return Requirement("weights", FAILED, sentence, {"strange": strange[:100]})
    if not holds_lock(repo, commit, run):
        sentence = f"{LOCK} is not what run {run.pk} wrote, so nobody could make the weights again; propose it anew."
        return Requirement("weights", FAILED, sentence, {"run": run.pk})
    return Requirement("weights", PASSED, f"The weights are those of pull request #{number}.", {"run": run.pk})


def changed_since(merged: list[TreeEntry], entries: list[TreeEntry], run: Run) -> list[str]:
    """Files that differ from those of the merge, but for words: a model in another format is another model."""
    before, now = watched(merged), watched(entries)
    taken_out = set(strange_weights(merged, run)) - now.keys()  # as the gate asks
    return sorted(
        path for path in before.keys() | now.keys() if before.get(path) != now.get(path) and path not in taken_out
    )


def watched(entries: list[TreeEntry]) -> dict[str, str]:
    """path -> oid of all but words. A large file is none, whatever its name."""
    return {entry.path: entry.oid for entry in entries if entry.lfs is not None or not WORDS.fullmatch(entry.path)}


def strange_weights(entries: list[TreeEntry], run: Run) -> list[str]:
    """Weights that came with the merge, or lay there before, and that the run did not make."""
    made_here = made_by(run)
    weights = [entry for entry in entries if entry.path.lower().endswith(WEIGHT_ENDINGS)]
    return [entry.path for entry in weights if digest_of(entry) not in made_here]
