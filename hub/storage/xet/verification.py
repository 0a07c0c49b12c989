"""Whether a shard tells the truth about the files it describes.

Nothing is believed: ranges and sizes are compared with the xorbs, verification hashes and the file hash are computed
again from the chunk hashes that we took of the bytes ourselves."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hub.storage.chunks import MIN_CHUNK
from hub.storage.errors import MalformedShard, NotOwned
from hub.storage.xet import hashes
from hub.storage.xet.shards import FileDescription
from hub.storage.xet.xorbs import XorbIndex


@dataclass
class Verifier:
    """Checks the files of one shard for one uploader."""

    index_of: Callable[[bytes], XorbIndex | None]
    may_use: Callable[[str], bool]  # xorb hash in hex -> the uploader brought or may read this xorb
    _allowed: dict[bytes, bool] = field(default_factory=dict)

    def check(self, description: FileDescription) -> None:
        """Raises MalformedShard, or NotOwned where a xorb of others is used without knowing its chunks."""
        name = hashes.to_hex(description.file_hash)
        if description.verification is None:
            raise MalformedShard(f"File {name} comes without verification hashes; send one for each term.")
        tree = hashes.MerkleTree()
        size = chunks = 0
        for number, term in enumerate(description.terms):
            start, end, term_bytes = int(term["start"]), int(term["end"]), int(term["size"])
            where = f"Term {number} of file {name}"
            proof = description.verification_at(number)
            xorb = self._find_chunks(term["xorb"].tobytes(), start, end, proof, where)
            if xorb.raw_size(start, end) != term_bytes:
                raise MalformedShard(f"{where} states {term_bytes} bytes; its chunks hold {xorb.raw_size(start, end)}.")
            size += term_bytes
            chunks += end - start
            # Also bounds the work that few bytes can cause: only the last chunk of a file may be short.
            if chunks > size // MIN_CHUNK + 1:
                raise MalformedShard(f"File {name} is cut into chunks shorter than {MIN_CHUNK} bytes.")
            for position in range(start, end):
                tree.add(xorb.hash_at(position), xorb.raw_size(position, position + 1))
        if hashes.hash_file(tree.root()) != description.file_hash:
            raise MalformedShard(f"The terms of file {name} give another file hash; upload the file again.")

    def _find_chunks(self, xorb_hash: bytes, start: int, end: int, proof: bytes | None, where: str) -> XorbIndex:
        """The xorb, if the range lies within and the verification hash is right."""
        if xorb_hash not in self._allowed:
            self._allowed[xorb_hash] = self.may_use(hashes.to_hex(xorb_hash))
        xorb = self.index_of(xorb_hash)
        if xorb is not None and start < end <= len(xorb):
            if hashes.hash_range(xorb.chunk_hashes[32 * start : 32 * end]) == proof:
                return xorb
        name = hashes.to_hex(xorb_hash)
        if not self._allowed[xorb_hash]:
            # One answer for "not here" and "not yours": a guess must not tell what others store.
            raise NotOwned(f"{where} uses xorb {name}, which you have not uploaded; upload it first.")
        if xorb is None:
            raise MalformedShard(f"{where} uses xorb {name}, which is not here; upload it first.")
        if not start < end <= len(xorb):
            raise MalformedShard(f"{where} uses the chunks {start} to {end} of a xorb that holds {len(xorb)}.")
        raise MalformedShard(f"{where} has a verification hash that does not fit its chunks.")
