"""What devices tell each other in a compiled program."""

from __future__ import annotations

import re
from collections import Counter

KINDS = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"


def collectives(text: str) -> tuple[Counter[str], Counter[str]]:
    """How many of each kind (inside of loops, outside of them), from the text of a compiled program."""
    parts = _computations(text)
    lines = [line for body in parts.values() for line in body]
    looped = set()
    stack = [name for line in lines for name in re.findall(r"(?:body|condition)=%?([\w.\-]+)", line)]
    while stack:
        name = stack.pop()
        if name not in looped:
            looped.add(name)
            called = (re.findall(r"%([\w.\-]+)", line) for line in parts.get(name, []))
            stack += [n for names in called for n in names if n in parts]
    inside: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    for name, body in parts.items():
        for line in body:
            if match := re.search(rf"= .*? ({KINDS})(?:-start)?\(", line):
                (inside if name in looped else outside)[match[1]] += 1
    return inside, outside


def _computations(text: str) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if match := re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*->.*\{", line):
            name = match[1]
            parts[name] = []
        elif name:
            parts[name].append(line)
    return parts
