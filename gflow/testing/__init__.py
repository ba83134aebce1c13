"""What tests of your own parts need: checks, an independent solver, strategies.

Each check raises an `AssertionError` of one sentence, which names the law that is
broken, what was found, and what was expected:

    gflow.testing.check_loss(loss)
    gflow.testing.check_clock(clock)
    gflow.testing.check_norm(norm, weights=20)
    gflow.testing.check_network(network, x)
    gflow.testing.check_trajectory(curve)

`follow` gives the same network as `solve` by a solver of SciPy, slowly and not far. The
strategies of `gflow.testing.strategies` draw losses, data, networks and flows; they
need Hypothesis: `pip install '.[test]'`.
"""

from ._clock import check_clock as check_clock
from ._follow import FollowError as FollowError, follow as follow
from ._loss import check_loss as check_loss
from ._network import check_network as check_network
from ._norm import check_norm as check_norm
from ._trajectory import check_trajectory as check_trajectory
