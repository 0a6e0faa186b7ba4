"""A run survives the disk unchanged, and nothing unknown slips in."""

import json

import pytest
from pydantic import ValidationError

from busbar.results import RUN_FILE, Run
from tests.pure.builders import make_run

RUN = make_run()


def test_run__saved_and_loaded__is_the_same(tmp_path):
    path = RUN.save(tmp_path)
    assert path == tmp_path / RUN_FILE
    assert Run.load(tmp_path) == RUN


def test_run__money_beyond_53_bits__survives_exactly(tmp_path):
    wei = 10**30 + 1
    trade = RUN.trades[0].model_copy(update={"money_wei": wei})
    RUN.model_copy(update={"trades": [trade]}).save(tmp_path)
    assert Run.load(tmp_path).trades[0].money_wei == wei


def test_run__is_read_only():
    with pytest.raises(ValidationError, match="frozen"):
        RUN.schema_version = 2


def test_load__without_a_file__raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        Run.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"weather": "sunny"}, "weather"),
        ({"trades": [{"epoch": 1}]}, "trades"),
    ],
)
def test_load__of_another_shape__is_refused(change, reason, tmp_path):
    path = RUN.save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ValidationError, match=reason):
        Run.load(tmp_path)


def test_load__a_fraction_where_a_whole_number_belongs__is_refused(tmp_path):
    path = RUN.save(tmp_path)
    data = json.loads(path.read_text(encoding="utf-8"))
    data["epochs"][0]["volume_wh"] = 1.5
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ValidationError, match="volume_wh"):
        Run.load(tmp_path)
