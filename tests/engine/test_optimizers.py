"""Training steps: the update rules against float64 and the graph's borders."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.adaptive import Adagrad, Adam, Lion, RMSprop
from synaptic_mesh.engine.backend import StepInvalid
from synaptic_mesh.engine.composites import cross_entropy, dense, relu
from synaptic_mesh.engine.gradient_rules import ClipByGlobalNorm, ClipByValue, WeightDecay
from synaptic_mesh.engine.initializers import he_uniform, random_u32, uniform
from synaptic_mesh.engine.optimizer_names import OPTIMIZERS, make_optimizer
from synaptic_mesh.engine.optimizers import SGD, AdamW, Momentum, Nesterov, initial_state, training_step
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.resilient import IRpropMinus, Quickprop
from synaptic_mesh.engine.schedules import cosine, linear, step_decay, table, warm_up
from synaptic_mesh.engine.trace import f32, i32
from synaptic_mesh.workers.wasm_runtime import open_wasm_backend

TARGET = np.array([1.0, -2.0, 0.5], np.float32)
START = np.array([0.0, 0.0, 3.0], np.float32)
STEPS = 7


def train(optimizer, backend=None, steps=STEPS):
    """Run STEPS steps on sum((p - t)^2); return the program."""
    parameters = {"p": f32(3)}

    def loss(p, batch):
        error = p["p"] - batch["t"]
        return (error * error).sum()

    program = (backend or ReferenceBackend()).compile(training_step(loss, parameters, {"t": f32(3)}, optimizer))
    for name, array in {"p": START, "t": TARGET, **initial_state(optimizer, parameters)}.items():
        program.write(name, array)
    for _ in range(steps):
        program.run()
    return program


def gradient(p):
    return 2 * (p - TARGET.astype(np.float64))


def test_sgd():
    p = START.astype(np.float64)
    for _ in range(STEPS):
        p = p - 0.1 * gradient(p)
    np.testing.assert_allclose(train(SGD(0.1)).read("p"), p, rtol=1e-6)


def test_momentum():
    p, v = START.astype(np.float64), np.zeros(3)
    for _ in range(STEPS):
        v = 0.9 * v + gradient(p)
        p = p - 0.02 * v
    program = train(Momentum(0.02, 0.9))
    np.testing.assert_allclose(program.read("p"), p, rtol=1e-5)
    np.testing.assert_allclose(program.read("v/p"), v, rtol=1e-5)


def test_adamw():
    rate, b1, b2, epsilon, decay = 0.1, 0.9, 0.99, 1e-8, 0.05
    p, m, v = START.astype(np.float64), np.zeros(3), np.zeros(3)
    for t in range(1, STEPS + 1):
        g = gradient(p)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        p = p - rate * decay * p - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + epsilon)
    program = train(AdamW(rate, b1, b2, epsilon, decay))
    np.testing.assert_allclose(program.read("p"), p, rtol=1e-5)
    np.testing.assert_allclose(program.read("power/beta1"), b1**STEPS, rtol=1e-6)


# --- every other rule against its formula in float64; each written from the paper, not from the code


def nesterov(g, p, m, _t):
    m["v"] = 0.9 * m["v"] + g
    return p - 0.02 * (g + 0.9 * m["v"])


def adagrad(g, p, m, _t):
    m["s"] = m["s"] + g**2
    return p - 0.3 * g / (np.sqrt(m["s"]) + 1e-10)


def rmsprop(g, p, m, _t):
    m["s"] = 0.9 * m["s"] + 0.1 * g**2
    return p - 0.05 * g / (np.sqrt(m["s"]) + 1e-8)


def adam(g, p, m, t):
    m["m"], m["v"] = 0.9 * m["m"] + 0.1 * g, 0.99 * m["v"] + 0.01 * g**2
    return p - 0.1 * (m["m"] / (1 - 0.9**t)) / (np.sqrt(m["v"] / (1 - 0.99**t)) + 1e-8)


def lion(g, p, m, _t):
    moved = p * (1 - 0.05 * 0.1) - 0.05 * np.sign(0.9 * m["m"] + 0.1 * g)
    m["m"] = 0.99 * m["m"] + 0.01 * g
    return moved


def irprop(g, p, m, t):
    if t == 1:
        m["d"] = np.full(3, 0.3)
    same = np.sign(g * m["g"])
    m["d"] = np.where(same > 0, np.minimum(1.2 * m["d"], 50), np.where(same < 0, np.maximum(m["d"] / 2, 1e-6), m["d"]))
    m["g"] = np.where(same < 0, 0, g)
    return p - np.sign(m["g"]) * m["d"]


def quickprop(g, p, m, _t):
    """Element by element, as fann_update_weights_quickprop of libfann 2.2 is written."""
    moved, steps, slopes = np.zeros(3), np.zeros(3), -(g + 0.0001 * p)
    for i, (slope, last, step) in enumerate(zip(slopes, m["s"], m["t"], strict=True)):
        shrink, following = 1.75 / 2.75, 0.0
        turn = 1 if step > 0.001 else -1 if step < -0.001 else 0
        if turn == 0:
            following = 0.05 * slope
        else:
            following += 0.05 * slope if turn * slope > 0 else 0
            following += 1.75 * step if turn * slope > turn * shrink * last else step * slope / (last - slope)
        steps[i], moved[i] = following, p[i] + following
    m["s"], m["t"] = slopes, steps
    return moved


def clipped_by_value(g, p, _m, _t):
    return p - 0.1 * np.clip(g, -1.5, 1.5)


def clipped_by_norm(g, p, _m, _t):
    return p - 0.1 * g * min(1, 1.5 / (np.sqrt((g**2).sum()) + 1e-6))


def decayed(g, p, _m, _t):
    return p - 0.1 * (g + 0.2 * p)


def scheduled(g, p, _m, t):
    return p - [0.1, 0.1, 0.05, 0.05, 0.025][min(t, 5) - 1] * g


RULES = {
    "nesterov": (Nesterov(0.02, 0.9), nesterov),
    "adagrad": (Adagrad(0.3), adagrad),
    "rmsprop": (RMSprop(0.05, 0.9), rmsprop),
    "adam": (Adam(0.1, 0.9, 0.99), adam),
    "lion": (Lion(0.05, 0.9, 0.99, 0.1), lion),
    "irprop-": (IRpropMinus(0.3), irprop),
    "quickprop": (Quickprop(0.05), quickprop),
    "clip by value": (ClipByValue(SGD(0.1), 1.5), clipped_by_value),
    "clip by norm": (ClipByGlobalNorm(SGD(0.1), 1.5), clipped_by_norm),
    "weight decay": (WeightDecay(SGD(0.1), 0.2), decayed),
    "schedule": (SGD(step_decay(0.1, 2, 0.5, 5)), scheduled),
}


@pytest.mark.parametrize("name", RULES)
def test_rule_against_float64(name):
    optimizer, formula = RULES[name]
    p, memory = START.astype(np.float64), {kind: np.zeros(3) for kind in ("v", "s", "m", "d", "g", "t")}
    for step in range(1, STEPS + 1):
        p = formula(gradient(p), p, memory, step)
    np.testing.assert_allclose(train(optimizer).read("p"), p, rtol=2e-5)


def test_rules_have_the_same_bits_on_wasm():
    backend = open_wasm_backend()
    for optimizer, _ in RULES.values():
        slow, fast = train(optimizer, steps=3), train(optimizer, backend, steps=3)
        for name in slow.graph.outputs:
            assert slow.read(name).tobytes() == fast.read(name).tobytes(), (optimizer, name)


def torch_optimizer(torch, name, parameters):
    found = {
        "nesterov": lambda: torch.optim.SGD(parameters, 0.02, momentum=0.9, nesterov=True),
        "adagrad": lambda: torch.optim.Adagrad(parameters, 0.3),
        "rmsprop": lambda: torch.optim.RMSprop(parameters, 0.05, alpha=0.9),
        "adam": lambda: torch.optim.Adam(parameters, 0.1, betas=(0.9, 0.99)),
        "irprop-": lambda: torch.optim.Rprop(parameters, 0.3),
        "weight decay": lambda: torch.optim.SGD(parameters, 0.1, weight_decay=0.2),
    }
    return found[name]()


@pytest.mark.parametrize("name", ["nesterov", "adagrad", "rmsprop", "adam", "irprop-", "weight decay"])
def test_rule_against_torch(name):
    torch = pytest.importorskip("torch")
    p = torch.tensor(START, requires_grad=True)
    optimizer = torch_optimizer(torch, name, [p])
    for _ in range(STEPS):
        optimizer.zero_grad()
        ((p - torch.tensor(TARGET)) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(train(RULES[name][0]).read("p"), p.detach().numpy(), rtol=2e-5)


def test_global_norm_is_of_all_parameters_together():
    parameters = {"a": f32(2), "b": f32(2)}
    optimizer = ClipByGlobalNorm(SGD(1.0), 1.0)
    graph = training_step(lambda p, _: (p["a"] * 3.0).sum() + (p["b"] * 4.0).sum(), parameters, {}, optimizer)
    program = ReferenceBackend().compile(graph)
    program.run()
    moved = np.concatenate([program.read("a"), program.read("b")])
    np.testing.assert_allclose(moved, -np.array([3, 3, 4, 4]) / np.sqrt(50), rtol=1e-6)


def test_a_small_gradient_is_not_clipped():
    for rule in (ClipByGlobalNorm(SGD(0.1), 1e6), ClipByValue(SGD(0.1), 1e6)):
        assert train(rule).read("p").tobytes() == train(SGD(0.1)).read("p").tobytes()


# --- schedules


def test_cosine_schedule():
    rates = cosine(0.5, 101, floor=0.1, warmup=10).rates
    np.testing.assert_allclose(rates[:10], 0.5 * np.arange(1, 11) / 11, rtol=1e-6)
    expected = 0.1 + 0.4 * (1 + np.cos(np.pi * np.arange(91) / 90)) / 2
    np.testing.assert_allclose(rates[10:], expected, rtol=1e-6)


def test_other_schedules():
    np.testing.assert_allclose(linear(1.0, 5).rates, [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(warm_up(0.4, 3).rates, [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(step_decay(1.0, 2, 0.1, 5).rates, [1, 1, 0.1, 0.1, 0.01], rtol=1e-6)


def test_a_schedule_is_bit_patterns_and_keeps_its_last_rate():
    assert table([1.0, 0.5]).bits == (0x3F800000, 0x3F000000)
    program = train(SGD(table([0.0, 0.25])))
    assert program.read("rate/step") == 1
    np.testing.assert_allclose(program.read("p"), TARGET + (START - TARGET) * 0.5 ** (STEPS - 1))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: table([]), "0 steps must have 1 to 65536"),
        (lambda: table([0.1, -1.0]), r"the rate of step 1 is -1\.0"),
        (lambda: table([1e39]), "the rate of step 0 is 1e\\+39"),
        (lambda: cosine(0.1, 5, warmup=5), "warmup 5 must be from 0 to below its 5 steps"),
        (lambda: step_decay(0.1, 0, 0.5, 5), "every 0 must be at least 1"),
        (lambda: ClipByValue(SGD(), 0.0), r"ClipByValue: limit 0\.0 must be above 0"),
        (lambda: make_optimizer("sdg"), "optimizer 'sdg' is not known; choose one of sgd, momentum"),
        (lambda: make_optimizer("quickprop", warm_up(0.1, 2)), "'quickprop' finds its own steps"),
    ],
)
def test_what_cannot_be_built(build, message):
    with pytest.raises(LocalError, match=message):
        build()


def classifier(optimizer, rows=32):
    parameters = {"w1": f32(8, 16), "b1": f32(16), "w2": f32(16, 3), "b2": f32(3)}

    def loss(p, batch):
        return cross_entropy(dense(relu(dense(batch["x"], p["w1"], p["b1"])), p["w2"], p["b2"]), batch["y"])

    graph = training_step(loss, parameters, {"x": f32(rows, 8), "y": i32(rows)}, optimizer)
    program = ReferenceBackend().compile(graph)
    for name, spec in parameters.items():
        start = he_uniform(1, name, spec.shape) if len(spec.shape) == 2 else np.zeros(spec.shape, np.float32)
        program.write(name, start)
    for name, array in initial_state(optimizer, parameters).items():
        program.write(name, array)
    program.write("x", uniform(1, "x", (rows, 8), 1.0))
    program.write("y", (random_u32(1, "y", rows) % np.uint32(3)).astype(np.int32))
    return program


RATES = {"sgd": 0.5, "momentum": 0.1, "adamw": 0.02, "adam": 0.02, "rmsprop": 0.02, "lion": 0.01, "irprop-": 0.01}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_classifier_learns_its_batch(name):
    program = classifier(make_optimizer(name, RATES.get(name)))
    program.run()
    first = float(program.read("loss"))
    for _ in range(150):
        program.run()
    assert float(program.read("loss")) < 0.3 * first


def test_carried_names_and_checks():
    graph = classifier(Momentum()).graph
    assert graph.carried == {name: name for name in ("w1", "b1", "w2", "b2", "v/w1", "v/b1", "v/w2", "v/b2")}
    assert graph.checked == ("loss",)
    assert set(graph.inputs) == set(graph.carried) | {"x", "y"}


def test_a_diverging_step_is_invalid():
    program = classifier(SGD(0.1))
    program.write("x", np.full((32, 8), 3e38, np.float32))
    with pytest.raises(StepInvalid, match="'loss' is not finite"):
        program.run()


def test_a_label_out_of_range_is_invalid():
    program = classifier(SGD(0.1))
    program.write("y", np.full(32, 3, np.int32))
    with pytest.raises(StepInvalid, match=r"index 3 is outside 0\.\.2"):
        program.run()


def test_clashing_names_and_integer_parameters_are_refused():
    with pytest.raises(LocalError, match=r"\['x'\] are used twice"):
        training_step(lambda p, _: p["x"].sum(), {"x": f32(2)}, {"x": f32(2)}, SGD())
    with pytest.raises(LocalError, match=r"\['v/x'\] are used twice"):
        training_step(lambda p, b: p["x"].sum() + b["v/x"], {"x": f32(2)}, {"v/x": f32()}, Momentum())
    with pytest.raises(LocalError, match="only f32 is trained"):
        training_step(lambda p, _: p["x"].sum(), {"x": i32(2)}, {}, SGD())
