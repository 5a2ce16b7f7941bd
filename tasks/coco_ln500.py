"""COCO-LN500: 500 images of COCO val2017 with Localized Narratives.

References 61-181 words, objects, attributes and 2,462 relation questions. Run with
``cim eval --model M --task coco_ln500``.
"""

from harness.types import Archive, Task
from tasks import _sc_captioner

_FILES = tuple(
    _sc_captioner.annotation("evaluate_cocoln500", *row)
    for row in (
        ("test_cocoln_500_gt.json", 204037, "0478ed5f9c011e2c994e84ebf38fc38a7f09f56b13369f3355badf3b852aedd9"),
        ("cocoln500_gpt_objects.jsonl", 98604, "43f5bc0e14303e465a7a9f8ba874999d3ff3ca79f244fa391803ee79be6b4d0d"),
        ("cocoln500_gpt_attributes.json", 1662813, "ab4f2aa0271acd46d4e1c6d16b7fe7fb0369996d04fa2b4e0d87036a2aa0462f"),
        ("questions_cocoln500.json", 203781, "7173b1d41f413fd875e8cc6ddc0c8ae5867e7a356af077ad65c011f4e2f33c72"),
    )
)

TASK = Task(
    name="coco_ln500",
    title="COCO-LN500",
    prompt=_sc_captioner.PROMPT,
    files=_FILES,
    count=500,
    questions=2_462,
    provides=_sc_captioner.PROVIDES,
    gallery=_sc_captioner.GALLERY,
    load=_sc_captioner.loader(_FILES),
    licence="narratives CC BY 4.0 (Google), lists Apache-2.0",
    source=_sc_captioner.SOURCE,
    judge="qwen3-8b",
    archive=Archive(
        url="http://images.cocodataset.org/zips/val2017.zip",
        bytes=815_585_330,
        sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
        member=lambda sample: f"val2017/{sample.image}",
        licence="the Flickr users' own",
        source="cocodataset.org",
    ),
)
