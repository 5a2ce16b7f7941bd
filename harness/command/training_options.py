"""Options of the verbs around training: ``train``, ``study``, ``audit-reward``."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.command.numbers import MOST_SEEDS, count, positive, processes, seed, seeds, whole

ROLLOUTS = ("auto", "transformers", "vllm")
HELP_OF_ROLLOUTS = "what writes captions (default: vllm on a GPU that has it, transformers for embedded models)"


def train(verb: argparse.ArgumentParser) -> None:
    """Options of ``cim train``."""
    verb.add_argument("--model", required=True, metavar="M", help="start model: a name or a folder")
    verb.add_argument("--task", default="cim_rl", metavar="T", help="default: cim_rl")
    verb.add_argument("--stage", choices=("cim", "sft"), default="cim", help="by reward, or on target captions")
    verb.add_argument("--preset", metavar="NAME", help="mini (embedded models), safe (your images) or paper")
    verb.add_argument(
        "--from",
        dest="pairs",
        nargs="+",
        action="append",
        default=[],
        metavar=("KIND", "PATH"),
        help="your images, KIND FILE [IMAGES] as for cim gallery build, or a FILE or folder alone; refinedcaps or "
        "densefusion alone: where $CIM_DATA would hold them (default: refinedcaps, or the embedded model's scenes)",
    )
    verb.add_argument("--images", metavar="DIR", help="the images of a --from that names none")
    help_of_gallery = "where captions are looked up (default: refinedcaps, or the environment's own)"
    verb.add_argument("--gallery", metavar="NAME", help=help_of_gallery)
    verb.add_argument("--rewards", default="cim", metavar="A[=W][,B]", help="default: cim, that is grc=1,qir=1")
    verb.add_argument("--search", metavar="NAME", help="search of the gallery (default: exact, on a GPU exact-cuda)")
    about = "of encoding captions (default: float32, on a GPU bfloat16)"
    verb.add_argument("--reward-precision", choices=("float32", "bfloat16"), help=about)
    verb.add_argument("--self-policy", choices=("include", "exclude", "exclude_near"), help="default: the preset's")
    verb.add_argument("--seed", type=seed, default=0, metavar="N", help="default 0")
    verb.add_argument("--steps", type=positive, metavar="N", help="generation batches (sft: updates)")
    verb.add_argument("--lora", action="store_true", help="train a LoRA adapter of rank 64 instead of all weights")
    verb.add_argument("--rollouts", choices=ROLLOUTS, default="auto", help=HELP_OF_ROLLOUTS)
    verb.add_argument("--vllm-server", metavar="URL", help="a vLLM server on other GPUs (default: colocated)")
    verb.add_argument("--processes", type=processes, metavar="N", help="GPUs that share a step (default: all of them)")
    verb.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="a TRL setting")
    verb.add_argument("--tolerate", metavar="A[,B]", help="alarms that are logged and do not stop the run")
    verb.add_argument("--name", help="folder under results/train (default: from model, preset and seed)")
    help_of_pair = "judge validation by another gallery and its encoders, in place of references"
    verb.add_argument("--validate-gallery", metavar="NAME", help=help_of_pair)
    verb.add_argument("--report-to", metavar="A[,B]", help="trackers: tensorboard, wandb, trackio (default: none)")
    verb.add_argument(
        "--held-out",
        type=count,
        metavar="N",
        help="of --from: images that choose a checkpoint (default: 1 in 20, 64 to 256; 0: none, the last is chosen)",
    )
    verb.add_argument(
        "--untested",
        action="store_true",
        help="accept untested versions, and a run that the arithmetic of memory refuses",
    )
    verb.add_argument("--no-probe", action="store_true", help="skip the start-up check that the policy sees images")
    verb.add_argument("--fresh", action="store_true", help="discard what is stored of this run and start over")
    verb.add_argument("--watch", action="store_true", help="follow this command's run, begun in another terminal")
    verb.add_argument(
        "--dry-run", action="store_true", help="print what would be done, and a checklist; 1: something lacks"
    )


def study(verb: argparse.ArgumentParser) -> None:
    """Options of ``cim study``."""
    verb.add_argument("--arms", metavar="A[,B]", help="default: cim,length-kl,sft; all: every arm of the ablation")
    verb.add_argument(
        "--pearson", action="store_true", help="also score 3,000 captions of random detail, three galleries"
    )
    group = verb.add_mutually_exclusive_group()
    about = "runs per arm, seeds 0 to N-1 (default 1)"
    group.add_argument("--seeds", type=whole(1, MOST_SEEDS), default=1, metavar="N", help=about)
    group.add_argument("--seed-list", type=seeds, metavar="A[,B]", help="the seeds themselves, such as 11,12,13")
    verb.add_argument("--metrics", metavar="A[,B]", help="default: all that this machine can compute")
    verb.add_argument("--dry-run", action="store_true", help="print what would be done; write nothing")


def audit_reward(verb: argparse.ArgumentParser) -> None:
    """Options of ``cim audit-reward``."""
    verb.add_argument(
        "rewards", metavar="A[=W][,B]", help="as for cim train --rewards: cim, or grc=1,qir=1,my/r.py=0.5"
    )
    verb.add_argument("--gallery", metavar="NAME", help="where captions are looked up (default: the task's own)")
    verb.add_argument("--task", default="miniscenes", metavar="T", help="a synthetic environment (default: miniscenes)")
    verb.add_argument("--level", default="base", metavar="L", help="detail of captions: base (default), medium, full")
    verb.add_argument(
        "--n", type=whole(1, 100_000), default=300, metavar="N", help="scenes, of validation (default 300)"
    )
    verb.add_argument("--out", type=Path, metavar="FILE", help="keep the result as JSON")
