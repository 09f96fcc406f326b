"""The conditional autoregressive distribution on a graph."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import (
    ArgumentError,
    ParameterError,
    as_array,
    cast,
    float_dtype,
    inverse_gram,
    is_concrete,
    log_det_tril,
    matvec,
    message,
    on_columns,
    solve_tril,
    widened,
)
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._graph import Graph, laplacian_eigenvalues
from ._parameters import parameters
from ._scale_tril import as_vectors, need_square

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class CAR(Distribution):
    """N(x; loc, Q^-1), Q = tau (D - rho W): W = adj_matrix (…, n, n) of weights >= 0, D its row sums.

    loc (…, n), rho = correlation (…) in (-1, 1), tau = conditional_precision (…) > 0. W is symmetric, and every
    row has a neighbour. ``is_sparse`` takes W as a numpy or SciPy matrix (n, n) and keeps its edges: the density
    of a value costs O(edges), and W is no leaf of the pytree. Draws and moments factor Q as a dense matrix.
    The determinant is by the eigenvalues of D^(-1/2) W D^(-1/2), taken once, where W can be read by numpy.
    """

    arg_constraints = parameters(
        loc=constraints.real_vector,
        correlation=constraints.open_interval(-1.0, 1.0),
        conditional_precision=constraints.positive,
        adj_matrix=constraints.dependent(is_discrete=False, event_dim=2),
    )
    support = constraints.real_vector
    _fields = ("loc", "correlation", "conditional_precision", "_weights", "_eigenvalues")
    _static = ("_detached", "_graph")
    _noise_kind = "normal"
    loc: jax.Array
    correlation: jax.Array
    conditional_precision: jax.Array
    _weights: Any  # W, or None
    _eigenvalues: Any  # of I - D^(-1/2) W D^(-1/2)
    _graph: Graph | None

    def __init__(
        self,
        loc: Any,
        correlation: Any,
        conditional_precision: Any,
        adj_matrix: Any,
        *,
        is_sparse: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        if hasattr(adj_matrix, "toarray") and not is_sparse:
            raise ArgumentError(message(f"{owner}: adj_matrix is sparse.", fix="pass is_sparse=True."))
        adj_matrix = adj_matrix.toarray() if hasattr(adj_matrix, "toarray") else as_array(adj_matrix)
        size = need_square(owner, "adj_matrix", adj_matrix)
        if is_sparse and not (isinstance(adj_matrix, np.ndarray) and adj_matrix.ndim == 2):
            raise ArgumentError(
                message(
                    f"{owner}: with is_sparse, adj_matrix is one numpy or SciPy matrix.",
                    got=f"{type(adj_matrix).__name__} of shape {np.shape(adj_matrix)}",
                )
            )
        if validate_args is not False:
            _check_weights(owner, adj_matrix)
        given = {
            "loc": as_vectors(owner, "loc", loc, size),
            "correlation": as_array(correlation),
            "conditional_precision": as_array(conditional_precision),
        }
        eigenvalues = laplacian_eigenvalues(adj_matrix)
        if is_sparse:
            dtype = float_dtype(*given.values())
            self._assign(_graph=Graph(adj_matrix))
            self._init(validate_args, **given, _weights=None, _eigenvalues=cast(eigenvalues, dtype))
        else:
            dtype = float_dtype(*given.values(), adj_matrix)
            self._assign(_graph=None)
            given |= {"_weights": adj_matrix, "_eigenvalues": cast(eigenvalues, dtype)}
            self._init(validate_args, **given)

    def _constraint_of(self, name: str) -> Constraint:
        if name in ("_weights", "_eigenvalues"):
            return constraints.dependent(event_dim=2 if name == "_weights" else 1)
        return super()._constraint_of(name)

    @property
    def is_sparse(self) -> bool:
        """Whether the graph is kept by its edges and not as a matrix."""
        return self._graph is not None

    @property
    def adj_matrix(self) -> Any:
        """W, as a dense matrix."""
        return self._weights if self._graph is None else cast(self._graph.dense(), self.dtype)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.loc)[-1:]

    @property
    def precision_matrix(self) -> Any:
        """conditional_precision (D - correlation W), D the diagonal of the row sums of the adjacency matrix W."""
        weights, eye = self.adj_matrix, np.eye(self.event_shape[0], dtype=self.dtype)
        correlation = self.correlation[..., None, None]
        precision = weights.sum(axis=-1)[..., None] * eye - correlation * weights
        return self.conditional_precision[..., None, None] * precision

    def _root(self) -> Any:
        """R with Q = R R^T."""
        return jnp.linalg.cholesky(jnp.asarray(widened(self.precision_matrix)))

    def _draw(self, root: Any, noise: Any) -> Any:
        gap = on_columns(lambda tril, columns: solve_tril(tril, columns, transpose=True), root, noise)
        return self.loc + gap.astype(self.dtype)

    def from_noise(self, noise: Any) -> Any:
        return self._draw(self._root(), noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        root = self._root()
        log_det = log_det_tril(root).astype(self.dtype)
        log_norm = self.event_shape[0] * _HALF_LOG_2PI - log_det
        return self._draw(root, noise), -0.5 * jnp.sum(noise * noise, axis=-1) - log_norm

    def log_prob(self, value: Any) -> Any:
        gap = jnp.asarray(value - self.loc)
        squares = self.conditional_precision * self._roughness(gap)
        return -0.5 * squares - self._log_norm()

    def _roughness(self, gap: Any) -> Any:
        """gap^T (D - rho W) gap = (1 - rho) gap^T D gap + rho gap^T (D - W) gap."""
        correlation = self.correlation
        if self._graph is not None:
            return self._graph.roughness(gap, correlation)
        degrees = self._weights.sum(axis=-1)
        level = jnp.sum(degrees * gap * gap, axis=-1)
        # D - W maps constants to 0: without the mean, less is lost in the difference.
        centred = gap - jnp.mean(gap, axis=-1, keepdims=True)
        slopes = degrees * centred - matvec(self._weights, centred)
        return (1 - correlation) * level + correlation * jnp.sum(centred * slopes, axis=-1)

    def _log_norm(self) -> Any:
        n, mu = self.event_shape[0], self._eigenvalues
        correlation = self.correlation[..., None]
        # 1 - rho (1 - mu), of terms that are not negative.
        rest = jnp.where(
            correlation >= 0, 1 - correlation + correlation * mu, 1 + correlation - correlation * (2 - mu)
        )
        log_det = jnp.sum(jnp.log(rest), axis=-1) + self._log_degrees()
        log_det = log_det + n * jnp.log(self.conditional_precision)
        return n * _HALF_LOG_2PI - 0.5 * log_det

    def _log_degrees(self) -> Any:
        if self._graph is not None:
            return cast(self._graph.log_degrees(), self.dtype)
        return jnp.sum(jnp.log(self._weights.sum(axis=-1)), axis=-1)

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def covariance_matrix(self) -> Any:
        """The inverse of ``precision_matrix``."""
        return inverse_gram(self._root()).astype(self.dtype)

    @property
    def variance(self) -> Any:
        return jnp.diagonal(self.covariance_matrix, axis1=-2, axis2=-1)

    def entropy(self) -> Any:
        return 0.5 * self.event_shape[0] + self._log_norm()


def _check_weights(owner: str, weights: Any) -> None:
    """Raise where a matrix that can be read is not symmetric, has a negative entry or a row without neighbours."""
    if not is_concrete(weights):
        return
    host = np.asarray(weights)
    faults = {
        "is not symmetric": host != np.swapaxes(host, -2, -1),
        "has a negative or no finite weight": ~(np.isfinite(host) & (host >= 0)),
        "has a row without neighbours": np.broadcast_to((host.sum(axis=-1) <= 0)[..., None], host.shape),
    }
    for fault, where in faults.items():
        if where.any():
            index = tuple(int(i) for i in np.argwhere(where)[0])
            raise ParameterError(
                message(f"{owner}: adj_matrix {fault}.", got=f"{host[index]} at index {index}")
            )
