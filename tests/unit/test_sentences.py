"""What a reader meets first is in sentences of at most 30 words: the README, and the first part of every page."""

from __future__ import annotations

import re

import pytest

from workspace import ROOT

MOST_WORDS = 30
PAGES = ["README.md", "CONTRIBUTING.md", "config/README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]


def sentences(markdown: str) -> list[str]:
    """Sentences of paragraphs and list items; code counts as a word, a table, a heading or a picture as none."""
    text = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "Code", text).replace("**", "")
    lines = ["" if line.startswith(("|", "#")) else line for line in text.split("\n")]
    items = re.split(r"\n\s*\n", re.sub(r"^\s*(?:[-*]|\d+\.) ", "\n", "\n".join(lines), flags=re.MULTILINE))
    return [s for item in items for s in re.split(r"(?<=[.!?])\s+|(?<=:)\s+(?=[A-Z])", " ".join(item.split())) if s]


def test_sentences_are_told_apart():
    text = "# Long\n\n**One two.** Three `a b c` [four five](x. y)!\n\n- six\n- seven: Eight\n\n| a | b |\n"
    text += "\n```\ncode. here\n```\n"
    assert sentences(text) == ["One two.", "Three Code four five!", "six", "seven:", "Eight"]


@pytest.mark.parametrize("page", PAGES)
def test_sentences_are_short(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    if page not in ("README.md", "CONTRIBUTING.md"):
        parts = text.split("\n## ")
        text = next(part for part in parts if sentences(part.partition("\n")[2]))
    found = sentences(text)
    assert len(found) > 1
    assert [s for s in found if len(s.split()) > MOST_WORDS] == []
