"""The kinds of parts, and the constant that a file of each kind assigns."""

CONSTANTS = {
    "tasks": "TASK",
    "trainings": "TRAINING",
    "metrics": "METRIC",
    "judges": "JUDGE",
    "rewards": "REWARD",
    "engines": "ENGINE",
    "parsers": "PARSER",
    "encoders": "ENCODER",
}
KINDS = ("tasks", "trainings", "models", *(kind for kind in CONSTANTS if kind not in ("tasks", "trainings")))
