# %% [markdown]
# # A modality of your own
#
# Directions are not numbers: 359° is next to 1°, yet as numbers they are as far apart as can be. Here is a kind of data
# that knows this, complete, in one file. The measurements are **generated**: a wind turbine whose power depends on
# where the wind comes from, with a mountain in the north.

# %%
import html
import os
from dataclasses import replace

import numpy as np
import polars as pl
import torch
from einops import rearrange
from matplotlib.figure import Figure
from torch import nn

import perceivers as pv
from perceivers.errors import Unreadable
from perceivers.modalities import MODALITIES
from perceivers.modalities.base import Inputs, Modality, PerField, is_missing

HARMONICS = 3

# %% [markdown]
# ## From a part of the batch to an array
#
# The module that the Perceiver's input comes from: sines and cosines of the angle and its multiples, which close the
# circle, and one vector to stand for a missing angle. One element for each angle, so m = 1.


# %%
class AngleInput(nn.Module):
    """{"degrees", "present"} (b 1) → (b 1 c), and its mask."""

    def __init__(self, channels):
        super().__init__()
        self.embed = nn.Linear(2 * HARMONICS, channels)
        self.missing = nn.Parameter(torch.zeros(channels))

    def forward(self, part):
        angles = torch.deg2rad(part["degrees"]) * torch.arange(1, HARMONICS + 1, device=part["degrees"].device)
        known = self.embed(torch.cat([angles.sin(), angles.cos()], dim=-1))
        array = torch.where(part["present"], known, self.missing)
        return rearrange(array, "b c -> b 1 c"), torch.ones_like(part["present"])


# %% [markdown]
# ## The modality
#
# What happens to a cell: read, made into tensors, made missing in training so that missing ones are known, drawn for a
# person, and turned into plain features for the simple models that every run is compared with.


# %%
class Angle(Modality):
    """Directions in degrees. An example is a float in [0, 360), None where missing."""

    name = "angle"

    def fit(self, field, cells):
        return {}

    def read(self, field, cell):
        if is_missing(cell):
            return None
        try:
            return float(cell) % 360
        except (TypeError, ValueError):
            raise Unreadable(f"{str(cell)[:60]!r} came, expected an angle in degrees") from None

    def collate(self, field, examples):
        degrees = torch.tensor([[0.0 if angle is None else angle] for angle in examples])
        return {"degrees": degrees, "present": torch.tensor([[angle is not None] for angle in examples])}

    def drop(self, field, part, rows):
        return {**part, "present": part["present"] & ~rows[:, None]}

    def inputs(self, fields, channels) -> Inputs:
        return PerField({field.name: AngleInput(channels) for field in fields})

    def draw(self, field, cell):
        return html.escape("–" if is_missing(cell) else f"{cell}°")

    def baseline(self, field):
        from sklearn.preprocessing import FunctionTransformer

        return FunctionTransformer(circle)


def circle(angles):
    """Sine and cosine, zeros where missing."""
    known = np.array([np.nan if angle is None else np.deg2rad(angle) for angle in angles])
    return np.nan_to_num(np.column_stack([np.sin(known), np.cos(known)]))


MODALITIES["angle"] = Angle()

# %% [markdown]
# That is all: a name is a key in a dict. From here on, a schema may say `modality: angle`.
#
# ## Use it

# %%
steps = int(os.environ.get("STEPS", 300))  # the tests take fewer
random = np.random.default_rng(0)
direction = random.uniform(0, 360, 300).round()
speed = random.uniform(3, 12, 300).round(1)
behind_the_mountain = np.exp(-(((direction + 180) % 360 - 180) ** 2) / (2 * 25**2))
power = 100 * speed * (1 - 0.8 * behind_the_mountain) + random.normal(0, 30, 300)
frame = pl.DataFrame({"direction": direction, "speed": speed, "power": power.round()})

guessed = pv.inspect(frame, target="power")
models = {}
for kind in ("number", "angle"):
    schema = guessed.replace(replace(guessed["direction"], modality=kind))
    models[kind] = pv.fit(frame, schema=schema, size="tiny", steps=steps, out=kind)
    r2 = models[kind].metrics["power"]["r2"]
    print(f"direction as {kind:7} explains {r2['value']:.1%} (95 %: {r2['low']:.1%} to {r2['high']:.1%})")

# %% [markdown]
# What each model believes about wind of 8 m/s from all directions:

# %%
around = pl.DataFrame({"direction": np.arange(-180.0, 181, 4) % 360, "speed": 8.0})
figure = Figure(figsize=(7, 3), layout="constrained")
axes = figure.subplots()
x = np.arange(-180, 181, 4)
axes.plot(x, 800 * (1 - 0.8 * np.exp(-(x**2) / (2 * 25**2))), color="#b9c2cf", linewidth=5, label="planted")
for kind, colour in (("number", "#c4561b"), ("angle", "#2866c8")):
    axes.plot(x, models[kind].predict(around)["power"], color=colour, label=f"as {kind}")
axes.set(xlabel="direction of the wind, 0 is north", ylabel="power", xticks=np.arange(-180, 181, 60))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
figure.savefig("power-over-the-direction-of-the-wind.png", dpi=110)

# %% [markdown]
# A model that is loaded in another program needs the same line before `pv.load`: code never comes from data, so the
# folder of a model does not bring any. The contract in full stands on the page about new modalities.
