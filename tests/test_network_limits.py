"""policies/aml_network.yaml: strict, dated, and complete."""

from __future__ import annotations

import pytest
import yaml

from pipelines.contracts import DataFault
from pipelines.settings import REPOSITORY
from pipelines.spec import load_network_limits

POLICIES = REPOSITORY / "policies"


def changed(folder, change) -> None:
    values = yaml.safe_load((POLICIES / "aml_network.yaml").read_text())
    change(values)
    (folder / "aml_network.yaml").write_text(yaml.safe_dump(values))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v["fans"].pop("least_share"), "fans.least_share: Field required"),
        (
            lambda v: v["chains"].update(hop_dayz=3),
            "chains.hop_dayz: Extra inputs are not permitted (did you mean 'hop_days'?)",
        ),
        (lambda v: v["chains"].update(longest_cycle=7), "chains.longest_cycle"),
        (lambda v: v["chains"].update(max_shrink=1), "chains.max_shrink"),
        (lambda v: v.update(known_days=30), "known_days must be at least lookback_days"),
        (lambda v: v.update(lookback_days=60), "lookback_days"),
        (lambda v: v.update(currencies={}), "currencies is empty"),
        (lambda v: v.update(policy="other"), "file and name must agree"),
    ],
)
def test_a_wrong_limit_is_named(tmp_path, change, said):
    changed(tmp_path, change)
    with pytest.raises(DataFault) as error:
        load_network_limits(tmp_path, "aml_network")
    assert said in str(error.value)


def test_the_houses_own_limits_are_complete():
    limits = load_network_limits(POLICIES, "aml_network")
    assert limits.require_in_force(limits.in_force_from) is limits
