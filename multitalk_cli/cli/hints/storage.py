"""Commands that help with buckets, their endpoints and objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from multitalk_cli.cli.typed_words import typed_again
from multitalk_cli.reporting.formatting import shell_line, shell_word

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact


def list_folder(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The list of the folder that a key is in."""
    folder = facts.get("folder")
    return f"multitalk s3 ls {shell_word(str(folder))} --recursive" if folder else ""


def name_endpoint(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with an address or endpoint of the right form."""
    if "folder" in facts:
        return f"multitalk s3 get {shell_word(str(facts['folder']) + '*')}"
    if facts.get("option") != "--endpoint-url":
        return "multitalk s3 ls s3://BUCKET/"
    if "example" in facts:
        return typed_again(words, "--endpoint-url", str(facts["example"]))
    return "multitalk s3 ls --endpoint-url https://HOST"


def correct_endpoint(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The command with the endpoint that the answer names, or the variable with a complete one."""
    if "endpoint" in facts and words[:1] == ["s3"]:
        return typed_again(words, "--endpoint-url", str(facts["endpoint"]))
    if "needs_certificate" in facts:
        return "export AWS_CA_BUNDLE=FILE, with the certificates of the store's authority"
    if "variable" not in facts:
        return ""
    proposed = shell_word(str(facts.get("proposed", "https://HOST")))
    return f"export {facts['variable']}={proposed}"


def wait_for_archive(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """Advice for an object that is being restored."""
    return (
        "run the same command again when it has been restored" if "is_on_its_way" in facts else ""
    )


def set_bucket(_facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The setting of a bucket."""
    return "multitalk config set bucket NAME"


def use_region(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The bucket's region, for one command."""
    if "region" not in facts:
        return ""
    return f"AWS_DEFAULT_REGION={facts['region']} multitalk s3 ls s3://{facts['bucket']}/"


def get_object(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The stored video, fetched instead of made."""
    if "target" not in facts:
        return ""
    address, target = shell_word(str(facts["address"])), shell_word(str(facts["target"]))
    return f"multitalk s3 get {address} -o {target}"


def store_files(words: tuple[str, ...], *, is_file: bool) -> str:
    """The uploads that the words of `s3 put` may mean."""
    *files, last = words
    if not files:
        return "store them one by one, each with a KEY"
    if not is_file:
        return shell_line(["multitalk", "s3", "put", *files, f"{last}/"])
    every = shell_line(["multitalk", "s3", "put", *words, "outputs/"])
    one = f"\nor {shell_line(['multitalk', 's3', 'put', *files])} s3://BUCKET/{shell_word(last)}"
    return every + (one if len(files) == 1 else "")
