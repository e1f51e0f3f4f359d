"""The command line: ``zoo train | evaluate | compare | predict | list | show | reproduce | bench | doctor``.

Every command takes --json: one JSON document on stdout and nothing else there. Progress and logs go to stderr. A user's mistake is
one line on stderr and exit status 2, a failed run or a file answered in part 1, Ctrl-C 130. Commands import what they need when
they run, so that ``zoo --help`` stays quick.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from zoo import __version__
from zoo.core.errors import UserError, ZooError, one_line
from zoo.core.pages import keep_memory

if TYPE_CHECKING:
    from zoo.core.release import Release

DESCRIPTION = (
    "A scientific model zoo on JAX: train from Hydra configs, load pretrained models, reproduce papers' tables."
)

EXAMPLES = {
    "train": """\
examples:
  zoo train neural_de/digits-er                           train an experiment (short for experiment=neural_de/digits-er)
  zoo train neural_de/digits-er seed=1 trainer.steps=400  change any key of its configuration
  zoo train neural_de/digits-er run.dir=runs/mine         choose the folder; run it again there to go on
  zoo train neural_de/digits-er --cfg job                 print the composed configuration and stop
  zoo train neural_de/digits-er debug=fast                a run of seconds, to see that everything works
  zoo train mine/my-experiment --config-dir my_configs    your own experiment file, my_configs/experiment/mine/...
  zoo train -m neural_de/digits-er seed=0,1               a sweep: one run for each combination of values, one table
""",
    "evaluate": """\
examples:
  zoo evaluate neural_de/digits-er                        repeat the metrics that the model's card states
  zoo evaluate runs/neural_de/digits-er/seed-0/release    a release you trained
""",
    "compare": """\
examples:
  zoo compare runs/a runs/b                               configurations that differ, metrics side by side
  zoo compare neural_de/digits-vanilla runs/mine --json   a release by name and a run of yours
""",
    "predict": """\
examples:
  zoo predict neural_de/digits-er images.csv              one image a line, comma-separated pixels in [0, 1]
  zoo predict neural_de/digits-er images.npy --json
  zoo predict neural_de/digits-er -                       read from stdin
  zoo predict RELEASE molecules.xyz --rank                orbnet: energies, ranked; .sdf and .smi too
  zoo predict RELEASE abstract.txt --format html          openmed_ner: entities as jsonl, conll, brat or html
""",
    "list": "examples:\n  zoo list\n  zoo list --json\n",
    "show": "examples:\n  zoo show neural_de/digits-er\n  zoo show neural_de/digits-er --json\n",
    "reproduce": """\
examples:
  zoo reproduce neural_de/digits_node                                 from the packaged releases
  zoo reproduce neural_de/digits_node --train --seeds 3 --picture digits.png
  zoo reproduce neural_de/digits_node --train --rows Vanilla,ERNODE
""",
    "bench": "examples:\n  zoo bench core\n  zoo bench core --json\n  zoo bench orbnet --with-dft\n",
    "doctor": "examples:\n  zoo doctor\n  zoo doctor --json\n",
}


# Commands that compile, and so use the compilation cache on disk; `bench` measures compilation itself.
COMPILES = ("train", "evaluate", "predict", "reproduce")
COMPUTES = (*COMPILES, "bench")


class Parser(argparse.ArgumentParser):
    """argparse, whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


class _NamedHelp(argparse.Action):
    """``--help`` after the name of a model or a benchmark: its own options stand among the others."""

    def __init__(self, *args: Any, add_own: Callable[[argparse.ArgumentParser, str], Any], **settings: Any) -> None:
        super().__init__(*args, nargs=0, help="this text; after a name with the options of what is named", **settings)
        self._add_own = add_own

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: Any) -> NoReturn:
        name = getattr(namespace, "model", None) or getattr(namespace, "name", None)
        if name is not None:
            self._add_own(parser, name)
        parser.print_help()
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(prog="zoo", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"sci-model-zoo {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(
        name: str,
        text: str,
        run: Callable[[argparse.Namespace], None],
        own: Callable[[argparse.ArgumentParser, str], Any] | None = None,
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=own is None,
        )
        if own is not None:
            sub.add_argument("-h", "--help", action=_NamedHelp, add_own=own)
        sub.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else there")
        sub.set_defaults(run=run)
        return sub

    sub = add("train", "train an experiment and write its release", _train)
    sub.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="<family>/<experiment>, then Hydra overrides key=value"
    )
    sub.add_argument(
        "--config-dir", action="append", default=[], type=Path, metavar="DIR", help="a folder of your own configs"
    )
    sub.add_argument("-m", "--multirun", action="store_true", help="sweep: train every combination of key=a,b")
    sub.add_argument("--cfg", choices=["job"], help="print the composed configuration and stop")

    sub = add("evaluate", "compute a model's metrics anew and set them beside its card's", _evaluate)
    sub.add_argument("model", help="a release's name or folder")
    sub.add_argument("--split", action="append", choices=["train", "valid", "test"], help="default: test")

    sub = add("compare", "set runs or releases side by side: configurations that differ, and metrics", _compare)
    sub.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or a release's name or folder")

    sub = add("predict", "apply a model to a file", _predict, _family_options)
    sub.add_argument("model", help="a release's name or folder")
    sub.add_argument("input", help="the file to read, or - for stdin")

    add("list", "the models that can be loaded by name", _list)

    sub = add("show", "a model's card", _show)
    sub.add_argument("model", help="a release's name or folder")

    sub = add("reproduce", "make a paper's table", _reproduce)
    sub.add_argument("table", metavar="TABLE", help="<family>/<table>")
    sub.add_argument("--rows", metavar="A,B", help="only these rows")
    sub.add_argument("--seeds", type=int, default=1, metavar="N", help="number of seeds to train (with --train)")
    sub.add_argument("--train", action="store_true", help="train the rows first")
    sub.add_argument(
        "--scale",
        choices=["quick", "paper"],
        default="quick",
        help="quick: what two cores can do; paper: its own setting",
    )
    sub.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help="where CSV, Markdown and JSON go")
    sub.add_argument(
        "--runs", type=Path, default=Path("runs/reproduce"), metavar="DIR", help="where the trained runs live"
    )
    sub.add_argument("--picture", type=Path, metavar="PNG", help="draw the curves over training (with --train)")

    sub = add("bench", "measure speed against a peer or a floor", _bench, _switches)
    sub.add_argument("name", metavar="NAME", help="a benchmark, for example core")

    add("doctor", "versions, devices, threads, data and models found", _doctor)
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The entry point of the ``zoo`` command."""
    if argv is None and sys.argv[1:2] and sys.argv[1] in COMPUTES:  # the process is the command's own
        keep_memory()
    try:
        code = run(sys.argv[1:] if argv is None else argv)
    except Exception:
        _leave(1)
        raise
    if code not in (0, 130, 143):  # success and a stop asked for are agreed on; what else ends one process must end all
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> None:
    """End the other processes of a distributed run with this one; nothing for a run alone, or before JAX is in use."""
    if "jax" in sys.modules:
        from zoo.core import distributed

        distributed.leave(code)


def run(argv: Sequence[str]) -> int:
    """Run a command line and return its exit status."""
    try:
        parser = build_parser()
        args, rest = parser.parse_known_args(argv)
        if args.command == "predict":
            _add_family_options(args, rest)
        elif args.command == "bench":
            _add_bench_options(args, rest)
        elif rest and args.command == "train" and not any(r.startswith("--") for r in rest):
            args.overrides += rest  # overrides after options: argparse hands them back
        elif rest:
            raise UserError(f"unrecognised argument {rest[0]!r} (see zoo {args.command} --help)")
        warnings.showwarning = _note
        if args.command in COMPILES and not getattr(args, "multirun", False):  # a sweep's runs see to it themselves
            from zoo.core import distributed
            from zoo.core.compilation import use_disk_cache

            if args.command in ("train", "reproduce"):
                distributed.initialise()  # before the first look at the devices
            use_disk_cache()
        args.run(args)
        sys.stdout.flush()
    except ZooError as error:
        print(f"zoo: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("zoo: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `zoo list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _note(message: Warning | str, *_: Any, **__: Any) -> None:
    """A library's warning as one line, without the place in its code."""
    print(f"note: {one_line(str(message))}", file=sys.stderr)


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=1))


def _print_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> None:
    """Aligned columns; wide ones wrap on a terminal and stay whole in a pipe."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(Text(name), justify="left" if i == 0 else "right", no_wrap=i == 0)
    for line in body:
        table.add_row(*map(Text, line))  # as it stands: "benzo[a]pyrene" is no markup
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table, highlight=False)


def _train(args: argparse.Namespace) -> None:
    if args.cfg:
        from omegaconf import OmegaConf

        from zoo.core.config import compose, unstructure
        from zoo.core.train import typed

        plain = unstructure(typed(compose(args.overrides, args.config_dir)))
        if args.json:
            _print_json(plain)
        else:
            print(OmegaConf.to_yaml(OmegaConf.create(plain)), end="")
        return
    if args.multirun:
        _sweep(args)
        return
    from zoo.core import distributed
    from zoo.core.train import train

    with distributed.results_from_primary() as shown:
        document = train(args.overrides, args.config_dir)
    if not shown:
        return
    if args.json:
        _print_json(document)
        return
    if document["already_finished"]:
        print(
            f"{document['run_dir']} is finished at step {document['steps']}; to extend it give a larger trainer.steps, to train "
            "anew another run.dir"
        )
    _print_metrics(document["metrics"])
    print(f"release: {document['release']}")


def _sweep(args: argparse.Namespace) -> None:
    from zoo.core.sweep import sweep

    document = sweep(args.overrides, args.config_dir)
    rows, varying = document["rows"], document["varying"]
    if args.json:
        _print_json(document)
    else:
        flat = [{f"{s} {n}": v for s in ("valid", "test") for n, v in r["metrics"].get(s, {}).items()} for r in rows]
        names = list(dict.fromkeys(n for f in flat for n in f))
        body = [
            [*(r["overrides"][k] for k in varying), r["status"], *(_number(f.get(n)) for n in names)]
            for r, f in zip(rows, flat)
        ]
        _print_table([*varying, "status", *names], body)
        print(f"runs in {os.path.commonpath([str(Path(r['run_dir']).parent) for r in rows])}")
    failed = [r for r in rows if r["status"] == "failed"]
    if failed:
        sys.stdout.flush()
        raise ZooError(
            f"{len(failed)} of {len(rows)} runs failed ({failed[0]['run_dir']}: {failed[0]['error']}): the same command again "
            "tries them anew and leaves the finished ones alone"
        )


def _print_metrics(metrics: dict[str, Any]) -> None:
    splits = [s for s in metrics if s != "run"]
    names = list(dict.fromkeys(n for s in splits for n in metrics[s]))
    _print_table(["metric", *splits], [[n, *(_number(metrics[s].get(n)) for s in splits)] for n in names])
    if "run" in metrics:
        print("  ".join(f"{k} {_number(v)}" for k, v in metrics["run"].items()))


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _evaluate(args: argparse.Namespace) -> None:
    from zoo.core.train import evaluate

    document = evaluate(args.model, args.split or ["test"])
    if args.json:
        _print_json(document)
        return
    body = [
        [f"{split} {name}", _number(value), _number(document["stated"][split].get(name))]
        for split, values in document["metrics"].items()
        for name, value in values.items()
    ]
    _print_table([document["name"], "now", "card"], body)
    print("agrees with its card" if document["agrees"] else "DIFFERS from its card by more than 0.1 %")


def _compare(args: argparse.Namespace) -> None:
    from zoo.core.compare import compare

    document = compare(args.runs)
    if args.json:
        _print_json(document)
        return
    names = [run["name"] for run in document["runs"]]
    _print_table(["", *names], [["status", *(run["status"] for run in document["runs"])]])
    if document["config"]:
        _print_table(["configuration", *names], [[k, *map(_number, v)] for k, v in document["config"].items()])
    else:
        print("configurations: no difference\n")
    _print_table(["metric", *names], [[k, *map(_number, v)] for k, v in document["metrics"].items()])


def _family_options(parser: argparse.ArgumentParser, model: str) -> Release:
    from zoo.core import hub, release
    from zoo.core.families import family

    loaded = release.read_release(hub.resolve(model))
    family(loaded.info.family).predict_arguments(parser)
    return loaded


def _add_family_options(args: argparse.Namespace, rest: Sequence[str]) -> None:
    """``zoo predict`` takes the options of the model's own family."""
    options = Parser(prog=f"zoo predict {args.model}", add_help=False)
    args.release = _family_options(options, args.model)
    options.parse_args(rest, namespace=args)


def _switches(parser: argparse.ArgumentParser, name: str) -> None:
    from zoo.core import bench

    for switch in bench.switches(bench.find(name)):
        parser.add_argument(f"--{switch.replace('_', '-')}", action="store_true")


def _add_bench_options(args: argparse.Namespace, rest: Sequence[str]) -> None:
    """``zoo bench`` takes the switches of the benchmark itself."""
    options = Parser(prog=f"zoo bench {args.name}", add_help=False)
    _switches(options, args.name)
    args.options = vars(options.parse_args(rest))


def _predict(args: argparse.Namespace) -> None:
    from zoo.core.families import family

    member = family(args.release.info.family)
    rows = member.predict(member.predictor(args.release), args)
    if isinstance(rows, str):
        print(rows, end="" if rows.endswith("\n") else "\n")
    elif args.json:
        _print_json(rows)
    elif rows:
        _print_table(list(rows[0]), [[_number(v) for v in row.values()] for row in rows])
    if incomplete := getattr(args, "incomplete", ""):  # all that could be answered stands above
        sys.stdout.flush()
        raise ZooError(incomplete)


def _list(args: argparse.Namespace) -> None:
    from zoo.core.hub import catalogue

    rows = catalogue()
    if args.json:
        _print_json(rows)
        return
    head = ["name", "family", "task", "size_mb", "licence"]
    _print_table(head, [[_number(row.get(k)) for k in head] for row in rows])
    for row in rows:
        if row.get("error"):
            print(f"zoo: {row['name']}: {row['error']}", file=sys.stderr)


def _show(args: argparse.Namespace) -> None:
    from zoo.core import hub, release

    folder = hub.resolve(args.model)
    loaded = release.read_release(folder)
    if args.json:
        _print_json(json.loads((folder / "model.json").read_text(encoding="utf-8")))
    else:
        print((loaded.path / "README.md").read_text(encoding="utf-8"), end="")


def _reproduce(args: argparse.Namespace) -> None:
    from zoo.core import tables
    from zoo.core.reproduce import reproduce

    document = reproduce(
        args.table,
        rows=tables.find(args.table).named(args.rows) if args.rows else None,
        seeds=args.seeds,
        train=args.train,
        scale=args.scale,
        out=args.out,
        runs=args.runs,
        picture=args.picture,
    )
    if args.json:
        _print_json(document)
        return
    table = tables.find(args.table)
    print(f"{table.title}\n")
    _print_comparison(table, document)
    for note in dict.fromkeys([table.source, table.note, *(r["reduced"] for r in document["rows"])]):
        if note:
            print(note)
    print("written: " + ", ".join(document["files"]))


def _print_comparison(table: Any, document: Any) -> None:
    """Rows of a paper's table, one line for what was made here and one for the paper's."""
    body = []
    for row in document["rows"]:
        entries = [(row["metrics"][m.name], m.digits) for m in table.metrics]
        from zoo.core.tables import cell

        if row["seeds"]:
            seeds = f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
            who = f"ours ({seeds})" if row["release"] else "computed here"
            body.append([f"{row['name']}, {who}", *(cell(e, "ours", d) for e, d in entries)])
        if not row["seeds"] or any(e["paper"] is not None for e, _ in entries):
            body.append([f"{row['name']}, {table.paper_label}", *(cell(e, "paper", d) for e, d in entries)])
    _print_table(["", *(f"{m.name} ({m.unit})" if m.unit else m.name for m in table.metrics)], body)


def _bench(args: argparse.Namespace) -> None:
    from zoo.core.bench import run as run_bench

    document = run_bench(args.name, **args.options)
    if args.json:
        _print_json(document)
        return
    head = list(dict.fromkeys(k for row in document["rows"] for k in row))
    _print_table(head, [[_number(row.get(k)) for k in head] for row in document["rows"]])
    print(document["machine"].get("summary", ""))


def _doctor(args: argparse.Namespace) -> None:
    from zoo.core.doctor import report

    document = report()
    if args.json:
        _print_json(document)
        return
    for section, values in document.items():
        print(section)
        for key, value in values.items():
            print(f"  {key:<18} {value}")


if __name__ == "__main__":
    main()
