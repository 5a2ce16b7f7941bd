"""CIM-RL and SFT of captioners by TRL: presets, guarded fixes, start-up probe, diagnostics, checkpoints."""
