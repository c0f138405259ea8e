"""Cells that break what reads them: too deep, too long, or no text at all."""

ODD_CELLS = {
    "a sum of 1500": "x = " + " + ".join(["1"] * 1500),
    "a sum of 20000": "x = " + " + ".join(["1"] * 20000),
    "249 elifs": "if 0: pass\n" + "".join(f"elif x == {n}: pass\n" for n in range(249)),
    "90 lists": "x = " + "[" * 90 + "]" * 90,
    "5000 lists": "x = " + "[" * 5000 + "]" * 5000,
    "a chain of 1500": "x" + ".real" * 1500,
    "a chain that is set": "x" + ".real" * 1500 + ".check = 1",
    "an answer of a chain": "x" + ".a" * 1500 + ".answer(f)",
    "a call of 1500": "f" + "()" * 1500,
    "decorated by a sum": "@" + "+".join(["1"] * 1500) + "\ndef f(): pass",
    "90 functions": "".join(f"{' ' * n}def f{n}():\n" for n in range(90)) + " " * 90 + "pass",
    "a null byte": "x = 'a\0b'",
    "half a character": "x = '\ud800'",
    "no character": "\ufffe\uffff",
    "only a magic": "%%time",
    "a magic of a magic": "%%capture\n" * 60 + "1",
    "a line of magics": "!ls\n" * 400,
    "an unfinished text": '"""' + "x\n" * 500,
    "300000 numbers": "x = [" + "1," * 300_000 + "]",
    "a number of 5000 digits": "x = " + "9" * 5000,
}
