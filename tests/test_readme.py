"""The Python blocks of README.md run, in order, in one namespace; `<!-- not run -->` before a block leaves it out."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(<!-- not run -->\s*)?^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(file):
    """(line, code) of every block that is to run; blank lines before, so that tracebacks show the line of the file."""
    text = file.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if not match[1]:
            line = text[: match.start(2)].count("\n")
            yield line + 1, "\n" * line + match[2]


def test_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = ROOT / "README.md"
    namespace = {"__name__": "readme"}
    found = list(blocks(readme))
    assert len(found) >= 3
    for _, code in found:
        exec(compile(code, str(readme), "exec"), namespace)


def test_readme_names_no_missing_file():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_blocks_are_found(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(
        "a\n```python\nx = 1\n```\n<!-- not run -->\n\n```python\n1 / 0\n```\n```\nno\n```\n", encoding="utf-8"
    )
    assert list(blocks(file)) == [(3, "\n\nx = 1\n")]
