"""Pictures of a flow: a trajectory in, `matplotlib` Axes out.

Every function draws into `ax`, or into a new figure if there is none, and returns the
Axes; titles, limits and `savefig` are the caller's. None shows a window or changes a
global style. Colors can be told apart by the color-blind.
"""

from .. import _extras


_extras.need("matplotlib", "plot")

from ._convergence import convergence as convergence
from ._kkt_residuals import kkt_residuals as kkt_residuals
from ._kl import kl_path as kl_path, kl_speed as kl_speed
from ._layer_alignments import layer_alignments as layer_alignments
from ._multipliers import multipliers as multipliers
from ._neurons import neurons as neurons
from ._over_time import over_time as over_time
from ._prediction import prediction as prediction
