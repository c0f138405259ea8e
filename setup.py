"""What pyproject.toml cannot say: the students' notebooks go into the wheel from where they lie."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithNotebooks(build_py):
    """Copies `notebooks/*.ipynb` to `shrink/notebooks` in the wheel; an editable install has none.

    What an earlier build has left is removed first, else modules that are gone would be installed.
    """

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, "shrink"), ignore_errors=True)
        super().run()
        if not self.editable_mode:
            for source, target in self._notebooks().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *self._notebooks()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self._notebooks().values()]

    def _notebooks(self) -> dict[str, str]:
        """Each notebook, and where it goes."""
        folder = Path(self.build_lib, "shrink", "notebooks")
        return {str(path): str(folder / path.name) for path in Path("notebooks").glob("*.ipynb")}


setup(cmdclass={"build_py": BuildWithNotebooks})
