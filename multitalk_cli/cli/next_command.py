"""The command that helps with an error, made from its code, its facts and the words typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.cli.app_options import for_app
from multitalk_cli.cli.hints import jobs, media, options, output, secrets, setup, storage, weights
from multitalk_cli.cli.hints.inputs import FILES, other_input
from multitalk_cli.cli.hints.rule import Rule, either
from multitalk_cli.errors import CODES, FileError

if TYPE_CHECKING:
    from multitalk_cli.errors import MultitalkError


COMMAND_RULES: dict[str, Rule] = {"setup-secrets": secrets.set_up_secrets}
"""Command typed -> its rule, which goes before those of the codes."""


RULES: dict[str, Rule] = {
    "E_ATTENTION_STACK": either(options.option("stack"), options.option("attention")),
    "E_LEDGER": setup.use_ledger,
    "E_LORA": weights.replace_lora,
    "E_LORA_MISSING": weights.add_lora,
    "E_TIER": either(options.option("stack"), options.option("gpu")),
    "E_AUDIO_FORMAT": media.convert_sound,
    "E_CANCELLED": weights.download_again,
    "E_CERTIFICATE": setup.unset,
    "E_CONTRACT": setup.match_versions,
    "E_CONFIG": setup.correct_file,
    "E_CONFLICT": options.end_conflict,
    "E_COST": options.allow_cost,
    "E_DEPLOY": setup.show_build,
    "E_DOWNLOAD_RUNS": weights.download,
    "E_EXPIRED": weights.download_again,
    "E_FILE_UNREADABLE": weights.pack_again,
    "E_GPU_STACK": options.choose_stack,
    "E_GPU_TOO_SMALL": options.option("gpu"),
    "E_HUB_THROTTLED": weights.open_hub,
    "E_HUB_TOKEN": weights.open_hub,
    "E_ENVIRONMENT": setup.choose_environment,
    "E_IMAGE_FORMAT": media.from_base64("png"),
    "E_IMAGE_SIZE": media.shrink_picture,
    "E_MODAL_CONFIG": setup.correct_modal_config,
    "E_MODAL_VERSION": setup.upgrade_modal,
    "E_NETWORK": either(jobs.return_to_job, weights.download_again),
    "E_NOT_DEPLOYED": either(weights.download, setup.deploy),
    "E_NO_BACKEND": options.choose_backend,
    "E_NO_FFMPEG": setup.unset,
    "E_NO_JOB": jobs.find_jobs,
    "E_NO_SECRET": setup.set_up_store,
    "E_NO_TOKEN": setup.log_in,
    "E_OUTPUT_EXISTS": output.overwrite,
    "E_OUTPUT_NAME": output.name_output,
    "E_OUTPUT_PATH": output.make_folder,
    "E_OUTPUT_TAKEN": output.leave_output,
    "E_RANGE": either(options.nearest_word, options.example),
    "E_RECIPE": media.inspect,
    "E_RECIPE_INPUT": media.name_input,
    "E_REMOTE": weights.download_again,
    "E_SAME_VOICE": media.drop_voice,
    "E_SPEAKER": media.correct_speaker,
    "E_S3_ADDRESS": storage.name_endpoint,
    "E_S3_ARCHIVED": storage.wait_for_archive,
    "E_S3_CREDENTIALS": storage.correct_endpoint,
    "E_S3_ENDPOINT": storage.correct_endpoint,
    "E_S3_EXISTS": storage.get_object,
    "E_S3_KEY": storage.list_folder,
    "E_S3_REGION": storage.use_region,
    "E_S3_UNSET": storage.set_bucket,
    "E_SECRET_FILE": setup.protect_file,
    "E_SETTING": setup.correct_setting,
    "E_SWAPPED": media.picture_first,
    "E_TIMEOUT": weights.download_again,
    "E_TOKEN": setup.log_in,
    "E_TOO_MANY_VOICES": media.loop_over_voices,
    "E_UNFINISHED": jobs.return_to_job,
    "E_UNKNOWN_CODE": options.find_code,
    "E_URL": media.fetch_address,
    "E_MANIFEST": output.show_columns,
    "E_ROWS": options.allow_cost,
    "E_ROW_COST": either(
        options.option("stack"),
        options.option("gpu"),
        options.option("attention"),
        options.allow_cost,
    ),
    "E_ROW_FILES": output.check_rows,
    "E_USAGE": either(weights.download, options.nearest_word, options.complete_words),
    "E_WEIGHTS": either(weights.download, weights.choose_weights),
    "E_WEIGHTS_MISSING": weights.download,
}
"""Error code -> its rule."""


def next_command(error: MultitalkError, words: list[str]) -> str:
    """The command to run next, for the app that was used; the error's own hint as a last resort."""
    return for_app(_find_command(error, words), error.facts, words)


def _find_command(error: MultitalkError, words: list[str]) -> str:
    """The command of a rule; the error's own hint where none knows better."""
    if "unstored_job" in error.facts:
        return f"multitalk jobs fetch {error.facts['unstored_job']}"
    if "job" in error.facts and isinstance(error, FileError):
        # The video is paid for: the command that was typed could make another.
        return f"multitalk jobs fetch {error.facts['job']} -o OTHER.mp4"
    if error.code == "E_WEIGHTS" and error.hint != CODES[error.code].remedy:
        # Known where it arose, unless a folder of this machine is to be named.
        return weights.download(error.facts, words) if "damaged" in error.facts else error.hint
    rules = (COMMAND_RULES.get(words[0]) if words else None, RULES.get(error.code))
    found = [rule(error.facts, words) for rule in rules if rule is not None]
    if error.code in FILES and error.hint == CODES[error.code].remedy:
        found.append(other_input(error, words))
    return next((command for command in found if command), error.hint)
