import pytest

from gptjax.atomic_files import replaced, write_json


def test_two_processes_do_not_write_one_file_at_a_time(tmp_path):
    """The second is refused, and what the first writes is whole."""
    path = tmp_path / "best.jsonl"
    with replaced(path) as file:
        file.write("first ")
        with pytest.raises(ValueError, match=r"best\.jsonl: another process is writing this file"):
            write_json(path, "second")
        file.write("whole")
    assert path.read_text() == "first whole"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_of_a_file_is_overwritten(tmp_path):
    path = tmp_path / "config.json"
    (tmp_path / "config.json.new").write_text("long, and never ended")
    with pytest.raises(KeyError), replaced(path) as file:
        file.write("1")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "config.json.new").write_text("long, and never ended")
    write_json(path, 2)
    assert (path.read_text(), list(tmp_path.iterdir())) == ("2\n", [path])
