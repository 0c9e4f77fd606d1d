from hypothesis import given
from hypothesis import strategies as st

from gitopsd.dockerapi.frames import FrameReader, frame

FRAMES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)))


@given(FRAMES, st.integers(1, 20))
def test_frames_come_back_however_they_are_cut(frames: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(frame(stream, text) for stream, text in frames)
    reader, found = FrameReader(), []
    for start in range(0, len(data), size):
        found += list(reader.feed(data[start : start + size]))
    assert found == frames
