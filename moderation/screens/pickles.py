"""Pickles: recognised by what they are, never loaded. The policy is "kept, never loaded, withheld"; the scanner
is a tripwire that names what a pickle would do, and its "clean" changes nothing."""

import pickletools
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from moderation.screens.findings import Finding, quote
from moderation.screens.text_reading import TextBlock, find_all

SCANNED_BYTES = 8 << 20
WALKED_OPCODES = 2_000
# What puts something on the stack, so that a stream can begin with it.
FIRST_OPCODES = {bytes([byte]) for byte in b"(c]})lIiNFSVKJMLGXUTBC\x8c\x8d\x8e\x8f\x88\x89\x8a\x8b\x95\x96"}
ENCODED_START = b"gA"
# PROTO 4 or 5, FRAME, and the upper bytes of a frame below 16 MiB.
ENCODED = re.compile(rb"gA[SW]V[A-Za-z0-9+/]{4}AAAAAA[A-Za-z0-9+/]{10}")
MAX_ARRAY_HEADER = 10_000  # numpy's own limit
_TYPE = rb"'[|<>=]?[?biufcmMSUV]\d*(?:\[\d*\w+\])?'"
_FIELD = rb"\('[^'\\]*', " + _TYPE + rb"(?:, \([\d, ]*\))?\)"
ARRAY_HEADER = re.compile(
    rb"\{'descr': (?:" + _TYPE + rb"|\[" + _FIELD + rb"(?:, " + _FIELD + rb")*\])"
    rb", 'fortran_order': (?:True|False), 'shape': \([\d, ]*\),? *\} *\n?"
)
# Names that the usual tools open with a pickle loader, whatever is inside.
PICKLE_NAMES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".pck", ".pcl"}
NAME = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*\Z")
TUPLES = {"TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
CALLS = {"REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "BUILD"}


def has_pickle_name(name: str) -> bool:
    return PurePosixPath(name.lower()).suffix in PICKLE_NAMES


def is_loaded_as_pickle(name: str) -> bool:
    """Whether some usual tool hands such a file to a pickle loader when nothing better fits."""
    return has_pickle_name(name) or name.lower().endswith(".bin")


def is_old_pickle(head: bytes) -> bool:
    """True for streams without magic: protocols 0 and 1, which are plain ASCII, and later ones whose first two bytes
    were cut off, which loaders do not miss. Looked for: a name followed by a call, or a whole stream with memo entries.
    Word lists and prose do not hold that sequence."""
    if head[:1] not in FIRST_OPCODES:
        return False
    names, tuples, memos, marks, opcodes = 0, 0, 0, 0, 0
    try:
        for opcode, argument, _ in pickletools.genops(head):
            opcodes += 1
            if opcode.name in ("GLOBAL", "INST") and isinstance(argument, str) and NAME.match(argument):
                names += 1
            names += opcode.name == "STACK_GLOBAL"
            tuples += opcode.name in TUPLES
            memos += opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
            marks += opcode.name == "MARK"
            if names and opcode.name in CALLS and (marks if opcode.name in ("INST", "OBJ") else tuples):
                return True
            if opcode.name == "STOP":
                return opcodes >= 4 and memos > 0
            if opcodes > WALKED_OPCODES:
                return True  # no text parses as so long a program
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


def find_encoded_pickles(block: TextBlock) -> Iterator[tuple[Finding, bytes]]:
    """Pickles in base64, as configurations and tables carry them to a loader of their own. The first nine bytes of
    protocols 4 and 5 are known, and 12 letters of base64 occur by chance in one text of 2^72."""
    for at in find_all(block.searchable, ENCODED_START):
        match = ENCODED.match(block.searchable, at)
        if match and match.end() > block.fresh:
            place = block.place(at, at + 12)
            what = f"A Python pickle in base64 stands in {place.where}"
            message = f"{what}, which runs code when it is opened; store the values themselves."
            yield Finding("unsafe_files", "encoded_pickle", "hold", place.where, "gASV…", message), match.group()


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
    """True unless a .npy header declares numbers or texts of a fixed size in numpy's own spelling: it is Python source
    that numpy evaluates, and for objects it keeps a pickle behind the header. A spelling of somebody's own could hide
    that in many ways (quotes, escapes, names of the type), so none is taken."""
    if len(head) < 12 or head[6] not in (1, 2, 3):
        return True
    start = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    header = head[start : start + length]
    if length > MAX_ARRAY_HEADER or len(header) < length:
        return True
    return ARRAY_HEADER.fullmatch(header) is None
