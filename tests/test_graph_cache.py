"""Compiled graphs that are kept on disk: never another function's, and the same numbers."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

from step_llm.runtime import graph_cache
from step_llm.runtime.fingerprint import Unreadable, fingerprint
from step_llm.runtime.graph_cache import GraphCache

ROOT = Path(__file__).resolve().parent.parent


def run(program, folder, *arguments, **environment):
    """A program in a process of its own; what it printed last, as JSON."""
    variables = {**os.environ, "STEP_LLM_GRAPH_CACHE": str(folder), "GLOG_v": "3", **environment}
    variables["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# Cells that MindSpore's own cache mixes up: they differ by what they compute, and by nothing else.
TWO_CELLS = """
    import json, sys
    import numpy as np
    import mindspore as ms
    from mindspore import Tensor, nn
    from step_llm.runtime.graph_cache import _of_this_process
    from step_llm.runtime.graph_mode import graph_mode

    # Methods of a program that has no file: MindSpore reads their text from a module's file.
    from graph_cache_cells import cells

    order, size = sys.argv[1], int(sys.argv[2])
    x = Tensor(np.full((size, size), 3.0, np.float32))
    with graph_mode():
        values = {name: cells[name](x).asnumpy().tolist() for name in order}
    cache = _of_this_process()
    counts = [cache.hits, cache.misses, cache.refused] if cache else None
    print(json.dumps({"values": values, "counts": counts}))
"""
CELLS = """
    from mindspore import nn

    class F(nn.Cell):
        def construct(self, x):
            return x * x + 1

    class G(nn.Cell):
        def construct(self, x):
            return 100 * x * x

    cells = {"f": F(), "g": G()}
"""
RIGHT = {"f": 10.0, "g": 900.0}


@pytest.fixture(name="two_cells")
def fixture_two_cells(tmp_path):
    """Runs the two Cells in a new process, in an order, with inputs of a size."""
    (tmp_path / "graph_cache_cells.py").write_text(textwrap.dedent(CELLS))
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + textwrap.dedent(TWO_CELLS)

    def two_cells(order, size=2, **environment):
        return run(program, tmp_path / "graphs", order, size, **environment)

    return two_cells


def full(size):
    return {name: np.full((size, size), value).tolist() for name, value in RIGHT.items()}


def test_other_orders_and_shapes_get_their_own_graphs(two_cells):
    """MindSpore's own cache gives f's values for g here, and 2 × 2 results for 3 × 3 inputs."""
    assert two_cells("fg") == {"values": full(2), "counts": [0, 2, 0]}
    assert two_cells("gf") == {"values": full(2), "counts": [2, 0, 0]}
    assert two_cells("fg", size=3) == {"values": full(3), "counts": [0, 2, 0]}
    assert two_cells("gf", size=3) == {"values": full(3), "counts": [2, 0, 0]}
    assert two_cells("g", size=2)["counts"] == [1, 0, 0]


def test_mindspores_own_cache_is_wrong_where_this_one_is_right(two_cells, tmp_path):
    """The control: if MindSpore mends it, all of this can go."""
    own = {"MS_COMPILER_CACHE_ENABLE": "1", "MS_COMPILER_CACHE_PATH": str(tmp_path / "own")}
    # MindSpore's cache needs an entry script.
    script = tmp_path / "script.py"
    program = textwrap.dedent(TWO_CELLS)
    script.write_text(program)

    def two(order):
        variables = {**os.environ, **own, "PYTHONPATH": str(ROOT), "GLOG_v": "3"}
        command = [sys.executable, script, order, "2"]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    assert two("fg") == {"values": full(2), "counts": None}  # we stay out of the way
    assert two("gf")["values"] != full(2)


def test_damaged_and_cut_graphs_are_compiled_again(two_cells, tmp_path):
    two_cells("fg")
    first, second = sorted(tmp_path.glob("graphs/*/*.gz"))
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    second.write_bytes(b"no graph at all")
    assert two_cells("fg") == {"values": full(2), "counts": [0, 2, 0]}
    assert two_cells("fg") == {"values": full(2), "counts": [2, 0, 0]}


def test_off_by_one_switch(two_cells, tmp_path):
    assert two_cells("fg", STEP_LLM_GRAPH_CACHE="0") == {"values": full(2), "counts": None}
    assert not (tmp_path / "graphs").exists()


def test_a_folder_that_cannot_be_written_changes_nothing(two_cells, tmp_path):
    (tmp_path / "graphs").write_text("a file where the folder would be")
    assert two_cells("fg") == {"values": full(2), "counts": [0, 0, 2]}


TRAINING = """
    import json, sys
    import numpy as np
    import mindspore as ms
    from mindspore import nn
    from step_llm import Transformer, TransformerConfig, TrainStep, graph_mode
    from step_llm.models.weights import weights_of
    from step_llm.runtime.graph_cache import _of_this_process
    from step_llm.training.step import EvaluationStep

    ms.set_seed(1)
    config = TransformerConfig(40, 40, d_model=16, num_heads=2, num_encoder_layers=1,
                               num_decoder_layers=1, d_ff=32, dropout=0.3)
    model = Transformer(config, seed=1).set_train()
    adam = nn.Adam(model.trainable_params(), 1e-2)
    step, evaluation = TrainStep(model, adam, label_smoothing=0.1), EvaluationStep(model)
    rng = np.random.default_rng(0)
    lengths = [int(length) for length in sys.argv[1]]
    losses = []
    with graph_mode():
        for length in lengths:
            batch = [rng.integers(4, 40, (4, length)).astype(np.int32) for _ in range(3)]
            losses += [float(step(1e-2, batch).loss.asnumpy()) for _ in range(3)]
            losses.append(float(evaluation(batch)[0].asnumpy()))
    total = {name: float(np.abs(value).sum()) for name, value in weights_of(model).items()}
    cache = _of_this_process()
    counts = [cache.hits, cache.misses, cache.refused] if cache else None
    print(json.dumps({"losses": losses, "weights": total, "counts": counts}))
"""


def test_training_is_the_same_to_the_last_digit(tmp_path):
    """Dropout, optimizer and weights included; with shapes that come again and in another order."""
    without = run(TRAINING, "0", "565")
    cold, warm = (run(TRAINING, tmp_path, "565") for _ in range(2))
    assert without["counts"] is None
    assert cold["counts"] == [0, 4, 0]
    assert warm["counts"] == [4, 0, 0]
    for name in ("losses", "weights"):
        assert cold[name] == without[name]
        assert warm[name] == without[name]
    turned = run(TRAINING, tmp_path, "65")
    assert turned["counts"] == [4, 0, 0]
    assert turned["losses"] == run(TRAINING, "0", "65")["losses"]


DECODING = """
    import json, sys
    import numpy as np
    from mindspore import Tensor
    from step_llm import Transformer, TransformerConfig
    from step_llm.decoding.decoders import CachedDecoder, PlainDecoder
    from step_llm.decoding.search import greedy_search
    from step_llm.runtime.graph_cache import _of_this_process

    config = TransformerConfig(40, 40, d_model=16, num_heads=2, num_encoder_layers=1,
                               num_decoder_layers=2, d_ff=32)
    source = np.random.default_rng(0).integers(4, 40, (3, 5)).astype(np.int32)
    found = []
    model = Transformer(config, seed=int(sys.argv[1]))
    cached, plain = CachedDecoder(model), PlainDecoder(model)
    for scale in (1.0, -1.5):  # the weights change between two searches
        for parameter in model.get_parameters():
            parameter.set_data(parameter * scale)
        for decoder in (cached, plain):
            ids = greedy_search(decoder, source, 5)
            found.append([[int(i) for i in one.ids] for one in ids])
    cache = _of_this_process()
    print(json.dumps({"found": found, "counts": [cache.hits, cache.misses, cache.refused]}))
"""


def test_a_graph_takes_the_weights_that_the_model_has_now(tmp_path):
    """The decoder's Cells hold no weights of their own, and another run has other weights."""
    cold, warm, other = (run(DECODING, tmp_path, seed) for seed in (1, 1, 2))
    for result in (cold, warm, other):
        first, first_plain, second, second_plain = result["found"]
        assert first == first_plain
        assert second == second_plain
        assert first != second
    assert cold["found"] == warm["found"] != other["found"]
    assert cold["counts"][0] == 0 < cold["counts"][1]
    assert warm["counts"] == other["counts"] == [cold["counts"][1], 0, 0]


# What a graph depends on: each of these Cells differs from the first by one thing.


def times(x, factor=2.0):
    return x * factor


def plus(x):
    return x + 2.0


FACTOR = 2.0
# Made here: where a seed was set, MindSpore gives each new one a seed of its own.
DROPOUT, OTHER_DROPOUT = nn.Dropout(p=0.1), nn.Dropout(p=0.2)


class Base(nn.Cell):
    def __init__(self, factor=2.0, function=times, weight=None, name="weight"):
        super().__init__()
        self.factor = factor
        self.function = function
        self.dropout = DROPOUT
        self.constant = Tensor([1.0, 2.0], ms.float32)
        value = np.ones(2, np.float32) if weight is None else weight
        self.weight = Parameter(Tensor(value), name=name)

    def construct(self, x):
        return self.function(x) * self.factor * FACTOR * self.weight


class Other(Base):
    def construct(self, x):
        return self.function(x) + self.factor * FACTOR * self.weight


def closure(number):
    def inner(x):
        return x * number

    return inner


def key_of(cell):
    return fingerprint(cell)[0]


def changed(**attributes):
    cell = Base()
    for name, value in attributes.items():
        setattr(cell, name, value)
    return cell


DIFFERENT = {
    "another class": Other,
    "a number": lambda: Base(factor=3.0),
    "another type of number": lambda: Base(factor=2),
    "another function": lambda: Base(function=plus),
    "a default of a function": lambda: Base(function=functools.partial(times, factor=3.0)),
    "a variable of a closure": lambda: Base(function=closure(3.0)),
    "a constant tensor": lambda: changed(constant=Tensor([1.0, 3.0], ms.float32)),
    "a constant's type": lambda: changed(constant=Tensor([1.0, 2.0], ms.float16)),
    "a weight's shape": lambda: Base(weight=np.ones((1, 2), np.float32)),
    "a weight's type": lambda: Base(weight=np.ones(2, np.float16)),
    "a weight's name": lambda: Base(name="other"),
    "training mode": lambda: Base().set_train(),
    "a rate of dropout": lambda: changed(dropout=OTHER_DROPOUT),
    "a part more": lambda: changed(more=nn.ReLU()),
}


@pytest.mark.parametrize("change", DIFFERENT)
def test_every_change_of_a_cell_has_another_fingerprint(change):
    assert key_of(Base()) == key_of(Base())
    assert key_of(DIFFERENT[change]()) != key_of(Base())


def test_a_frozen_weight_has_another_fingerprint():
    cell = Base()
    cell.weight.requires_grad = False
    assert key_of(cell) != key_of(Base())


def test_a_weights_numbers_are_no_part_of_it():
    assert key_of(Base(weight=np.array([5.0, 6.0], np.float32))) == key_of(Base())


def test_a_seed_of_dropout_is_part_of_it():
    """MindSpore writes it into the graph."""
    keys = set()
    try:
        for seed in (1, 2):
            ms.set_seed(seed)
            keys.add(key_of(changed(dropout=nn.Dropout(p=0.1))))
    finally:
        ms.set_seed(0)
    assert len(keys) == 2


def test_a_variable_of_the_module_is_part_of_it(monkeypatch):
    before = key_of(Base())
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3.0)
    assert key_of(Base()) != before


def test_a_method_that_was_replaced_is_part_of_it(monkeypatch):
    before = key_of(Base())
    monkeypatch.setattr(Base, "construct", Other.construct)
    assert key_of(Base()) != before


def test_a_function_behind_a_function_is_part_of_it(monkeypatch):
    def outer(x):
        return times(x)

    before = key_of(Base(function=outer))
    monkeypatch.setattr(sys.modules[__name__], "times", plus)
    assert key_of(Base(function=outer)) != before


@pytest.mark.parametrize("get_instance", [True, False])
def test_what_mindspore_computes_while_it_compiles_is_part_of_it(get_instance):
    def key(constant):
        @ops.constexpr(get_instance=get_instance)
        def number():
            return constant

        return key_of(Base(function=number))

    assert key(1) == key(1)
    assert key(1) != key(2)


def test_what_was_put_into_mindspores_modules_is_part_of_it(monkeypatch):
    def outer(x):
        return ops.relu(x)

    before = key_of(Base(function=outer))
    assert key_of(Base(function=outer)) == before
    monkeypatch.setattr(ops, "relu", plus)
    assert key_of(Base(function=outer)) != before


def test_shared_parts_are_told_from_equal_ones():
    one, shared, equal = nn.Dense(2, 2), nn.Cell(), nn.Cell()
    shared.first = shared.second = one
    equal.first, equal.second = one, nn.Dense(2, 2)
    assert key_of(shared) != key_of(equal)


def test_what_cannot_be_read_is_refused():
    with pytest.raises(Unreadable, match="lock"):
        fingerprint(changed(held=threading.Lock()))
    with pytest.raises(Unreadable, match="dropout, which draws a seed"):
        fingerprint(Base(function=ops.dropout))
    with pytest.raises(Unreadable, match="array of object"):
        fingerprint(np.array([object()]))


def test_a_graph_that_was_loaded_is_refused(tmp_path):
    """All that Python sees of it is an address, which the next one may have."""
    path = str(tmp_path / "product.mindir")
    ms.export(nn.ReLU(), Tensor(np.ones(3, np.float32)), file_name=path, file_format="MINDIR")
    with pytest.raises(Unreadable, match="FuncGraph"):
        fingerprint(nn.GraphCell(ms.load(path)))


def test_the_environment_is_part_of_the_folders_name(tmp_path, monkeypatch):
    before = GraphCache(tmp_path).folder
    assert GraphCache(tmp_path).folder == before
    monkeypatch.setenv("MS_DEV_SOMETHING", "1")
    assert GraphCache(tmp_path).folder != before
    monkeypatch.delenv("MS_DEV_SOMETHING")
    monkeypatch.setattr(ms, "__version__", "9.9.9")
    assert GraphCache(tmp_path).folder != before


def test_the_context_is_part_of_a_graphs_name(tmp_path, monkeypatch):
    cache, cell = GraphCache(tmp_path), Base()
    before, _ = cache._key(cell, ())
    assert cache._key(cell, ())[0] == before
    monkeypatch.setattr(graph_cache, "_context", lambda name: f"another {name}")
    assert cache._key(cell, ())[0] != before


def test_a_value_that_fails_when_it_is_read_is_not_kept(tmp_path):
    class Fails:
        __slots__ = ("x",)

        def __getattr__(self, name):
            raise RuntimeError(name)

    assert GraphCache(tmp_path)._key(changed(held=Fails()), ())[0] is None


def test_two_weights_of_one_name_are_refused(tmp_path):
    """MindSpore would take either for the other."""
    cache = GraphCache(tmp_path)
    stranger = Parameter(Tensor([1.0], ms.float32), name="stranger")
    double = Parameter(Tensor([1.0], ms.float32), name="weight")

    def with_stranger(x):
        return x * stranger

    def with_double(x):
        return x * double

    key, weights = cache._key(Base(function=with_stranger), ())
    assert key is not None
    assert weights["stranger"] is stranger
    assert cache._key(Base(function=with_double), ())[0] is None


@pytest.mark.parametrize(
    ("system", "asked", "expected"),
    [
        ("linux", None, "home/.cache/step_llm/graphs"),
        ("linux", "0", None),
        ("linux", "elsewhere", "elsewhere"),
        ("darwin", None, None),  # not tried there
        ("darwin", "1", "home/Library/Caches/step_llm/graphs"),
        ("win32", None, None),
        ("win32", "1", "local/step_llm/graphs"),
    ],
)
def test_where_graphs_are_kept(monkeypatch, system, asked, expected):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    monkeypatch.setenv("LOCALAPPDATA", "local")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("STEP_LLM_GRAPH_CACHE", raising=False)
    if asked is not None:
        monkeypatch.setenv("STEP_LLM_GRAPH_CACHE", asked)
    assert graph_cache._default_folder() == (expected and Path(expected))


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache = GraphCache(tmp_path, most_bytes=250)
    cache.folder.mkdir()
    for age, name in enumerate("cab"):
        path = cache.folder / f"{name}.gz"
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    cache._remove_oldest()
    assert sorted(path.name for path in cache.folder.iterdir()) == ["a.gz", "c.gz"]
