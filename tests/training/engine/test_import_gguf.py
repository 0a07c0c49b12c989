"""A GGUF file becomes a folder that the engine loads, with the very same weights."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.engine.tiny_served import TEXTS
from training.engine.errors import EngineError
from training.engine.import_gguf import import_gguf
from training.engine.serving import open_model
from training.engine.tokenizer import train_tokenizer

WIDTH, LAYERS, HEADS, INNER = 32, 2, 4, 64


def write_tiny_gguf(path: Path) -> dict[str, np.ndarray]:
    """A llama in fp32 with a byte-level tokenizer; returns its tensors."""
    import json

    import gguf

    backend = json.loads(train_tokenizer(iter(TEXTS), vocabulary=300).backend_tokenizer.to_str())
    vocabulary = sorted(backend["model"]["vocab"], key=backend["model"]["vocab"].__getitem__)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in backend["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}")
    rng = np.random.default_rng(0)
    shapes = {"token_embd.weight": (len(vocabulary), WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.attn_{n}.weight": (WIDTH, WIDTH) for n in ("q", "k", "v", "output")}
        shapes |= {f"blk.{layer}.ffn_{n}.weight": (INNER, WIDTH) for n in ("gate", "up")}
        shapes |= {f"blk.{layer}.ffn_down.weight": (WIDTH, INNER)}
        shapes |= {f"blk.{layer}.{n}_norm.weight": (WIDTH,) for n in ("attn", "ffn")}
    tensors = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_a_file_becomes_a_folder_with_the_same_weights_tokenizer_and_template(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    tensors = write_tiny_gguf(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    import_gguf(file=file, out=tmp_path / "model", sha256=digest, dtype="fp32")
    served = open_model(tmp_path / "model", "cpu")
    embedding = served.model.model.embed_tokens.weight
    assert torch.equal(embedding, torch.from_numpy(tensors["token_embd.weight"]))
    up = served.model.model.layers[1].mlp.up_proj.weight
    assert torch.equal(up, torch.from_numpy(tensors["blk.1.ffn_up.weight"]))
    tokens = served.tokenizer("the tide rises", add_special_tokens=False)["input_ids"]
    assert served.tokenizer.decode(tokens) == "the tide rises"
    assert "<|im_start|>" in served.tokenizer.chat_template
    assert served.context_tokens == 128
    assert 2 in served.stop_ids
    assert (tmp_path / "model" / "generation_config.json").is_file()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_other_bytes_than_promised_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(EngineError, match="download it again"):
        import_gguf(file=tmp_path / "x.gguf", out=tmp_path / "model", sha256="0" * 64)
    assert not (tmp_path / "model").exists()


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"\x80\x04pickle")
    with pytest.raises(EngineError, match="is not a GGUF file"):
        import_gguf(file=tmp_path / "x.gguf", out=tmp_path / "model")
    with pytest.raises(EngineError, match="is not a file"):
        import_gguf(file=tmp_path / "y.gguf", out=tmp_path / "model")


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(EngineError, match="exists already"):
        import_gguf(file=tmp_path / "x.gguf", out=tmp_path / "model")
