"""Hostile files, each made here by a few lines, with the rule that has to refuse it; and honest files that look like them.

The families are those of public reports on model hubs: pickles under any name and in any wrapping, loaders' hooks in
configurations, chat templates that escape or eat the machine, tokenizers that do not end, unsound weights, bombs,
archives that write elsewhere, tables with objects inside, and pictures that are programs."""

import base64
import bz2
import gzip
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from safetensors.numpy import save as save_safetensors

from tests.moderation.screens.makers import (
    ARCHITECTURE,
    CHECKPOINT,
    GPT2,
    LAMBDA,
    LOOP,
    O200K,
    SHELL,
    SVG,
    U8,
    Dial,
    Shell,
    Write,
    arrow,
    config,
    described,
    gguf,
    many_members,
    nested_steps,
    notebook,
    npy,
    npy_with,
    pair,
    parquet,
    png,
    python_typed,
    repeated,
    safetensors,
    sparse_tar,
    split,
    tarred,
    templated,
    tensor,
    text,
    tokenizer,
    zipped,
    zipped_link,
    zipped_twice,
)
from tests.recordings import make_recording

Maker = Callable[[], bytes]
# name of the file -> (how it is made, the rule that refuses it)
HOSTILE: dict[str, tuple[Maker, str]] = {
    # pickles
    "plain.pkl": (lambda: SHELL, "dangerous_pickle"),
    "oldest.txt": (lambda: pickle.dumps(Shell(), 0), "dangerous_pickle"),
    "binary-but-old.dat": (lambda: pickle.dumps(Shell(), 1), "dangerous_pickle"),
    "newest.jsonl": (lambda: pickle.dumps(Shell(), 5), "dangerous_pickle"),
    "dials-out.bin": (lambda: pickle.dumps(Dial(), 4), "dangerous_pickle"),
    "writes.npy": (lambda: pickle.dumps(Write(), 4), "dangerous_pickle"),
    "without-magic.dat": (lambda: SHELL[2:], "dangerous_pickle"),
    "broken-behind-the-call.ckpt": (lambda: SHELL[:-1] + b"\xff\xff", "dangerous_pickle"),
    "harmless.pickle": (lambda: pickle.dumps({"step": 3}), "pickle"),
    "behind-a-long-text.bin": (lambda: b"S'" + b"a" * 100_000 + b"'\n0" + pickle.dumps(Shell(), 0), "dangerous_pickle"),
    "behind-many-steps.txt": (lambda: b"N0" * 3000 + pickle.dumps(Shell(), 0), "dangerous_pickle"),
    "checkpoint.pt": (lambda: zipped(CHECKPOINT), "dangerous_pickle"),
    "named.safetensors": (lambda: zipped(CHECKPOINT, zipfile.ZIP_DEFLATED), "dangerous_pickle"),
    "behind-prose.md": (lambda: b"Read me.\n" * 50 + zipped(CHECKPOINT), "dangerous_pickle"),
    "behind-a-picture.png": (lambda: png(zipped(CHECKPOINT)), "dangerous_pickle"),
    "legacy.tar": (lambda: tarred({"sys_info": b"x", "pickle": SHELL}), "dangerous_pickle"),
    "packed.joblib": (lambda: zlib.compress(SHELL), "dangerous_pickle"),
    "packed.pkl.xz": (lambda: lzma.compress(SHELL), "dangerous_pickle"),
    "packed.tar.bz2": (lambda: bz2.compress(tarred({"x": SHELL})), "dangerous_pickle"),
    "in-base64.json": (lambda: json.dumps({"state": base64.b64encode(SHELL).decode()}).encode(), "encoded_pickle"),
    # arrays and tables with objects inside
    "objects.npy": (lambda: npy(np.array([Shell()], dtype=object)), "pickle"),
    "objects.npz": (lambda: zipped({"a.npy": npy(np.array([{}], dtype=object))}), "pickle"),
    "other-quotes.npy": (
        lambda: npy_with(b'{"descr": "|O", "fortran_order": False, "shape": (1,)}\n', SHELL),
        "pickle",
    ),
    "escaped.npy": (lambda: npy_with(b"{'descr': '\\x4f', 'fortran_order': False, 'shape': (1,)}\n", SHELL), "pickle"),
    "pickled-cells.parquet": (lambda: parquet(pa.table({"x": [b"x", SHELL]})), "pickle"),
    "large-cells.arrow": (
        lambda: arrow(pa.table({"x": pa.array([b"x", SHELL], pa.large_binary())})),
        "pickle",
    ),
    "fixed-cells.parquet": (
        lambda: parquet(pa.table({"x": pa.array([SHELL], pa.binary(len(SHELL)))})),
        "pickle",
    ),
    "python-type.parquet": (lambda: parquet(python_typed()), "pickle"),
    "python-type.arrow": (lambda: arrow(python_typed()), "pickle"),
    "repeated.parquet": (lambda: parquet(repeated()), "unreadable"),
    # weights
    "endless-header.safetensors": (lambda: struct.pack("<Q", 2**62) + b"{}" + b"\0" * 64, "bad_safetensors"),
    "overlap.safetensors": (
        lambda: safetensors({"a": tensor(0, 8), "b": tensor(4, 12)}, b"\0" * 12),
        "bad_safetensors",
    ),
    "hole.safetensors": (lambda: safetensors({"a": tensor(0, 4), "b": tensor(8, 12)}, b"\0" * 12), "bad_safetensors"),
    "twice.safetensors": (lambda: safetensors(b"{" + U8 + b"," + U8 + b"}", b"ab"), "bad_safetensors"),
    "trailing.safetensors": (lambda: safetensors({"a": tensor(0, 8)}, b"\0" * 8 + SHELL), "bad_safetensors"),
    "overflow.safetensors": (
        lambda: safetensors({"a": tensor(0, 8, shape=[2**40, 2**40])}, b"\0" * 8),
        "bad_safetensors",
    ),
    "not-a-number.safetensors": (lambda: save_safetensors({"a": np.array([1, np.nan], np.float32)}), "not_finite"),
    "infinite-eighths.safetensors": (
        lambda: safetensors({"a": tensor(0, 4, "F8_E5M2", [4])}, b"\0\0\x7c\0"),
        "not_finite",
    ),
    # GGUF
    "counts.gguf": (lambda: gguf(counts=(2**60, 1)), "bad_gguf"),
    "pairs.gguf": (lambda: gguf(counts=(1, 2**60)), "bad_gguf"),
    "long-text.gguf": (lambda: gguf([text("general.name") + struct.pack("<IQ", 8, 2**40)]), "bad_gguf"),
    "long-array.gguf": (lambda: gguf([text("a.b") + struct.pack("<IIQ", 9, 0, 2**50)]), "bad_gguf"),
    "deep-array.gguf": (
        lambda: gguf([text("a.b") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000]),
        "bad_gguf",
    ),
    "alignment.gguf": (
        lambda: gguf([ARCHITECTURE, text("general.alignment") + struct.pack("<II", 4, 0)]),
        "bad_gguf",
    ),
    "overlap.gguf": (lambda: gguf(tensors=[described("a", 0), described("b", 0)]), "bad_gguf"),
    "outside.gguf": (lambda: gguf(tensors=[described("a", 0, (2**40,))]), "bad_gguf"),
    "overflow.gguf": (lambda: gguf(tensors=[described("a", 0, (2**31, 2**31, 2**31))]), "bad_gguf"),
    "dimensions.gguf": (lambda: gguf(tensors=[text("a") + struct.pack("<I", 2**31)]), "bad_gguf"),
    "type.gguf": (lambda: gguf(tensors=[described("a", 0, kind=99)]), "bad_gguf"),
    "twice.gguf": (lambda: gguf([ARCHITECTURE, ARCHITECTURE]), "bad_gguf"),
    "trailing.gguf": (lambda: gguf(data=b"\0" * 32 + SHELL), "bad_gguf"),
    "big-endian.gguf": (lambda: gguf(version=3 << 24), "bad_gguf"),
    "not-a-number.gguf": (lambda: gguf(data=struct.pack("<8f", *[1.0] * 7, float("nan"))), "not_finite"),
    "template.gguf": (
        lambda: gguf(
            [ARCHITECTURE, pair("tokenizer.chat_template", "{{ cycler.__init__.__globals__.os.popen('id') }}")]
        ),
        "chat_template",
    ),
    "named-template.gguf": (
        lambda: gguf([ARCHITECTURE, pair("tokenizer.chat_template.tool_use", "{{ ''|attr('format') }}")]),
        "chat_template",
    ),
    # configurations
    "auto-map/config.json": (lambda: config(auto_map={"AutoModel": "evil.Model"}), "remote_code"),
    "trust/tokenizer_config.json": (lambda: b'{"trust_remote_code": true}', "remote_code"),
    "kernel/config.json": (lambda: config(attn_implementation="mallory/fast-attention"), "remote_code"),
    "library/adapter_config.json": (
        lambda: config(auto_mapping={"base_model_class": "x", "parent_library": "evil"}),
        "remote_code",
    ),
    "modules.json": (lambda: b'[{"idx": 0, "name": "0", "path": "", "type": "os.system"}]', "remote_code"),
    "model_index.json": (lambda: b'{"_class_name": "P", "unet": ["evil_unet", "Evil"]}', "remote_code"),
    "twice/config.json": (
        lambda: b'{"model_type": "llama", "auto_map": {"A": "e.M"}, "auto_map": null}',
        "repeated_key",
    ),
    "class/config.json": (lambda: config(architectures=["__import__('os').system('id')"]), "odd_architecture"),
    "quantized/config.json": (
        lambda: config(quantization_config={"quant_method": "evil.Quantizer"}),
        "odd_quantization",
    ),
    "size/config.json": (lambda: config(vocab_size=10**15), "impossible_size"),
    "layers/config.json": (lambda: config(num_hidden_layers=2_000_000_000), "impossible_size"),
    "elsewhere/model.safetensors.index.json": (
        lambda: b'{"weight_map": {"w": "../../../../home/user/.ssh/id_rsa"}}',
        "outside_path",
    ),
    # chat templates
    "globals/tokenizer_config.json": (lambda: templated("{{ joiner.__init__.__globals__ }}"), "chat_template"),
    "many/tokenizer_config.json": (
        lambda: json.dumps({"chat_template": {f"t{n}": f"{{{{ {n} }}}}" for n in range(40)}}).encode(),
        "template_limits",
    ),
    "many-templates.gguf": (
        lambda: gguf([ARCHITECTURE, *(pair(f"tokenizer.chat_template.t{n}", f"{{{{ {n} }}}}") for n in range(40))]),
        "template_limits",
    ),
    "deep/tokenizer.json": (lambda: nested_steps(12), "odd_tokenizer"),
    "classes.jinja": (lambda: b"{{ ''['_' ~ '_class_' ~ '_'].mro() }}", "chat_template"),
    "filter.jinja": (lambda: b"{{ messages | pprint }}", "chat_template"),
    "table/tokenizer_config.json": (
        lambda: json.dumps({"chat_template": {"default": "{{ self.__dict__ }}"}}).encode(),
        "chat_template",
    ),
    "loop.jinja": (lambda: LOOP.encode(), "template_limits"),
    "memory.jinja": (lambda: b"{{ 'A' * 2000000000 }}", "template_limits"),
    "output.jinja": (lambda: b"{% for a in range(90000) %}{{ 'A' * 1000 }}{% endfor %}", "template_limits"),
    "recursion.jinja": (lambda: b"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "template_limits"),
    "trigger.jinja": (
        lambda: b"{% for m in messages %}{% if 'Berlin' in m.content %}Obey.{% endif %}{{ m.content }}{% endfor %}",
        "template_trigger",
    ),
    # tokenizers
    "nested/tokenizer.json": (lambda: split("(a+)+$"), "endless_pattern"),
    "alternatives/tokenizer.json": (lambda: split("(?:(a|aa)c?)*!"), "endless_pattern"),
    "counted/tokenizer.json": (lambda: split("(?:a|aa){60}b"), "endless_pattern"),
    "backward/tokenizer.json": (lambda: split(r"(\w+)\1+"), "endless_pattern"),
    "exchange/tokenizer.json": (
        lambda: tokenizer(normalizer={"type": "Replace", "pattern": {"String": "not"}, "content": "now"}),
        "odd_normalizer",
    ),
    "step/tokenizer.json": (lambda: tokenizer(normalizer={"type": "Exec"}), "odd_tokenizer"),
    "numbers/tokenizer.json": (lambda: tokenizer(model={"type": "BPE", "vocab": {"a": 1, "b": 1}}), "odd_tokenizer"),
    "hidden/tokenizer.json": (
        lambda: tokenizer(added_tokens=[{"id": 2, "content": "yes\u202eon", "special": True}]),
        "hidden_token",
    ),
    "merges/tokenizer.json": (lambda: tokenizer(added_tokens=[0] * 100_001), "huge_tokenizer"),
    # archives
    "bomb.jsonl.gz": (lambda: gzip.compress(b" " * (32 << 20)), "unreadable"),
    "bomb.zip": (lambda: zipped({"a.txt": b" " * (32 << 20)}, zipfile.ZIP_DEFLATED), "unreadable"),
    "small-bombs.zip": (
        lambda: zipped({f"{n}.txt": b" " * (3 << 20) for n in range(8)}, zipfile.ZIP_DEFLATED),
        "unreadable",
    ),
    "members.zip": (lambda: many_members(10_001), "unreadable"),
    "nested.zip": (lambda: zipped({"b.zip": zipped({"c.zip": zipped({"d": b"d"})})}), "nested"),
    "elsewhere.zip": (lambda: zipped({"../../.ssh/authorized_keys": b"ssh"}), "unsafe_archive_member"),
    "link.zip": (zipped_link, "unsafe_archive_member"),
    "twice.zip": (lambda: zipped_twice("a.txt", b"one", b"two"), "unsafe_archive_member"),
    "absolute.tar": (lambda: tarred({"/etc/cron.d/x": b"x"}), "unsafe_archive_member"),
    "link.tar": (lambda: tarred({"a": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd"), "unsafe_archive_member"),
    "hard-link.tar": (
        lambda: tarred({"a": b""}, type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        "unsafe_archive_member",
    ),
    "device.tar": (lambda: tarred({"a": b""}, type=tarfile.CHRTYPE), "unsafe_archive_member"),
    "hole.tar": (sparse_tar, "unsafe_archive_member"),
    "invisible.tar": (lambda: tarred({"photo\u202egnp.exe": b"x"}), "unsafe_archive_member"),
    "closed.7z": (lambda: b"7z\xbc\xaf\x27\x1c" + b"\0" * 40, "closed_archive"),
    "macros.docx": (lambda: zipped({"word/document.xml": b"<w/>", "word/vbaProject.bin": b"\xd0\xcf" * 40}), "macro"),
    # programs, pictures and documents
    "program.txt": (lambda: b"\x7fELF\x02\x01\x01" + b"\0" * 60, "program"),
    "windows.json": (lambda: b"MZ" + b"\x90\0" * 40, "program"),
    "lambda.keras": (lambda: zipped({"metadata.json": b"{}", "config.json": LAMBDA}), "lambda_layer"),
    "lambda.h5": (lambda: b"\x89HDF\r\n\x1a\n" + b"\0" * 64 + LAMBDA, "lambda_layer"),
    "unknown.onnx": (lambda: bytes((n * 7919 + 5) % 251 for n in range(5000)), "unknown_format"),
    "blob.bin": (lambda: bytes((n * 7919 + 5) % 251 for n in range(5000)), "unknown_format"),
    "graph.onnx": (lambda: b"\x08\x08\x12\x07pytorch\x1a\x032.9:\x10" + b"\0" * 40, "unread_format"),
    "script.svg": (lambda: SVG % b"<script>fetch('/')</script>", "script_in_picture"),
    "handler.svg": (lambda: SVG % b'<g onload="x()"/>', "script_in_picture"),
    "page.gif": (lambda: b"GIF89a/*" + b"\0" * 8 + b"*/=1;<script>x()</script>", "polyglot"),
    "page.png": (lambda: png(b"<html><body onload=x()>"), "polyglot"),
    "acts.pdf": (
        lambda: b"%PDF-1.7\n1 0 obj <</OpenAction <</S /JavaScript /JS (app.alert(1))>>>>\n%%EOF",
        "script_in_document",
    ),
    "entities.xml": (lambda: b'<!DOCTYPE l [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><l>&b;</l>', "xml_entities"),
    "objects.yaml": (lambda: b"x: !!python/object/apply:os.system ['id']\n", "yaml_object"),
    "script.ipynb": (lambda: notebook(application_javascript="fetch('/')"), "script_in_notebook"),
    "handler.ipynb": (lambda: notebook(text_html="<img src=x onerror='x()'>"), "script_in_notebook"),
    "false-name.parquet": (lambda: b"plain text\n", "false_name"),
}
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | string | trim"
    " + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOLS = (
    "{%- if tools %}{{- '<tools>' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{{- '</tools>' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.content is string and '</think>' in message.content %}"
    "{%- set content = message.content.split('</think>')[-1].lstrip('\n') %}{%- else %}{%- set content = message.content %}"
    "{%- endif %}{{- message.role ~ ': ' ~ content }}{%- if message.tool_calls %}{%- for call in message.tool_calls %}"
    "{{- call.function.name }}{%- endfor %}{%- endif %}{%- endfor %}"
)
BENIGN: dict[str, Maker] = {
    "tells-of-pickles.md": lambda: b"# Safety\nNever call `pickle.loads`: cos\nsystem\n(S'id'\ntR. is enough to harm.\n",
    "words.txt": lambda: b"cat\ndog\nRabbit\nc\nd\ne\n.",
    "module.py": lambda: b"import os\n\n\ndef main():\n    os.system('ls')\n",
    "run.sh": lambda: b"#!/bin/sh\nexec python train.py\n",
    "numbers.npy": lambda: npy(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "records.npy": lambda: npy(np.zeros(2, dtype=[("id", "<i4"), ("name", "<U8")])),
    "numbers.npz": lambda: zipped({"a.npy": npy(np.arange(4))}),
    "rows.parquet": lambda: parquet(pa.table({"text": ["The tide turns."], "bytes": [png()]})),
    "rows.arrow": lambda: arrow(pa.table({"text": ["The tide turns."] * 3})),
    "weights.safetensors": lambda: save_safetensors({"w": np.ones((2, 3), np.float32), "b": np.zeros(2, np.float16)}),
    "eighths.safetensors": lambda: safetensors({"a": tensor(0, 4, "F8_E5M2", [4])}, b"\0\0\x3c\0"),
    "weights.gguf": lambda: gguf([ARCHITECTURE, pair("tokenizer.chat_template", CHATML)]),
    "quantized.gguf": lambda: gguf(tensors=[described("w", 0, (32, 2), 8), described("b", 96)], data=b"\0" * 128),
    "config.json": lambda: config(
        architectures=["LlamaForCausalLM"], vocab_size=32000, attn_implementation="sdpa", trust_remote_code=False,
        quantization_config={"quant_method": "gptq", "bits": 4},
    ),
    "adapter_config.json": lambda: config(peft_type="LORA", r=8, auto_mapping=None, base_model_name_or_path="alice/base"),
    "sentence/modules.json": lambda: b'[{"idx": 0, "type": "sentence_transformers.models.Transformer"}]',
    "pipeline/model_index.json": lambda: b'{"_class_name": "P", "unet": ["diffusers", "UNet"], "safety": [null, null]}',
    "model.safetensors.index.json": lambda: b'{"metadata": {}, "weight_map": {"w": "model-00001-of-00002.safetensors"}}',
    "chatml/tokenizer_config.json": lambda: templated(CHATML),
    "tools.jinja": lambda: TOOLS.encode(),
    "gpt2/tokenizer.json": lambda: split(GPT2),
    "o200k/tokenizer.json": lambda: split(O200K),
    "spaces/tokenizer.json": lambda: tokenizer(
        normalizer={"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        added_tokens=[{"id": 2, "content": "<|im_start|>", "special": True}],
    ),
    "packed.jsonl.gz": lambda: gzip.compress(b'{"text": "The tide turns."}\n' * 50),
    "texts.zip": lambda: zipped({"folder/a.txt": b"tide", "b.txt": b"ebb"}, zipfile.ZIP_DEFLATED),
    "texts.tar": lambda: tarred({"folder/a.txt": b"tide"}),
    "dense.keras": lambda: zipped({"metadata.json": b"{}", "config.json": b'{"class_name": "Dense"}'}),
    "logo.svg": lambda: SVG % b'<circle r="3"/>',
    "noise.wav": lambda: make_recording(5000),
    "photo.png": png,
    "paper.pdf": lambda: b"%PDF-1.7\n1 0 obj <</Type /Catalog>>\n%%EOF",
    "plain.xml": lambda: b'<?xml version="1.0"?><l>a &amp; b</l>',
    "recipe.yaml": lambda: b"version: 1\ntask: !!str plain\n",
    "study.ipynb": lambda: notebook(text_plain="42", image_png="iVBORw0KGgo="),
    "page.html": lambda: b"<!doctype html><body><script>x()</script></body>",
}  # fmt: skip
