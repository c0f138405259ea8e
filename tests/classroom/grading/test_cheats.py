"""Wrong answers that try to be called done by `shrink check --strict`: none of them is.

Most let a wrong mask pass by changing what its check compares with, np.abs, once they have reached
it. All are judged in one process, one after the other; after them honest answers are still done.
"""

import io
import queue

import pytest

from shrink.classroom.book.builder import build_chapter
from shrink.classroom.book.notebook import exercises
from shrink.classroom.grading.strict import runner
from tests import CHAPTERS
from tests.chapters.notebooks import COURSE
from tests.classroom.grading.cheating import judged_strictly

HEAD = "@magnitude_mask.answer\ndef magnitude_mask(weight, sparsity):\n"
UNRANKED = """
    k = round(sparsity * weight.numel())
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[:k] = False
    return mask.view(weight.shape)"""
ZERO = "zero = lambda x, *_, **__: x * 0"
TEXT = "'import numpy; numpy.abs = lambda x: x * 0'"
CLASS = "{'__eq__': lambda *_: True, '__getattr__': lambda *_: True}"

STORES = [  # in Python's own ways to set a name of a module
    "np.abs = zero",
    "n = np; n.abs = zero",
    "np.abs, x = zero, 1",
    "[np.abs] = [zero]",
    "n = m = np; m.abs = zero",
    "(n := np).abs = zero",
    "for np.abs in [zero]: pass",
    "for n in [np]: n.abs = zero",
    "[0 for np.abs in [zero]]",
    "{n: n for n in [1] for np.abs in [zero]}",
    "with torch.no_grad() as np.abs: pass",
    "del np.abs",
    "n = [np]; del n[0].abs",
    "np.abs *= 0",
    "np.abs: object = zero",
    "def patch(n): n.abs = zero\n    patch(np)",
    "def patch(n=np): n.abs = zero\n    patch()",
    "match np:\n        case n: n.abs = zero",
    "import numpy as n; n.abs = zero",
    "from numpy import linalg as n; n.norm = zero; np.abs = zero",
    "n, *_ = np, 1; n.abs = zero",
    "{'n': np}['n'].abs = zero",
    "(np if 1 else torch).abs = zero",
    "(lambda: np)().abs = zero",
    "nonsense = np.linalg; nonsense.norm = np.abs = zero",
    "T = torch.Tensor; T.data = property(lambda s: 0)",
    "T = type(weight); T.grad = 1",
    "type(weight).requires_grad = True",
    "torch.Tensor.__eq__ = lambda *_: True",
    "torch.Tensor.cpu = lambda s: s",
    "np.ndarray.max = zero",
    "np.abs.data = zero",
    "weight.cpu = weight.detach = lambda: torch.zeros(weight.shape)",
    "weight.data = torch.zeros(weight.shape)",
    "weight.zero_()",
    "weight.resize_(0)",
    "global round; round = lambda *_: 0",
]
REACHES = [  # by names that are texts, by dictionaries, by what takes attributes
    "np.__dict__['abs'] = zero",
    "vars(np)['abs'] = zero",
    "np.__setattr__('abs', zero)",
    "setattr(np, 'abs', zero)",
    "s = setattr; s(np, 'abs', zero)",
    "getattr(np, '__dict__')['abs'] = zero",
    "object.__setattr__(np, 'abs', zero)",
    "import functools; functools.partial(setattr, np, 'abs')(zero)",
    "import functools; functools.update_wrapper(np, zero, assigned=('abs',), updated=())",
    "from functools import wraps; wraps(zero)(np)",
    "from functools import update_wrapper as u; u(torch.Tensor, zero)",
    "torch.functools.update_wrapper(np, zero)",
    "import operator; operator.attrgetter('__dict__')(np)['abs'] = zero",
    "from operator import attrgetter as a; a('__dict__')(np)['abs'] = zero",
    "import operator as o; o.methodcaller('__setattr__', 'abs', zero)(np)",
    "import operator; operator.setitem(np.__dict__, 'abs', zero)",
    "list(map(setattr, [np], ['abs'], [zero]))",
    "np.abs.__globals__['abs'] = zero",
    "torch.nn.functional.relu.__globals__['torch'] = None",
    "np.sctypeDict['float64'] = np.float16",
    "np._core.numeric.abs = zero",
    "np.core.umath.absolute = zero",
    "torch._C._VariableFunctions.abs = zero",
    "torch.library.Library('aten', 'IMPL').impl('abs', zero, 'CPU')",
    "torch.overrides.TorchFunctionMode",
    "torch.utils.swap_tensors(weight, weight * 0)",
    "torch.nn.modules.module.register_module_forward_hook(zero)",
    "torch.get_device_module('cpu').data = 1",
    "torch.fx.symbolic_trace(zero)",
    "torch.jit.script(zero)",
    "torch.compile(zero)(weight)",
    "import collections.abc as c; c.Mapping.register(torch.Tensor)",
    "b = __builtins__; b['round'] = zero",
    "np.set_printoptions(formatter={'all': zero})",
    "torch.set_default_dtype(torch.float64)",
    "torch.set_default_device('meta')",
    "torch.set_grad_enabled(False)",
    "np.seterr(all='raise')",
    "np.seterrcall(zero)",
    "torch.manual_seed(0); np.random.seed(0)",
    "import random; random.seed(0)",
    "torch.use_deterministic_algorithms(True)",
    "import time; time.clock_settime(0, time.time()); np.abs.data = 1",
    "type(weight).__name__ = 'x'",
]
DOORS = [  # to run text, to import, to look at what runs
    f"np.testing.runstring({TEXT}, {{}})",
    f"t = np.testing; t.runstring({TEXT}, {{}})",
    f"from numpy.testing import runstring; runstring({TEXT}, {{}})",
    f"import numpy.testing as t; t.runstring({TEXT}, {{}})",
    f"exec({TEXT})",
    f"e = exec; e({TEXT})",
    f"eval(compile({TEXT}, '', 'exec'))",
    "__import__('numpy').abs = zero",
    "np.f2py.os.system('true')",
    "np.ctypeslib.as_array(1)",
    "np.lib.introspect",
    "np.lib.npyio.DataSource().open('x')",
    "torch.hub.load('x', 'y', source='local')",
    "torch.load('x', weights_only=False)",
    "torch.package.PackageImporter('x')",
    "torch.utils.cpp_extension.load_inline('x', '')",
    "torch.ops.load_library('x')",
    "torch.classes.load_library('x')",
    "torch.importlib.import_module('shrink')",
    "torch.sys.modules['shrink']",
    "torch.serialization.pickle.loads(b'')",
    "torch.random.contextlib.sys.modules",
    "torch.distributed.rpc",
    "import typing; typing.get_type_hints(zero)",
    "import typing; typing.ForwardRef('1')._evaluate({}, {}, frozenset())",
    "import typing; typing.sys.modules",
    "import collections; collections._sys.modules",
    "import random; random._os.system('true')",
    "import statistics; statistics.sys.modules",
    "import copy; copy.copyreg",
    "import heapq; heapq.__builtins__",
    "import gc; gc.get_objects()",
    "import inspect; inspect.stack()",
    "import string; string.Formatter().get_field('0.__class__', (np,), {})",
    "import dataclasses; dataclasses.dataclass(torch.Tensor)",
    "import torch.hub",
    "from torch import hub",
    "import numpy.f2py",
    "from shrink import pruning; return pruning.magnitude_mask(weight, sparsity)",
    "return magnitude_mask.reference(weight, sparsity)",
    "f = magnitude_mask; return f.__closure__",
    "try: 1 / 0\n    except Exception as e: e.__traceback__.tb_frame",
    "try: 1 / 0\n    except Exception as e: t = e.with_traceback(None).tb_frame",
    "g = (x for x in ()); g.gi_frame.f_back",
    "sum.__self__.open",
    "().__class__.__mro__[-1].__subclasses__()",
    "'{0.__class__}'.format(np)",
    "try: np.load('x')\n    except Exception: pass\n    np.abs.data = 1",
]
FILES = [
    "np.save('x.npy', np.zeros(1))",
    "np.save(1, np.zeros(1))",
    "np.savetxt('x', np.zeros(1))",
    "np.memmap('x', mode='w+', shape=1)",
    "np.fromfile('/proc/self/environ')",
    "np.loadtxt('/proc/self/cmdline')",
    "np.zeros(9).tofile('/proc/self/fd/1')",
    "weight.numpy().tofile(3)",
    "np.zeros(9).dump('x')",
    "torch.save(weight, '/proc/self/fd/3')",
    "torch.from_file('x', size=1, shared=True)",
    "weight.untyped_storage().from_file('x', True, 1)",
    "torch.UntypedStorage.from_file('x', True, 1)",
    "open('/proc/self/fd/3', 'w')",
    "f = open; f(1, 'w')",
    "import pathlib; pathlib.Path('x').touch()",
    "import io; io.open('x')",
    "import os; os.write(1, b'x')",
    "import threading; threading.Thread(target=zero).start()",
    "import multiprocessing; multiprocessing.Process(target=zero).start()",
    "torch.multiprocessing.Process(target=zero).start()",
]
RETURNS = [  # what says yes to every question
    f"return type('T', (torch.Tensor,), {CLASS})()",
    f"t = type; return t('T', (torch.Tensor,), {CLASS})()",
    f"return type(type(weight))('T', (torch.Tensor,), {CLASS})()",
    f"return type(int)('T', (int,), {CLASS})()",
    f"return type(*['T', (torch.Tensor,), {CLASS}])()",
    "class T(torch.Tensor): pass\n    return T()",
    "return torch.Tensor._make_subclass(torch.Tensor, weight)",
    "import enum; return enum.IntEnum('T', 'a b').a",
    "import typing; return typing.NamedTuple('T', [('a', int)])(1)",
    "import collections; return collections.namedtuple('T', 'shape dtype')(1, 2)",
    "import unittest.mock; return unittest.mock.ANY",
    "return (x for x in [weight])",
    "return lambda *_: True",
    "return np",
    "return np.abs",
    "return nn.Identity()",
    "return weight",
    "return weight.to('meta')",
    "l = []; l.append(l); return l",
    "d = {}; d['d'] = d; return d",
    "raise SystemExit(0)",
    "raise KeyboardInterrupt",
    "raise BaseException('x')",
    "raise GeneratorExit",
    "quit()",
    "raise NotImplementedError('your turn')",
    'print(\'{"state": "done"}\', flush=True); return 0',
]
ABOVE = [  # set in the cell above the answer, and used in it
    ("n = np", "n.abs = zero"),
    ("n = np", "n.sctypeDict['float64'] = np.float16"),
    ("s = setattr", "s(np, 'abs', zero)"),
    ("run = np.testing.runstring", f"run({TEXT}, {{}})"),
    ("patch = lambda n, f: setattr(n, 'abs', f)", "patch(np, zero)"),
    ("T = type('T', (torch.Tensor,), {'__eq__': lambda *_: True})", "return T()"),
    ("T = torch.Tensor", "T.data = property(lambda s: 0)"),
    ("f = open('/proc/self/fd/3', 'w')", "f.write('x')"),
    ("b = __builtins__", "b['round'] = zero"),
    ("m = magnitude_mask.reference", "return m(weight, sparsity)"),
    ("import shrink as s", "return s.pruning.magnitude_mask(weight, sparsity)"),
    ("def load(): return np.load", "load()('x', allow_pickle=True)"),
    ("x = (np.abs, zero)", "n = np; n.abs = x[1]"),
    ("g = (n for n in [np])", "next(g).abs = zero"),
    ("class T(torch.Tensor): pass", "return T()"),
    ("from numpy.testing import *", "runstring('x', {})"),
    ("import torch.hub as h", "h.load('x', 'y')"),
]
FURTHER = [  # objects that lead elsewhere, settings, and what is odd
    "n = type(np); n.data = 1",
    "type(np)(torch).abs = zero",
    "type(np)(np).data = zero",
    "import copy; copy.copy(np).abs = zero",
    "import copy; copy.deepcopy(np).data = zero",
    "copy_ = type(magnitude_mask); copy_",
    "import functools; functools.lru_cache(np.abs).data = 1",
    "import functools; functools.reduce(lambda a, b: a, [np]).data = 1",
    "import functools; functools.singledispatch(zero).register(int)(zero)",
    "torch.nn.utils.vector_to_parameters(torch.zeros(1), [torch.Tensor])",
    "torch.nn.utils.skip_init(torch.nn.Linear, 1, 1)",
    "torch.nn.utils.weight_norm(np, 'abs')",
    "torch.nn.init.zeros_(weight)",
    "weight.register_hook(zero)",
    "weight.requires_grad_(True)",
    "np.ndarray.flags.data = 1",
    "np.frompyfunc(zero, 1, 1)(np.ones(1)); np.r_.data = zero",
    "np.random.set_bit_generator(np.random.MT19937(0))",
    "np.random.mtrand",
    "np.random.RandomState(0).seed.data = 1",
    "np.errstate(call=zero, all='call').data = 1",
    "g = (torch.inference_mode() for _ in [1]); next(g)",
    "def g():\n        with torch.no_grad(): yield\n    k = weight.k = g(); next(k)",
    "def g():\n        with torch.inference_mode(): yield\n    k = [g()]; next(k[0])",
    "try: torch.nn.functional.nothing\n    except AttributeError as e: e.obj.abs = zero",
    "try: np.nothing\n    except Exception as e: e.args; e.obj.data = zero",
    "try: weight.nothing\n    except AttributeError as e: type(e.obj).data = zero",
    "try: np.dtype('x')\n    except TypeError as e: e.with_traceback(None)",
    "torch.set_float32_matmul_precision('medium'); torch.set_num_threads(3)",
    "torch.autograd.set_detect_anomaly(True)",
    "torch.cond(torch.tensor(True), lambda: 1, lambda: 2)",
    "torch.vmap(zero)(weight)",
    "torch.while_loop",
    "torch.PyTorchFileWriter('x')",
    "torch.ScriptFunction",
    "torch.CompilationUnit('def f(): return 1')",
    "torch.parse_ir('x')",
    "torch.merge_type_from_type_comment",
    "torch.to_dlpack(weight)",
    "weight.share_memory_()",
    "torch.Storage.from_file('x')",
    "weight.untyped_storage().tolist(); weight.untyped_storage()._write_file(1, False, False, 1)",
    "np.array([1]).ctypes.data_as(None)",
    "np.array([1]).tobytes(); np.array(1).setfield(1, int)",
    "np.info(np.abs)",
    "np.show_config()",
    "np.get_include()",
    "np.lib.add_docstring(zero, 'x')",
    "np.lib.stride_tricks.as_strided(np.ones(1))",
    "import typing; typing.final(torch.Tensor)",
    "import typing; typing.no_type_check(torch.Tensor)",
    "import typing; typing.runtime_checkable(torch.Tensor)",
    "import typing; typing.NewType('x', int).data = 1",
    "import random; random.SystemRandom().getstate()",
    "import random; random.Random.random = zero",
    "import time; time.sleep(0.01); time.time = zero",
    "import re; re.compile('x').data = 1; re.sub('a', zero, 'b')",
    "import collections; collections.OrderedDict.data = 1",
    "import fractions; fractions.Fraction.real = 1",
    "import statistics; statistics.NormalDist.data = zero",
    "import math; math.floor = zero",
    "import itertools; [*itertools.repeat(np, 1)][0].data = zero",
    "import heapq; heapq.heappush([], np); heapq.heappush.data = 1",
    "{}.update.data = 1",
    "int.real = 1",
    "(1).real = 2",
    "print.data = 1",
    "len = zero",
    "print(1, file=np)",
    "print(1, file=print)",
    "sorted([np], key=zero)[0].data = 1",
    "[*map(lambda n: n, [np])][0].grad = 1",
    "lambda: (yield np)",
    "async def f(): pass\n    f().cr_frame",
    "f'{np!r:>{10}}'; f'{np.abs=}'",
    "breakpoint()",
    "help()",
    "memoryview(b'x').obj",
    "super().x",
    "property(zero).fset",
    "staticmethod(np)",
    "classmethod(zero).data = 1",
    "object().data = 1",
    "isinstance(np, type(np))",
    "hasattr(np, '__dict__')",
    "dir(np)",
    "id(np)",
    "hash(np)",
    "np == torch; np < torch",
    "np()",
    "np[0]",
    "iter(np)",
    "with np: pass",
    "del np",
    "raise RecursionError",
    "raise MemoryError('x')",
    "raise StopIteration",
    "raise torch.OutOfMemoryError('x')",
    "assert False",
    "magnitude_mask(weight, sparsity)",
    "return global_masks({'w': weight}, sparsity)['w']",
    "return masked_step",
    "return (weight, sparsity)",
    "yield weight",
    "return (yield)",
]
FURTHER += [  # a module that an exception holds
    "try: torch.nothing\n    except Exception as e: t = e.obj; t.library.Library('aten', 'IMPL')",
    "try: np.nothing\n    except AttributeError as e: e.obj.data = zero",
    "try: np.linalg.nothing\n    except AttributeError as e: e.args[0].data = zero",
]
CHEATS = [*STORES, *REACHES, *DOORS, *FILES, *RETURNS, *ABOVE, *FURTHER]
HONEST = [  # what imports and prints as answers do
    "import heapq, itertools, functools, collections, typing, time, operator, bisect, math",
    "import statistics, fractions, random, copy",
    "import collections.abc as c; from typing import Any; import numpy.linalg as la",
    "from torch.nn import functional as G, init; from torch import nn as n; import torch.optim",
    "from collections import Counter, namedtuple; namedtuple('Node', 'count left')(1, 2)._asdict()",
    "from functools import cache, partial, reduce; cache(round)(2.5)",
    "print('nothing', weight.shape); display(weight)",
    "torch.manual_seed(0); torch.rand(2); np.random.default_rng(0).random(3); np.random.rand(2)",
    "w = weight.detach().clone().requires_grad_(); (w * w).sum().backward(); w.grad = None",
    "layer = nn.Linear(2, 2); layer.weight.data = torch.eye(2); layer.bias = None",
    "o = torch.optim.Adam(nn.Linear(2, 2).parameters()); o.zero_grad(); o.step()",
    "with torch.no_grad(), np.errstate(all='ignore'): np.log(np.zeros(1))",
    "device = 'cuda' if torch.cuda.is_available() else 'cpu'; torch.zeros(1, device=device)",
    "isinstance(sparsity, (int, float)); type(weight) is torch.Tensor; type(weight).__name__",
    "sorted({'a': 1}.items(), key=lambda i: i[1]); f'{sparsity:.2f}'; '%s' % sparsity",
    "np.linalg.norm(np.ones(3)); torch.linalg.norm(torch.ones(3)); np.fft.fft(np.ones(4))",
]
HONEST += ["def again(n): return again(n - 1) if n else 0\n    again(900)"]
RANKED = UNRANKED.replace("mask[:k]", "mask[weight.detach().abs().flatten().argsort()[:k]]")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The state and message of every answer here, by its text."""
    before = [_answer(cheat) for cheat in CHEATS]
    after = [f"{HEAD}    {honest}{RANKED}" for honest in HONEST]
    answers = [("prune", "magnitude_mask", text) for text in [*before, *after]]
    states = judged_strictly(tmp_path_factory.mktemp("cheats"), answers)
    return dict(zip([*CHEATS, *HONEST], states, strict=True))


def _answer(cheat):
    above, inside = cheat if isinstance(cheat, tuple) else ("", cheat)
    return f"{above}\n{HEAD}    {ZERO}\n    {inside}{UNRANKED}"


@pytest.mark.parametrize("cheat", CHEATS, ids=str)
def test_a_wrong_answer_is_not_done(judged, cheat):
    state, message = judged[cheat]
    assert state in ("refused", "wrong") and message


@pytest.mark.parametrize("honest", HONEST)
def test_an_honest_answer_is_done_after_them_all(judged, honest):
    assert judged[honest] == ("done", "")


def test_an_answer_may_call_itself_as_often_as_in_a_notebook(tmp_path):
    calls_itself = HEAD.replace("sparsity)", "sparsity, n=300)")
    calls_itself += "    if n: return magnitude_mask(weight, sparsity, n - 1)" + RANKED
    (found,) = judged_strictly(tmp_path, [("prune", "magnitude_mask", calls_itself)])
    assert found == ("done", "")


@pytest.mark.deep
def test_the_solutions_are_done(tmp_path):
    solved = [(c, build_chapter(COURSE / f"{c}.py", solved=True)) for c in CHAPTERS]
    answers = [(c[3:], name, cell.source) for c, n in solved for name, cell in exercises(n).items()]
    assert judged_strictly(tmp_path, answers) == [("done", "")] * len(answers)


def test_what_stands_in_the_pipe_without_the_word_is_not_heard():
    lines = queue.Queue()
    written = b'{"state": "done"}\nhalf a line\nword{"state": "wrong"}\n'
    runner._read(io.BytesIO(written), b"word", lines)
    assert [lines.get(), lines.get()] == [b'{"state": "wrong"}\n', None]
