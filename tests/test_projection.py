"""The projection of an image tower: found and replaced in real towers, learned as PyTorch would, kept and used."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, build_clip, copy_into_splits, paint
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from test_visual import _with, forged
from timm.models import vision_transformer as vit

import promptctl
from promptctl.classification.blend import as_kept
from promptctl.clip.backbone import Backbone, Pooled
from promptctl.clip.projection import (
    before_of,
    encoder_before,
    encoder_projecting,
    encoder_with_before,
    encoder_with_plain,
    projection_of,
)
from promptctl.context.context import Context
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import encode_files
from promptctl.encoding.torch import TorchEncoder
from promptctl.errors import BackboneError, CorruptContext
from promptctl.learners import head, prolip
from promptctl.store.store import Store

SIDE, JOINT, SCALE = 32, 12, 20.0


def of_open_clip(**settings):
    return VisionTransformer(SIDE, 8, 24, 2, 4, 2.0, output_dim=JOINT, **settings)


def of_timm(head: str, classes: int):
    """open_clip's adapter around a tiny ViT of timm's."""
    model = TimmModel("test_vit", JOINT, pool="token", proj=head, proj_bias=True)
    model.trunk = vit.VisionTransformer(
        SIDE, 8, embed_dim=model.trunk.embed_dim, depth=1, num_heads=2, num_classes=classes
    )
    return model


TOWERS = {
    "ViT": of_open_clip,
    "ViT that pools by attention, as CoCa's": lambda: Pooled(
        of_open_clip(attentional_pool=True, attn_pooler_queries=1, attn_pooler_heads=2, output_tokens=True)
    ),
    "ResNet": lambda: ModifiedResNet((1, 1, 1, 1), JOINT, 4, image_size=SIDE, width=8),
    "timm's with a head": partial(of_timm, "linear", 0),
    "timm's with a classifier": partial(of_timm, "", JOINT),
}


def numbers(shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=TOWERS)
def tower(request):
    """One whose last layer has a bias unless it is a ViT's parameter."""
    torch.manual_seed(0)
    made = TOWERS[request.param]().double().eval().requires_grad_(False)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 1 and "bias" in name:
                parameter.copy_(0.1 * numbers(parameter.shape))
    return made


def last_of(tower):
    """The parameters of the last layer as its code has them: (P, b, whether P is (E, D))."""
    inner = tower.tower if isinstance(tower, Pooled) else tower
    if isinstance(inner, VisionTransformer):
        return inner.proj, None, False
    if isinstance(inner, ModifiedResNet):
        return inner.attnpool.c_proj.weight, inner.attnpool.c_proj.bias, True
    layer = inner.head.proj if len(inner.head) else inner.trunk.head
    return layer.weight, layer.bias, True


def encoder_of(tower):
    from promptctl.encoding.torch import TorchEncoder

    return TorchEncoder("f" * 64, JOINT, SIDE, tower, None, torch.device("cpu"))


# --------------------------------------------------------------------------- the tower


def test_a_tower_is_what_comes_before_its_projection_and_the_projection(tower):
    own, pictures = projection_of(tower), numbers((5, 3, SIDE, SIDE))
    theirs = tower(pictures)
    weight, bias, turned = last_of(tower)
    assert np.array_equal(own.weight, (weight.T if turned else weight).float().numpy())
    assert np.array_equal(own.bias, np.zeros(JOINT) if bias is None else bias.float().numpy())
    before = encoder_before(encoder_of(tower)).visual(pictures)
    assert before.shape == (5, len(own.weight) + 1) and (before[:, -1] == 1).all()
    last = weight if not turned else weight.T
    torch.testing.assert_close(before[:, :-1] @ last + (0 if bias is None else bias), theirs, rtol=0, atol=1e-12)
    unit = F.normalize(before).float().numpy()
    assert np.abs(before_of(unit) - before[:, :-1].numpy()).max() < 1e-5 * before.abs().max()
    assert np.abs(own.of(unit) - F.normalize(theirs).numpy()).max() < 1e-6


def test_another_projection_is_put_in_place_and_the_tower_stays_as_it_was(tower):
    own, pictures = projection_of(tower), numbers((5, 3, SIDE, SIDE))
    theirs, encoder = tower(pictures), encoder_of(tower.float())
    back = encoder_projecting(encoder, own.weight)
    assert np.array_equal(back.encode(pictures.float().numpy()), encoder.encode(pictures.float().numpy()))
    other = numbers(own.weight.shape, 2).float().numpy()
    found = encoder_projecting(encoder, other)
    x = encoder_before(encoder).encode(pictures.float().numpy())
    by_hand = F.normalize(torch.from_numpy(before_of(x) @ other + own.bias)).numpy()
    assert np.abs(found.encode(pictures.float().numpy()) - by_hand).max() < 1e-5
    assert len({e.fingerprint for e in (encoder, back, found, encoder_before(encoder))}) == 4
    torch.testing.assert_close(tower.double()(pictures), theirs, rtol=0, atol=1e-5)
    with pytest.raises(
        BackboneError, match=f"^a projection of 3 x {JOINT} is not for the image tower of 'this model', "
    ):
        encoder_projecting(encoder, other[:3])


def test_one_run_of_the_tower_gives_all_features(tower):
    pictures, encoder = numbers((5, 3, SIDE, SIDE)).float().numpy(), encoder_of(tower.float())
    other = numbers(projection_of(tower).weight.shape, 2).float().numpy()
    learning, answering = encoder_with_before(encoder), encoder_with_plain(encoder_projecting(encoder, other), encoder)
    for shared, apart in (
        (learning, (encoder, encoder_before(encoder))),
        (answering, (encoder_projecting(encoder, other), encoder)),
    ):
        assert (shared.fingerprint, shared.width, shared.size) == (apart[0].fingerprint, JOINT, SIDE)
        found = shared.encode_with_others(pictures)
        assert list(found) == [one.fingerprint for one in apart]
        for one in apart:
            assert np.abs(found[one.fingerprint] - one.encode(pictures)).max() < 1e-6
        assert np.array_equal(shared.encode(pictures), found[shared.fingerprint])


def test_towers_that_end_in_no_linear_layer_have_none():
    assert projection_of(TimmModel("test_vit", 64, pool="token", proj="none")) is None
    assert projection_of(TimmModel("test_vit", JOINT, pool="token", proj="mlp")) is None
    assert projection_of(torch.nn.Linear(3, 4)) is None
    siglip = encoder_of(TimmModel("test_vit", 64, pool="token", proj="none").eval())
    assert encoder_with_before(siglip) is siglip
    with pytest.raises(BackboneError, match=r"^a projection of 64 x 64 is not for .* which ends in none$"):
        encoder_projecting(siglip, np.eye(64, dtype=np.float32))


@pytest.mark.parametrize("steps", [1, 4])
def test_it_is_learned_as_pytorch_learns_the_towers_own_parameter(tower, steps):
    """The whole tower in every step, its last layer under Adam, beside ours of features from before it; float64."""
    pictures, targets = numbers((7, 3, SIDE, SIDE)), np.array([0, 0, 0, 0, 1, 1, 3])  # one class has no photo
    texts, (weight, bias, turned) = F.normalize(numbers((4, JOINT), 5)), last_of(tower)
    own, rate = weight.detach().clone(), 0.02
    x = encoder_before(encoder_of(tower)).visual(pictures)[:, :-1]
    settings = prolip.Settings(steps, rate)
    begin, beside = own.T if turned else own, torch.zeros(JOINT).double() if bias is None else bias
    found = prolip.learned_from(x, targets, texts, begin.contiguous(), beside, SCALE, settings)

    weight.requires_grad_()
    optimiser = torch.optim.Adam([weight], lr=rate, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    held = np.mean([1 / 4, 1 / 2, 1 / 1]) ** 2
    for _ in range(steps):
        optimiser.zero_grad()
        logits = SCALE * F.normalize(tower(pictures)) @ texts.T
        losses = F.cross_entropy(logits, torch.from_numpy(targets), reduction="none")
        loss = torch.stack([losses[:4].mean(), losses[4:6].mean(), losses[6]]).mean()
        (loss + held * ((weight - own) ** 2).sum()).backward()
        optimiser.step()
        schedule.step()
    theirs = weight.detach().T if turned else weight.detach()
    torch.testing.assert_close(found, theirs, rtol=1e-9, atol=1e-10)
    assert (found - begin).abs().max() > rate / 2


# --------------------------------------------------------------------------- learned, kept and used


@pytest.fixture(scope="session")
def learned(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("projection")
    photos, store = paint(folder / "photos", images=6), Store(folder / "store")
    how = {"learner": "prolip", "model": f"local-dir:{tiny_folder}", "store": store, "lr": 0.01, "epochs": 30}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        promptctl.learn(photos, "few", shots=3, **how)
        promptctl.learn(photos, "held", **{**how, "epochs": 20})
    return {name: store[name].to_bytes() for name in ("few", "held")}


@pytest.fixture
def stored(learned: dict[str, bytes]) -> Store:
    store = Store()
    for name, data in learned.items():
        store.save(name, data, new=True)
    return store


def test_a_file_with_a_projection_is_format_3_and_comes_back_to_the_bit(learned, tiny):
    context = Context.from_bytes(learned["held"], "held")
    assert context.card.format == 3 and context.to_bytes() == learned["held"]
    assert context.card.method.projection and not context.card.method.visual_tokens
    assert context.projection.shape == (64, 32) and context.head is None
    assert np.array_equal(context.text_features, context.zero_shot_features)
    own = projection_of(Backbone(tiny, "cpu").visual)
    assert 1e-3 < np.abs(context.projection - own.weight).max() < 1
    smaller = Context.from_bytes(context.with_prototypes_only().to_bytes(), "held")
    assert smaller.encoder_fingerprint == context.encoder_fingerprint
    plain = context.seen_plainly()
    assert plain.is_plain and plain.encoder_fingerprint == context.card.backbone.fingerprint
    assert np.array_equal(plain.shots.features, context.shots.plain)


@pytest.mark.parametrize(
    ("change", "method"),
    [
        (_with("image_projection", None), {}),
        (_with("image_projection", lambda p: p[:, :31]), {}),
        (_with("image_projection", lambda p: p[0]), {}),
        (_with("image_projection", lambda p: p[:0]), {}),
        (_with("image_projection", lambda p: p.astype(np.float16)), {}),
        (_with("image_projection", lambda p: p * np.float32("nan")), {}),
        (_with("image_projection", lambda p: p + np.float32(1e20)), {}),
        (_with("shot_plain", lambda rows: rows * np.float16(0)), {}),
        (lambda tensors: None, {"projection": False}),
        (lambda tensors: None, {"projection": 1}),
        (lambda tensors: None, {"visual_tokens": 3, "visual_depth": 2}),
        (lambda tensors: None, {"format": 1}),
    ],
)
def test_a_file_that_says_otherwise_is_refused(learned, change, method):
    with pytest.raises(CorruptContext):
        Context.from_bytes(forged(learned["held"], change, **method), "forged")
    assert Context.from_bytes(forged(learned["held"]), "the same") is not None


def test_shots_score_and_answers_are_of_the_tower_with_it_and_zero_shot_is_of_the_plain_one(stored, cli, photos, tiny):
    context, backbone = stored["held"], Backbone(tiny, "cpu")
    encoder = encoder_projecting(backbone.encoder, context.projection)
    assert encoder.fingerprint == context.encoder_fingerprint
    found = cli("classify", photos, "--prompt", "held", "--json")
    rows = json.loads(found.out)["images"]
    with FeatureCache() as cache:
        assert set(cache.contents().features) == {encoder.fingerprint}
        own, _ = encode_files([Path(row["path"]) for row in rows], encoder, cache)
        plain, _ = encode_files(own.paths, backbone.encoder, cache)
    best = np.array(context.card.names)[(own.vectors @ context.text_features.T).argmax(1)]
    assert [row["top"][0]["name"] for row in rows] == best.tolist()
    place = [own.sha256.index(sha) for sha in context.shots.hashes]
    assert np.abs(context.shots.features - own.vectors[place]).max() < 2e-3
    assert np.abs(context.shots.plain - plain.vectors[place]).max() < 2e-3
    apart = context.shots.held_out == 1
    right = (context.shots.plain[apart] @ context.zero_shot_features.T).argmax(1) == context.held_out()[1]
    assert context.card.score.zero_shot_accuracy == right.mean()
    measured = promptctl.evaluate("held", photos)
    labels = np.array([path.parent.name for path in own.paths])
    assert measured.learned.top1 == (best == labels).mean()
    zero_shot = np.array(context.card.names)[(plain.vectors @ context.zero_shot_features.T).argmax(1)]
    assert measured.zero_shot.top1 == (zero_shot == labels).mean()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            "classify PHOTOS --prompt held --prompt few",
            "held@1 and few@1 do not see photos with the same projection, and one pass has one image tower",
        ),
        (
            "classify PHOTOS --prompt held --blend 0.5",
            "held@1 sees photos with its own projection and zero-shot sees them without, so there is no blend of the "
            "two",
        ),
        (
            "merge held few --name all",
            "held@1 and few@1 do not see photos with the same projection, so their shots are not comparable",
        ),
        (
            "rebase held PHOTOS --model mini",
            "held@1 has a projection, which fits no other image tower than that of TINY",
        ),
        ("learn PHOTOS --name held --learner clap", "held@1 has a projection, beside which clap learns nothing"),
        (
            "learn PHOTOS --name held --epochs 5",
            "held@1 has a projection, which stays as it is: its stored shots were seen with it",
        ),
    ],
)
def test_what_a_projection_does_not_go_with_is_refused_in_a_sentence(stored, cli, photos, tiny, command, says):
    found = cli(*(word.replace("PHOTOS", str(photos)) for word in command.split()))
    assert found.code != 0 and found.out == ""
    assert f"error: {says.replace('TINY', tiny)}" in found.err.splitlines()


GREY = {"red": (220, 30, 30), "grey": (99, 99, 99)}


def test_an_update_keeps_it_and_learns_a_head_of_all_shots(stored, cli, tmp_path, tiny):
    before, more = stored["held"], paint(tmp_path / "more", images=8, colours=GREY)
    found = cli("learn", more, "--name", "held", "--max-forgetting", 1)
    assert "the projection of held@1 stayed, a head has learned beside it" in found.out.splitlines()
    after = stored["held@2"]
    assert np.array_equal(after.projection, before.projection) and after.card.format == 3
    method = after.card.method
    assert (method.learner, method.projection, method.steps, method.epochs) == ("prolip", True, 0, 0)
    assert set(after.card.labels) == {"blue", "green", "grey", "red"} and after.card.curve == ()
    new = after.shots.only(np.array([sha not in before.shots.hashes for sha in after.shots.hashes]))
    assert len(new) and np.abs(new.features - new.plain).max() > 1e-3
    x, y = after.learned_from()
    by_hand = head.fit(as_kept(x), y, after.zero_shot_features, logit_scale=after.card.logit_scale, known=_old(after))
    assert np.array_equal(after.head.weight, by_hand.weight) and by_hand.share == 1
    shown = cli("show", "held@2").out
    assert "learned:   prolip, in an earlier version; the head is of all photos" in shown
    found = promptctl.learn(more, "held", fresh=True, learner="prolip", epochs=2, model=tiny)
    assert not np.array_equal(stored["held@3"].projection, before.projection) and stored["held@3"].head is None
    assert (found.steps, found.kept_in_tower) == (2, "")


def _old(context):
    return context.shots.since[context.shots.held_out == 0] == 1


def test_an_update_recognises_what_its_photos_show(stored, tmp_path):
    """Photos whose folders contradict the words: only what has learned from them can follow."""
    more = paint(tmp_path / "more", images=12, colours={"red": (25, 60, 210), "blue": (220, 30, 30)}, seed=5)
    asked = paint(tmp_path / "asked", images=6, colours={"red": (25, 60, 210), "blue": (220, 30, 30)}, seed=6)
    assert promptctl.evaluate("few", asked).learned.top1 < 0.5
    found = promptctl.learn(more, "few", shots=12, max_forgetting=1.0)
    assert found.head and "template" not in found.head
    assert (found.steps, found.kept_in_tower) == (0, "projection")
    assert promptctl.evaluate("few", asked).learned.top1 > 0.8


def test_folds_judge_what_the_tower_has_not_learned_from(stored, tmp_path):
    before = stored["few"]
    more = paint(tmp_path / "more", images=6, seed=5)
    found = promptctl.learn(more, "few", shots=6, max_forgetting=1.0)
    after = stored["few@2"]
    assert before.card.folds is None and found.measured_on == "shots, in 5 folds"
    judged = after.shots.predicted >= 0
    assert judged.any() and (after.shots.since[judged] == 2).all()
    assert after.card.folds.images == judged.sum() == found.measured_images
    right = (after.shots.plain[judged] @ after.zero_shot_features.T).argmax(1) == after.learned_from()[1][judged]
    y = after.learned_from()[1][judged]
    assert after.card.folds.zero_shot_accuracy == pytest.approx(np.mean([right[y == c].mean() for c in np.unique(y)]))


def test_corrections_and_removals_learn_where_there_is_something_to_learn(stored, cli, tmp_path):
    before, fixes = stored["held"], tmp_path / "fixes.csv"
    for command in ("class add held yellow", "class drop held yellow"):
        assert cli(*command.split()).code == 0
    same = stored["held@3"]
    assert same.head is None and same.card.method == before.card.method and same.card.curve == before.card.curve
    row = int(np.flatnonzero(before.shots.held_out == 0)[0])
    mistaken, label = before.shots.hashes[row], before.card.labels[before.shots.class_ids[row]]
    other = next(name for name in before.card.labels if name != label)
    fixes.write_text(f"sha256,label\n{mistaken},{other}\n")
    found = cli("relabel", "held", fixes, "--force")
    assert found.code == 0, found.err
    after = stored["held@4"]
    assert after.head is not None and np.array_equal(after.projection, before.projection)
    assert {part.kind for part in after.card.head} == {"clap", "proker(1)", "gda-relative"}
    for command in ("class add held grey", f"class drop held {other}"):
        found = cli(*command.split())
        assert found.code == 0, found.err
    assert stored["held@6"].head is not None and stored["held@6"].card.labels == tuple(
        name for name in (*before.card.labels, "grey") if name != other
    )


def test_where_no_photo_to_learn_from_comes_nothing_is_said_to_be_learned(stored, tmp_path):
    before, here = stored["held"], paint(tmp_path / "photos", images=6)  # those that it was learned from
    held = before.shots.hashes[int(np.flatnonzero(before.shots.held_out)[0])]
    path = next(path for path in here.rglob("*.png") if hashlib.sha256(path.read_bytes()).hexdigest() == held)
    other = next(name for name in before.card.labels if name != path.parent.name)
    (tmp_path / "moved" / other).mkdir(parents=True)
    path.rename(tmp_path / "moved" / other / path.name)
    found = promptctl.learn(tmp_path / "moved", "held", on_conflict="relabel", max_forgetting=1.0)
    assert (found.head, found.steps, found.kept_in_tower) == ((), 0, "projection")
    assert found.summary()[0].startswith(
        f"held@2 has 3 classes and {found.train_images} images to learn from, and learned nothing more: "
    )


def test_it_answers_among_classes_that_have_a_name_alone(stored, cli, tmp_path):
    asked = paint(tmp_path / "asked", images=2, colours=GREY)
    found = cli("evaluate", "held", asked, "--classes", "folders", "--json")
    assert found.code == 0, found.err
    context = stored["held"]
    assert json.loads(found.out)["classes"] == 2 and context.head is None


def test_features_alone_learn_a_square_map(colours_bytes, photos):
    """Stored shots have no photos, from which what comes before the projection could be had."""
    Store().save("colours", colours_bytes, new=True)
    promptctl.learn(paint(photos.parent / "more", images=2, seed=3), "colours", learner="prolip", max_forgetting=1.0)
    after = Store()["colours@2"]
    assert after.is_plain and after.head is not None and after.card.format == 2


def test_a_tower_that_ends_in_no_linear_layer_gets_a_square_map(tmp_path, photos):
    vision = {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "none", "image_size": 160}
    folder = tmp_path / "siglip"
    folder.mkdir()
    build_clip(folder, {**TINY, "embed_dim": 64, "vision_cfg": vision}, seed=0)
    promptctl.learn(photos, "a", shots=2, learner="prolip", epochs=3, model=f"local-dir:{folder}")
    context = Store()["a"]
    assert context.is_plain and context.head is not None


def test_what_the_template_says_takes_a_class_without_any_shots(stored, cli):
    stored.save("bare", stored["few"].without_shots().to_bytes(), new=True)
    assert cli("class", "add", "bare", "yellow").code == 0
    after = stored["bare"]
    np.testing.assert_array_equal(after.text_features, after.zero_shot_features)
    np.testing.assert_array_equal(after.projection, stored["few"].projection)
    assert after.card.labels[-1] == "yellow" and after.head is None


def test_class_commands_show_and_diff_carry_it(stored, cli, colours_bytes):
    stored.save("colours", colours_bytes, new=True)
    before = stored["few"]
    for command in ("class add few yellow", "class rename few red scarlet", "class drop few yellow"):
        found = cli(*command.split())
        assert found.code == 0, found.err
    after = stored["few"]
    assert np.array_equal(after.projection, before.projection) and after.card.format == 3
    shown = cli("show", "few").out
    assert "vectors:   none: the template says what classes are, new ones too" in shown
    assert "visual:    a projection of its own, which the image tower ends in" in shown
    assert cli("inspect", "few").code == 0 and cli("log", "few").code == 0
    assert "projection" in cli("diff", "few", "colours").out


def test_a_model_that_is_exported_ends_in_it(stored, cli, tmp_path, tiny):
    found = cli("export", "few", tmp_path / "head.safetensors", "--as", "head")
    assert found.code == 0 and "with the projection of this context" in found.err
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    assert cli("export", "few", tmp_path / "few.onnx", "--as", "onnx").code == 0
    context, pixels = stored["few"], np.random.default_rng(0).random((3, 3, 32, 32), np.float32)
    session = runtime.InferenceSession(tmp_path / "few.onnx", providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {session.get_inputs()[0].name: pixels})
    encoder = encoder_projecting(Backbone(tiny, "cpu").encoder, context.projection)
    rows = encoder.encode((pixels - 0.5) / np.float32(0.5))
    logits = context.card.logit_scale * rows @ context.text_features.T / context.card.temperature
    weights = np.exp(logits - logits.max(1, keepdims=True))
    assert np.abs(probabilities - weights / weights.sum(1, keepdims=True)).max() < 1e-4


def test_compare_measures_what_learn_learns(tmp_path, tiny, monkeypatch):
    photos = copy_into_splits(paint(tmp_path / "photos", images=6), tmp_path / "split")
    how = {"epochs": 40, "lr": 0.02, "model": tiny}
    found = promptctl.compare(photos, learners=["prolip"], shots=[2], seeds=[1, 2], **how)
    (row,) = found.learners
    for seed, accuracy in zip((1, 2), row.runs, strict=True):
        promptctl.learn(photos / "train", "a", learner="prolip", shots=2, seed=seed, fresh=seed > 1, **how)
        assert not Store()["a"].is_plain
        assert promptctl.evaluate("a", photos / "test").learned.top1 == accuracy
    monkeypatch.setattr("promptctl.benchmark.unprojected.encoded_again", None)  # all of it is known by now
    assert promptctl.compare(photos, learners=["prolip"], shots=[2], seeds=[1, 2], **how).learners == found.learners


def test_learn_compare_and_evaluate_run_the_tower_once_for_a_photo(tmp_path, tiny, monkeypatch):
    photos, runs = copy_into_splits(paint(tmp_path / "photos", images=8), tmp_path / "split"), []
    encode = TorchEncoder.encode

    def counted(self, pixels):
        runs.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(TorchEncoder, "encode", counted)
    promptctl.compare(photos, learners=["prolip"], shots=[2], seeds=[1], epochs=2, model=tiny)
    assert sum(runs) == 6 + 12  # two shots of each of three classes, and all of test/
    with FeatureCache() as cache:
        cache.clear()
    runs.clear()
    promptctl.learn(photos / "train", "a", learner="prolip", shots=2, epochs=2, model=tiny)
    assert sum(runs) == 12
    runs.clear()
    assert promptctl.evaluate("a", photos / "test").images == sum(runs) == 12
    runs.clear()
    promptctl.learn(paint(tmp_path / "more", images=2, seed=3), "a", max_forgetting=1.0)
    assert sum(runs) == 6
    assert Store()["a"].card.head


def test_the_closing_line_says_what_answering_takes(cli, photos, tiny):
    found = cli("learn", photos, "--name", "a", "--learner", "prolip", "--shots", 2, "--epochs", 2, "--model", tiny)
    assert "a@1 has a projection of its own: to answer takes PyTorch" in found.out.splitlines()
    found = cli("learn", photos, "--name", "b", "--learner", "clap", "--shots", 2, "--epochs", 2, "--model", tiny)
    assert found.code == 0 and "PyTorch" not in found.out
