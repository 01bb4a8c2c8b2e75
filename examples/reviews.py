# %% [markdown]
# # Reviews
#
# Real sentences from customer reviews of cameras, phones and players, each judged by twenty people (where they come
# from stands in `examples/data/README.md`). Is a sentence good or bad for the product? The text goes in as bytes: the
# Perceiver has no tokenizer and no word list, so it may be in any language and any spelling; a linear part counts words
# beside it.

# %%
import json
import os
from pathlib import Path

import polars as pl

import perceivers as pv
from perceivers.report.pictures import picture

steps = int(os.environ.get("STEPS", 300))  # the tests take fewer
root = Path(pv.__file__).parent.parent
frame = pl.read_csv(root / "examples/data/reviews.csv")
for mood, sentence in frame.select("mood", "sentence").sample(4, seed=5).iter_rows():
    print(f"{mood:5} {sentence}")

# %% [markdown]
# ## Train
#
# Several sentences come from the same review. `group` keeps a review on one side of the split, so that the test is of
# reviews that the model has not seen.

# %%
model = pv.fit(frame, target="mood", group="review", steps=steps, out="model")
accuracy = model.metrics["mood"]["accuracy"]
print(f"right in {accuracy['value']:.1%} of {model.metrics['mood']['n']} sentences")
print(f"95 % interval: {accuracy['low']:.1%} to {accuracy['high']:.1%}")

# %% [markdown]
# Simple models on the same sentences: counts of words and of short strings of letters.

# %%
for name, found in json.loads(Path("model/baselines.json").read_text())["mood"].items():
    print(f"{name:20} {found['accuracy']['value']:.1%}")

# %% [markdown]
# ## Ask
#
# Sentences of your own. A model that has read a thousand short sentences and nothing else knows the words of reviews,
# not the language: do not expect irony to work.

# %%
sentences = [
    "the battery life is excellent and the screen is bright .",
    "it broke after two days and support never answered .",
    "the menus are easy to use .",
    "a complete waste of money .",
]
answers = model.predict(sentences)
for sentence, mood, probability in zip(sentences, answers["mood"], answers["mood_probability"], strict=True):
    print(f"{mood:5} {probability:.0%}  {sentence}")

# %% [markdown]
# ## Where it looks

# %%
drawn = picture(model.explain(sentences), "png")
Path("attention-on-the-bytes-of-four-sentences.png").write_bytes(drawn)
