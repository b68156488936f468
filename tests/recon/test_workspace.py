from recon.workspace import picture_stems


def test_pictures_of_photos_that_share_a_stem_keep_the_whole_name():
    names = ["a.jpg", "a.png", "b.jpg"]
    assert picture_stems(names) == {"a.jpg": "a.jpg", "a.png": "a.png", "b.jpg": "b"}
