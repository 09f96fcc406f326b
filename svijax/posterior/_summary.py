"""A posterior as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from svijax.base import ArgumentError, ShapeError, align, check_names, message, number_cells

from ._psis import khat_words

_HEAD, _TAIL = 6, 2


@dataclass(frozen=True)
class Row:
    """One entry of one site: its index, and its numbers by column."""

    site: str
    index: tuple[int, ...]
    values: dict[str, float]

    @property
    def name(self) -> str:
        return self.site if not self.index else f"{self.site}[{','.join(map(str, self.index))}]"


@dataclass(frozen=True, eq=False)
class Summary:
    """Marginals by site, the ELBO, and k̂. ``str`` is a table; ``rows`` and ``to_dict`` give the numbers.

    ``columns``: of each site, arrays by column name. ``beside``: the same for columns that were put beside.
    """

    columns: Mapping[str, Mapping[str, np.ndarray]]
    num_samples: int
    khat: float
    elbo: float
    elbo_error: float
    beside_columns: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)

    @property
    def khat_words(self) -> str:
        """k̂ in words."""
        return "none: the guide is a point" if self.is_point else khat_words(self.khat, self.num_samples)

    @property
    def is_point(self) -> bool:
        """Whether all draws are one: then the ELBO is a log density, and there are no weights."""
        spreads = [columns["sd"] for columns in self.columns.values()]
        return bool(spreads) and all((sd == 0).all() for sd in spreads)

    @property
    def rows(self) -> list[Row]:
        """Every entry of every site, in order."""
        return [row for site in self.columns for row in self._rows(site, None)]

    def to_dict(self) -> dict[str, Any]:
        """The numbers: sites → name → column → nested lists; khat, elbo, elbo_error, num_samples."""
        sites = {
            name: {column: np.asarray(x).tolist() for column, x in self._all_columns(name).items()}
            for name in self.columns
        }
        return {
            "sites": sites,
            "khat": self.khat,
            "elbo": self.elbo,
            "elbo_error": self.elbo_error,
            "num_samples": self.num_samples,
        }

    def beside(self, label: str, values: Mapping[str, Any]) -> Summary:
        """The summary with one more column, on the right: exact values, say, by site, of the site's shape.

        :raises UnknownNameError: a name that is no site. :raises ShapeError: another shape than the site's.
        """
        check_names(values, self.columns, f"column {label!r}")
        found = {}
        for name, value in values.items():
            array, shape = np.asarray(value, float), self._shape(name)
            if array.shape != shape:
                raise ShapeError(
                    message(
                        f"column {label!r}, site {name!r}: another shape.", expected=shape, got=array.shape
                    )
                )
            found[name] = array
        if label in self.beside_columns or label in next(iter(self.columns.values()), {}):
            raise ArgumentError(f"there is a column {label!r} already.")
        return replace(self, beside_columns={**self.beside_columns, label: found})

    def table(self, max_rows: int | None = 10) -> str:
        """The table; of a site with more than ``max_rows`` entries only the first and last (None: all)."""
        labels = list(next(iter(self.columns.values()), {}))
        extra = list(self.beside_columns)
        body: list[list[str]] = []
        for site in self.columns:
            for row in self._rows(site, max_rows):
                body.append(_gap(row) if row.index == _OMITTED else self._cells(row, labels, extra))
        header = ["site", *labels, *(["|"] if extra else []), *extra]
        return align(header, body)

    def __str__(self) -> str:
        if self.is_point:
            notes = [f"log p  {self.elbo:.2f}, joint, at the point", f"k-hat  {self.khat_words}"]
        else:
            khat = f"{self.khat:.2f}, " if np.isfinite(self.khat) else ""
            notes = [
                f"ELBO   {self.elbo:.2f} ± {self.elbo_error:.2f}",
                f"k-hat  {khat}{self.khat_words} ({self.num_samples:,} draws)",
            ]
        return "\n".join([self.table(), "", *notes])

    __repr__ = __str__

    def _spread(self, row: Row) -> float:
        """The spread that sets the decimals: one for the whole site unless its spreads differ tenfold."""
        sd = np.asarray(self.columns[row.site]["sd"])
        return float(sd.max()) if sd.max() < 10.0 * sd.min() else row.values["sd"]

    def _shape(self, site: str) -> tuple[int, ...]:
        return np.shape(self.columns[site]["mean"])

    def _all_columns(self, site: str) -> dict[str, np.ndarray]:
        beside = {label: values[site] for label, values in self.beside_columns.items() if site in values}
        return {**self.columns[site], **beside}

    def _rows(self, site: str, max_rows: int | None) -> Iterator[Row]:
        shape, columns = self._shape(site), self._all_columns(site)
        size = int(np.prod(shape))
        cut = max_rows is not None and size > max(max_rows, _HEAD + _TAIL + 1)
        for i in range(size):
            if cut and _HEAD <= i < size - _TAIL:
                if i == _HEAD:
                    yield Row(site, _OMITTED, {"entries": float(size - _HEAD - _TAIL)})
                continue
            index = tuple(int(j) for j in np.unravel_index(i, shape))
            yield Row(site, index, {label: float(x[index]) for label, x in columns.items()})

    def _cells(self, row: Row, labels: list[str], extra: list[str]) -> list[str]:
        values = [row.values.get(label) for label in (*labels, *extra)]
        cells = number_cells(values, self._spread(row))
        bar = ["|"] if extra else []
        return [row.name, *cells[: len(labels)], *bar, *cells[len(labels) :]]


_OMITTED = (-1,)


def summarise(draws: Mapping[str, Any], log_weights: Any, probs: tuple[float, ...], khat: float) -> Summary:
    """The summary of draws, on the host and in double precision."""
    for p in probs:
        if not 0.0 <= p <= 1.0:
            raise ArgumentError(message("probs must lie between 0 and 1.", got=p, fix="write 0.05 for 5 %."))
    columns = {}
    for name, value in draws.items():
        x = np.asarray(value).astype(np.float64)
        found = {"mean": x.mean(0), "sd": np.where(x.min(0) == x.max(0), 0.0, x.std(0))}
        found |= {f"{100 * p:g} %": q for p, q in zip(probs, np.quantile(x, probs, axis=0), strict=True)}
        columns[name] = found
    log_w = np.asarray(log_weights, np.float64)
    count = log_w.shape[0]
    return Summary(columns, count, khat, float(log_w.mean()), float(log_w.std() / np.sqrt(count)))


def _gap(row: Row) -> list[str]:
    return [f"  ... {int(row.values['entries']):,} more of {row.site}"]
