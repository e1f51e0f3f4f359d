"""The DFT single point that speed is held against: wB97X-D3/def2-TZVP in PySCF, timed once and committed.

PySCF is no dependency: ``pip install pyscf`` into the environment that times it anew.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

from zoo.core import machine
from zoo.core.atomic import write_file
from zoo.core.errors import UserError, ZooError
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.readers.smiles import from_smiles

# Diphenhydramine: 40 atoms, a drug.
SMILES, NAME = "CN(C)CCOC(c1ccccc1)c1ccccc1", "diphenhydramine"
FUNCTIONAL, BASIS = "HYB_GGA_XC_WB97X_D3", "def2-tzvp"
MEMORY_MB = 9000  # the fitted integrals of 40 atoms stay in memory
FIGURE = Path("results") / "orbnet" / "dft_time.json"
NOTE = (
    "SCF with density fitting (def2-TZVP's JK set), the fastest way PySCF has on one core, from its default guess to its default "
    "threshold on default grids. The D3 correction itself, milliseconds beside the SCF, is left out. cpu_seconds is the processor "
    "time of the one thread, seconds the wall clock."
)


def molecule() -> Molecule:
    """The molecule that both methods are timed on, embedded by RDKit with seed 0 and relaxed with MMFF94."""
    return from_smiles(SMILES, name=NAME, relax=False)[0]


def available() -> bool:
    """Whether PySCF can be imported."""
    return importlib.util.find_spec("pyscf") is not None


def time_dft(of: Molecule, *, functional: str = FUNCTIONAL, basis: str = BASIS, verbose: int = 4) -> dict[str, Any]:
    """Time one DFT single point of a closed-shell molecule on one thread.

    Args:
        of: the molecule.
        functional: by its name in libxc.
        basis: by its name in PySCF.
        verbose: 4 prints each cycle on stdout, 0 nothing.

    Returns:
        What is written to ``results/orbnet/dft_time.json``: molecule, sizes, energy in hartree, seconds, machine, versions.

    Raises:
        UserError: PySCF is not installed, or an open shell.
        ZooError: the SCF did not converge.
    """
    if not available():
        raise UserError(
            "PySCF is not installed: pip install pyscf, or leave --with-dft out and use the committed figure"
        )
    if of.spin:
        raise UserError(f"{of.label}spin={of.spin}: the DFT time is that of a closed shell")
    import pyscf.dft  # pyright: ignore[reportMissingImports]
    import pyscf.gto  # pyright: ignore[reportMissingImports]
    import pyscf.lib  # pyright: ignore[reportMissingImports]

    with pyscf.lib.with_omp_threads(1):
        atoms = list(zip(of.symbols, of.positions_bohr.tolist()))
        mol = pyscf.gto.M(
            atom=atoms, unit="Bohr", basis=basis, charge=of.charge, spin=0, verbose=verbose, max_memory=MEMORY_MB
        )
        solver = pyscf.dft.RKS(mol, xc=functional).density_fit()
        wall, processor = time.perf_counter(), time.process_time()
        energy = float(solver.kernel())
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - processor
    if not solver.converged:
        raise ZooError(f"{of.label}{functional}/{basis} did not converge in {seconds:.0f} s")
    return {
        "molecule": of.name,
        "smiles": SMILES if of.name == NAME else None,
        "formula": of.formula,
        "atoms": len(of),
        "basis_functions": int(mol.nao),
        "functional": functional,
        "basis": basis,
        "density_fitting": True,
        "energy_hartree": energy,
        "cycles": int(getattr(solver, "cycles", 0)),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "threads": 1,
        "versions": {name: importlib.metadata.version(name) for name in ("pyscf", "rdkit", "numpy")},
        "machine": machine.facts()["summary"],
        "note": NOTE,
    }


def write(path: Path, of: Molecule | None = None, **options: Any) -> dict[str, Any]:
    """Time the molecule and write the figure to ``path``, in place of the one that is there."""
    figure = time_dft(of or molecule(), **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    write_file(path, (json.dumps(figure, indent=1) + "\n").encode())
    return figure
