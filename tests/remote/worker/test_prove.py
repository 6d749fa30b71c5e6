"""The proof on tiny random weights: every part agrees, and an error planted in one is found."""

from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models, processors

from multitalk_cli import __version__, contract
from multitalk_cli.contract.codec import from_plain
from multitalk_cli.contract.proof import ProofRow
from multitalk_cli.media.audio import voice
from remote.engine.kernels import attention
from remote.engine.kernels.norm_silu import norm_silu
from remote.engine.networks import image, text, vae, wav2vec
from remote.engine.networks.halfvae import HalfVAE
from remote.weights.model import open_weights
from remote.weights.read import Pack
from remote.worker import prove_encoders, prove_step, references
from remote.worker.cached_model import CachedModel
from remote.worker.prove_encoders import (
    clip_row,
    sound_rows,
    text_row,
    tokenizer_row,
    vae_rows,
    wav2vec_row,
)
from tests.remote.requests import open_model

WIRE = {
    "contract": contract.CONTRACT_VERSION,
    "client": __version__,
    "prompt": "A person talks",
    "negative_prompt": "blurred",
}
# librosa imports modules that Python itself will drop.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def pack(tiny_pack):
    return open_weights(tiny_pack)


@pytest.fixture(autouse=True)
def _short_video(monkeypatch):
    monkeypatch.setattr(prove_encoders, "_VIDEO_PX", (16, 24))


def rows_of(answer):
    """Each row of a container's answer, by its part."""
    rows = [from_plain(ProofRow, row) for row in answer["rows"]]
    return {row.part: row for row in rows}


def outside(rows):
    return {part for part, row in rows.items() if row.is_within is False}


# Encoders


def test_every_encoder_agrees_with_its_reference(tiny_pack):
    answer = prove_encoders.prove_encoders(tiny_pack, WIRE)

    rows = rows_of(answer)
    networks = ["wav2vec2", "CLIP", "VAE, encoder", "VAE, decoder", "umT5"]
    assert list(rows) == ["sound, decoded", "sound, resampled", "tokenizer", *networks]
    assert outside(rows) == set()
    assert all(row.ours > 0 and row.difference <= row.limit for row in rows.values())
    assert all(rows[part].difference < 1e-5 for part in networks)
    libraries = {"transformers", "diffusers", "librosa", "tokenizers", "torch"}
    assert answer["facts"].keys() == libraries


@pytest.mark.parametrize("change", [lambda x: 0.9 * x, lambda x: x[200:], lambda x: x[::-1]])
def test_sound_that_is_read_otherwise_is_found(monkeypatch, change):
    right = voice.load_voice

    def wrong(path):
        read = right(path)
        return replace(read, speech=change(read.speech))

    monkeypatch.setattr(voice, "load_voice", wrong)

    assert [row.is_within for row in sound_rows()] == [False, False]


@pytest.fixture
def letters(pack, tmp_path):
    """The pack with a tokenizer that has an id for each letter of the prompts."""
    letters = sorted(
        {letter for pair in prove_encoders.PROMPTS for part in pair for letter in part}
    )
    pieces = ["<pad>", "</s>", "<unk>", *letters]
    tokenizer = Tokenizer(models.Unigram([(piece, 0.0) for piece in pieces], unk_id=2))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return Pack(tmp_path, pack.manifest)


@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        (text, "clean_text", str.strip),
        (prove_encoders, "tokenize", lambda *given: text.tokenize(*given)[:-1]),
    ],
)
def test_ids_that_differ_are_counted(letters, monkeypatch, module, name, wrong):
    assert tokenizer_row(letters).difference == 0
    monkeypatch.setattr(module, name, wrong)

    row = tokenizer_row(letters)

    assert (row.is_within, row.difference > 0) == (False, True)


def test_speech_features_without_positions_are_found(pack, monkeypatch):
    monkeypatch.setattr(wav2vec.PositionConv, "forward", lambda _self, x: torch.zeros_like(x))

    assert wav2vec_row(pack).is_within is False


def quick_gelu_block(block, x):
    """The activation of OpenAI's own towers, which is not that of the published one."""
    x = x + block.attn(block.norm1(x))
    hidden = block.fc1(block.norm2(x))
    return x + block.fc2(hidden * torch.sigmoid(1.702 * hidden))


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (image.ImageEncoder, "prepare", lambda _self, pixels: pixels),
        (image.ImageBlock, "forward", quick_gelu_block),
    ],
    ids=["levels", "activation"],
)
def test_states_of_a_picture_that_differ_are_found(pack, monkeypatch, owner, name, wrong):
    monkeypatch.setattr(owner, name, wrong)

    assert clip_row(pack).is_within is False


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "found"),
    [
        # Chunks that do not see what came before them.
        (vae._Past, "keep", lambda *_args, **_kwargs: None, [False, False]),
        (vae.FrameAttention, "forward", lambda _self, x, _past: x, [False, False]),
        (vae.VAE, "_statistics", lambda _self, x: (x.new_zeros(()), x.new_ones(())), [False] * 2),
        (vae, "_double", lambda x, _last: x.repeat(1, 1, 2, 2), [True, False]),
    ],
    ids=["past", "attention", "statistics", "upsampling"],
)
def test_a_vae_that_differs_is_found(pack, monkeypatch, owner, name, wrong, found):
    monkeypatch.setattr(owner, name, wrong)

    assert [row.is_within for row in vae_rows(pack)] == found


def test_states_of_a_prompt_with_other_positions_are_found(pack, monkeypatch):
    monkeypatch.setattr(text, "MAX_DISTANCE", 40)

    assert text_row(pack).is_within is False


def test_no_number_is_outside(pack, monkeypatch):
    monkeypatch.setattr(text.TextFeedForward, "forward", lambda _self, x: x * float("nan"))

    row = text_row(pack)

    assert (row.is_within, row.ours, row.difference) == (False, None, None)
    assert row.reference > 0


def test_another_tensor_than_the_reference_has_is_refused(pack, monkeypatch):
    monkeypatch.setattr(references, "rename", lambda _component, key, _config: key)

    with pytest.raises(ValueError, match="transformers' wav2vec2: missing keys"):
        wav2vec_row(pack)


# The step


def wrong_where(is_wrong):
    """A kernel that is right in the small run by which it is chosen; then without the last key."""

    def run(q, k, v):
        if k.shape[1] in attention._PROBE_TOKENS or not is_wrong(q, k):
            return attention._sdpa(q, k, v)
        return attention._sdpa(q, k[:, : k.shape[1] // 2], v[:, : v.shape[1] // 2])

    return run


def test_a_step_agrees_with_float32_and_every_kernel_that_runs_does(tiny_pack):
    answer = prove_step.prove_step(tiny_pack, WIRE)

    rows = rows_of(answer)
    assert outside(rows) == set()
    steps = [rows["one step, 1 voice"], rows["one step, 2 voices"]]
    # Rounded to bfloat16, they differ by something.
    assert all(1e-4 < row.difference < row.limit for row in steps)
    halves = ["CLIP on GPU", "VAE encoder on GPU", "VAE decoder on GPU"]
    assert list(rows)[2:] == [*halves, *(f"attention {name}" for name in attention.LOADERS)]
    assert {rows[part].note for part in halves} == {"computed in float32 here"}
    assert rows["attention sdpa"].is_within is True
    assert (rows["attention fa3"].is_within, rows["attention fa3"].difference) == (None, None)
    assert "installed" in rows["attention fa3"].note
    assert answer["facts"]["type"] == "bfloat16"


@pytest.mark.parametrize(
    ("is_wrong", "is_seen_alone"),
    [(lambda q, k: q.shape == k.shape, True), (lambda q, k: q.shape != k.shape, False)],
    ids=["self-attention", "cross-attention"],
)
def test_a_kernel_that_is_wrong_at_real_sizes_is_found(
    tiny_pack, monkeypatch, is_wrong, is_seen_alone
):
    monkeypatch.setitem(attention.LOADERS, "sdpa", lambda: wrong_where(is_wrong))

    rows = rows_of(prove_step.prove_step(tiny_pack, WIRE))

    steps = {"one step, 1 voice", "one step, 2 voices"}
    assert outside(rows) == steps | ({"attention sdpa"} if is_seen_alone else set())


@pytest.mark.parametrize("factor", [1.0, 1.05])
def test_a_vae_that_differs_in_float16_is_found(pack, factor):
    whole = pack.load("vae", torch.device("cpu"), torch.float32)
    half = HalfVAE(whole, lambda *given: factor * norm_silu(*given))
    pixels = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(2)) * 2 - 1

    rows = list(prove_step.vae_rows(half, whole, pixels))

    assert [row.is_within for row in rows] == [factor == 1.0] * 2
    assert all(row.difference > 0 for row in rows)


@pytest.mark.parametrize("factor", [1.0, 0.8])
def test_states_of_a_picture_that_differ_in_bfloat16_are_found(pack, monkeypatch, factor):
    tower = pack.load("clip", torch.device("cpu"), torch.bfloat16)
    attend = image.ImageAttention.forward
    wrong = {torch.bfloat16: factor, torch.float32: 1.0}
    monkeypatch.setattr(
        image.ImageAttention, "forward", lambda self, x: attend(self, x) * wrong[x.dtype]
    )
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1

    row = prove_step.clip_row(tower, pixels)

    assert (row.is_within, row.difference > 0) == (factor == 1.0, True)


def test_the_loaded_model_makes_room(tiny_pack):
    opened = []
    model = CachedModel(lambda: opened.append(1) or open_model(tiny_pack))
    for _ in model.load():
        pass

    model.forget()

    assert model.revision
    assert len(opened) == 2


@pytest.mark.parametrize("prove", [prove_encoders.prove_encoders, prove_step.prove_step])
def test_another_contract_and_no_pack_are_refused_as_data(tiny_pack, tmp_path, prove):
    assert prove(tiny_pack, {**WIRE, "contract": 99})["event"]["code"] == "E_CONTRACT"
    assert prove(tmp_path, WIRE)["event"]["code"] == "E_WEIGHTS"
