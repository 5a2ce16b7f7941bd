"""CIM-RL: captioners trained on GRC + QIR, images looked up by what is said of them (arXiv 2603.01696).

On images of your own, or in the embedded world. Run with ``cim train --task cim_rl --model M``.
"""

from harness.worlds import Training
from tasks import _sc_captioner
from tasks.miniscenes.training import WORLD

TRAINING = Training(
    name="cim_rl",
    title="Cross-modal identity mapping",
    # The released training data hold their prompt and cannot be read here; the paper's Figure 6 prints this one.
    prompt=_sc_captioner.PROMPT,
    worlds={WORLD.name: WORLD},
    study="tasks.miniscenes.study",
)
