"""Names of everything in the account that client and container share."""

from collections.abc import Mapping

APP_NAME = "multitalk"
STACK_CLASSES = {"current": "Current", "cuda12.1": "Cuda121"}
"""Stack -> the deployed class that runs on it."""
AUTO_ATTENTION = "auto"
STACK_ATTENTIONS: Mapping[str, tuple[str, ...]] = {
    "current": ("fa3", "sdpa-cudnn", "sdpa-flash", "sdpa"),
    "cuda12.1": ("fa2", "xformers", "sdpa-cudnn", "sdpa-flash", "sdpa"),
}
"""Stack -> the attention kernels that its image has."""
ATTENTIONS = ("fa3", "fa4", "sdpa-cudnn", "sdpa-flash", "xformers", "fa2", "sdpa")
"""All that the engine knows, as `--backend local` may have them."""
TIERS = ("exact", "near", "turbo")
"""How exactly the transformer computes, the most exact first."""
EXACT_TIER = TIERS[0]
TEXT_STEPS, LORAS = "text_steps", "loras"
"""Features of a deployment: steps that keep guidance, and merged LoRAs."""
WEIGHTS_VOLUME, JOBS_VOLUME, CACHES_VOLUME = (
    "multitalk-weights",
    "multitalk-jobs",
    "multitalk-caches",
)
PACK_FOLDER = "bf16"
"""The pack's folder in the Volume of weights."""
PACK_FORMAT = 2
"""The format of packs that this version writes and reads."""
STATES_DICT, INDEX_DICT, DEPLOYMENTS_DICT = (
    "multitalk-states",
    "multitalk-index",
    "multitalk-deployments",
)
DEPLOYMENTS_FOLDER = "deployments"
"""In the Volume of caches: the same as the entries of DEPLOYMENTS_DICT, which can expire."""
AWS_SECRET, HUGGINGFACE_SECRET = "aws-secret", "huggingface-secret"
SECRETS = (AWS_SECRET, HUGGINGFACE_SECRET)
PREPARE_FUNCTION, STORE_FUNCTION = "prepare", "store"
STORAGE_FUNCTION, SOUND_FUNCTION = "check_storage", "check_sound"
DOWNLOAD_FUNCTION, WEIGHTS_FUNCTION = "download", "look_at_weights"
"""Deployed functions that need no GPU."""
PROOF_SUFFIX = "-proof"
"""After the app's name: the app that compares the model's parts with references."""
PROOF_FUNCTION = "prove_encoders"
PART_BYTES = 8 * 1024**2
"""Finished videos are kept in parts of this size, so that a broken transfer can resume."""
RESULT_FILE, INPUTS_FILE, FIRST_FILE = "result.json", "inputs.json", "first.json"
"""A job's outcome, its request, and the outcome of a call that made its first window alone."""
FIRST_WINDOW = "first_window"
"""The entry of a recipe, and of a deployment's features, that is true for a first window alone."""
BENCH_QUALITY = "bench_quality"
"""The feature of a deployment that measures the errors of the tiers."""
FEATURES: tuple[str, ...] = (FIRST_WINDOW, TEXT_STEPS, LORAS, *TIERS[1:], BENCH_QUALITY)
"""What an app of this version does that the first release did not; recorded with a deploy."""
JOBS_KEPT_S = 7 * 24 * 3600.0
WAN_REPOSITORY = "Wan-AI/Wan2.1-I2V-14B-480P"
WAV2VEC_REPOSITORY = "TencentGameMate/chinese-wav2vec2-base"
MULTITALK_REPOSITORY = "MeiGen-AI/MeiGen-MultiTalk"
REPOSITORIES: Mapping[str, str] = {
    WAN_REPOSITORY: "main",
    WAV2VEC_REPOSITORY: "refs/pr/1",  # has the weights as safetensors
    MULTITALK_REPOSITORY: "main",
}
"""Repositories of the published weights on the Hugging Face Hub -> the branch to download."""
