"""What ``zoo bench orbnet`` stands on: matrix products found in a program, the DFT row, and a quick run of the real thing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tblite", reason="orbnet features need tblite")
pytest.importorskip("rdkit", reason="molecules are embedded with RDKit")

from zoo.core import bench
from zoo.core.errors import UserError, ZooError
from zoo.orbnet import benches, dft
from zoo.orbnet.matmuls import products, run_products
from zoo.orbnet.timings import alkane


def test_all_products_of_a_gradient_are_found() -> None:
    a, b = jnp.ones((3, 5)), jnp.ones((5, 7))
    (one,) = products(lambda a, b: a @ b, a, b)
    assert one.flops == 2 * 3 * 5 * 7
    found = products(jax.jit(jax.grad(lambda a, b: jnp.sum((a @ b) ** 2), (0, 1))), a, b)
    assert sorted(p.flops for p in found) == [210, 210, 210]
    assert len(jax.tree.leaves(run_products(found)())) == 3


def test_the_alkane_is_one() -> None:
    molecule = alkane(5)
    assert molecule.formula == "C5H12"
    distances = np.linalg.norm(molecule.positions_angstrom[:, None] - molecule.positions_angstrom, axis=-1)
    bonds = distances[np.triu_indices(17, 1)]
    assert ((bonds > 1.05) & (bonds < 1.12)).sum() == 12  # C-H
    assert ((bonds > 1.5) & (bonds < 1.56)).sum() == 4  # C-C
    assert bonds.min() > 1.05


def test_the_row_of_dft_takes_processor_time_of_one_thread() -> None:
    figure = {
        "molecule": "m", "cpu_seconds": 900.0, "functional": "HYB_GGA_XC_WB97X_D3", "basis": "b", "atoms": 40,
        "basis_functions": 700, "machine": "some",
    }  # fmt: skip
    rows = [{"name": "prediction, m", "ms": 1.0, "spread_ms": 0.1, "threads": 2}]
    rows.append({"name": "prediction, m", "ms": 90.0, "spread_ms": 1.0, "threads": 1})
    found = benches.dft_row(rows, figure, "committed")
    assert found["ratio"] == pytest.approx(1e4)
    assert found["peer"] == "WB97X-D3/b, PySCF, committed"


def test_with_dft_needs_pyscf_and_a_failing_process_is_said(monkeypatch) -> None:
    monkeypatch.setattr(dft, "available", lambda: False)
    with pytest.raises(UserError, match="PySCF is not installed"):
        benches.orbnet_rows(with_dft=True)
    monkeypatch.setattr(bench.sys, "executable", "/bin/false")
    with pytest.raises(ZooError, match="ended with status 1"):
        benches.orbnet_rows()


@pytest.mark.slow
def test_a_quick_run_has_every_kind_of_row() -> None:
    rows = bench.by_threads("zoo.orbnet.timings", "--quick", threads=(1,))
    names = {r["name"].split(",")[0] for r in rows}
    assert names == {"network", "prediction", "converged GFN1-xTB", "features", "padding and network", "training step"}
    assert all(r["ms"] > 0 for r in rows)
    assert all(r["over_floor"] > 1 for r in rows if r["name"].startswith("training step"))
