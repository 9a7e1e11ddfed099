import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench.cases import CASES, Mode, choose_cases
from synaptic_mesh.bench.engine_suite import BARS
from synaptic_mesh.bench.networks import NetworkWork
from synaptic_mesh.bench.workload import Kind, Workload

SMALL = ((64,) * 3, (128,) * 3)


def test_names_are_unique_and_hold_the_bars() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert {name for name, *_ in BARS} <= set(names)


def test_every_small_case_is_measured_both_ways() -> None:
    plain = [case for case in CASES if isinstance(case.work, Workload)]
    small = {case.work for case in plain if case.steps > 1}
    assert {case.work for case in plain if case.mode is Mode.CALL} == small
    sizes = {case.work: case.work.sizes for case in plain if isinstance(case.work, Workload)}
    assert small == {
        work for work, each in sizes.items() if work.kind is not Kind.GEMM or each in ((32, 784, 128), *SMALL)
    }


def test_networks_of_the_issue_per_call() -> None:
    names = {case.name for case in CASES if isinstance(case.work, NetworkWork)}
    assert names == {
        f"{kind} {network} batch {rows}, per call"
        for kind in ("forward", "train")
        for network in ("cnn", "lstm", "transformer")
        for rows in (1, 32)
    }


def test_products_of_the_issue() -> None:
    sizes = {case.work.sizes for case in CASES if isinstance(case.work, Workload) and case.work.kind is Kind.GEMM}
    assert sizes == {(32, 784, 128), *((side,) * 3 for side in (64, 128, 256, 512, 1000, 2000))}


def test_cases_are_chosen_by_words() -> None:
    assert choose_cases([]) == list(CASES)
    assert [case.name for case in choose_cases(["gemm 1000", "gemm 64"])] == [
        "gemm 64, per call",
        "gemm 64, in place",
        "gemm 1000, in place",
    ]
    with pytest.raises(LocalError, match="no case is named 'gem 64'"):
        choose_cases(["gemm", "gem 64"])
