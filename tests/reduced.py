"""The six models at the reduced sizes of the golden arrays, which the original code made with random parameters.

Not concerned with the arrays themselves.
"""

from pathlib import Path

from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.published.presets import (
    AutoencoderSizes,
    ConvSizes,
    FlowSizes,
    FourierSizes,
    LanguageSizes,
    LearnedSizes,
)

GOLDENS = Path(__file__).parent / "goldens"


def imagenet(input_channels, residual):
    return PerceiverIOConfig(
        input_channels=input_channels,
        query_channels=32,
        num_latents=10,
        latent_channels=32,
        self_attends_per_block=3,
        num_blocks=2,
        self_heads=4,
        cross_qk_channels=input_channels,
        cross_v_channels=input_channels,
        decoder_qk_channels=32,
        decoder_v_channels=32,
        decoder_query_residual=residual,
    )


REDUCED = {
    "language": LanguageSizes(
        PerceiverIOConfig(
            input_channels=24,
            query_channels=24,
            num_latents=12,
            latent_channels=40,
            self_attends_per_block=3,
            cross_heads=4,
            self_heads=4,
            decoder_heads=4,
            cross_qk_channels=16,
            cross_v_channels=40,
            self_qk_channels=16,
            self_v_channels=40,
            decoder_qk_channels=16,
            decoder_v_channels=24,
            decoder_query_residual=False,
        ),
        vocabulary=262,
        length=64,
    ),
    "imagenet_fourier": FourierSizes(imagenet(29, True), resolution=(24, 24), num_bands=6, num_classes=11),
    "imagenet_learned": LearnedSizes(imagenet(24, False), image_size=(24, 24), channels=12, num_classes=11),
    "imagenet_conv": ConvSizes(imagenet(90, True), stem_channels=64, resolution=(8, 8), num_bands=6, num_classes=11),
    "optical_flow": FlowSizes(
        PerceiverIOConfig(
            input_channels=38,
            query_channels=38,
            num_latents=14,
            latent_channels=24,
            self_attends_per_block=2,
            self_heads=4,
            cross_qk_channels=38,
            cross_v_channels=38,
            decoder_qk_channels=24,
            decoder_v_channels=24,
            decoder_query_residual=False,
        ),
        image_size=(20, 28),
        patch_channels=27,
        channels=16,
        num_bands=5,
        rescale=100.0,
    ),
    "video_autoencoding": AutoencoderSizes(
        PerceiverIOConfig(
            input_channels=79,
            query_channels=38,
            num_latents=9,
            latent_channels=32,
            self_attends_per_block=2,
            self_heads=4,
            cross_qk_channels=79,
            cross_v_channels=79,
            decoder_qk_channels=32,
            decoder_v_channels=32,
            decoder_query_residual=False,
        ),
        num_frames=4,
        frame_size=(16, 16),
        patch_size=4,
        image_bands=4,
        audio_samples=192,
        samples_per_patch=16,
        audio_bands=12,
        num_classes=7,
        label_query_channels=36,
        output_channels=24,
    ),
}
