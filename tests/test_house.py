"""House rules: code is code and no text, streams are objects and no names, a thing is written once."""

import ast
from pathlib import Path

import pytest

import ntkc

ROOT = Path(ntkc.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
COMPILER = [f for part in ("ir", "gaussian", "layers", "passes") for f in sorted((ROOT / part).rglob("*.py"))]
LINES_IN_TEXT = 40
"""Python in string literals, in all of ntkc."""
SURGERY = {"startswith", "endswith", "partition", "rpartition", "removeprefix", "removesuffix", "split", "rsplit"}
SURGERY |= {"find", "index", "replace", "strip", "lstrip", "rstrip", "splitlines", "rfind", "rindex"}
MATCHERS = {"match", "search", "fullmatch", "findall", "finditer", "sub", "split"}
SYMBOLS = {"Symbol", "symbols", "Dummy"}


def tree_of(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def names_of(files):
    return [f.relative_to(ROOT).as_posix() for f in files]


def docstrings(tree):
    """The nodes of every docstring, those under attributes included."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            for statement in getattr(node, field, []) if isinstance(getattr(node, field, []), list) else []:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    yield statement.value


def literals(tree):
    """Every string of a file that is no docstring; what an f-string puts in counts as a name."""
    inside = {id(part) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in ast.walk(n) if part is not n}
    skipped = {id(node) for node in docstrings(tree)} | inside
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "x" for v in node.values)


def lines_of_python(text):
    """Lines of a text that is Python of more than one statement; 0 of any other text."""
    try:
        statements = sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):
        return 0
    return len([line for line in text.splitlines() if line.strip()]) if statements > 1 else 0


MODULE = "import jax\nx = 1\n"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        (f"TEXT = {MODULE!r}", 2),
        (f"TEXT = f{MODULE!r}", 2),
        ("f(f'def {name}(x):\\n    return {value}  # why')", 2),
        (f"TEXTS = [{MODULE!r}, 'a', 'x = 1', 'say what', 'import jax; x = 1']", 3),
        (f"{MODULE!r}\ny = 1\n{MODULE!r}", 0),
        (f"def f():\n    {MODULE!r}", 0),
        (f"class A:\n    a: int\n    {MODULE!r}", 0),
    ],
)
def test_python_in_literals_is_counted(source, count):
    assert sum(map(lines_of_python, literals(ast.parse(source)))) == count


def test_no_program_is_kept_as_text():
    counts = [sum(map(lines_of_python, literals(tree_of(file)))) for file in FILES]
    assert sum(counts) < LINES_IN_TEXT, {name: n for name, n in zip(names_of(FILES), counts, strict=True) if n}


def is_name(node):
    """`<anything>.name`."""
    return isinstance(node, ast.Attribute) and node.attr == "name"


def is_text_made(node):
    """An f-string that puts an underscore between what it is made of."""
    return isinstance(node, ast.JoinedStr) and any(
        isinstance(v, ast.Constant) and "_" in str(v.value) for v in node.values
    )


def surgery(tree):
    """Places where a name is taken apart, or put together for a symbol."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and is_name(node.value):
            yield ast.unparse(node)
        if isinstance(node, ast.Compare) and any(isinstance(o, (ast.In, ast.NotIn)) for o in node.ops):
            yield from [ast.unparse(node)] if is_name(node.comparators[-1]) else []
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute):
            if function.attr in SURGERY and is_name(function.value):
                yield ast.unparse(node)
            if function.attr in MATCHERS and any(is_name(a) for a in node.args):
                yield ast.unparse(node)
        called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if called in SYMBOLS and any(is_text_made(a) for a in node.args):
            yield ast.unparse(node)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("key.name.startswith('K_')", 1),
        ("a, _, b = s.name.partition('_')", 1),
        ("s.name[0] == 'K'", 1),
        ("s.name[1:]", 1),
        ("re.match(r'q1_(.*)', s.name)", 1),
        ("PATTERN.fullmatch(s.name)", 1),
        ("'_' in s.name", 1),
        ("sp.Symbol(f'K_{node}')", 1),
        ("sp.symbols(f'{letter}_{node}')", 1),
        ("Reserved(f'pattern{side}_graph')", 0),
        ("sp.Symbol(f'u{i}')", 0),
        ("sorted(found, key=lambda s: s.name)", 0),
        ("s.name == other.name", 0),
        ("s.name in names", 0),
        ("f'{s.name} = {expr}'", 0),
        ("node.removeprefix('before')", 0),
    ],
)
def test_surgery_on_names_is_found(text, found):
    assert len(list(surgery(ast.parse(text)))) == found


@pytest.mark.parametrize("file", COMPILER, ids=names_of(COMPILER))
def test_no_surgery_on_names_of_symbols(file):
    """What a symbol stands for is what it is; printers alone read and write names."""
    assert list(surgery(tree_of(file))) == []


def test_rows_and_pixels_share_their_backend():
    backends = [f.relative_to(ROOT / "backends").as_posix() for f in sorted((ROOT / "backends").rglob("*.py"))]
    assert [name for name in backends if "pixel" in name or "row" in name] == []
