r"""Approximations of Adam on the noisy quadratic that replace Monte-Carlo. PREDICTIONS, not theorems.

- :func:`mean_field`: the second moment v of each coordinate is replaced by its mean, which follows an exact
  linear recursion; given v the method is linear and its second moments close. Neglects the fluctuations of v
  and their correlation with g: good to a few per cent when 1 - beta2 is small, poor when v fluctuates (beta2
  below about 0.9) or in the first few steps.
- :func:`adiabatic`: RMSProp (beta1 = 0) with the exact Gaussian functionals of the actual weights. Takes the
  law of v exactly but treats the gradients of the window as independent with the present curvature signal.
  Fails (tens of per cent) where the transient is signal-dominated, which the result marks.
- :class:`ScalingTable`: with eps = 0 a coordinate depends only on rho = lr h sqrt(B) / sigma and u0 = theta0
  / lr, so a small Monte-Carlo table serves every spectrum; the interpolation error is measured at held-out
  points.

Reference: theory entry ``adiabatic_nqm``.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bstheory.errors import input_error
from bstheory.problems.noisy_quadratic import noisy_quadratic
from bstheory.simulation.engine import monte_carlo
from bstheory.simulation.functionals import gaussian_functionals
from bstheory.simulation.optimizers import COLUMNS, Adam, coefficients

Array = np.ndarray


def mean_field(h: Array, c: Array, m0: Array, *, optimizer: Adam, batch_size: Array) -> Array:
    """**Prediction** of E theta^2 before each step and after the last, [K+1, d], by the mean-field closure.

    v' = beta2 v + gain2 (h^2 M11 + c / B) replaces v, then theta' = decay theta - rho m' with
    rho = eta correct1 / (sqrt(correct2 v') + eps), and the second moments of (theta, m) move exactly.

    Args:
        h, c, m0: curvatures, one-sample noise variances, E theta_0^2, [..., d] (they broadcast:
            configurations first).
        optimizer: any :class:`Adam`. batch_size: integers [K].
    """
    h, c = np.asarray(h, dtype=np.float64), np.asarray(c, dtype=np.float64)
    table, _ = coefficients(optimizer, batch_size)
    shape = np.broadcast_shapes(h.shape, c.shape, np.shape(m0))
    m11 = np.broadcast_to(np.asarray(m0, dtype=np.float64), shape).copy()
    m12, m22 = np.zeros(shape), np.zeros(shape)
    v = np.full(shape, float(optimizer.v0))
    path = [m11]
    for row in table:
        k = dict(zip(COLUMNS, row))
        noise = c * k["noise"] ** 2
        v = k["beta2"] * v + k["gain2"] * (h**2 * m11 + noise)
        second = k["correct2"] * v
        inside = optimizer.eps_placement == "inside"
        root = np.sqrt(second + k["eps"]) if inside else np.sqrt(second) + k["eps"]
        rho = k["learning_rate"] * k["correct1"] / root
        b, g = k["beta1"], k["gain1"]
        cross = b * m12 + g * h * m11  # E theta m'
        square = b * b * m22 + 2 * b * g * h * m12 + g * g * (h**2 * m11 + noise)  # E m'^2
        a = k["decay"]
        m11, m12, m22 = a * a * m11 - 2 * a * rho * cross + rho**2 * square, a * cross - rho * square, square
        path.append(m11)
    return np.stack(path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adiabatic:
    """Path of E theta^2 and where to distrust it.

    Attributes:
        second_moment: [K+1].
        signal_fraction: h^2 E theta^2 / E g^2 of each step, [K]. Above about 0.5 lies the failure region.
        trusted: [K+1], False from the start until the window has forgotten its signal-dominated part.
    """

    second_moment: Array
    signal_fraction: Array
    trusted: Array


def adiabatic(h: float, c: float, m0: float, *, optimizer: Adam, batch_size: Array) -> Adiabatic:
    """**Prediction** for one coordinate of RMSProp: M' = M (1 - 2 eta h k1) + eta^2 k2.

    k1 = d/dmu E g/sqrt(v) and k2 = E g^2/v at mu = 0 for the actual weights, with variances c / B_t + h^2
    M_t.

    Raises:
        InputError: beta1 > 0 (open), eps outside the root, weight decay, or v0 > 0.
    """
    if optimizer.beta1 != 0.0 or optimizer.weight_decay or optimizer.v0:
        raise input_error(
            got=f"beta1={optimizer.beta1}, weight_decay={optimizer.weight_decay}, v0={optimizer.v0}",
            rule="the predictor is known for RMSProp only: beta1 = 0, no decay, v0 = 0",
            do="use mean_field or monte_carlo",
        )
    if optimizer.eps and optimizer.eps_placement != "inside":
        raise input_error(
            got=f"eps={optimizer.eps} outside the root", rule="eps is inside the root or 0", do="change it"
        )
    table, _ = coefficients(optimizer, batch_size)
    m = float(m0)
    weights, variances = np.empty(0), np.empty(0)
    path, fraction = [m], []
    for row in table:
        k = dict(zip(COLUMNS, row))
        noise = c * k["noise"] ** 2
        fraction.append(h * h * m / (h * h * m + noise))
        weights = np.append(weights * k["beta2"], k["gain2"])
        variances = np.append(variances, noise + h * h * m)
        keep = weights > 1e-9 * weights.sum()
        weights, variances = weights[keep], variances[keep]
        last = np.zeros(len(weights))
        last[-1] = 1.0
        f = gaussian_functionals(k["correct2"] * weights, last, variances, eps=k["eps"])
        eta = k["learning_rate"]
        m = m * (1.0 - 2.0 * eta * h * f.slope) + eta**2 * f.square
        path.append(m)
    fraction = np.array(fraction)
    bad = np.flatnonzero(fraction > 0.5)
    trusted = np.ones(len(path), dtype=bool)
    if len(bad):
        last_beta = max(float(table[:, COLUMNS.index("beta2")].max()), 1e-12)
        memory = int(np.ceil(np.log(0.05) / np.log(last_beta))) if last_beta < 1 else len(path)
        trusted[: min(len(path), bad[-1] + 1 + memory)] = False
    return Adiabatic(second_moment=np.array(path), signal_fraction=fraction, trusted=trusted)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScalingTable:
    """E u_K^2 of one Adam coordinate with eps = 0 over rho = lr h sqrt(B) / sigma and |u0| = |theta0| / lr.

    Attributes:
        log_rho, log_u0: increasing grids, [R], [U].
        rms: sqrt(E u_K^2), [R, U]. standard_error: of rms, from the Monte-Carlo, [R, U].
        interpolation_error: largest relative error of E u_K^2 at the held-out cell centres, beyond two
            standard errors of the Monte-Carlo. Between nodes and centres the function is smooth, so this
            estimates the bound; it does not prove one.
        num_steps: K.
    """

    log_rho: Array
    log_u0: Array
    rms: Array
    standard_error: Array
    interpolation_error: float
    typical_error: float
    num_steps: int

    def second_moment(
        self, h: Array, sigma: Array, x0: Array, *, learning_rate: float, batch_size: int
    ) -> Array:
        """**Prediction** of E theta_K^2 per coordinate, [d], by bilinear interpolation of the rms.

        Raises:
            InputError: a coordinate outside the table (nothing is extrapolated).
        """
        rho = np.log(learning_rate * np.asarray(h) * np.sqrt(batch_size) / np.asarray(sigma))
        u0 = np.log(np.abs(np.asarray(x0, dtype=np.float64)) / learning_rate) + np.zeros_like(rho)
        for name, value, grid in (("rho", rho, self.log_rho), ("u0", u0, self.log_u0)):
            if value.min() < grid[0] - 1e-12 or value.max() > grid[-1] + 1e-12:
                raise input_error(
                    got=f"log {name} from {value.min():.4g} to {value.max():.4g}",
                    rule=f"the table covers {grid[0]:.4g} to {grid[-1]:.4g}",
                    do="build a wider table",
                )
        return np.square(learning_rate * _bilinear(self.log_rho, self.log_u0, self.rms, rho, u0))


def _bilinear(x: Array, log_y: Array, table: Array, at_x: Array, at_log_y: Array) -> Array:
    """Linear in x = log rho and in y = u0 itself: far from the optimum the rms is u0 minus a distance."""
    y, at_y = np.exp(log_y), np.exp(at_log_y)
    i = np.clip(np.searchsorted(x, at_x, side="right") - 1, 0, len(x) - 2)
    j = np.clip(np.searchsorted(y, at_y, side="right") - 1, 0, len(y) - 2)
    s, t = (at_x - x[i]) / (x[i + 1] - x[i]), (at_y - y[j]) / (y[j + 1] - y[j])
    low = (1 - s) * table[i, j] + s * table[i + 1, j]
    high = (1 - s) * table[i, j + 1] + s * table[i + 1, j + 1]
    return (1 - t) * low + t * high


def scaling_table(
    optimizer: Adam,
    *,
    num_steps: int,
    rho: tuple[float, float],
    u0: tuple[float, float],
    points: tuple[int, int] = (33, 65),
    seeds: int = 1000,
    threads: int = 2,
) -> ScalingTable:
    """Build the table by Monte-Carlo on the dimensionless problem lr = 1, sigma = 1, B = 1.

    Args:
        optimizer: an :class:`Adam` with eps = 0, fixed betas, a constant rate and no decay; its rate is
        ignored.
        num_steps: K, of a constant batch size.
        rho, u0: ranges, positive. points: of the grid. seeds: independent paths per point.

    Raises:
        InputError: an optimizer outside the scaling symmetry.
    """
    plain = optimizer.eps == 0 and optimizer.weight_decay == 0 and optimizer.v0 == 0
    if not plain or optimizer.learning_rate_rule != "constant" or None in (optimizer.beta1, optimizer.beta2):
        raise input_error(
            got=f"{optimizer.config()}",
            rule="the symmetry needs eps = 0, v0 = 0, no decay, a constant rate and fixed betas",
            do="use monte_carlo",
        )
    unit = dataclasses.replace(optimizer, learning_rate=1.0)
    xs, ys = np.linspace(*np.log(rho), points[0]), np.linspace(*np.log(u0), points[1])
    centres = [(g[:-1] + g[1:]) / 2 for g in (xs, ys)]
    values, errors = _measure(unit, num_steps, xs, ys, range(seeds), threads)
    held, held_errors = _measure(unit, num_steps, *centres, range(seeds, 2 * seeds), threads)
    grid_x, grid_y = np.meshgrid(*centres, indexing="ij")
    miss = np.abs(_bilinear(xs, ys, values, grid_x, grid_y) - held)
    noise = np.sqrt(held_errors**2 + _bilinear(xs, ys, errors, grid_x, grid_y) ** 2)
    return ScalingTable(
        log_rho=xs,
        log_u0=ys,
        rms=values,
        standard_error=errors,
        interpolation_error=float(max(0.0, np.max(2.0 * (miss - 2.0 * noise) / held))),
        typical_error=float(np.sqrt(np.mean((2.0 * miss / held) ** 2))),
        num_steps=num_steps,
    )


def _measure(
    optimizer: Adam, num_steps: int, xs: Array, ys: Array, seeds: range, threads: int
) -> tuple[Array, Array]:
    grid_x, grid_y = np.meshgrid(xs, ys, indexing="ij")
    problem = noisy_quadratic(np.exp(grid_x.ravel()), 1.0, x0=np.exp(grid_y.ravel()))
    paths = monte_carlo(
        problem, [optimizer], [np.ones(num_steps, np.int64)], seeds=seeds, sums=False, threads=threads
    )
    square = paths.x[0] ** 2
    mean = square.mean(axis=0)
    root = np.sqrt(mean)
    error = square.std(axis=0, ddof=1) / np.sqrt(len(seeds)) / (2.0 * root)
    return root.reshape(grid_x.shape), error.reshape(grid_x.shape)
