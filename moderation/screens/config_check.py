"""Configurations: what in them makes other people's loaders run code, leave the folder, or ask for all memory."""

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from moderation.screens.findings import Finding, Severity, quote
from moderation.screens.limits import Deadline
from moderation.screens.template_check import check_template

CODE_KEYS = {"auto_map", "trust_remote_code", "custom_code", "custom_pipelines", "custom_pipeline", "custom_generate"}
KERNEL_KEYS = {"attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation"}
FILE_KEYS = {
    "vocab_file",
    "merges_file",
    "tokenizer_file",
    "sp_model_file",
    "added_tokens_file",
    "special_tokens_map_file",
}
LIBRARIES = {
    "transformers", "diffusers", "sentence_transformers", "peft", "torch", "tokenizers", "onnxruntime", "timm",
    "optimum", "mlx", "keras", "tf_keras",
}  # fmt: skip
QUANTIZERS = {
    "aqlm", "auto-round", "awq", "bitnet", "bitsandbytes", "compressed-tensors", "eetq", "exl2", "fbgemm_fp8", "fp8",
    "fp_quant", "gguf", "gptq", "higgs", "hqq", "marlin", "modelopt", "mxfp4", "nvfp4", "quanto", "quark", "sinq",
    "spqr", "torchao", "vptq", "fouroversix", "metal", "mxfp8", "gemma",
}  # fmt: skip
WATCHED_KEYS = {
    *CODE_KEYS, *KERNEL_KEYS, *FILE_KEYS, "auto_mapping", "weight_map", "architectures", "tokenizer_class",
    "processor_class", "quant_method",
}  # fmt: skip
MAX_SHOWN = 200  # characters of a place
MAX_TEMPLATES = 16  # of one file; each is rendered in a child of its own
MAX_DIMENSION = 1 << 31
MAX_LAYERS = 10_000
DIMENSION = re.compile(r"(?:_size|_layers|_heads|_dim|_positions|n_embd|n_layer|n_head|d_model|num_experts)$")
LAYERS = re.compile(r"(?:num_(?:hidden_)?layers|n_layers?|num_(?:en|de)coder_layers|(?:en|de)coder_layers)$")
CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}\Z")
MAX_ARCHITECTURES = 16
NAMES = ("model_index.json", "modules.json", "special_tokens_map.json", "chat_template.json")


class RepeatedKey(Exception):
    """Two values under one name: parsers disagree on which one holds."""


def is_config(name: str) -> bool:
    lowered = PurePosixPath(name.lower()).name
    return lowered.endswith(("config.json", ".index.json")) or lowered in NAMES


def check_config(name: str, data: bytes, deadline: Deadline) -> Iterator[Finding]:
    """Findings about one configuration, read as a whole. Raises OutOfTime."""
    try:
        config = json.loads(data, object_pairs_hook=_refuse_repeated_keys)
    except RepeatedKey as error:
        what = f"{name} names {error} twice, and readers differ on which of them holds"
        yield _finding(name, "repeated_key", str(error), f"{what}; leave one.")
        return
    except (ValueError, RecursionError):
        what = f"{name} is not JSON that can be read"
        yield _finding(name, "broken_config", "not JSON", f"{what}; mend it, no loader will take it.", "info")
        return
    lowered = PurePosixPath(name.lower()).name
    if lowered == "modules.json":
        yield from _check_modules(name, config)
    elif lowered == "model_index.json":
        yield from _check_pipeline(name, config)
    templates = 0
    for path, key, value in _walk(config):
        templates += key.endswith("chat_template") and isinstance(value, str)
        if templates > MAX_TEMPLATES:
            yield too_many_templates(name)
            return
        if key.endswith("chat_template") and isinstance(value, str):
            yield from check_template(name, value, deadline)
        else:
            yield from _check_value(name, path, key, value)


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RepeatedKey(quote(key[:MAX_SHOWN])[:60])
        found[key] = value
    return found


def _check_value(name: str, path: str, key: str, value: Any) -> Iterator[Finding]:
    if not _is_of_interest(key):
        return  # most are not, and a file may hold millions
    shown = f"{path}: {str(value)[:60]}"
    where = quote(path)[:80]
    if key in CODE_KEYS and value:
        yield remote_code(name, where, shown)
    elif key in KERNEL_KEYS and isinstance(value, str) and ("/" in value or "\\" in value):
        yield remote_code(name, where, shown)  # such a name is fetched as a repository of compiled code
    elif key == "auto_mapping" and isinstance(value, dict) and not _is_known(value.get("parent_library", "peft")):
        yield remote_code(name, where, shown)
    elif key == "weight_map" and isinstance(value, dict):
        yield from _check_places(name, path, [part for part in value.values() if isinstance(part, str)])
    elif key in FILE_KEYS and isinstance(value, str):
        yield from _check_places(name, path, [value])
    elif key == "architectures" and not _are_classes(value):
        what = f"{name} names no classes as its architectures ({where})"
        yield _finding(name, "odd_architecture", shown, f"{what}; write the names of transformers' classes.")
    elif key in ("tokenizer_class", "processor_class") and isinstance(value, str) and not CLASS.match(value):
        what = f"{name} names no class ({where})"
        yield _finding(name, "odd_architecture", shown, f"{what}; write the name of one of transformers' classes.")
    elif key == "quant_method" and str(value).lower() not in QUANTIZERS:
        what = f"{name} asks for a quantization that is unknown ({where})"
        yield _finding(name, "odd_quantization", shown, f"{what}; save it with one that transformers knows.")
    elif type(value) is int and (
        (DIMENSION.search(key) and value > MAX_DIMENSION) or (LAYERS.search(key) and value > MAX_LAYERS)
    ):
        what = f"{name} states an impossible size ({where})"
        yield _finding(name, "impossible_size", shown, f"{what}; correct it.")


def _is_of_interest(key: str) -> bool:
    return key in WATCHED_KEYS or key.endswith("chat_template") or bool(DIMENSION.search(key) or LAYERS.search(key))


def remote_code(name: str, where: str, shown: str) -> Finding:
    what = f"{name} asks loaders to run code from outside their library ({where})"
    return _finding(
        name, "remote_code", shown, f"{what}; use an architecture that transformers knows, or ask a moderator."
    )


def too_many_templates(name: str) -> Finding:
    what = f"{name} holds more than {MAX_TEMPLATES} chat templates"
    return _finding(name, "template_limits", f"over {MAX_TEMPLATES}", f"{what}; keep those that are used.")


def _check_places(name: str, path: str, places: list[str]) -> Iterator[Finding]:
    for place in places:
        parts = place.replace("\\", "/").split("/")
        if place.startswith(("/", "\\", "~")) or ".." in parts or ":" in parts[0] or "\x00" in place:
            what = f"{name} points to a file outside its folder ({quote(path)[:60]})"
            yield _finding(name, "outside_path", place, f"{what}; name files of the repository.")
            return


def _check_modules(name: str, config: Any) -> Iterator[Finding]:
    """Sentence-transformers imports whatever stands as a type here."""
    for number, module in enumerate(config if isinstance(config, list) else []):
        kind = module.get("type") if isinstance(module, dict) else None
        if isinstance(kind, str) and not _is_known(kind):
            yield remote_code(name, f"[{number}].type", kind)


def _check_pipeline(name: str, config: Any) -> Iterator[Finding]:
    """Diffusers imports each part from the library named with it, and from the repository if it is none."""
    for key, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, list) and value and isinstance(value[0], str) and not _is_known(value[0]):
            yield remote_code(name, quote(str(key))[:60], f"{key}: {value[0]}")


def _is_known(library: Any) -> bool:
    return isinstance(library, str) and library.split(".", 1)[0] in LIBRARIES


def _are_classes(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, list) or len(value) > MAX_ARCHITECTURES:
        return False
    return all(isinstance(name, str) and CLASS.match(name) for name in value)


def _walk(value: Any, path: str = "", key: str = "", depth: int = 0) -> Iterator[tuple[str, str, Any]]:
    """(path, key, value) of everything inside, 30 levels deep."""
    if key:
        yield path, key, value
    if depth > 30:
        return
    if isinstance(value, dict):
        for inner_key, inner in value.items():
            deeper = f"{path[-MAX_SHOWN:]}.{inner_key[:MAX_SHOWN]}" if path else inner_key[:MAX_SHOWN]
            # Named templates are a table of texts, or a list of {"name", "template"}.
            yield from _walk(inner, deeper, "chat_template" if key == "chat_template" else inner_key, depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(
                inner, f"{path[-MAX_SHOWN:]}[{index}]", "chat_template" if key == "chat_template" else "", depth + 1
            )


def _finding(where: str, rule: str, excerpt: str, message: str, severity: Severity = "hold") -> Finding:
    return Finding("unsafe_files", rule, severity, where, quote(excerpt), message)
