"""The classifier's forward pass, loss and data against independent ways to the same numbers."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import zoo
from zoo import cli
from zoo.core.config import compose
from zoo.core.data import DataFile
from zoo.core.errors import ConfigError, MissingDataError, UserError
from zoo.core.loop import NotFinite, fit
from zoo.core.task import Split
from zoo.core.train import typed
from zoo.neural_de import data
from zoo.neural_de.classifier import forward, rms_norm
from zoo.neural_de.config import CoefficientConfig, RegularizeConfig, SolverConfig, TermConfig
from zoo.neural_de.data import ImageDataConfig, image_records
from zoo.neural_de.models import NodeClassifier, TimeLinear
from zoo.neural_de.predictor import ClassifierPredictor, read_images
from zoo.neural_de.task import NodeClassifierTask, coefficient

SOLVER = SolverConfig(rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def model() -> NodeClassifier:
    return NodeClassifier(64, 20, 10, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return jnp.asarray(image_records(ImageDataConfig(name="digits", valid=180), Split.TRAIN).images[:16])


@pytest.fixture(scope="module")
def vanilla() -> ClassifierPredictor:
    return zoo.load("neural_de/digits-vanilla")


def test_time_linear_is_the_concatenation() -> None:
    layer = TimeLinear(5, 3, rngs=nnx.Rngs(0))
    x, t = jax.random.normal(jax.random.key(0), (4, 5)), 0.7
    whole = jnp.concatenate([layer.kernel[...], layer.time[...][None]])
    expected = jnp.concatenate([x, jnp.full((4, 1), t)], axis=1) @ whole + layer.bias[...]
    np.testing.assert_allclose(layer(t, x), expected, atol=1e-6)


def test_a_field_from_zero_leaves_the_images_and_can_learn(images: jax.Array) -> None:
    model = NodeClassifier(64, 20, 10, rngs=nnx.Rngs(0), outer_scale=0.0)
    graphdef, params = nnx.split(model)

    def loss(params: nnx.State) -> jax.Array:
        return jnp.sum(forward(nnx.merge(graphdef, params), images, SOLVER).logits ** 2)

    out = forward(model, images, SOLVER)
    np.testing.assert_allclose(out.logits, model.head(images), atol=1e-5)
    assert int(out.rejected) == 0
    gradient = jax.grad(loss)(params)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient))
    assert float(jnp.abs(gradient["field"]["outer"]["kernel"][...]).max()) > 0


def test_outer_is_what_independent_errors_before_the_outer_layer_are_multiplied_by(
    model: NodeClassifier, images: jax.Array
) -> None:
    plan = RegularizeConfig(outer=CoefficientConfig(coefficient=1.0))
    value = float(forward(model, images, SOLVER, regularize=plan).regularizers["outer"])
    outer = model.field.outer
    layer = np.concatenate([outer.kernel[...], outer.time[...][None], outer.bias[...][None]])
    carried = np.random.default_rng(0).normal(size=(20_000, 22)) @ layer.astype(np.float64)
    assert value == pytest.approx(np.mean(carried**2), rel=0.02)


def test_forward_equals_stock_diffrax(model: NodeClassifier, images: jax.Array) -> None:
    out = forward(model, images, SOLVER)
    stock = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: model.field(t, y)),
        diffrax.Tsit5(), 0.0, 1.0, None, images,
        stepsize_controller=diffrax.PIDController(rtol=1e-5, atol=1e-5),
    )  # fmt: skip
    np.testing.assert_allclose(out.logits, model.head(stock.ys[-1]), atol=1e-5)
    assert int(out.steps) == int(stock.stats["num_steps"])
    assert bool(out.ok.all())


def test_per_sample_control_equals_a_loop(model: NodeClassifier, images: jax.Array) -> None:
    solver = SolverConfig(rtol=1e-5, atol=1e-5, control="sample")
    together = forward(model, images[:3], solver)
    alone = [forward(model, images[i : i + 1], SOLVER) for i in range(3)]
    np.testing.assert_allclose(together.logits, jnp.concatenate([a.logits for a in alone]), atol=1e-5)
    assert float(together.nfe) == pytest.approx(np.mean([float(a.nfe) for a in alone]))


def test_rows_of_weight_0_change_nothing(model: NodeClassifier, images: jax.Array) -> None:
    padded = jnp.concatenate([images[:5], 50 * images[5:8]])
    weight = jnp.asarray([1.0] * 5 + [0.0] * 3)
    plan = RegularizeConfig(R_E=TermConfig(coefficient=1.0))
    alone = forward(model, images[:5], SOLVER, weight=jnp.ones(5), regularize=plan)
    out = forward(model, padded, SOLVER, weight=weight, regularize=plan)
    np.testing.assert_allclose(out.logits[:5], alone.logits, atol=1e-6)
    assert float(out.nfe) == float(alone.nfe)
    assert float(out.regularizers["R_E"]) == pytest.approx(float(alone.regularizers["R_E"]), rel=1e-3)
    unweighted = forward(model, padded, SOLVER, regularize=plan)
    assert float(unweighted.regularizers["R_E"]) < 0.9 * float(alone.regularizers["R_E"])  # the weights protect them


def test_norm_is_the_root_mean_square_with_gradient_0_at_0() -> None:
    x = jax.random.normal(jax.random.key(0), (4, 6))
    assert float(rms_norm(None)(x)) == pytest.approx(float(jnp.sqrt(jnp.mean(x**2))))
    assert float(rms_norm(jnp.ones(4))(x)) == pytest.approx(float(rms_norm(None)(x)), rel=1e-6)
    for norm in (rms_norm(None), rms_norm(jnp.ones(4)), rms_norm(jnp.zeros(4))):
        assert np.isfinite(jax.grad(norm)(jnp.zeros((4, 6)))).all()
    for norm in (rms_norm(None), rms_norm(jnp.ones(4))):  # an error that is not a number is no small error
        assert np.isnan(norm(x.at[0, 0].set(jnp.nan)))


def test_failed_solves_are_marked_and_make_the_loss_nan(images: jax.Array) -> None:
    config = typed(compose(["neural_de/digits-vanilla", "solver.max_steps=2"]))
    task = NodeClassifierTask(config)
    net = task.init(jax.random.key(0))
    assert not bool(forward(net, images, config.solver).ok.any())
    batch = {"image": images, "label": jnp.zeros(16, jnp.int32), "weight": jnp.ones(16)}
    loss, _ = task.loss(net, batch, step=jnp.int32(0), key=jax.random.key(0))
    assert jnp.isnan(loss)
    metrics = task.summarise([({"weight": np.ones(16)}, jax.tree.map(np.asarray, task.evaluate(net, batch)))])
    assert (metrics["failed"], metrics["accuracy"]) == (16.0, 0.0)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_training_says_that_the_solve_ran_out_of_steps(tmp_path: Path, accumulate: int) -> None:
    changes = ["solver.max_steps=2", "trainer.steps=2", f"trainer.accumulate={accumulate}", "logger.tensorboard=false"]
    task = NodeClassifierTask(typed(compose(["neural_de/digits-er", f"run.dir={tmp_path}", *changes])))
    said = r"step 0: .* The solve of 256 examples did not reach its end in solver.max_steps=2 steps: raise it, loosen "
    with pytest.raises(NotFinite, match=said):
        fit(task)
    assert task.not_finite({"failed": 3.0, "out_of_steps": 0.0}).startswith("The solve of 3 examples")
    assert task.not_finite({"failed": 0.0, "out_of_steps": 0.0}) is None


NOT_IMAGES = {
    "scalar": (np.float32(1.0), "no images in it"),
    "none": (np.zeros((0, 64)), "no images in it"),
    "none-square": (np.zeros((0, 8, 8)), "no images in it"),
    "text": (np.array([["a"] * 64]), "dtype <U1"),
    "complex": (np.zeros((1, 64), complex), "dtype complex128"),
    "fields": (np.zeros(64, [("a", "f4")]), "dtype [('a', '<f4')]"),
    "dates": (np.zeros((1, 64), "m8[s]"), "dtype timedelta64[s]"),
    "wide": (np.zeros((2, 3, 8)), "images of 24 values"),
    "large": (np.full((1, 64), 1e300), "pixel 0 is inf"),
}


@pytest.mark.parametrize("kind", NOT_IMAGES)
def test_what_is_no_image_is_named(kind: str, vanilla: ClassifierPredictor) -> None:
    array, said = NOT_IMAGES[kind]
    with pytest.raises(UserError, match=re.escape(said)):
        vanilla.solve(array)


def test_files_that_hold_no_images_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", np.zeros((1, 64)))
    (tmp_path / "x.npz").rename(tmp_path / "archive.npy")
    (tmp_path / "empty.npy").touch()
    (tmp_path / "long.csv").write_text("1" * 200_000)
    for name in ("archive.npy", "empty.npy", "long.csv"):
        with pytest.raises(UserError, match=name):
            read_images(str(tmp_path / name))
    (tmp_path / "marked.csv").write_text("0.5,1\n", encoding="utf-8-sig")
    assert read_images(str(tmp_path / "marked.csv")).tolist() == [[0.5, 1.0]]
    np.save(tmp_path / "scalar.npy", np.float32(1.0))
    assert cli.run(["predict", "neural_de/digits-vanilla", str(tmp_path / "scalar.npy")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "no images in it" in err


def test_any_real_numbers_are_images(images: jax.Array, vanilla: ClassifierPredictor) -> None:
    image = (np.asarray(images[0]) > 0.5).astype(np.float32)
    low = jnp.asarray(image, jnp.bfloat16)
    for same in (image, image.reshape(1, 8, 8), image.astype(bool), image.astype(int).tolist(), low):
        np.testing.assert_array_equal(vanilla.images(same), image[None])
    with pytest.raises(UserError, match="images are no array"):
        vanilla.images([[0.0], [0.0, 1.0]])


def test_loss_is_cross_entropy_plus_coefficient_times_regulariser(images: jax.Array) -> None:
    changes = ["solver.rtol=1e-4", "solver.atol=1e-4", "regularize.R_E.reduce=sum", "regularize.S.coefficient=0.5"]
    task = NodeClassifierTask(typed(compose(["neural_de/digits-er", *changes])))
    net = task.init(jax.random.key(0))
    batch = {"image": images, "label": jnp.arange(16) % 10, "weight": jnp.ones(16).at[3].set(0.0)}
    loss, logs = task.loss(net, batch, step=jnp.int32(0), key=jax.random.key(0))
    out = forward(net, images, task.config.solver)
    entropy = optax.softmax_cross_entropy_with_integer_labels(out.logits, batch["label"])
    expected = (entropy.sum() - entropy[3]) / 15 + 100.0 * logs["R_E"] + 0.5 * logs["S"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert float(logs["R_E"]) > 0
    assert float(logs["S"]) > 0


@pytest.mark.parametrize(
    ("term", "control"), [("taylor", "batch"), ("kinetic", "sample"), ("jacobian", "batch"), ("local", "batch")]
)
def test_other_terms_join_the_loss_and_change_no_step(images: jax.Array, term: str, control: str) -> None:
    tolerance = ["solver.rtol=1e-3", "solver.atol=1e-3", "solver.max_steps=16", f"solver.control={control}"]
    plain = NodeClassifierTask(typed(compose(["neural_de/digits-vanilla", *tolerance])))
    change = [f"regularize.{term}.coefficient=2", *(["regularize.taylor.order=2"] if term == "taylor" else [])]
    task = NodeClassifierTask(typed(compose(["neural_de/digits-vanilla", *tolerance, *change])))
    net = task.init(jax.random.key(0))
    batch = {"image": images, "label": jnp.arange(16) % 10, "weight": jnp.ones(16)}
    (loss, logs), gradient = nnx.value_and_grad(
        lambda m: task.loss(m, batch, step=jnp.int32(0), key=jax.random.key(0)), has_aux=True
    )(net)
    bare, bare_logs = plain.loss(net, batch, step=jnp.int32(0), key=jax.random.key(0))
    assert float(logs[term]) > 0
    assert float(loss) == pytest.approx(float(bare) + 2 * float(logs[term]), rel=1e-4)
    assert float(logs["nfe"]) == float(bare_logs["nfe"])
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient))


def test_local_goes_alone() -> None:
    with pytest.raises(ConfigError, match=r"local does not go together with R_E"):
        typed(compose(["neural_de/digits-er", "regularize.local.coefficient=1"]))


def test_steer_draws_the_end_time_from_the_key(images: jax.Array) -> None:
    task = NodeClassifierTask(typed(compose(["neural_de/digits-steer"])))
    net = task.init(jax.random.key(0))
    batch = {"image": images, "label": jnp.zeros(16, jnp.int32), "weight": jnp.ones(16)}
    one, two, again = (float(task.loss(net, batch, step=jnp.int32(0), key=jax.random.key(k))[0]) for k in (0, 1, 0))
    assert one == again != two


def test_coefficients_fall_exponentially_and_warm_up() -> None:
    nfe = jnp.float32(50)
    term = CoefficientConfig(coefficient=100.0, final=10.0)
    assert [float(coefficient(term, jnp.int32(n), 200, nfe)) for n in (0, 100, 200)] == pytest.approx(
        [100, 10**1.5, 10]
    )
    warm = CoefficientConfig(coefficient=2.0, warmup_steps=10)
    assert [float(coefficient(warm, jnp.int32(n), 200, nfe)) for n in (0, 5, 10, 150)] == pytest.approx([0, 1, 2, 2])


def test_a_target_nfe_lets_go_below_it() -> None:
    term = CoefficientConfig(coefficient=2.0, target_nfe=50)
    values = [float(coefficient(term, jnp.int32(0), 200, jnp.float32(n))) for n in (40, 50, 52.5, 55, 90)]
    assert values == pytest.approx([0, 0, 1, 2, 2])


def test_digits_splits_are_disjoint_and_whole() -> None:
    from sklearn.datasets import load_digits

    config = ImageDataConfig(name="digits", valid=180)
    parts = [image_records(config, split) for split in Split]
    assert [len(p) for p in parts] == [1257, 180, 360]
    rows = np.concatenate([p.images for p in parts])
    assert sorted(map(bytes, rows)) == sorted(map(bytes, (load_digits().data / 16).astype(np.float32)))
    assert len({p.fingerprint() for p in parts}) == 3
    assert len(image_records(ImageDataConfig(name="digits", valid=180, limit=100), Split.TRAIN)) == 100
    with pytest.raises(UserError, match=r"data\.valid=1437"):
        image_records(ImageDataConfig(name="digits", valid=1437), Split.TRAIN)


def test_mnist_reads_the_published_counts(data_dir: Path) -> None:
    parts = [image_records(ImageDataConfig(name="mnist", valid=5000), split) for split in Split]
    assert [len(p) for p in parts] == [55_000, 5_000, 10_000]
    # Counts a class of the test images, as published with the data set.
    assert np.bincount(parts[2].labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    pixels = np.concatenate([parts[0].images, parts[1].images])
    assert float(pixels.mean()) == pytest.approx(0.1307, abs=1e-4)
    assert float(pixels.std()) == pytest.approx(0.3081, abs=1e-4)


def test_missing_files_are_one_error_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(data, "MNIST", DataFile("neural_de/mnist/none.npz", "nowhere", None, "0" * 64, "none"))
    data._arrays.cache_clear()
    with pytest.raises(MissingDataError, match=r"none.npz.*ZOO_DATA_DIR"):
        image_records(ImageDataConfig(name="mnist", valid=5000), Split.TEST)
    data._arrays.cache_clear()


def test_idx_files_are_read_and_truncated_ones_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = b"\0\0\x08\x03" + struct.pack(">3I", 2, 3, 4) + bytes(range(24))
    monkeypatch.setattr(data, "locate", lambda file: tmp_path / file.name)
    (tmp_path / "good").write_bytes(gzip.compress(whole))
    (tmp_path / "cut").write_bytes(gzip.compress(whole[:-1]))
    assert data._idx(DataFile("good", "s", None, "0" * 64, "l")).tolist() == np.arange(24).reshape(2, 3, 4).tolist()
    with pytest.raises(UserError, match="not an IDX file"):
        data._idx(DataFile("cut", "s", None, "0" * 64, "l"))
