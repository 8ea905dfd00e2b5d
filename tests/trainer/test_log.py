"""The log has a row an epoch, and a full disk costs rows, not the training."""

import csv

import pytest

from facectl_trainer.log import Log
from tiny_network import full_disk

pytest.importorskip("tf_keras")


def row(epoch):
    measures = {"rate": 0.1, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5, "seconds": 1.0}
    return {"stage": "head", "epoch": epoch, **measures}


def test_an_epoch_that_a_full_disk_swallowed_is_there_after_the_next(tmp_path, capsys):
    log = Log(tmp_path, verbose=False)
    log.begin([])
    log.epoch([row(1)])
    with full_disk():
        log.epoch([row(1), row(2)])
    assert "epoch 2 could not be logged" in capsys.readouterr().err
    log.epoch([row(1), row(2), row(3)])
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [each["epoch"] for each in rows] == ["1", "2", "3"]


def test_verbose_says_a_line_an_epoch(tmp_path, capsys):
    log = Log(tmp_path, verbose=True)
    log.begin([row(1)])
    log.epoch([row(1), row(2)])
    assert capsys.readouterr().err.count("head, epoch 2: loss 1") == 1
