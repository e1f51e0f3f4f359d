"""Regularisers that are integrals along the trajectory: TayNODE's total derivative, RNODE's kinetic energy and Jacobian.

Each is a rate that an augmented equation integrates beside the state, d r / dt = rate(t, y); the step control sees the state alone, so
that adding one changes no step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array
from jax.experimental.jet import jet

from zoo.core.errors import UserError

PyTree = Any
# (t, y) -> dy/dt
Field = Callable[[Array, PyTree], PyTree]
# (t, y) -> scalar
Rate = Callable[[Array, PyTree], Array]

TAYLOR_ORDERS = (2, 3, 4)


def mean_square(tree: PyTree) -> Array:
    """Mean of the squares of all entries, a scalar."""
    leaves = jtu.tree_leaves(tree)
    return functools.reduce(jnp.add, [jnp.sum(x**2) for x in leaves]) / max(sum(x.size for x in leaves), 1)


def total_derivative(field: Field, t: Array, y: PyTree, order: int) -> PyTree:
    """d^order y / dt^order along the solution through (t, y), by Taylor-mode differentiation.

    Args:
        field: dy/dt = field(t, y).
        t: scalar.
        y: state, any PyTree of floats.
        order: 2, 3 or 4.

    Raises:
        UserError: another order, or a function in the field that Taylor mode has no rule for (named).

    Kelly et al. 2020, Learning Differential Equations that are Easy to Solve, appendix A.
    """
    if order not in TAYLOR_ORDERS:
        raise UserError(f"order={order}: total derivatives of orders {', '.join(map(str, TAYLOR_ORDERS))} are offered")
    leaves, treedef = jtu.tree_flatten(y)

    def flat(t: Array, *leaves: Array) -> list[Array]:
        return [jnp.ones_like(t), *jtu.tree_leaves(field(t, jtu.tree_unflatten(treedef, leaves)))]

    point = (t, *leaves)
    values = flat(*point)
    series: list[list[Array]] = [[v] for v in values]  # derivatives of (t, y), first order upwards
    try:
        for _ in range(order - 1):
            primal, terms = jet(flat, point, series)
            series = [[v, *more] for v, more in zip(primal, terms)]
    except (KeyError, NotImplementedError) as error:  # jet looks its rules up by primitive
        raise UserError(_no_rule(f"{error}".strip("'"))) from None
    # What jet makes of a rule of its own (custom_jvp): jax.nn.relu, softplus; an AttributeError since JAX 0.12.
    except (jax.errors.UnexpectedTracerError, AttributeError) as error:
        if isinstance(error, AttributeError) and "process_primitive" not in str(error):
            raise
        raise UserError(_no_rule("one with its own derivative rule, such as jax.nn.relu or softplus")) from None
    return jtu.tree_unflatten(treedef, [s[order - 1] for s in series[1:]])


def _no_rule(function: str) -> str:
    return (
        f"the field holds a function that Taylor mode cannot differentiate ({function}): use tanh, sin, exp, silu, gelu, elu "
        "or polynomials, or another regulariser"
    )


def taylor_rate(field: Field, order: int) -> Rate:
    """TayNODE: the mean square of the order-th total derivative."""
    return lambda t, y: mean_square(total_derivative(field, t, y, order))


def kinetic_rate(field: Field) -> Rate:
    """RNODE's kinetic energy: the mean square of dy/dt (Finlay et al. 2020, equation 4)."""
    return lambda t, y: mean_square(field(t, y))


def jacobian_rate(field: Field, key: Array, y0: PyTree) -> Rate:
    """RNODE's Jacobian term: the Hutchinson estimate |e^T df/dy|^2 / size with one normal e for the whole solve.

    Args:
        field: dy/dt = field(t, y).
        key: draws e; fixed along the solve, so that the rate is smooth (Finlay et al. 2020, equation 5).
        y0: a state, for shapes and dtypes.
    """
    leaves, treedef = jtu.tree_flatten(y0)
    keys = jax.random.split(key, len(leaves))
    probe = jtu.tree_unflatten(treedef, [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves)])

    def rate(t: Array, y: PyTree) -> Array:
        _, pull = jax.vjp(lambda y: field(t, y), y)
        return mean_square(pull(probe)[0])

    return rate


def augmented(
    field: Callable[[Array, PyTree, PyTree], PyTree], rates: Mapping[str, Callable[[Field], Rate]]
) -> diffrax.ODETerm:
    """The term of the augmented state (y, {name: integral}).

    Args:
        field: dy/dt = field(t, y, args).
        rates: by name, a function that makes the rate of ``lambda t, y: field(t, y, args)``.
    """

    def both(t: Any, state: Any, args: PyTree) -> Any:
        y, _ = state
        t = jnp.asarray(t)

        def here(t: Array, y: PyTree) -> PyTree:
            return field(t, y, args)

        return here(t, y), {name: make(here)(t, y) for name, make in rates.items()}

    return diffrax.ODETerm(both)


def augmented_state(y0: PyTree, names: Mapping[str, Any]) -> tuple[PyTree, dict[str, Array]]:
    """The initial augmented state: all integrals 0, in the state's dtype."""
    dtype = jnp.result_type(*jtu.tree_leaves(y0))
    return y0, {name: jnp.zeros((), dtype) for name in names}


def state_norm(norm: Callable[[PyTree], Array]) -> Callable[[Any], Array]:
    """A step controller's norm of the augmented state: ``norm`` of the state, the integrals left out."""
    return lambda augmented: norm(augmented[0])
