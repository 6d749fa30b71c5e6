"""The video VAE against recorded tensors, and its promises about chunks, layout and types."""

import pytest
import torch

from remote.engine.checkpoint.published import PublishedWeights, build, load_module
from remote.engine.kernels.convolve import convolve
from remote.engine.kernels.norm_silu import norm_silu
from remote.engine.networks.vae import VAE
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint

ATOL = 2e-5  # of the recordings' description; float32 on CPU


def _load(folder, config) -> VAE:
    vae = build("vae", config)
    with PublishedWeights(folder, "vae", config) as weights:
        load_module(vae, weights, torch.device("cpu"))
    return vae


@pytest.fixture(scope="module")
def vae(golden_dir, tmp_path_factory) -> VAE:
    folder = write_published_checkpoint(golden_dir, tmp_path_factory.mktemp("published"))
    return _load(folder, tiny.tiny_model_config(golden_dir))


@pytest.fixture(scope="module")
def recorded(golden_dir):
    return tiny.tensors(golden_dir, "vae")


def _cases(recorded, prefix):
    names = {key.split("/")[0] for key in recorded if key.endswith("/in")}
    return sorted(name for name in names if name.startswith(prefix))


def _close(given, wanted):
    torch.testing.assert_close(given, wanted, atol=ATOL, rtol=0)


def test_encodes_every_recorded_length(vae, recorded):
    assert _cases(recorded, "enc")
    for case in _cases(recorded, "enc"):
        _close(vae.encode(recorded[f"{case}/in"][None])[0], recorded[f"{case}/out"])


def test_decodes_every_recorded_length(vae, recorded):
    assert _cases(recorded, "dec")
    for case in _cases(recorded, "dec"):
        _close(vae.decode(recorded[f"{case}/in"][None])[0], recorded[f"{case}/out"])


def test_encodes_a_picture_before_black_frames(vae, recorded):
    picture, latents = (recorded[f"enc_image_zeros13/{part}"] for part in ("in_image", "out"))
    black = torch.zeros(3, 4 * (latents.shape[1] - 1), *picture.shape[2:])
    _close(vae.encode(torch.cat([picture, black], dim=1)[None])[0], latents)


def test_encodes_motion_before_black_frames(vae, recorded):
    motion, latents = recorded["enc5/in"], recorded["enc_motion5_zeros8/out"]
    black = torch.zeros(3, 4 * latents.shape[1] - 3 - motion.shape[1], *motion.shape[2:])
    _close(vae.encode(torch.cat([motion, black], dim=1)[None])[0], latents)


def test_encoding_sees_nothing_of_later_frames(vae, recorded):
    video = recorded["enc13/in"][None]
    changed = torch.cat([video[:, :, :5], torch.zeros_like(video[:, :, 5:])], dim=2)
    assert torch.equal(vae.encode(video)[:, :, :2], vae.encode(changed)[:, :, :2])


@pytest.mark.parametrize("known", [1, 5])
def test_still_frames_are_encoded_once(vae, recorded, known):
    moving = recorded["enc13/in"][None, :, :known]
    still = torch.full((1, 3, 65 - known, *moving.shape[3:]), 0.25)
    other = _other(vae, torch.float32)
    runs, latents = [], []
    for last in (0.25, -1.0):  # with another last frame none of them can be left out
        calls = []
        other.use_convolve(lambda *given, calls=calls: calls.append(1) or convolve(*given))
        still[:, :, -1] = last
        latents.append(other.encode(torch.cat([moving, still], dim=2)))
        runs.append(len(calls))
    assert torch.equal(latents[0][:, :, :-1], latents[1][:, :, :-1])
    assert runs[0] < 0.8 * runs[1]


def test_frames_beyond_4n_plus_1_are_dropped(vae, recorded):
    video = recorded["enc9/in"][None, :, :6]
    assert torch.equal(vae.encode(video), vae.encode(video[:, :, :5]))


def test_decoding_what_was_encoded_gives_the_recorded_video(vae, recorded):
    wanted = recorded["roundtrip/out"]
    frames = wanted.shape[1]
    _close(vae.decode(vae.encode(recorded[f"enc{frames}/in"][None]))[0], wanted)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_any_chunking_gives_the_same_result(vae, recorded, size):
    latents, video = recorded["dec4/in"][None], recorded["enc13/in"][None]
    # convolutions of another size may add up in another order
    torch.testing.assert_close(vae.decode(latents, size), vae.decode(latents, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(vae.encode(video, size), vae.encode(video, 1), atol=1e-5, rtol=0)


def test_chunks_are_one_frame_then_four_a_latent(vae, recorded):
    chunks = list(vae.decode_chunks(recorded["dec4/in"][None], latents_per_chunk=2))
    assert [chunk.shape[2] for chunk in chunks] == [1, 8, 4]


def test_a_batch_gives_what_its_videos_give_alone(vae, recorded):
    latents = torch.stack([recorded["dec3/in"], recorded["dec4/in"][:, :3]])
    alone = torch.cat([vae.decode(one[None]) for one in latents])
    torch.testing.assert_close(vae.decode(latents), alone, atol=1e-5, rtol=0)


def _other(vae, dtype):
    other = VAE(vae.config)
    other.load_state_dict(vae.state_dict())
    other.to(dtype).use_channels_last()
    return other


def test_channels_last_gives_the_same_video(vae, recorded):
    other = _other(vae, torch.float32)
    assert other.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last_3d)
    _close(other.decode(recorded["dec4/in"][None])[0], recorded["dec4/out"])
    _close(other.encode(recorded["enc13/in"][None])[0], recorded["enc13/out"])


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
def test_16_bit_weights_stay_close(vae, recorded, dtype, error):
    video = _other(vae, dtype).decode(recorded["dec4/in"][None])[0]
    assert video.dtype == torch.float32
    wanted = recorded["dec4/out"]
    assert (video - wanted).square().mean().sqrt() <= error * wanted.square().mean().sqrt()


def test_every_norm_can_be_replaced(vae, recorded):
    calls = []

    def counted(x, gamma, past):
        calls.append(x.shape)
        return norm_silu(x, gamma, past)

    other = _other(vae, torch.float32)
    other.use_norm_silu(counted)
    other.decode(recorded["dec1/in"][None])
    norms = [name for name, _ in other.decoder.named_parameters() if "norm" in name]
    assert len(calls) == len([name for name in norms if not name.endswith("norm")])


def test_black_pixels_stay_finite():
    zeros = torch.zeros(1, 4, 1, 2, 2, dtype=torch.float16)
    out = norm_silu(zeros, torch.ones(4, 1, 1, 1, dtype=torch.float16), zeros)
    assert torch.equal(out, torch.zeros(1, 4, 2, 2, 2, dtype=torch.float16))


def test_a_video_that_does_not_divide_into_latents_is_refused(vae):
    with pytest.raises(ValueError, match=r"\(1, 3, 5, 12, 16\)"):
        vae.encode(torch.zeros(1, 3, 5, 12, 16))
    with pytest.raises(ValueError, match=r"\(1, 4, 1, 2, 2\)"):
        vae.decode(torch.zeros(1, 4, 1, 2, 2))
