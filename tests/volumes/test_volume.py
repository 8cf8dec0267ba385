from drawn_volumes import random_stored

from tdafd_cli.formats.files import read_volume


def test_the_free_text_of_the_header_is_not_shown(make_nifti):
    volume = read_volume(
        make_nifti(random_stored("int16"), edit=lambda h: h.__setitem__("descrip", b"Jane Doe"))
    )
    assert volume.header["descrip"] == b"Jane Doe"
    assert "Jane" not in repr(volume)
