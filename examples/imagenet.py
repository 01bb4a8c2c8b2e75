# %% [markdown]
# # A picture's class
#
# Three of DeepMind's models name what a picture shows, one of the 1,000 classes of ImageNet. They see pixels, and
# differ in what says where a pixel is: Fourier features of its place, a vector that was learned for it, or a
# convolution before them. Where their weights (194 to 249 MB, [from the Hub](../published.md)) cannot be had,
# small models with random ones take their place, whose answers mean nothing.

# %%
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_image

import perceivers as pv
from perceivers import jobs, published
from perceivers.errors import BadInput
from perceivers.report.pictures import picture

NAMES = [f"deepmind/vision-perceiver-{kind}" for kind in ("fourier", "learned", "conv")]
try:
    models = [pv.load(name) for name in NAMES]
    print("the published weights")
except BadInput:
    models = [jobs.job(published.untrained(name), "a small model with random weights") for name in NAMES]
    print("the published weights are not here: small models with random weights")
Image.fromarray(load_sample_image("flower.jpg")).save("flower.jpg")

# %% [markdown]
# ## Ask
#
# The square in the middle of a picture is read, at 224 × 224 pixels. Names of classes come with the published weights;
# without them a class is its number.

# %%
for name, model in zip(NAMES, models, strict=True):
    answer = model.predict(["flower.jpg"]).row(0, named=True)
    best = ", ".join(f"{one['class']} {one['probability']:.1%}" for one in answer["best"][:3])
    print(f"{name.split('-')[-1]:8} {best}")

# %% [markdown]
# ## Where it looks
#
# Attention from the class back to the pixels, of the model with Fourier features.

# %%
drawn = picture(models[0].explain(["flower.jpg"]), "png")
Path("attention-on-the-pixels-of-a-flower.png").write_bytes(drawn)

# %% [markdown]
# ## Learn from it
#
#     perceivers train photos --from deepmind/vision-perceiver-conv
#
# `photos` is a folder with a folder for each of your classes: see [starting from a trained model](../starting.md).
