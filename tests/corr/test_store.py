from dataclasses import dataclass

import pytest

from corr.store import digest, reuse_or_run


@dataclass
class Options:
    size: int = 3


def test_digest_changes_with_class_value_and_order():
    @dataclass
    class Other:
        size: int = 3

    assert digest(Options(3)) == digest(Options(3))
    assert len({digest(Options(3)), digest(Options(4)), digest(Other(3)), digest(3)}) == 4
    assert digest(1, 2) != digest(2, 1)


def test_digest_refuses_what_it_cannot_write_down():
    with pytest.raises(TypeError, match="cannot hash a object"):
        digest(object())


def test_stage_runs_once_and_again_when_its_key_changes(tmp_path):
    calls = []

    def work(folder):
        calls.append(folder.name)
        (folder / "result.txt").write_text(str(len(calls)))

    folder = tmp_path / "1_stage"
    assert not reuse_or_run(folder, "a", work).reused
    assert reuse_or_run(folder, "a", work).reused
    assert not reuse_or_run(folder, "b", work).reused
    assert calls == ["1_stage.partial"] * 2
    assert (folder / "result.txt").read_text() == "2"


def test_interrupted_stage_looks_unfinished_and_continues_from_its_partial_folder(tmp_path):
    folder = tmp_path / "1_stage"

    def half(partial):
        (partial / "first.txt").write_text("done")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reuse_or_run(folder, "a", half)
    assert not folder.exists()

    def rest(partial):
        assert (partial / "first.txt").read_text() == "done"

    assert not reuse_or_run(folder, "a", rest).reused
    assert (folder / "first.txt").exists()


def test_partial_folder_of_other_options_is_thrown_away(tmp_path):
    folder = tmp_path / "1_stage"

    def half(partial):
        (partial / "first.txt").write_text("stale")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reuse_or_run(folder, "a", half)
    reuse_or_run(folder, "b", lambda partial: None)
    assert not (folder / "first.txt").exists()


def test_stage_killed_between_its_last_file_and_the_rename_is_not_repeated(tmp_path, monkeypatch):
    import corr.store

    folder = tmp_path / "1_stage"
    publish = corr.store._publish

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(corr.store, "_publish", killed)
    with pytest.raises(KeyboardInterrupt):
        reuse_or_run(folder, "a", lambda partial: None)
    monkeypatch.setattr(corr.store, "_publish", publish)

    def never(partial):
        raise AssertionError("ran again")

    reuse_or_run(folder, "a", never)
    assert folder.exists()
