"""What chapters write lies in a folder of its own, and so does what an earlier course wrote."""

from shrink.classroom import written

MOVED = ["class-02-prune-glyphs-ada-1.json", "network.file", "running_table.json"]
OTHERS = ["02_prune.ipynb", "class.json", "mine.safetensors", "table.json"]


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_what_chapters_wrote_is_moved_and_a_students_own_files_stay(tmp_path):
    for name in (*MOVED, *OTHERS):
        (tmp_path / name).write_text(name)
    written.tidy(tmp_path)
    written.tidy(tmp_path)
    assert contents(tmp_path) == {name: name for name in OTHERS}
    assert contents(tmp_path / "results") == {name: name for name in MOVED}


def test_nothing_is_overwritten_and_no_folder_is_made_for_nothing(tmp_path):
    written.tidy(tmp_path / "nowhere")
    written.tidy(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "network.file").write_text("new")
    (tmp_path / "network.file").write_text("old")
    written.tidy(tmp_path)
    assert contents(tmp_path) == {"network.file": "old"}
    assert contents(tmp_path / "results") == {"network.file": "new"}
