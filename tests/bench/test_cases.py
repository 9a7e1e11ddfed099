import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench.cases import CASES, Mode, choose_cases
from synaptic_mesh.bench.engine_suite import BARS
from synaptic_mesh.bench.workload import Kind


def test_names_are_unique_and_hold_the_bars() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert {name for name, *_ in BARS} <= set(names)


def test_every_small_case_is_measured_both_ways() -> None:
    small = {case.work for case in CASES if case.steps > 1}
    assert {case.work for case in CASES if case.mode is Mode.CALL} == small
    assert small == {case.work for case in CASES if case.work.kind is not Kind.GEMM or max(case.work.sizes) <= 784} - {
        case.work for case in CASES if case.work.sizes in ((256,) * 3, (512,) * 3)
    }


def test_products_of_the_issue() -> None:
    sizes = {case.work.sizes for case in CASES if case.work.kind is Kind.GEMM}
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
