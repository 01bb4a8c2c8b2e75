# %% [markdown]
# # Masked words
#
# DeepMind's language model reads bytes, not words: each `<mask>` is one byte that it fills in. This is what the
# notebook that came with the paper does, in one call. The model has 201 million weights (804 MB, [from the
# Hub](../published.md)); where it cannot be had, a small one with random weights takes its place, whose answers mean
# nothing.

# %%
from pathlib import Path

import perceivers as pv
from perceivers import jobs, published
from perceivers.errors import BadInput
from perceivers.published.text import mask
from perceivers.report.pictures import picture

NAME = "deepmind/language-perceiver"
try:
    model = pv.load(NAME)
    print("the published weights")
except BadInput:
    model = jobs.job(published.untrained(NAME), "a small model with random weights")
    print("the published weights are not here: a small model with random weights")

# %% [markdown]
# ## Ask
#
# Nine bytes are masked, " missing." of the original sentence. `mask` writes them. Of what could stand there, the five
# likeliest are given; a byte that is no letter by itself is written as such, `\xe9`.

# %%
sentence = mask("This is an incomplete sentence where some words are missing.", " missing.")
print(sentence)
answer = model.predict([sentence]).row(0, named=True)
print(answer["filled"])
for fill in answer["fills"][0]:
    print(f"{fill['probability']:.2g}  {fill['fill']}")

# %% [markdown]
# ## Where it looks
#
# Attention from the masked bytes back to the bytes that are read.

# %%
drawn = picture(model.explain([sentence]), "png")
Path("attention-on-the-bytes-of-a-sentence.png").write_bytes(drawn)

# %% [markdown]
# ## Learn from it
#
# The same model is a [start](../starting.md) for labels of your own: its encoder then reads your texts as it read
# those that it learned from.
#
#     perceivers train reviews.csv --target stars --from deepmind/language-perceiver
