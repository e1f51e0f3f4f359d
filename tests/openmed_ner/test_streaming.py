"""Tagging in chunks: what is written, what is held, and going on after a stop at any moment."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.core.errors import UserError
from zoo.openmed_ner import streaming
from zoo.openmed_ner.formats import Tagged, to_jsonl
from zoo.openmed_ner.pipeline import Entity
from zoo.openmed_ner.sources import Source, iter_sources
from zoo.openmed_ner.streaming import stream_jsonl

TEXTS = [Source(f"t{i}", f"tëxt\u2028 {i}" * (i % 5)) for i in range(23)]
SETTINGS = ["model 0"]


def tag(sources):
    return [Tagged(s.id, s.text, (Entity(s.text[:4], "D", 0, 4, 0.5),) if s.text else ()) for s in sources]


WHOLE = to_jsonl(tag(TEXTS))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK_TEXTS", 4)


def partials(folder: Path):
    return [p for p in folder.iterdir() if "partial" in p.name]


def test_the_file_is_what_one_call_writes(tmp_path):
    out = tmp_path / "o.jsonl"
    assert stream_jsonl(iter(TEXTS), tag, out, settings=SETTINGS) == 23
    assert out.read_text(encoding="utf-8") == WHOLE
    assert list(tmp_path.iterdir()) == [out]


def test_no_more_than_a_chunk_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK_CHARACTERS", 60)
    taken, seen = 0, []

    def endless():
        nonlocal taken
        for source in TEXTS:
            taken += 1
            yield source

    def counted(sources):
        seen.append(len(sources))
        assert taken - sum(seen) <= 1  # nothing is read ahead of the chunk, but for one text
        assert len(sources) == 1 or sum(len(s.text) for s in sources[:-1]) < 60
        return tag(sources)

    stream_jsonl(endless(), counted, tmp_path / "o.jsonl", settings=SETTINGS)
    assert sum(seen) == 23
    assert max(seen) == 4


def stopped(out, after):
    """A run that is stopped when it has tagged ``after`` texts."""
    done = 0

    def failing(sources):
        nonlocal done
        if done + len(sources) > after:
            raise KeyboardInterrupt
        done += len(sources)
        return tag(sources)

    with pytest.raises(KeyboardInterrupt):
        stream_jsonl(iter(TEXTS), failing, out, settings=SETTINGS)


@settings(deadline=None, max_examples=40)
@given(cut=st.integers(0, len(WHOLE.encode())))
def test_a_run_cut_at_any_byte_goes_on(tmp_path_factory, cut):
    """As after a power cut: the file ends anywhere, within a line or a character."""
    folder = tmp_path_factory.mktemp("cut")
    out = folder / "o.jsonl"
    stopped(out, 8)
    (partial,) = partials(folder)
    partial.write_bytes(WHOLE.encode()[:cut])
    left = 23 - WHOLE.encode()[:cut].count(b"\n")
    assert stream_jsonl(iter(TEXTS), tag, out, settings=SETTINGS, resume=True) == left
    assert out.read_text(encoding="utf-8") == WHOLE
    assert list(folder.iterdir()) == [out]


def test_a_stopped_run_is_not_lost_by_mistake(tmp_path):
    out = tmp_path / "o.jsonl"
    stopped(out, 9)
    (partial,) = partials(tmp_path)
    assert partial.read_bytes().count(b"\n") == 8
    with pytest.raises(UserError, match="go on with --resume, or remove it"):
        stream_jsonl(iter(TEXTS), tag, out, settings=SETTINGS)
    with pytest.raises(UserError, match="line 3: id 't2' where the input has 't3'"):
        stream_jsonl(iter(TEXTS[:2] + TEXTS[3:]), tag, out, settings=SETTINGS, resume=True)
    with pytest.raises(UserError, match="id 't5' where the input has no text"):
        stream_jsonl(iter(TEXTS[:5]), tag, out, settings=SETTINGS, resume=True)
    assert partial.read_bytes().count(b"\n") == 8
    # other models or thresholds do not go on with it
    assert stream_jsonl(iter(TEXTS), tag, out, settings=["model 1"], resume=True) == 23
    assert partial.exists()
    with pytest.raises(UserError, match="is there already"):
        stream_jsonl(iter(TEXTS), tag, out, settings=SETTINGS, resume=True)


def test_resume_without_a_stopped_run_starts(tmp_path):
    assert stream_jsonl(iter(TEXTS), tag, tmp_path / "o.jsonl", settings=SETTINGS, resume=True) == 23


def test_a_file_that_is_no_run(tmp_path):
    out = tmp_path / "o.jsonl"
    stopped(out, 4)
    (partial,) = partials(tmp_path)
    for content in (b"no line\n", b"[1]\n", b'{"text": 1}\n'):
        partial.write_bytes(content)
        with pytest.raises(UserError, match="line 1: not a line of a run"):
            stream_jsonl(iter(TEXTS), tag, out, settings=SETTINGS, resume=True)
        assert partial.read_bytes() == content


def test_another_process_that_writes(tmp_path):
    from zoo.core.atomic import locked

    out = tmp_path / "o.jsonl"
    stopped(out, 4)
    (partial,) = partials(tmp_path)
    with locked(partial), pytest.raises(UserError, match="another process is writing it"):
        stream_jsonl(iter(TEXTS), tag, out, settings=SETTINGS, resume=True)
    assert partial.read_bytes().count(b"\n") == 4
    partial.write_bytes(b"")  # it is in its first chunk
    with locked(partial), pytest.raises(UserError, match="another process is writing it"):
        stream_jsonl(iter(TEXTS), tag, out, settings=SETTINGS, resume=True)
    assert partial.exists()


def test_texts_that_changed_under_their_ids(tmp_path):
    out = tmp_path / "o.jsonl"
    stopped(out, 8)
    with pytest.raises(UserError, match="line 2: the text of id 't1' is not what was tagged"):
        stream_jsonl((Source(s.id, "other") for s in TEXTS), tag, out, settings=SETTINGS, resume=True)
    assert stream_jsonl(iter(TEXTS), tag, out, settings=SETTINGS, resume=True) == 15


def test_a_wrong_line_keeps_what_was_done_and_can_be_mended(tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "o.jsonl"
    lines = [json.dumps({"id": s.id, "text": s.text}) for s in TEXTS]
    source.write_text("\n".join([*lines[:10], "{", *lines[11:]]))
    with pytest.raises(UserError, match="line 11: not JSON"):
        stream_jsonl(iter_sources(str(source)), tag, out, settings=SETTINGS)
    assert not out.exists()
    source.write_text("\n".join(lines))
    assert stream_jsonl(iter_sources(str(source)), tag, out, settings=SETTINGS, resume=True) == 15
    assert out.read_text(encoding="utf-8") == WHOLE


def test_what_cannot_begin_leaves_nothing(tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "o.jsonl"
    for content, says in (("", "holds no text"), ("{\n", "line 1: not JSON"), ('{"text": 1}', "line 1: no object")):
        source.write_text(content)
        with pytest.raises(UserError, match=says):
            stream_jsonl(iter_sources(str(source)), tag, out, settings=SETTINGS)
        assert list(tmp_path.iterdir()) == [source]
    source.write_text('{"id": "a", "text": "x"}\n{"id": "b"')
    with pytest.raises(UserError, match="line 2: not JSON"):
        stream_jsonl(iter_sources(str(source)), tag, out, settings=SETTINGS)
    assert list(tmp_path.iterdir()) == [source]
    with pytest.raises(UserError, match="there is no folder"):
        stream_jsonl(iter(TEXTS), tag, tmp_path / "no/o.jsonl", settings=SETTINGS)


def test_a_full_disk_is_told_and_can_be_resumed(tmp_path, monkeypatch):
    out = tmp_path / "o.jsonl"
    calls = 0

    def full(handle):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(streaming.os, "fsync", full)
        with pytest.raises(UserError, match=r"No space left.*--resume"):
            stream_jsonl(iter(TEXTS), tag, out, settings=SETTINGS)
    assert not out.exists()
    assert stream_jsonl(iter(TEXTS), tag, out, settings=SETTINGS, resume=True) <= 15
    assert out.read_text(encoding="utf-8") == WHOLE
