"""One file through all screens: what is it, may it be opened, and what does its text say."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePosixPath
from typing import BinaryIO

from moderation.screens.accepted import ACCEPTED
from moderation.screens.archives import screen_tar, screen_zip
from moderation.screens.config_check import MAX_TEMPLATES, too_many_templates
from moderation.screens.findings import Finding, FindingBag, quote
from moderation.screens.formats import HEAD_BYTES, MEDIA, PACKED, TAIL_BYTES, has_zip_end, sniff
from moderation.screens.gguf_check import BadGguf, bad_gguf_finding, check_gguf, read_gguf, templates_of
from moderation.screens.harmful_text import HarmfulText
from moderation.screens.hidden_text import HiddenText, check_name, holds_vocabulary
from moderation.screens.injections import Instructions
from moderation.screens.licences import read_licence_text
from moderation.screens.limits import PIECE_BYTES, Deadline, OutOfTime, Readable, ScreenLimit, read_exactly
from moderation.screens.media_end import check_behind
from moderation.screens.parquet_reading import PickleInside, read_table
from moderation.screens.personal_data import PersonalData
from moderation.screens.pickles import (
    SCANNED_BYTES,
    find_encoded_pickles,
    has_object_array,
    has_pickle_name,
    is_loaded_as_pickle,
    is_old_pickle,
    pickle_finding,
)
from moderation.screens.planted_triggers import PlantedTriggers
from moderation.screens.row_reading import ROW_COLUMNS
from moderation.screens.safetensors_check import check_safetensors, metadata_text
from moderation.screens.secrets import find_secrets
from moderation.screens.template_check import check_template
from moderation.screens.text_reading import Place, TextBlock, TextReader
from moderation.screens.unpacking import read_pieces, unpack
from moderation.screens.unsafe_files import (
    LAMBDA_LAYER,
    MACROS,
    check_kind,
    check_small_text,
    lambda_layer_finding,
    macro_finding,
    object_array_finding,
    pickled_cell_finding,
    read_whole_bytes,
    too_large_finding,
)

ARCHIVES = {"zip", "tar"}
QUICK_MEDIA_BYTES = 1 << 20  # of a picture that is searched for keys before it is public
LOOSE = {"text", "binary", "utf16", "tar", "sentencepiece"} | MEDIA  # may begin as a pickle does


@dataclass
class FileScreen:
    name: str
    quick: bool
    deadline: Deadline
    bag: FindingBag = field(default_factory=FindingBag)

    def screen(self, reader: BinaryIO, size: int) -> list[Finding]:
        """All findings. Running out of time or into a bound is a finding itself, of severity hold."""
        try:
            self._screen(reader, size)
        except OutOfTime as error:
            self._add_bound("unfinished", f"{self.name} was {error}", "the full check reads the rest")
        except ScreenLimit as error:
            mend = "upload it in plain form (.jsonl, .csv, .parquet, .safetensors) or in smaller parts"
            self._add_bound("unreadable", f"{self.name} cannot be checked: {error}", mend)
        return self.bag.close()

    def _add_bound(self, rule: str, what: str, mend: str) -> None:
        self.bag.add(Finding("unsafe_files", rule, "hold", self.name, quote(what), f"{quote(what)}; {mend}."))

    def _screen(self, reader: BinaryIO, size: int) -> None:
        if not self.name.isascii():
            self.bag.extend(check_name(self.name))
        reader.seek(0)
        head = read_exactly(reader, min(size, HEAD_BYTES))
        kind = self._tell_kind(self.name, head, size)
        if kind in LOOSE and is_loaded_as_pickle(self.name) and self._is_long_pickle(reader):
            kind = "pickle"
        if kind == "hdf5":  # the layers of a model are described wherever the library put them
            reader.seek(0)
            head = read_exactly(reader, SCANNED_BYTES)
        self.bag.extend(check_kind(self.name, kind, head))
        if kind == "pickle":
            reader.seek(0)
            self.bag.add(pickle_finding(self.name, read_exactly(reader, SCANNED_BYTES), self.deadline.left_s()))
            return
        if kind != "zip" and self._hides_zip(reader, size):
            what = f"{self.name} ({kind}) has an archive hidden at its end"
            message = f"{what}; save it again without it."
            self.bag.add(Finding("unsafe_files", "hidden_archive", "hold", self.name, kind, message))
            self._screen_zip(reader, size)
        elif kind not in ("text", "utf16", "empty", "pickle") and has_pickle_name(self.name):
            self._judge_pickle_name(kind)
        self._screen_content(kind, head, reader, size)

    def _tell_kind(self, name: str, head: bytes, size: int) -> str:
        kind = sniff(head, size)
        # The first bytes of some pictures and recordings are those of a pickle, too, which loads whatever its name is.
        return "pickle" if kind in LOOSE and is_old_pickle(head) else kind

    def _is_long_pickle(self, reader: BinaryIO) -> bool:
        """A stream can begin with a text so long that its calls stand behind the head."""
        reader.seek(0)
        return is_old_pickle(read_exactly(reader, SCANNED_BYTES))

    def _judge_pickle_name(self, kind: str) -> None:
        if kind in ("safetensors", "zip", "tar") or kind in PACKED:
            return  # judged by what is inside
        what = f"{self.name} has the name of a pickle, which the usual tools would run"
        message = f"{what}; give it its true ending, or save weights as .safetensors."
        self.bag.add(Finding("unsafe_files", "pickle_name", "hold", self.name, kind, message))

    def _hides_zip(self, reader: BinaryIO, size: int) -> bool:
        reader.seek(max(size - TAIL_BYTES, 0))
        return has_zip_end(read_exactly(reader, TAIL_BYTES))

    def _screen_content(self, kind: str, head: bytes, reader: BinaryIO, size: int) -> None:
        if kind in ("text", "utf16"):
            self._screen_text_file(head, reader, size)
        elif kind in ("parquet", "arrow"):
            self._screen_table(kind, reader, size)
        elif kind == "safetensors":
            self._screen_weights(reader, size)
        elif kind == "gguf":
            self._screen_gguf(reader, size)
        elif kind == "zip":
            self._screen_zip(reader, size)
        elif kind == "tar":
            pieces = read_pieces(reader, self.deadline)
            self.bag.extend(screen_tar(self.name, pieces, self.deadline, self._screen_member))
        elif kind in PACKED:
            self._screen_packed(kind, reader)
        elif kind == "npy" and has_object_array(head):
            self.bag.add(object_array_finding(self.name))
        elif kind == "binary" and self.name.lower().endswith(".safetensors"):
            self._screen_weights(reader, size)
        elif kind in MEDIA and (not self.quick or size <= QUICK_MEDIA_BYTES):
            self.bag.extend(check_behind(self.name, kind, reader, size, self.deadline))
            self._screen_binary(reader)
        elif kind not in ACCEPTED and not self.quick:
            self._screen_binary(reader)

    def _screen_weights(self, reader: BinaryIO, size: int) -> None:
        checked = check_safetensors(self.name, reader, size, quick=self.quick, deadline=self.deadline)
        self.bag.extend(checked)
        self._screen_pieces(f"{self.name} (metadata)", [metadata_text(reader, size, self.deadline).encode()])

    def _screen_table(self, kind: str, reader: BinaryIO, size: int) -> None:
        try:
            self._screen_blocks(self.name, read_table(kind, reader, size, self.deadline))
            if not self.quick:
                self._screen_rows(kind, reader, size)
        except PickleInside as error:
            self.bag.add(pickled_cell_finding(self.name, str(error)))

    def _screen_rows(self, kind: str, reader: BinaryIO, size: int) -> None:
        """What only whole rows tell, of which a table has its columns apart. A second reading, to where enough is known."""
        triggers = PlantedTriggers(self.name, is_table=True)
        try:
            for block in read_table(kind, reader, size, self.deadline, columns=ROW_COLUMNS):
                triggers.read(block)
                if triggers.cut:
                    break
        except OutOfTime:
            raise
        except ScreenLimit:  # every value was read before; rows of a huge list may be too much at once
            triggers.cut = True
        self._add(triggers.finish(self.deadline))

    def _screen_gguf(self, reader: BinaryIO, size: int) -> None:
        try:
            header = read_gguf(reader, size, self.deadline)
        except BadGguf as error:
            self.bag.add(bad_gguf_finding(self.name, error))
            return
        for number, (key, template) in enumerate(templates_of(header)):
            self.deadline.check()
            if number == MAX_TEMPLATES:
                self.bag.add(too_many_templates(self.name))
                break
            self.bag.extend(check_template(f"{self.name} ({quote(key)[:60]})", template, self.deadline))
        self._screen_pieces(f"{self.name} (metadata)", ["\n".join(header.text).encode()])
        self.bag.extend(check_gguf(self.name, header, reader, quick=self.quick, deadline=self.deadline))

    def _screen_text_file(self, head: bytes, reader: BinaryIO, size: int) -> None:
        if most := read_whole_bytes(self.name, head):
            if size > most:
                self.bag.add(too_large_finding(self.name, size, most))
            else:
                reader.seek(0)
                self.bag.extend(check_small_text(self.name, read_exactly(reader, size), self.deadline))
        self._screen_pieces(self.name, read_pieces(reader, self.deadline))

    def _screen_pieces(self, name: str, pieces: Iterable[bytes]) -> None:
        text = TextReader(name, pieces)
        try:
            self._screen_blocks(name, text.blocks())
        finally:
            self.bag.extend(text.problems())

    def _screen_blocks(self, name: str, blocks: Iterable[TextBlock]) -> None:
        """The text screens, block by block. What only the whole file tells is said even when time ran out."""
        personal, harmful = PersonalData(name), HarmfulText(name)
        instructions, triggers = Instructions(name), PlantedTriggers(name)
        hidden = None if holds_vocabulary(name) else HiddenText(name)
        try:
            for number, block in enumerate(blocks):
                self._add(find_secrets(block))
                self._add(find_encoded_pickles(block))
                self._add(personal.find(block, thorough=not self.quick))
                if hidden:
                    self._add(hidden.find(block))
                if not self.quick:
                    self._add(harmful.find(block))
                    instructions.find(block)
                    triggers.read(block)
                    if number == 0:
                        self.bag.extend(read_licence_text(name, block.data))
                self.deadline.check()
        finally:
            self._add(personal.finish(thorough=not self.quick))
            self._add(instructions.finish())
        if not self.quick:
            self.bag.extend(harmful.finish())
            self._add(triggers.finish(self.deadline))

    def _add(self, found: Iterable[tuple[Finding, bytes | str]]) -> None:
        for finding, identity in found:
            self.bag.add(finding, identity)
            self.deadline.check()  # a file made of findings costs most where each is located

    def _screen_zip(self, reader: BinaryIO, size: int) -> None:
        self.bag.extend(screen_zip(self.name, reader, size, self.deadline, self._screen_member))

    def _screen_packed(self, kind: str, reader: BinaryIO) -> None:
        """A packed file is judged by what it holds; one level deep."""
        pieces = unpack(kind, reader, self.deadline)
        first = next(pieces, b"")
        inner = self._tell_kind(self.name, first[:HEAD_BYTES], len(first))
        everything = chain([first], pieces)
        if inner == "tar":
            self.bag.extend(screen_tar(self.name, everything, self.deadline, self._screen_member))
        else:
            packed_name = self.name.lower().endswith((".gz", ".bz2", ".xz", ".zst", ".lz4"))
            self._screen_inner(self.name.rsplit(".", 1)[0] if packed_name else self.name, inner, first, everything)

    def _screen_member(self, name: str, stream: Readable, size: int) -> None:
        head = read_exactly(stream, HEAD_BYTES)
        kind = self._tell_kind(name, head, max(size, len(head)))
        # In a checkpoint archive the pickle is called data.pkl, whatever its bytes look like.
        if kind != "empty" and has_pickle_name(name) and kind in ("text", "binary"):
            kind = "pickle"
        self._screen_inner(name, kind, head, chain([head], self._pieces_of(stream)))

    def _pieces_of(self, stream: Readable) -> Iterator[bytes]:
        while piece := stream.read(PIECE_BYTES):
            self.deadline.check()
            yield piece

    def _screen_inner(self, name: str, kind: str, head: bytes, pieces: Iterable[bytes]) -> None:
        if kind == "pickle":
            self.bag.add(pickle_finding(name, head, self.deadline.left_s()), "pickle:" + name)
        elif kind == "npy" and has_object_array(head):
            self.bag.add(object_array_finding(name))
        elif PurePosixPath(name.lower()).name in MACROS:
            self.bag.add(macro_finding(name))
        elif kind in ("text", "utf16"):
            if LAMBDA_LAYER.search(head):
                self.bag.add(lambda_layer_finding(name))
            self._screen_pieces(name, pieces)
        elif kind in ARCHIVES or kind in PACKED or kind in ("parquet", "safetensors", "arrow"):
            what = f"{name} ({kind}) lies inside another file, where the checks do not read it"
            message = f"{what}; upload it by itself."
            self.bag.add(Finding("unsafe_files", "nested", "hold", name, kind, message))
        else:
            self.bag.extend(finding for finding in check_kind(name, kind, head) if finding.severity != "info")

    def _screen_binary(self, reader: BinaryIO) -> None:
        """Keys have formats of their own, so they are found in binary content too; nothing else is looked for."""
        offset, before = 0, b""
        for piece in read_pieces(reader, self.deadline):
            base = offset - len(before)

            def locate(_: bytes, start: int, end: int, base: int = base) -> Place:
                return Place(f"{self.name}, byte {base + start:,}")

            block = TextBlock(before + piece, locate, len(before))
            self._add((finding, secret) for finding, secret in find_secrets(block) if finding.severity == "block")
            offset, before = offset + len(piece), piece[-1024:]
