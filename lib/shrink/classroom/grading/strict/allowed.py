"""What an answer may use under `shrink check --strict`: modules, names of theirs, attributes.

Admitted is what needs no file, no process and no look into the program that runs. One table says
it for all: the look at an answer's text (`source`), the process that runs it (`lending`), and the
sentence in the chapters.
"""

IMPORTABLE = (
    "math",
    "itertools",
    "functools",
    "operator",
    "collections",
    "heapq",
    "bisect",
    "statistics",
    "fractions",
    "random",
    "re",
    "copy",
    "time",
    "typing",
    "numpy",
    "torch",
)
MODULES = {
    *IMPORTABLE,
    "__future__",
    "collections.abc",
    "numpy.fft",
    "numpy.lib",
    "numpy.lib.stride_tricks",
    "numpy.linalg",
    "numpy.random",
    "numpy.typing",
    "torch.autograd",
    "torch.autograd.functional",
    "torch.cuda",
    "torch.fft",
    "torch.linalg",
    "torch.nn",
    "torch.nn.functional",
    "torch.nn.init",
    "torch.nn.utils",
    "torch.optim",
    "torch.special",
}
WITHHELD = {  # of each module: what reads or writes files, compiles, or takes attributes by text
    "functools": {"total_ordering", "update_wrapper", "wraps"},
    "operator": {"attrgetter", "methodcaller"},
    "time": {"clock_settime", "clock_settime_ns"},
    "typing": {"ForwardRef", "NamedTuple", "TypedDict", "evaluate_forward_ref", "get_type_hints"},
    "numpy": {
        *("fromfile", "genfromtxt", "load", "loadtxt", "memmap", "save", "savetxt", "savez"),
        *("savez_compressed", "seterrcall", "test"),
    },
    "numpy.lib": {"add_docstring", "add_newdoc"},
    "torch": {
        *("compile", "fork", "from_file", "get_device_module", "get_file_path", "load", "save"),
        *("import_ir_module", "import_ir_module_from_buffer", "parse_ir"),
        "prepare_multiprocessing_environment",
    },
}
WITHHELD_BUILTINS = {
    *("breakpoint", "compile", "delattr", "eval", "exec", "getattr", "globals", "help", "input"),
    *("locals", "open", "setattr", "vars", "exit", "quit", "copyright", "credits", "license"),
}
SYSTEM = {"os", "sys", "builtins", "importlib", "subprocess", "inspect", "ctypes", "shutil"}
_FRAMES = {"gi_frame", "cr_frame", "ag_frame", "tb_frame", "f_back", "f_globals", "f_locals"}
_OUTWARD = {"dump", "from_file", "obj", "register", "tofile"}  # to files, modules, isinstance
_READABLE = {"_asdict", "_fields", "_make", "_replace", "__name__"}  # of named tuples and types
SETTABLE = {
    "bias",
    "data",
    "good_steps",
    "grad",
    "imag",
    "real",
    "requires_grad",
    "scale",
    "shape",
    "training",
    "weight",
}


def is_importable(path: str) -> bool:
    """Whether there is such a module for an answer, by its full name."""
    return path in MODULES


def is_attribute(name: str) -> bool:
    """Whether an answer may read an attribute of this name, of anything."""
    if name.startswith("_"):
        return name in _READABLE
    return name not in SYSTEM | _FRAMES | _OUTWARD


def in_words() -> str:
    """The modules as a sentence lists them: `math`, `itertools`, … and `torch`."""
    quoted = [f"`{name}`" for name in IMPORTABLE]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
