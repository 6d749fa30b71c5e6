"""Sizes of the networks as data, those of the published checkpoint by default."""

import dataclasses
from dataclasses import dataclass

LATENT_STRIDE = (4, 8, 8)  # video frames, rows and columns of one latent


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_positive(config: object) -> None:
    """Every whole number and every number of a tuple of whole numbers is at least one."""
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if type(number) is int and number < 1:
                raise ValueError(f"{type(config).__name__}.{field.name} is {value}, not positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTConfig:
    """Sizes of the diffusion transformer with its audio layers."""

    dim: int = 5120
    ffn_dim: int = 13824
    heads: int = 40
    layers: int = 40
    frequency_dim: int = 256
    text_dim: int = 4096
    text_tokens: int = 512
    image_dim: int = 1280
    image_tokens: int = 257
    in_channels: int = 36
    out_channels: int = 16
    patch: tuple[int, int, int] = (1, 2, 2)
    eps: float = 1e-6
    audio_window: int = 5
    audio_layers: int = 12
    audio_channels: int = 768
    audio_hidden: int = 512
    audio_dim: int = 768
    audio_tokens: int = 32
    frames_per_latent: int = 4
    class_range: int = 24
    class_interval: int = 4

    def __post_init__(self) -> None:
        _require_positive(self)
        _require(self.dim % (2 * self.heads) == 0, f"dim {self.dim} is no multiple of 2 x heads")
        _require(self.audio_window % 2 == 1, f"audio_window {self.audio_window} is even")
        _require(self.frequency_dim % 2 == 0, f"frequency_dim {self.frequency_dim} is odd")
        _require(self.patch[0] == 1, f"patch {self.patch} joins latent frames")

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    def token_grid(self, frames: int, height_px: int, width_px: int) -> tuple[int, int, int]:
        """The frames, rows and columns of tokens of a video."""
        _, rows, columns = self.patch
        return (
            (frames - 1) // LATENT_STRIDE[0] + 1,
            height_px // LATENT_STRIDE[1] // rows,
            width_px // LATENT_STRIDE[2] // columns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VAEConfig:
    """Sizes of the causal video VAE, and the statistics that normalise its latents."""

    dim: int = 96
    latent_channels: int = 16
    dim_multipliers: tuple[int, ...] = (1, 2, 4, 4)
    res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    mean: tuple[float, ...] = (
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    )  # fmt: skip
    std: tuple[float, ...] = (
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    )  # fmt: skip

    def __post_init__(self) -> None:
        _require_positive(self)
        levels = len(self.dim_multipliers) - 1
        _require(
            len(self.temporal_downsample) == levels,
            f"{len(self.temporal_downsample)} temporal_downsample flags for {levels} levels",
        )
        for name in ("mean", "std"):
            values = getattr(self, name)
            _require(
                len(values) == self.latent_channels,
                f"{len(values)} values of {name} for {self.latent_channels} channels",
            )
        _require(min(self.std) > 0, f"std {min(self.std)} is not positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """Sizes of the umT5 encoder."""

    vocabulary: int = 256384
    dim: int = 4096
    attention_dim: int = 4096
    ffn_dim: int = 10240
    heads: int = 64
    layers: int = 24
    buckets: int = 32
    tokens: int = 512
    eps: float = 1e-6

    def __post_init__(self) -> None:
        _require_positive(self)
        _require(
            self.attention_dim % self.heads == 0,
            f"attention_dim {self.attention_dim} is no multiple of {self.heads} heads",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipConfig:
    """Sizes of the CLIP visual tower; layers counts the published blocks, the last is not run."""

    image_px: int = 224
    patch_px: int = 14
    dim: int = 1280
    mlp_ratio: int = 4
    heads: int = 16
    layers: int = 32
    eps: float = 1e-5
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def __post_init__(self) -> None:
        _require_positive(self)
        _require(self.dim % self.heads == 0, f"dim {self.dim} is no multiple of {self.heads} heads")
        _require(
            self.image_px % self.patch_px == 0,
            f"{self.image_px} px are no multiple of {self.patch_px} px patches",
        )

    @property
    def tokens(self) -> int:
        return (self.image_px // self.patch_px) ** 2 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wav2VecConfig:
    """Sizes of wav2vec2, under the names of the published config.json."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    conv_dim: tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    feat_extract_norm: str = "group"
    feat_extract_activation: str = "gelu"
    conv_bias: bool = False
    do_stable_layer_norm: bool = False
    hidden_act: str = "gelu"
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _require_positive(self)
        _require(
            len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride),
            "conv_dim, conv_kernel and conv_stride differ in length",
        )
        _require(
            self.feat_extract_norm == "group" and not self.do_stable_layer_norm,
            "only wav2vec2 with one group norm and norms after each layer is supported",
        )
        _require(
            self.feat_extract_activation == self.hidden_act == "gelu" and not self.conv_bias,
            "only wav2vec2 with GELU and convolutions without bias is supported",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes of all the networks; by default those of the published checkpoint."""

    dit: DiTConfig = dataclasses.field(default_factory=DiTConfig)
    vae: VAEConfig = dataclasses.field(default_factory=VAEConfig)
    text: TextConfig = dataclasses.field(default_factory=TextConfig)
    clip: ClipConfig = dataclasses.field(default_factory=ClipConfig)
    wav2vec: Wav2VecConfig = dataclasses.field(default_factory=Wav2VecConfig)

    def __post_init__(self) -> None:
        dit = self.dit
        pairs = (
            ("image features", dit.image_dim, self.clip.dim),
            ("image tokens", dit.image_tokens, self.clip.tokens),
            ("text features", dit.text_dim, self.text.dim),
            ("text tokens", dit.text_tokens, self.text.tokens),
            ("audio channels", dit.audio_channels, self.wav2vec.hidden_size),
            ("audio layers", dit.audio_layers, self.wav2vec.num_hidden_layers),
            ("latent channels", dit.out_channels, self.vae.latent_channels),
            (
                "input channels",
                dit.in_channels,
                2 * self.vae.latent_channels + dit.frames_per_latent,
            ),
        )
        for name, wanted, given in pairs:
            _require(wanted == given, f"{name}: the transformer takes {wanted}, given {given}")
