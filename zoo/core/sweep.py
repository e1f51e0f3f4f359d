"""``zoo train -m``: one run for each combination of values, by Hydra's launchers, and one table of what came out.

A sweep has no state of its own: each run has its folder, and a sweep started again trains what is not finished there.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.core import config, distributed
from zoo.core.checkpoint import may_change
from zoo.core.errors import ConfigError, UserError, ZooError, one_line
from zoo.core.progress import say

LONGEST_NAME = 150  # of a folder; most file systems end at 255 bytes


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        overrides: its overrides as Hydra takes them, the run folder's included.
        varying: the values of the swept keys, as written.
        folder: its run folder.
    """

    overrides: tuple[str, ...]
    varying: Mapping[str, str]
    folder: Path


def sweep(overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> dict[str, Any]:
    """Train every combination; a run that fails is reported and the others go on.

    Args:
        overrides: as for :func:`zoo.core.train.train`; ``key=a,b`` (or Hydra's range() and choice()) are swept, and
            ``hydra/launcher=joblib`` or ``submitit_slurm`` with ``hydra.launcher.*`` say where the runs go.
        config_dirs: the user's own config folders.

    Returns:
        {"sweep": number of runs, "varying": swept keys, "rows": [{"overrides", "run_dir", "release", "status", "error",
        "metrics"}]}, JSON-ready; status is trained, already finished or failed.

    Raises:
        ConfigError: a typo or an impossible value in any of the runs, before the first one starts.
        UserError: a launcher that is not installed.
    """
    if distributed.plan(os.environ) is not None:
        raise UserError(
            "-m starts runs of its own: start it once, outside the parallel launcher, or set ZOO_DISTRIBUTED=0"
        )
    own = [o for o in overrides if re.match(r"[+~]*hydra[./]", o)]
    jobs = expand([o for o in overrides if o not in own], config_dirs)
    done = _launch(jobs, own, config_dirs)
    rows = [_row(job, outcome) for job, outcome in zip(jobs, done)]
    return {"sweep": len(jobs), "varying": list(jobs[0].varying), "rows": rows}


def expand(overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> list[Job]:
    """The runs of a sweep, each composed and checked.

    Raises:
        ConfigError: an override that cannot be parsed or a configuration that is refused.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from zoo.core.train import typed

    try:
        parsed = OverridesParser.create().parse_overrides(config.normalised(overrides, config_dirs))
    except HydraException as error:
        raise ConfigError(config.explain(error, overrides, config_dirs)) from error
    choices: list[list[tuple[str, str, bool]]] = []  # for each override its (key, value, swept)
    for one in parsed:
        if one.is_sweep_override():
            if not one.is_discrete_sweep():
                raise ConfigError(f"{one.input_line}: a sweep needs a list of values a,b or range() or choice()")
            values = [str(v) for v in one.sweep_string_iterator()]
        else:
            values = [str(one.get_value_element_as_str())]
        choices.append([(one.get_key_element(), v, one.is_sweep_override()) for v in values])

    jobs = []
    for combination in itertools.product(*choices):
        words = [f"{key}={value}" if value else key for key, value, _ in combination]
        typed_config = typed(config.compose(words, config_dirs))
        named = {key.lstrip("+~"): value for key, value, _ in combination}
        varying = {key.lstrip("+~"): value for key, value, swept in combination if swept}
        folder = _folder(named, varying, typed_config.run.dir, typed_config.name)
        jobs.append((words, varying, folder, config.config_hash(config.unstructure(typed_config))))
    folders = [folder for _, _, folder, _ in jobs]
    made = []
    for words, varying, folder, digest in jobs:
        unique = folder if folders.count(folder) == 1 else folder.with_name(f"{folder.name}-{digest}")
        quoted = str(unique).replace("\\", "\\\\").replace("'", "\\'")
        words = [w for w in words if not w.lstrip("+").startswith("run.dir=")]
        made.append(Job((*words, f"++run.dir='{quoted}'"), varying, unique))
    if len({job.folder for job in made}) < len(made):
        raise ConfigError("two runs of the sweep are the same: a value is listed twice")
    return made


def _folder(named: Mapping[str, str], varying: Mapping[str, str], given: str, run_name: str) -> Path:
    """The folder of one run, named by its overrides; a fixed key that a run may change as it goes on names nothing, so that a
    longer sweep goes on from a shorter one."""
    if "$" in named.get("run.dir", ""):  # it names its own folders
        return Path(given)
    telling = {
        k: v for k, v in named.items() if k not in ("run.dir", "experiment") and (k in varying or not may_change(k))
    }
    if not telling:
        return Path(given)
    text = re.sub(r"[^\w.=,+-]+", "-", ",".join(f"{k}={v}" for k, v in telling.items()))
    if len(text) > LONGEST_NAME:
        text = f"{text[:LONGEST_NAME]}-{config.config_hash(telling)}"
    return (Path(given) if "run.dir" in named else Path("runs") / run_name) / text


def _launch(jobs: Sequence[Job], own: Sequence[str], config_dirs: Sequence[Path]) -> list[dict[str, Any] | None]:
    """Run the jobs by the launcher that ``own``, the hydra overrides, name; {"error"} or None where no result came back."""
    from hydra import compose, initialize_config_dir
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.errors import HydraException
    from hydra.types import HydraContext
    from omegaconf.errors import OmegaConfBaseException

    parent = os.path.commonpath([job.folder.parent for job in jobs])
    settings = [
        f"hydra.sweep.dir='{parent or '.'}'", "hydra.sweep.subdir=.", "hydra.output_subdir=null", "hydra.job.chdir=false",
        "hydra/job_logging=none", "hydra/hydra_logging=none", *config.search_path(config_dirs), *own,
    ]  # fmt: skip
    with initialize_config_dir(str(config.config_root()), version_base=None, job_name="zoo"):
        try:
            master = compose("train", [*settings, *jobs[0].overrides], return_hydra_config=True)
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
            launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=_job, config=master)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(_launcher_problem(error)) from error
        try:
            returned = launcher.launch([list(job.overrides) for job in jobs], initial_job_idx=0)
        except Exception as error:  # a worker that crashed takes the launcher with it; what is on disk stays
            reason = f"the launcher failed: {one_line(str(error) or type(error).__name__)[:500]}"
            say(reason)
            return [{"error": reason}] * len(jobs)
    outcomes: list[dict[str, Any] | None] = []
    for one in returned:
        try:
            outcomes.append(one.return_value)
        except Exception as error:
            outcomes.append({"error": one_line(str(error))})
    return outcomes


def _launcher_problem(error: Exception) -> str:
    text = one_line(str(error))
    if found := re.search(r"Could not find 'hydra/launcher/([^']+)'", text):
        return f"hydra/launcher={found[1]} is not installed: pip install 'sci-model-zoo[cluster]', or leave it out to run one by one"
    return re.sub(r"full_key: (\S+)\s+object_type=\S+", r"(at \1)", text)


def _job(composed: Any) -> dict[str, Any]:
    """One run, in whatever process the launcher chose."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from zoo.core.compilation import use_disk_cache
    from zoo.core.loop import Interrupted
    from zoo.core.train import run, typed

    words = [str(w).lstrip("+") for w in HydraConfig.get().overrides.task if not str(w).startswith("++run.dir=")]
    try:
        plain = OmegaConf.to_container(composed, resolve=True)
        assert isinstance(plain, dict)
        distributed.initialise()
        use_disk_cache()
        return run(typed({str(k): v for k, v in plain.items()}), "zoo train " + shlex.join(words))
    except Interrupted as error:
        say(f"zoo: {error}")
        raise KeyboardInterrupt from error  # Hydra would take any other error for the failure of one job
    except Exception as error:
        text = one_line(str(error)) if isinstance(error, ZooError) else one_line(f"{type(error).__name__}: {error}")
        say(f"zoo: {text}")
        return {"error": text}


def _row(job: Job, outcome: dict[str, Any] | None) -> dict[str, Any]:
    row = {"overrides": dict(job.varying), "run_dir": str(job.folder), "release": None, "status": "failed"}
    if outcome is None:
        outcome = {"error": "its process ended without a result"}
    if "error" in outcome:
        return {**row, "error": outcome["error"], "metrics": {}}
    status = "already finished" if outcome["already_finished"] else "trained"
    return {**row, "release": outcome["release"], "status": status, "error": None, "metrics": outcome["metrics"]}
