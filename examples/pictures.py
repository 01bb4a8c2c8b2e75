# %% [markdown]
# # Pictures
#
# Handwritten digits, real, 8 × 8 pixels, as files in a folder of classes: the form in which most people have pictures.
# The files come from a sample that scikit-learn brings along; with pictures of your own, start at *Train*.

# %%
import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import perceivers as pv
from perceivers.data.samples import load_sample

steps = int(os.environ.get("STEPS", 300))  # the tests take fewer
for row, digit in enumerate(load_sample("digits").frame.iter_rows(named=True)):
    folder = Path("digits", digit["class"])
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(digit["image"], dtype=np.uint8)).save(folder / f"{row:04}.png")

# %% [markdown]
# ## Look
#
# Every pixel becomes an input element; nothing is resized.

# %%
for field in pv.inspect("digits").fields:
    print(f"{field.name:6} {field.modality:9} {field.role:7} {field.reason}")

# %% [markdown]
# ## Train
#
# Training, choosing and testing happen on different pictures. The interval is for the test pictures.

# %%
model = pv.fit("digits", steps=steps, out="model")
accuracy = model.metrics["class"]["accuracy"]
print(f"right in {accuracy['value']:.1%} of {model.metrics['class']['n']} test pictures")
print(f"95 % interval: {accuracy['low']:.1%} to {accuracy['high']:.1%}")

# %% [markdown]
# ## Use
#
# A list of files in, a table out.

# %%
files = sorted(str(path) for path in Path("digits").rglob("*.png"))[:: 1797 // 5]
answers = model.predict(files)
for file, name, probability in zip(files, answers["class"], answers["class_probability"], strict=True):
    print(f"{Path(file).parent.name} is read as {name} ({probability:.0%})")

# %% [markdown]
# ## Where it looks
#
# Attention from the answer back to the pixels, drawn on the picture.

# %%
figure = Figure(figsize=(7, 3.1), layout="constrained")
for column, file in zip(figure.subplots(2, len(files)).T, files, strict=True):
    column[0].imshow(Image.open(file), cmap="gray")
    column[0].axis("off")
    explained = model.explain([file])[0]
    explained.fields[0].shaded().draw(column[1])
    column[1].set_title(explained.answer["class"])
figure.savefig("attention-on-the-pixels-of-six-digits.png", dpi=110)
