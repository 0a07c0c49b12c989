"""What the parent of the ranks loads before it forks; nothing here computes, for threads do not survive a fork."""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}

import peft  # noqa: E402, F401
import transformers.models.llama.modeling_llama  # noqa: E402, F401

import training.engine.run  # noqa: E402, F401
