"""Person masks: boxes that cannot work are refused, and persons keep their order."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from remote.engine.errors import PlacesError
from remote.engine.sampling.masks import (
    PixelBox,
    box_masks,
    check_classes,
    half_masks,
    latent_masks,
    token_masks,
)
from tests.engine import cases
from tests.engine.tiny import description, tensors


def _box(top, left, bottom, right):
    return PixelBox(top=top, left=left, bottom=bottom, right=right)


@pytest.mark.parametrize(
    "edges", [(10, 10, 10, 20), (10, 20, 30, 20), (30, 10, 10, 20), (0, 0, float("nan"), 9)]
)
def test_empty_and_swapped_boxes_are_refused(edges):
    with pytest.raises(ValueError, match=r"empty|not finite"):
        _box(*edges)


@pytest.mark.parametrize(
    "edges", [(300, 0, 400, 100), (0, 600, 100, 700), (-50, 0, -1, 100), (5.1, 5.1, 5.9, 80)]
)
def test_boxes_without_a_pixel_of_the_picture_are_refused(edges):
    with pytest.raises(PlacesError, match="holds no pixel of the 600x300 picture"):
        box_masks(300, 600, (_box(20, 20, 280, 250), _box(*edges)))


def test_boxes_that_cover_everything_are_published_as_empty_background_and_refused_here(golden_dir):
    sizes = description(golden_dir, "masks")["masks"]["bbox_full_cover"]
    assert tensors(golden_dir, "masks")["mask_bbox_full_cover/latent"][2].sum() == 0
    with pytest.raises(PlacesError, match="cover all of"):
        box_masks(*sizes["img_hw"], cases.pixel_boxes(sizes["bbox"].values()))


def test_negative_edges_are_published_as_an_empty_person_and_cut_here(golden_dir):
    sizes = description(golden_dir, "masks")["masks"]["bbox_negative"]
    assert tensors(golden_dir, "masks")["mask_bbox_negative/latent"][0].sum() == 0
    boxes = list(sizes["bbox"].values())
    ours = box_masks(*sizes["img_hw"], cases.pixel_boxes(boxes))
    at_zero = [[max(edge, 0) for edge in box] for box in boxes]
    assert torch.equal(ours, box_masks(*sizes["img_hw"], cases.pixel_boxes(at_zero)))


def test_a_box_lost_on_the_token_grid_is_refused():
    masks = box_masks(448, 896, (_box(1, 1, 3, 3), _box(100, 500, 400, 800)))
    on_tokens = token_masks(latent_masks(masks, (448, 896)), (2, 2))
    with pytest.raises(PlacesError, match="person 1 covers none"):
        check_classes(on_tokens)


def test_masks_follow_the_persons_and_not_the_order_of_a_mapping(golden_dir):
    described = description(golden_dir, "masks")["masks"]["bbox_order_reversed"]
    in_order = [described["bbox"][person] for person in sorted(described["bbox"])]
    ours = box_masks(*described["img_hw"], cases.pixel_boxes(in_order))
    target = tuple(8 * n for n in described["latent_hw"])
    published = tensors(golden_dir, "masks")["mask_bbox_order_reversed/latent"]
    assert torch.equal(latent_masks(ours, target), published[[1, 0, 2]])


@given(height=st.integers(32, 400), width=st.integers(32, 400))
def test_halves_are_apart_and_leave_a_background(height, width):
    left, right, background = half_masks(height, width)
    assert not (left & right).any()
    assert torch.equal(background == 0, (left | right) == 1)
    assert background.any()
    assert left.sum() > 0
    assert right.sum() > 0
