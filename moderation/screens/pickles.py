"""Pickles: recognised by what they are, never loaded. The policy is "kept, never loaded, withheld"; the scanner
is a tripwire that names what a pickle would do, and its "clean" changes nothing."""

import pickletools
import re
from pathlib import PurePosixPath

from moderation.screens.findings import Finding, quote

SCANNED_BYTES = 8 << 20
WALKED_OPCODES = 2_000
# Names that the usual tools open with a pickle loader, whatever is inside.
PICKLE_NAMES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".pck", ".pcl"}
NAME = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*\Z")
TUPLES = {"TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
CALLS = {"REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "BUILD"}


def has_pickle_name(name: str) -> bool:
    return PurePosixPath(name.lower()).suffix in PICKLE_NAMES


def is_old_pickle(head: bytes) -> bool:
    """True for protocols 0 and 1, which are plain ASCII without magic: a name followed by a call, or a whole
    stream with memo entries. Word lists and prose do not hold that sequence."""
    if head[:1] not in b"(c]})lIiNFSVKJMLGXU\x8c":
        return False
    names, tuples, memos, marks, opcodes = 0, 0, 0, 0, 0
    try:
        for opcode, argument, _ in pickletools.genops(head):
            opcodes += 1
            if opcode.name in ("GLOBAL", "INST") and isinstance(argument, str) and NAME.match(argument):
                names += 1
            tuples += opcode.name in TUPLES
            memos += opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
            marks += opcode.name == "MARK"
            if names and opcode.name in CALLS and (marks if opcode.name in ("INST", "OBJ") else tuples):
                return True
            if opcodes > WALKED_OPCODES:
                return names > 0 or memos > 10
            if opcode.name == "STOP":
                return opcodes >= 4 and memos > 0
    except Exception:  # what pickletools raises on broken streams is not limited to ValueError
        return memos >= 3 and opcodes >= 8
    return False


def pickle_finding(where: str, head: bytes, budget_s: float) -> Finding:
    """The one answer to a pickle; the scanner only adds what it would do."""
    found = describe_pickle(head, budget_s)
    what = f"{where} is a Python pickle, which runs code when it is opened"
    return Finding(
        screen="unsafe_files",
        rule="dangerous_pickle" if found else "pickle",
        severity="block",
        where=where,
        excerpt=quote(found) if found else "pickle",
        message=f"{what}; it is kept, never loaded and withheld: save weights as .safetensors and data as .jsonl, "
        ".csv or .parquet.",
    )


def describe_pickle(head: bytes, budget_s: float) -> str:
    """The first thing the scanner objects to, or "" when it objects to nothing."""
    import modelaudit_picklescan  # half a second, for the few files that are pickles

    options = modelaudit_picklescan.ScanOptions(timeout_s=max(min(budget_s, 5.0), 0.05))
    try:
        report = modelaudit_picklescan.scan_bytes(head[:SCANNED_BYTES], options=options)
    except Exception as error:  # a scanner that breaks on hostile input has said enough
        return f"the scanner failed on it ({type(error).__name__})"
    return report.findings[0].message if report.findings else ""


def has_object_array(head: bytes) -> bool:
    """True when a .npy header declares Python objects: numpy keeps those as a pickle behind the header."""
    header = head[:4096].split(b"\n", 1)[0]
    return re.search(rb"'descr'[^}]*'\|?O\d*'", header) is not None
