"""Training runs of any trainer, evaluated while they train by metrics that are not their reward."""
