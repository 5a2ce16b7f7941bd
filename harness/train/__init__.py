"""CIM-RL and SFT of captioners by TRL: presets, fixes, start-up check, diagnostics, checkpoints."""
