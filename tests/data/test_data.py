# Wrong types are passed on purpose.
# pyright: reportArgumentType=false
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from gflow import data
from gflow.reference import hard_margin
from sklearn.datasets import load_digits


MAKERS = {
    "two_gaussians": lambda seed: data.two_gaussians(9, 4, distance=1.0, seed=seed),
    "parity": lambda seed: data.parity(6, samples=9, seed=seed),
    "separable": lambda seed: data.separable(9, 4, shift=0.1, seed=seed),
}
each_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def test_digits_are_the_images_of_scikit_learn():
    images, target = load_digits(return_X_y=True)
    x, y = data.digits()
    pixels = x - x[0]
    expected = images - images[0]
    factor = np.linalg.norm(expected) / np.linalg.norm(pixels)
    assert np.allclose(factor * pixels, expected, rtol=0, atol=1e-12)
    assert y.dtype == np.int64
    assert np.array_equal(y, target)


@pytest.mark.parametrize("classes", [None, (3, 8), (8, 3), (7, 1, 4)])
@pytest.mark.parametrize("samples", [None, 50])
def test_digits_are_centered_with_mean_norm_one(classes, samples):
    x, y = data.digits(classes, samples=samples)
    assert x.dtype == np.float64
    assert x.shape == (len(y), 64)
    assert samples is None or len(y) == samples
    assert np.max(np.abs(np.mean(x, axis=0))) < 1e-15
    assert math.isclose(np.mean(np.linalg.norm(x, axis=1)), 1.0, rel_tol=1e-14)


def test_two_digits_have_labels_plus_and_minus_one_in_the_order_named():
    _, target = load_digits(return_X_y=True)
    expected = np.where(target == 3, 1.0, -1.0)[np.isin(target, (3, 8))]
    _, y = data.digits((3, 8))
    _, swapped = data.digits((8, 3))
    _, few = data.digits((3, 8), samples=20)
    assert y.dtype == np.float64
    assert np.array_equal(y, expected)
    assert np.array_equal(swapped, -expected)
    assert np.array_equal(few, expected[:20])


def test_three_digits_have_their_positions_as_labels():
    _, target = load_digits(return_X_y=True)
    _, y = data.digits((7, 1, 4))
    expected = [(7, 1, 4).index(digit) for digit in target if digit in (7, 1, 4)]
    assert np.array_equal(y, expected)


def test_ten_digits_are_separable_by_their_labels():
    x, y = data.digits(range(10), samples=200)
    assert np.array_equal(y, data.digits(samples=200)[1])
    assert np.array_equal(np.unique(y), np.arange(10))
    # Labels belong to their images: the nearest class mean is right for most.
    means = np.stack([x[y == digit].mean(0) for digit in range(10)])
    nearest = np.argmin(np.linalg.norm(x[:, None] - means, axis=2), axis=1)
    assert np.mean(nearest == y) > 0.9


def test_mnist_holds_a_hundred_different_images_of_each_digit():
    x, y = data.mnist()
    assert x.shape == (1000, 784)
    assert x.dtype == np.float64
    assert np.array_equal(np.bincount(y), np.full(10, 100))
    assert len(np.unique(x, axis=0)) == 1000
    means = np.stack([x[y == digit].mean(0) for digit in range(10)])
    nearest = np.argmin(np.linalg.norm(x[:, None] - means, axis=2), axis=1)
    assert np.mean(nearest == y) > 0.75


@pytest.mark.parametrize("size", [14, 28])
@pytest.mark.parametrize(("classes", "samples"), [(None, None), ((3, 8), 50)])
def test_mnist_is_centered_with_mean_norm_one_and_balanced(size, classes, samples):
    x, y = data.mnist(classes, samples=samples, size=size)
    assert x.shape == (len(y), size**2)
    assert np.max(np.abs(np.mean(x, axis=0))) < 1e-15
    assert math.isclose(np.mean(np.linalg.norm(x, axis=1)), 1.0, rel_tol=1e-14)
    assert len(set(np.unique(y, return_counts=True)[1])) == 1
    if classes is not None:
        assert np.array_equal(y[:4], [1.0, -1.0, 1.0, -1.0])


def test_small_mnist_images_are_means_of_the_large():
    large, y = data.mnist((7, 1, 4), samples=30)
    small, same = data.mnist((7, 1, 4), samples=30, size=14)
    assert np.array_equal(y, same)
    assert np.array_equal(np.unique(y), [0, 1, 2])
    means = large.reshape(30, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(30, 196)
    factor = np.linalg.norm(means) / np.linalg.norm(small)
    assert np.allclose(means, factor * small, rtol=0, atol=1e-14)


def test_mnist_names_its_license():
    text = (pathlib.Path(data.__file__).parent / "mnist-license.txt").read_text()
    for words in ("Attribution-Share Alike 3.0", "Yann LeCun", "Sebastian Raschka"):
        assert words in text


def test_digits_can_be_changed_by_the_caller_without_harm():
    x, y = data.digits((3, 8))
    again = x.copy()
    x[:] = 0.0
    y[:] = 0.0
    assert np.array_equal(data.digits((3, 8))[0], again)


def test_data_need_no_switch_and_no_import_of_scikit_learn():
    code = (
        "import sys, gflow; x, y = gflow.data.digits((3, 8)); "
        "assert x.dtype == y.dtype == 'float64'; "
        "assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@each_maker
def test_a_seed_fixes_the_data(make):
    for a, b in zip(make(3), make(3), strict=True):
        assert a.dtype == np.float64
        assert np.array_equal(a, b)
    assert not np.array_equal(make(3)[0], make(4)[0])


@each_maker
def test_a_generator_is_drawn_from_and_global_state_is_not(make):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    random = np.random.default_rng(3)
    first, second = make(random), make(random)
    assert np.array_equal(first[0], make(3)[0])
    assert not np.array_equal(first[0], second[0])
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_gaussians_have_the_stated_moments_and_bayes_error():
    n, distance = 40_000, 1.5
    x, y = data.two_gaussians(n, 3, distance=distance, seed=0)
    assert np.array_equal(y[:4], [1.0, -1.0, 1.0, -1.0])
    noise = x - 0.5 * distance * np.outer(y, [1.0, 0.0, 0.0])
    sigma = 1 / math.sqrt(n)
    assert np.max(np.abs(np.mean(noise, axis=0))) < 5 * sigma
    assert np.max(np.abs(np.cov(noise.T) - np.eye(3))) < 5 * math.sqrt(2) * sigma
    bayes = 0.5 * math.erfc(distance / 2 / math.sqrt(2))
    assert abs(np.mean(np.sign(x[:, 0]) != y) - bayes) < 5 * 0.5 * sigma


@pytest.mark.parametrize(("features", "order"), [(2, 2), (4, 2), (5, 3), (6, 1)])
def test_parity_holds_every_point_once_and_its_product(features, order):
    x, y = data.parity(features, order)
    assert np.unique(x, axis=0).shape == x.shape == (2**features, features)
    assert np.allclose(np.linalg.norm(x, axis=1), 1.0, rtol=1e-15)
    product = features ** (order / 2) * np.prod(x[:, :order], axis=1)
    assert np.allclose(y, product, rtol=1e-14)
    assert np.all(np.abs(y) == 1.0)


def test_parity_of_two_has_no_linear_trace_and_that_of_one_is_linear():
    x, y = data.parity(5)
    assert np.max(np.abs(y @ x)) < 1e-14
    with pytest.raises(ValueError, match="separable"):
        hard_margin(x, y)
    margin = hard_margin(*data.parity(5, 1)).margin
    assert math.isclose(margin, 1 / math.sqrt(5), rel_tol=1e-15)


def test_random_parity_points_are_points_of_the_cube():
    x, y = data.parity(30, samples=50, seed=0)
    assert np.allclose(np.abs(x), 1 / math.sqrt(30), rtol=1e-15)
    assert np.allclose(y, 30 * x[:, 0] * x[:, 1], rtol=1e-14)
    assert set(y) == {-1.0, 1.0}


@pytest.mark.parametrize(("samples", "features", "shift"), [(20, 10, 0.2), (18, 7, 0)])
def test_separable_points_are_unit_vectors_moved_along_the_teacher(
    samples, features, shift
):
    x, y = data.separable(samples, features, shift=shift, seed=5)
    # The teacher is what the generator draws after the points.
    draws = np.random.default_rng(5).normal(size=(samples + 1, features))
    teacher = draws[-1] / np.linalg.norm(draws[-1])
    unmoved = x - shift * np.outer(y, teacher)
    assert np.allclose(np.linalg.norm(unmoved, axis=1), 1.0, rtol=1e-14)
    lengths = np.linalg.norm(draws[:-1], axis=1)
    assert np.allclose(np.sum(unmoved * draws[:-1], axis=1), lengths, rtol=1e-14)
    assert np.min(y * (x @ teacher)) > shift
    assert hard_margin(x, y).margin > shift


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.digits((3,)), r"`classes` must hold two or more .* is \(3,\)"),
        (lambda: data.digits((3, 3)), r"`classes` .* different digits"),
        (lambda: data.digits((3, 12)), r"`classes` .* 0 to 9, but is \(3, 12\)"),
        (lambda: data.digits((3, -1)), "`classes` must be at least 0, but is -1"),
        (lambda: data.digits((3, 8.0)), "`classes` must be an integer, but is 8.0"),
        (lambda: data.digits(3), "`classes` must be a tuple of digits, but is 3"),
        (lambda: data.digits((3, 8), samples=358), "`samples` must be at most 357"),
        (lambda: data.digits(samples=1), "`samples` must be at least 2, but is 1"),
        (lambda: data.mnist(size=20), "`size` must be 28, or 14 .*, but is 20"),
        (lambda: data.mnist((3, 8), samples=201), "`samples` must be at most 200"),
        (lambda: data.mnist((3, 12)), r"`classes` .* 0 to 9, but is \(3, 12\)"),
        (lambda: data.parity(0), "`features` must be at least 1, but is 0"),
        (lambda: data.parity(3, 4), "`order` must be at most `features`, .* 4 > 3"),
        (lambda: data.parity(3, 0), "`order` must be at least 1, but is 0"),
        (lambda: data.parity(21), "`features` must be at most 20 for all points"),
        (lambda: data.parity(3, samples=5), "`samples` and `seed` must be given toget"),
        (lambda: data.parity(3, seed=5), "`samples` and `seed` must be given together"),
        (
            lambda: data.separable(20, 10, shift=-0.1, seed=0),
            "`shift` must be finite and at least 0, but is -0.1",
        ),
        (
            lambda: data.separable(2.5, 10, shift=0.1, seed=0),
            "`samples` must be an integer, but is 2.5",
        ),
        (
            lambda: data.separable(20, 10, shift=0.1, seed=-1),
            "`seed` must be at least 0, but is -1",
        ),
        (
            lambda: data.two_gaussians(4, 4, distance=math.nan, seed=0),
            "`distance` must be finite and at least 0, but is nan",
        ),
        (
            lambda: data.two_gaussians(4, 4, distance=1.0, seed=None),
            "`seed` must be an integer, but is None",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
