import torch

from foveate.models.family import families


def naive_groups(tiles: int, side: int) -> list[str]:
    """Names of the groups of a square image of `tiles` x `tiles`, token by token."""
    names = ["base"] * side**2
    for row in range(tiles * side):
        names += [f"tile {row // side} {column // side}" for column in range(tiles * side)]
        names += ["separator"]
    return names


def groups(config_changes=None, modality="image", pooled=(), **arguments):
    family = families()["llava_onevision"]
    model = family.tiny()
    for name, value in (config_changes or {}).items():
        setattr(model.config, name, value)
    return family.groups(model.model, modality, arguments, pooled), model


def same_partition(labels, names):
    pairs = set(zip(labels.tolist(), names, strict=True))
    return len(pairs) == len(set(labels.tolist())) == len(set(names))


def test_tiles_base_and_separators_are_groups_of_their_own():
    (labels,), _ = groups(image_sizes=torch.tensor([[112, 112]]))
    assert same_partition(labels, naive_groups(2, 4))


def test_several_images_have_one_view_each():
    labels, _ = groups(image_sizes=torch.tensor([[112, 112], [56, 56]]), batch_num_images=[2])
    for image in labels:
        assert same_partition(image, ["view"] * 16 + ["separator"])


def test_cut_off_padding_is_no_token():
    (labels,), model = groups(image_sizes=torch.tensor([[40, 112]]))
    pixels = torch.randn(1, 3, 3, 56, 56)
    features = model.model.get_image_features(pixels, torch.tensor([[40, 112]])).pooler_output
    assert len(labels) == len(features[0])


def test_resampled_grids_keep_their_tiles():
    changes = {"image_grid_pinpoints": [[280, 280]], "vision_aspect_ratio": "anyres_max_4"}
    (labels,), model = groups(changes, image_sizes=torch.tensor([[280, 280]]))
    pixels = torch.randn(1, 26, 3, 56, 56)
    features = model.model.get_image_features(pixels, torch.tensor([[280, 280]])).pooler_output
    assert len(labels) == len(features[0])
    counts = torch.bincount(labels)
    assert len(counts) == 1 + 25 + 1
    grid = labels[16:].view(8, 9)[:, :8]
    assert grid[0, 0] != grid[0, -1] != grid[-1, -1]
    # every tile's tokens are one rectangle
    for tile in grid.unique():
        rows, columns = (grid == tile).nonzero(as_tuple=True)
        extent = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert extent == len(rows)


def test_clips_are_frames_and_a_separator():
    pixels = torch.randn(2, 3, 3, 56, 56)
    features = families()["llava_onevision"].tiny().model.get_video_features(pixels).pooler_output
    labels, _ = groups(modality="video", pooled=features, pixel_values_videos=pixels)
    assert [clip.tolist() for clip in labels] == [[0] * 4 + [1] * 4 + [2] * 4 + [3]] * 2


def test_a_clip_of_one_frame_has_a_separator_too():
    labels, _ = groups(modality="video", pixel_values_videos=torch.randn(1, 1, 3, 56, 56))
    assert [clip.tolist() for clip in labels] == [[0] * 4 + [1]]
