"""What all tests share: long versions on request, data found or skipped with a reason, a cache of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).parent.parent
# Not held to their annotations: they are called for every word of every corpus, tens of millions of times, and a check costs
# many times what they do. Nor is a package's __init__ above them: a hook on its name would hold for all below it.
LEFT_OUT = ("zoo.openmed_ner.corpora.pubtator", "zoo.openmed_ner.corpora.records", "zoo.openmed_ner.labels")
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "zoo").rglob("*.py"))
]

# Before anything of zoo is imported: every call of its functions is held to their annotations (types that a module
# imports under TYPE_CHECKING alone are passed over). Programs that tests start as processes of their own are not.
install_import_hook(
    [name for name in MODULES if not any(f"{left_out}.".startswith(f"{name}.") for left_out in LEFT_OUT)],
    "typechecked.checked",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run the long versions of tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--run-slow"):
        skip = pytest.mark.skip(reason="long version: run with --run-slow")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def types_are_checked(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test marked ``wrong_types`` hands over what no annotation allows, to see it refused by the code itself."""
    jaxtyping.config.update("jaxtyping_disable", request.node.get_closest_marker("wrong_types") is not None)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def data_dir() -> Path:
    """The public data folder; a test that needs it is skipped where ZOO_DATA_DIR names none."""
    folder = os.environ.get("ZOO_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ZOO_DATA_DIR is not set to a data folder")
    return Path(folder)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path_factory.getbasetemp() / "zoo-cache"))
