"""Names of files, readable, short enough, one for each text; folders in which files can be written."""

from pathlib import Path

import pytest

from lightning_modules.errors import UserError
from lightning_modules.files import LONGEST, file_name, make_folder


def test_an_ordinary_name_stays_as_it_is() -> None:
    assert file_name("palindrome_lstm_data.length=4") == "palindrome_lstm_data.length=4"
    assert file_name("my config") == "my config"
    assert file_name("größe=5") == "größe=5"


@pytest.mark.parametrize(
    "text", ["x" * 1000, "ü" * 100, "data.path=../a/b", 'a:b*c?"<>|', "a\\b", "a\nb", "..", "a.", "a ", "\udce4"]
)
def test_other_names_are_taken_by_every_file_system(text: str) -> None:
    name = file_name(text)
    assert len(name.encode()) <= LONGEST
    assert not set(name) & set('/\\:*?"<>|\n')
    assert name.strip(".") == name != ""
    assert file_name(text) == name
    assert file_name(name) == name, "it is one"


def test_two_texts_have_two_names() -> None:
    texts = ["a b", "a_b", "a b ", "a/b", "a\\b", "a-b", "a:b", "x" * 200, "x" * 201]
    assert len({file_name(text) for text in texts}) == len(texts)
    assert file_name("x" * 200).startswith("x" * 100), "readable"


@pytest.mark.parametrize("wrong", ["make", "write"])
def test_a_folder_without_room_for_files_is_one_line(
    own_folder: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(own_folder / "a" / "b")
    assert list((own_folder / "a" / "b").iterdir()) == []

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (own_folder / "file").touch()
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # an administrator may write everywhere
    with pytest.raises(UserError, match=f"cannot {wrong} (in )?the folder") as error:
        make_folder(own_folder / ("file" if wrong == "make" else "a"))
    assert error.value.status == 2
