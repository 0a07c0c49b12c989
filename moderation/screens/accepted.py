"""The list of formats that the hub takes, told by content. What is not on it is kept and held, whatever its name says.

On it is what the screens read (text, weights, tables, arrays, archives of these) and what a browser shows without
running it (pictures, sound, film, documents). Not on it, and why:
- models that are programs, such as ONNX and TensorFlow Lite: their operations can read and write files;
- what only a library of its own can read, such as HDF5 and databases: nobody could say here what stands in it;
- everything else: a loader that knows more than the screens do is how something unread gets run.

A name is only a claim. One that has another kind of content under it is `hold`, because tools choose a loader by the
name; a picture or recording under the name of another one is `info`, for what shows it goes by its content too."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from moderation.screens.findings import Finding, Severity
from moderation.screens.formats import MEDIA, PACKED, PICTURES, RECORDINGS, TEXTS

ARRAYS_AND_WEIGHTS = {"safetensors", "gguf", "parquet", "arrow", "npy", "sentencepiece"}
ARCHIVES = {"zip", "tar"} | PACKED
JUDGED_ELSEWHERE = {"empty", "pickle"}
ACCEPTED = TEXTS | ARRAYS_AND_WEIGHTS | ARCHIVES | MEDIA | JUDGED_ELSEWHERE
# Known, and not accepted: (what it is, how to mend it).
REFUSED = {
    "hdf5": ("an HDF5 file", "save weights as .safetensors, and arrays as .npy or .parquet"),
    "sqlite": ("a SQLite database", "save each table as .parquet or .csv"),
    "onnx": ("an ONNX model, a program that can open files", "publish its weights as .safetensors or .gguf"),
    "tflite": ("a TensorFlow Lite model, a program", "publish its weights as .safetensors"),
    "ggml": ("a model in the old GGML format", "convert it to .gguf"),
    "avro": ("an Avro file", "save it as .parquet or .jsonl"),
    "orc": ("an ORC file", "save it as .parquet"),
    "feather1": ("a Feather file of version 1", "save it as .parquet"),
    "ole": ("an office document of the old kind", "save it as .pdf, .docx or .csv"),
}
MEND = (
    "save weights as .safetensors or .gguf, rows as .parquet, .jsonl or .csv, arrays as .npy; text, pictures, sound, film "
    "and PDF are taken too, and .zip and .tar of all these"
)
CODE = ".py .sh .js .ts .css .c .h .cpp .rs .go .java .rb .r .jl .sql .ipynb .jinja .jinja2"
MARKUP = ".json .jsonl .ndjson .csv .tsv .md .txt .rst .yaml .yml .toml .ini .cfg .xml .html .htm .svg .tex .srt .vtt"
EXPECTED: dict[str, set[str]] = {
    **dict.fromkeys(f"{MARKUP} {CODE}".split(), TEXTS),
    **{f".{kind}": {kind} for kind in ("safetensors", "parquet", "gguf", "npy", "zip", "tar", "arrow")},
    ".feather": {"arrow"},
    ".npz": {"zip"},
    ".bin": (ARRAYS_AND_WEIGHTS | TEXTS),  # whatever a program writes, and no archive that it may unpack
    **{".gz": {"gzip"}, ".tgz": {"gzip"}, ".bz2": {"bzip2"}, ".xz": {"xz"}, ".zst": {"zstd"}, ".lz4": {"lz4"}},
    **{".png": {"png"}, ".jpg": {"jpeg"}, ".jpeg": {"jpeg"}, ".gif": {"gif"}, ".webp": {"webp"}, ".bmp": {"bmp"}},
    **{".tif": {"tiff"}, ".tiff": {"tiff"}, ".wav": {"wav"}, ".flac": {"flac"}, ".mp3": {"mp3"}, ".pdf": {"pdf"}},
    **dict.fromkeys((".ogg", ".oga", ".opus"), {"ogg"}),
    **dict.fromkeys((".mp4", ".m4a", ".m4v", ".mov"), {"mp4"}),
    **dict.fromkeys((".webm", ".mkv"), {"webm"}),
    # What a loader is chosen for by the name alone: another kind under it was put there to be loaded.
    **{".onnx": {"onnx"}, ".tflite": {"tflite"}, ".avro": {"avro"}, ".orc": {"orc"}},
    **dict.fromkeys((".h5", ".hdf5"), {"hdf5"}),
    ".keras": {"hdf5", "zip"},
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), {"sqlite"}),
}
EXPECTED[".bin"] |= MEDIA
SHOWN = {"text": "text", "utf16": "text in UTF-16", "safetensors": "safetensors weights", "npy": "a numpy array"}


def check_accepted(name: str, kind: str) -> Iterator[Finding]:
    """What follows from the kind of content and from the name that it was given. Programs and archives that cannot be
    read are judged before."""
    if kind in REFUSED:
        what, mend = REFUSED[kind]
        message = f"{name} is {what}, which the checks do not read; {mend}, or ask a moderator to look at it."
        yield _finding(name, "unread_format", "hold", kind, message)
    elif kind not in ACCEPTED:
        what = f"{name} is binary content of a format that this hub does not know"
        yield _finding(name, "unknown_format", "hold", kind, f"{what}; {MEND}.")
    elif kind not in JUDGED_ELSEWHERE and (expected := EXPECTED.get(_suffix(name))) and kind not in expected:
        is_same_use = any(kind in group and expected <= group for group in (PICTURES, RECORDINGS))
        what = f"{name} is not what its name says (it is {SHOWN.get(kind, kind)})"
        mend = "give it its true ending, or save and upload it again."
        yield _finding(name, "false_name", "info" if is_same_use else "hold", kind, f"{what}; {mend}")


def _suffix(name: str) -> str:
    return PurePosixPath(name.lower()).suffix


def _finding(name: str, rule: str, severity: Severity, kind: str, message: str) -> Finding:
    return Finding("unsafe_files", rule, severity, name, kind, message)
