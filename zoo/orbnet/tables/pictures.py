"""Pictures of the tables: profiles of three fragments, bars of the sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core.curves import COLOURS
from zoo.core.errors import UserError
from zoo.orbnet.datasets.torsions import Scans


def three_of(errors: np.ndarray) -> tuple[int, int, int]:
    """Indices of the best, the median and the worst of what is not NaN; UserError where there is none."""
    present = np.flatnonzero(np.isfinite(errors))
    if len(present) == 0:
        raise UserError("no profile has an error: there is nothing to draw")
    order = present[np.argsort(errors[present], kind="stable")]
    return int(order[0]), int(order[(len(order) - 1) // 2]), int(order[-1])


def profiles(scans: Scans, energies_kcal: Mapping[str, np.ndarray], errors: np.ndarray, shown: str, path: Path) -> Path:
    """Profiles of the best, median and worst fragment by ``errors``, each minus its minimum.

    Args:
        scans: the set.
        energies_kcal: by method, (n_structures,).
        errors: of ``shown``, kcal/mol, (n_groups,).
        shown: the method that ranks the fragments.
        path: the PNG to write.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.8), layout="constrained")
    groups = scans.groups()
    for axis, what, index in zip(axes, ("best", "median", "worst"), three_of(errors)):
        group = groups[index]
        for colour, (method, energies) in zip(("black", *COLOURS), energies_kcal.items()):
            profile = energies[group] - energies[group].min()
            style: dict[str, Any] = {"marker": "o", "linewidth": 1.8} if colour == "black" else {"linewidth": 1.4}
            axis.plot(np.arange(len(group)), profile, color=colour, label=method, markersize=3, **style)
        title = f"{what}: {scans.group_names[index]}, {errors[index]:.3f} kcal/mol"
        axis.set_title(f"{title}\n{scans.smiles[group[0]]}", fontsize=9)
        axis.set_xlabel("point of the scan (15° each)")
        _plain(axis)
    axes[0].set_ylabel("energy above the minimum (kcal/mol)")
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=9, ncols=6, loc="outside lower center")
    figure.suptitle(f"TorsionNet500, fragments by the centred error of {shown}", fontsize=11)
    return _save(plt, figure, path)


def bars(values: Mapping[str, Mapping[str, float]], categories: Mapping[str, str], path: Path) -> Path:
    """Weighted errors by set, one bar a row of the table; a set that a row lacks has no bar.

    Args:
        values: row -> set -> (56.84 / mean |reference|) x mean absolute error, kcal/mol.
        categories: of the sets, which are grouped by it.
        path: the PNG to write.
    """
    plt = _pyplot()
    names = sorted(categories, key=lambda name: (categories[name], name))
    figure, axis = plt.subplots(figsize=(max(8.0, 0.42 * len(names)), 4.6), layout="constrained")
    width = 0.85 / max(len(values), 1)
    for i, (colour, (row, by_set)) in enumerate(zip((*COLOURS, "#999999", "#882255", "#44AA99"), values.items())):
        at = [k for k, name in enumerate(names) if name in by_set]
        heights = [by_set[names[k]] for k in at]
        axis.bar(np.array(at) + (i - (len(values) - 1) / 2) * width, heights, width, color=colour, label=row)
    axis.set_yscale("log")
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    for k in range(1, len(names)):
        if categories[names[k]] != categories[names[k - 1]]:
            axis.axvline(k - 0.5, color="0.8", linewidth=0.8)
    axis.set_ylabel("56.84 / mean |reference| x MAE (kcal/mol)")
    axis.set_xlim(-0.7, len(names) - 0.3)
    figure.legend(frameon=False, fontsize=8, ncols=len(values), loc="outside lower center")
    axis.set_title("GMTKN55, the 37 sets of OrbNet Denali, grouped by category", fontsize=11)
    _plain(axis)
    return _save(plt, figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _plain(axis: Any) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _save(plt: Any, figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
