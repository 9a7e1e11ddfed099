"""Names of other libraries as names of parameters."""

from synaptic_mesh.engine.ir import NAME_PATTERN
from synaptic_mesh.interchange.parameter_names import parameter_name, parameter_names
from synaptic_mesh.models.scope import NAME_CHARACTERS_MAX


def test_names_are_lawful_and_stay_apart() -> None:
    assert parameter_name("layer.0.weight") == "layer.0.weight"
    assert parameter_name("0/weight") == "_0/weight"
    assert parameter_name("onnx::MatMul_7") == "onnx__MatMul_7"
    long = [parameter_name("block." * 20 + str(i)) for i in range(3)]
    assert len(set(long)) == 3
    for name in [*long, parameter_name("")]:
        assert NAME_PATTERN.fullmatch(name)
        assert len(name) <= NAME_CHARACTERS_MAX


def test_names_that_would_become_equal_stay_apart() -> None:
    found = parameter_names(["a b", "a:b", "a_b", "c"])
    assert len(set(found.values())) == 4
    assert (found["a_b"], found["c"]) == ("a_b", "c")
    assert found == parameter_names(["c", "a_b", "a:b", "a b"])
    for name in found.values():
        assert NAME_PATTERN.fullmatch(name)
