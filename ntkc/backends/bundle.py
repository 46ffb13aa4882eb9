"""Emitted source that imports ntkc.runtime  ->  a module that needs jax alone, found by the names that it reads."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

PACKAGE = "ntkc.runtime"
FIT = "\n\nfit = predictor(nngp, ntk)\n"
FUTURE = "from __future__ import annotations\n"
RULES = ("defjvp", "defvjp", "def_vmap")
"""Decorators that attach a rule to a function."""


@dataclass(frozen=True)
class Definition:
    """A name of the runtime: its text, the names it reads, and its place in the order of dependency."""

    name: str
    text: str
    reads: frozenset[str]
    place: tuple[int, int]


@dataclass(frozen=True)
class Runtime:
    """Every definition of the package, and the import that gives each name from outside it."""

    definitions: Mapping[str, Definition]
    imports: Mapping[str, ast.Import | ast.ImportFrom]


def module_text(source: str) -> str:
    """The emitted module with `fit`, standing alone."""
    tree = ast.parse(source)
    body = _doc(source, tree) + _import_lines(_imports(tree)) if _imports(tree) else _doc(source, tree)
    names = ", ".join(sorted({*_imported(tree), "predictor"}))
    return bundle(f"{body}from {PACKAGE} import {names}\n\n\n{_body(source, tree).strip()}{FIT}")


def bundle(source: str) -> str:
    """`from ntkc.runtime import a, b`  ->  the definitions of a and b, and of all they need; then the rest.

    Raises ValueError where the source imports a name that the runtime lacks.
    """
    package, tree = runtime(), ast.parse(source)
    unknown = _imported(tree) - set(package.definitions)
    if unknown:
        raise ValueError(f"{PACKAGE} has no {sorted(unknown)}; it has {sorted(package.definitions)}")
    chosen = _needed(package.definitions, _imported(tree))
    source = _apart(source, {d.name for d in chosen})
    tree = ast.parse(source)
    doc, body = _doc(source, tree), _body(source, tree)
    outside = {**_imports(tree), **package.imports}
    read = _read(ast.parse(body)).union(*(d.reads for d in chosen))
    head = _import_lines({name: outside[name] for name in outside if name in read})
    parts = [doc + FUTURE + "\n" + head, *(d.text for d in chosen), body.strip("\n") + "\n"]
    return "\n\n".join(parts)


@cache
def runtime() -> Runtime:
    """The package as it stands on the disk."""
    files = sorted((f for f in resources.files(PACKAGE).iterdir() if f.name.endswith(".py")), key=lambda f: f.name)
    texts = {f.name.removesuffix(".py"): f.read_text(encoding="utf-8") for f in files if f.name != "__init__.py"}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    definitions: dict[str, Definition] = {}
    imports: dict[str, ast.Import | ast.ImportFrom] = {}
    for rank, name in enumerate(_ordered(trees)):
        imports |= _imports(trees[name])
        for place, (defined, text, reads) in enumerate(_definitions(texts[name], trees[name])):
            if defined in definitions:
                raise ValueError(f"two modules of {PACKAGE} define {defined!r}: give one another name")
            definitions[defined] = Definition(defined, text, frozenset(reads), (rank, place))
    return Runtime(definitions, imports)


def _ordered(trees: Mapping[str, ast.Module]) -> Iterator[str]:
    """Modules, those that others import first."""
    done: set[str] = set()
    while len(done) < len(trees):
        ready = [n for n, tree in trees.items() if n not in done and _modules(tree) <= done]
        if not ready:
            raise ValueError(f"modules of {PACKAGE} import each other in a circle: {sorted(set(trees) - done)}")
        yield from ready
        done.update(ready)


def _modules(tree: ast.Module) -> set[str]:
    """The modules of the package that this one imports."""
    return {n.module.split(".")[-1] for n in tree.body if isinstance(n, ast.ImportFrom) and _is_own(n) and n.module}


def _is_own(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)


def _definitions(text: str, tree: ast.Module) -> Iterator[tuple[str, str, set[str]]]:
    """(name, lines, names read) of what a module defines, with the rules attached to it and the text that explains."""
    lines = text.splitlines(keepends=True)
    groups: dict[str, list[ast.stmt]] = {}
    last = ""
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        owner = last if _is_text(node) else _owner(node)
        if not owner and isinstance(node, ast.Assign):
            raise ValueError(f"a module of {PACKAGE} has {ast.unparse(node)!r}: give each name a statement of its own")
        last = owner
        if owner:
            groups.setdefault(owner, []).append(node)
    for name, nodes in groups.items():
        blocks = ["".join(lines[_start(n, lines) : n.end_lineno]) for n in nodes]
        gaps = ["" if _is_text(n) else "\n\n" for n in nodes[1:]]
        joined = blocks[0] + "".join(gap + block for gap, block in zip(gaps, blocks[1:], strict=True))
        yield name, joined, set[str]().union(*(_read(n) for n in nodes)) - {name}


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a string, which explains the constant above it."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _owner(node: ast.stmt) -> str:
    """The name that a statement defines; of a derivative rule, `@root.defjvp`, that of the function."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        rules = [d for d in node.decorator_list if isinstance(d, ast.Attribute) and d.attr in RULES]
        owners = [d.value.id for d in rules if isinstance(d.value, ast.Name)]
        return owners[0] if owners else node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else ""


def _start(node: ast.stmt, lines: list[str]) -> int:
    """The index of the first line: of decorators, and of comments right above."""
    decorators = node.decorator_list if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []
    first = min([node.lineno, *(d.lineno for d in decorators)]) - 1
    while first > 0 and lines[first - 1].startswith("#"):
        first -= 1
    return first


SCOPES = (ast.FunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _read(node: ast.AST) -> set[str]:
    """Names that a piece of source reads and does not bind itself."""
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load) else set()
    parts = list(ast.iter_child_nodes(node))
    if isinstance(node, COMPREHENSIONS):
        return _all_read(parts) - _bound(g.target for g in node.generators)
    if isinstance(node, SCOPES):
        body = node.body if isinstance(node, ast.FunctionDef) else [node.body]
        own = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)} | _bound(body)
        return _all_read(p for p in parts if p not in body) | (_all_read(body) - own)
    return _all_read(parts)


def _all_read(nodes: Iterable[ast.AST]) -> set[str]:
    return set[str]().union(*map(_read, nodes))


def _bound(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that these bind in their own scope."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name):
            found |= {node.id} if isinstance(node.ctx, ast.Store) else set()
        elif not isinstance(node, (ast.Lambda, *COMPREHENSIONS)):
            found |= _bound(ast.iter_child_nodes(node))
    return found


def _needed(definitions: Mapping[str, Definition], names: Iterable[str]) -> list[Definition]:
    """These definitions and all that they read, in the order of dependency."""
    wanted: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in definitions and name not in wanted:
            wanted.add(name)
            pending.extend(definitions[name].reads)
    return sorted((definitions[n] for n in wanted), key=lambda d: d.place)


def _imported(tree: ast.Module) -> set[str]:
    """What a module imports from the runtime."""
    nodes = (n for n in tree.body if isinstance(n, ast.ImportFrom) and _is_own(n))
    return {alias.name for n in nodes for alias in n.names}


def _imports(tree: ast.Module) -> dict[str, ast.Import | ast.ImportFrom]:
    """Each name from outside the runtime with an import of it alone."""
    made: dict[str, ast.Import | ast.ImportFrom] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            made |= {(a.asname or a.name): ast.Import([a]) for a in node.names}
        elif isinstance(node, ast.ImportFrom) and not _is_own(node) and node.module != "__future__":
            made |= {(a.asname or a.name): ast.ImportFrom(node.module, [a], 0) for a in node.names}
    return made


def _import_lines(imports: Mapping[str, ast.Import | ast.ImportFrom]) -> str:
    """One block: the standard library, then jax and numpy."""
    whole = {ast.unparse(n) for n in imports.values() if isinstance(n, ast.Import)}
    by_module: dict[str, set[str]] = {}
    for node in imports.values():
        if isinstance(node, ast.ImportFrom):
            by_module.setdefault(node.module or "", set()).add(ast.unparse(node).partition(" import ")[2])
    lines = [*sorted(whole), *(f"from {m} import {', '.join(sorted(by_module[m]))}" for m in sorted(by_module))]
    outside = [line for line in lines if line.split()[1].split(".")[0] in ("jax", "numpy")]
    standard = [line for line in lines if line not in outside]
    return "\n\n".join("\n".join(block) for block in (standard, outside) if block) + "\n"


def _doc(source: str, tree: ast.Module) -> str:
    has_doc = bool(tree.body) and _is_text(tree.body[0])
    return "".join(source.splitlines(keepends=True)[: tree.body[0].end_lineno]) + "\n" if has_doc else ""


def _body(source: str, tree: ast.Module) -> str:
    """All but the docstring and imports."""
    lines = source.splitlines(keepends=True)
    for i, node in enumerate(tree.body):
        if isinstance(node, (ast.Import, ast.ImportFrom)) or (i == 0 and _is_text(node)):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or 0) - node.lineno + 1)
    return "".join(lines)


def _apart(source: str, taken: set[str]) -> str:
    """The source with its own names that the runtime needs for itself, as a table GAP of a layer `gap`, as GAP_."""
    own = {_owner(n) for n in ast.parse(source).body if not isinstance(n, (ast.Import, ast.ImportFrom))}
    clashes = own & taken
    if not clashes:
        return source
    lines, before = source.splitlines(keepends=True), ""
    found: list[tuple[int, int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.string in clashes and before != ".":
            found.append((*token.end, token.string))
        before = token.string
    for row, end, _ in reversed(found):
        lines[row - 1] = lines[row - 1][:end] + "_" + lines[row - 1][end:]
    return "".join(lines)
