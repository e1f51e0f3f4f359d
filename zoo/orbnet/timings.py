"""The rows of ``zoo bench orbnet`` that one process measures with its number of threads (see :mod:`zoo.orbnet.benches`).

The network is an untrained one of the released shape: time does not depend on what the weights are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from zoo.core.bench import Timing, interleaved, print_rows, row
from zoo.core.progress import say
from zoo.orbnet.batch import ElementIndex, collate
from zoo.orbnet.dft import molecule as dft_molecule
from zoo.orbnet.elements import BOHR_ANGSTROM
from zoo.orbnet.energy import EnergyModel
from zoo.orbnet.facts import Facts
from zoo.orbnet.gfn1 import converge, single_point
from zoo.orbnet.graph import MolecularGraph
from zoo.orbnet.linear import LinearPart
from zoo.orbnet.matmuls import products, run_products
from zoo.orbnet.model import Network, NetworkConfig, Normalisation, as_function
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.parallel import graph_of
from zoo.orbnet.readers.smiles import from_smiles

PEER = "GFN1-xTB single point, tblite"
# Issue of the bench: the network at most half of the single point, the whole prediction at most 1.8 of it.
NETWORK_RATIO, PREDICTION_RATIO, STEP_OVER_FLOOR = 2.0, 1.0 / 1.8, 3.0
SMILES = {
    "cresol": "Cc1ccccc1O",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "sulfonamide": "CCCN(CCC)C(=O)c1cc(ccc1OC)S(=O)(=O)NC(C)C",
}
# Carbons of the alkanes that growth is measured on: 26, 50, 101, 200 and 299 atoms.
ALKANES = (8, 16, 33, 66, 99)
ELEMENTS = (1, 6, 7, 8, 16)
MICRO_BATCHES = (1, 2, 4)


def alkane(carbons: int) -> Molecule:
    """The all-trans chain of that many carbons, C-C 1.53 A, C-H 1.09 A, C-C-C 111 degrees."""
    half = np.deg2rad(111.0) / 2
    step, rise = 1.53 * np.sin(half), 1.53 * np.cos(half)
    side = np.where(np.arange(carbons) % 2, -1.0, 1.0)
    chain = np.stack([step * np.arange(carbons), side * rise / 2, np.zeros(carbons)], 1)
    tilt = np.deg2rad(53.5)
    hydrogens = [
        chain + 1.09 * np.stack([np.zeros(carbons), side * np.cos(tilt), sign * np.sin(tilt) * np.ones(carbons)], 1)
        for sign in (-1, 1)
    ]
    ends = np.array(
        [chain[i] + 1.09 / 1.53 * np.array([d * step, -side[i] * rise, 0.0]) for i, d in ((0, -1), (-1, 1))]
    )
    positions = np.concatenate([chain, *hydrogens, ends])
    numbers = np.array([6] * carbons + [1] * (2 * carbons + 2))
    return Molecule(numbers, positions / BOHR_ANGSTROM, name=f"alkane C{carbons}")


def untrained(config: NetworkConfig, graphs: list[MolecularGraph]) -> tuple[EnergyModel, Any, nnx.State]:
    """A model of that shape with random weights, and its network as (graphdef, state)."""
    normalisation = Normalisation.of(graphs)
    network = Network(config, ElementIndex(ELEMENTS), normalisation, nnx.Rngs(0))
    facts = Facts(ELEMENTS, (0,), (0,), (1, 1000), LinearPart(np.zeros(len(ELEMENTS) + 1)), normalisation)
    graphdef, state = nnx.split(network)
    return EnergyModel(config, facts, as_function(graphdef, state)), graphdef, state


def prediction_rows(model: EnergyModel, molecules: list[Molecule], repeats: int, targets: bool = True) -> list[Any]:
    """Network and whole prediction of each molecule beside tblite's own single point."""
    rows = []
    for molecule in molecules:
        say(f"{molecule.name}, {molecule.n_orbitals} orbitals")
        graph = model.graph(converge(molecule))
        batch = {k: jnp.asarray(v) for k, v in model.batch(graph).items()}
        once = repeats == 1  # large: the single point is minutes of a machine's time
        jax.block_until_ready(model.network(batch))
        timing = interleaved(
            {
                "peer": lambda m=molecule: single_point(m).energy,
                "network": lambda b=batch: model.network(b),
                "prediction": lambda m=molecule: model.energy(model.graph(converge(m))),
            },
            repeats=repeats,
            warmup=0 if once else 2,
        )
        size: dict[str, Any] = {"atoms": len(molecule), "orbitals": molecule.n_orbitals, "edges": graph.n_edges}
        for name, least in (("network", NETWORK_RATIO), ("prediction", PREDICTION_RATIO)):
            wanted: dict[str, Any] = {"target_ratio": round(least, 3)} if targets else {}
            rows.append(
                row(f"{name}, {molecule.name}", timing[name], peer=PEER, peer_timing=timing["peer"], **size, **wanted)
            )
    return rows


def training_rows(
    config: NetworkConfig, graphdef: Any, state: nnx.State, graph: MolecularGraph, repeats: int
) -> list[Any]:
    """A training step (loss, gradient, Adam) on micro-batches of one molecule's graph beside its matrix products alone."""
    params, rest = nnx.split_state(state, nnx.Param, ...)
    optimiser = optax.adam(1e-3)
    moments = optimiser.init(params)

    def loss(params: nnx.State, batch: Mapping[str, Any]) -> jax.Array:
        energy = nnx.merge(graphdef, params, rest)(batch)
        return jnp.mean((energy - 1.0) ** 2)

    def step(params: nnx.State, moments: Any, batch: Mapping[str, Any]) -> Any:
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, moments = optimiser.update(gradient, moments, params)
        return optax.apply_updates(params, updates), moments, value

    functions: dict[str, Callable[[], Any]] = {}
    for n in MICRO_BATCHES:
        shape = (-(-(graph.n_nodes * n + 1) // 8) * 8, -(-graph.n_edges * n // 8) * 8)
        batch = {k: jnp.asarray(v) for k, v in collate([graph] * n, ElementIndex(ELEMENTS), shape, n).items()}
        found = products(step, params, moments, batch)
        compiled = jax.jit(step)
        functions[f"step {n}"] = lambda f=compiled, b=batch: f(params, moments, b)
        functions[f"floor {n}"] = run_products(found)
    timing = interleaved(functions, repeats=repeats, warmup=3)
    rows = []
    for n in MICRO_BATCHES:
        ours, floor = timing[f"step {n}"], timing[f"floor {n}"].ms
        plural = "s" if n > 1 else ""
        extra: dict[str, Any] = {"over_floor": round(ours.ms / floor, 3), "ms_per_molecule": round(ours.ms / n, 4)}
        wanted: dict[str, Any] = {"target_over_floor": STEP_OVER_FLOOR} if n <= 2 else {}
        name = f"training step, {n} molecule{plural} of {graph.n_nodes} shells and {graph.n_edges} edges"
        rows.append(row(name, ours, floor_ms=floor, **extra, **wanted))
    return rows


def part_rows(model: EnergyModel, molecule: Molecule, repeats: int) -> tuple[list[Any], Timing]:
    """What the prediction of the DFT's molecule is made of; its whole timing beside."""
    converged = converge(molecule)
    graph = model.graph(converged)
    timing = interleaved(
        {
            "converged GFN1-xTB": lambda: converge(molecule),
            "features": lambda: model.graph(converged),
            "padding and network": lambda: model.energy(graph),
            "prediction": lambda: model.energy(model.graph(converge(molecule))),
        },
        repeats=repeats,
    )
    names = ("converged GFN1-xTB", "features", "padding and network")
    size: dict[str, Any] = {"atoms": len(molecule), "orbitals": molecule.n_orbitals, "edges": graph.n_edges}
    return [row(f"{name}, {molecule.name}", timing[name], **size) for name in names], timing["prediction"]


def all_rows(*, quick: bool = False) -> list[dict[str, Any]]:
    """Everything, with as many threads as the process has; ``quick`` takes the smallest molecules once, for tests."""
    config = NetworkConfig()
    repeats = 1 if quick else 9
    molecules = [from_smiles(smiles, name=name, relax=False)[0] for name, smiles in SMILES.items()]
    chains = [alkane(n) for n in ALKANES]
    last = dft_molecule()
    if quick:
        molecules, chains, last = molecules[:1], chains[:1], molecules[0]
    graphs = [graph_of(m, config.kind, config.cutoff) for m in molecules]
    model, graphdef, state = untrained(config, graphs)
    rows = prediction_rows(model, molecules, repeats)
    parts, whole = part_rows(model, last, repeats)
    rows += [*parts, row(f"prediction, {last.name}", whole, atoms=len(last), orbitals=last.n_orbitals)]
    rows += training_rows(config, graphdef, state, graphs[min(1, len(graphs) - 1)], repeats)
    for chain in chains:
        rows += prediction_rows(model, [chain], 1 if len(chain) > 150 else repeats, targets=False)
    return rows


if __name__ == "__main__":
    print_rows(lambda: all_rows(quick="--quick" in sys.argv))
