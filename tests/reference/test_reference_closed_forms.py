"""Closed forms against multiprecision solutions of the equations they solve."""

import math

import mpmath
import pytest
from gflow import reference
from scipy.integrate import quad


@pytest.mark.parametrize("angle", [0.01, 0.7, math.pi / 4, 1.5])
def test_two_weights_solve_the_polar_equation(angle):
    """d phi / d log r = cot 2 phi, tried on the formula in multiprecision."""
    times = [0.0, 0.3, 1.0, 4.0]
    found = reference.two_weights(angle, times)
    with mpmath.workdps(30):
        start = mpmath.mpf(angle)

        def path(rho):
            return mpmath.acos(mpmath.exp(-2 * rho) * mpmath.cos(2 * start)) / 2

        assert abs(path(0) - start) < 1e-25
        for i, time in enumerate(times):
            phi = path(time)
            slope = mpmath.diff(path, time)
            assert abs(slope - mpmath.cot(2 * phi)) < 1e-12 * (1 + abs(slope))
            sine = mpmath.sin(2 * phi)
            assert abs(found.angle[i] - phi) < 1e-14
            assert abs(found.margin[i] - sine / 2) < 1e-14
            assert abs(found.alignment[i] - sine) < 1e-14
            assert abs(found.turning[i] - abs(mpmath.cot(2 * phi))) < 1e-13 / sine**3
            assert abs(found.path_length[i] - abs(phi - angle)) < 1e-14


def test_two_weights_keep_digits_near_the_diagonal():
    # The turning there is far below the rounding of the angle.
    late = reference.two_weights(0.3, 50.0)
    expected = math.cos(0.6) * math.exp(-100)
    assert math.isclose(float(late.turning), expected, rel_tol=1e-13)
    assert math.isclose(float(late.path_length), math.pi / 4 - 0.3, rel_tol=1e-15)


@pytest.mark.parametrize("start", [-3.0, 0.0, 20.0])
def test_one_sample_has_the_margin_of_the_logarithm(start):
    log_t = [-math.inf, -2.0, 0.0, 3.0, 1e9]
    found = reference.one_sample_margin(start, 1.5, log_t)
    with mpmath.workdps(30):
        for value, u in zip(found[:-1], log_t[:-1], strict=True):
            exact = mpmath.log(mpmath.exp(start) + mpmath.mpf(2.25) * mpmath.exp(u))
            assert abs(value - exact) <= 4e-16 * max(1, abs(exact))
    assert found[0] == start
    assert math.isclose(found[-1], 1e9 + math.log(2.25), rel_tol=1e-15)


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("start", "margin"), [(1e-6, 1e-5), (0.01, 3.0), (1.0, 40.0), (0.5, 600.0)]
)
def test_balanced_products_take_the_time_of_their_integral(degree, start, margin):
    found = reference.balanced_product_log_time(degree, start, margin)
    with mpmath.workdps(30):
        # An incomplete gamma function of negative argument.
        power = mpmath.mpf(2) / degree - 1
        if degree == 2:
            whole = mpmath.ei(margin) - mpmath.ei(start)
        else:
            knots = [start, *(e for e in KNOTS if start < e < margin), margin]
            whole = mpmath.quad(lambda s: s ** (power - 1) * mpmath.exp(s), knots)
        exact = mpmath.log(whole / degree)
        assert abs(found - exact) <= 1e-13 * max(1, abs(exact))


KNOTS = [1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 50.0, 200.0, 400.0, 550.0]


def test_late_balanced_products_have_the_sharp_constant():
    # t L alpha^(2 - 2/L) e^-alpha -> 1, with the next term of the series.
    alpha = 1e7
    for degree in (2, 3, 5):
        found = reference.balanced_product_log_time(degree, 1.0, alpha)
        power = 2 - 2 / degree
        late = alpha - math.log(degree) - power * math.log(alpha) + power / alpha
        assert math.isclose(float(found), late, rel_tol=1e-15)


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 0.3, 2.0, 5.0])
def test_two_modes_of_the_square_loss(scale):
    """Against the formula in multiprecision, and the formula against its equation."""
    with mpmath.workdps(40):
        start = mpmath.mpf(scale)

        def mode(target, t):
            decay = mpmath.exp(-8 * target * t)
            return (
                mpmath.sqrt(target)
                * start
                / mpmath.sqrt(start**2 + (2 * target - start**2) * decay)
            )

        for log_t in (-5.0, -1.0, 0.5, 3.0):
            found = reference.two_singular_values(scale, log_t)
            t = mpmath.exp(log_t)
            for value, target in zip(found, (4, 1), strict=True):
                exact = mode(target, t)
                assert abs(value / exact - 1) < 1e-12
                slope = mpmath.diff(lambda s, target=target: mode(target, s), t)
                force = 4 * exact * (target - exact**2)
                assert abs(slope - force) < mpmath.mpf("1e-15") * (abs(force) + exact)
        assert abs(mode(4, 0) - start / mpmath.sqrt(2)) < mpmath.mpf("1e-35")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reference.two_weights(0.0, 1.0), r"`angle` must lie in \(0, pi/2\)"),
        (lambda: reference.two_weights(1.0, -1.0), "`log_growth` must not be negative"),
        (lambda: reference.one_sample_margin(0.0, 0.0, 1.0), "`length` must be pos"),
        (lambda: reference.balanced_product_log_time(2, 1.0, 0.5), "`margin` > `star"),
        (lambda: reference.two_singular_values(0.0, 1.0), "`scale` must be positive"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_balanced_time_agrees_with_scipy_quadrature():
    found = reference.balanced_product_log_time(3, 0.2, 2.0)
    whole, _ = quad(lambda s: s ** (2 / 3 - 2) * math.exp(s), 0.2, 2.0, epsrel=1e-13)
    assert math.isclose(float(found), math.log(whole / 3), rel_tol=1e-12)
