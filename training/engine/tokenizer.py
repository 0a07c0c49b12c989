"""Tokenizers: the base's own, or a byte-level BPE trained from the corpus.

A loaded tokenizer is data only: no code of the repository runs, and its chat template is bounded in size and time."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.engine.errors import EngineError

MAX_TEMPLATE_BYTES = 256 << 10
MAX_TOKENIZER_BYTES = 256 << 20
TEMPLATE_TIMEOUT_S = 5.0
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# For a tokenizer that brings no template. ChatML is what most open models read.
DEFAULT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def read_tokenizer(folder: Path, *, name: str) -> Any:
    """The fast tokenizer of a model folder, as it is. `name` is how errors call it."""
    from transformers import AutoTokenizer

    _check_files(folder, name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, use_fast=True)
    except Exception as error:  # the library raises anything on a damaged file, Exception of Rust included
        raise EngineError(f"The tokenizer of {name} cannot be read: {error}", code="tokenizer_invalid") from error
    if not getattr(tokenizer, "is_fast", False):
        raise EngineError(f"{name} has no fast tokenizer; save it with one", code="tokenizer_invalid")
    return tokenizer


def load_tokenizer(folder: Path, *, name: str) -> Any:
    """The tokenizer of a model that writes: it knows where a text ends, and how a conversation is laid out."""
    tokenizer = read_tokenizer(folder, name=name)
    if tokenizer.eos_token_id is None:
        raise EngineError(
            f"The tokenizer of {name} has no end-of-text token; set eos_token in tokenizer_config.json",
            code="tokenizer_invalid",
        )
    if not tokenizer.chat_template:
        tokenizer.chat_template = DEFAULT_TEMPLATE
    return tokenizer


def _check_files(folder: Path, name: str) -> None:
    if not (folder / "tokenizer.json").is_file():
        raise EngineError(f"{name} has no tokenizer.json; save it with a fast tokenizer", code="tokenizer_missing")
    for path in (folder / file for file in TOKENIZER_FILES if (folder / file).is_file()):
        limit = MAX_TEMPLATE_BYTES if path.suffix == ".jinja" else MAX_TOKENIZER_BYTES
        if path.stat().st_size > limit:
            raise EngineError(f"{path.name} of {name} is larger than {limit >> 10} KiB", code="tokenizer_invalid")
    settings = read_json_object(folder / "tokenizer_config.json", name)
    if "auto_map" in settings:
        raise EngineError(
            f"tokenizer_config.json of {name} asks to run its own code (auto_map); remove that key",
            code="remote_code",
        )
    template = settings.get("chat_template")
    if template is not None and len(json.dumps(template)) > MAX_TEMPLATE_BYTES:
        raise EngineError(f"The chat template of {name} is larger than 256 KiB", code="tokenizer_invalid")


def read_json_object(path: Path, name: str, *, limit_bytes: int = 16 << 20) -> dict[str, Any]:
    """A JSON object, {} when the file does not exist."""
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > limit_bytes:
            raise ValueError(f"it is larger than {limit_bytes >> 20} MiB")
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{path.name} of {name} cannot be read: {error}", code="config_invalid") from error
    return value


def train_tokenizer(texts: Iterator[str], *, vocabulary: int) -> Any:
    """A byte-level BPE of at most `vocabulary` tokens, special ones included; equal texts give equal tokenizers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    make_fast: Any = PreTrainedTokenizerFast
    tokenizer = make_fast(
        tokenizer_object=raw,
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = DEFAULT_TEMPLATE
    return tokenizer


def copy_tokenizer(source: Path, target: Path) -> None:
    """The files as they are, so that the chat template and every setting are kept to the byte."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def render_chat(tokenizer: Any, messages: Sequence[dict[str, str]], *, open_answer: bool) -> str:
    """The conversation as the model reads it; with `open_answer` it ends where the assistant begins to speak.

    EngineError when the template refuses the conversation or takes longer than five seconds."""
    try:
        with time_limit(TEMPLATE_TIMEOUT_S):
            text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=open_answer)
    except TimeoutError as error:
        raise EngineError("The chat template runs too long; simplify it", code="template_timeout") from error
    except Exception as error:  # a template may raise what it likes
        raise EngineError(f"The chat template refuses a conversation: {error}", code="template_refused") from error
    assert isinstance(text, str)
    return text


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """TimeoutError after `seconds` of wall time; only the main thread can be interrupted, others run unbounded."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
