"""The layout of the published Inception network, and closed forms of the metrics that use it."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import gan_tasks.metrics.feature_networks.published_weights
from gan_tasks.datasets.errors import UserError
from gan_tasks.metrics.distribution import frechet_distance, kernel_distance
from gan_tasks.metrics.feature_networks.inception import Inception2015
from gan_tasks.metrics.fid import InceptionFeatures, InceptionMetrics, fid, inception_score, kid, prepare
from gan_tasks.pretrained.files.download import DownloadError


@pytest.fixture(scope="module")
def network() -> Inception2015:
    network, generator = Inception2015().eval().requires_grad_(False), torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5, generator=generator)
    return network


def test_network_has_the_tensors_of_the_published_file(network):
    """The numbers are those of pytorch-fid's and torch-fidelity's networks, which load exactly that file."""
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert len(shapes) == 566 and sum(p.numel() for p in network.parameters()) == 23_850_960
    for key, shape in {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_4a_3x3.bn.running_var": (192,),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5c.branch_pool.conv.weight": (64, 256, 1, 1),
        "Mixed_6a.branch3x3dbl_3.conv.weight": (96, 96, 3, 3),
        "Mixed_6c.branch7x7dbl_4.conv.weight": (160, 160, 7, 1),
        "Mixed_6e.branch7x7_2.conv.weight": (192, 192, 1, 7),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3_2b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch3x3dbl_3a.bn.weight": (384,),
        "Mixed_7c.branch_pool.conv.weight": (192, 2048, 1, 1),
        "fc.weight": (1008, 2048),
        "fc.bias": (1008,),
    }.items():
        assert shapes[key] == shape
    assert not any(key.startswith("AuxLogits") for key in shapes)


def test_an_image_gives_2048_features_and_intermediate_sizes_are_tensorflows(network):
    sizes = {}
    for name in ("Conv2d_1a_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"):
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: sizes.__setitem__(name, tuple(output.shape[1:]))
        )
    assert network(torch.zeros(1, 3, 299, 299)).shape == (1, 2048)
    assert sizes == {
        "Conv2d_1a_3x3": (32, 149, 149),
        "Conv2d_4a_3x3": (192, 71, 71),
        "Mixed_5d": (288, 35, 35),
        "Mixed_6e": (768, 17, 17),
        "Mixed_7c": (2048, 8, 8),
    }


@pytest.mark.parametrize(
    ("block", "channels", "branch"), [("Mixed_5b", 192, 32), ("Mixed_6b", 768, 192), ("Mixed_7b", 1280, 192)]
)
def test_mean_pooling_ignores_the_padding(network, block, channels, branch):
    """With the padding, a uniform image would be darker at the border of the pooling branch, the last of a block."""
    pooled = network.get_submodule(block)(torch.ones(1, channels, 5, 5))[0, -branch:]
    torch.testing.assert_close(pooled, pooled[:, 2:3, 2:3].expand_as(pooled), rtol=1e-4, atol=1e-4)


def test_last_block_has_max_pooling(network):
    x = torch.rand(1, 2048, 5, 5, generator=torch.Generator().manual_seed(1))
    block = network.Mixed_7c
    expected = block.branch_pool(functional.max_pool2d(functional.pad(x, (1, 1, 1, 1), value=-9), 3, stride=1))
    torch.testing.assert_close(block(x)[:, -192:], expected)


def test_images_are_resized_to_299_px_bilinearly_without_aliasing():
    small = np.random.default_rng(0).integers(0, 256, (256, 200, 3), np.uint8)
    as_float = torch.from_numpy(small.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    torch.testing.assert_close(prepare(small)[None], functional.interpolate(as_float, (299, 299), mode="bilinear"))
    stripes = np.tile(np.array([0, 255], np.uint8), (700, 350))[..., None]
    assert prepare(stripes)[:, 5:-5, 5:-5].abs().max() < 0.35


def test_any_other_weights_than_the_published_ones_are_refused(tmp_path, monkeypatch, network):
    other = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(network.state_dict(), other)
    with pytest.raises(UserError, match="must not be called FID"):
        InceptionMetrics(other)

    def offline(url, **options):
        raise DownloadError("cannot reach it")

    monkeypatch.setattr(gan_tasks.metrics.feature_networks.published_weights, "fetch", offline)
    with pytest.raises(UserError, match=r"FID.*pt_inception-2015-12-05-6726825d.pth.*give the path"):
        InceptionMetrics()


def test_features_and_logits_come_from_one_pass(tmp_path, monkeypatch, network):
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    monkeypatch.setattr(gan_tasks.metrics.feature_networks.published_weights, "fetch", lambda url, **options: path)
    images = list(np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), np.uint8))
    found = InceptionMetrics().features(images, count=2, quiet=True)
    expected = network(torch.stack([prepare(image) for image in images]))
    np.testing.assert_allclose(found.pooled, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
    logits = network.fc(expected) - network.fc.bias
    np.testing.assert_allclose(found.logits, logits, rtol=1e-2, atol=1e-2 * logits.abs().max().item())


def of(pooled: np.ndarray) -> InceptionFeatures:
    return InceptionFeatures(pooled.astype(np.float32), np.zeros((len(pooled), 1008), np.float32))


def test_fid_and_kid_are_the_distances_of_the_pooled_features():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 6)).astype(np.float32), rng.normal(1, 2, size=(40, 6)).astype(np.float32)
    assert fid(of(x), of(y), force=True) == frechet_distance(x, y, force=True)
    assert kid(of(x), of(y)) == kernel_distance(x, y)
    with pytest.raises(UserError, match="30 images are too few"):
        fid(of(x), of(y))


def scored(logits: np.ndarray) -> InceptionFeatures:
    return InceptionFeatures(np.zeros((len(logits), 2048), np.float32), logits.astype(np.float32))


def test_inception_score_of_equal_images_and_of_images_of_different_classes():
    assert inception_score(scored(np.ones((50, 1008)))) == pytest.approx((1, 0))
    sure = np.full((500, 1008), -1e4)
    sure[np.arange(500), np.arange(500)] = 1e4
    assert inception_score(scored(sure)) == pytest.approx((50, 0))  # fifty classes in each of the ten parts
    with pytest.raises(UserError, match="9 images"):
        inception_score(scored(np.ones((9, 1008))))


def test_inception_score_equals_the_divergence_by_definition():
    logits = np.random.default_rng(0).normal(0, 2, (20, 1008))
    p = torch.from_numpy(logits).softmax(dim=1)
    order, scores = np.random.default_rng(3).permutation(20), []
    for part in range(10):
        rows = p[order[2 * part : 2 * part + 2]]
        divergence = functional.kl_div(rows.mean(dim=0).log().expand_as(rows), rows, reduction="batchmean")
        scores.append(divergence.exp().item())
    assert inception_score(scored(logits), seed=3) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-4)
