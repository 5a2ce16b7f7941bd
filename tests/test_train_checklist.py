"""What a run of a 7B needs, on GPUs that are only named here: the checklist, its arithmetic, and the launch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import CimError
from harness.resources import hub, machine
from harness.resources.machine import Gpu
from harness.stages import model
from harness.train import checklist, launch, memory, options, plan, presets
from tests import training
from tests.cli import Cim
from tests.conftest import ROOT

SNAPSHOT = Path(__file__).parent / "snapshots" / "checklist.txt"
MINI = ROOT / "tasks" / "miniscenes" / "weights" / "mini-base"
H100, H200 = Gpu("NVIDIA H100 80GB HBM3", "580.95", 85.5), Gpu("NVIDIA H200", "580.95", 150.8)
CASES = (("none", False), ("1 x 80", False), ("1 x 80", True), ("1 x 141", True), ("8 x 80", False))
MACHINES = {"none": (), "1 x 80": (H100,), "1 x 141": (H200,), "8 x 80": (H100,) * 8}


def with_cards(patch: pytest.MonkeyPatch, *cards: Gpu) -> None:
    """This machine has these GPUs and the tested packages, and no checkpoint of the hub."""
    patch.setattr(machine, "gpus", lambda: cards)
    patch.setattr(machine, "gpu_fault", lambda: None)
    patch.setattr(presets, "installed", lambda: dict(presets.TESTED))
    patch.setattr(hub, "here", lambda source: None)
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "CUDA_VISIBLE_DEVICES", "ACCELERATE_DYNAMO_BACKEND"):
        patch.delenv(name, raising=False)


def large(**fields: object) -> options.Options:
    """Options of a run from Qwen2.5-VL 7B, preset paper."""
    (start,) = model.resolve("qwen2.5-vl-7b", Path("unused"))
    return options.Options(start, "cim_rl", **{"preset": "paper", "rollouts": "auto", **fields})  # type: ignore[arg-type]


def refined_caps(folder: Path, count: int) -> None:
    """So many pairs, and empty files as their images, where ``$CIM_DATA`` would hold RefinedCaps."""
    texts = [{"from": "human", "value": "Describe."}, {"from": "gpt", "value": "A red dog."}]
    (folder / "refinedcaps").mkdir(parents=True)
    (folder / "coco" / "train2017").mkdir(parents=True)
    rows = [{"image": f"{number:06d}.jpg", "conversations": texts} for number in range(count)]
    (folder / "refinedcaps" / "train_coco6k_sft.json").write_text(json.dumps(rows))
    for row in rows:
        (folder / "coco" / "train2017" / str(row["image"])).touch()


def checklists(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """The checklist of each case; 6,572 pairs and no gallery."""
    from harness.command.train import listed

    refined_caps(folder, 6572)
    patch.setenv("CIM_DATA", str(folder))
    patch.setattr(hub, "free", lambda: 2e12)
    patch.setattr(hub, "cache", lambda: Path("/cache"))
    for name, lora in CASES:
        with_cards(patch, *MACHINES[name])
        draft = plan.draft(large(lora=lora), Path("results"))
        rows = checklist.rows(draft, MACHINES[name], 500.0)
        yield "\n".join(["", f"# {name}{', LoRA' if lora else ''}", *listed(rows)])


def text(folder: Path, patch: pytest.MonkeyPatch) -> str:
    return "\n".join(checklists(folder, patch)).replace(str(folder), "$CIM_DATA").strip() + "\n"


def test_the_checklist_of_a_7b(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To accept a change: python -m tests.test_train_checklist, and read the diff."""
    assert text(tmp_path, monkeypatch) == SNAPSHOT.read_text(encoding="utf-8")


def test_all_that_is_missing_is_told_at_once(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cards(monkeypatch)
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    command = ("train", "--model", "qwen2.5-vl-7b", "--preset", "paper")
    dry = cim(*command, "--dry-run", "--json")
    missing = [row["part"] for row in dry.json["checklist"] if row["state"] == "missing"]
    assert dry.code == 1 and missing[:4] == ["GPU", "start model", "images", "gallery"]
    line = cim.refused(*command)
    assert f"{len(missing)} things are missing: GPU: none answers" in line and "train_coco6k_sft.json" in line
    assert not cim.results.exists()


def test_fewer_images_than_a_step_are_refused_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cards(monkeypatch, H100)
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    refined_caps(tmp_path, 260)
    assert "196 training images, a step takes 256" in str(plan.draft(large(), tmp_path).faults["steps"])
    (tmp_path / "coco" / "train2017" / "000007.jpg").unlink()
    (row,) = [row for row in checklist.rows(plan.draft(large(), tmp_path), (H100,), 1.0) if row.part == "images"]
    assert row.state == "missing" and "000007.jpg first" in row.detail and row.detail.endswith("(259 of 260 are)")


def test_the_arithmetic() -> None:
    """16 bytes a parameter and a copy of 4, shared; 128,000 tokens of Qwen2.5-VL 7B take 7.34 GB of KV cache."""
    decoder = memory.KNOWN["Qwen/Qwen2.5-VL-7B-Instruct"]
    assert 128_000 * decoder.cache / 1e9 == pytest.approx(7.34, abs=0.005)
    paper = presets.preset("paper")
    arguments = presets.arguments(paper, 8, None, {})
    job = memory.Job(8e9, decoder, paper, arguments, 8, False, "transformers")
    parts = memory.per_process(job, 85.5)
    assert parts["weights"] == parts["gradients"] == parts["reference"] == 4 and parts["Adam"] == 8
    assert parts["KV cache"] == pytest.approx(160 * 2048 * decoder.cache / 1e9)
    change = memory.changed(job, 1, True, "vllm", 85.5)
    assert change.preset.dtype == "bfloat16" and "reference" not in memory.per_process(change, 85.5)
    assert memory.fits(change, 85.5) and not memory.fits(replace(change, rollouts="transformers"), 85.5)
    assert memory.disk(job, 8) == pytest.approx(8 * 32 + 2 * 96)


def test_sizes_of_a_checkpoint_that_is_here() -> None:
    """An adapter has as many parameters as the arithmetic says."""
    transformers = pytest.importorskip("transformers")
    peft = pytest.importorskip("peft")
    from harness.train import checkpoints

    decoder = memory.decoder(str(MINI), MINI)
    assert decoder is not None
    base = transformers.AutoModelForImageTextToText.from_pretrained(MINI)
    adapted = peft.get_peft_model(base, checkpoints.adapter(base))
    assert decoder.adapter == sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)


def test_what_model_and_machine_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 7B takes all GPUs and vLLM; embedded models and a machine without GPU stay as they are."""
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    (mini,) = model.resolve("mini-base", tmp_path)
    for cards, counted in ((MACHINES["none"], ("transformers", 1)), (MACHINES["8 x 80"], ("vllm", 8))):
        with_cards(monkeypatch, *cards)
        chosen = options.completed(large(preset=None))
        assert (chosen.preset, chosen.gallery, chosen.rollouts, chosen.processes) == ("safe", "refinedcaps", *counted)
        assert [word.removeprefix(f"{tmp_path}/") for word in chosen.pairs[0]] == [
            "refinedcaps",
            "refinedcaps/train_coco6k_sft.json",
            "coco/train2017",
        ]
        embedded = options.completed(options.Options(mini, "cim_rl", rollouts="auto"))
        assert (embedded.preset, embedded.rollouts, embedded.processes) == ("mini", "transformers", 1)
        assert embedded.pairs == [] and embedded.gallery is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert options.completed(large()).processes == 2
    assert options.source(["own.jsonl"], "photographs") == ("jsonl", "own.jsonl", "photographs")
    assert options.source([str(tmp_path)], None) == ("folder", str(tmp_path))


def test_vllm_has_the_context_of_the_preset_and_its_share_of_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    for cards, share in ((MACHINES["1 x 80"], 0.35), (MACHINES["1 x 141"], 0.2)):
        with_cards(monkeypatch, *cards)
        arguments = plan.draft(large(), tmp_path).arguments
        assert arguments["vllm_max_model_length"] == 2048 and arguments[memory.SHARE] == share
    longer = plan.draft(large(settings={"max_completion_length": 512, memory.SHARE: 0.5}), tmp_path).arguments
    assert longer["vllm_max_model_length"] == 1536 and longer[memory.SHARE] == 0.5
    trained = training.tiny(tmp_path, MINI)
    trained = replace(trained, arguments={**trained.arguments, memory.SHARE: 0.5})
    assert memory.SHARE not in plan.settings(trained)["training"]["arguments"], "a larger card may go on"


@pytest.mark.parametrize("lora", [False, True])
def test_the_launch_shards_a_full_fine_tune_only(lora: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate itself reads the command."""
    parser = pytest.importorskip("accelerate.commands.launch").launch_command_parser()
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    with_cards(monkeypatch, *MACHINES["8 x 80"])
    draft = plan.draft(large(lora=lora), tmp_path)
    command = launch.command(draft, ("train", "--model", "qwen2.5-vl-7b"), gpu=True)
    read = parser.parse_args(command[3:])
    assert (read.num_processes, read.mixed_precision, read.use_fsdp, read.multi_gpu) == (8, "bf16", not lora, lora)
    assert not read.use_fsdp or (read.fsdp_version, read.fsdp_state_dict_type) == ("2", "FULL_STATE_DICT")
    assert read.module and [read.training_script, *read.training_script_args][:2] == ["harness", "train"]
    assert launch.needed(draft)
    with monkeypatch.context() as patch:  # as `accelerate launch --cpu --num_processes 2` starts one process
        patch.setenv("ACCELERATE_DYNAMO_BACKEND", "NO")
        assert options.completed(large()).processes == 1
        with pytest.raises(CimError, match="launched as 1, not 2"):
            options.completed(large(processes=2))
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert not launch.needed(plan.draft(large(lora=lora), tmp_path)), "a launched process starts no others"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        SNAPSHOT.write_text(text(Path(folder), patch), encoding="utf-8")
