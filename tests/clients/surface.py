"""The surface of the stock client (methods of HfApi and HfFileSystem, `hf` commands, what people import beside them) and
the tests that prove each part of it against a running hub.

A test names what it proves: `@pytest.mark.covers("HfApi.create_repo", "hf repos create")`, with `refused=True` where
the proof is a clean refusal. Nothing here runs a test; marks and calls (proofs.py) are read from the source."""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clients.proofs import proves

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("tests/clients", "tests/hub/api")

# What people import beside the two classes, and functions of fsspec that HfFileSystem inherits and people use.
BESIDE = (
    "snapshot_download", "hf_hub_download", "try_to_load_from_cache", "scan_cache_dir", "CommitScheduler", "RepoCard",
    "ModelCard", "DatasetCard", "SpaceCard", "metadata_update", "HFSummaryWriter", "PyTorchModelHubMixin", "login",
    "CommitOperationAdd", "CommitOperationCopy", "CommitOperationDelete",
)  # fmt: skip
FSSPEC = ("open", "cat", "cat_file", "du", "get", "put_file", "put", "mv", "read_text", "write_text", "read_block")
# Not imported by huggingface_hub: libraries that stand on it.
LIBRARIES = (
    "transformers push_to_hub", "transformers from_pretrained", "transformers pipeline", "datasets push_to_hub",
    "datasets load_dataset", "datasets streaming", "peft push_to_hub", "peft from_pretrained", "lm_eval simple_evaluate",
)  # fmt: skip

OTHER_HOST = "speaks to a fixed host of its own, whatever HF_ENDPOINT says"
LOCAL = "works on this computer only and asks no hub"
NO_PAPERS = "papers are the catalogue of one host; answered with 501"
OUT_OF_SCOPE = {
    r"HfApi\.\w*inference_(endpoint|catalog)\w*": OTHER_HOST,
    r"hf endpoints .*": OTHER_HOST,
    r"HfApi\.list_dataset_parquet_files": "the client itself refuses any host but one",
    r"hf datasets parquet": "the client itself refuses any host but one",
    r"HfFileSystem\.(transaction|start_transaction)": "the client itself has no transactions",
    r"hf datasets sql": "needs DuckDB on this computer; asks no hub by itself",
    r"HfApi\.(list_papers|paper_info|read_paper|list_daily_papers)": NO_PAPERS,
    r"hf papers .*": NO_PAPERS,
    r"HfApi\.kernel_info": "kernel repositories are not kept here; answered with 501",
    r"HfApi\.update_collection_resource_group": "resource groups belong to a paid plan of one host",
    r"hf (env|version|update|auth token|auth list|auth logout|auth switch|cache (list|rm|prune))": LOCAL,
    r"hf skills .*": LOCAL,
    r"hf extensions .*": "installs programs from a host of code, never from a hub",
    r"hf sandbox .*": "a sandbox is a program inside a rented job; `hf jobs` is refused",
    r"hf lfs-multipart-upload": "git-lfs starts it after `hf lfs-enable-largefiles`, and is tested so",
}


@dataclass(frozen=True)
class Test:
    path: str  # from the root of the project
    name: str
    is_refusal: bool
    source: str  # of the whole file


@dataclass
class Row:
    name: str
    endpoint: str
    tests: list[Test] = field(default_factory=list)

    @property
    def reason(self) -> str | None:
        """Why no test is asked for."""
        return find_reason(self.name, OUT_OF_SCOPE)

    @property
    def state(self) -> str:
        if self.tests:
            return "not supported, said cleanly" if all(test.is_refusal for test in self.tests) else "works"
        if self.reason:
            return f"out of scope: {self.reason}"
        return "unaccounted"


def find_reason(name: str, reasons: dict[str, str]) -> str | None:
    return next((reason for pattern, reason in reasons.items() if re.fullmatch(pattern, name)), None)


# -- what there is -------------------------------------------------------------------------------------------------------


def list_surface() -> dict[str, list[str]]:
    """Title of a table -> names in it, in the client's own order."""
    from huggingface_hub import HfApi, HfFileSystem

    own = [name for name in public(HfFileSystem) if name not in ("root_marker", "protocol")]
    system = [*own, *(name for name in FSSPEC if name not in own)]
    return {
        "HfApi": [f"HfApi.{name}" for name in public(HfApi) if callable(getattr(HfApi, name))],
        "HfFileSystem": [f"HfFileSystem.{name}" for name in system],
        "Beside them": list(BESIDE),
        "Commands": list(list_commands()),
        "Libraries above": list(LIBRARIES),
    }


def public(owner: type) -> list[str]:
    return [name for name in vars(owner) if not name.startswith("_")]


def list_commands() -> Iterator[str]:
    """`hf repos create` and all others, without their second names."""
    from huggingface_hub.cli.hf import app

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[str]:
        command = command.materialize() if hasattr(command, "materialize") else command
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*words, name.partition(" |")[0]))
        if not getattr(command, "commands", None):
            yield " ".join(words)

    return walk(app, ("hf",))


def find_endpoint(name: str) -> str:
    """Where a method of HfApi goes, as its own source says: an address, or the method that goes there for it."""
    owner, _, method = name.partition(".")
    if owner != "HfApi":
        return ""
    from huggingface_hub import HfApi

    source = inspect.getsource(getattr(HfApi, method))
    addresses = re.findall(r'f"\{[^}]*endpoint[^}]*\}(/[^"]*)"', source)
    if addresses:
        plain = dict.fromkeys(re.sub(r"quote\((\w+)[^)]*\)", r"\1", address) for address in addresses)
        return ", ".join(f"`{address}`" for address in plain)
    calls = dict.fromkeys(re.findall(r"self\.([a-z]\w+)\(", source))
    return "by " + ", ".join(calls) if calls else ""


# -- what is proved ------------------------------------------------------------------------------------------------------


def list_claims() -> Iterator[tuple[str, Test]]:
    """Each name that a test claims to prove."""
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("test_*.py")):
        source = path.read_text()
        if "mark.covers" not in source:
            continue
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield from read_marks(node, path.relative_to(ROOT).as_posix(), source)


def read_marks(node: ast.FunctionDef, path: str, source: str) -> Iterator[tuple[str, Test]]:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.covers":
            more = {keyword.arg: ast.literal_eval(keyword.value) for keyword in mark.keywords}
            test = Test(path, node.name, more.get("refused", False), source)
            for name in mark.args:
                yield ast.literal_eval(name), test


def build_rows() -> dict[str, list[Row]]:
    """Title of a table -> its rows."""
    claims: dict[str, list[Test]] = {}
    for name, test in list_claims():
        claims.setdefault(name, []).append(test)
    return {
        title: [Row(name, find_endpoint(name), claims.get(name, [])) for name in names]
        for title, names in list_surface().items()
    }


def is_proved(test: Test, name: str) -> bool:
    """Whether the test calls what it claims: with success, or, where it claims a refusal, without."""
    return proves(test.source, test.name, name, is_refusal=test.is_refusal)


# -- the document --------------------------------------------------------------------------------------------------------

HEAD = """# What the stock client can do here

Made from the marks of the tests by `python -m tests.clients.hf_api_table`; do not edit. The client is
huggingface_hub {version}, unmodified, with nothing but `HF_ENDPOINT` set. Every row that says *works* or *not supported*
names a test that runs it against a running hub.

"""


def write_document() -> str:
    from huggingface_hub import __version__

    rows = build_rows()
    parts = [HEAD.format(version=".".join(__version__.split(".")[:2]))]
    parts.append(summarize(rows))
    for title, some in rows.items():
        parts.append(f"## {title}\n\n| what | state | where it goes | proved by |\n|---|---|---|---|\n")
        parts.extend(write_row(row) for row in some)
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def summarize(tables: dict[str, list[Row]]) -> str:
    lines = ["| | works | not supported | out of scope |\n|---|---:|---:|---:|\n"]
    for title, rows in tables.items():
        counts = [count(rows, word) for word in ("works", "not supported", "out of scope")]
        lines.append(f"| {title} | {' | '.join(map(str, counts))} |\n")
    return "".join([*lines, "\n"])


def count(rows: Iterable[Row], word: str) -> int:
    return sum(row.state.startswith(word) for row in rows)


def write_row(row: Row) -> str:
    proof = ""
    if row.tests:
        test = row.tests[0]
        more = f" and {len(row.tests) - 1} more" if len(row.tests) > 1 else ""
        proof = f"[{test.name}](../{test.path}){more}"
    return f"| `{row.name}` | {row.state} | {row.endpoint} | {proof} |\n"
