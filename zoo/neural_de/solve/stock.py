"""Other solvers and controllers: stock diffrax on a state that carries the regularisers along, with frozen step sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from diffrax import AbstractTerm
from diffrax._root_finder import use_stepsize_tol
from diffrax._term import WrapTerm
from jax import Array

from zoo.core.errors import UserError
from zoo.neural_de.solve import trees
from zoo.neural_de.solve.regularizers import Plan
from zoo.neural_de.solve.solution import RegularizedSolution
from zoo.neural_de.solve.tableau import shared_time_stages, stability_extent

PyTree = Any


class _Carrier(AbstractTerm):
    """A term for the state (y, totals): the inner one, and totals that no field moves."""

    inner: AbstractTerm

    def vf(self, t: Any, y: PyTree, args: PyTree) -> PyTree:
        state, totals = y
        return self.inner.vf(t, state, args), trees.zeros_like(totals)

    def contr(self, t0: Any, t1: Any, **kwargs: Any) -> Any:
        return self.inner.contr(t0, t1, **kwargs)

    def prod(self, vf: PyTree, control: Any) -> PyTree:
        return self.inner.prod(vf[0], control), vf[1]


class _CarrierInterpolation(diffrax.AbstractLocalInterpolation):
    t0: Any
    t1: Any
    inner: Any
    totals: Any

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> PyTree:
        return self.inner.evaluate(t0, t1, left), self.totals


class _Carrying(diffrax.AbstractAdaptiveSolver):
    """A solver of (y, totals) that adds each step's regularisers to the totals; diffrax keeps them only of accepted steps."""

    solver: Any
    tolerances: tuple[Any, Any, Any] | None  # rtol, atol, norm
    plan: Plan = eqx.field(static=True)

    term_structure = AbstractTerm

    @property
    def interpolation_cls(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        def make(*, t0: Any, t1: Any, inner: PyTree, totals: PyTree) -> _CarrierInterpolation:
            return _CarrierInterpolation(t0, t1, self.solver.interpolation_cls(t0=t0, t1=t1, **inner), totals)

        return make

    def order(self, terms: Any) -> Any:
        return self.solver.order(_inner(terms))

    def error_order(self, terms: Any) -> Any:
        return self.solver.error_order(_inner(terms))

    def init(self, terms: Any, t0: Any, t1: Any, y0: PyTree, args: PyTree) -> Any:
        return self.solver.init(_inner(terms), t0, t1, y0[0], args)

    def func(self, terms: Any, t0: Any, y0: PyTree, args: PyTree) -> PyTree:
        return self.solver.func(_inner(terms), t0, y0[0], args), trees.zeros_like(y0[1])

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: PyTree, args: PyTree, solver_state: Any, made_jump: Any
    ) -> tuple[PyTree, PyTree, PyTree, Any, Any]:
        y, totals = y0
        y1, error, dense, solver_state, result = self.solver.step(
            _inner(terms), t0, t1, y, args, solver_state, made_jump
        )
        values = self.plan.values(*self._measure(t1 - t0, y, y1, error, dense), t1 - t0)
        sums, counts = totals
        sums = [
            jnp.maximum(s, v) if reduction == "max" else s + v
            for s, v, reduction in zip(sums, values, self.plan.reductions, strict=True)
        ]
        no_error = None if error is None else (error, trees.zeros_like(totals))
        new = (sums, counts + 1)
        return (y1, new), no_error, {"inner": dense, "totals": new}, solver_state, result

    def _measure(self, span: Array, y: PyTree, y1: PyTree, error: PyTree, dense: PyTree) -> tuple[Array, Array]:
        zero = jnp.zeros((), trees.dtype_of(y))
        scaled, stiff = zero, zero
        if self.plan.needs_error:
            assert self.tolerances is not None
            rtol, atol, norm = self.tolerances
            tree = jtu.tree_map(lambda e, a, b: e / (atol + jnp.maximum(jnp.abs(a), jnp.abs(b)) * rtol), error, y, y1)
            scaled = (trees.rms(tree) if norm is None else norm(tree)).astype(zero.dtype)
        if self.plan.needs_stiffness:
            tableau = self.solver.tableau
            pair = shared_time_stages(tableau)
            assert pair is not None
            first, second = pair
            rows = [np.zeros(0), *tableau.a_lower]

            def change(k: Array) -> Array:  # of the stages' states, from H k
                a = np.zeros(k.shape[0])
                a[: len(rows[second])] += rows[second]
                a[: len(rows[first])] -= rows[first]
                return jnp.tensordot(jnp.asarray(a, k.dtype), k, 1)

            below = trees.rms(jtu.tree_map(change, dense["k"]))
            above = trees.rms(jtu.tree_map(lambda k: k[second] - k[first], dense["k"])) / jnp.abs(span)
            apart = below > 0
            stiff = jnp.where(apart, above / jnp.where(apart, below, 1), 0) / stability_extent(tableau)
        return scaled, stiff


def _inner(terms: Any) -> Any:
    if isinstance(terms, WrapTerm):
        assert isinstance(terms.term, _Carrier)
        return WrapTerm(terms.term.inner, terms.direction)
    assert isinstance(terms, _Carrier)
    return terms.inner


def _tolerances(controller: Any) -> tuple[Any, Any, Any] | None:
    if isinstance(controller, diffrax.ClipStepSizeController):
        return _tolerances(controller.controller)
    if isinstance(controller, diffrax.PIDController):
        return controller.rtol, controller.atol, controller.norm
    return None


def _on_states(controller: Any) -> Any:
    """The controller with its norm looking at the state alone."""
    if isinstance(controller, diffrax.ClipStepSizeController):
        return eqx.tree_at(lambda c: c.controller, controller, _on_states(controller.controller))
    if isinstance(controller, diffrax.PIDController):
        norm = controller.norm
        return dataclasses.replace(controller, norm=lambda carried: norm(carried[0]))
    return controller


def _evaluations(solver: Any, steps: Array) -> Array | None:
    """Evaluations of the field in ``steps`` attempts; None for solvers whose inner iterations are not counted."""
    if isinstance(solver, diffrax.AbstractERK) and isinstance(solver.tableau, diffrax.ButcherTableau):
        stages = solver.tableau.num_stages
        return 1 + (stages - 1) * steps if solver.tableau.fsal else stages * steps
    return steps if isinstance(solver, diffrax.Euler) else None


def check(solver: Any, controller: Any, plan: Plan) -> None:
    """Refuse what cannot be served.

    Raises:
        UserError: an error regulariser without error estimate or tolerance, a stiffness
            regulariser for a solver without two stages at one time.
    """
    name = type(solver).__name__
    if plan.needs_error and not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        raise UserError(f"regularizers={plan.names!r}: {name} has no error estimate; Tsit5 and Dopri5 have")
    if plan.needs_error and _tolerances(controller) is None:
        raise UserError(
            f"regularizers={plan.names!r}: {type(controller).__name__} has no tolerance to scale the error by; "
            "give stepsize_controller=diffrax.PIDController(rtol=..., atol=...)"
        )
    if plan.needs_stiffness:
        tableau = solver.tableau if isinstance(solver, diffrax.AbstractERK) else None
        if not isinstance(tableau, diffrax.ButcherTableau) or shared_time_stages(tableau) is None:
            raise UserError(
                f"regularizers={plan.names!r}: {name} has no two stages at one time to estimate stiffness from; "
                "Tsit5, Dopri5 and Dopri8 have"
            )


def solve(
    terms: Any,
    solver: Any,
    t0: Any,
    t1: Any,
    dt0: Any,
    y0: PyTree,
    args: PyTree,
    saveat: diffrax.SaveAt,
    controller: Any,
    max_steps: int,
    plan: Plan,
    checkpoints: int | None,
) -> RegularizedSolution:
    """See zoo.neural_de.solve; ``y0`` is promoted, the rest as the user gave it."""
    check(solver, controller, plan)
    tolerances = _tolerances(controller)
    if isinstance(solver, diffrax.AbstractImplicitSolver) and tolerances is not None:
        # diffeqsolve would do this, were the solver not inside another.
        finder = solver.root_finder
        given = dict(zip(("rtol", "atol", "norm"), tolerances, strict=True))
        unset = {key: value for key, value in given.items() if getattr(finder, key) is use_stepsize_tol}
        solver = dataclasses.replace(solver, root_finder=dataclasses.replace(finder, **unset))
    is_sub = lambda x: isinstance(x, diffrax.SubSaveAt)  # noqa: E731

    def on_state(sub: diffrax.SubSaveAt) -> diffrax.SubSaveAt:
        fn = sub.fn
        return eqx.tree_at(lambda s: s.fn, sub, lambda t, carried, args: fn(t, carried[0], args))

    users = jtu.tree_map(on_state, saveat.subs, is_leaf=is_sub)
    totals = diffrax.SubSaveAt(t1=True, fn=lambda t, carried, args: carried[1])
    zero = jnp.zeros((), trees.dtype_of(y0))
    start = (y0, ([zero for _ in plan.names], zero))
    found = diffrax.diffeqsolve(
        _Carrier(terms),
        _Carrying(solver, tolerances, plan),
        t0,
        t1,
        dt0,
        start,
        args,
        saveat=diffrax.SaveAt(subs=(users, totals), dense=saveat.dense),
        stepsize_controller=_on_states(controller),
        adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=checkpoints),
        max_steps=max_steps,
        throw=False,
    )
    assert found.ts is not None
    assert found.ys is not None
    sums, count = jtu.tree_map(lambda x: x[-1], found.ys[1])
    interpolation = None
    if found.interpolation is not None:
        whole = found.interpolation
        interpolation = diffrax.DenseInterpolation(
            ts=whole.ts,
            ts_size=whole.ts_size,
            infos=whole.infos["inner"],
            interpolation_cls=solver.interpolation_cls,
            direction=whole.direction,
            t0_if_trivial=whole.t0_if_trivial,
            y0_if_trivial=y0,
        )
    return RegularizedSolution(
        t0=found.t0,
        t1=found.t1,
        ts=found.ts[0],
        ys=found.ys[0],
        interpolation=interpolation,
        stats={**found.stats, "nfe": _evaluations(solver, found.stats["num_steps"])},
        result=found.result,
        solver_state=None,
        controller_state=None,
        made_jump=None,
        event_mask=None,
        regularizers=plan.finish(sums, count),
    )
