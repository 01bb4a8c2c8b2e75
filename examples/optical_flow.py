# %% [markdown]
# # Optical flow
#
# Two frames of a film go in, and for each pixel of the first comes out where it went in the second. DeepMind's model
# learned it from drawn scenes alone. Where its weights (164 MB, [from the Hub](../published.md)) cannot be
# had, a small model with random ones takes its place, whose answer means nothing.

# %%
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_image

import perceivers as pv
from perceivers import jobs, published
from perceivers.errors import BadInput
from perceivers.jobs.flow_files import colours
from perceivers.report.pictures import picture

NAME = "deepmind/optical-flow-perceiver"
try:
    model = pv.load(NAME)
    print("the published weights")
except BadInput:
    model = jobs.job(published.untrained(NAME), "a small model with random weights")
    print("the published weights are not here: a small model with random weights")

# %% [markdown]
# ## Two frames
#
# A photo, and the same with its middle moved six pixels to the right and three down: so the true flow is known.

# %%
scene = np.asarray(Image.fromarray(load_sample_image("china.jpg")).resize((192, 128)))
moved = scene.copy()
moved[35:99, 54:150] = scene[32:96, 48:144]
truth = np.zeros((128, 192, 2), np.float32)
truth[32:96, 48:144] = (6, 3)

# %% [markdown]
# ## Ask
#
# Pictures of any size are read in overlapping tiles.

# %%
found = model.flow(scene, moved)
print(f"{found.shape[0]} × {found.shape[1]} pixels, each a vector of {found.shape[2]} numbers")
print(f"mean distance to the true flow: {np.linalg.norm(found - truth, axis=-1).mean():.2f} pixels")

# %%
figure = Figure(figsize=(8, 2.2), layout="constrained")
shown = {"first frame": scene, "second frame": moved, "true flow": colours(truth), "found": colours(found)}
for axes, (title, image) in zip(figure.subplots(1, 4), shown.items(), strict=True):
    axes.imshow(image)
    axes.set_title(title, fontsize=9)
    axes.axis("off")
figure.savefig("two-frames-and-the-flow-between-them.png", dpi=110)

# %% [markdown]
# A hue is a direction, its strength a length. From the command line the ending says what is written: `.flo`,
# `.kitti.png` (16 bits), or `.png` (colours).
#
#     perceivers predict deepmind/optical-flow-perceiver a.png b.png --out flow.flo
#
# ## Where it looks

# %%
drawn = picture(model.explain([(scene, moved)]), "png")
Path("attention-on-the-first-frame.png").write_bytes(drawn)
