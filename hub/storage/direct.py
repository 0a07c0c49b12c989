"""Large files written and read past the kernel's cache of pages (O_DIRECT).

What is written once and read much later needs no page of memory for each of its bytes. On a machine whose memory is given
to it page by page, as to most virtual ones, those pages cost more processor time than everything else that an upload
takes. Where a file system does not have it (tmpfs, some network ones) the same calls go through the cache as usual."""

import errno
import fcntl
import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO

BLOCK_BYTES = 1024 * 1024  # a multiple of every device's block
BLOCKS_AHEAD = 4  # read while the one before is hashed


class DirectWriter:
    """Appends to an empty file, block by block, until the first `seek`; from there on it is the file itself.

    Holds one block of memory. The caller syncs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._descriptor = file.fileno()
        self._block = mmap.mmap(-1, BLOCK_BYTES)  # begins at a page, which O_DIRECT asks for
        self._filled = 0
        self._written = 0
        self._is_over = False

    def write(self, piece: bytes | memoryview, /) -> int:
        if self._is_over:
            return self._file.write(piece)
        rest = memoryview(piece)
        while rest:
            taken = rest[: BLOCK_BYTES - self._filled]
            self._block[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rest = rest[len(taken) :]
            if self._filled == BLOCK_BYTES:
                self._write_block(is_direct=set_direct(self._descriptor, True))
        return len(piece)

    def seek(self, position: int, /) -> int:
        if not self._is_over:
            set_direct(self._descriptor, False)
            self._write_block(is_direct=False)
            self._is_over = True
        return self._file.seek(position)

    def truncate(self) -> int:
        """At the position of the last `seek`."""
        return self._file.truncate()

    def close(self) -> None:
        self._block.close()

    def __enter__(self) -> "DirectWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_block(self, *, is_direct: bool) -> None:
        with memoryview(self._block) as block:
            done = 0
            while done < self._filled:
                try:
                    done += os.pwrite(self._descriptor, block[done : self._filled], self._written + done)
                except OSError as problem:
                    if not (is_direct and problem.errno == errno.EINVAL):
                        raise
                if is_direct and done < self._filled:  # refused after all, or in part: what is left may end anywhere
                    is_direct = set_direct(self._descriptor, False)
        self._written += self._filled
        self._filled = 0


class DirectReader:
    """Forward reading of one open file with the next blocks on their way.

    Holds BLOCKS_AHEAD blocks of memory once something is read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._ahead: deque[tuple[int, mmap.mmap, Future[int]]] = deque()  # (number of the block, its bytes, how many)
        self._free: list[mmap.mmap] = []
        self._pool: ThreadPoolExecutor | None = None
        self._end = 0

    def expect(self, start: int, end: int) -> None:
        self._end = max(self._end, min(end, self.size))

    def read(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        if start >= end:
            return b""
        self.expect(start, end)
        parts = []
        while start < end:
            number = start // BLOCK_BYTES
            block, count = self._get(number)
            at = start - number * BLOCK_BYTES
            part = block[at : min(count, end - number * BLOCK_BYTES)]
            if not part:
                break  # cut short meanwhile
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Waits for what is on its way: it writes into our memory."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _get(self, number: int) -> tuple[mmap.mmap, int]:
        while self._ahead and self._ahead[0][0] != number:
            _, block, under_way = self._ahead.popleft()
            under_way.exception()
            self._free.append(block)
        first = self._ahead[-1][0] + 1 if self._ahead else number
        behind = max(number + 1, -(-self._end // BLOCK_BYTES))
        for ahead in range(first, min(behind, number + BLOCKS_AHEAD)):
            self._start(ahead)
        _, block, under_way = self._ahead[0]
        return block, under_way.result()

    def _start(self, number: int) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(2)
            set_direct(self._descriptor, True)
        block = self._free.pop() if self._free else mmap.mmap(-1, BLOCK_BYTES)
        self._ahead.append((number, block, self._pool.submit(self._fill, block, number * BLOCK_BYTES)))

    def _fill(self, block: mmap.mmap, start: int) -> int:
        done, is_again = 0, False
        with memoryview(block) as whole:
            while done < BLOCK_BYTES and start + done < self.size:
                try:
                    count = os.preadv(self._descriptor, [whole[done:]], start + done)
                except OSError as problem:
                    if problem.errno != errno.EINVAL or is_again:
                        raise
                    is_again = True  # through the cache
                    set_direct(self._descriptor, False)
                    continue
                if not count:
                    break
                done += count
        return done


def set_direct(descriptor: int, wanted: bool) -> bool:
    """Whether the file now goes past the cache."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    direct: int = getattr(os, "O_DIRECT", 0)  # not on macOS
    changed = flags | direct if wanted else flags & ~direct
    if changed != flags:
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, changed)
        except OSError:
            return False
    return wanted and bool(direct)
