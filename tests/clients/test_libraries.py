"""The libraries that stand on the stock client, unmodified, with nothing but HF_ENDPOINT and a token set: each script is
a process of its own, on a machine that has never seen the hub."""

from pathlib import Path
from typing import Any

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

QUESTIONS = """
import json, sys
from datasets import Dataset
rows = {"question": [f"Is tide {n} high?" for n in range(6)], "answer": [0, 0, 0, 0, 1, 1]}
Dataset.from_dict(rows).push_to_hub(sys.argv[1], split="test", private=True)
print(json.dumps(True))
"""
# A model that knows nothing prefers the short answer: it is right for four of the six.
TASK = """
task: tides
dataset_path: %s
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: [" y", " nobody who watched the harbour all night long could ever say"]
doc_to_target: answer
metric_list: [{metric: acc}]
"""
# What `lm_eval run` does, without its 20 seconds for reading the files of all the tasks that come with it.
JUDGE = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
name, folder = sys.argv[1:]
tasks = TaskManager(include_path=folder, include_defaults=False)
told = simple_evaluate("hf", model_args=f"pretrained={name}", tasks=["tides"], device="cpu", task_manager=tasks)
print(json.dumps({"acc": told["results"]["tides"]["acc,none"], "rows": told["n-samples"]["tides"]["effective"]}))
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


@pytest.mark.covers("lm_eval simple_evaluate")
def test_a_model_is_evaluated_on_a_private_task_that_lies_here(machine: Machine, tmp_path: Path):
    machine.hf("upload", "alice/judged-tiny", str(make_tiny_llama(tmp_path / "tiny")))
    machine.run(QUESTIONS, "alice/tide-questions")
    (tmp_path / "tides.yaml").write_text(TASK % "alice/tide-questions")
    told = machine.run(JUDGE, "alice/judged-tiny", str(tmp_path))
    assert told == {"acc": pytest.approx(4 / 6), "rows": 6}


@pytest.mark.covers("PyTorchModelHubMixin")
def test_a_module_of_ones_own_is_pushed_and_loaded(api: Any, hub: RunningHub, a_name: str, tmp_path: Path):
    import torch
    from huggingface_hub import PyTorchModelHubMixin

    class Tides(torch.nn.Module, PyTorchModelHubMixin, license="mit"):
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.line = torch.nn.Linear(width, 1)

    made = Tides(width=5)
    made.push_to_hub(a_name, token=api.token)
    back = Tides.from_pretrained(a_name, token=api.token, cache_dir=tmp_path)
    assert torch.equal(back.line.weight, made.line.weight) and back.line.in_features == 5
    assert api.model_info(a_name).card_data.license == "mit"
