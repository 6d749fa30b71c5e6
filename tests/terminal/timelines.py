"""What happens while work runs: the events of real runs, and any that the contract allows.

A timeline is a list of (seconds since the last event, event, dollars spent so far or None).
"""

from hypothesis import strategies as st

from multitalk_cli.contract import (
    Done,
    Failed,
    Fetching,
    Loading,
    Queued,
    Result,
    Stage,
    Step,
    WindowDone,
)

RESULT = Result(
    job_id="0123456789abcdef",
    backend="modal",
    model_output=True,
    frames=135,
    fps=24,
    width_px=896,
    height_px=448,
    size_bytes=1,
    seed=0,
    recipe='{"seed": 0}',
)
FAILED = Failed(code="E_REMOTE", message="out of memory", hint="")
CLIP = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
LONGEST = f"Wan-AI/Wan2.1-I2V-14B-480P/{CLIP.replace('.pth', '-onlyvisual.safetensors')}"
FILES = (
    ("config.json", 2_000),
    ("google/umt5-xxl/special_tokens_map.json", 6_600),
    ("google/umt5-xxl/tokenizer.json", 16_800_000),
    ("diffusion_pytorch_model.safetensors.index.json", 113_000),
    ("model.safetensors", 380_000_000),
    ("Wan2.1_VAE.pth", 508_000_000),
    (CLIP, 4_770_000_000),
    ("multitalk.safetensors", 9_950_000_000),
    *(
        (f"diffusion_pytorch_model-0000{n}-of-00005.safetensors", 13_100_000_000)
        for n in range(1, 6)
    ),
    ("models_t5_umt5-xxl-enc-bf16.pth", 11_400_000_000),
)
"""The published files with about their sizes: 14, 92.5 GB in all."""


class Clock:
    """A clock that only moves when told to."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def download(bytes_per_s=400e6, parts=4):
    """Fetches the published files, packs them, and adds a LoRA and 8-bit weights."""
    yield 0.0, Stage(name="starting"), None
    yield 3.0, Stage(name="starting"), None
    total, before = sum(size for _, size in FILES), 0
    for number, (name, size) in enumerate(FILES, start=1):
        for part in range(parts + 1):
            done = size * part // parts
            event = Fetching(
                name=name,
                number=number,
                count=len(FILES),
                file_bytes=done,
                file_total_bytes=size,
                done_bytes=before + done,
                total_bytes=total,
            )
            yield size / parts / bytes_per_s, event, None
        before += size
    for part in range(5):
        done = 51_200_000_000 * part // 4
        yield 30.0, Stage(name="packing", done=done, total=51_200_000_000), None
    for part in range(3):
        done = 739_000_000 * part // 2
        lora = {"file_bytes": done, "file_total_bytes": 739_000_000}
        lora |= {"done_bytes": done, "total_bytes": 739_000_000}
        yield 1.0, Fetching(name="lightx2v.safetensors", number=1, count=1, **lora), None
    for part in range(3):
        done = 26_900_000_000 * part // 2
        yield 20.0, Stage(name="quantizing", done=done, total=26_900_000_000), None


def video(windows=5, steps=20, step_s=7.6):
    """Waits for a GPU, loads, computes every window and brings the video."""
    spent_usd = 0.0
    yield 0.0, Queued(), None
    yield 42.0, Queued(), None
    yield 10.0, Stage(name="starting"), None
    for part in range(3):
        done = 51_200_000_000 * part // 2
        yield 6.0, Loading(done_bytes=done, total_bytes=51_200_000_000), 0.01
    for part in range(3):
        yield 1.0, Stage(name="encoding", done=part, total=3), 0.02
    for window in range(1, windows + 1):
        for step in range(1, steps + 1):
            spent_usd += step_s * 0.0012
            yield step_s, Step(window=window, windows=windows, step=step, steps=steps), spent_usd
        yield 1.0, WindowDone(window=window, windows=windows), spent_usd
    for part in range(3):
        size = 6_100_000
        yield 1.0, Stage(name="downloading", done=size * part // 2, total=size), spent_usd
    yield 0.0, Done(result=RESULT), spent_usd


def lost_connection():
    """A run whose connection is lost and comes back, and which ends in a failure."""
    started = list(video())[:12]
    reconnecting = (20.0, Stage(name="reconnecting"), 0.05)
    return [*started, reconnecting, reconnecting, *started[8:], (1.0, FAILED, 0.06)]


amounts = st.integers(0, 82_000_000_000)
pairs = st.tuples(amounts, amounts).map(sorted)
counts = st.integers(1, 900)
events = st.one_of(
    st.just(Queued()),
    pairs.map(lambda p: Loading(done_bytes=p[0], total_bytes=p[1])),
    st.builds(
        lambda file, all_, number, name: Fetching(
            name=name,
            number=min(number, 14),
            count=14,
            file_bytes=file[0],
            file_total_bytes=file[1],
            done_bytes=all_[0],
            total_bytes=all_[1],
        ),
        pairs,
        pairs,
        counts,
        st.sampled_from([LONGEST, CLIP, "a.json", "wan/\u30d5\u30a1\u30a4\u30eb.safetensors"]),
    ),
    st.builds(
        lambda name, p: Stage(name=name, done=p[0], total=p[1]),
        st.sampled_from(
            [
                "starting",
                "encoding",
                "drawing",
                "decoding",
                "uploading",
                "packing",
                "reconnecting",
                "a name that is longer than any column",
            ]
        ),
        st.sampled_from([(0, 0), (0, 9), (3, 9), (9, 9), (1_000_000, 250_000_000)]),
    ),
    st.builds(
        lambda w, s: Step(window=min(w), windows=max(w), step=min(s), steps=max(s)),
        st.tuples(counts, counts),
        st.tuples(counts, counts),
    ),
    counts.map(lambda n: WindowDone(window=n, windows=900)),
    st.just(Done(result=RESULT)),
    st.just(FAILED),
)
timelines = st.lists(
    st.tuples(st.floats(0, 40_000), events, st.none() | st.floats(0, 1000)), min_size=1, max_size=10
)
