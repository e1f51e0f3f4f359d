"""The network: message passing with edge attention on half edges (OrbNet, Qiao et al. 2020; our changes are marked).

    m_uv = act(W_m [h_u * h_v * e_uv] + b)
    w^i_uv = tanh(sum over head i of (W_a h_u) * (W_a h_v) * e_uv * e_aux,uv / sqrt(width of a head))
    h_u <- h_u + act(W_h [concat_i sum_v w^i_uv m_uv] + b),   e_uv <- e_uv + act(W_e m_uv + b)
    E_ML = sum_u sum_l Dec^l(h_u^l)

e_aux is linear in an edge's mollified features without a bias, so an edge whose features are zero changes nothing.
Ours: RMS normalisation of h and e (the paper normalises over the batch; an energy must not depend on what else is in it), a
residual edge update, an embedding of the node's element and shell, and readouts that start near zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zoo.core.errors import UserError
from zoo.core.precision import whole_float32
from zoo.orbnet.basis import distance_mollifier, paper_bessel, radial, sines, squashed
from zoo.orbnet.batch import ElementIndex
from zoo.orbnet.features import EDGE_NAMES, NODE_NAMES, Kind, check_kind
from zoo.orbnet.graph import MolecularGraph

# Readouts are in units of this many kcal/mol.
ENERGY_UNIT = 10.0


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a network.

    Attributes:
        kind: of features: "shells", "smooth" or "plain".
        basis: "squashed" (features at several scales beside radial functions) or "paper" (sines on nodes, Bessel functions
            of -ln|X| on edges; SAAO features only).
        width: of node states; a multiple of ``heads``.
        edge_width: of edge states; a multiple of ``heads``.
        layers: message passing steps.
        heads: attention heads.
        full_heads: every head weights the whole message (the paper) rather than its own share of it.
        radial: radial functions, or functions of each feature with basis="paper".
        cutoff: bohr; the mollifier ends every edge here. At most the cut-off of the features.
        scales: of basis="squashed".
    """

    kind: Kind = "shells"
    basis: Literal["squashed", "paper"] = "squashed"
    width: int = 64
    edge_width: int = 64
    layers: int = 2
    heads: int = 4
    full_heads: bool = False
    radial: int = 8
    cutoff: float = 12.0
    scales: tuple[float, ...] = (0.5, 2.0, 8.0)

    def __post_init__(self) -> None:
        check_kind(self.kind)
        if self.basis not in ("squashed", "paper"):
            raise UserError(f"basis={self.basis!r} is not one of squashed, paper")
        if self.basis == "paper" and self.kind == "shells":
            raise UserError("basis='paper' is made for SAAO features: use kind='smooth' or basis='squashed'")
        for name in ("width", "edge_width", "layers", "heads", "radial"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} is not positive")
        if self.edge_width % self.heads:
            raise UserError(f"edge_width={self.edge_width} is not a multiple of heads={self.heads}")
        if not self.cutoff > 0:
            raise UserError(f"cutoff={self.cutoff} bohr is not positive")


class Statistic(nnx.Variable):
    """A number measured on the training set: saved with the model, never trained."""


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Scales of the features on a training set.

    Attributes:
        node_mean, node_scale: mean and standard deviation of node features, (n,).
        edge_scale: root mean square of edge features, (m,).
    """

    node_mean: np.ndarray
    node_scale: np.ndarray
    edge_scale: np.ndarray

    @classmethod
    def of(cls, graphs: Sequence[MolecularGraph]) -> Normalisation:
        """Measured on graphs; a column that never changes gets the scale 1."""
        nodes = np.concatenate([g.node_features for g in graphs])
        edges = np.concatenate([g.edge_features for g in graphs])
        return cls(nodes.mean(0), _positive(nodes.std(0)), _positive(np.sqrt((edges**2).mean(0))))

    @classmethod
    def unit(cls, kind: Kind) -> Normalisation:
        """Leaves features as they are."""
        n, m = len(NODE_NAMES[kind]), len(EDGE_NAMES[kind])
        return cls(np.zeros(n), np.ones(n), np.ones(m))


def _positive(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 1e-8, scale, 1.0)


class Layer(nnx.Module):
    """One message passing step."""

    def __init__(self, config: NetworkConfig, last: bool, rngs: nnx.Rngs) -> None:
        width, edge = config.width, config.edge_width
        self.heads, self.full = config.heads, config.full_heads
        self.project = nnx.Linear(width, edge, use_bias=False, rngs=rngs) if width != edge else None
        self.message = nnx.Linear(edge, edge, rngs=rngs)
        self.attend = nnx.Linear(width, edge, use_bias=False, rngs=rngs)
        self.update = nnx.Linear(edge * (config.heads if config.full_heads else 1), width, rngs=rngs)
        self.edge = None if last else nnx.Linear(edge, edge, rngs=rngs)

    def __call__(
        self, h: jax.Array, e: jax.Array, aux: jax.Array, u: jax.Array, v: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        nodes, edges = rms(h), rms(e)
        projected = nodes if self.project is None else self.project(nodes)
        # Both products in one gather, whose transpose is one scatter instead of two.
        both = jnp.concatenate([projected, self.attend(nodes)], 1)
        pairs = both[u] * both[v]
        width = edges.shape[1]
        message = nnx.silu(self.message(pairs[:, :width] * edges))
        product = (pairs[:, width:] * edges * aux).reshape(len(e), self.heads, -1)
        weight = jnp.tanh(_sum_last(product) * product.shape[-1] ** -0.5)
        shares = message[:, None, :] if self.full else message.reshape(len(e), self.heads, -1)
        weighted = (shares * weight[:, :, None]).reshape(len(e), -1)
        # 0.3 keeps the sum over some tens of neighbours near unit size.
        gathered = 0.3 * (jax.ops.segment_sum(weighted, u, len(h)) + jax.ops.segment_sum(weighted, v, len(h)))
        h = h + nnx.silu(self.update(gathered))
        return h, (e if self.edge is None else e + nnx.silu(self.edge(message)))


class Readout(nnx.Module):
    """A node's contribution to the energy from one layer's state."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(width, width, rngs=rngs)
        small = nnx.initializers.variance_scaling(1e-4, "fan_in", "normal")
        self.out = nnx.Linear(width, 1, use_bias=False, kernel_init=small, rngs=rngs)

    def __call__(self, h: jax.Array) -> jax.Array:
        return self.out(nnx.silu(self.hidden(rms(h))))[:, 0]


class Encoder(nnx.Module):
    """A dense layer and two residual ones."""

    def __init__(self, inputs: int, width: int, blocks: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(inputs, width, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(blocks)])

    def __call__(self, x: jax.Array, shift: Any = 0.0) -> jax.Array:
        return self.rest(self.first(x) + shift)

    def rest(self, x: jax.Array) -> jax.Array:
        """What follows the first dense layer."""
        x = nnx.silu(x)
        for block in self.blocks:
            x = x + nnx.silu(block(x))
        return x


class Network(nnx.Module):
    """E_ML of the molecules of a batch.

    Args:
        config: the shape.
        elements: the elements it is made for.
        normalisation: of the features on the training set.
        rngs: randomness of the initial parameters.
    """

    def __init__(
        self, config: NetworkConfig, elements: ElementIndex, normalisation: Normalisation, rngs: nnx.Rngs
    ) -> None:
        self.config = config
        n, m = len(NODE_NAMES[config.kind]), len(EDGE_NAMES[config.kind])
        paper = config.basis == "paper"
        node_inputs = n * config.radial if paper else n
        edge_inputs = m * config.radial if paper else m * len(config.scales) + config.radial
        self.node_mean = Statistic(jnp.asarray(normalisation.node_mean, jnp.float32))
        self.node_scale = Statistic(jnp.asarray(normalisation.node_scale, jnp.float32))
        self.edge_scale = Statistic(jnp.asarray(normalisation.edge_scale, jnp.float32))
        self.embedding = nnx.Param(jax.random.normal(rngs.params(), (elements.n_types, config.width)))
        self.node_encoder = Encoder(node_inputs, config.width, 2, rngs)
        self.edge_encoder = Encoder(edge_inputs, config.edge_width, 2 if paper else 1, rngs)
        self.auxiliary = nnx.Linear(edge_inputs, config.edge_width, use_bias=False, rngs=rngs)
        self.layers = nnx.List([Layer(config, i == config.layers - 1, rngs) for i in range(config.layers)])
        self.readouts = nnx.List([Readout(config.width, rngs) for _ in range(config.layers + 1)])

    def __call__(self, batch: Mapping[str, Any]) -> jax.Array:
        """E_ML in kcal/mol, (n_molecules,), of a batch as :func:`zoo.orbnet.batch.collate` makes it."""
        config, u, v = self.config, batch["edge_u"], batch["edge_v"]
        nodes = (batch["node_features"] - self.node_mean[...]) / self.node_scale[...]
        if config.basis == "paper":
            nodes = sines(nodes, config.radial)
        h = self.node_encoder(nodes, self.embedding[...][batch["node_type"]])
        inputs = self._edge_inputs(batch["edge_features"], batch["edge_distance"])
        # One product with both kernels: the widest of the edge's matrices is read once.
        kernels = jnp.concatenate([self.edge_encoder.first.kernel[...], self.auxiliary.kernel[...]], 1)
        if config.basis == "squashed":
            kernels = _scale_by_scale(kernels, len(config.scales), len(self.edge_scale[...]))
        e, aux = jnp.split(inputs @ kernels, 2, axis=1)
        e = self.edge_encoder.rest(e + self.edge_encoder.first.bias[...])  # pyright: ignore[reportOptionalSubscript]
        energy = self.readouts[0](h)
        for layer, readout in zip(self.layers, list(self.readouts)[1:]):
            h, e = layer(h, e, aux, u, v)
            energy = energy + readout(h)
        n_molecules = len(batch["molecule_mask"])
        total = jax.ops.segment_sum(energy, batch["node_molecule"], n_molecules + 1)[:n_molecules]
        return ENERGY_UNIT * total * batch["molecule_mask"]

    def _edge_inputs(self, features: jax.Array, distance: jax.Array) -> jax.Array:
        config = self.config
        end = distance_mollifier(distance, config.cutoff)[:, None]
        if config.basis == "paper":
            return end * paper_bessel(features, config.radial)
        scaled = squashed(features / self.edge_scale[...], config.scales)
        return end * jnp.concatenate([scaled, radial(distance, config.cutoff, config.radial)], 1)


def as_function(graphdef: nnx.GraphDef[Network], *states: nnx.State) -> Callable[[Mapping[str, Any]], jax.Array]:
    """batch -> E_ML in kcal/mol, (n_molecules,), jitted; parameters are constants of it, so that a call hands over a batch alone."""
    return jax.jit(whole_float32(lambda batch: nnx.merge(graphdef, *states)(batch)))


@jax.custom_jvp
def _sum_last(x: jax.Array) -> jax.Array:
    """The sum over the last axis, by halves while it is even: of as few as a head's, XLA's own takes three times as long on a CPU."""
    while x.shape[-1] % 2 == 0:
        half = x.shape[-1] // 2
        x = x[..., :half] + x[..., half:]
    return x.sum(-1)


@_sum_last.defjvp
def _sum_last_jvp(x: tuple[jax.Array], dx: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    # A sum's transpose is one broadcast; that of the halves would be a padding each.
    return _sum_last(x[0]), dx[0].sum(-1)


def _scale_by_scale(kernel: jax.Array, scales: int, features: int) -> jax.Array:
    """Rows of a kernel, stored feature by feature, in the order of :func:`zoo.orbnet.basis.squashed`; rows after them stay."""
    own = kernel[: scales * features].reshape(features, scales, -1)
    return jnp.concatenate([own.swapaxes(0, 1).reshape(scales * features, -1), kernel[scales * features :]])


def rms(x: jax.Array) -> jax.Array:
    """x / sqrt(mean of x^2 + 0.1) over the last axis; the constant keeps the slope at zero finite."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 0.1)
