# %% [markdown]
# # A clip with sound, through a bottleneck
#
# DeepMind's autoencoder reads 16 frames and their sound, keeps 784 latents of them, and rebuilds both, at once with
# the class of what is seen: the label is always masked, so asking for it is guessing. Where its weights (79 MB, [from
# the Hub](../published.md)) cannot be had, a small model with random ones takes its place, whose answer means nothing.
# Clips need the extra `[video]`.

# %%
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import perceivers as pv
from perceivers import clips, jobs, published
from perceivers.errors import BadInput
from perceivers.report.pictures import picture

NAME = "deepmind/multimodal-perceiver"
try:
    model = pv.load(NAME)
    print("the published weights")
except BadInput:
    model = jobs.job(published.untrained(NAME), "a small model with random weights")
    print("the published weights are not here: a small model with random weights")

# %% [markdown]
# ## A clip
#
# A disc that swings from side to side, with a tone that rises and falls as it moves: 16 frames at 25 a second.

# %%
frames, rate = 16, 48_000
place = 32 + 20 * np.sin(2 * np.pi * np.arange(frames) / frames)
y, x = np.mgrid[:64, :64]
disc = (np.hypot(x - place[:, None, None], y - 32) < 10)[..., None]
film = np.where(disc, (230, 90, 40), (30, 40, 70)).astype(np.uint8)
time = np.arange(frames * rate // 25) / rate
tone = 0.3 * np.sin(2 * np.pi * 440 * time + 30 * np.sin(2 * np.pi * time / 0.64))
clips.write(Path("clip.mp4"), film, 25, tone[:, None].astype(np.float32), rate)

# %% [markdown]
# ## Through the model and back
#
# The rebuilt clip has the same length: frame by frame and sample by sample it is where it was.

# %%
model.check_out(Path("out.mp4"))
said, failed = model.predict_to(model.written(["clip.mp4"]), Path("out.mp4"))
print(said)
before, after = (clips.header(Path(name)) for name in ("clip.mp4", "out.mp4"))
print(
    f"{before.seconds:.2f} s at {before.rate:g} frames a second before, {after.seconds:.2f} s at {after.rate:g} after"
)

# %%
limits = clips.Limits(10_000_000, 60)
both = [clips.frames(Path(name), 25, limits, lambda frame: frame) for name in ("clip.mp4", "out.mp4")]
figure = Figure(figsize=(8, 2.8), layout="constrained")
for row, (title, film_) in zip(figure.subplots(2, 6), zip(("clip", "rebuilt"), both, strict=True), strict=True):
    for axes, frame in zip(row, film_[::3], strict=True):
        axes.imshow(frame)
        axes.axis("off")
    row[0].set_title(title, fontsize=9)
figure.savefig("frames-of-a-clip-and-as-it-was-rebuilt.png", dpi=110)

# %% [markdown]
# ## Where the label looks

# %%
drawn = picture(model.explain(["clip.mp4"]), "png")
Path("attention-of-the-label-on-a-few-frames.png").write_bytes(drawn)
