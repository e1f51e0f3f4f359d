"""The laws of the house, held on the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAMILIES = ("orbnet", "neural_de", "openmed_ner")
# Imported only inside the function or module that needs them, never when a package is imported.
HEAVY = {
    "tblite", "pyscf", "torch", "transformers", "peft", "ase", "rdkit", "tokenizers", "seqeval", "sklearn",
    "matplotlib", "huggingface_hub", "torchdiffeq", "wandb", "joblib",
}  # fmt: skip
# The rooms whose modules may import a heavy library at their top: nobody imports these rooms but who uses them.
ROOMS = {
    "rdkit": ("zoo/orbnet/",),
    "tblite": ("zoo/orbnet/",),
    "ase": ("zoo/orbnet/",),
    "joblib": ("zoo/orbnet/",),
    "tokenizers": ("zoo/openmed_ner/",),
    "seqeval": ("zoo/openmed_ner/",),
}
SOURCES = sorted((ROOT / "zoo").rglob("*.py"))


def imports(path: Path, *, top_only: bool = False) -> set[str]:
    """Dotted names imported by a module; ``top_only`` leaves out those inside functions and TYPE_CHECKING blocks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if top_only and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).strip(".")
            found.update(f"{base}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def test_the_walk_sees_imports(tmp_path: Path) -> None:
    """The checker itself: it sees plain, from, relative and nested imports."""
    found = imports(ROOT / "zoo/core/train.py")
    assert "zoo.core.hub" in found
    assert "diffrax" in imports(ROOT / "zoo/neural_de/classifier.py")
    assert "sklearn.datasets.load_digits" in imports(ROOT / "zoo/neural_de/data.py")
    assert "sklearn.datasets.load_digits" not in imports(ROOT / "zoo/neural_de/data.py", top_only=True)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_family_is_imported_by_another_room(path: Path) -> None:
    room = path.relative_to(ROOT).parts[1]
    for name in imports(path):
        for family in FAMILIES:
            if name == f"zoo.{family}" or name.startswith(f"zoo.{family}."):
                assert room == family, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_stay_in_their_rooms(path: Path) -> None:
    where = str(path.relative_to(ROOT))
    for name in imports(path, top_only=True):
        top = name.split(".")[0]
        if top in HEAVY:
            allowed = any(where.startswith(room) for room in ROOMS.get(top, ()))
            assert allowed, f"{where} imports {name} when it is imported"
            assert path.name != "__init__.py", f"{where} imports {name} when it is imported"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_64_bit_is_never_switched_on_for_everybody(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("config.update"):
            assert "jax_enable_x64" not in ast.unparse(node), f"{path.relative_to(ROOT)}:{node.lineno}"


def test_help_and_mistakes_import_nothing_heavy() -> None:
    """So that `zoo --help` answers at once."""
    for arguments in (["--help"], ["train", "--help"], ["fly"]):
        code = (
            "import sys, zoo.cli\n"
            f"try: zoo.cli.main({arguments})\n"
            "except SystemExit: pass\n"
            "sys.exit(', '.join(set(sys.modules) & {'jax', 'numpy', 'hydra', 'rich', 'matplotlib'}) or 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_importing_zoo_imports_no_jax() -> None:
    code = (
        "import sys, zoo, zoo.cli; sys.exit('jax' in sys.modules or 'hydra' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_importing_a_family_package_imports_no_heavy_library(family: str) -> None:
    code = f"import sys, zoo.{family}; sys.exit(', '.join(set(sys.modules) & {HEAVY!r}) or 0)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
