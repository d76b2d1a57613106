"""What training sees: balanced, repeatable, of the train split only, and what each method needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdetect.data.augment import NO_AUGMENT, AugmentSettings
from dfdetect.data.crops import CropStore
from dfdetect.data.loading import CropDataset
from dfdetect.data.opacity import Blend
from dfdetect.data.partners import Partners
from dfdetect.data.pools import own_forgeries
from dfdetect.data.recode import h264
from dfdetect.data.shards import CropRow
from dfdetect.data.training_items import PLAIN, Source, TrainingItems
from dfdetect.data.videos import Videos
from dfdetect.data.xray_blend import xray_blend
from dfdetect.detectors.base import BatchNeeds, Preprocess
from dfdetect.errors import UsageError
from dfdetect.types import CropPolicy, Image
from tests.stores import BOX, SCALE, clip_row, make_clips, make_store, write_store

SMALL = Preprocess(32, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", 1.3, 32))
WHOLE = Preprocess(96, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", SCALE, 96))
AS_STORED = AugmentSettings(
    scale_low=SCALE, scale_high=SCALE, shift=0, flip=0, colour=0, grey=0, blur=0, resize=0,
    noise=0, jpeg=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    return make_store(tmp_path_factory.mktemp("stores") / "toy", portrait, n_videos=4)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    folder = tmp_path_factory.mktemp("stores") / "genuine"
    return make_store(folder, portrait, "genuine", n_videos=3, fakes=False)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    folder = tmp_path_factory.mktemp("stores") / "blind"
    return make_store(folder, portrait, "blind", n_videos=3, fakes=False, landmarks=False)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    """Genuine videos of four people; the fourth's shows two of the others."""
    videos = [clip_row(name, source_ids=(name,)) for name in "abc"]
    videos.append(clip_row("both", source_ids=("a", "b")))
    return make_clips(tmp_path_factory.mktemp("stores") / "people", portrait, videos, 3)


def pairs_of(
    stores: list[CropStore],
    sources: list[Source],
    preprocess: Preprocess = SMALL,
    told: AugmentSettings = NO_AUGMENT,
    seed: int = 0,
    n_pairs: int = 200,
) -> TrainingItems:
    return TrainingItems(stores, sources, preprocess, told, seed, n_pairs)


def known(store: CropStore) -> dict[bytes, tuple[str, int]]:
    return {
        store.image(crop).tobytes(): (
            store.videos.by_id[crop.video_id].split or "",
            store.videos.by_id[crop.video_id].label,
        )
        for crop in store.usable()
    }


# pairs


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), position=st.integers(0, 199))
def test_a_pair_is_a_function_of_seed_and_position(
    toy: CropStore, seed: int, position: int
) -> None:
    told = AugmentSettings()
    first = pairs_of([toy], [Source("toy", 1, 0.5)], told=told, seed=seed)
    again = pairs_of([toy], [Source("toy", 1, 0.5)], told=told, seed=seed)
    # whatever was asked before must not matter
    again[(position + 1) % 200].images[0]
    assert np.array_equal(first[position].images[0], again[position].images[0])


def test_positions_and_seeds_give_different_pairs(toy: CropStore) -> None:
    pairs = pairs_of([toy], [Source("toy", 1, 1.0)])
    other = pairs_of([toy], [Source("toy", 1, 1.0)], seed=1)
    assert len({pairs[i].images[0].tobytes() for i in range(30)}) == 30
    assert not np.array_equal(pairs[0].images[0], other[0].images[0])


def test_halves_are_genuine_and_forged_and_of_the_train_split(toy: CropStore) -> None:
    pairs = pairs_of([toy], [Source("toy", 1, 0.0)], WHOLE, AS_STORED)
    seen = known(toy)
    for position in range(40):
        real, fake = pairs[position].images[0]
        assert seen[real.tobytes()] == ("train", 0)
        assert seen[fake.tobytes()] == ("train", 1)


def test_draws_are_those_of_plain_lists(toy: CropStore, tmp_path: Path, portrait: Image) -> None:
    # what a position draws must never change: an interrupted run goes on with it
    other = make_store(tmp_path / "other", portrait, "another", n_videos=3, n_frames=5)
    stores, weights = [toy, other], [0.25, 0.75]
    sources = [Source("toy", 1, 0.0), Source("another", 3, 0.0)]
    pairs = pairs_of(stores, sources, WHOLE, AS_STORED, seed=9)
    for position in range(60):
        rng = np.random.default_rng([9, position])
        store = stores[int(rng.choice(2, p=weights))]
        wanted = []
        for label in (0, 1):
            by_video: dict[str, list[Image]] = {}
            for crop in store.usable("train"):
                if store.videos.by_id[crop.video_id].label == label:
                    by_video.setdefault(crop.video_id, []).append(store.image(crop))
            video = sorted(by_video)[int(rng.integers(len(by_video)))]
            wanted.append(by_video[video][int(rng.integers(len(by_video[video])))])
            if label == 0:
                rng.random()
                rng.integers(2**63)
        assert np.array_equal(pairs[position].images[0], np.stack(wanted))


def test_every_training_video_is_drawn(toy: CropStore) -> None:
    pairs = pairs_of([toy], [Source("toy", 1, 0.0)], WHOLE, AS_STORED)
    drawn = {half.tobytes() for position in range(150) for half in pairs[position].images[0]}
    train = {content for content, (split, _) in known(toy).items() if split == "train"}
    assert drawn == train


def test_blended_halves_differ_in_the_face_alone(genuine: CropStore) -> None:
    pairs = pairs_of([genuine], [Source("genuine", 1, 1.0)], WHOLE, AS_STORED)
    shares = []
    for position in range(40):
        real, fake = pairs[position].images[0]
        differs = (real != fake).any(axis=2)
        assert not differs[:3].any()
        shares.append(differs.mean())
    assert 0.01 < np.mean(shares) < 0.7


def test_weights_and_blend_shares_are_kept(toy: CropStore, genuine: CropStore) -> None:
    sources = [Source("toy", 3, 0.25), Source("genuine", 1, 1.0)]
    pairs = pairs_of([toy, genuine], sources, WHOLE, AS_STORED, n_pairs=400)
    forged = {content for content, (_, label) in known(toy).items() if label == 1}
    stored = sum(pairs[position].images[0][1].tobytes() in forged for position in range(400))
    # 400 · 3/4 · 3/4 = 225, standard deviation 10
    assert 185 < stored < 265


def test_a_weight_of_zero_is_never_drawn(toy: CropStore, genuine: CropStore) -> None:
    sources = [Source("toy", 0, 0.0), Source("genuine", 1, 1.0)]
    pairs = pairs_of([toy, genuine], sources, WHOLE, AS_STORED)
    forged = {content for content, (_, label) in known(toy).items() if label == 1}
    assert not any(pairs[position].images[0][1].tobytes() in forged for position in range(60))


def test_positions_beyond_the_end_end_the_iteration(toy: CropStore) -> None:
    pairs = pairs_of([toy], [Source("toy", 1, 0.0)], n_pairs=3)
    assert len(pairs) == 3
    with pytest.raises(IndexError):
        pairs[3]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([], "positive weight"),
        ([Source("toy", 0, 0.0)], "positive weight"),
        ([Source("toy", -1, 0.0), Source("genuine", 2, 1.0)], "positive weight"),
        ([Source("absent", 1, 0.0)], "no genuine training faces of 'absent'"),
        ([Source("genuine", 1, 0.5)], "no forged training faces of 'genuine'"),
    ],
)
def test_a_mixture_that_cannot_be_drawn_is_refused(
    toy: CropStore, genuine: CropStore, sources: list[Source], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        pairs_of([toy, genuine], sources)


def test_faces_without_landmarks_cannot_be_blended(blind: CropStore) -> None:
    with pytest.raises(UsageError, match="landmarks"):
        pairs_of([blind], [Source("blind", 1, 1.0)])


# blends of two people


def xrays(store: CropStore, needs: BatchNeeds = PLAIN, seed: int = 0) -> TrainingItems:
    source = [Source("d", 1, 1.0, "xray")]
    return TrainingItems([store], source, WHOLE, AS_STORED, seed, 60, needs)


def test_an_xray_blend_is_of_a_genuine_face_and_another_person(
    people: CropStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = {people.image(crop).tobytes(): crop.video_id for crop in people.usable("train")}
    shown = {row.video_id: set(row.source_ids) for row in people.videos}
    met: set[tuple[str, str]] = set()

    def watched(background: Image, marks: object, foreground: Image, *told: object) -> Blend:
        met.add((videos[background.tobytes()], videos[foreground.tobytes()]))
        return xray_blend(background, marks, foreground, *told)  # type: ignore[arg-type]

    monkeypatch.setattr("dfdetect.data.training_items.xray_blend", watched)
    items = xrays(people, BatchNeeds(masks=True))
    for position in range(40):
        item = items[position]
        real, fake = item.images[0]
        assert videos[real.tobytes()] in shown
        assert item.masks is not None
        differs = (real != fake).any(axis=2)
        assert differs.any()
        assert not differs[item.masks[0][1] == 0].any()
        assert (item.labels, item.methods) == ((0, 1), (0, -1))
    assert met
    assert all(shown[one].isdisjoint(shown[other]) for one, other in met)
    assert {one for one, _ in met} == {"a", "b", "c", "both"}


def test_xray_blends_are_functions_of_seed_and_position(people: CropStore) -> None:
    first, again, other = xrays(people), xrays(people), xrays(people, seed=1)
    again[5].images[0]
    same = [np.array_equal(first[n].images, again[n].images) for n in range(10)]
    assert all(same)
    assert not all(np.array_equal(first[n].images, other[n].images) for n in range(10))


def test_the_partner_is_the_face_with_the_nearest_landmarks(
    tmp_path: Path, portrait: Image
) -> None:
    base = np.array([(30.0, 40), (66, 40), (48, 60), (34, 76), (62, 76)])
    wide, tall = base * [1.3, 1], base * [1, 1.3]
    turn = cv2.getRotationMatrix2D((48, 48), 20, 0.8)
    shapes = {"a": base, "turned": base @ turn[:, :2].T + turn[:, 2], "wide": wide, "tall": tall}
    image = np.ascontiguousarray(portrait[:96, :96])
    cuts = [
        (
            CropRow(
                crop_id=name, video_id=name, track_id=0, frame_index=0, time_s=0.0, status="ok",
                box=BOX, landmarks=tuple((float(x), float(y)) for x, y in shape), confidence=1.0,
            ),
            image,
        )
        for name, shape in shapes.items()
    ]  # fmt: skip
    store = write_store(tmp_path / "shapes", [clip_row(name) for name in shapes], cuts)
    crops = CropDataset([store], "train")
    names = [crops.key(n).video_id for n in range(4)]
    partners = Partners(crops, np.arange(4)[:, None], np.arange(4))
    numbers = iter([0, 1, 2, 3] * 25)
    chosen = partners.choose(names.index("a"), lambda: next(numbers))
    assert chosen is not None
    # up to place, size and rotation
    assert names[chosen] == "turned"
    assert partners.choose(0, lambda: 0) is None


def test_drawing_again_ends_however_few_items_there_are(tmp_path: Path, portrait: Image) -> None:
    # whoever draws the video of everybody finds no partner
    about = [("all", ("a", "b", "c"))] + [(name, (name,)) for name in "ab"]
    videos = [clip_row(name, source_ids=shown) for name, shown in about]
    store = make_clips(tmp_path / "crowd", portrait, videos, 1)
    for seed in range(20):
        items = TrainingItems(
            [store], [Source("d", 1, 1.0, "xray")], WHOLE, AS_STORED, seed, 1
        )  # fmt: skip
        assert items[0].labels == (0, 1)


def test_one_person_alone_cannot_be_blended_with_another(
    tmp_path: Path, portrait: Image, people: CropStore
) -> None:
    alone = [clip_row(name, source_ids=("same",)) for name in ("one", "two")]
    store = make_clips(tmp_path / "alone", portrait, alone, 2)
    with pytest.raises(UsageError, match="show one person; take blend=self"):
        xrays(store)
    with pytest.raises(UsageError, match="unknown blend=swap"):
        Source("d", 1, 1.0, "swap")


def test_the_frames_of_a_clip_meet_the_same_partner(people: CropStore) -> None:
    real, fake = xrays(people, BatchNeeds(frames=2))[0].images[0].astype(int)
    changed = (real != fake).any(axis=3)
    assert changed.any()
    assert (changed[0] != changed[1]).mean() < 0.1 * changed.mean() + 0.01


# what methods need


METHODS = ("Deepfakes", "FaceSwap")


@pytest.fixture(scope="module")
def related(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    """Three genuine videos of six frames, each forged by two methods; a fourth by one."""
    videos = []
    for person in range(4):
        videos.append(clip_row(f"r{person}"))
        videos += [
            clip_row(
                f"{method}{person}", 1, method=method, original_id=f"r{person}",
                source_ids=(f"r{person}",),
            )
            for method in METHODS[: 1 if person == 3 else 2]
        ]  # fmt: skip
    return make_clips(tmp_path_factory.mktemp("stores") / "related", portrait, videos, 6)


def items_of(
    stores: list[CropStore], needs: BatchNeeds, blend_share: float = 0.0, **changes: object
) -> TrainingItems:
    told = dataclasses.replace(AS_STORED, **changes)  # type: ignore[arg-type]
    dataset = stores[0].videos[0].dataset
    return TrainingItems(stores, [Source(dataset, 1, blend_share)], WHOLE, told, 0, 60, needs)


def test_views_differ_and_each_treats_both_halves_alike(toy: CropStore) -> None:
    items = items_of([toy], BatchNeeds(views=2), flip=0.5, shift=0.05, scale_low=1.2)
    plain = items_of([toy], BatchNeeds(), flip=0.5, shift=0.05, scale_low=1.2)
    item = items[3]
    assert item.images.shape == (2, 2, 96, 96, 3)
    assert np.array_equal(item.images[0], plain[3].images[0])
    assert any(not np.array_equal(items[i].images[0], items[i].images[1]) for i in range(5))


def test_masks_are_where_a_blend_differs(genuine: CropStore) -> None:
    items = items_of([genuine], BatchNeeds(masks=True), 1.0, flip=0.5, shift=0.05, scale_low=1.1)
    for position in range(12):
        item = items[position]
        assert item.masks is not None
        real, fake = item.masks[0]
        assert real.max() == 0
        assert 0 < fake.max() <= 1
        differs = (item.images[0][0] != item.images[0][1]).any(axis=2)
        # resizing spreads a difference by a pixel or two
        assert differs[cv2.dilate(fake, np.ones((5, 5))) == 0].mean() < 0.005
        assert item.methods == (0, -1)


def test_fakes_without_a_mask_are_refused_where_masks_are_needed(toy: CropStore) -> None:
    with pytest.raises(UsageError, match="blend_share=1"):
        items_of([toy], BatchNeeds(masks=True), 0.5)


def test_methods_are_numbered_in_the_order_that_is_asked_for(related: CropStore) -> None:
    items = items_of([related], BatchNeeds(methods=METHODS[::-1]))
    seen = {items[position].methods[1] for position in range(40)}
    assert seen == {1, 2}
    others = items_of([related], BatchNeeds(methods=("FaceShifter",)))
    assert {others[position].methods for position in range(20)} == {(0, -1)}


def test_a_group_is_one_scene_by_every_method(related: CropStore) -> None:
    items = items_of([related], BatchNeeds(methods=METHODS, grouped=True))
    videos = {related.image(crop).tobytes(): crop.video_id for crop in related.usable("train")}
    seen = set()
    for position in range(40):
        item = items[position]
        assert (item.labels, item.methods) == ((0, 1, 1), (0, 1, 2))
        names = [videos[image.tobytes()] for image in item.images[0]]
        person = names[0].removeprefix("r")
        assert names == [f"r{person}", f"Deepfakes{person}", f"FaceSwap{person}"]
        seen.add(person)
    # the fourth has no forgery by the second method
    assert seen == {"0", "1", "2"}
    with pytest.raises(UsageError, match="forgeries by each of Deepfakes, Face2Face"):
        items_of([related], BatchNeeds(methods=("Deepfakes", "Face2Face"), grouped=True))


def test_matched_pairs_are_of_one_video_and_one_moment(related: CropStore) -> None:
    crops = {related.image(crop).tobytes(): crop for crop in related.usable("train")}

    def drawn(matched: bool) -> set[tuple[bool, bool]]:
        source = Source("d", 1, 0.0, matched=matched)
        items = TrainingItems([related], [source], WHOLE, AS_STORED, 0, 120)
        found = set()
        for position in range(120):
            real, fake = (crops[image.tobytes()] for image in items[position].images[0])
            person = real.video_id.removeprefix("r")
            same = fake.video_id in (f"Deepfakes{person}", f"FaceSwap{person}")
            found.add((same, real.frame_index == fake.frame_index))
        return found

    assert drawn(matched=True) == {(True, True)}
    assert len(drawn(matched=False)) == 4


def test_forgeries_are_matched_by_their_original_or_else_by_a_shared_source() -> None:
    rows = [
        clip_row("a", source_ids=("a",)), clip_row("b", source_ids=("b",)),
        clip_row("c", source_ids=("c",)),
        clip_row("of a", label=1, source_ids=("a", "b"), original_id="a"),
        clip_row("with b", label=1, source_ids=("b",)),
    ]  # fmt: skip
    videos = Videos.of(rows)
    number = {row.video_id: place for place, row in enumerate(videos)}
    real, fake = (
        np.array([number[name] for name in names]) for names in ("abc", ("of a", "with b"))
    )
    found = own_forgeries(videos, real, fake)
    assert {place: pool.tolist() for place, pool in found.items()} == {
        number["a"]: [number["of a"]], number["b"]: [number["with b"]],
    }  # fmt: skip


def test_clips_are_consecutive_frames_treated_alike(related: CropStore) -> None:
    items = items_of([related], BatchNeeds(frames=3))
    frames = {
        related.image(crop).tobytes(): (crop.video_id, crop.frame_index)
        for crop in related.usable("train")
    }
    for position in range(20):
        item = items[position]
        assert item.images.shape == (1, 2, 3, 96, 96, 3)
        for clip in item.images[0]:
            found = [frames[image.tobytes()] for image in clip]
            assert len({video for video, _ in found}) == 1
            first = found[0][1]
            assert [index for _, index in found] == [first, first + 1, first + 2]
    flipped = items_of([related], BatchNeeds(frames=3), flip=1.0)[0].images
    assert np.array_equal(flipped[..., ::-1, :], items[0].images)
    with pytest.raises(UsageError, match="clips of 7 frames"):
        items_of([related], BatchNeeds(frames=7))


def test_parts_of_faces_are_cut_out_of_both_halves(genuine: CropStore) -> None:
    items = items_of([genuine], BatchNeeds(masks=True), 1.0, cutout=1.0)
    plain = items_of([genuine], BatchNeeds(masks=True), 1.0)
    for position in range(8):
        item = items[position]
        assert item.masks is not None
        real, fake = item.images[0]
        covered = (real != plain[position].images[0][0]).any(axis=2)
        assert 0.003 < covered.mean() < 0.3
        assert not real[covered].any()
        assert not fake[covered].any()
        assert not item.masks[0][1][covered].any()


def test_cutouts_need_the_landmarks_of_every_face(
    toy: CropStore, genuine: CropStore, tmp_path: Path, portrait: Image
) -> None:
    blind = make_store(tmp_path / "blind", portrait, "blind", n_videos=2, landmarks=False)
    told = dataclasses.replace(AS_STORED, cutout=0.5)
    # faces that no source draws may lack them
    TrainingItems([toy, blind], [Source("toy", 1, 0.5)], WHOLE, told, 0, 4)
    with pytest.raises(UsageError, match=r"landmarks=true or set augment\.cutout=0"):
        TrainingItems([blind], [Source("blind", 1, 0.0)], WHOLE, told, 0, 4)


def test_a_clip_goes_through_the_codec_as_one(related: CropStore) -> None:
    items = items_of([related], BatchNeeds(frames=3), codec=1.0, codec_low=45, codec_high=45)
    plain = items_of([related], BatchNeeds(frames=3))
    clip, stored = items[0].images[0][0], plain[0].images[0][0]
    assert np.array_equal(clip, np.stack(h264(list(stored), 45)))
    alone = np.stack([h264([frame], 45)[0] for frame in stored])
    assert not np.array_equal(clip, alone)


def test_masks_of_clips_are_refused(related: CropStore) -> None:
    with pytest.raises(UsageError, match="masks are of single faces"):
        items_of([related], BatchNeeds(frames=2, masks=True), 1.0)


def test_the_frames_of_a_clip_are_blended_alike(related: CropStore) -> None:
    item = items_of([related], BatchNeeds(frames=2), 1.0)[0]
    real, fake = item.images[0].astype(int)
    changed = (real != fake).any(axis=3)
    assert changed.any()
    # the frames differ by noise alone, so one blend covers the same place in both
    assert (changed[0] != changed[1]).mean() < 0.1 * changed.mean() + 0.01
