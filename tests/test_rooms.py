"""The order of the rooms: imports go down the list, through the door, and neighbours form no loop."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import svijax

PACKAGE = Path(svijax.__file__).parent

# A file imports from rooms above its own. ``plots`` draws what it is handed and needs only ``base``, so that
# ``demo`` can stand below it.
ROOMS = (
    "base",
    "transforms",
    "effects",
    "handlers",
    "distributions",
    "density",
    "objectives",
    "reparam",
    "guides",
    "posterior",
    "optim",
    "fitting",
    "diagnostics",
    "plots",
    "demo",
    "nn",
    "interop",
)
RANK = {room: rank for rank, room in enumerate(ROOMS)}
LEAVES = frozenset({"plots", "demo", "nn", "interop"})
FILES = sorted(PACKAGE.rglob("*.py"))
TEXTS = {path: path.read_text() for path in FILES}

every_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))


def room_of(path: Path) -> str:
    """The room of a file; "" for those at the root."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


every_room = pytest.mark.parametrize("room", sorted({room_of(path) for path in FILES} - {""}))


def imports(path: Path, text: str, for_types: bool = True) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line, absolute module, names) of every import of a file, wherever it stands in it.

    Without ``for_types`` those that only a type checker sees are left out.
    """
    package = ("svijax", *path.relative_to(PACKAGE).parts[:-1])
    tree = ast.parse(text)
    hidden = set() if for_types else {id(node) for node in for_type_checkers(tree)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*start, *((node.module,) if node.module else ())))
            yield node.lineno, module, tuple(alias.name for alias in node.names)


def for_type_checkers(tree: ast.Module) -> Iterator[ast.AST]:
    """What stands under ``if TYPE_CHECKING:``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            for statement in node.body:
                yield from ast.walk(statement)


def targets(module: str, names: tuple[str, ...]) -> set[tuple[str, bool]]:
    """(room, whether past its door) of one import; "" is the root."""
    parts = module.split(".")
    if parts[0] != "svijax":
        return set()
    if len(parts) == 1:
        return {(name if name in RANK else "", False) for name in names or ("",)}
    if parts[1].startswith("_"):
        return {("", False)}
    return {(parts[1], len(parts) > 2)}


def faults(path: Path, text: str) -> list[str]:
    """What is wrong with the imports of a file."""
    own, found = room_of(path), []
    for line, module, names in imports(path, text):
        for room, past_door in targets(module, names):
            what = f"line {line}, {module}:"
            if room == own:
                continue
            if past_door:
                found.append(f"{what} past the door of {room}")
            if room and room not in RANK:
                found.append(f"{what} {room} is not in the list of rooms")
            elif own and not room:
                found.append(f"{what} a room imports the root")
            elif own and RANK[room] >= RANK[own]:
                found.append(f"{what} {room} does not lie above {own}")
            elif path.name == "__init__.py" and not own and room in LEAVES:
                found.append(f"{what} the root loads the leaf {room}")
    return found


@every_file
def test_imports_go_down_through_the_door(path: Path) -> None:
    assert faults(path, TEXTS[path]) == []


def test_the_rule_above_can_fail() -> None:
    text = "from svijax.fitting import SVI\nfrom svijax.base._keys import as_key\nimport svijax\n"
    found = faults(PACKAGE / "handlers" / "_any.py", text)
    assert found == [
        "line 1, svijax.fitting: fitting does not lie above handlers",
        "line 2, svijax.base._keys: past the door of base",
        "line 3, svijax: a room imports the root",
    ]
    assert faults(PACKAGE / "__init__.py", "from .interop import wrap") == [
        "line 1, svijax.interop: the root loads the leaf interop"
    ]


@every_room
def test_every_room_is_in_the_list(room: str) -> None:
    assert room in RANK


@every_file
def test_relative_imports_stay_in_their_room(path: Path) -> None:
    nodes = [node for node in ast.walk(ast.parse(TEXTS[path])) if isinstance(node, ast.ImportFrom)]
    assert [node.lineno for node in nodes if node.level > 1] == []


@every_file
def test_imports_between_rooms_are_absolute_and_within_a_room_relative(path: Path) -> None:
    own = room_of(path)
    if own:
        nodes = [node for node in ast.walk(ast.parse(TEXTS[path])) if isinstance(node, ast.ImportFrom)]
        longhand = f"svijax.{own}"
        modules = [node.module or "" for node in nodes if not node.level]
        assert [m for m in modules if m == longhand or m.startswith(longhand + ".")] == []


@every_room
def test_neighbours_form_no_loop(room: str) -> None:
    graph: dict[str, set[str]] = {}
    for path in (PACKAGE / room).glob("*.py"):
        if path.name == "__init__.py":
            continue
        graph[path.stem] = {
            name
            for _, module, names in imports(path, TEXTS.get(path, ""), for_types=False)
            if module.startswith(f"svijax.{room}")
            for name in (names if module == f"svijax.{room}" else (module.split(".")[2],))
        }
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(order) >= set(graph)


@every_file
def test_doors_hold_reexports_only(path: Path) -> None:
    if path.name == "__init__.py":
        body = ast.parse(TEXTS[path]).body
        assert [n.lineno for n in body if not isinstance(n, ast.Import | ast.ImportFrom | ast.Expr)] == []


@every_file
def test_no_private_jax_and_no_assert(path: Path) -> None:
    text = TEXTS[path]
    private = [line for line, module, _ in imports(path, text) if module.startswith(("jax._src", "jaxlib"))]
    asserts = [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assert)]
    assert (private, asserts) == ([], [])
    assert "jax._src" not in text
