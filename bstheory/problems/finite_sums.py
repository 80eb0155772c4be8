"""Finite sums whose noise is the sampling of a batch: logistic regression and phase retrieval."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bstheory.errors import input_error
from bstheory.problems.noise import check_batch_size
from bstheory.problems.noisy_quadratic import _point
from bstheory.problems.problem import Array, Constant, Problem


def logistic(data: Array, labels: Array, *, x0: float | Sequence[float] | Array = 0.0) -> Problem:
    r"""F(x) = (1/n) sum_j log(1 + exp(-y_j a_j . x)), batches drawn with replacement.

    **Proofs of the published constants.** With s the logistic function, one sample's gradient is
    -y s(-y a.x) a and its Hessian s (1 - s) a a^T with s (1 - s) <= 1/4. Hence

    - ``L`` = lambda_max(A^T A / n) / 4, **upper**;
    - ``R`` = max |a_ji|, **upper**: 0 < s < 1, and a batch mean is no larger than its largest term;
    - ``F_star`` = 0, **lower**: every term is positive (attained in the limit when the data are separable);
    - ``sigma_sq`` = (1/n) sum |a_j|^2, **upper**: E|g - grad F|^2 <= E|g|^2 <= E|a|^2 for one sample;
    - drawing with replacement makes the batch mean unbiased with variance divided by B;
    - ``Delta`` = F(x0) - F_star, **upper** on F(x0) - inf F.

    Args:
        data: rows a_j, [n, d]. labels: +1 or -1, [n]. x0: initial point.

    Raises:
        InputError: shapes that do not fit, labels other than +1 and -1.
    """
    a, y = _rows(data, labels)
    if not np.all(np.abs(y) == 1):
        raise input_error(got=f"labels {np.unique(y)[:4]}", rule="labels are +1 or -1", do="recode them")

    def loss(x: Array) -> Array:
        return np.mean(np.logaddexp(0.0, -y * (x @ a.T)), axis=-1)

    def slope(activation: Array, label: Array) -> Array:
        return -label * 0.5 * (1.0 - np.tanh(0.5 * label * activation))

    largest = float(np.linalg.eigvalsh(a.T @ a / len(a))[-1])
    start = _point(x0, a.shape[1])
    constants = {
        "L": Constant(value=largest / 4.0, unit="loss/param^2", known="proved"),
        "R": Constant(value=float(np.abs(a).max()), unit="grad", known="proved"),
        "G_inf": Constant(value=float(np.abs(a).max()), unit="grad", known="proved"),
        "F_star": Constant(value=0.0, unit="loss", known="proved"),
        "sigma_sq": Constant(
            value=float(np.mean(np.sum(a**2, axis=1))), unit="grad^2*samples", known="proved"
        ),
        "Delta": Constant(value=float(loss(start)), unit="loss", known="proved"),
    }
    return _finite_sum("logistic", a, y, start, loss, slope, constants)


def phase_retrieval(
    dim: int, samples: int, *, x0: float | Sequence[float] | Array = 0.5, data_seed: int = 0
) -> Problem:
    r"""F(x) = (1/4n) sum_j ((a_j . x)^2 - y_j)^2 with Gaussian a_j, y_j = (a_j . x*)^2, |x*| = 1.

    Non-convex, with a saddle at 0 and minima at +-x*. Published: ``F_star`` = 0, **exact** (F >= 0 and F(x*)
    = 0), and ``Delta``. Neither smooth nor bounded over all of space (the Hessian grows like |x|^2), so no
    ``L`` and no ``R``: theorems that need them do not apply.

    Args:
        dim, samples: d >= 1, n >= d. x0: initial point. data_seed: of a_j and x*.

    Raises:
        InputError: fewer samples than coordinates.
    """
    if dim < 1 or samples < dim:
        raise input_error(got=f"dim={dim}, samples={samples}", rule="1 <= dim <= samples", do="raise samples")
    rng = np.random.default_rng(data_seed)
    truth = rng.standard_normal(dim)
    truth /= np.linalg.norm(truth)
    a = rng.standard_normal((samples, dim))
    y = (a @ truth) ** 2

    def loss(x: Array) -> Array:
        return 0.25 * np.mean(((x @ a.T) ** 2 - y) ** 2, axis=-1)

    def slope(activation: Array, label: Array) -> Array:
        return (activation**2 - label) * activation

    start = _point(x0, dim)
    constants = {
        "F_star": Constant(value=0.0, unit="loss", known="proved"),
        "Delta": Constant(value=float(loss(start)), unit="loss", known="by construction"),
    }
    return _finite_sum("phase_retrieval", a, y, start, loss, slope, constants)


def _rows(data: Array, labels: Array) -> tuple[Array, Array]:
    a, y = np.ascontiguousarray(data, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if a.ndim != 2 or y.shape != a.shape[:1] or a.size == 0 or not np.all(np.isfinite(a)):
        raise input_error(
            got=f"data of shape {a.shape} and labels of shape {y.shape}",
            rule="data is finite [n, d] and labels [n]",
            do="correct the shapes",
        )
    return a, y


def _finite_sum(
    name: str,
    a: Array,
    y: Array,
    start: Array,
    loss: Callable[[Array], Array],
    slope: Callable[[Array, Array], Array],
    constants: dict[str, Constant],
) -> Problem:
    def full_gradient(x: Array) -> Array:
        return slope(x @ a.T, y) @ a / len(a)

    def gradient(x: Array, batch_size: int, rng: np.random.Generator) -> Array:
        rows = rng.integers(0, len(a), size=check_batch_size(batch_size))
        return slope(a[rows] @ x, y[rows]) @ a[rows] / batch_size

    return Problem(
        name=name,
        dim=a.shape[1],
        x0=start,
        constants=constants,
        loss=loss,
        full_gradient=full_gradient,
        gradient=gradient,
        params={"kernel": name, "noise_law": "sampling", "data": a, "labels": y},
    )
