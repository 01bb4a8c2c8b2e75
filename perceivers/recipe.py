"""What a run does where nothing was said: one set of rules from the kind of data, rows and length to defaults.

Numbers of rows and kinds of data choose the sizes of the model and what regularises; the length of an example, how many
tokens it becomes; the kind of data, how it is shaken in training. Evidence: docs/learning.md.
Not concerned with what the numbers do, nor with how they become a configuration (`training/defaults.py`).
"""

from collections.abc import Set

# Sizes ------------------------------------------------------------------------------------------------------------
SMALL_ROWS = 500  # of train and validation together: below it, validation rows join training
SIZES = {
    "tiny": {
        "num_latents": 16,
        "latent_channels": 64,
        "self_attends": 2,
        "self_heads": 4,
        "cross_heads": 1,
        "widening_factor": 4,
    },
    "small": {
        "num_latents": 32,
        "latent_channels": 128,
        "self_attends": 4,
        "self_heads": 4,
        "cross_heads": 1,
        "widening_factor": 4,
    },
    "base": {
        "num_latents": 64,
        "latent_channels": 256,
        "self_attends": 6,
        "self_heads": 8,
        "cross_heads": 1,
        "widening_factor": 4,
    },
}
CHOSEN = ("tiny", "small")  # by the data; base only when asked for
TABLE = {"number", "category"}


def is_small(rows: int) -> bool:
    """Whether validation rows join training; `rows`: of both."""
    return rows < SMALL_ROWS


def size(rows: int, inputs: Set[str]) -> str:
    """The size for so many rows of train and validation, and inputs of these kinds."""
    return "tiny" if is_small(rows) and inputs <= TABLE else "small"


# Learning ---------------------------------------------------------------------------------------------------------
TEXT_EPOCHS = 8


def training(rows: int, learned: int, inputs: Set[str], fields: int) -> dict[str, float | bool | str]:
    """Rates, batch and what regularises, for `rows` of train and validation of which so many are `learned` from, and
    so many input fields of these kinds.
    """
    small_table = size(rows, inputs) == "tiny"
    return {
        "lr": 1e-3 if small_table else 2e-3,
        "adamw_lr": 1e-3,
        "weight_decay": 0.05,
        "batch_size": 32 if learned < 1_000 else 64 if learned < 3_000 else 128,
        "drop_path": 0.2 if learned < 1_000 else 0.1,
        "field_drop": 0.0 if fields == 1 else 0.3 if small_table else 0.1,
        "average": 0.99,
        "checkpointing": "off",
        "small": is_small(rows),
    }


def max_steps(learned: int, batch_size: int, small: bool, inputs: Set[str], targets: Set[str]) -> int:
    """More steps than this teach nothing more, or, where rows are few, only noise: numbers sooner than classes, and
    texts, whose n-grams are soon known by heart, sooner than all others.
    """
    if small and inputs <= TABLE:
        return 300 if "number" in targets else 400
    if "text" in inputs and inputs <= TABLE | {"text"}:
        return max(200, TEXT_EPOCHS * learned // batch_size)
    return max(2_000, 300 * learned // batch_size)


CLASS_LABEL_SMOOTHING = 0.05
CLASS_UNSEEN_RATE = 0.02  # in training, this share of the categories is shown as unseen
CLASS_UNBALANCED = 3  # the largest class over the smallest: from there on classes are weighted

# Tokens, by length --------------------------------------------------------------------------------------------------
TEXT_PATCH = 4  # bytes a token
TEXT_LEAST_BYTES, TEXT_MOST_BYTES = 16, 8_192
TEXT_NGRAMS = (2, 3, 4, 5)
MASKED_RATE, MASKED_LONGEST_SPAN, MASKED_MOST_ASKED = 0.15, 5, 48  # of the bytes; bytes; bytes in a window
MASKED_MOST_BYTES = 2_048
IMAGE_TOKENS = 256  # the patch is the smallest that gives at most so many for a median picture
IMAGE_PATCHES = (1, 2, 4, 8, 16, 32)
VIDEO_TOKENS = 512  # the patch is the smallest that gives at most so many for a median clip
VIDEO_PATCHES = (2, 4, 8, 16, 32)
VIDEO_USUAL_FRAMES, VIDEO_MOST_FRAMES = 16, 32  # of a clip of the median length, and of a window
AUDIO_FRAMES = 2  # of 10 ms a token
AUDIO_LOWEST_RATE, AUDIO_HIGHEST_RATE = 1_000, 16_000  # Hz: below it is a series; above is resampled, unless asked for
AUDIO_LEAST_SECONDS, AUDIO_MOST_SECONDS = 0.1, 10.0  # of a window
SERIES_TOKENS = 64  # the patch is the smallest that gives at most so many for the longest series of train
SERIES_MOST_PATCH = 4_096
EVENTS_TOKENS = 64  # of a window of `max_events`
EVENTS_MOST_WINDOWS = 16  # of a row, evenly spaced
POINTS_FEWEST, POINTS_MOST = 32, 1_024  # points that a model gets, by train's counts
POINTS_CENTRES, POINTS_NEIGHBOURS = 64, 24  # tokens of a cloud, and points of a token
FORECAST_LEAST_READ, FORECAST_MOST_READ = 64, 512  # steps that a forecast reads

# Convolutions before the cross-attend ---------------------------------------------------------------------------------
ARRAY_BLOCKS, ARRAY_MOST_AXES = 2, 2  # of arrays and pictures; of more axes they cost more than what they serve
SERIES_BLOCKS = 2
AUDIO_BLOCKS = 2

# What is shaken in training, at most ----------------------------------------------------------------------------------
TEXT_SPAN, TEXT_SPAN_DROP = 8, 0.4  # this share of the spans of so many bytes is masked
IMAGE_SHIFT, IMAGE_SCALE, IMAGE_ROTATION = 0.1, 0.1, 10.0  # of the side, of the size, in degrees
IMAGE_CONTRAST, IMAGE_BRIGHTNESS = 0.2, 0.1
AUDIO_SHIFT, AUDIO_TIMES, AUDIO_TIME, AUDIO_BAND = 0.1, 2, 0.1, 0.15  # of the length; spans, each of it; of the bands
AUDIO_PITCH = 0.1  # how much higher or faster
AUDIO_COLOUR = 0.7  # of a log-energy: each wave of a microphone's response over the bands
AUDIO_GAIN, AUDIO_CLEAN, AUDIO_NOISY = 6.0, 60.0, 10.0  # dB: louder or softer; the noise added is so far below
SERIES_JITTER, SERIES_SCALE, SERIES_SHIFT, SERIES_GAPS = 0.05, 0.15, 0.1, 0.05
SERIES_NOISE = 0.1  # where nothing else is changed
SERIES_WARP, SERIES_CROP = 0.06, 0.1  # of the length: how far a step moves; how much of either end is left out
EVENTS_DROPPED, EVENTS_UNSEEN, EVENTS_SHAKEN = 0.2, 0.02, 0.2  # of the events; of the units; of the usual gap
EVENTS_NOISE, EVENTS_SCALE, EVENTS_SHIFT = 0.05, 0.1, 0.1  # of the values, in standard deviations
ARRAY_NOISE, ARRAY_DROP = 0.1, 0.3  # standard deviations; so many of the tokens are hidden
POINTS_ANGLE = 15.0  # degrees: a small rotation
POINTS_SCALE, POINTS_JITTER, POINTS_DROP = 0.15, 0.01, 0.5  # of the size, of the size, of the points
