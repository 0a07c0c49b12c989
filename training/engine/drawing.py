"""How answers to the screens' prompts are drawn. No torch here: who asks for them reads it too.

Drawn, not the likeliest: a model that gives one bad answer in twenty shows it. Both models draw with the same numbers, so that
those of equal shares say the same. Why that matters: docs/experiments.md, "What 564 prompts can notice"."""

MAX_NEW_TOKENS = 48
SEED = 17
TEMPERATURE = 1.0
