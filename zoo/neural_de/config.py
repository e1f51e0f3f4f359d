"""The configuration of neural-differential-equation experiments, beyond the keys every family has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from zoo.core.schema import BaseConfig, require
from zoo.neural_de.data import ImageDataConfig

# What the solver computes at each step, and what is integrated beside the state.
HEURISTICS = ("R_E", "R_E2", "R_S", "S")
INTEGRALS = ("taylor", "kinetic", "jacobian")


@dataclass(frozen=True, kw_only=True)
class NodeModelConfig:
    """The paper's MNIST field: (d + 1) -> hidden -> d, tanh, time concatenated to both layers, then Linear d -> classes.

    ``outer_scale`` and ``head_scale`` multiply the initial weights of the field's outer layer and of the readout: 1 is the paper's Glorot;
    an outer layer of 0 starts from a field that does nothing, and behind a larger readout a smaller field does.
    """

    hidden: int = 100
    classes: int = 10
    outer_scale: float = 1.0
    head_scale: float = 1.0

    def __post_init__(self) -> None:
        require(self.hidden >= 1, f"hidden={self.hidden}: it must be at least 1")
        require(self.classes >= 2, f"classes={self.classes}: it must be at least 2")
        require(self.outer_scale >= 0, f"outer_scale={self.outer_scale}: it must be at least 0")
        require(self.head_scale > 0, f"head_scale={self.head_scale}: it must be above 0")


@dataclass(frozen=True, kw_only=True)
class SolverConfig:
    """How the ODE is solved, in training and in prediction.

    ``control``: one step size for the whole batch (the paper's), or one for each sample. ``h_grad``: whether gradients go
    through the step sizes (``exact``, the paper's discrete adjoint) or hold them (``frozen``, stock diffrax's).
    """

    name: Literal["tsit5", "dopri5"] = "tsit5"
    rtol: float = 1.4e-8
    atol: float = 1.4e-8
    t1: float = 1.0
    max_steps: int = 256
    control: Literal["batch", "sample"] = "batch"
    h_grad: Literal["exact", "frozen"] = "exact"

    def __post_init__(self) -> None:
        require(self.rtol > 0, f"rtol={self.rtol}: it must be above 0")
        require(self.atol > 0, f"atol={self.atol}: it must be above 0")
        require(self.t1 > 0, f"t1={self.t1}: it must be above 0")
        require(self.max_steps >= 1, f"max_steps={self.max_steps}: it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class CoefficientConfig:
    """The coefficient of one regularisation term over the run.

    It starts at ``coefficient`` and, where ``final`` is given, falls (or rises) to it exponentially over the run. Over the first
    ``warmup_steps`` it is scaled up linearly from 0. With ``target_nfe`` it is scaled by clip(10 (nfe / target - 1), 0, 1): a proportional
    controller that lets go where the batch's solve takes no more evaluations than the target.
    """

    coefficient: float
    final: float | None = None
    warmup_steps: int = 0
    target_nfe: float | None = None

    def __post_init__(self) -> None:
        require(
            self.coefficient > 0, f"coefficient={self.coefficient}: it must be above 0; leave the term out for none"
        )
        require(self.final is None or self.final > 0, f"final={self.final}: an exponential schedule ends above 0")
        require(self.warmup_steps >= 0, f"warmup_steps={self.warmup_steps}: it must be at least 0")
        target = self.target_nfe
        require(target is None or target > 0, f"target_nfe={target}: it must be above 0, or null for no target")


@dataclass(frozen=True, kw_only=True)
class TermConfig(CoefficientConfig):
    """A solver's heuristic, reduced over the accepted steps."""

    reduce: Literal["sum", "mean", "max"] = "sum"


@dataclass(frozen=True, kw_only=True)
class TaylorConfig(CoefficientConfig):
    """TayNODE: the integral of the mean square of the total derivative of this order (2 to 4)."""

    order: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(2 <= self.order <= 4, f"order={self.order}: total derivatives of order 2, 3 and 4 are offered")


@dataclass(frozen=True, kw_only=True)
class LocalConfig(CoefficientConfig):
    """Local regularisation: E h of one extra step, at a uniform time (``unbiased``) or an accepted step (``biased``)."""

    mode: Literal["unbiased", "biased"] = "unbiased"


@dataclass(frozen=True, kw_only=True)
class RegularizeConfig:
    """What is added to the loss, each term left out where it is null, and STEER.

    ``R_E`` = sum E h, ``R_E2`` = sum E^2, ``R_S`` = sum S h, ``S`` the stiffness without the step length (the original code's form);
    ``local``; ``taylor`` (TayNODE); ``kinetic`` and ``jacobian`` (RNODE). ``outer`` is the mean over the state's entries of the sum of
    squares of the field's outer weights (kernel, time, bias), which multiply an error of what enters them, round-off for one. ``steer``
    is the half width b of the training end time, drawn uniformly from (t1 - b, t1 + b); 0 switches it off.
    """

    R_E: TermConfig | None = None
    R_E2: TermConfig | None = None
    R_S: TermConfig | None = None
    S: TermConfig | None = None
    local: LocalConfig | None = None
    taylor: TaylorConfig | None = None
    kinetic: CoefficientConfig | None = None
    jacobian: CoefficientConfig | None = None
    outer: CoefficientConfig | None = None
    steer: float = 0.0

    def __post_init__(self) -> None:
        require(self.steer >= 0, f"steer={self.steer}: it must be at least 0 (0 switches it off)")
        if self.local is not None:
            others = [n for n in (*HEURISTICS, *INTEGRALS) if getattr(self, n) is not None]
            require(not others, f"local does not go together with {', '.join(others)}: choose one of them")

    def terms(self) -> dict[str, CoefficientConfig]:
        """The terms that are on, by name."""
        names = (*HEURISTICS, *INTEGRALS, "local", "outer")
        return {name: term for name in names if (term := getattr(self, name)) is not None}

    def heuristics(self) -> dict[str, TermConfig]:
        """Those of the terms that the solver itself computes."""
        return {name: term for name in HEURISTICS if (term := getattr(self, name)) is not None}


@dataclass(frozen=True, kw_only=True)
class NodeClassifierConfig(BaseConfig):
    """``task: classify``: a neural ODE that classifies images."""

    model: NodeModelConfig
    data: ImageDataConfig
    solver: SolverConfig = field(default_factory=SolverConfig)
    regularize: RegularizeConfig = field(default_factory=RegularizeConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        steer, t1 = self.regularize.steer, self.solver.t1
        require(steer < t1, f"regularize.steer={steer} reaches back to the start time: keep it below solver.t1={t1}")
        for name, term in self.regularize.terms().items():
            require(
                term.warmup_steps <= self.trainer.steps,
                f"regularize.{name}.warmup_steps={term.warmup_steps} is longer than the run of "
                f"trainer.steps={self.trainer.steps}",
            )
