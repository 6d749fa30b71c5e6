"""The content of the pages for users, README.md and docs/: blocks, commands, screens, links."""

import re

from tests.documents.codes import DOCUMENTS, ROOT

PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in DOCUMENTS}


def blocks(text):
    """The blocks of commands to paste into a shell."""
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def screens(text):
    """Each command of the blocks that show a terminal, with the lines that it prints."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            yield command, lines


def prose(text):
    """A page without its blocks."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def inline_code(text):
    """What stands in sentences and tables as code, each in one line."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(text))]


def commands(text):
    """Every command line of a page: in blocks, on screens, in sentences."""
    for block in blocks(text):
        yield from (line for line in block.splitlines() if "multitalk " in line)
    yield from (command for command, _ in screens(text))
    yield from (code for code in inline_code(text) if code.startswith("multitalk "))


def named_options(text):
    """Every option that a sentence names, with or without a command before it."""
    ours = (code for code in inline_code(text) if not code.startswith(("pip ", "pipx ")))
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", " ".join(ours)))


def broken_links(page):
    """Links of a page to files or headings that there are not."""
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            yield link


def _anchors(path):
    """The places of a page that a link can name, as GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
