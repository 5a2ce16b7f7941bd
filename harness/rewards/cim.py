"""GRC + QIR by the scorer's weights: the reward of CIM (arXiv 2603.01696)."""

from harness.rewards import _scored

REWARD = _scored.field("cim", "reward")
