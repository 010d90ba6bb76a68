"""The field's standard terms: private words that stood for them once do not come back.

Each pattern is a word whose every use was replaced, and the term that stands for it now. Words that have an ordinary
meaning too, such as "order" or "change", are not in the list.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUFFIXES = {".py", ".md", ".toml", ".yml"}
LISTS_OF_WORDS = {Path(__file__), ROOT / "tests/apps/cli/test_help.py", ROOT / "tests/test_documents.py"}

REPLACED = {
    r"\badd_judges\b|\bjudg\w*": "discriminator, discriminator input",
    r"\bplayers?\b": "network",
    r"\bgames?\b|[dg]_game\b|_GAME\b": "adversarial objective",
    r"\brulers?\b|\bMeasurer\b": "metric, evaluator",
    r"\btrunk\b|\bfillings?\b": "body; architecture, configuration",
    r"\bfacing\b": "direction",
    r"\b(task|self)\.note\(|\btask\.notes\b": "log, diagnostics",
    r"\btask\.frozen\b|\bself\.frozen\b": "auxiliary networks",
    r"\bremember\w*": "cached",
    r"\btrivial\w*": "baselines",
    r"--change\b|--reduce\b|\bas_change\b": "--residual, --residual-downscale",
    r"\bswap[-_ ]colou?rs\b": "channel shuffle",
    r"\bholes?\b|_holes?\b|\bholes?_|\bHole[A-Z]?\w*": "mask, masked region",
    r"\brims?\b|\brim_": "boundary",
    r"\bin_bands\b|\bFARTHEST_REACH\b|\btail_reach\b": "strip-wise; receptive-field radius",
    r"--strength\b|\bexport_blend\b|gan-tasks blend\b": "blend weight; network interpolation",
    r"\bclass (Card|Case|Proof)\b|\bprov(e|es|en|ing)\b|\bproofs?\b": "metadata, test vectors, verify",
    r"\bWish\b|\bclass (Order|Watch)\b": "InpaintRequest, JobRequest, JobProgress",
    r"--preset published\b": "paper",
    r"\b(floors?|rooms) of the house\b|\bhouse\b|\bfront door\b": "packages, layers, modules",
}
ALLOWED = {
    r"RRDB_trunk|trunk_conv": "keys of ESRGAN's checkpoints",
    r"train/[AB]/house\.png|pix2pix/house|house\.png": "the name of a photograph",
    r"neighbouring houses|a house with dark trees|other houses": "buildings in photographs",
    r"[Vv]ideo players": "programs that play a video",
}


def tracked_files() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: which files are the project's is unknown")
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [
        path for path in paths if path.suffix in SUFFIXES and path not in LISTS_OF_WORDS and not path.is_symlink()
    ]


@cache
def tracked_texts() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in tracked_files() if path.is_file()}


def found_in(text: str, pattern: str) -> list[str]:
    """Return the words of a text that a pattern matches, those between the underscores of identifiers too."""
    found: set[str] = set()
    for form, allowed in ((text, ALLOWED), (text.replace("_", " "), [each.replace("_", " ") for each in ALLOWED])):
        matches = list(re.finditer(pattern, form, re.IGNORECASE))
        spans = [match.span() for each in allowed for match in re.finditer(each, form)] if matches else []
        found |= {
            match.group()
            for match in matches
            if not any(start <= match.start() and match.end() <= stop for start, stop in spans)
        }
    return sorted(found)


def test_words_are_found_in_sentences_and_in_identifiers() -> None:
    for text in ("Players agree.", "the players", "def test_both_players_move", "PLAYER_COUNT = 2"):
        assert found_in(text, r"\bplayers?\b")
    assert not found_in("displayers; video players", r"\bplayers?\b")


@pytest.mark.parametrize(("pattern", "term"), REPLACED.items(), ids=REPLACED.values())
def test_no_file_uses_a_word_that_was_replaced(pattern: str, term: str) -> None:
    found = {
        str(path.relative_to(ROOT)): words
        for path, text in tracked_texts().items()
        if (words := found_in(text, pattern))
    }
    assert not found, f"the standard term is: {term}"


def test_a_word_that_was_replaced_is_found() -> None:
    assert found_in("the judge of a game", r"\bjudg\w*") == ["judge"]
    assert found_in("train/A/house.png in the house", r"\bhouse\b") == ["house"]
