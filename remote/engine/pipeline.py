"""From a picture and voices to frames: the whole run, window by window.

Axes: T video frames, F latent frames, H W rows and columns in pixels, h w those of the latents,
C channels of the latents.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from remote.engine.config import LATENT_STRIDE, ModelConfig
from remote.engine.features import FeatureStore, MemoryStore, cached, feature_name
from remote.engine.kernels.attention import AttentionBackend, choose_backend
from remote.engine.kernels.operations import Operations
from remote.engine.kernels.select import choose_operations
from remote.engine.kernels.select8 import IN_16_BITS, TierKernels
from remote.engine.networks.audio import cover_frames, normalize_wave, window_features
from remote.engine.networks.dit import Condition, DiT, Keys, TimeEmbedding
from remote.engine.networks.fused import SharedStart
from remote.engine.networks.halfvae import HalfVAE
from remote.engine.networks.image import ImageEncoder, fit_picture, to_signed
from remote.engine.networks.labels import PersonRegions
from remote.engine.networks.memory import workload
from remote.engine.networks.vae import VAE
from remote.engine.networks.wav2vec import VoiceEncoder, embed_voice
from remote.engine.request import (
    ClipWindow,
    Event,
    Progress,
    RenderRequest,
    Resume,
    StepFinished,
    WindowFinished,
)
from remote.engine.sampling.cache import Residuals, plan_steps
from remote.engine.sampling.color import match_color
from remote.engine.sampling.guards import check_finite, check_frames, check_latents
from remote.engine.sampling.guidance import Branch, Guide
from remote.engine.sampling.masks import (
    box_masks,
    check_classes,
    half_masks,
    latent_masks,
    token_masks,
)
from remote.engine.sampling.sampler import ForwardDone, NoiseSource, Predict, sample, seeded_noise
from remote.engine.sampling.schedule import renoised

_ANCHORED_FRAMES = 16  # at a time
_SAMPLED_FRAMES = 4  # of each window, kept as they were before anchoring
_GUARDED_STEPS = 2  # the first estimate that is checked, before most of the time is spent
_KEPT_PICTURES = 4  # whose latents stay in memory, 8 MB each at 896x448

EncodeText = Callable[[Tensor, Tensor], Tensor]  # ids, mask [tokens] -> states [tokens, dim]


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The loaded networks of one checkpoint, all on one device.

    text may be a function that reads the encoder when a prompt is new.
    revision: names the weights; features kept for other weights are not used.
    """

    config: ModelConfig
    dit: DiT
    vae: VAE
    image: ImageEncoder
    wav2vec: VoiceEncoder
    text: EncodeText
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedInputs:
    """A request's picture, voices and prompts, encoded; the same for all windows.

    picture: [3, H, W] float32 in -1..1. voices: per person [T, layers, channels] float32.
    token_masks: [3, rows, columns], for two persons.
    """

    request: RenderRequest
    picture: Tensor
    voices: tuple[Tensor, ...]
    token_masks: Tensor | None
    prompt: Tensor
    negative: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Inputs that all windows of a video share."""

    prepared: EncodedInputs
    times: Tensor
    embeddings: tuple[TimeEmbedding, ...]
    computed: tuple[bool, ...]
    regions: PersonRegions | None
    prompt: Keys
    negative: Keys | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """The start of one window.

    conditioning: [4 + C, F, h, w]; motion: [C, known latent frames, h, w] after the first window.
    """

    conditioning: Tensor
    motion: Tensor | None
    conditions: dict[Branch, Condition]


class Engine:
    """Holds the networks between videos and makes videos of requests."""

    def __init__(
        self,
        networks: Networks,
        *,
        backend: AttentionBackend | None = None,
        operations: Operations | None = None,
        kernels8: TierKernels = IN_16_BITS,
        features: FeatureStore | None = None,
        noise: Callable[[int], NoiseSource] = seeded_noise,
    ) -> None:
        """backend, operations: None chooses by small runs. noise: seed -> source, for tests.

        kernels8: of the tier that the transformer was loaded for.
        """
        self.networks = networks
        self.kernels8 = kernels8
        self.device = networks.dit.patch_embedding.weight.device
        self.vae: VAE | HalfVAE = networks.vae
        self.operations = operations or choose_operations(
            self.device, networks.dit.dtype, networks.config.dit
        )
        if self.device.type == "cuda" and networks.dit.dtype != torch.float32:
            self.vae = HalfVAE(networks.vae, self.operations.norm_silu, kernels8.convolve)
        if backend is None:
            head_dim = networks.config.dit.head_dim
            backend = choose_backend(self.device, networks.dit.dtype, head_dim)
        self.attend_with(backend)
        self._features = MemoryStore() if features is None else features
        # A picture can be made of its latents again: they end with this process.
        self._pictures = MemoryStore(_KEPT_PICTURES)
        self._noise = noise

    def attend_with(self, backend: AttentionBackend) -> None:
        """Uses this kernel in every video from now on."""
        self.backend = backend
        dit = self.networks.dit
        dit.backend = backend
        kernels8 = self.kernels8
        is_fast = self.device.type == "cuda" and dit.dtype == torch.bfloat16
        if is_fast or not kernels8.tier.is_exact:
            dit.fuse(self.operations, backend, kernels8.operations, kernels8.attention)

    def run(self, request: RenderRequest, resume: Resume | None = None) -> Iterator[Event]:
        """Makes the video; closing the iterator stops it after at most one more forward."""
        yield Progress(stage="prepare", done=0, total=1)
        prepared = self.prepare(request)
        yield Progress(stage="prepare", done=1, total=1)
        yield from self.render(prepared, resume)

    @torch.inference_mode()
    def prepare(self, request: RenderRequest) -> EncodedInputs:
        """Encodes what does not change between windows.

        Raises ValueError, before any network runs, for persons that cannot be told apart.
        """
        masks = self._token_masks(request)
        size = (request.height_px, request.width_px)
        fitted = fit_picture(request.picture.cpu(), *size)
        return EncodedInputs(
            request=request,
            picture=to_signed(fitted).to(self.device),
            voices=tuple(self._voice(voice, request) for voice in request.voices),
            token_masks=masks,
            prompt=self._text(request.prompt_ids),
            negative=self._text(request.negative_ids),
        )

    def render(self, prepared: EncodedInputs, resume: Resume | None = None) -> Iterator[Event]:
        """Yields progress and every window's frames, from the first or after resume."""
        request = prepared.request
        plan = self._plan(prepared)
        first, known = 0, prepared.picture[:, None]
        if resume is not None:
            first, known = resume.window, self._resumed_motion(resume, request)
        for index in range(first, len(request.windows)):
            window = yield from self._window(plan, index, known, is_guarded=index == first)
            known = window.motion
            yield window

    @torch.inference_mode()
    def first_step(self, request: RenderRequest) -> dict[Branch, Tensor]:
        """The velocity [C, F, h, w] of each branch in the first step of the first window."""
        prepared = self.prepare(request)
        plan = self._plan(prepared)
        scene = self._scene(plan, 0, prepared.picture[:, None])
        channels = self.networks.config.dit.out_channels
        noise = self._noise(request.seed)(0)((channels, *scene.conditioning.shape[1:]))
        predict = self._predict(plan, scene)
        return {
            branch: predict(branch, 0, noise.to(self.device))
            for branch in request.guidance.branches
        }

    @torch.inference_mode()
    def velocities(self, prepared: EncodedInputs) -> Iterator[tuple[int, Branch, Tensor]]:
        """Step, branch and velocity [C, F, h, w] of all branches in every step of the first window.

        Each step starts from the clean latents of the picture, noised to its time.
        """
        plan = self._plan(prepared)
        scene = self._scene(plan, 0, prepared.picture[:, None])
        clean, predict = scene.conditioning[LATENT_STRIDE[0] :], self._predict(plan, scene)
        noise = self._noise(prepared.request.seed)(0)(tuple(clean.shape)).to(clean)
        for step, t in enumerate(plan.times[:-1].tolist()):
            latents = renoised(clean, noise, t)
            for branch in scene.conditions:
                yield step, branch, predict(branch, step, latents)

    def _window(
        self, plan: _Plan, index: int, known: Tensor, is_guarded: bool
    ) -> Generator[Event, None, WindowFinished]:
        """Makes one window's frames after those known."""
        yield Progress(stage="encode", done=0, total=1, window=index)
        scene = self._scene(plan, index, known)
        yield Progress(stage="encode", done=1, total=1, window=index)
        latents = yield from self._denoise(plan, index, scene, is_guarded)
        frames = yield from self._decode(latents, index)
        new = _new_frames(plan.prepared.request, index)
        places = torch.linspace(new.start, new.stop - 1, _SAMPLED_FRAMES).round().long()
        unanchored = frames[:, places.to(frames.device)].float()
        frames = self._anchored(plan, frames)
        check_frames(frames[:, new.start :], plan.prepared.picture, f"window {index + 1}")
        return WindowFinished(
            window=index,
            frames=frames[:, new],
            motion=frames[:, -plan.prepared.request.motion_frames :].clone(),
            unanchored=unanchored,
        )

    def _denoise(
        self, plan: _Plan, index: int, scene: _Scene, is_guarded: bool
    ) -> Generator[Event, None, Tensor]:
        """The clean latents of one window, [C, F, h, w]."""
        request = plan.prepared.request
        shape = tuple(scene.conditioning.shape[1:])
        channels = self.networks.config.dit.out_channels
        total = request.forwards
        guarded_step = min(_GUARDED_STEPS, request.steps) - 1 if is_guarded else None
        done = 0
        latents = scene.conditioning
        for event in sample(
            self._predict(plan, scene),
            plan.times,
            Guide(guidance=request.guidance),
            self._noise(request.seed)(index),
            (channels, shape[0], shape[1], shape[2]),
            scene.motion,
        ):
            if isinstance(event, ForwardDone):
                done += 1
                yield Progress(stage="denoise", done=done, total=total, window=index)
                continue
            if not self.kernels8.tier.is_exact:
                check_finite(event.latents, f"window {index + 1}, step {event.step + 1}")
            if event.step == guarded_step:
                self._check_estimate(event.estimate, plan.prepared.picture, event.step)
            latents = event.latents
            yield StepFinished(window=index, step=event.step, steps=request.steps)
        check_latents(latents, f"window {index + 1}")
        return latents

    def _decode(self, latents: Tensor, index: int) -> Generator[Event, None, Tensor]:
        """The video of clean latents [C, F, h, w]."""
        chunks: list[Tensor] = []
        done, total = 0, latents.shape[1] * LATENT_STRIDE[0] - LATENT_STRIDE[0] + 1
        for chunk in self.vae.decode_chunks(latents[None]):
            chunks.append(chunk[0])
            done += chunk.shape[2]
            yield Progress(stage="decode", done=done, total=total, window=index)
        return torch.cat(chunks, dim=1)

    @torch.inference_mode()
    def _plan(self, prepared: EncodedInputs) -> _Plan:
        request, dit = prepared.request, self.networks.dit
        times = request.step_times().to(self.device)
        embeddings = tuple(dit.embed_time(t[None]) for t in times[:-1])
        is_negative_used = any(
            branch.is_negative for branch in request.guidance.branches_of(request.steps)
        )
        return _Plan(
            prepared=prepared,
            times=times,
            embeddings=embeddings,
            computed=tuple(plan_steps(request.cache, (each.blocks for each in embeddings))),
            regions=(
                None
                if prepared.token_masks is None
                else dit.regions(prepared.token_masks.to(self.device))
            ),
            prompt=dit.text_keys(prepared.prompt),
            negative=dit.text_keys(prepared.negative) if is_negative_used else None,
        )

    @torch.inference_mode()
    def _scene(self, plan: _Plan, index: int, known: Tensor) -> _Scene:
        """known: [3, K, H, W], the frames that the window starts with."""
        window = plan.prepared.request.windows[index]
        conditioning = self._conditioning(known, window.frames, index)
        fixed = _latent_frames(known.shape[1])
        return _Scene(
            conditioning=conditioning,
            motion=conditioning[LATENT_STRIDE[0] :, :fixed] if index > 0 else None,
            conditions=self._conditions(plan, window, self._image_features(known[:, -1], index)),
        )

    def _conditioning(self, known: Tensor, frames: int, index: int) -> Tensor:
        """The mask of the known latent frames and the latents of the known pixels.

        known: [3, K, H, W]. Returns [4 + C, F, h, w]; what is not known is grey.
        """
        video = known.new_zeros(3, frames, *known.shape[2:])
        video[:, : known.shape[1]] = known
        latents = self._latents(video, index)
        mask = latents.new_zeros(LATENT_STRIDE[0], *latents.shape[1:])
        mask[:, : _latent_frames(known.shape[1])] = 1
        return torch.cat((mask, latents), dim=0)

    def _latents(self, video: Tensor, index: int) -> Tensor:
        """video: [3, T, H, W]. Latents of the first window, of a picture alone, are kept."""
        if index > 0:
            return self.vae.encode(video[None])[0]
        content = f"{tuple(video.shape)}".encode() + video[:, 0].cpu().numpy().tobytes()
        name = feature_name("latents", self.networks.revision, content)
        latents = cached(self._pictures, name, lambda: self.vae.encode(video[None])[0].cpu())
        return latents.to(self.device)

    def _conditions(
        self, plan: _Plan, window: ClipWindow, image_features: Tensor
    ) -> dict[Branch, Condition]:
        """Each branch's keys and values; "no voice" is one zero stream, as published."""
        dit, size = self.networks.dit, self.networks.config.dit.audio_window
        request = plan.prepared.request
        audio = torch.stack(
            [
                window_features(voice, window.start, window.frames, size)
                for voice in plan.prepared.voices
            ]
        ).to(self.device)
        image = dit.image_keys(image_features)
        branches = request.guidance.branches_of(request.steps)
        work = workload(dit.config, window.frames, request.height_px, request.width_px)
        voiced = dit.audio_keys(audio, work)
        silent = voiced
        if not all(branch.is_voiced for branch in branches):
            silent = dit.audio_keys(torch.zeros_like(audio[:1]), work)
        return {
            branch: Condition(
                text=plan.negative if branch.is_negative and plan.negative else plan.prompt,
                image=image,
                audio=voiced if branch.is_voiced else silent,
                regions=plan.regions if branch.is_voiced else None,
            )
            for branch in branches
        }

    def _predict(self, plan: _Plan, scene: _Scene) -> Predict:
        """The function that runs one branch of one step."""
        dit, residuals, shared = self.networks.dit, Residuals(), SharedStart()
        request = plan.prepared.request
        skipped = _unread_frames(request, scene.motion)

        @torch.inference_mode()
        def predict(branch: Branch, step: int, latents: Tensor) -> Tensor:
            time, rotation = plan.embeddings[step], dit.rotation(latents)
            shared.begin(latents)

            def run(x: Tensor) -> Tensor:
                condition = scene.conditions[branch]
                return dit.run_blocks(x, time, condition, rotation, shared, skipped)

            x = dit.embed_latents(latents, scene.conditioning)
            if request.cache is None:
                x = run(x)
            else:
                x = residuals.run(branch, x, plan.computed[step], run)
            return dit.velocity(x, time, dit.grid(latents))

        return predict

    @torch.inference_mode()
    def _anchored(self, plan: _Plan, frames: Tensor) -> Tensor:
        """Frames [3, T, H, W] in the picture's colours, a few at a time to save memory."""
        strength = plan.prepared.request.color_strength
        pieces = frames.split(_ANCHORED_FRAMES, dim=1)
        return torch.cat(
            [match_color(piece, plan.prepared.picture, strength) for piece in pieces], dim=1
        )

    @torch.inference_mode()
    def _check_estimate(self, estimate: Tensor, picture: Tensor, step: int) -> None:
        """Checks the latents, and one decoded frame."""
        where = f"after step {step + 1}"
        check_latents(estimate, where)
        check_frames(self.vae.decode(estimate[None, :, -1:])[0], picture, where)

    def _token_masks(self, request: RenderRequest) -> Tensor | None:
        """The persons' masks on the token grid, or None for one person."""
        if len(request.voices) == 1:
            return None
        height, width = request.picture.shape[1:]
        masks = (
            half_masks(height, width)
            if request.boxes is None
            else box_masks(height, width, request.boxes)
        )
        _, rows, columns = self.networks.config.dit.patch
        on_latents = latent_masks(masks, (request.height_px, request.width_px))
        on_tokens = token_masks(on_latents, (rows, columns))
        check_classes(on_tokens)
        return on_tokens

    def _voice(self, wave: Tensor | None, request: RenderRequest) -> Tensor:
        """One person's features for all windows; after the wave there is silence."""
        frames = request.windows[-1].end
        normal = torch.zeros(0) if wave is None else normalize_wave(wave)
        return embed_voice(self.networks.wav2vec, cover_frames(normal, frames, request.fps), frames)

    def _text(self, ids: tuple[int, ...]) -> Tensor:
        tokens = torch.tensor(ids, dtype=torch.int64, device=self.device)
        name = feature_name("text", self.networks.revision, ",".join(map(str, ids)).encode())
        states = cached(
            self._features, name, lambda: self.networks.text(tokens, torch.ones_like(tokens))
        )
        return states.to(self.device)

    def _image_features(self, pixels: Tensor, index: int) -> Tensor:
        """pixels: [3, H, W]; the first window's picture may be kept from an earlier video."""
        if index > 0:
            return self.networks.image(pixels[None])
        content = f"{tuple(pixels.shape)}".encode() + pixels.cpu().numpy().tobytes()
        name = feature_name("image", self.networks.revision, content)
        features = cached(self._features, name, lambda: self.networks.image(pixels[None]))
        return features.to(self.device)

    def _resumed_motion(self, resume: Resume, request: RenderRequest) -> Tensor:
        wanted = (3, request.motion_frames, request.height_px, request.width_px)
        if tuple(resume.motion.shape) != wanted:
            raise ValueError(f"motion {tuple(resume.motion.shape)}, not {wanted}")
        if not 0 < resume.window <= len(request.windows):
            raise ValueError(f"window {resume.window} of {len(request.windows)} cannot be resumed")
        return resume.motion.to(self.device, torch.float32)


def to_bytes(frames: Tensor) -> Tensor:
    """Frames [3, T, H, W] in -1..1 as uint8 [T, H, W, 3], fractions cut as published."""
    levels = (frames.float().clamp(-1, 1) + 1) / 2 * 255
    return levels.to(torch.uint8).permute(1, 2, 3, 0).contiguous()


def _new_frames(request: RenderRequest, index: int) -> slice:
    """Which of a window's frames the video gets: those after the motion frames, to its end."""
    window = request.windows[index]
    first = 0 if index == 0 else request.motion_frames
    return slice(first, min(window.frames, request.frames - window.start))


def _unread_frames(request: RenderRequest, motion: Tensor | None) -> int:
    """The number of leading latent frames whose velocities are unused: motion is noised again.

    Projected guidance measures the whole of them; the step cache keeps every token.
    """
    if motion is None or request.cache is not None or request.guidance.projection is not None:
        return 0
    return motion.shape[1]


def _latent_frames(frames: int) -> int:
    return (frames - 1) // LATENT_STRIDE[0] + 1
