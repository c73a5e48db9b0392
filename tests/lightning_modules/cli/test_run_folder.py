"""Run folders: each its own, found again by its config."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from lightning_modules.cli.run_folder import drop_run, find_last, find_runs, is_running, new_run, running
from lightning_modules.dotted_keys import flat
from lightning_modules.errors import UserError
from lightning_modules.files import write_whole


def store(run: Path, config: dict, checkpoint: bool = True) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    if checkpoint:
        (run / "last.ckpt").touch()


def test_versions_count_up_past_gaps(tmp_path: Path) -> None:
    (tmp_path / "version_3").mkdir()
    (tmp_path / "notes").mkdir()
    assert new_run(tmp_path).name == "version_4"
    assert new_run(tmp_path).name == "version_5"


def test_runs_started_together_get_different_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: new_run(tmp_path / "config"), range(40)))
    assert len(set(runs)) == 40


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(UserError, match="runs must be a folder for the runs, and a file is in its place"):
        new_run(tmp_path / "runs" / "config")


def test_dropping_a_run_leaves_what_others_wrote(tmp_path: Path) -> None:
    run = new_run(tmp_path / "runs" / "config")
    drop_run(run)
    assert not (tmp_path / "runs").exists()
    run, other = new_run(tmp_path / "runs" / "config"), new_run(tmp_path / "runs" / "config")
    drop_run(run)
    assert other.is_dir()


def test_last_is_the_newest_run_with_this_config(tmp_path: Path) -> None:
    config = {"seed_everything": 42, "trainer": {"max_steps": 10}, "data": {"init_args": {"length": 10}}}
    store(tmp_path / "version_0", config)
    store(tmp_path / "version_9", config | {"trainer": {"max_steps": 99}})
    store(tmp_path / "version_10", config | {"seed_everything": 1})
    assert find_last(tmp_path, config) == tmp_path / "version_9" / "last.ckpt"


def test_last_names_what_differs(tmp_path: Path) -> None:
    store(tmp_path / "version_0", {"data": {"init_args": {"length": 10}}})
    with pytest.raises(UserError, match=r"version_0 has another config: data\.length \(10, here 20\)"):
        find_last(tmp_path, {"data": {"init_args": {"length": 20}}})


def test_last_without_a_run_or_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run in"):
        find_last(tmp_path, {})
    store(tmp_path / "version_0", {"a": 1}, checkpoint=False)
    with pytest.raises(UserError, match="version_0 saved no checkpoint"):
        find_last(tmp_path, {"a": 1})


def test_a_damaged_config_is_passed_over(tmp_path: Path) -> None:
    store(tmp_path / "version_0", {"a": 1})
    (tmp_path / "version_1").mkdir()
    (tmp_path / "version_1" / "config.yaml").write_text("a: [")
    assert find_runs(tmp_path, {"a": 1})[0] == [tmp_path / "version_0"]


@pytest.mark.parametrize("content", ["", "- 1\n- 2\n", "text", "[" * 5000, "a: &a [*a]\nb: &b {c: *b}\n", b"\xff\xfe"])
def test_last_tells_of_a_config_that_cannot_be_read(tmp_path: Path, content: str | bytes) -> None:
    store(tmp_path / "version_0", {})
    (tmp_path / "version_0" / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"nothing to continue: .*version_0 has no readable config\.yaml"):
        find_last(tmp_path, {"a": 1})


def test_a_run_in_use_is_told_and_left_without_a_trace(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    with running(tmp_path):
        assert is_running(tmp_path)
        with pytest.raises(UserError, match="is still running"), running(tmp_path):
            raise AssertionError("held twice")
        assert is_running(tmp_path), "the refused one took nothing away"
    assert not is_running(tmp_path)
    (tmp_path / ".lock").touch()  # of a killed process
    assert not is_running(tmp_path)
    with running(tmp_path):
        pass
    assert not any(tmp_path.iterdir())


def test_flat() -> None:
    assert flat({"a": {"b": 1, "c": {}}, "d": [1, 2]}) == {"a.b": 1, "a.c": {}, "d": [1, 2]}


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    write_whole(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match=r"cannot write .*config\.yaml: No space left on device"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]


def test_whether_data_may_be_fetched_makes_no_other_run(tmp_path: Path) -> None:
    (tmp_path / "version_0").mkdir()
    (tmp_path / "version_0" / "config.yaml").write_text("data: {init_args: {name: Cora, download: true}}")
    config = {"data": {"init_args": {"name": "Cora", "download": False}}}
    assert find_runs(tmp_path, config, may_differ=())[0] == [tmp_path / "version_0"]
