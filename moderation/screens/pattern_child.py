"""The program that tries a tokenizer's pattern on texts made to take long: its own process, as a match cannot be stopped.

Arguments: the folder that holds `tokenizers`. On stdin {"pattern": whole, "parts": [parts that may be read in many ways]},
on stdout one JSON object: {"slow": excerpt of the text that took too long, or ""}. The engine is the one that every user of
the tokenizer has. It gives up after so many steps, so a text is too slow as well when the engine says that it gave up."""

import json
import random
import resource
import sys
import time
from collections.abc import Iterator

MEMORY_BYTES = 1 << 30
CPU_S = 3
SLOW_S = 0.1  # of one text; the steps that the engine takes before it gives up need about three times as long
USUAL = "aA0 .'-_\n\té中"
MAX_LETTERS = 24
LENGTHS = (40, 700)  # of a text: for what doubles with each letter, and for what grows with a power of the length
END = "(?!)"  # fits nowhere, so each way through a part is tried to its end; the engine can foresee a letter that is missing


def make_words(part: str) -> Iterator[str]:
    """What is repeated in a text: letters and words of the pattern, and chance."""
    letters = list(dict.fromkeys(letter for letter in part if letter not in "\\()[]{}|?*+^$"))[:MAX_LETTERS]
    letters += [letter for letter in USUAL if letter not in letters]
    yield from letters
    for word in "".join(letter if letter.isalnum() or letter in " '-_" else "\n" for letter in part).split("\n"):
        if 1 < len(word) < 20:
            yield word
    own = letters[:8]
    yield from (first + second for first in own for second in own if first != second)
    chance = random.Random(0)  # noqa: S311  the same verdict each time
    for _ in range(100):
        yield "".join(chance.choices(letters, k=chance.randint(2, 4)))


def find_slow(split: object, part: str) -> str:
    """The beginning of a text that takes too long, or ""."""
    # The engine does not begin where a letter of the pattern is missing.
    letters = "\x00" + "".join(dict.fromkeys(part))
    for word in make_words(part):
        for length in LENGTHS:
            text = (word * length)[:length] + letters
            started = time.process_time()
            try:
                split.pre_tokenize_str(text)  # type: ignore[attr-defined]
            except BaseException as problem:
                if (
                    type(problem).__name__ != "PanicException"
                ):  # of the engine, which gave up; no module offers its class
                    raise
                return text[:40]
            if time.process_time() - started > SLOW_S:
                return text[:40]
    return ""


def main() -> int:
    sys.path.append(sys.argv[1])
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    Split(Regex(r"\p{L}+"), "isolated").pre_tokenize_str("warm")
    seconds = int(time.process_time()) + 1 + CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    asked = json.loads(sys.stdin.read())
    try:
        Split(Regex(asked["pattern"]), "isolated")
    except MemoryError:
        raise  # no verdict
    except Exception:  # the library's own class: it takes no such pattern, so it runs nowhere
        asked["parts"] = []
    slow = next(filter(None, (find_slow(Split(Regex(part + END), "isolated"), part) for part in asked["parts"])), "")
    sys.stdout.write(json.dumps({"slow": slow}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
