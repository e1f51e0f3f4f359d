"""Time one wB97X-D3/def2-TZVP single point in PySCF and write results/orbnet/dft_time.json.

Run from the repository root in an environment with pyscf: OMP_NUM_THREADS=1 python scripts/orbnet_dft_time.py [PATH]
It takes tens of minutes on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

from zoo.orbnet.dft import FIGURE, write

if __name__ == "__main__":
    figure = write(Path(sys.argv[1]) if len(sys.argv) > 1 else FIGURE)
    print(
        f"{figure['molecule']}: {figure['seconds']} s, {figure['cpu_seconds']} s of CPU, {figure['basis_functions']} functions"
    )
