"""What a file is, told from its bytes: a name is a contributor's claim, magic is what a loader obeys."""

import codecs
import re
import struct

HEAD_BYTES = 64 << 10  # what `sniff` looks at from the start
TAIL_BYTES = (64 << 10) + 22  # a zip's end record can stand this far from the end

EXECUTABLES = {"elf", "pe", "macho", "wasm", "java", "dex", "pyc"}
PACKED = {"gzip", "bzip2", "xz", "zstd", "lz4", "zlib"}
CLOSED_ARCHIVES = {"7z", "rar", "cab"}
PICTURES = {"png", "jpeg", "gif", "webp", "bmp", "tiff"}
RECORDINGS = {"wav", "flac", "mp3", "ogg", "mp4", "webm"}
MEDIA = PICTURES | RECORDINGS | {"pdf"}
TEXTS = {"text", "utf16"}

HDF5 = b"\x89HDF\r\n\x1a\n"
USER_BLOCKS = [512 << power for power in range(7)]  # https://docs.hdfgroup.org, file format specification, superblock
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
    (HDF5, "hdf5"),
    (b"SQLite format 3\x00", "sqlite"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
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
    (b"\x1a\x45\xdf\xa3", "webm"),
    (b"%PDF-", "pdf"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
)
# Letters with which a text may begin as well, so they are asked for in what is no text.
LETTERS: tuple[tuple[bytes, str], ...] = (
    (b"Obj\x01", "avro"),
    (b"ORC", "orc"),
    (b"FEA1", "feather1"),
    (b"lmgg", "ggml"),
    (b"tjgg", "ggml"),
    (b"fmgg", "ggml"),
)
# Layer III in kbit/s by index and in Hz by version (MPEG 2.5, none, 2, 1): ISO/IEC 11172-3 and 13818-3.
MP3_RATES = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
)
MP3_HERTZ = ((11025, 12000, 8000), (), (22050, 24000, 16000), (44100, 48000, 32000))
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
    # A block of the user's own may stand before it, up to where readers look.
    if any(head.startswith(HDF5, at) for at in USER_BLOCKS):
        return "hdf5"
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
    if head[:2] == b"BM" and size > 26 and head[2:6] == size.to_bytes(8, "little")[:4]:
        return "bmp"
    if head[4:8] == b"TFL3":
        return "tflite"
    if _is_windows_program(head):
        return "pe"
    if re.match(rb"[\x00-\xff]\x0d\x0d\x0a[\x00-\x03]\x00\x00\x00", head):
        return "pyc"
    if head[:2] in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda") and not is_text(head):
        return "zlib"
    if looks_like_safetensors(head, size):
        return "safetensors"
    if is_mp3(head):
        return "mp3"
    if _is_utf16(head):
        return "utf16"
    if is_text(head):
        return "text"
    for letters, kind in LETTERS:
        if head.startswith(letters):
            return kind
    if is_sentencepiece(head, size):
        return "sentencepiece"
    return "onnx" if looks_like_onnx(head) else "binary"


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


def is_mp3(head: bytes) -> bool:
    """A frame of layer III with the next one where it says, or nothing behind it: two bytes alone fit anything."""
    length = _frame_bytes(head)
    return length > 0 and (len(head) <= length or _frame_bytes(head[length : length + 4]) > 0)


def _frame_bytes(head: bytes) -> int:
    """Length of the MP3 frame that begins here, 0 when none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, hertz = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or hertz == 3:
        return 0
    samples = 144 if version == 3 else 72
    kbits = MP3_RATES[version == 3][rate]
    return kbits and samples * kbits * 1000 // MP3_HERTZ[version][hertz] + (head[2] >> 1 & 1)


def is_sentencepiece(head: bytes, size: int) -> bool:
    """A tokenizer's protobuf: a list of pieces, of which all that is seen here reads as such.
    Source: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto"""
    at, pieces = 0, 0
    while head[at : at + 1] == b"\n":
        length, start = _read_length(head, at + 1)
        if size > len(head) and max(start + length, at + 3) > len(head):
            return pieces >= 3  # the head ends within this piece
        if not (length and _is_piece(head[start : start + length])):
            return False
        at, pieces = start + length, pieces + 1
    # After the pieces come settings of its training (2), of its normalizer (3), and the rest.
    return pieces >= 3 and head[at : at + 1] in (b"", b"\x12", b"\x1a", b"\x22", b"\x2a")


def _is_piece(data: bytes) -> bool:
    """One piece: text (1), score (2, four bytes) and kind (3)."""
    length, start = _read_length(data, 1)
    if data[:1] != b"\n" or not length:
        return False
    try:
        data[start : start + length].decode("utf-8")
    except UnicodeDecodeError:
        return False
    rest = data[start + length :]
    if rest[:1] == b"\x15":
        rest = rest[5:]
    return rest == b"" or (len(rest) == 2 and rest[0] == 0x18 and rest[1] <= 6)


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    """(value, offset behind it) of a protobuf number of at most two bytes; lengths of pieces need no more."""
    if at >= len(data):
        return 0, at
    if data[at] < 0x80:
        return data[at], at + 1
    return (data[at] & 0x7F | data[at + 1] << 7, at + 2) if at + 1 < len(data) and data[at + 1] < 0x80 else (0, at)


def looks_like_onnx(head: bytes) -> bool:
    """The version of the format (1) and then the program's name that wrote it (2), or its graph (7)."""
    return len(head) > 4 and head[0] == 0x08 and 0 < head[1] < 32 and head[2] in (0x12, 0x3A)


def _is_utf16(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decodes_as_utf16(head)
    if len(head) < 8:
        return False
    even, odd = head[:2048:2], head[1:2048:2]
    # Latin text in UTF-16 without a mark: every second byte is zero, the others are printable.
    for zeros, letters in ((odd, even), (even, odd)):
        if zeros.count(0) > 0.9 * len(zeros) and letters.translate(None, CONTROL) == letters:
            return True
    return False


def _decodes_as_utf16(head: bytes) -> bool:
    """A mark at the start is a claim: of bytes at random, one pair in thirty stands where it must not."""
    try:
        codecs.getincrementaldecoder("utf-16")().decode(head, final=False)  # the head may end within a letter
    except UnicodeDecodeError:
        return False
    return True


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
