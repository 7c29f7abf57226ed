"""The generated tables of docs/models.md: `scripts/model-table` writes them, a test holds them equal to models.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sekisho.catalog.registry import Registry, Spec, load_registry
from sekisho.service.published import examples_for

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/models.md"
BEGIN = "<!-- written by scripts/model-table -->"
END = "<!-- end -->"


def tables() -> str:
    """Everything between the marks of the page."""
    registry = load_registry(ROOT / "models.yaml")
    embedding = [spec for spec in registry if spec.kind == "embedding"]
    rerankers = [spec for spec in registry if spec.kind == "reranker"]
    parts = [
        "### Embedding",
        _table(
            ["Name", "On the hub", "Parameters", "Dimensions", "Context", "Languages", "Licence", "Pinned", "Examples"],
            [_row(registry, spec, dimensions=True) for spec in embedding],
        ),
        "### Rerank",
        _table(
            ["Name", "On the hub", "Parameters", "Context", "Languages", "Licence", "Pinned", "Examples"],
            [_row(registry, spec, dimensions=False) for spec in rerankers],
        ),
        "### Prompts",
        _table(["Model", "Prompt", "Text"], [row for spec in embedding for row in _prompts(spec)]),
    ]
    return "\n\n".join(parts)


def written() -> str:
    """What the page holds between the marks now."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def _row(registry: Registry, spec: Spec, *, dimensions: bool) -> list[str]:
    smaller = [str(width) for width in spec.matryoshka if width != spec.dimensions]
    wide = [f"{spec.dimensions}" + (f" ({', '.join(smaller)})" if smaller else "")] if dimensions else []
    return [
        f"`{spec.name}`",
        spec.source.hub or (f"– ({spec.upstream.api}'s service)" if spec.upstream else "–"),
        f"{spec.parameters:,}" if spec.parameters else "–",
        *wide,
        f"{spec.max_tokens:,}" if spec.max_tokens else "–",
        " ".join(spec.languages),
        spec.license or "–",
        f"`{spec.source.revision[:8]}`" if spec.source.revision else "no",
        _examples(registry, spec),
    ]


def _examples(registry: Registry, spec: Spec) -> str:
    """`2 A, 1 B`: how many examples of each grade."""
    grades = [example.grade[0] for example in examples_for(registry, spec)]
    return ", ".join(f"{grades.count(grade)} {grade}" for grade in sorted(set(grades))) or "–"


def _prompts(spec: Spec) -> Iterator[list[str]]:
    """Prompts of the same text in one row."""
    texts = dict.fromkeys(spec.prompts.values())
    for text in texts:
        kinds = ", ".join(f"`{kind}`" for kind, other in spec.prompts.items() if other == text)
        shown = text.replace("\n", "\\n").replace("|", "\\|")
        yield [f"`{spec.name}`", kinds, f"`{shown}`" if text else "none"]


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heading, ["---"] * len(heading), *rows])


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.partition(END)[2]}", "utf-8")
