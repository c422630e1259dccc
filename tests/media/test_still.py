"""Single pictures of a file, as previews and comparisons want them."""

from pathlib import Path

from savecli.media.worker import Decoder

SIZE = {"width_px": 64, "height_px": 64}


def test_a_key_frame_that_does_not_stand_alone_is_decoded_from_an_earlier_one(
    shared_media: Path, decoder: Decoder
) -> None:
    """The cockatoo's second and third key frame come out green without what is before them."""
    shown = list(decoder.stills(shared_media / "s12.mp4", (1.0, 4.0, 6.0, 11.0), **SIZE))
    assert [frame.index for frame in shown] == [0, 1, 2, 3]
    for frame in shown:
        red, green, blue = frame.image.mean(axis=(0, 1))
        assert green < 1.2 * (red + blue) / 2
