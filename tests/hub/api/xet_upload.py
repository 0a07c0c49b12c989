"""What a Xet client sends for one file, made by hand."""

import hashlib
from copy import copy
from io import BytesIO

from hub.storage.chunks import Chunker
from hub.storage.xet import hashes
from hub.storage.xet.shards import FileDescription, format_shard, make_terms
from hub.storage.xet.xorbs import XorbWriter


class XetFile:
    """One file as one xorb and one shard; give `terms` or `proofs` another value and the shard lies."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.chunks = list(Chunker().cut([content]))
        file = BytesIO()
        writer = XorbWriter(file)
        for chunk in self.chunks:
            writer.add(hashes.hash_chunk(chunk), chunk)
        index = writer.finish()
        self.xorb = file.getvalue()[: index.packed_ends[-1]]  # like the client: without footer
        self.xorb_hash = hashes.to_hex(index.xorb_hash)
        self.hash = hashes.to_hex(hashes.hash_file(index.xorb_hash))
        self.terms = [(index.xorb_hash, 0, len(index), len(content))]
        self.proofs = [hashes.hash_range(index.chunk_hashes)]

    def every_second_chunk(self) -> "XetFile":
        """A file made of chunks of this one's xorb; it has no xorb of its own."""
        part = copy(self)
        places = range(0, len(self.chunks), 2)
        names = [hashes.hash_chunk(chunk) for chunk in self.chunks]
        part.chunks = [self.chunks[at] for at in places]
        part.content = b"".join(part.chunks)
        part.sha256 = hashlib.sha256(part.content).hexdigest()
        part.hash = hashes.to_hex(
            hashes.hash_file(hashes.hash_tree((names[at], len(self.chunks[at])) for at in places))
        )
        part.terms = [(hashes.from_hex(self.xorb_hash), at, at + 1, len(self.chunks[at])) for at in places]
        part.proofs = [hashes.hash_range(names[at]) for at in places]
        return part

    @property
    def shard(self) -> bytes:
        proofs = b"".join(proof + bytes(16) for proof in self.proofs)
        return format_shard([FileDescription(hashes.from_hex(self.hash), make_terms(self.terms), proofs, self.sha256)])
