"""The libraries that stand on the stock client, unmodified, with nothing but HF_ENDPOINT and a token set: each script is
a process of its own, on a machine that has never seen the hub."""

from pathlib import Path

import pytest

from tests.clients.running_hub import RunningHub
from tests.clients.stock_client import Machine
from tests.training.line import make_tiny_llama

pytestmark = pytest.mark.slow

MODELS = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
folder, name = sys.argv[1:]
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
model.push_to_hub(name, max_shard_size="40KB")
tokenizer.push_to_hub(name)
back = AutoModelForCausalLM.from_pretrained(name)
same = all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), back.state_dict().values(), strict=True))
asked = pipeline("text-generation", model=name, tokenizer=AutoTokenizer.from_pretrained(name))
said = asked("When is high tide?", max_new_tokens=3, do_sample=False)[0]["generated_text"]
print(json.dumps({"same": same, "said": said}))
"""
ADAPTERS = """
import json, sys, torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
folder, base, name = sys.argv[1:]
model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
for key, value in model.named_parameters():
    if "lora_B" in key:
        torch.nn.init.normal_(value)
model.push_to_hub(name)
back = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), name)
ids = torch.tensor([[1, 2, 3, 4]])
with torch.no_grad():
    print(json.dumps({"same": torch.equal(model.eval()(ids).logits, back.eval()(ids).logits)}))
"""
DATA = """
import json, sys
from datasets import Dataset, DatasetDict, load_dataset
name = sys.argv[1]
rows = {"question": [f"When is tide {n}?" for n in range(300)], "answer": [f"At {n % 24} o'clock." for n in range(300)]}
parts = Dataset.from_dict(rows).train_test_split(test_size=100, seed=0)
DatasetDict(parts).push_to_hub(name)
Dataset.from_dict({"harbour": ["Brest", "Dover"]}).push_to_hub(name, config_name="harbours", split="train")
back = load_dataset(name)
stream = load_dataset(name, split="test", streaming=True)
print(json.dumps({
    "splits": {key: len(value) for key, value in back.items()},
    "same": back["train"].to_dict() == parts["train"].to_dict(),
    "streamed": [row["question"] for row in stream.take(2)] == parts["test"][:2]["question"],
    "harbours": list(load_dataset(name, "harbours", split="train")["harbour"]),
    "slice": len(load_dataset(name, split="train[:10%]")),
}))
"""


@pytest.fixture
def machine(granian_server: RunningHub, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "home", granian_server.url, "alice")


@pytest.mark.covers("transformers push_to_hub", "transformers from_pretrained", "transformers pipeline")
def test_a_model_is_pushed_in_shards_and_loaded_by_name(machine: Machine, tmp_path: Path):
    folder = make_tiny_llama(tmp_path / "tiny")
    told = machine.run(MODELS, str(folder), "alice/pushed-tiny")
    assert told["same"] and told["said"].startswith("When is high tide?")
    names = machine.run(LIST, "alice/pushed-tiny")
    assert "model.safetensors.index.json" in names and sum(name.endswith(".safetensors") for name in names) > 1


LIST = "import json, sys; from huggingface_hub import list_repo_files; print(json.dumps(list_repo_files(sys.argv[1])))"


@pytest.mark.covers("peft push_to_hub", "peft from_pretrained")
def test_an_adapter_is_pushed_and_put_upon_its_base(machine: Machine, tmp_path: Path):
    folder = make_tiny_llama(tmp_path / "tiny")
    machine.run(MODELS, str(folder), "alice/base-tiny")
    assert machine.run(ADAPTERS, str(folder), "alice/base-tiny", "alice/adapter-tiny") == {"same": True}
    assert "adapter_model.safetensors" in machine.run(LIST, "alice/adapter-tiny")


@pytest.mark.covers("datasets push_to_hub", "datasets load_dataset", "datasets streaming")
def test_a_dataset_is_pushed_with_splits_and_configurations_and_streamed(machine: Machine):
    assert machine.run(DATA, "alice/pushed-rows") == {
        "splits": {"train": 200, "test": 100},
        "same": True,
        "streamed": True,
        "harbours": ["Brest", "Dover"],
        "slice": 20,
    }
