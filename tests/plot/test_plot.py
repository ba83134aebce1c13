"""Pictures show what the diagnostics say, and leave no trace but in their Axes."""

import functools
import importlib
import sys
from typing import Any

import equinox as eqx
import gflow
import gflow.plot
import jax
import jax.random as jr
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from curves import curve, directions, problem
from gflow import Until
from matplotlib.colors import to_hex


@functools.cache
def planar(inputs=2):
    """A run on two clouds, in two or three dimensions."""
    flow = gflow.GradientFlow(
        gflow.Logistic(), *gflow.data.two_gaussians(12, inputs, distance=5.0, seed=3)
    )
    leak = 0.0 if inputs == 2 else 0.3
    network = gflow.nn.MLP(inputs, (6,), power=2, leak=leak, key=jr.key(1))
    until = Until(log_margin_scale=40.0)
    return flow, gflow.solve(flow, network, until=until, rtol=1e-4, progress=False)


@functools.cache
def three_classes():
    """A flow of three classes, and a network that fits them."""
    angles = 2 * np.pi * np.arange(3) / 3
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    flow = gflow.GradientFlow(gflow.CrossEntropy(), x, np.arange(3))
    return flow, gflow.nn.DeepLinear.from_weights([x])


@functools.cache
def far():
    """The toy and its limit."""
    flow, network = problem("relu2")
    until = Until(log_margin_scale=100.0)
    run = gflow.solve(flow, network, until=until, progress=False)
    return flow, run, gflow.limit(run)


def toy():
    return problem("relu2")[0], curve("relu2")


PICTURES = {
    "over_time": lambda ax: gflow.plot.over_time(toy()[1], toy()[1].log_loss, ax=ax),
    "convergence": lambda ax: gflow.plot.convergence(*far()[1:], rtol=1e-6, ax=ax),
    "kkt_residuals": lambda ax: gflow.plot.kkt_residuals(toy()[1], ax=ax),
    "multipliers": lambda ax: gflow.plot.multipliers(toy()[1], ax=ax),
    "layer_alignments": lambda ax: gflow.plot.layer_alignments(toy()[1], ax=ax),
    "neurons, circle": lambda ax: gflow.plot.neurons(planar()[1], ax=ax),
    "neurons, projected": lambda ax: gflow.plot.neurons(toy()[1], ax=ax),
    "neurons, sphere": lambda ax: gflow.plot.neurons(planar(3)[1], ax=ax),
    "prediction": lambda ax: gflow.plot.prediction(planar()[1], ax=ax),
    "prediction, classes": lambda ax: gflow.plot.prediction(
        gflow.point(*three_classes()), ax=ax
    ),
}
each_picture = pytest.mark.parametrize("name", PICTURES)


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


@each_picture
def test_nothing_changes_but_the_axes(name, ax, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("A window is shown."))
    before, figures = mpl.rcParams.copy(), plt.get_fignums()
    if name == "neurons, sphere":
        ax = ax.figure.add_subplot(projection="3d")
    others = [other for other in ax.figure.axes if other is not ax]
    contents = [len(other.get_children()) for other in others]
    assert PICTURES[name](ax) is ax
    ax.figure.canvas.draw()  # warnings are errors
    assert dict(mpl.rcParams) == dict(before)
    assert plt.get_fignums() == figures
    assert [len(other.get_children()) for other in others] == contents


@each_picture
def test_without_axes_there_is_a_new_figure(name):
    figures = plt.get_fignums()
    PICTURES[name](None)
    assert len(plt.get_fignums()) == len(figures) + 1
    plt.close(plt.get_fignums()[-1])


@each_picture
def test_axes_are_labeled_and_lines_explained(name, ax):
    PICTURES[name](ax)
    assert ax.get_xlabel()
    # A quantity is named by the caller, the circle below.
    assert ax.get_ylabel() or name in ("over_time", "neurons, circle")
    if name not in ("over_time", "multipliers"):
        assert all(text.get_text() for text in ax.get_legend().get_texts())


def line(ax, label):
    (found,) = [one for one in ax.lines if label in str(one.get_label())]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


@pytest.mark.parametrize("clock", ["log_log_t", "log_t", "log_radius", "tau"])
def test_a_quantity_stands_over_its_times(clock, ax):
    run = curve("relu2")
    values = np.stack([run.log_loss, run.log_radius], axis=1)
    gflow.plot.over_time(run, values, label=["loss", "radius"], clock=clock, ax=ax)
    times = getattr(run, "log_t" if clock == "log_log_t" else clock)
    for label, expected in (("loss", run.log_loss), ("radius", run.log_radius)):
        x, y = line(ax, label)
        assert np.array_equal(x, np.where(np.isfinite(times), times, np.nan), True)
        assert np.array_equal(y, expected)
    colors = {to_hex(one.get_color()) for one in ax.lines}
    gflow.plot.over_time(run, run.tau, ax=ax, color="k", linestyle=":")
    assert len(colors) == 2
    assert ax.lines[-1].get_linestyle() == ":"


def test_convergence_is_the_angle_with_the_tolerance_as_floor(ax):
    _, run, limit = far()
    gflow.plot.convergence(run, limit, rtol=1e-6, ax=ax)
    theta = np.concatenate(
        [np.ravel(leaf) for leaf in jax.tree.leaves(limit.direction)]
    )
    chords = np.linalg.norm(directions(run) - theta, axis=1)
    _, angles = line(ax, "to the limit (local maximum)")
    assert np.allclose(angles, 2 * np.arcsin(chords / 2), rtol=1e-9, atol=1e-15)
    assert np.array_equal(line(ax, "tolerance")[1], [1e-6, 1e-6])
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[0] < min(1e-6, np.min(angles))


def test_convergence_to_a_network(ax):
    _, run, limit = far()
    gflow.plot.convergence(run, limit.direction, ax=ax)
    assert np.nanmax(line(ax, "to the limit")[1]) > 0.1


def test_kkt_residuals_obey_their_identity(ax):
    # eps = margin^(-1/L) sqrt(2 (1 - beta)), where the cosine still has its digits.
    flow, run = toy()
    gflow.plot.kkt_residuals(run, ax=ax)
    margin = np.asarray(run.map(gflow.margins.normalized))
    cosine = np.asarray(run.map(gflow.kkt.alignment))
    fitted = (margin > 0) & (cosine < 0.99)
    assert np.any(fitted)
    expected = margin[fitted] ** (-1 / 3) * np.sqrt(2 * (1 - cosine[fitted]))
    _, stationarity = line(ax, "stationarity")
    _, slack = line(ax, "slackness")
    assert np.allclose(stationarity[fitted], expected, rtol=1e-10)
    assert np.all(np.isnan(stationarity[margin <= 0]))
    # delta of unit-margin weights, whose multipliers sum to |w|^2 / L times the cosine
    # of the angle and over it: so slack is at most that sum times the largest slack.
    behind = np.asarray(run.map(gflow.margins.slacks))[fitted]
    sums = margin[fitted] ** (-2 / 3) / 3
    heaviest = np.max(run.weights[fitted] * behind, axis=1)
    pull = np.asarray(
        run.map(lambda point: point.weights @ flow.margins(point.direction))
    )
    pulled = pull[fitted] / margin[fitted]  # sum of q z / z_min
    assert np.allclose(slack[fitted], sums * cosine[fitted] * heaviest / pulled)


def test_multipliers_are_the_weights_and_the_support_is_colored(ax):
    run = curve("relu2")
    gflow.plot.multipliers(run, support=1e-3, ax=ax)
    drawn = np.stack([one.get_ydata() for one in ax.lines], axis=1)
    order = np.argsort(run.weights[-1])
    assert np.allclose(drawn, run.weights[:, order], rtol=1e-12)
    gray = [to_hex(one.get_color()) == "#8a8a8a" for one in ax.lines]
    assert gray == [bool(weight < 1e-3) for weight in run.weights[-1, order]]
    assert f"{20 - sum(gray)} of 20" in ax.get_ylabel()


def test_layer_alignments_are_those_of_singular_vectors(ax):
    run = curve("linear, exponential")
    gflow.plot.layer_alignments(run, ax=ax)
    tops = []
    for weight in run.direction.weights:
        left, _, right = np.linalg.svd(np.atleast_2d(np.asarray(weight[5])))
        tops.append((left[:, 0], right[0]))
    for layer in range(2):
        gap = 1 - abs(tops[layer + 1][1] @ tops[layer][0])
        _, drawn = line(ax, f"layers {layer + 1} and {layer + 2}")
        assert abs(drawn[5] - gap) < 1e-14
        assert np.all(drawn > 0)


def unit_paths(run, floor):
    """The unit vectors of the first layer, NaN below the floor."""
    first = np.asarray(run.direction.weights[0])
    norms = np.linalg.norm(first, axis=2, keepdims=True)
    return np.where(norms >= floor, first / norms, np.nan)


def paths_of(ax, units):
    return np.stack([np.stack(one.get_data()) for one in ax.lines[:units]])


def test_on_the_circle_the_angle_is_the_direction_and_the_radius_time(ax):
    _, run = planar()
    gflow.plot.neurons(run, floor=0.001, ax=ax)
    paths = np.moveaxis(paths_of(ax, 6), [0, 1], [1, 2])
    radii = np.linalg.norm(paths, axis=2)
    expected = unit_paths(run, 1e-3)
    assert np.allclose(paths, expected * radii[:, :, None], equal_nan=True)
    assert np.array_equal(np.isnan(paths), np.isnan(expected))
    known = np.nanmax(radii, axis=1)
    assert known[0] == pytest.approx(0.4)
    assert known[1] == pytest.approx(0.4)  # t = 0 stands at the first time
    assert known[-1] == pytest.approx(1.0)
    assert np.all(np.diff(known[1:]) > 0)
    assert "angle" in ax.get_xlabel()
    signs = [one.get_color() == "#0072b2" for one in ax.lines[:6]]
    assert signs == [bool(w > 0) for w in run.direction.weights[1][-1]]


def test_on_the_sphere_paths_have_norm_one():
    _, run = planar(3)
    ax: Any = gflow.plot.neurons(run)
    assert ax.name == "3d"
    drawn = np.stack([np.stack(one.get_data_3d(), axis=1) for one in ax.lines[:6]], 1)
    assert np.allclose(drawn, unit_paths(run, 1e-4), equal_nan=True)
    plt.close(ax.figure)


def test_projections_are_onto_principal_directions(ax):
    _, run = toy()
    gflow.plot.neurons(run, ax=ax)
    drawn = np.moveaxis(paths_of(ax, 10), [0, 1], [1, 2])
    paths, last = unit_paths(run, 1e-4), np.asarray(run.direction.weights[0][-1])
    # The map from directions to the picture is the one with the greatest image.
    known = np.isfinite(paths[:, :, 0])
    basis = np.linalg.lstsq(paths[known], drawn[known], rcond=None)[0]
    assert np.allclose(paths[known] @ basis, drawn[known], atol=1e-12)
    assert np.allclose(basis.T @ basis, np.eye(2), atol=1e-9)
    heavy = last[known[-1]]
    values = np.linalg.svd(heavy, compute_uv=False)[:2]
    shares = values**2 / np.sum(heavy**2)
    assert np.allclose(np.linalg.norm(heavy @ basis, axis=0), values, rtol=1e-9)
    for label, share in zip((ax.get_xlabel(), ax.get_ylabel()), shares, strict=True):
        assert f"{share:.0%}" in label


def outlines(ax, width):
    """Points on the contour lines of a width."""
    sets = [one for one in ax.collections if not getattr(one, "filled", True)]
    sets = [one for one in sets if np.allclose(one.get_linewidth(), width)]
    return [np.concatenate([p.vertices for p in one.get_paths()]) for one in sets]


def test_the_boundary_and_the_margin_lie_where_the_network_says(ax):
    flow, run = planar()
    gflow.plot.prediction(run, ax=ax)
    network = jax.tree.map(lambda leaf: leaf[-1], run.direction)
    margin = float(gflow.margins.normalized(gflow.point(flow, network)))
    output = jax.vmap(network)
    dashed = [np.asarray(output(points)) for points in outlines(ax, 1.0)]
    assert [len(values) > 0 for values in dashed] == [True, True]
    for sign, values in zip((-1, 1), dashed, strict=True):
        assert np.allclose(values, sign * margin, rtol=1e-2)
    for points in outlines(ax, 1.5):
        assert np.max(np.abs(output(points))) < 1e-2 * margin
    ringed = ax.lines[-1].get_xydata()
    z = np.asarray(flow.margins(network))
    assert np.array_equal(ringed, np.asarray(flow.x)[z <= 1.01 * z.min()])


def test_three_linear_classes_meet_in_rays(ax):
    # Logits <v_k, x> of three unit vectors: scores vanish where two of them are equal.
    flow, network = three_classes()
    gflow.plot.prediction(gflow.point(flow, network), ax=ax)
    for kind, width in ((0.0, 1.5), (1.5, 1.0)):  # boundary, and margin 1 - cos 120°
        lines = outlines(ax, width)
        assert len(lines) == 3
        for vectors, points in zip(np.asarray(flow.x), lines, strict=True):
            others = [v for v in np.asarray(flow.x) if not np.array_equal(v, vectors)]
            score = points @ vectors - np.max(points @ np.stack(others).T, axis=1)
            assert np.max(np.abs(score - kind)) < 1e-2


def test_a_network_that_errs_has_no_margin_lines(ax):
    flow, run = planar()
    wrong = gflow.GradientFlow(flow.loss, flow.x, -flow.y)
    gflow.plot.prediction(gflow.point(wrong, run[-1].direction), ax=ax)
    assert not outlines(ax, 1.0)
    assert "margin" not in " ".join(t.get_text() for t in ax.get_legend().get_texts())


def test_a_trajectory_without_degree_shows_the_network_itself(ax):
    flow, run = planar()
    plain = eqx.tree_at(lambda t: t.degree, run, None)
    gflow.plot.prediction(plain, ax=ax)
    network = jax.tree.map(lambda leaf: leaf[-1], run.direction)
    margin = gflow.margins.normalized(gflow.point(flow, network)) * np.exp(
        3 * run.log_radius[-1]
    )
    assert f"{margin:.4g}" in ax.get_legend().get_texts()[-1].get_text()


def test_what_cannot_be_drawn_is_refused(ax):
    flow, run = toy()
    regression = gflow.GradientFlow(gflow.Square(), flow.x, flow.y)
    square = eqx.tree_at(lambda t: t.field.flow, run, regression)
    plane = gflow.GradientFlow(gflow.Square(), flow.x[:, :2], flow.y)
    plane = gflow.point(plane, gflow.nn.MLP(2, (3,), key=jr.key(0)))
    thin = eqx.tree_at(
        lambda t: t.direction.weights[0], run, run.direction.weights[0][:, :, :1]
    )
    p, loss = gflow.plot, run.log_loss
    for message, call in (
        (r"`flow\.x` must have shape \(samples, 2\) .* has shape \(20, 10\)",
         lambda: p.prediction(run, ax=ax)),
        ("`flow` must have classes", lambda: p.prediction(plane, ax=ax)),
        ("`points` must be at least 2",
         lambda: p.prediction(planar()[1], points=1, ax=ax)),
        ("`clock` must be one of", lambda: p.over_time(run, loss, clock="t", ax=ax)),
        ("`values` must have shape", lambda: p.over_time(run, loss[1:], ax=ax)),
        ("`values` must have shape", lambda: p.over_time(run, 1.0, ax=ax)),
        ("`label` must give one text for each of 1 lines, but gives 2",
         lambda: p.over_time(run, loss, label=["a", "b"], ax=ax)),
        ("`ax` must be one Axes of matplotlib, but is ndarray",
         lambda: p.over_time(run, loss, ax=np.array([ax]))),
        ("`curve` must be what `gflow.solve` or .* returned, but is ndarray",
         lambda: p.over_time(loss, loss, ax=ax)),
        ("`curve` must have points",
         lambda: p.multipliers(run.at(tau=np.array([])), ax=ax)),
        ("`rtol` must be positive", lambda: p.convergence(*far()[1:], rtol=0.0, ax=ax)),
        ("`support` must be at least", lambda: p.multipliers(run, support=1.0, ax=ax)),
        ("`curve` must be that of a homogeneous network that classifies",
         lambda: p.kkt_residuals(square, ax=ax)),
        ("`curve` must fit all samples somewhere",
         lambda: p.kkt_residuals(run.at(tau=0.0001), ax=ax)),
        ("`layer` must be a hidden one, 0 to 0, but is 1",
         lambda: p.neurons(run, layer=1, ax=ax)),
        ("units with two or more inputs", lambda: p.neurons(thin, ax=ax)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()


def test_times_that_are_all_infinite_are_refused(ax):
    run = curve("relu2")
    late = eqx.tree_at(lambda t: t.log_t, run, np.full(len(run.tau), np.inf))
    with pytest.raises(ValueError, match="`log_t` is infinite at each sample"):
        gflow.plot.over_time(late, run.log_loss, ax=ax)
    gflow.plot.over_time(late, run.log_loss, clock="log_radius", ax=ax)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gflow.plot")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = r"needs `matplotlib`, which is not installed.*'\.\[plot\]'"
    with pytest.raises(ImportError, match=message):
        importlib.import_module("gflow.plot")
