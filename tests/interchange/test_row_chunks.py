"""Networks for a fixed number of rows over any number."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.interchange.row_chunks import in_chunks


@pytest.mark.parametrize("rows", [1, 3, 4, 7, 8])
def test_every_row_is_computed_once(rows, run_network):
    def network(_, x):
        return in_chunks(x, 4, lambda part: part * 2.0 if part.shape == (4, 3) else part)

    x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    np.testing.assert_array_equal(run_network(network, x), 2 * x)


def test_too_many_parts_are_refused(run_network):
    with pytest.raises(LocalError, match="exported for 1 rows and is given 65; export it with an open number"):
        run_network(lambda _, x: in_chunks(x, 1, lambda part: part), np.zeros((65, 2), np.float32))
