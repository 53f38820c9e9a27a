import pytest
import torch
from torch.nn.functional import binary_cross_entropy
from torchmetrics.functional import classification as judge

from lib import DSC
from lib.data.dataset import Dataset
from lib.evaluation import evaluate, predict
from lib.metrics import confusion
from lib.training import TrainingConfig, as_input, build_network, train


def test_evaluation_scores_each_image_by_itself(discs: Dataset):
    images, masks = torch.from_numpy(discs.test.images), torch.from_numpy(discs.test.masks)
    network = build_network(TrainingConfig())
    scores, probabilities = evaluate(network, images, masks), predict(network, images)
    for index in range(len(images)):
        pred, true = probabilities[index] > 0.5, masks[index]
        counts = confusion(pred[None], true[None])
        loss = binary_cross_entropy(probabilities[index], true.float())
        expected = [loss, DSC(pred, true), counts.dice, counts.iou]
        found = [scores[metric][index] for metric in ("loss", "dsc", "dice", "iou")]
        assert found == pytest.approx([float(value) for value in expected], abs=1e-6)


def test_scores_of_a_trained_network_are_those_of_torchmetrics(discs: Dataset):
    images, masks = torch.from_numpy(discs.test.images), torch.from_numpy(discs.test.masks)
    config = TrainingConfig(epochs=3, learning_rate=1e-2)
    network = train(config, discs.train.images, discs.train.masks).network
    scores, probabilities = evaluate(network, images, masks), predict(network, images)
    assert scores["dice"].min() < scores["dice"].max()  # it has learned something, and not all
    judges = {"dsc": judge.binary_accuracy, "dice": judge.binary_f1_score, "iou": judge.binary_jaccard_index}
    for metric, theirs in judges.items():
        expected = [theirs(p, true.int()).item() for p, true in zip(probabilities, masks, strict=True)]
        assert scores[metric].tolist() == pytest.approx(expected, abs=1e-6)


def test_prediction_switches_dropout_off_and_does_not_depend_on_what_else_is_predicted(discs: Dataset):
    images = torch.from_numpy(discs.test.images)
    network = build_network(TrainingConfig(network="dropout_CNN_segment")).train()
    together = predict(network, images)
    one_by_one = torch.cat([predict(network, images[i : i + 1]) for i in range(len(images))])
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=1e-6)


def test_images_reach_the_network_between_zero_and_one():
    inputs = as_input(torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3))
    assert inputs.shape == (1, 3, 1, 1)
    assert inputs.flatten().tolist() == pytest.approx([0, 0.2, 1])
