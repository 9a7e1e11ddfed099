"""How the suite is spread when several pytest workers run it: tests of real processes stay together, one at a time."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that start processes and sockets on one worker: two meshes on two cores would judge the machine.

    They are shown first, so that they begin at once and the others run beside them.
    """
    items.sort(key=lambda item: item.get_closest_marker("process") is None)
    for item in items:
        if item.get_closest_marker("process") is not None:
            item.add_marker(pytest.mark.xdist_group("process"))
