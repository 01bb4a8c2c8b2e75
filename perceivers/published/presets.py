"""DeepMind's six published models as literals: every number of every one, in one file.

The numbers are those of google-deepmind/deepmind-research, folder `perceiver`, and of arXiv 2107.14795, appendix.
Not concerned with how modules are made of them (`models.py`) nor with files of weights (`weights.py`).
"""

from dataclasses import dataclass, replace

from perceivers.core.perceiver import PerceiverIOConfig

LICENCE = "Apache-2.0 (code), CC BY 4.0 (parameters)"


@dataclass(frozen=True)
class LanguageSizes:
    """Masked bytes: learned positions added to embedded bytes, one learned query a position."""

    perceiver: PerceiverIOConfig
    vocabulary: int
    length: int


@dataclass(frozen=True)
class FourierSizes:
    """ImageNet from pixels with 2-D Fourier positions."""

    perceiver: PerceiverIOConfig
    resolution: tuple[int, int]
    num_bands: int
    num_classes: int

    @property
    def side(self) -> int:
        """The side of the square pictures that it reads, in pixels."""
        return self.resolution[0]


@dataclass(frozen=True)
class LearnedSizes:
    """ImageNet from pixels with learned positions: nothing says that they lie in a plane."""

    perceiver: PerceiverIOConfig
    image_size: tuple[int, int]
    channels: int
    num_classes: int

    @property
    def side(self) -> int:
        """The side of the square pictures that it reads, in pixels."""
        return self.image_size[0]


@dataclass(frozen=True)
class ConvSizes:
    """ImageNet from a convolutional stem with 2-D Fourier positions."""

    perceiver: PerceiverIOConfig
    stem_channels: int
    resolution: tuple[int, int]
    num_bands: int
    num_classes: int

    @property
    def side(self) -> int:
        """The side of the square pictures that it reads, in pixels."""
        return 4 * self.resolution[0]  # the stem halves twice


@dataclass(frozen=True)
class FlowSizes:
    """Optical flow: two frames as 3×3 neighbourhoods; the inputs are the queries."""

    perceiver: PerceiverIOConfig
    image_size: tuple[int, int]
    patch_channels: int
    channels: int
    num_bands: int
    rescale: float


@dataclass(frozen=True)
class AutoencoderSizes:
    """Video, sound and a label through one bottleneck. `frame_size` in pixels, `audio_samples` for the whole clip."""

    perceiver: PerceiverIOConfig
    num_frames: int
    frame_size: tuple[int, int]
    patch_size: int
    image_bands: int
    audio_samples: int
    samples_per_patch: int
    audio_bands: int
    num_classes: int
    label_query_channels: int
    output_channels: int

    @property
    def grid(self) -> tuple[int, int, int]:
        """The clip's patches: (time, height, width)."""
        return self.num_frames, self.frame_size[0] // self.patch_size, self.frame_size[1] // self.patch_size

    @property
    def audio_patches(self) -> int:
        """The number of patches of sound."""
        return self.audio_samples // self.samples_per_patch


Sizes = LanguageSizes | FourierSizes | LearnedSizes | ConvSizes | FlowSizes | AutoencoderSizes


@dataclass(frozen=True)
class Preset:
    """One published model. `hub` are the sizes of its port, where they differ from the original's."""

    name: str
    file: str
    architecture: str
    original: Sizes
    parameters: int
    gflop: int
    inputs: str
    outputs: str
    hub: Sizes | None = None

    def sizes(self, source: str) -> Sizes:
        """The sizes of one of the two sources, `original` or `hub`."""
        return self.hub if source == "hub" and self.hub is not None else self.original


def _imagenet(input_channels: int, decoder_query_residual: bool) -> PerceiverIOConfig:
    """What the three ImageNet models share."""
    return PerceiverIOConfig(
        input_channels=input_channels,
        query_channels=1024,
        num_latents=512,
        latent_channels=1024,
        self_attends_per_block=6,
        num_blocks=8,
        cross_heads=1,
        self_heads=8,
        decoder_heads=1,
        cross_qk_channels=input_channels,
        cross_v_channels=input_channels,
        decoder_qk_channels=1024,
        decoder_v_channels=1024,
        decoder_query_residual=decoder_query_residual,
    )


LANGUAGE = LanguageSizes(
    perceiver=PerceiverIOConfig(
        input_channels=768,
        query_channels=768,
        num_latents=256,
        latent_channels=1280,
        self_attends_per_block=26,
        cross_heads=8,
        self_heads=8,
        decoder_heads=8,
        cross_qk_channels=256,
        cross_v_channels=1280,
        self_qk_channels=256,
        self_v_channels=1280,
        decoder_qk_channels=256,
        decoder_v_channels=768,
        decoder_query_residual=False,
    ),
    vocabulary=262,
    length=2048,
)

FOURIER = FourierSizes(_imagenet(261, True), resolution=(224, 224), num_bands=64, num_classes=1000)

LEARNED = LearnedSizes(_imagenet(512, False), image_size=(224, 224), channels=256, num_classes=1000)

CONV = ConvSizes(_imagenet(322, True), stem_channels=64, resolution=(56, 56), num_bands=64, num_classes=1000)

FLOW = FlowSizes(
    perceiver=PerceiverIOConfig(
        input_channels=322,
        query_channels=322,
        num_latents=2048,
        latent_channels=512,
        self_attends_per_block=24,
        cross_heads=1,
        self_heads=16,
        decoder_heads=1,
        cross_qk_channels=322,
        cross_v_channels=322,
        decoder_qk_channels=512,
        decoder_v_channels=512,
        decoder_query_residual=False,
    ),
    image_size=(368, 496),
    patch_channels=27,
    channels=64,
    num_bands=64,
    rescale=100.0,
)

AUTOENCODER = AutoencoderSizes(
    perceiver=PerceiverIOConfig(
        input_channels=704,
        query_channels=1026,
        num_latents=784,
        latent_channels=512,
        self_attends_per_block=8,
        cross_heads=1,
        self_heads=8,
        decoder_heads=1,
        cross_qk_channels=704,
        cross_v_channels=704,
        decoder_qk_channels=512,
        decoder_v_channels=512,
        decoder_query_residual=False,
    ),
    num_frames=16,
    frame_size=(224, 224),
    patch_size=4,
    image_bands=32,
    audio_samples=30720,
    samples_per_patch=16,
    audio_bands=192,
    num_classes=700,
    label_query_channels=1024,
    output_channels=512,
)

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="deepmind/language-perceiver",
            file="language_perceiver_io_bytes.pickle",
            architecture="PerceiverForMaskedLM",
            original=LANGUAGE,
            parameters=201_108_230,
            gflop=121,
            inputs="text: up to 2,048 bytes of UTF-8",
            outputs="the masked bytes",
        ),
        Preset(
            name="deepmind/vision-perceiver-fourier",
            file="imagenet_fourier_position_encoding.pystate",
            architecture="PerceiverForImageClassificationFourier",
            original=FOURIER,
            parameters=48_440_627,
            gflop=406,
            inputs="image: 224×224 RGB, Fourier positions",
            outputs="one of the 1,000 classes of ImageNet",
        ),
        Preset(
            name="deepmind/vision-perceiver-learned",
            file="imagenet_learned_position_encoding.pystate",
            architecture="PerceiverForImageClassificationLearned",
            original=LEARNED,
            hub=replace(LEARNED, perceiver=_imagenet(512, True)),
            parameters=62_255_848,
            gflop=478,
            inputs="image: 224×224 RGB, learned positions",
            outputs="one of the 1,000 classes of ImageNet",
        ),
        Preset(
            name="deepmind/vision-perceiver-conv",
            file="imagenet_conv_preprocessing.pystate",
            architecture="PerceiverForImageClassificationConvProcessing",
            original=CONV,
            parameters=48_646_522,
            gflop=369,
            inputs="image: 224×224 RGB, a convolutional stem",
            outputs="one of the 1,000 classes of ImageNet",
        ),
        Preset(
            name="deepmind/optical-flow-perceiver",
            file="optical_flow_checkpoint.pystate",
            architecture="PerceiverForOpticalFlow",
            original=FLOW,
            parameters=41_057_134,
            gflop=1887,
            inputs="flow: two RGB frames, tiles of 368×496",
            outputs="a vector in pixels for every pixel",
        ),
        Preset(
            name="deepmind/multimodal-perceiver",
            file="video_autoencoding_checkpoint.pystate",
            architecture="PerceiverForMultimodalAutoencoding",
            original=AUTOENCODER,
            parameters=19_858_855,
            gflop=307,
            inputs="video: 16 RGB frames of 224×224; audio: 30,720 samples at 48 kHz",
            outputs="the video, the audio, and one of the 700 classes of Kinetics",
        ),
    )
}
