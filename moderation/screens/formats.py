"""What a file is, told from its bytes: a name is a contributor's claim, magic is what a loader obeys."""

import re
import struct

HEAD_BYTES = 64 << 10  # what `sniff` looks at from the start
TAIL_BYTES = (64 << 10) + 22  # a zip's end record can stand this far from the end

EXECUTABLES = {"elf", "pe", "macho", "wasm", "java", "dex", "pyc"}
PACKED = {"gzip", "bzip2", "xz", "zstd", "lz4", "zlib"}
CLOSED_ARCHIVES = {"7z", "rar", "cab"}
MEDIA = {"png", "jpeg", "gif", "webp", "wav", "flac", "mp3", "ogg", "mp4", "pdf", "bmp", "tiff"}

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"MSCF\x00\x00\x00\x00", "cab"),
    (b"PAR1", "parquet"),
    (b"ARROW1\x00\x00", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
    (b"GGUF", "gguf"),
    (b"\x93NUMPY", "npy"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"SQLite format 3\x00", "sqlite"),
    (b"\x7fELF", "elf"),
    (b"\xfe\xed\xfa\xce", "macho"),
    (b"\xfe\xed\xfa\xcf", "macho"),
    (b"\xce\xfa\xed\xfe", "macho"),
    (b"\xcf\xfa\xed\xfe", "macho"),
    (b"\xca\xfe\xba\xbe", "java"),
    (b"\x00asm", "wasm"),
    (b"dex\n03", "dex"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"ID3", "mp3"),
    (b"%PDF-", "pdf"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
)
UTF_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
# Tab, newline, form feed, carriage return and escape occur in honest text; the other control bytes do not.
CONTROL = bytes(set(range(32)) - {9, 10, 12, 13, 27} | {127})


def sniff(head: bytes, size: int) -> str:
    """The kind of a file from its first bytes: "text", "utf16", "pickle", "zip", … or "binary" when nothing fits.

    Pickles of protocol 0 and 1 have no magic; `pickles.is_old_pickle` looks for them in what is "text" here."""
    if size == 0:
        return "empty"
    # Fail closed: protocol byte and version are enough, a broken stream still runs what stands before the break.
    if len(head) >= 2 and head[0] == 0x80 and head[1] <= 5:
        return "pickle"
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    return _sniff_structured(head, size)


def _sniff_structured(head: bytes, size: int) -> str:
    if head[257:262] == b"ustar":
        return "tar"
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE"):
        return "webp" if head[8:12] == b"WEBP" else "wav"
    if head[4:8] == b"ftyp":
        return "mp4"
    if _is_windows_program(head):
        return "pe"
    if re.match(rb"[\x00-\xff]\x0d\x0d\x0a[\x00-\x03]\x00\x00\x00", head):
        return "pyc"
    if head[:2] in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda") and not is_text(head):
        return "zlib"
    if looks_like_safetensors(head, size):
        return "safetensors"
    if head[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):
        return "mp3"
    if _is_utf16(head):
        return "utf16"
    if is_text(head):
        return "text"
    return "sentencepiece" if head[:1] == b"\n" and b"<unk>" in head[:64] else "binary"


def _is_windows_program(head: bytes) -> bool:
    if head[:2] != b"MZ" or len(head) < 64:
        return False
    (start,) = struct.unpack_from("<I", head, 60)
    return head[start : start + 4] == b"PE\x00\x00" or not is_text(head[:64])


def looks_like_safetensors(head: bytes, size: int) -> bool:
    if len(head) < 10 or head[8:9] != b"{":
        return False
    (header_bytes,) = struct.unpack_from("<Q", head)
    return bool(header_bytes <= size - 8)


def _is_utf16(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    if len(head) < 8:
        return False
    even, odd = head[:2048:2], head[1:2048:2]
    # Latin text in UTF-16 without a mark: every second byte is zero, the others are printable.
    for zeros, letters in ((odd, even), (even, odd)):
        if zeros.count(0) > 0.9 * len(zeros) and letters.translate(None, CONTROL) == letters:
            return True
    return False


def is_text(head: bytes) -> bool:
    """True for UTF-8 and for single-byte encodings: no zero byte, hardly any control byte."""
    sample = head[:8192]
    control = len(sample) - len(sample.translate(None, CONTROL))
    if b"\x00" in sample or control > len(sample) // 200:
        return False
    try:
        sample.decode("utf-8")
        return True
    except UnicodeDecodeError as error:
        if error.start >= len(sample) - 4 and error.end == len(sample):
            return True  # the sample ends inside a character
    high = sum(1 for byte in sample if byte >= 128)
    # Single-byte text: mostly ASCII, or letters of one alphabet; compressed bytes are spread evenly over all values.
    return high < len(sample) * 0.3 or len(set(sample)) < 120


def has_zip_end(tail: bytes) -> bool:
    """True when the file's end is a zip directory's end record: readers find an archive there whatever comes before."""
    start = tail.rfind(b"PK\x05\x06")
    if start < 0 or len(tail) - start < 22:
        return False
    entries, directory_bytes = struct.unpack_from("<HI", tail, start + 10)
    (comment_bytes,) = struct.unpack_from("<H", tail, start + 20)
    return bool(start + 22 + comment_bytes <= len(tail) and entries > 0 and directory_bytes >= 46 * entries)
