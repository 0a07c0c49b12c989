"""Large content for tests: noise that nothing packs, as a recording, since the screens hold what is of no known format."""

import random
import struct

HEAD_BYTES = 44


def make_recording(count: int, noise: random.Random | None = None) -> bytes:
    """A .wav of `count` bytes in all, at least its head; the same noise gives the same bytes."""
    sound = (noise or random.Random()).randbytes(max(count - HEAD_BYTES, 0))
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    return (
        struct.pack("<4sI4s", b"RIFF", len(sound) + 36, b"WAVE")
        + form
        + struct.pack("<4sI", b"data", len(sound))
        + sound
    )
